// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// session is a connection on which the device was welcomed. Its fields are guarded by the device's mu, except for
// conn and what is set once.
type session struct {
	device    *Device
	conn      *tls.Conn
	maxFrame  int // of the gateway
	heartbeat time.Duration
	reporting time.Duration
	piece     uint32 // most bytes of one fetch
	timer     *time.Timer
	logs      bucket

	queue   []protocol.Frame
	writing bool
	closed  bool
}

const (
	maxQueue    = 64 // frames; a gateway that does not read is left
	maxLogQueue = 16 // log lines beyond are dropped
)

// released ends a session that the gateway has released.
type released struct{ *protocol.Release }

func (released) Error() string { return "released by the gateway" }

// connect takes one connection from the dial to its end.
func (d *Device) connect(ctx context.Context, endpoint string) (end sessionEnd) {
	s, err := d.open(ctx, endpoint)
	if err == nil {
		begun := time.Now()
		stop := context.AfterFunc(ctx, s.cut)
		err = s.read()
		stop()
		s.close()
		end.welcomed, end.lasted = true, time.Since(begun)
	}
	end.err = err
	var r released
	if errors.As(err, &r) {
		end.released, end.holdOff, end.instead = true, milliseconds(r.HoldOff), r.Endpoint
	}
	return end
}

// open dials, shakes hands and waits to be welcomed. It does so in a goroutine of its own, so that the stack which a
// handshake needs is not kept for as long as the connection lasts.
func (d *Device) open(ctx context.Context, endpoint string) (*session, error) {
	select {
	case d.cfg.Engine.handshakes <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-d.cfg.Engine.handshakes }()
	type result struct {
		session *session
		err     error
	}
	done := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, d.timing.dial)
		defer cancel()
		s, err := d.shake(ctx, endpoint)
		done <- result{s, err}
	}()
	r := <-done
	return r.session, r.err
}

func (d *Device) shake(ctx context.Context, endpoint string) (*session, error) {
	dialer := net.Dialer{KeepAlive: -1} // heartbeats tell more
	raw, err := dialer.DialContext(ctx, "tcp", endpoint)
	if err != nil {
		return nil, err
	}
	cut := func() { _ = raw.Close() }
	stop := context.AfterFunc(ctx, cut)
	defer stop()
	conn := tls.Client(raw, d.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		cut()
		return nil, fmt.Errorf("tls: %w", err)
	}
	s, err := d.greet(conn)
	if err != nil {
		cut()
		return nil, err
	}
	return s, nil
}

func (d *Device) tlsConfig() *tls.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	cert := d.identity.Certificate
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		RootCAs:    d.identity.Roots,
		// Always offered, even when the names of the gateway's authorities do not fit: the gateway decides.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientSessionCache:   d.sessions,
		CurvePreferences:     []tls.CurveID{tls.CurveP256},
	}
}

// greet sends hello and waits for welcome. A certificate that the gateway refuses shows here, at the first read.
func (d *Device) greet(conn *tls.Conn) (*session, error) {
	frame, err := protocol.AppendFrame(nil, d.hello(), protocol.MinMaxFrame)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(frame); err != nil {
		return nil, fmt.Errorf("send hello: %w", err)
	}
	for {
		body, err := protocol.ReadBody(conn, nil, protocol.MinMaxFrame)
		if err != nil {
			return nil, fmt.Errorf("wait for welcome: %w", err)
		}
		f, err := protocol.Decode(body)
		if err != nil {
			return nil, fmt.Errorf("wait for welcome: %w", err)
		}
		switch f := f.(type) {
		case *protocol.Welcome:
			return d.welcomed(conn, f)
		case *protocol.Error:
			return nil, fmt.Errorf("refused by the gateway: %s: %s", f.Code, f.Text)
		case *protocol.Release:
			return nil, released{f}
		case *protocol.Unknown:
		default:
			return nil, fmt.Errorf("the gateway sent %s before welcome", f.Type())
		}
	}
}

