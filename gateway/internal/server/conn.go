// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/gateway/internal/session"
	"wasmbed.dev/gateway/protocol"
)

// Reasons why a connection ends that the session does not know.
var (
	errSlowReader = errors.New("device does not read")
	errClosed     = errors.New("device closed the connection")
	errStopped    = errors.New("gateway stopped")
	errReleased   = errors.New("device was released")
)

// conn is one connection of a device. One goroutine waits for frames and handles those that come, and another one takes its
// place when there are none: handling a frame takes a deep stack, waiting for the next one does not, and most connections wait most of the
// time. Another goroutine writes while there is something to write. Everything that touches the session holds mu.
type conn struct {
	s      *Server
	who    identity
	tls    *tls.Conn
	wire   *wire
	remote string
	header [protocol.HeaderSize]byte

	mu      sync.Mutex
	session *session.Session
	queue   [][]byte
	writing bool
	// ending is set when nothing more is to be queued; the writer closes the connection once the queue is empty.
	ending  error
	drained chan struct{} // closed when the writer has written the last frame; made when ending is set

	released bool      // told to go away
	upAt     time.Time // zero before hello
	hello    *protocol.Hello
	beat     *protocol.Heartbeat
	beatAt   time.Time
	crash    *protocol.Crash
	known    knowledge
	latest   *session.Reported // newest report, whatever it answers to
	in, out  int64             // bytes of frames
}

func (s *Server) newConn(who identity, secure *tls.Conn, network *wire) *conn {
	now := time.Now()
	return &conn{
		s: s, who: who, tls: secure, wire: network, remote: secure.RemoteAddr().String(),
		session: session.New(s.settings.Load().session, s.nextEpoch(who.device, now), now),
	}
}

// run is the connection's life after the handshake.
func (c *conn) run() {
	if !c.s.conns.add(c) {
		_ = c.tls.Close()
		return
	}
	c.s.m.connections.Inc()
	c.admit()
	c.s.group.Go(c.next)
}

// next takes the frames that have come and leaves it to a goroutine with a new stack to wait for more.
func (c *conn) next() {
	for {
		err := c.read()
		if errors.Is(err, errIdle) {
			c.s.group.Go(c.await)
			return
		}
		if err != nil {
			c.finish(err)
			return
		}
	}
}

// await waits until something comes, the connection ends or its deadline passes, with a stack at its smallest.
func (c *conn) await() {
	c.wire.await()
	c.next()
}

// admit turns a device away that is not to be served here now; it is told why before anything else.
func (c *conn) admit() {
	ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
	defer cancel()
	d := c.s.fleet.adopt(ctx, c.who.device)
	if d == nil {
		c.s.turnAway(ctx, c)
		return
	}
	c.apply(judge(d, c.who))
}

// verdict is what happens to a connection because of its Device.
type verdict struct {
	code     protocol.ErrorCode // 0: none
	release  bool
	holdOff  time.Duration
	endpoint string
	text     string
}

// judge holds a connection against its Device.
func judge(d *v1alpha1.Device, who identity) verdict {
	switch {
	case !who.proves(d):
		return verdict{code: protocol.CodeNotAssigned, text: "this key is not the device's any more"}
	case d.Spec.Quarantine:
		return verdict{code: protocol.CodeQuarantined, text: "the device is in quarantine"}
	case d.Spec.Power == v1alpha1.PowerOff:
		return verdict{release: true, holdOff: jittered(time.Minute), text: "the device should be off"}
	}
	return verdict{}
}

// apply carries a verdict out and reports whether the connection goes on.
func (c *conn) apply(v verdict) bool {
	switch {
	case v.code != 0:
		c.fail(v.code, v.text)
	case v.release:
		c.release(v.holdOff, v.endpoint, v.text)
	default:
		return true
	}
	return false
}

// jittered is between d and twice d.
func jittered(d time.Duration) time.Duration { return d + rand.N(d) }

// incoming reads one frame's bytes. Until the first of them has come, it does not wait.
type incoming struct {
	c     *conn
	begun bool
}

// Read implements [io.Reader].
func (r *incoming) Read(b []byte) (int, error) {
	r.c.wire.idle = !r.begun
	n, err := r.c.tls.Read(b)
	r.begun = r.begun || n > 0
	return n, err
}

