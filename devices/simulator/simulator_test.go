// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway/protocol"
)

// bench is a device on a desk: its engine, its identity, its flash.
type bench struct {
	t      testing.TB
	ca     *authority
	config Config
	timing timing
	device *Device
	off    func()
}

func newBench(t testing.TB, endpoints ...string) *bench {
	t.Helper()
	engine, err := NewEngine(context.Background())
	check(t, err)
	ca := newAuthority(t)
	board, ok := boards.Get(boards.DefaultSimulated)
	if !ok {
		t.Fatal("no default board")
	}
	b := &bench{t: t, ca: ca, timing: defaultTiming, config: Config{Namespace: "plant", Name: "one", Board: board, Engine: engine, StateDir: t.TempDir(), Endpoints: endpoints,
		Identity: Identity{ca.issue(t, "wasmbed://device/plant/one"), ca.pool()}}}
	if tt, ok := t.(*testing.T); ok {
		b.config.Log = testr.NewWithOptions(tt, testr.Options{Verbosity: 0})
	}
	b.timing.backoffBase, b.timing.backoffMax = 10*time.Millisecond, 50*time.Millisecond
	b.timing.startupWindow, b.timing.restartBase, b.timing.restartMax = 300*time.Millisecond, 10*time.Millisecond, 50*time.Millisecond
	b.timing.refetch, b.timing.dial = 50*time.Millisecond, 5*time.Second
	t.Cleanup(func() {
		b.powerOff()
		check(t, engine.Close(context.Background()))
	})
	return b
}

// powerOn boots a device from what its flash holds.
func (b *bench) powerOn() *Device {
	b.t.Helper()
	d, err := New(b.config)
	check(b.t, err)
	d.timing = b.timing
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			b.t.Error(err)
		}
	}()
	b.device, b.off = d, func() {
		cancel()
		<-done
	}
	return d
}

func (b *bench) powerOff() {
	if b.off != nil {
		b.off()
		b.off = nil
	}
}

// start is a bench with a gateway, switched on.
func start(t testing.TB) (*bench, *testGateway) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	b.config.Endpoints = []string{g.address}
	b.powerOn()
	return b, g
}

// until polls what no frame tells.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// example loads a module of the example fleet and offers it.
func (g *testGateway) example(name string) protocol.App {
	g.t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "..", "apps", name, name+".wasm"))
	check(g.t, err)
	return g.offer(name, module)
}

// offer makes an app of a module. Permissions are all there are.
func (g *testGateway) offer(name string, module []byte) protocol.App {
	digest := protocol.DigestOf(module)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.modules[digest] = module
	memory, stack := uint32(4096), uint32(2048)
	return protocol.App{Name: name, Digest: digest, Artifact: protocol.Artifact{Digest: digest, Size: uint32(len(module))}, Spec: 1,
		Permissions: []string{"gpio", "log", "sensor", "timer"}, Limits: &protocol.AppLimits{Memory: &memory, Stack: &stack}}
}

func with(a protocol.App, spec uint64, config ...string) protocol.App {
	a.Spec, a.Config = spec, map[string]string{}
	for i := 0; i < len(config); i += 2 {
		a.Config[config[i]] = config[i+1]
	}
	return a
}

func (g *testGateway) misbehave(mode string) protocol.App {
	return with(g.example("misbehaves"), 1, "mode", mode)
}

