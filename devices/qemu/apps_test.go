// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wasmbed.dev/gateway/protocol"
)

// example is a module of the example fleet.
func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "apps", name, name+".wasm"))
	must(t, err)
	return b
}

// padded is the same module with a custom section of that many bytes of content: another digest, another size.
func padded(module []byte, bytes int, fill byte) []byte {
	content := append([]byte{1, 'x'}, make([]byte, bytes)...)
	for i := range content[2:] {
		content[2+i] = fill + byte(i%251)
	}
	out := append([]byte(nil), module...)
	out = append(out, 0)
	for n := len(content); ; n >>= 7 {
		if n < 0x80 {
			out = append(out, byte(n))
			break
		}
		out = append(out, byte(n)|0x80)
	}
	return append(out, content...)
}

func misbehaving(t testing.TB, g *testGateway, name string, spec uint64, mode string) protocol.App {
	app := g.app(name, spec, example(t, "misbehaves"), "log")
	app.Config = map[string]string{"mode": mode}
	app.RestartPolicy = protocol.RestartOnFailure
	return app
}

type rig struct {
	*testBoard
	g *testGateway
	a *authority
}

func newRig(t *testing.T, name string) *rig {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	b := startBoard(t, boardOptions(t, name, t.TempDir(), a.identity(a.issue("device"), g.address())))
	return &rig{testBoard: b, g: g, a: a}
}

