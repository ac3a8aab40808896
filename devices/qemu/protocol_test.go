// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// Both walls around apps: what sandboxed code must not do is stopped by the MPU of every board.
func TestSandboxWalls(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		r.g.waitFor("blink", 1, protocol.PhaseRunning)
		conn := dialConsole(t, r.Status().Console)
		defer conn.Close()
		_, err := conn.Write([]byte("walls\r"))
		must(t, err)
		r.says(t, "walls: all stand", 1)
		if text := r.consoleText(); strings.Count(text, ": stopped") != 8 || strings.Contains(text, "WRONG") {
			t.Error(text)
		}
		before := r.g.metric(protocol.MetricLEDMask)
		r.g.until("the app goes on", func() bool { return r.g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
	})
}

// More apps than fit a frame, or the board: lists and reports travel as documents, and the rest is told apart.
func TestDocuments(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		var apps []protocol.App
		for i := range 13 {
			app := r.g.app(fmt.Sprintf("app-%02d", i), 1, example(t, "blink"), "gpio", "timer")
			app.Config = map[string]string{"key": strings.Repeat("v", 40)}
			apps = append(apps, app)
		}
		r.g.want(apps...)
		r.g.until("all are reported", func() bool {
			count := map[protocol.Phase]int{}
			for _, s := range r.g.states {
				count[s.Phase]++
			}
			return count[protocol.PhaseRunning] == 8 && count[protocol.PhaseRejected] == 5
		})
		// One goes: another one gets its place.
		r.g.want(apps[1:]...)
		r.g.until("another one has room", func() bool {
			running := 0
			for _, s := range r.g.states {
				if s.Phase == protocol.PhaseRunning {
					running++
				}
			}
			return len(r.g.states) == 12 && running == 8
		})
		r.g.mu.Lock()
		defer r.g.mu.Unlock()
		if r.g.sessions != 1 {
			t.Errorf("%d sessions", r.g.sessions)
		}
	})
}

// A gateway that hands its devices over, and the endpoints of a welcome.
func TestReleaseAndEndpoints(t *testing.T) {
	a := newAuthority(t)
	first, second := newTestGateway(t, a), newTestGateway(t, a)
	first.endpoints = []string{second.address(), first.address()}
	r := &rig{testBoard: startBoard(t, boardOptions(t, "mps2-an386", t.TempDir(), a.identity(a.issue("device"), first.address()))), g: first, a: a}
	first.until("a session", func() bool { return first.sessions == 1 })
	begin := time.Now()
	first.send(&protocol.Release{HoldOff: 60000, Endpoint: second.address(), Text: "drained"})
	second.until("a session with the other one", func() bool { return second.sessions == 1 })
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("going to the other one took %s", d)
	}
	second.send(&protocol.Release{HoldOff: 1500})
	begin = time.Now()
	second.until("a session after the hold-off", func() bool { return second.sessions == 2 })
	if d := time.Since(begin); d < 1400*time.Millisecond {
		t.Errorf("it came back after %s", d)
	}
	// The stored order counts after a power cut, and the next endpoint when the first is away.
	r.crash(t)
	second.until("a session with the first of the stored endpoints", func() bool { return second.sessions == 3 })
	second.listener.Close()
	second.hangUp()
	first.until("a session with the next endpoint", func() bool { return first.sessions == 2 })
}