func TestDeliverUpdateReconfigureRemove(t *testing.T) {
	b, g := start(t)
	blink, thermostat := g.example("blink"), with(g.example("thermostat"), 1, "period", "20", "target", "0")
	g.desire(blink)
	if s := g.phase("blink", protocol.PhaseRunning); s.Spec != 1 || *s.Digest != blink.Digest || s.StartTime == nil || s.Reason != protocol.ReasonNone {
		t.Fatalf("blink: %+v", s)
	}
	g.desire(blink, thermostat)
	g.phase("thermostat", protocol.PhaseRunning)
	until(t, "LED 0 is on", func() bool { return b.device.LEDs()&1 != 0 })
	before := runningInstance(b.device, "blink")

	// Too warm for a target of 0 degrees; a target of 90 turns the heater on. Only the thermostat starts anew.
	if b.device.LEDs()&2 != 0 {
		t.Fatal("the heater is on at a target of 0 degrees")
	}
	g.desire(blink, with(thermostat, 2, "period", "20", "target", "90000"))
	g.wait("the new config is reported", func() bool {
		return g.states["thermostat"].Spec == 2 && g.states["thermostat"].Phase == protocol.PhaseRunning
	})
	until(t, "the heater is on", func() bool { return b.device.LEDs()&2 != 0 })
	if runningInstance(b.device, "blink") != before {
		t.Error("blink was started anew by a change of another app")
	}
	g.wait("the thermostat's values come with a heartbeat", func() bool {
		for _, beat := range g.beats {
			for _, m := range beat.Apps {
				if m.Name == "thermostat" && m.Values["heating"] == 1 && m.Values["temperature_milli"] > 10000 {
					return beat.Metrics[protocol.MetricLEDMask]&2 != 0
				}
			}
		}
		return false
	})
	g.wait("the thermostat's log comes", func() bool {
		return slices.ContainsFunc(g.logs, func(l protocol.Log) bool {
			return l.App == "thermostat" && strings.HasSuffix(l.Text, " °C, too cold: heater on")
		})
	})
	g.wait("the log has the light", func() bool {
		return slices.ContainsFunc(g.logs, func(l protocol.Log) bool { return l.App == "blink" && l.Text == "LED 0 on" })
	})
	g.desire(thermostat)
	g.wait("blink is gone", func() bool { _, there := g.states["blink"]; return !there && len(g.states) == 1 })
	g.desire()
	g.wait("all is gone", func() bool { return len(g.states) == 0 && g.reportAt == g.generation })
	if left, err := os.ReadDir(filepath.Join(b.config.StateDir, "modules")); err != nil || len(left) != 0 {
		t.Errorf("modules left in flash: %v (%v)", left, err)
	}
}

func runningInstance(d *Device, app string) *instance {
	for _, i := range d.instances() {
		if i.app.Name == app {
			return i
		}
	}
	return nil
}

// A device is off only when no guest code runs any more: its engine may be closed then, and code that ran without its
// memory would end the process.
func TestADeviceIsOffWhenARemovedAppHasEnded(t *testing.T) {
	b, g := start(t)
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	inst := runningInstance(b.device, "blink")
	turns := &b.config.Engine.turns
	busy := func(workers int) {
		turns.mu.Lock()
		defer turns.mu.Unlock()
		turns.workers += workers
	}
	busy(turns.most) // nobody has a turn
	g.desire()
	until(t, "the app is removed", func() bool { return len(b.device.States()) == 0 })
	off := make(chan struct{})
	go func() {
		b.powerOff()
		close(off)
	}()
	select {
	case <-off:
		t.Fatal("the device is off before the removed app has ended")
	case <-time.After(200 * time.Millisecond):
	}
	go turns.work()
	<-off
	busy(1 - turns.most)
	select {
	case <-inst.done:
	default:
		t.Fatal("the device is off, and the removed app has not ended")
	}
}

func TestANewNumberForTheSameVersionRestartsNothing(t *testing.T) {
	b, g := start(t)
	blink := g.example("blink")
	g.desire(blink)
	g.phase("blink", protocol.PhaseRunning)
	before := runningInstance(b.device, "blink")
	blink.Spec = 7
	g.desire(blink)
	g.wait("the number is echoed", func() bool { return g.states["blink"].Spec == 7 })
	if runningInstance(b.device, "blink") != before {
		t.Error("started anew")
	}
}