// crash ends the board's process without warning, as a power cut would.
func (r *rig) crash(t testing.TB) {
	t.Helper()
	must(t, unix.Kill(r.Status().PID, unix.SIGKILL))
	eventually(t, "the board is noticed to be gone", func() string {
		if s := r.Status(); s.Phase == PhaseRunning && s.LastExit == nil {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	r.Relaunch() // without waiting for the backoff
}

// appMetrics are an app's in the last heartbeat.
func (g *testGateway) appMetrics(name string) protocol.AppMetrics {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.appMetricsLocked(name)
}

func (g *testGateway) appMetricsLocked(name string) (m protocol.AppMetrics) {
	if g.beat != nil {
		for _, m := range g.beat.Apps {
			if m.Name == name {
				return m
			}
		}
	}
	return m
}

func (g *testGateway) metric(m protocol.Metric) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.beat == nil {
		return 0
	}
	return g.beat.Metrics[m]
}

// Deploy, observe, update, change the config, remove, and start again without a network.
func TestAppsFollowDesiredState(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		blink := r.g.app("blink", 1, example(t, "blink"), "gpio", "timer")
		thermostat := r.g.app("thermostat", 1, example(t, "thermostat"), "gpio", "log", "sensor", "timer")
		thermostat.Config = map[string]string{"target": "21000", "band": "1000", "period": "100"}
		r.g.want(blink, thermostat)
		state := r.g.waitFor("blink", 1, protocol.PhaseRunning)
		if state.StartTime == nil || state.Digest == nil || *state.Digest != blink.Digest {
			t.Errorf("blink's state is %+v", state)
		}
		r.g.waitFor("thermostat", 1, protocol.PhaseRunning)

		before := r.g.metric(protocol.MetricLEDMask)
		r.g.until("the light blinks", func() bool { return r.g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
		eventually(t, "the sensor is read", func() string {
			must(t, r.SetTemperature(42.5))
			if got := r.g.metric(protocol.MetricTemperatureMillidegree); got != 42500 {
				return fmt.Sprint(got)
			}
			return ""
		})
		eventually(t, "fuel and memory are told", func() string {
			if m := r.g.appMetrics("thermostat"); m.Fuel == 0 || m.Memory == 0 || len(m.Values) == 0 {
				return fmt.Sprintf("%+v", m)
			}
			return ""
		})

		// An update of one, then a config change of the other: each restarts just that app.
		fuel := r.g.appMetrics("thermostat").Fuel
		second := r.g.app("blink", 2, padded(example(t, "blink"), 3000, 1), "gpio", "timer")
		r.g.want(second, thermostat)
		if s := r.g.waitFor("blink", 2, protocol.PhaseRunning); *s.Digest != second.Digest {
			t.Errorf("after the update %s runs", s.Digest)
		}
		eventually(t, "the thermostat has gone on", func() string {
			if m := r.g.appMetrics("thermostat"); m.Fuel <= fuel {
				return fmt.Sprint(m.Fuel)
			}
			return ""
		})
		thermostat.Config = map[string]string{"target": "50000", "band": "1000", "period": "100"}
		thermostat.Spec = 2
		r.g.want(second, thermostat)
		if s := r.g.waitFor("thermostat", 2, protocol.PhaseRunning); s.Restarts != 0 {
			t.Errorf("the thermostat's state is %+v", s)
		}

		r.g.want(second)
		r.g.until("the thermostat is gone", func() bool { _, there := r.g.states["thermostat"]; return !there && len(r.g.states) == 1 })

		// Without a gateway what was stored runs.
		r.g.listener.Close()
		r.g.hangUp()
		r.says(t, "start 1,", 1)
		r.crash(t)
		r.says(t, "start 2", 1)
		r.says(t, "blink: runs", 3)
	})
}

func TestRefusesWrongCertificates(t *testing.T) {
	everyBoard(t, refusesWrongCertificates)
}

func refusesWrongCertificates(t *testing.T, board string) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	run := func(name string, server, device *authority, trusted *authority, serverChange func(*x509.Certificate), console, failure string) {
		t.Run(name, func(t *testing.T) {
			g := newTestGateway(t, a)
			g.config.Certificates[0] = server.issue(serverName, serverChange)
			id := trusted.identity(device.issue("device"), g.address())
			b := startBoard(t, boardOptions(t, board, t.TempDir(), id))
			b.says(t, console, 1)
			g.until("a refusal", func() bool { return len(g.failures) > 0 && strings.Contains(g.failures[0], failure) })
			if g.sessions != 0 {
				t.Error("a session came up")
			}
		})
	}
	same := func(*x509.Certificate) {}
	run("gateway of another authority", other, a, a, same, "its certificate is not trusted", "")
	run("gateway of another name", a, a, a, func(c *x509.Certificate) { c.DNSNames = []string{"other.test"} }, "its certificate is not trusted", "")
	run("gateway that has expired", a, a, a, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "its certificate is not trusted", "")
	run("device of another authority", a, other, a, same, "W connection to", "certificate signed by unknown authority")
}

// A module of 60 KB: the connection breaks and the power fails in the middle of the transfer, which goes on where it
// was; a corrupted chunk is noticed.
func TestTransferSurvivesFaults(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		module := padded(example(t, "blink"), 60000, 7)
		var offsets []uint32
		stall := uint32(30000)
		r.g.chunk = func(f *protocol.Fetch, c *protocol.Chunk) protocol.Frame {
			offsets = append(offsets, f.Offset)
			if f.Offset >= stall {
				return &protocol.Heartbeat{} // no answer
			}
			return c
		}
		reached := func(n uint32) func() bool {
			return func() bool { return len(offsets) > 0 && offsets[len(offsets)-1] >= n }
		}
		r.g.want(r.g.app("big", 1, module, "gpio", "timer"))
		r.g.until("the transfer stalls", reached(stall))
		r.g.mu.Lock()
		at := offsets[len(offsets)-1]
		stall, offsets = 45000, nil
		r.g.mu.Unlock()
		r.g.hangUp()
		r.g.until("the transfer goes on", reached(45000))
		r.g.mu.Lock()
		if offsets[0] != at {
			t.Errorf("after the connection broke at %d the transfer went on at %d", at, offsets[0])
		}
		corrupt := true
		stall, offsets = 1<<30, nil
		r.g.chunk = func(f *protocol.Fetch, c *protocol.Chunk) protocol.Frame {
			offsets = append(offsets, f.Offset)
			if corrupt {
				corrupt = false
				c.Bytes = append([]byte(nil), c.Bytes...)
				c.Bytes[len(c.Bytes)/2] ^= 1
			}
			return c
		}
		r.g.mu.Unlock()
		r.crash(t)
		r.g.waitFor("big", 1, protocol.PhaseRunning)
		r.g.mu.Lock()
		defer r.g.mu.Unlock()
		if offsets[0] < 16384 || offsets[0] > 45000 {
			t.Errorf("after the power cut the transfer went on at %d", offsets[0])
		}
		noticed := false
		for _, s := range r.g.history {
			noticed = noticed || s.Reason == protocol.ReasonDigestMismatch
		}
		if !noticed {
			t.Error("the corrupted chunk was not noticed")
		}
	})
}

