// SPDX-License-Identifier: Apache-2.0

// Package device is a device in Go for the tests and measurements of the gateway: it speaks the protocol over a real
// TLS connection, fetches modules and reports, and runs nothing. What it holds stays with it from one connection to
// the next, as on a board that keeps its modules.
package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// Device is one device. Its fields are set before the first connection.
type Device struct {
	// Address of the gateway, TLS with the device's certificate in it.
	Address string
	TLS     *tls.Config
	// MaxFrame that it takes; 1024 when it is 0.
	MaxFrame int
	// Board and Firmware that it tells.
	Board, Firmware string
	// ReportDocuments makes every report travel as a document.
	ReportDocuments bool
	// Start says what becomes of an app; nil: it runs.
	Start func(app protocol.App) protocol.State
	// Silent makes it send no heartbeats.
	Silent bool
	// FetchLimit ends the connection after so many chunks, once; 0: never.
	FetchLimit int

	mu    sync.Mutex
	state State
	conn  *Conn
	boot  time.Time
}

// State is what a device holds and saw.
type State struct {
	// Generation and Apps of the desired state that it holds; AppsDigest is that of their encoding.
	Generation uint64
	AppsDigest protocol.Digest
	Apps       []protocol.App
	States     []protocol.State
	// Modules by digest, complete or in part.
	Modules map[protocol.Digest][]byte

	// Connections that got a welcome; Welcome is the newest, DidResume whether TLS resumed a session.
	Connections int
	Welcome     *protocol.Welcome
	DidResume   bool
	// Desired counts frames of that type, Chunks those, Documents the desired states that came as documents.
	Desired, Chunks, Documents int
	// Release and Error are the newest of their kind.
	Release *protocol.Release
	Error   *protocol.Error
}

// Snapshot is a copy of the device's state.
func (d *Device) Snapshot() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.state
	s.Modules = make(map[protocol.Digest][]byte, len(d.state.Modules))
	for digest, content := range d.state.Modules {
		s.Modules[digest] = content
	}
	return s
}

// Conn is a connection whose frames are sent and read one by one.
type Conn struct {
	TLS      *tls.Conn
	MaxFrame int // that is read
	mu       sync.Mutex
}

// Dial connects.
func Dial(ctx context.Context, address string, config *tls.Config) (*Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return &Conn{TLS: conn, MaxFrame: protocol.MinMaxFrame}, nil
}

// Close closes the connection at once.
func (c *Conn) Close() { _ = c.TLS.NetConn().Close() }

// Send sends a frame.
func (c *Conn) Send(f protocol.Frame) error {
	b, err := protocol.AppendFrame(nil, f, protocol.MaxFrame)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.TLS.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err = c.TLS.Write(b)
	return err
}

// Read reads a frame.
func (c *Conn) Read() (protocol.Frame, error) {
	body, err := protocol.ReadBody(c.TLS, nil, c.MaxFrame)
	if err != nil {
		return nil, err
	}
	return protocol.Decode(body)
}

// ErrReleased and ErrRefused are how a connection ended that the gateway ended with a frame.
var (
	ErrReleased = errors.New("released")
	ErrRefused  = errors.New("refused")
)

// Run connects and serves until the connection ends or ctx does. The error is never nil.
func (d *Device) Run(ctx context.Context) error {
	conn, err := Dial(ctx, d.Address, d.TLS)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	conn.MaxFrame = d.maxFrame()
	d.mu.Lock()
	d.conn = conn
	if d.boot.IsZero() {
		d.boot = time.Now()
	}
	if d.state.Modules == nil {
		d.state.Modules = map[protocol.Digest][]byte{}
	}
	d.state.DidResume = conn.TLS.ConnectionState().DidResume
	hello := d.hello()
	d.mu.Unlock()
	if err := conn.Send(hello); err != nil {
		return d.readEnd(conn, err)
	}
	a := &agent{d: d, conn: conn, done: make(chan struct{})}
	defer close(a.done)
	return a.run()
}