func TestABrokenFetchIsResumed(t *testing.T) {
	b, g := start(t)
	big := append(slices.Clone(moduleOf(t, "blink")), custom(5000)...)
	app := g.offer("big", big)
	pieces, broken := 0, false
	g.mu.Lock()
	g.onChunk = func(c *protocol.Chunk) bool {
		pieces++
		if pieces == 3 && !broken {
			broken = true
			return false
		}
		return true
	}
	g.mu.Unlock()
	g.desire(app)
	g.phase("big", protocol.PhaseRunning)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !broken || len(g.hellos) != 2 {
		t.Fatalf("the connection did not break once: %d hellos", len(g.hellos))
	}
	piece := uint32(b.config.Board.MaxFrame - protocol.ChunkOverhead)
	for n, f := range g.fetches {
		want := uint32(n) * piece
		if n >= 3 {
			want -= piece // the third was asked for twice
		}
		if f.Offset != want || f.Length > piece {
			t.Errorf("fetch %d: offset %d length %d, want offset %d", n, f.Offset, f.Length, want)
		}
	}
	if g.resumed != 1 {
		t.Errorf("%d TLS sessions were resumed, want 1", g.resumed)
	}
}

func moduleOf(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "apps", name, name+".wasm"))
	check(t, err)
	return b
}

// custom is a section of n bytes that means nothing.
func custom(n int) []byte {
	content := append([]byte{1, 'x'}, make([]byte, n)...)
	return append([]byte{0, byte(len(content)&0x7f | 0x80), byte(len(content) >> 7)}, content...)
}

func TestACorruptedChunkIsRefused(t *testing.T) {
	_, g := start(t)
	g.mu.Lock()
	spoil := true
	g.onChunk = func(c *protocol.Chunk) bool {
		if spoil && len(c.Bytes) > 0 {
			c.Bytes[len(c.Bytes)-1] ^= 1
		}
		return true
	}
	g.mu.Unlock()
	g.desire(g.example("blink"))
	s := g.phase("blink", protocol.PhaseFailed)
	if s.Reason != protocol.ReasonDigestMismatch || s.StartTime != nil {
		t.Fatalf("blink: %+v", s)
	}
	g.mu.Lock()
	spoil = false
	g.mu.Unlock()
	g.phase("blink", protocol.PhaseRunning)
}

func TestAModuleThatTheGatewayLacksIsAskedForAgain(t *testing.T) {
	_, g := start(t)
	app := g.example("blink")
	g.mu.Lock()
	module := g.modules[app.Digest]
	delete(g.modules, app.Digest)
	g.mu.Unlock()
	g.desire(app)
	if s := g.phase("blink", protocol.PhaseFailed); s.Reason != protocol.ReasonFetchFailed {
		t.Fatalf("blink: %+v", s)
	}
	g.mu.Lock()
	g.modules[app.Digest] = module
	g.mu.Unlock()
	g.phase("blink", protocol.PhaseRunning)
}

// A board does not stop an app that never pauses: it gets its slices like any other.
func TestARunawayDoesNotHoldUpOthers(t *testing.T) {
	b, g := start(t)
	blink := g.example("blink")
	runaway := make([]protocol.App, 6)
	for n := range runaway {
		runaway[n] = g.misbehave("spin")
		runaway[n].Name = fmt.Sprintf("runaway%d", n)
	}
	g.desire(append([]protocol.App{blink}, runaway...)...)
	for _, app := range runaway {
		g.phase(app.Name, protocol.PhaseRunning)
	}
	g.phase("blink", protocol.PhaseRunning)
	for range 3 {
		until(t, "LED 0 is on beside runaways", func() bool { return b.device.LEDs()&1 != 0 })
		until(t, "LED 0 is off beside runaways", func() bool { return b.device.LEDs()&1 == 0 })
	}
	g.desire(blink)
	g.wait("the runaways are gone", func() bool { return len(g.states) == 1 })
	if g.phase("blink", protocol.PhaseRunning).Restarts != 0 {
		t.Error("blink was restarted")
	}
}

func TestHowAppsFail(t *testing.T) {
	for mode, want := range map[string]struct {
		reason  protocol.Reason
		message string
	}{
		"trap":    {protocol.ReasonTrapped, "unreachable in function 3"},
		"memory":  {protocol.ReasonTrapped, "out of bounds memory access in function 3"},
		"recurse": {protocol.ReasonTrapped, "call stack exhausted in function 4"},
		"exit":    {protocol.ReasonExited, "run returned 1"},
	} {
		t.Run(mode, func(t *testing.T) {
			_, g := start(t)
			app := g.misbehave(mode)
			app.RestartPolicy = protocol.RestartNever
			g.desire(app)
			s := g.phase("misbehaves", protocol.PhaseFailed)
			if s.Reason != want.reason || !strings.Contains(s.Message, want.message) || s.Restarts != 0 {
				t.Fatalf("%+v", s)
			}
		})
	}
}