// read takes one frame. An error says why the connection ends, or is errIdle when there is none now.
func (c *conn) read() error {
	limit, err := c.prepareRead()
	if err != nil {
		return err
	}
	body, err := protocol.ReadBody(&incoming{c: c}, c.header[:], limit)
	var timeout net.Error
	switch {
	case err == nil:
		c.do(func(s *session.Session) session.Output {
			c.in += int64(len(body)) + protocol.HeaderSize
			if len(body) > 1 {
				c.s.m.frame(frameType(body), "in", len(body)+protocol.HeaderSize)
			}
			return s.Receive(body, time.Now())
		})
	case errors.As(err, &timeout) && timeout.Timeout():
		c.do(func(s *session.Session) session.Output { return s.Tick(time.Now()) })
	case errors.Is(err, errIdle):
		c.do(func(s *session.Session) session.Output { return s.Tick(time.Now()) })
		return errIdle
	case errors.Is(err, protocol.ErrTooLarge):
		c.do((*session.Session).Oversized)
	case errors.Is(err, io.EOF):
		return errClosed
	default:
		return err
	}
	return nil
}

// prepareRead sets the deadline for the next frame and says how large it may be. It fails when the connection ends.
func (c *conn) prepareRead() (limit int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil {
		return 0, c.ending
	}
	if err := c.tls.SetReadDeadline(c.session.Deadline()); err != nil {
		return 0, errClosed
	}
	return c.session.MaxReceive(), nil
}

// frameType reads the type of a frame for the metrics; types of more than one byte are all unknown ones.
func frameType(body []byte) protocol.Type {
	if body[1] < 24 {
		return protocol.Type(body[1])
	}
	return 0
}

// do gives the session an input and carries out what it answers.
func (c *conn) do(input func(*session.Session) session.Output) {
	c.mu.Lock()
	if c.ending != nil {
		c.mu.Unlock()
		return
	}
	out := input(c.session)
	later := c.carryOut(out)
	c.mu.Unlock()
	for _, f := range later {
		f()
	}
}

// carryOut queues the frames and notes the events of an output. It returns what is to be done without the lock, which
// the caller holds.
func (c *conn) carryOut(out session.Output) (later []func()) {
	for _, e := range out.Events {
		if f := c.event(e); f != nil {
			later = append(later, f)
		}
	}
	for _, f := range out.Send {
		if err := c.enqueue(f); err != nil {
			c.end(err)
			return later
		}
	}
	if out.Close != nil {
		c.end(out.Close)
	}
	return later
}

func (c *conn) enqueue(f protocol.Frame) error {
	b, err := protocol.AppendFrame(nil, f, c.session.MaxSend())
	if err != nil {
		return err
	}
	if len(c.queue) >= maxQueue {
		_ = c.tls.NetConn().Close() // the writer is stuck
		return errSlowReader
	}
	if e, ok := f.(*protocol.Error); ok {
		c.s.m.errors.WithLabelValues(codeLabel(e.Code), "out").Inc()
	}
	c.s.m.frame(f.Type(), "out", len(b))
	c.out += int64(len(b))
	c.queue = append(c.queue, b)
	if !c.writing {
		c.writing = true
		c.s.group.Go(c.write)
	}
	return nil
}

// write writes what is queued, one frame to one TLS record, and ends when the queue is empty.
func (c *conn) write() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 {
			c.writing, c.queue = false, nil
			if c.ending != nil {
				c.closeDrained()
			}
			c.mu.Unlock()
			return
		}
		b := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		err := c.tls.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.tls.Write(b)
		}
		if err != nil {
			c.mu.Lock()
			c.end(errSlowReader)
			c.queue = nil
			c.mu.Unlock()
			_ = c.tls.NetConn().Close()
		}
	}
}

// end starts the connection's end. The caller holds mu.
func (c *conn) end(why error) {
	if c.ending != nil {
		return
	}
	c.ending = why
	c.drained = make(chan struct{})
	if !c.writing {
		c.closeDrained()
	}
	// Wakes the reader, which then lingers.
	_ = c.tls.SetReadDeadline(time.Unix(1, 0))
}

func (c *conn) closeDrained() {
	select {
	case <-c.drained:
	default:
		close(c.drained)
	}
}