// readEnd looks for the frame that explains why a write failed.
func (d *Device) readEnd(conn *Conn, failed error) error {
	a := &agent{d: d, conn: conn}
	if err := a.run(); errors.Is(err, ErrReleased) || errors.Is(err, ErrRefused) {
		return err
	}
	return failed
}

// RunAgain runs until ctx ends, and connects anew after each end: at once, or after the hold-off of a release.
func (d *Device) RunAgain(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.Run(ctx)
		wait := 50 * time.Millisecond
		if s := d.Snapshot(); errors.Is(err, ErrReleased) && s.Release != nil {
			wait = time.Duration(s.Release.HoldOff) * time.Millisecond
			if s.Release.Endpoint != "" {
				d.Address = s.Release.Endpoint
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Disconnect ends the present connection from the device's side.
func (d *Device) Disconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}

// Send sends a frame on the present connection.
func (d *Device) Send(f protocol.Frame) error {
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	return conn.Send(f)
}

// Report changes the states that the device holds and reports them.
func (d *Device) Report(change func(states []protocol.State)) error {
	d.mu.Lock()
	states := append([]protocol.State(nil), d.state.States...)
	change(states)
	d.state.States = states
	generation := d.state.Generation
	d.mu.Unlock()
	return d.Send(&protocol.Report{Generation: generation, States: protocol.StateSet{List: states}})
}

func (d *Device) maxFrame() int {
	if d.MaxFrame == 0 {
		return 1024
	}
	return d.MaxFrame
}

// hello is the first frame; the caller holds mu.
func (d *Device) hello() *protocol.Hello {
	h := &protocol.Hello{
		Version: protocol.Version, MaxFrame: uint32(d.maxFrame()), Board: d.Board, Firmware: d.Firmware,
		Memory: &protocol.Memory{RAM: 65536}, Features: protocol.FeatureKeepsModules, Generation: d.state.Generation,
		Uptime: uint64(time.Since(d.boot).Milliseconds()), Boots: 1,
	}
	if h.Board == "" {
		h.Board = "sim-m4"
	}
	if h.Firmware == "" {
		h.Firmware = "test"
	}
	if h.Generation > 0 {
		digest := d.state.AppsDigest
		h.Apps = &digest
		h.States = &protocol.StateSet{List: d.state.States}
		if _, err := protocol.AppendFrame(nil, h, protocol.MinMaxFrame); err != nil || d.ReportDocuments {
			document := protocol.DocumentOf(d.encodedStates())
			h.States = &protocol.StateSet{Document: &document}
		}
	}
	return h
}

func (d *Device) encodedStates() []byte {
	b, err := protocol.EncodeStates(d.state.States)
	if err != nil {
		panic(fmt.Sprintf("internal error: %v", err))
	}
	return b
}

// agent is the device's side of one connection.
type agent struct {
	d    *Device
	conn *Conn
	done chan struct{}

	target   *protocol.Desired // that is being fetched for
	apps     []protocol.App    // of the target, when known
	document []byte            // of the target, in part
	chunks   int
}

func (a *agent) run() error {
	for {
		f, err := a.conn.Read()
		if err != nil {
			return err
		}
		if err := a.handle(f); err != nil {
			return err
		}
	}
}

func (a *agent) handle(f protocol.Frame) error {
	d := a.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch f := f.(type) {
	case *protocol.Welcome:
		d.state.Welcome = f
		d.state.Connections++
		if !d.Silent && a.done != nil {
			go a.beat(time.Duration(f.HeartbeatInterval) * time.Millisecond)
		}
	case *protocol.Desired:
		d.state.Desired++
		a.target, a.apps, a.document = f, f.Apps.List, nil
		if f.Apps.Document != nil {
			d.state.Documents++
			a.document = []byte{}
		}
		return a.next()
	case *protocol.Chunk:
		return a.chunk(f)
	case *protocol.Fetch:
		b := d.encodedStates()
		if protocol.DigestOf(b) != f.Digest {
			return a.conn.Send(&protocol.Error{Code: protocol.CodeNotFound, Fetch: &f.Digest})
		}
		end := min(int(f.Offset)+int(f.Length), len(b))
		return a.conn.Send(&protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: b[f.Offset:end], Size: uint32(len(b))})
	case *protocol.Release:
		d.state.Release = f
		return ErrReleased
	case *protocol.Error:
		d.state.Error = f
		if f.Fetch == nil {
			return fmt.Errorf("%w: %s: %s", ErrRefused, f.Code, f.Text)
		}
		time.AfterFunc(200*time.Millisecond, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			_ = a.next()
		})
	}
	return nil
}