func (d *Device) hello() *protocol.Hello {
	d.mu.Lock()
	defer d.mu.Unlock()
	features := uint32(protocol.FeatureRollsBack)
	if d.cfg.StateDir != "" {
		features |= protocol.FeatureKeepsModules
	}
	return &protocol.Hello{
		Version: protocol.Version, MaxFrame: uint32(d.cfg.Board.MaxFrame), Board: d.cfg.Board.Name, Firmware: d.cfg.Firmware,
		Memory: &protocol.Memory{RAM: uint32(d.cfg.Board.AppMemoryBytes), RAMFree: uint32(d.arena.left()),
			Storage: uint32(d.cfg.Board.ModuleStorageBytes), StorageFree: uint32(d.storageFree())},
		Features: features, Generation: d.generation, Apps: d.digest,
		Uptime: uint64(d.uptime().Milliseconds()), Boots: d.boots,
	}
}

// welcomed makes the session: from here on it counts.
func (d *Device) welcomed(conn *tls.Conn, w *protocol.Welcome) (*session, error) {
	if w.Version != protocol.Version {
		return nil, fmt.Errorf("the gateway speaks version %d, this device %d", w.Version, protocol.Version)
	}
	s := &session{device: d, conn: conn, maxFrame: int(w.MaxFrame),
		heartbeat: milliseconds(w.HeartbeatInterval), reporting: milliseconds(w.ReportInterval),
		piece: uint32(d.cfg.Board.MaxFrame - protocol.ChunkOverhead), logs: bucket{perMinute: defaultLogLines}}
	if w.Limits != nil {
		if w.Limits.FetchLength > 0 {
			s.piece = min(s.piece, w.Limits.FetchLength)
		}
		if w.Limits.LogLinesPerMinute > 0 {
			s.logs.perMinute = w.Limits.LogLinesPerMinute
		}
	}
	if s.heartbeat <= 0 {
		return nil, errors.New("the gateway's heartbeat interval is 0")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.links.welcome(w.Endpoints) {
		d.save()
	}
	d.session = s
	// The first heartbeat comes at a random time, so that a fleet that connected at once does not beat at once.
	s.timer = time.AfterFunc(time.Duration(rand.Float64()*float64(s.heartbeat)), s.beat)
	d.report.last = time.Time{}
	d.mark(later)
	d.fetchNext()
	return s, nil
}

func milliseconds(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

// read handles frames until the connection ends, and says why it did.
func (s *session) read() error {
	var buf []byte
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(protocol.MissedHeartbeats * s.heartbeat)) // fails on a closed connection, as does the read
		body, err := protocol.ReadBody(s.conn, buf, s.device.cfg.Board.MaxFrame)
		if err != nil {
			return err
		}
		buf = body[:0]
		f, err := protocol.Decode(body)
		if err == nil {
			err = s.device.handle(s, f)
		}
		if err != nil {
			return err
		}
	}
}

// handle acts on one frame. An error ends the connection.
func (d *Device) handle(s *session, f protocol.Frame) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch f := f.(type) {
	case *protocol.Desired:
		return d.onDesired(f)
	case *protocol.Chunk:
		return d.onChunk(f)
	case *protocol.Fetch:
		d.onFetch(s, f)
	case *protocol.Error:
		return d.onError(f)
	case *protocol.Release:
		return released{f}
	case *protocol.Heartbeat, *protocol.Unknown:
	default:
		return fmt.Errorf("the gateway sent %s, which only devices send", f.Type())
	}
	return nil
}

// onError ends the connection, unless it answers a fetch.
func (d *Device) onError(f *protocol.Error) error {
	if f.Fetch != nil && (f.Code == protocol.CodeNotFound || f.Code == protocol.CodeBusy) {
		d.fetchRefused(*f.Fetch, f.Code)
		return nil
	}
	return fmt.Errorf("ended by the gateway: %s: %s", f.Code, f.Text)
}