// finish closes the connection after the reader has ended: what is queued is still written, and what the device still
// sends is read for a moment, because closing a socket with unread bytes in it takes the last frame away from the
// other side.
func (c *conn) finish(err error) {
	c.mu.Lock()
	c.end(err)
	why, drained := c.ending, c.drained
	c.mu.Unlock()
	raw := c.wire.Conn
	select {
	case <-drained:
		if !errors.Is(why, errClosed) {
			_ = c.tls.CloseWrite()
			_ = raw.SetReadDeadline(time.Now().Add(lingerTimeout))
			_, _ = io.Copy(io.Discard, io.LimitReader(raw, 1<<20))
		}
	case <-time.After(lingerTimeout):
	}
	_ = raw.Close()
	c.s.m.sessions.WithLabelValues(endLabel(why)).Inc()
	c.s.log.V(1).Info("connection ended", "device", c.who.device.String(), "remote", c.remote, "reason", why.Error())
	c.s.devices.gone(c, time.Now())
	c.s.m.connections.Dec()
	c.s.conns.remove(c)
}

// endLabel names why a connection ended in few words.
func endLabel(err error) string {
	for _, known := range []struct {
		err   error
		label string
	}{
		{errClosed, "closed"}, {errSlowReader, "slow-reader"}, {errStopped, "stopped"}, {errReleased, "released"},
		{session.ErrProtocol, "protocol"}, {session.ErrVersion, "version"}, {session.ErrTimeout, "silent"},
		{session.ErrDevice, "device"}, {session.ErrEnded, "ended"}, {io.ErrUnexpectedEOF, "torn"},
	} {
		if errors.Is(err, known.err) {
			return known.label
		}
	}
	return "network"
}

// event notes what the device said. The caller holds mu; what is returned is called without it.
func (c *conn) event(e session.Event) func() {
	now := time.Now()
	switch e := e.(type) {
	case session.Up:
		c.upAt, c.hello = now, e.Hello
		return func() { c.s.devices.up(c) }
	case session.Reported:
		c.latest = &e
		c.known.accept(c.latest, now)
		return c.changed
	case session.Sent:
	case session.Wanted:
		return func() { c.serve(e) }
	case session.Beat:
		c.beat, c.beatAt = e.Heartbeat, now
		c.s.histories.beat(c.who.device, e.Heartbeat, now)
	case session.Logged:
		c.s.m.logLines.WithLabelValues("kept").Inc()
		c.s.m.logLines.WithLabelValues("dropped").Add(float64(e.Log.Dropped))
		c.s.logs.add(LogLine{
			Time: now.UTC(), Device: c.who.device.String(), App: e.Log.App, Level: e.Log.Level.String(),
			Text: e.Log.Text, Uptime: e.Log.Uptime, Dropped: e.Log.Dropped,
		})
	case session.Crashed:
		c.crash = e.Crash
		c.s.histories.crashed(c.who.device, e.Crash, now)
		return c.changed
	case session.Failed:
		c.s.m.errors.WithLabelValues(codeLabel(e.Code), "in").Inc()
	}
	return nil
}

// accept takes a report that answers to the present desired state; one that answers to an older one says nothing
// about it.
func (k *knowledge) accept(r *session.Reported, now time.Time) {
	if r != nil && r.Generation == k.generation {
		k.reported, k.hasReport, k.reportedAt = r.States, true, now
	}
}

// changed has the device's status written.
func (c *conn) changed() { c.s.queue.Add(c.who.device) }

// serve answers a fetch: from the cache at once, or when the module has come from the store.
func (c *conn) serve(w session.Wanted) {
	if c.provide(w) {
		return
	}
	c.s.group.Go(func() {
		ctx, cancel := context.WithTimeout(c.s.ctx, downloadTimeout)
		defer cancel()
		err := c.s.modules.load(ctx, w.Digest)
		if err == nil && c.provide(w) {
			return
		}
		code, text := withheld(err)
		if errors.Is(err, errRecentlyFailed) {
			c.s.log.V(1).Info("module is not available", "digest", w.Digest.String(), "device", c.who.device.String())
		} else {
			c.s.log.Error(err, "cannot serve a module", "digest", w.Digest.String(), "device", c.who.device.String())
		}
		c.s.m.fetches.WithLabelValues(code.String()).Inc()
		c.do(func(s *session.Session) session.Output { return s.Withhold(w, code, text) })
	})
}