func TestAnAppThatCrashesIsRestartedAgainAndAgain(t *testing.T) {
	_, g := start(t)
	g.desire(g.misbehave("memory"))
	g.wait("it was restarted three times and is still failed", func() bool {
		s := g.states["misbehaves"]
		return s.Restarts >= 3 && s.Phase == protocol.PhaseFailed && s.Reason == protocol.ReasonTrapped
	})
}

func TestAVersionThatCrashesGoesBack(t *testing.T) {
	b, g := start(t)
	good := g.example("blink")
	g.desire(good)
	g.phase("blink", protocol.PhaseRunning)
	until(t, "the version is confirmed", func() bool { return b.confirmed("blink") })
	bad := with(g.offer("blink", moduleOf(t, "misbehaves")), 2, "mode", "memory")
	g.desire(bad)
	s := g.phase("blink", protocol.PhaseRolledBack)
	if s.Spec != 2 || *s.Digest != good.Digest || s.Reason != protocol.ReasonCrashLoop || !strings.Contains(s.Message, "out of bounds") {
		t.Fatalf("%+v", s)
	}
	until(t, "the former version runs", func() bool {
		i := runningInstance(b.device, "blink")
		return i != nil && i.app.Digest == good.Digest
	})

	// A restart does not try the bad version again.
	b.powerOff()
	d := b.powerOn()
	until(t, "the former version runs after a restart", func() bool { return runningInstance(d, "blink") != nil })
	if i := runningInstance(d, "blink"); i.app.Digest != good.Digest || d.States()[0].Phase != protocol.PhaseRolledBack || d.States()[0].Reason != protocol.ReasonCrashLoop {
		t.Fatalf("after a restart: %+v", d.States())
	}

	// The same version under a new number is a new attempt; a good version ends it.
	good.Spec = 3
	g.desire(good)
	if s := g.phase("blink", protocol.PhaseRunning); s.Spec != 3 {
		t.Fatalf("%+v", s)
	}
}

// confirmed tells whether the device holds an app's version as good.
func (b *bench) confirmed(name string) bool {
	b.device.mu.Lock()
	defer b.device.mu.Unlock()
	return b.device.apps[name] != nil && b.device.apps[name].confirmed
}

func TestAVersionThatCannotRunGoesBackToo(t *testing.T) {
	b, g := start(t)
	good := g.example("blink")
	g.desire(good)
	g.phase("blink", protocol.PhaseRunning)
	before := runningInstance(b.device, "blink")
	forbidden := good
	forbidden.Spec, forbidden.Permissions = 2, []string{"timer"}
	g.desire(forbidden)
	if s := g.phase("blink", protocol.PhaseRolledBack); s.Reason != protocol.ReasonPermissionDenied {
		t.Fatalf("%+v", s)
	}
	tooLarge := good
	tooLarge.Spec = 3
	stack := uint32(1 << 24)
	tooLarge.Limits = &protocol.AppLimits{Stack: &stack}
	g.desire(tooLarge)
	g.wait("it is refused for its memory", func() bool {
		s := g.states["blink"]
		return s.Spec == 3 && s.Phase == protocol.PhaseRolledBack && s.Reason == protocol.ReasonNoMemory
	})
	until(t, "blink runs", func() bool { return runningInstance(b.device, "blink") != nil })
	_ = before
}

func memoryLimit(n uint32) *protocol.AppLimits { return &protocol.AppLimits{Memory: &n} }