// next fetches what the target still lacks, or starts it. The caller holds mu.
func (a *agent) next() error {
	if a.target == nil {
		return nil
	}
	if a.document != nil {
		return a.conn.Send(&protocol.Fetch{Digest: a.target.Apps.Document.Digest, Offset: uint32(len(a.document)), Length: 1 << 16})
	}
	for _, app := range a.apps {
		if have := a.d.state.Modules[app.Artifact.Digest]; uint32(len(have)) < app.Artifact.Size {
			return a.conn.Send(&protocol.Fetch{Digest: app.Artifact.Digest, Offset: uint32(len(have)), Length: 1 << 16})
		}
	}
	return a.start()
}

func (a *agent) chunk(c *protocol.Chunk) error {
	a.chunks++
	a.d.state.Chunks++
	if a.d.FetchLimit > 0 && a.chunks >= a.d.FetchLimit {
		a.d.FetchLimit = 0
		return io.ErrClosedPipe
	}
	if a.document != nil && c.Digest == a.target.Apps.Document.Digest {
		if int(c.Offset) != len(a.document) {
			return fmt.Errorf("a chunk at %d, wanted %d", c.Offset, len(a.document))
		}
		a.document = append(a.document, c.Bytes...)
		if len(a.document) < int(c.Size) {
			return a.next()
		}
		if protocol.DigestOf(a.document) != c.Digest {
			return errors.New("a document that is not what its digest says")
		}
		var err error
		if a.apps, err = protocol.DecodeApps(a.document); err != nil {
			return err
		}
		a.document = nil
		return a.next()
	}
	have := a.d.state.Modules[c.Digest]
	if int(c.Offset) != len(have) {
		return nil // of a target that is not wanted any more
	}
	have = append(have[:len(have):len(have)], c.Bytes...)
	if len(have) == int(c.Size) && protocol.DigestOf(have) != c.Digest {
		return errors.New("a module that is not what its digest says")
	}
	a.d.state.Modules[c.Digest] = have
	return a.next()
}

// start takes the target over and reports. The caller holds mu.
func (a *agent) start() error {
	s := &a.d.state
	encoded, err := protocol.EncodeApps(a.apps)
	if err != nil {
		return err
	}
	s.Generation, s.Apps, s.AppsDigest = a.target.Generation, a.apps, protocol.DigestOf(encoded)
	a.target = nil
	s.States = nil
	for _, app := range s.Apps {
		zero := uint32(1)
		state := protocol.State{Phase: protocol.PhaseRunning, StartTime: &zero}
		if a.d.Start != nil {
			state = a.d.Start(app)
		}
		state.Name, state.Spec = app.Name, app.Spec
		if state.Digest == nil {
			digest := app.Digest
			state.Digest = &digest
		}
		s.States = append(s.States, state)
	}
	report := &protocol.Report{Generation: s.Generation, States: protocol.StateSet{List: s.States}}
	if a.d.ReportDocuments {
		document := protocol.DocumentOf(a.d.encodedStates())
		report.States = protocol.StateSet{Document: &document}
	}
	return a.conn.Send(report)
}

func (a *agent) beat(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-a.done:
			return
		case <-ticker.C:
			if a.conn.Send(&protocol.Heartbeat{Uptime: uint64(time.Since(a.d.boot).Milliseconds())}) != nil {
				return
			}
		}
	}
}
