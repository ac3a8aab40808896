// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/gateway/protocol"
)

// devices are those that have a session, or had one a moment ago.
type devices struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*deviceEntry
	// changed is called when a device came or went; delay says when that matters.
	changed func(key types.NamespacedName, delay time.Duration)
	grace   time.Duration
}

type deviceEntry struct {
	// conn is the device's newest connection; it still tells what ran when it is gone.
	conn   *conn
	since  time.Time // when it came, or went
	gone   bool
	writes *rate.Limiter
}

func newDevices(grace time.Duration, changed func(types.NamespacedName, time.Duration)) *devices {
	return &devices{all: map[types.NamespacedName]*deviceEntry{}, changed: changed, grace: grace}
}

// up registers a connection whose device said hello. A newer connection supersedes an older one.
func (d *devices) up(c *conn) {
	now := time.Now()
	loser := c
	d.mu.Lock()
	entry := d.all[c.who.device]
	if entry == nil {
		entry = &deviceEntry{writes: rate.NewLimiter(deviceWriteRate, deviceWriteBurst)}
		d.all[c.who.device] = entry
	}
	if entry.conn == nil || entry.conn.epoch() < c.epoch() {
		if loser = entry.conn; entry.gone {
			loser = nil
		}
		entry.conn, entry.gone, entry.since = c, false, now
	}
	d.mu.Unlock()
	if loser != nil {
		loser.fail(protocol.CodeSuperseded, "the device has a newer connection")
	}
	d.changed(c.who.device, 0)
}

// gone notes that a connection ended. That matters when the device has not come back within the grace period.
func (d *devices) gone(c *conn, now time.Time) {
	d.mu.Lock()
	entry := d.all[c.who.device]
	last := entry != nil && entry.conn == c
	if last {
		entry.gone, entry.since = true, now
	}
	d.mu.Unlock()
	if last {
		d.changed(c.who.device, d.grace)
	}
}

// get is a copy of a device's entry; conn is nil when there is none.
func (d *devices) get(key types.NamespacedName) deviceEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	if entry := d.all[key]; entry != nil {
		return *entry
	}
	return deviceEntry{}
}

// forget drops the entry of a connection that is gone, unless the device is back.
func (d *devices) forget(key types.NamespacedName, c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if entry := d.all[key]; entry != nil && entry.conn == c && entry.gone {
		delete(d.all, key)
	}
}

func (d *devices) len() (present int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range d.all {
		if !entry.gone {
			present++
		}
	}
	return present
}

// nextEpoch is larger than that of every earlier connection of the device, wherever that was: it is the time in
// milliseconds, and more than what this gateway gave out or the Device records.
func (s *Server) nextEpoch(device types.NamespacedName, now time.Time) uint64 {
	least := now.UnixMilli()
	if d := s.fleet.known(context.Background(), device); d != nil && d.Status.Connection != nil {
		least = max(least, d.Status.Connection.Epoch+1)
	}
	for {
		last := s.lastEpoch.Load()
		epoch := max(last+1, least)
		if s.lastEpoch.CompareAndSwap(last, epoch) {
			return uint64(epoch)
		}
	}
}

// conns are all connections whose handshake is done.
type conns struct {
	mu     sync.Mutex
	all    map[*conn]struct{}
	closed bool
	empty  chan struct{} // closed when closed is set and none is left
}

func newConns() *conns { return &conns{all: map[*conn]struct{}{}, empty: make(chan struct{})} }

// add fails when the gateway is stopping.
func (l *conns) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.all[c] = struct{}{}
	return true
}

func (l *conns) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, c)
	l.signal()
}

func (l *conns) signal() {
	if l.closed && len(l.all) == 0 {
		select {
		case <-l.empty:
		default:
			close(l.empty)
		}
	}
}

// close lets no more in and returns those that are there.
func (l *conns) close() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
	list := make([]*conn, 0, len(l.all))
	for c := range l.all {
		list = append(list, c)
	}
	return list
}

func crashText(c *protocol.Crash) string {
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%s at 0x%08x", c.Code, c.PC)
	if c.App != "" {
		text += " (" + c.App + ")"
	}
	return text
}