func TestWhatIsRejected(t *testing.T) {
	for sentence, test := range map[string]struct {
		app    func(g *testGateway) protocol.App
		reason protocol.Reason
	}{
		"not a module": {func(g *testGateway) protocol.App { return g.offer("x", []byte("not a module at all")) }, protocol.ReasonModuleInvalid},
		"no run":       {func(g *testGateway) protocol.App { return g.offer("x", []byte("\x00asm\x01\x00\x00\x00")) }, protocol.ReasonModuleInvalid},
		"an import that no board offers": {func(g *testGateway) protocol.App {
			return g.offer("x", []byte(strings.Replace(string(moduleOf(g.t, "blink")), "ocre_gpio_pin_toggle", "ocre_gpio_pin_tuggle", 1)))
		}, protocol.ReasonImportUnknown},
		"a permission that is not given": {func(g *testGateway) protocol.App {
			a := g.example("blink")
			a.Permissions = nil
			return a
		}, protocol.ReasonPermissionDenied},
		"more memory than the board has": {func(g *testGateway) protocol.App {
			a := g.example("blink")
			stack := uint32(200 << 10) // its memory it could not use: the module declares 64 KiB at most
			a.Limits = &protocol.AppLimits{Stack: &stack}
			return a
		}, protocol.ReasonNoMemory},
		"less memory than its data needs": {func(g *testGateway) protocol.App {
			a := g.example("thermostat")
			a.Limits = memoryLimit(1100)
			return a
		}, protocol.ReasonModuleInvalid},
		"a module larger than the board takes": {func(g *testGateway) protocol.App {
			a := g.example("blink")
			a.Artifact.Size = 1 << 20
			return a
		}, protocol.ReasonNoStorage},
		"a format that the board cannot run": {func(g *testGateway) protocol.App {
			a := g.example("blink")
			a.Artifact.Format = 1
			return a
		}, protocol.ReasonUnsupported},
	} {
		t.Run(sentence, func(t *testing.T) {
			_, g := start(t)
			app := test.app(g)
			g.desire(app)
			if s := g.phase(app.Name, protocol.PhaseRejected); s.Reason != test.reason || s.Message == "" {
				t.Fatalf("%+v, want %s", s, test.reason)
			}
		})
	}
}

func TestAppsRunAfterARestartWithoutNetwork(t *testing.T) {
	b, g := start(t)
	g.desire(g.example("blink"), g.example("counter"))
	g.phase("counter", protocol.PhaseRunning)
	g.phase("blink", protocol.PhaseRunning)
	b.powerOff()
	g.stop()
	d := b.powerOn()
	until(t, "both apps run", func() bool { return len(d.instances()) == 2 })
	until(t, "LED 0 is on", func() bool { return d.LEDs()&1 != 0 })
	if d.Connected() {
		t.Error("connected to a gateway that is gone")
	}
	if s := d.States(); s[0].Phase != protocol.PhaseRunning {
		t.Errorf("%+v", s)
	}
}

func TestHelloTellsWhatIsHeld(t *testing.T) {
	b, g := start(t)
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	b.powerOff()
	b.powerOn()
	g.wait("it said hello again", func() bool { return len(g.hellos) == 2 })
	g.mu.Lock()
	encoded, err := protocol.EncodeApps(g.apps)
	check(t, err)
	h := g.hellos[1]
	g.mu.Unlock()
	if h.Generation != 1 || h.Apps == nil || *h.Apps != protocol.DigestOf(encoded) || h.Boots != 2 || h.Board != "sim-m4" || h.Features&protocol.FeatureKeepsModules == 0 {
		t.Errorf("hello: %+v", h)
	}
	g.phase("blink", protocol.PhaseRunning)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.fetches) != 1 {
		t.Errorf("the module was fetched %d times", len(g.fetches))
	}
}

func TestAnOlderGenerationIsIgnored(t *testing.T) {
	b, g := start(t)
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	g.broadcast(&protocol.Desired{Generation: 1})
	g.broadcast(&protocol.Heartbeat{})
	g.desire(g.example("blink"), g.example("counter"))
	g.phase("counter", protocol.PhaseRunning)
	if len(b.device.States()) != 2 {
		t.Errorf("%+v", b.device.States())
	}
}

func TestLargeStatesTravelAsDocuments(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	g.welcome.MaxFrame = protocol.MinMaxFrame
	b.config.Endpoints = []string{g.address}
	b.powerOn()
	var apps []protocol.App
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		app := g.example("blink")
		app.Name, app.Config = name, map[string]string{"filler": strings.Repeat(name, 300)}
		app.Permissions = []string{"gpio"} // so that all are rejected with a message
		apps = append(apps, app)
	}
	g.desire(apps...)
	for _, app := range apps {
		g.phase(app.Name, protocol.PhaseRejected)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.docSize == 0 {
		t.Error("the report fitted a frame: the test tests nothing")
	}
}