// beat sends a heartbeat and arms the next.
func (s *session) beat() {
	d := s.device
	instances := d.instances()
	values := make(map[string]map[string]int64, len(instances))
	for _, i := range instances {
		values[i.app.Name] = i.metrics()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.closed {
		return
	}
	beat := &protocol.Heartbeat{Uptime: uint64(d.uptime().Milliseconds()), Metrics: map[protocol.Metric]uint64{
		protocol.MetricBoots: uint64(d.boots), protocol.MetricLEDMask: uint64(d.leds.Load()),
		protocol.MetricTemperatureMillidegree: uint64(max(d.temperature(), 0) * 1000),
		protocol.MetricStorageFree:            uint64(d.storageFree()),
	}}
	if d.dropped > 0 {
		beat.Metrics[protocol.MetricLogDropped] = uint64(d.dropped)
	}
	for _, a := range d.sorted() {
		if a.current != nil {
			memory, _ := limitsOf(*a.current)
			beat.Apps = append(beat.Apps, protocol.AppMetrics{Name: a.want.Name, Memory: memory, Values: values[a.want.Name]})
		}
	}
	s.send(beat)
	s.timer.Reset(s.heartbeat)
}

// send queues a frame. One goroutine at a time writes, and only while there is something to write. The caller holds
// the device's mu.
func (s *session) send(f protocol.Frame) {
	if s.closed || len(s.queue) >= maxQueue {
		if !s.closed {
			s.cut() // the gateway does not read
		}
		return
	}
	s.queue = append(s.queue, f)
	if !s.writing {
		s.writing = true
		go s.write()
	}
}

// write sends what is queued until nothing is.
func (s *session) write() {
	var buf []byte
	for {
		s.device.mu.Lock()
		frames := s.queue
		s.queue = nil
		if len(frames) == 0 || s.closed {
			s.writing = false
			s.device.mu.Unlock()
			return
		}
		s.device.mu.Unlock()
		buf = buf[:0]
		for _, f := range frames {
			buf = s.encode(buf, f)
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.device.timing.write)) // fails on a closed connection, as does the write
		if _, err := s.conn.Write(buf); err != nil {
			s.cut() // the reader sees it and ends the session
		}
	}
}

// encode appends a frame; one that the gateway would not take is left out.
func (s *session) encode(buf []byte, f protocol.Frame) []byte {
	out, err := protocol.AppendFrame(buf, f, s.maxFrame)
	if beat, ok := f.(*protocol.Heartbeat); ok && errors.Is(err, protocol.ErrTooLarge) {
		out, err = protocol.AppendFrame(buf, &protocol.Heartbeat{Uptime: beat.Uptime, Metrics: beat.Metrics}, s.maxFrame)
	}
	if err != nil {
		s.device.cfg.Log.Error(err, "frame not sent", "type", f.Type().String())
		return buf
	}
	return out
}

// cut ends the connection at once. TLS's farewell would wait for a gateway that may not read.
func (s *session) cut() { _ = s.conn.NetConn().Close() }

// close ends the session for the device.
func (s *session) close() {
	s.cut()
	d := s.device
	d.mu.Lock()
	defer d.mu.Unlock()
	s.closed = true
	s.timer.Stop()
	if d.session == s {
		d.session = nil
		d.report.stop()
	}
	if d.fetch != nil {
		d.fetch.stop()
	}
}

// defaultLogLines a minute, when the gateway names no limit.
const defaultLogLines = 60

// bucket lets so many lines a minute through, and as many at once.
type bucket struct {
	perMinute uint32
	used      float64
	at        time.Time
}

func (b *bucket) take(now time.Time) bool {
	rate := float64(b.perMinute)
	b.used = max(0, b.used-now.Sub(b.at).Minutes()*rate)
	b.at = now
	if b.used+1 > rate {
		return false
	}
	b.used++
	return true
}

// dropLogs counts lines that were dropped before they got here.
func (d *Device) dropLogs(n uint32) {
	if n == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropped += n
}

// log sends a line of an app, or of the firmware when app is empty. Lines above the rate, and lines while there is
// no session, are dropped and counted.
func (d *Device) log(level protocol.LogLevel, app, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.session
	if s == nil || len(s.queue) >= maxLogQueue || !s.logs.take(time.Now()) {
		d.dropped++
		return
	}
	s.send(&protocol.Log{Level: level, Text: cleanText(text, protocol.MaxText), App: app, Uptime: uint64(d.uptime().Milliseconds()), Dropped: d.dropped})
	d.dropped = 0
}