func TestRunawayAppStopsNobody(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		chatter := misbehaving(t, r.g, "chatter", 1, "chatter")
		r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"), chatter, misbehaving(t, r.g, "spin", 1, "spin"))
		for _, app := range []string{"blink", "chatter", "spin"} {
			r.g.waitFor(app, 1, protocol.PhaseRunning)
		}
		for range 3 { // the light goes on and off all the while
			before := r.g.metric(protocol.MetricLEDMask)
			r.g.until("the light blinks", func() bool { return r.g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
		}
		if m := r.g.appMetrics("spin"); m.Fuel < 100000 {
			t.Errorf("the runaway app has used %d units of fuel only", m.Fuel)
		}
		r.g.mu.Lock()
		defer r.g.mu.Unlock()
		if r.g.sessions != 1 || len(r.g.crashes) != 0 {
			t.Errorf("%d sessions, %d crashes", r.g.sessions, len(r.g.crashes))
		}
	})
}

// Apps that trap, one way each, are stopped, reported with a reason and tried again.
func TestTrapsAreReported(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		apps := []protocol.App{misbehaving(t, r.g, "exit", 1, "exit"), misbehaving(t, r.g, "memory", 1, "memory"), misbehaving(t, r.g, "recurse", 1, "recurse")}
		for i := range apps {
			apps[i].RestartPolicy = protocol.RestartNever
		}
		r.g.want(apps...)
		for app, reason := range map[string]protocol.Reason{"exit": protocol.ReasonExited, "memory": protocol.ReasonTrapped, "recurse": protocol.ReasonTrapped} {
			if s := r.g.waitFor(app, 1, protocol.PhaseFailed); s.Reason != reason || s.Message == "" {
				t.Errorf("%s: %s: %s", app, s.Reason, s.Message)
			}
		}
		again := misbehaving(t, r.g, "exit", 2, "exit")
		r.g.want(again)
		eventually(t, "an app that fails again and again is in a crash loop", func() string {
			if s := r.g.waitFor("exit", 2, protocol.PhaseFailed); s.Reason != protocol.ReasonCrashLoop || s.Restarts < 3 {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	})
}

// A new version that fails again and again gives way to the former one, for good, and says so.
func TestGoesBack(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel() // most of it is waiting
		r := newRig(t, name)
		r.g.mu.Lock()
		r.g.pace = 0 // the board has not started yet: each step of the way back is told
		r.g.mu.Unlock()
		good := r.g.app("light", 1, example(t, "blink"), "gpio", "timer")
		r.g.want(good)
		r.g.waitFor("light", 1, protocol.PhaseRunning)
		r.says(t, "light: good", 1) // it has run through its start-up window
		bad := misbehaving(t, r.g, "light", 2, "exit")
		r.g.want(bad)
		s := r.g.waitFor("light", 2, protocol.PhaseRolledBack)
		if s.Reason != protocol.ReasonCrashLoop || !strings.Contains(s.Message, "returned 1") {
			t.Errorf("the state is %+v", s)
		}
		eventually(t, "the former version runs", func() string {
			if s := r.g.waitFor("light", 2, protocol.PhaseRolledBack); s.Digest == nil || *s.Digest != good.Digest {
				return fmt.Sprintf("%v runs", s.Digest)
			}
			return ""
		})
		// A power cut does not make it forget.
		r.g.until("the sessions are counted", func() bool { return r.g.sessions == 1 })
		r.crash(t)
		r.g.until("a second session", func() bool { return r.g.sessions == 2 })
		s = r.g.waitFor("light", 2, protocol.PhaseRolledBack)
		if s.Digest == nil || *s.Digest != good.Digest {
			t.Errorf("after a power cut the state is %+v", s)
		}
		// The next spec is tried.
		fixed := r.g.app("light", 3, padded(example(t, "blink"), 10, 3), "gpio", "timer")
		r.g.want(fixed)
		r.g.waitFor("light", 3, protocol.PhaseRunning)
	})
}

func TestRejections(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		blink := example(t, "blink")
		broken := append([]byte(nil), blink...)
		broken[len(broken)-1] ^= 0x40
		huge := r.g.app("huge", 1, blink, "gpio", "timer")
		memory := uint32(1 << 20)
		huge.Limits.Stack = &memory
		vast := r.g.app("vast", 1, blink, "gpio", "timer")
		vast.Artifact.Digest, vast.Digest, vast.Artifact.Size = protocol.DigestOf([]byte("vast")), protocol.DigestOf([]byte("vast")), protocol.MaxArtifact
		future := r.g.app("future", 1, padded(blink, 5, 5), "gpio", "timer")
		future.Artifact.Format = 9
		r.g.want(
			r.g.app("broken", 1, broken, "gpio", "timer"),
			r.g.app("forbidden", 1, blink, "timer"),
			future,
			r.g.app("good", 1, blink, "gpio", "timer"),
			huge,
			vast,
		)
		r.g.waitFor("good", 1, protocol.PhaseRunning)
		for app, reason := range map[string]protocol.Reason{
			"broken": protocol.ReasonModuleInvalid, "forbidden": protocol.ReasonPermissionDenied, "huge": protocol.ReasonNoMemory,
			"vast": protocol.ReasonNoStorage, "future": protocol.ReasonUnsupported,
		} {
			if s := r.g.waitFor(app, 1, protocol.PhaseRejected); s.Reason != reason || s.Message == "" {
				t.Errorf("%s: %s: %s", app, s.Reason, s.Message)
			}
		}
	})
}