func TestAHoldOffIsHonoured(t *testing.T) {
	_, g := start(t)
	g.wait("it is connected", func() bool { return len(g.conns) == 1 })
	const holdOff = 400 * time.Millisecond
	released := time.Now()
	g.broadcast(&protocol.Release{HoldOff: uint32(holdOff.Milliseconds())})
	g.wait("it is back", func() bool { return len(g.hellos) == 2 })
	if away := time.Since(released); away < holdOff {
		t.Errorf("back after %s, although held off for %s", away, holdOff)
	}
}

func TestAReleaseNamesAnotherGateway(t *testing.T) {
	b, g := start(t)
	other := newTestGateway(t, b.ca)
	other.generation = 0
	g.wait("it is connected", func() bool { return len(g.conns) == 1 })
	g.broadcast(&protocol.Release{HoldOff: 60000, Endpoint: other.address})
	other.wait("it moved", func() bool { return len(other.conns) == 1 })
}

func TestAReleaseMayComeInsteadOfWelcome(t *testing.T) {
	b := newBench(t)
	draining, other := newTestGateway(t, b.ca), newTestGateway(t, b.ca)
	draining.refuse = &protocol.Release{HoldOff: 60000, Endpoint: other.address}
	b.config.Endpoints = []string{draining.address}
	b.powerOn()
	other.wait("it went to the other one", func() bool { return len(other.conns) == 1 })
	if len(draining.hellos) != 1 {
		t.Errorf("%d attempts at a gateway that held it off", len(draining.hellos))
	}
}

func TestEndpointsFailOverInOrder(t *testing.T) {
	b := newBench(t)
	first, second := newTestGateway(t, b.ca), newTestGateway(t, b.ca)
	first.welcome.Endpoints = []string{first.address, second.address}
	second.welcome.Endpoints = first.welcome.Endpoints
	b.config.Endpoints = []string{first.address}
	b.powerOn()
	until(t, "it is connected", b.device.Connected)
	first.stop()
	second.wait("it went to the second", func() bool { return len(second.conns) == 1 })

	// What a gateway told outlives a restart.
	b.powerOff()
	b.powerOn()
	second.wait("it went to the second again", func() bool { return len(second.hellos) == 2 && len(second.conns) == 1 })
}

func TestAQuarantinedDeviceIsRefusedAndComesBackLater(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	g.refuse = &protocol.Error{Code: protocol.CodeQuarantined, Text: "quarantined"}
	b.config.Endpoints = []string{g.address}
	d := b.powerOn()
	g.wait("it tried a few times", func() bool { return len(g.hellos) >= 3 })
	if d.Connected() {
		t.Error("a refused device takes itself for connected")
	}
	g.mu.Lock()
	g.refuse = nil
	g.mu.Unlock()
	g.wait("it is connected", func() bool { return len(g.conns) == 1 })
}

func TestOnlyAGatewayOfTheInstallationIsTalkedTo(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, newAuthority(t)) // of another installation
	b.config.Endpoints = []string{g.address}
	d := b.powerOn()
	until(t, "it tried a few times", func() bool {
		d.links.mu.Lock()
		defer d.links.mu.Unlock()
		return d.links.rounds >= 3
	})
	if len(g.hellos) != 0 || d.Connected() {
		t.Error("it spoke to a stranger")
	}
}

func TestARenewedIdentityIsUsedAtTheNextConnection(t *testing.T) {
	b, g := start(t)
	g.wait("it is connected", func() bool { return len(g.conns) == 1 })
	next := b.ca.issue(t, "wasmbed://device/plant/one")
	b.device.SetIdentity(Identity{next, b.ca.pool()})
	g.drop()
	g.wait("it is back", func() bool { return len(g.hellos) == 2 && len(g.conns) == 1 })
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		if string(c.conn.ConnectionState().PeerCertificates[0].Raw) != string(next.Certificate[0]) {
			t.Error("the old certificate was used")
		}
	}
}