// Whatever a gateway sends, the board keeps running its apps and comes back.
func TestHostileGateway(t *testing.T) {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	r := &rig{testBoard: startBoard(t, boardOptions(t, "mps2-an385", t.TempDir(), a.identity(a.issue("device"), g.address()))), g: g, a: a}
	g.want(g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
	g.waitFor("blink", 1, protocol.PhaseRunning)
	stranger := protocol.DigestOf([]byte("stranger"))
	for name, raw := range map[string]string{
		"too large":        "\xff\xff",
		"not CBOR":         "\x00\x04\xff\xff\xff\xff",
		"indefinite":       "\x00\x04\x9f\x07\xa0\xff",
		"empty body":       "\x00\x00",
		"desired of float": "\x00\x06\x82\x03\xa1\x01\xf9\x00",
	} {
		sessions := func() int { g.mu.Lock(); defer g.mu.Unlock(); return g.sessions }()
		g.sendRaw([]byte(raw))
		g.until(name+": a new session", func() bool { return g.sessions > sessions })
	}
	sessions := func() int { g.mu.Lock(); defer g.mu.Unlock(); return g.sessions }()
	// What is well-formed and means nothing here changes nothing.
	for _, f := range []protocol.Frame{
		&protocol.Chunk{Digest: stranger, Bytes: []byte("x"), Size: 1},
		&protocol.Fetch{Digest: stranger, Length: 100},
		&protocol.Error{Code: protocol.CodeNotFound, Fetch: &stranger},
		&protocol.Welcome{Version: 1, MaxFrame: 512, HeartbeatInterval: 1},
		&protocol.Hello{Version: 1, MaxFrame: 512, Board: "b", Firmware: "f"},
		&protocol.Report{Generation: 1},
		&protocol.Crash{Code: 1},
		&protocol.Log{Text: "x"},
		&protocol.Desired{Generation: 0},
	} {
		g.send(f)
	}
	g.sendRaw([]byte("\x00\x05\x82\x19\xff\xff\xa0")) // a type of a later version
	before := g.metric(protocol.MetricLEDMask)
	g.until("the app goes on", func() bool { return g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions != sessions || len(g.crashes) != 0 {
		t.Errorf("%d sessions became %d, crashes %v", sessions, g.sessions, g.crashes)
	}
	if n := strings.Count(r.consoleText(), "start 1,"); n != 1 || strings.Contains(r.consoleText(), "start 2") {
		t.Error("the board was reset")
	}
}

// A board that has run for long knows the time after a reset, though its blob is as old as its launch: otherwise it
// would refuse a certificate that its gateway got in between.
func TestTimeOutlivesAReset(t *testing.T) {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	g.ahead = 30 * 24 * time.Hour
	r := &rig{testBoard: startBoard(t, boardOptions(t, "mps2-an505", t.TempDir(), a.identity(a.issue("device"), g.address()))), g: g, a: a}
	g.until("a session", func() bool { return g.sessions == 1 && g.beat != nil })
	renewed := a.issue(serverName, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(g.ahead-time.Hour), time.Now().Add(g.ahead+time.Hour)
	})
	g.config.SetSessionTicketKeys([][32]byte{{1}}) // the next handshake is a full one
	g.renewed.Store(&renewed)
	must(t, r.Reset())
	g.until("a session after the reset", func() bool { return g.sessions == 2 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed != 0 {
		t.Error("the session was resumed: nothing was shown")
	}
}

// Many connections, full and resumed, cut off at any time, leave no memory behind.
func TestReconnectingLeaksNothing(t *testing.T) {
	r := newRig(t, "mps2-an385")
	g := r.g
	g.until("a session", func() bool { return g.sessions == 1 && g.beat != nil })
	heap := func() uint64 {
		g.mu.Lock()
		g.beat = nil
		g.mu.Unlock()
		g.until("a heartbeat", func() bool { return g.beat != nil })
		return g.metric(protocol.MetricHeapUsed)
	}
	var first uint64
	for i := range 30 {
		if i%5 == 0 {
			g.config.SetSessionTicketKeys([][32]byte{{byte(i)}})
		}
		sessions := func() int { g.mu.Lock(); defer g.mu.Unlock(); return g.sessions }()
		g.hangUp()
		g.until("the next session", func() bool { return g.sessions > sessions })
		if i == 6 {
			first = heap()
		}
	}
	if last := heap(); last > first {
		t.Errorf("the heap has grown from %d to %d bytes", first, last)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.resumed < 15 || g.resumed > 29 {
		t.Errorf("%d of 30 sessions were resumed", g.resumed)
	}
}

// What a gateway makes the firmware say again and again is limited, and the rest is counted.
func TestFirmwareLogIsLimited(t *testing.T) {
	r := newRig(t, "mps2-an386")
	r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
	r.g.waitFor("blink", 1, protocol.PhaseRunning)
	const many = 400
	begin := time.Now()
	for range many {
		r.g.send(&protocol.Desired{Generation: 0})
	}
	r.g.until("lines are dropped", func() bool { return r.g.beat.Metrics[protocol.MetricLogDropped] > 0 })
	const text = "of an older generation"
	eventually(t, "all that were not told are counted", func() string {
		said, dropped, told := strings.Count(r.consoleText(), text), int(r.g.metric(protocol.MetricLogDropped)), 0
		r.g.mu.Lock()
		for _, l := range r.g.logs { // a console whose reader is slow loses text, a session does not
			if strings.Contains(l.Text, text) {
				told++
			}
		}
		r.g.mu.Unlock()
		if most := 41 + int(2*time.Since(begin).Seconds()); said > most || told > most || told < 10 || told+dropped < many {
			return fmt.Sprintf("%d said, %d told (at most %d), %d dropped", said, told, most, dropped)
		}
		return ""
	})
	before := r.g.metric(protocol.MetricLEDMask)
	r.g.until("the app goes on", func() bool { return r.g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
}