// The watchdog and a broken invariant reset the board, which then tells what happened and runs its apps again.
func TestCrashReports(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel() // most of it is waiting for the watchdog
		r := newRig(t, name)
		r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		r.g.waitFor("blink", 1, protocol.PhaseRunning)
		type1 := func(text string) {
			conn := dialConsole(t, r.Status().Console)
			defer conn.Close()
			_, err := conn.Write([]byte(text + "\r"))
			must(t, err)
			// What the board says comes back: both ways work.
			time.Sleep(50 * time.Millisecond)
		}
		type1("hang")
		r.g.until("the watchdog is told", func() bool {
			return len(r.g.crashes) == 1 && r.g.crashes[0].Code == protocol.CrashWatchdog && r.g.crashes[0].PC != 0
		})
		type1("panic")
		r.g.until("the panic is told", func() bool { return len(r.g.crashes) == 2 && r.g.crashes[1].Code == protocol.CrashAssertion })
		r.g.until("the app runs again", func() bool { return r.g.sessions == 3 && r.g.states["blink"].Phase == protocol.PhaseRunning })
		if s := r.Status(); s.Launches != 1 {
			t.Errorf("QEMU was launched %d times: the board did not reset by itself", s.Launches)
		}
	})
}

// The power fails at arbitrary moments of updates; each time the board comes up with the old or the new version.
func TestPowerCuts(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel()
		moments := 4
		if name == boardNames[0] {
			moments = 12
		}
		cutsPower(t, name, moments)
	})
}

func cutsPower(t *testing.T, name string, moments int) {
	r := newRig(t, name)
	r.g.want(r.g.app("app", 1, padded(example(t, "blink"), 20000, 0), "gpio", "timer"))
	r.g.waitFor("app", 1, protocol.PhaseRunning)
	for i := range moments {
		spec := uint64(i + 2)
		sessions := func() int { r.g.mu.Lock(); defer r.g.mu.Unlock(); return r.g.sessions }()
		r.g.want(r.g.app("app", spec, padded(example(t, "blink"), 20000, byte(spec)), "gpio", "timer"))
		time.Sleep(time.Duration(i) * 84 / time.Duration(moments) * time.Millisecond)
		r.crash(t)
		r.g.until("a session after the cut", func() bool { return r.g.sessions > sessions })
		r.g.mu.Lock()
		hello := r.g.hellos[len(r.g.hellos)-1]
		r.g.mu.Unlock()
		if hello.Generation == 0 || hello.Apps == nil {
			t.Fatalf("cut %d: the board has lost its desired state: %+v", i, hello)
		}
		r.g.waitFor("app", spec, protocol.PhaseRunning)
	}
	if n := strings.Count(r.consoleText(), "empty store"); n != 1 {
		t.Errorf("the board started with an empty store %d times", n)
	}
}

// A module that was damaged in the board's memory is not run but fetched again.
func TestDamagedModuleIsFetchedAgain(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		r := newRig(t, name)
		module := padded(example(t, "blink"), 500, 9)
		r.g.want(r.g.app("light", 1, module, "gpio", "timer"))
		r.g.waitFor("light", 1, protocol.PhaseRunning)
		nv, err := os.OpenFile(filepath.Join(r.dir, nvFile), os.O_RDWR, 0)
		must(t, err)
		defer nv.Close()
		content := make([]byte, 1<<20)
		_, err = nv.ReadAt(content, 0)
		must(t, err)
		at := bytes.Index(content, module)
		if at < 0 {
			t.Fatal("the module is not in the board's memory")
		}
		fetches := func() int { r.g.mu.Lock(); defer r.g.mu.Unlock(); return r.g.fetches }()
		r.crash(t)
		_, err = nv.WriteAt([]byte{module[100] ^ 4}, int64(at)+100)
		must(t, err)
		r.Relaunch()
		r.says(t, "damaged in the store", 1)
		r.g.until("it was fetched again and runs", func() bool { return r.g.fetches > fetches && r.g.states["light"].Phase == protocol.PhaseRunning })
	})
}