func TestHeartbeatsKeepAConnectionAndSilenceEndsIt(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	g.welcome.HeartbeatInterval = 400
	b.config.Endpoints = []string{g.address}
	b.powerOn()
	g.wait("some heartbeats came", func() bool { return len(g.beats) >= 3 })
	g.mu.Lock()
	hellos := len(g.hellos)
	if hellos != 1 || g.beats[0].Metrics[protocol.MetricBoots] != 1 {
		t.Errorf("%d hellos, %+v", len(g.hellos), g.beats[0])
	}
	for c := range g.conns {
		c.writing.Lock() // the gateway answers no more
		defer c.writing.Unlock()
	}
	g.mu.Unlock()
	g.wait("it gave the silent connection up", func() bool { return len(g.hellos) > hellos })
}

func TestLogLinesAreLimitedAndTheDroppedOnesCounted(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	g.welcome.Limits = &protocol.Limits{LogLinesPerMinute: 6000}
	b.config.Endpoints = []string{g.address}
	b.powerOn()
	g.desire(g.misbehave("chatter"))
	g.wait("some lines came, and others were dropped", func() bool {
		return slices.ContainsFunc(g.logs, func(l protocol.Log) bool { return l.Dropped > 0 })
	})
}

// probe is the module that calls every host function.
func (g *testGateway) probe(mode string) protocol.App {
	g.t.Helper()
	module, err := os.ReadFile(filepath.Join("testdata", "probe", "probe.wasm"))
	check(g.t, err)
	app := with(g.offer("probe", module), 1, "mode", mode, "long", strings.Repeat("x", 300))
	app.RestartPolicy = protocol.RestartOnFailure
	return app
}

