// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/views"
)

// recentBytes is what one who comes later sees of a console's past.
const recentBytes = 8 << 10

// Consoles reads the serial consoles of virtual boards; it never writes to one. All who look at a board share a
// connection, since a board takes few.
type Consoles struct {
	Objects views.ObjectReader
	Store   *fleet.Store

	mu   sync.Mutex
	open map[string]*console
}

// console is one connection with those who look.
type console struct {
	mu      sync.Mutex
	recent  []byte
	lookers map[*looker]struct{}
	ended   chan struct{}
	cancel  context.CancelFunc
	err     error
}

type looker struct{ say func(stream.Chunk) }

// Tail is the stream of what a board writes.
func (c *Consoles) Tail(ctx context.Context, p views.Params, scope fleet.Scope, say func(stream.Chunk)) error {
	if err := p.Only("device"); err != nil {
		return err
	}
	row, ok := c.Store.Get(fleet.Devices, p["device"], scope).(*fleet.Device)
	if !ok {
		return fmt.Errorf("%w: there is no device %.130q that you may see", views.ErrNotFound, p["device"])
	}
	address, err := c.address(ctx, row)
	if err != nil {
		return err
	}
	l := &looker{say}
	shared := c.join(row.ID+" "+address, address, l)
	defer c.leave(row.ID+" "+address, shared, l)
	select {
	case <-ctx.Done():
		return nil
	case <-shared.ended:
		return shared.err
	}
}

// address finds a board's console. Only this machine is ever dialled, whatever the object says.
func (c *Consoles) address(ctx context.Context, row *fleet.Device) (string, error) {
	device := &v1alpha1.Device{}
	switch err := c.Objects.Get(ctx, fleet.Devices, row.Metadata.Namespace, row.Metadata.Name, device); {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("%w: it was removed a moment ago", views.ErrNotFound)
	case err != nil:
		return "", fmt.Errorf("%w: the API server does not answer", views.ErrUnavailable)
	case device.Spec.Backend != v1alpha1.BackendQEMU:
		return "", fmt.Errorf("%w: only virtual boards (backend QEMU) have a console here", views.ErrBadRequest)
	case device.Status.Backend == nil || device.Status.Backend.Console == "":
		return "", fmt.Errorf("%w: the board does not run", views.ErrUnavailable)
	}
	address, err := netip.ParseAddrPort(device.Status.Backend.Console)
	if err != nil || !address.Addr().IsLoopback() {
		return "", fmt.Errorf("%w: the board's console is not on this machine", views.ErrUnavailable)
	}
	return address.String(), nil
}

func (c *Consoles) join(key, address string, l *looker) *console {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[string]*console{}
	}
	shared := c.open[key]
	if shared == nil {
		ctx, cancel := context.WithCancel(context.Background())
		shared = &console{lookers: map[*looker]struct{}{}, ended: make(chan struct{}), cancel: cancel}
		c.open[key] = shared
		go func() {
			shared.err = shared.read(ctx, address)
			c.mu.Lock()
			if c.open[key] == shared {
				delete(c.open, key)
			}
			c.mu.Unlock()
			close(shared.ended)
		}()
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if len(shared.recent) > 0 {
		l.say(stream.Chunk{Text: printable(shared.recent)})
	}
	shared.lookers[l] = struct{}{}
	return shared
}

func (c *Consoles) leave(key string, shared *console, l *looker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if delete(shared.lookers, l); len(shared.lookers) == 0 {
		shared.cancel()
		if c.open[key] == shared {
			delete(c.open, key)
		}
	}
}

// read passes on what the board writes until that ends or ctx does.
func (c *console) read(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w: the board's console does not answer", views.ErrUnavailable)
	}
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	defer func() { _ = connection.Close() }()
	buffer := make([]byte, 4096)
	for {
		n, err := connection.Read(buffer)
		if n > 0 {
			c.pass(buffer[:n])
		}
		if err != nil {
			return fmt.Errorf("%w: the board's console has ended", views.ErrUnavailable)
		}
	}
}

func (c *console) pass(text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent = append(c.recent, text...)
	if over := len(c.recent) - recentBytes; over > 0 {
		c.recent = append([]byte(nil), c.recent[over:]...)
	}
	for l := range c.lookers {
		l.say(stream.Chunk{Text: printable(text)})
	}
}

// printable is text that a message can carry.
func printable(text []byte) string { return strings.ToValidUTF8(string(text), "·") }