func (c *conn) provide(w session.Wanted) bool {
	content := make([]byte, w.Length)
	if err := c.s.modules.read(w.Digest, content, int64(w.Offset)); err != nil {
		return false
	}
	c.s.m.fetches.WithLabelValues("ok").Inc()
	c.do(func(s *session.Session) session.Output { return s.Provide(w, content) })
	return true
}

// deliver tells the device what to run, if it does not hold that already.
func (c *conn) deliver(apps []protocol.App, instances []*v1alpha1.Instance) (err error) {
	c.do(func(s *session.Session) session.Output {
		var out session.Output
		if out, err = s.SetDesired(apps); err != nil {
			return session.Output{}
		}
		now := time.Now()
		if len(out.Send) > 0 || !c.known.settled {
			c.known.settle(s.Generation(), instances, now)
			c.known.accept(c.latest, now)
		}
		return out
	})
	return err
}

// settle notes what the device holds now.
func (k *knowledge) settle(generation uint64, instances []*v1alpha1.Instance, now time.Time) {
	before := k.apps
	*k = knowledge{generation: generation, settled: true, apps: make([]sentApp, 0, len(instances))}
	for i := range instances {
		app := sentApp{name: instances[i].Spec.Application, uid: instances[i].UID, generation: instances[i].Generation, at: now}
		// What did not change keeps the time when it was sent first.
		if at := slices.IndexFunc(before, func(b sentApp) bool {
			return b.name == app.name && b.uid == app.uid && b.generation == app.generation
		}); at >= 0 {
			app.at = before[at].at
		}
		k.apps = append(k.apps, app)
	}
}

// came is what the device ran when it connected, until it is told anew what to run: from then on, an Instance's end was
// seen. It does not matter when the device holds what it is to be told, as EncodeApps gives it. known is false until the
// device has told.
func (c *conn) came(told []byte) (apps []string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known.settled || c.session.Holds(told) || c.hello == nil || c.hello.Generation == 0 {
		return nil, true
	}
	if c.latest == nil || c.latest.Generation != c.hello.Generation {
		return nil, false
	}
	for _, s := range c.latest.States {
		apps = append(apps, s.Name)
	}
	return apps, true
}

// facts is what is recorded of the connection, and what is known of its apps.
func (c *conn) facts() (*v1alpha1.DeviceConnection, knowledge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hello == nil {
		return nil, knowledge{}
	}
	f := &v1alpha1.DeviceConnection{
		Firmware: c.hello.Firmware, Board: c.hello.Board, Protocol: protocol.Version, Boots: int64(c.hello.Boots), LastCrash: crashText(c.crash),
	}
	if c.hello.Memory != nil {
		f.Memory = int64(c.hello.Memory.RAM)
	}
	return f, c.known
}

func (c *conn) epoch() int64 { return int64(c.session.Epoch()) }

// fail ends the connection with an error that the device is told.
func (c *conn) fail(code protocol.ErrorCode, text string) {
	c.do(func(s *session.Session) session.Output { return s.Fail(code, text) })
}

// release sends the device away, once, and closes when it has not gone in time. A device that has not said hello yet
// is not waited for.
func (c *conn) release(holdOff time.Duration, endpoint, text string) {
	var again bool
	c.do(func(s *session.Session) session.Output {
		if again = c.released; again {
			return session.Output{}
		}
		c.released = true
		out := s.Release(holdOff, endpoint, text)
		if c.hello == nil {
			out.Close = errReleased
		}
		return out
	})
	if again {
		return
	}
	time.AfterFunc(releaseTimeout, func() { c.stop(errReleased) })
}

// stop ends the connection without a word.
func (c *conn) stop(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(why)
}

// withheld is how a device is told that a module cannot be served: it is not in the store, or try again.
func withheld(err error) (protocol.ErrorCode, string) {
	if errors.Is(err, store.ErrNotFound) {
		return protocol.CodeNotFound, "the module is not in the store"
	}
	return protocol.CodeBusy, "the module is not available now"
}