func TestHostFunctionsDoWhatTheirTableSays(t *testing.T) {
	_, g := start(t)
	app := g.probe("calls")
	app.RestartPolicy = protocol.RestartNever
	g.desire(app)
	g.wait("the probe has ended", func() bool {
		p := g.states["probe"].Phase
		return p == protocol.PhaseCompleted || p == protocol.PhaseFailed
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.states["probe"]; s.Phase != protocol.PhaseCompleted {
		t.Errorf("testdata/probe/probe.c ended with the number of a line: %+v", s)
	}
}

func TestEntryPointsAreCalledInOrder(t *testing.T) {
	_, g := start(t)
	module, err := os.ReadFile(filepath.Join("testdata", "start", "start.wasm"))
	check(t, err)
	app := g.offer("start", module)
	app.RestartPolicy = protocol.RestartNever
	g.desire(app)
	g.wait("it has ended", func() bool {
		p := g.states["start"].Phase
		return p == protocol.PhaseCompleted || p == protocol.PhaseFailed
	})
	if s := g.phase("start", protocol.PhaseCompleted); s.Reason != protocol.ReasonNone {
		t.Errorf("%+v", s)
	}
}

func TestAppsWatchButtons(t *testing.T) {
	b, g := start(t)
	g.desire(g.probe("buttons"))
	g.phase("probe", protocol.PhaseRunning)
	until(t, "the app has gone idle", func() bool { return b.idle("probe") })
	for _, down := range []bool{true, false, true} {
		b.device.Press(0, down)
		until(t, "LED 3 shows the button", func() bool { return (b.device.LEDs()&8 != 0) == down })
	}
	if i := runningInstance(b.device, "probe"); i == nil {
		t.Error("the app ended although it watches a button")
	}
}

// idle tells whether no code of an app runs.
func (b *bench) idle(name string) bool {
	i := runningInstance(b.device, name)
	if i == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.scheduled
}

func TestAnAppThatNothingCanWakeHasCompleted(t *testing.T) {
	b, g := start(t)
	g.desire(g.probe("once"))
	if s := g.phase("probe", protocol.PhaseCompleted); s.Reason != protocol.ReasonNone || s.Restarts != 0 {
		t.Fatalf("%+v", s)
	}
	if b.device.LEDs()&16 == 0 {
		t.Error("its timer did not fire before")
	}
}

func TestRestartPolicies(t *testing.T) {
	empty := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x07\x01\x03run\x00\x00\x0a\x04\x01\x02\x00\x0b")
	for name, test := range map[string]struct {
		policy    protocol.RestartPolicy
		crashes   bool
		restarted bool
	}{
		"always, completed":     {protocol.RestartAlways, false, true},
		"always, failed":        {protocol.RestartAlways, true, true},
		"on failure, completed": {protocol.RestartOnFailure, false, false},
		"on failure, failed":    {protocol.RestartOnFailure, true, true},
		"never, completed":      {protocol.RestartNever, false, false},
		"never, failed":         {protocol.RestartNever, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, g := start(t)
			app, phase := g.offer("app", empty), protocol.PhaseCompleted
			if test.crashes {
				app, phase = with(g.offer("app", moduleOf(t, "misbehaves")), 1, "mode", "exit"), protocol.PhaseFailed
			}
			app.RestartPolicy = test.policy
			g.desire(app)
			if test.restarted {
				until(t, "it was restarted twice", func() bool { s := b.device.States(); return len(s) == 1 && s[0].Restarts >= 2 })
				return
			}
			g.phase("app", phase)
			b.device.mu.Lock()
			defer b.device.mu.Unlock()
			if a := b.device.apps["app"]; a.retry != nil || a.inst != nil || a.restarts != 0 {
				t.Errorf("it is to be restarted: %+v", a)
			}
		})
	}
}

func TestWithoutModulesNothingRunsButAllIsReported(t *testing.T) {
	b := newBench(t)
	g := newTestGateway(t, b.ca)
	b.config.Endpoints, b.config.NoModules = []string{g.address}, true
	d := b.powerOn()
	g.desire(g.example("blink"), g.misbehave("memory"))
	g.phase("blink", protocol.PhaseRunning)
	g.phase("misbehaves", protocol.PhaseRunning)
	if len(d.instances()) != 0 {
		t.Error("an app runs")
	}
}

// What a full flash does to a device's state.
func TestAStateThatCannotBeSavedIsSavedLater(t *testing.T) {
	b, g := start(t)
	b.device.mu.Lock()
	b.device.timing.resave = 10 * time.Millisecond
	b.device.mu.Unlock()
	inTheWay := filepath.Join(b.config.StateDir, stateFile+".new")
	check(t, os.Mkdir(inTheWay, 0o700))
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	if held, err := b.device.store.loadState(); err != nil || len(held.Apps) != 0 {
		t.Fatalf("the state was saved: %+v, %v", held, err)
	}
	check(t, os.Remove(inTheWay))
	until(t, "the state is saved, with nothing new asked for", func() bool {
		held, err := b.device.store.loadState()
		return err == nil && len(held.Apps) == 1 && held.Generation == g.generation
	})
}

// A device that is turned off before it tries again.
func TestAStateThatCannotBeSavedIsSavedAtTheEnd(t *testing.T) {
	b, g := start(t)
	b.device.mu.Lock()
	b.device.timing.resave = time.Hour
	b.device.mu.Unlock()
	inTheWay := filepath.Join(b.config.StateDir, stateFile+".new")
	check(t, os.Mkdir(inTheWay, 0o700))
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	check(t, os.Remove(inTheWay))
	b.powerOff()
	held, err := b.device.store.loadState()
	if err != nil || len(held.Apps) != 1 || held.Generation != g.generation {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestADamagedFlashMakesADeviceAsNew(t *testing.T) {
	b, g := start(t)
	g.desire(g.example("blink"))
	g.phase("blink", protocol.PhaseRunning)
	b.powerOff()
	check(t, os.WriteFile(filepath.Join(b.config.StateDir, stateFile), []byte(`{"boots":`), 0o600))
	modules, err := filepath.Glob(filepath.Join(b.config.StateDir, "modules", "*"))
	check(t, err)
	check(t, os.WriteFile(modules[0], []byte("rotten"), 0o600))
	b.powerOn()
	g.wait("it said hello as new", func() bool { return len(g.hellos) == 2 && g.hellos[1].Generation == 0 })
	g.phase("blink", protocol.PhaseRunning)
}
