// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// native compiles the runtime for this machine, as firmware does for a board: wasmbed-run.
func native(t *testing.T) (run func(module []byte, memory, stack uint32) (verdict string, fuel uint64)) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("make", "-s", "-C", filepath.Join("..", "..", "firmware", "wasm"), "BUILD="+dir, "wasmbed-run")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make wasmbed-run: %v\n%s", err, out)
	}
	return func(module []byte, memory, stack uint32) (string, uint64) {
		file := filepath.Join(dir, "module.wasm")
		check(t, os.WriteFile(file, module, 0o600))
		cmd := exec.Command(filepath.Join(dir, "wasmbed-run"), "-m", fmt.Sprint(memory), "-s", fmt.Sprint(stack), file)
		out, err := cmd.CombinedOutput()
		verdict := "completed"
		fuel := uint64(0)
		for line := range strings.Lines(string(out)) {
			if text, ok := strings.CutPrefix(line, "wasmbed-run: trap: "); ok {
				verdict = strings.TrimSpace(text)
			}
			if text, ok := strings.CutPrefix(line, "fuel "); ok {
				number, _, _ := strings.Cut(text, ",")
				fuel, _ = strconv.ParseUint(number, 10, 64)
			}
		}
		if (err != nil) != (verdict != "completed") || fuel == 0 {
			t.Fatalf("wasmbed-run: %v\n%s", err, out)
		}
		return verdict, fuel
	}
}

// module assembles sections, each shorter than 128 bytes.
func module(sections ...string) []byte {
	out := bytes.NewBufferString("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		out.WriteString(s[:1] + string(rune(len(s)-1)) + s[1:])
	}
	return out.Bytes()
}

// bodyOf is a function's body in a vector of one, without locals.
func bodyOf(body string) string { return "\x0a\x01" + string(rune(len(body)+1)) + "\x00" + body }

// leb is a number of exactly two bytes.
func leb(n int) string { return string([]byte{byte(n&0x7f | 0x80), byte(n >> 7)}) }

const (
	typeRun   = "\x01\x01\x60\x00\x00"
	declare   = "\x03\x01\x00"
	onePage   = "\x05\x01\x00\x01"
	exportRun = "\x07\x01\x03run\x00\x00"
)

// descend calls itself n times: run() { deeper(n) }, deeper(n) { if (n) deeper(n - 1) }.
func descend(n int) []byte {
	run, deeper := "\x00\x41"+leb(n)+"\x10\x01\x0b", "\x00\x20\x00\x04\x40\x20\x00\x41\x01\x6b\x10\x01\x0b\x0b"
	return module("\x01\x02\x60\x00\x00\x60\x01\x7f\x00", "\x03\x02\x00\x01", exportRun,
		"\x0a\x02"+string(rune(len(run)))+run+string(rune(len(deeper)))+deeper)
}

// storeAt writes a byte at an address below 8192.
func storeAt(address int) []byte {
	return module(typeRun, declare, onePage, exportRun, bodyOf("\x41"+leb(address)+"\x41\x01\x3a\x00\x00\x0b"))
}

// onADevice runs a module on a simulated device until it has ended.
func onADevice(t *testing.T, b *bench, module []byte, limits *protocol.AppLimits) (state protocol.State, fuel uint64) {
	t.Helper()
	digest := protocol.DigestOf(module)
	b.config.StateDir = t.TempDir()
	d := b.powerOn()
	defer b.powerOff()
	check(t, d.store.writeModule(digest, module))
	until(t, "it is on", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.ctx != nil })
	d.mu.Lock()
	d.apply(1, digest, []protocol.App{{Name: "app", Digest: digest, Artifact: protocol.Artifact{Digest: digest, Size: uint32(len(module))}, Spec: 1,
		RestartPolicy: protocol.RestartNever, Limits: limits}}, time.Now())
	d.mu.Unlock()
	until(t, "the app has ended", func() bool {
		for _, i := range d.instances() {
			if used, err := i.wasm.Usage(t.Context()); err == nil {
				fuel = max(fuel, used.Fuel)
			}
		}
		state = d.States()[0]
		return state.Phase == protocol.PhaseCompleted || state.Phase == protocol.PhaseFailed || state.Phase == protocol.PhaseRejected
	})
	return state, fuel
}

// completes runs a module in the boards' runtime, of 32 bits as they are.
func completes(t *testing.T, module []byte, memory, stack uint32) bool {
	t.Helper()
	checker, err := wasmcheck.New(t.Context())
	check(t, err)
	defer checker.Close(t.Context())
	program, err := checker.Program(t.Context(), module)
	check(t, err)
	i, err := program.Instantiate(t.Context(), wasmcheck.Config{Limits: wasmcheck.Limits{Memory: memory, Stack: stack}})
	check(t, err)
	check(t, i.Call(t.Context(), "run"))
	status, err := i.Run(t.Context(), 1<<20)
	check(t, err)
	return status == wasmcheck.Done
}

// TestTheVerdictIsTheRuntimes compares simulated devices with the runtime itself: which app ends how under which memory
// and stack, to the byte.
func TestTheVerdictIsTheRuntimes(t *testing.T) {
	run := native(t)
	b := newBench(t)
	const memory, stack = 5000, 1000
	// This machine's frames are larger than a board's: how deep a board goes, only its own layout tells.
	deepest := 1
	for ; deepest < 500 && completes(t, descend(deepest), memory, stack); deepest++ {
	}
	modules := map[string][]byte{
		"stores in its last byte":     storeAt(memory - 1),
		"stores beyond its memory":    storeAt(memory),
		"calls itself just enough":    descend(deepest - 1),
		"calls itself once too often": descend(deepest),
		"unreachable":                 module(typeRun, declare, exportRun, bodyOf("\x00\x0b")),
		"divides by zero":             module(typeRun, declare, exportRun, bodyOf("\x41\x01\x41\x00\x6d\x1a\x0b")),
		"has a start function":        module(typeRun, declare, exportRun, "\x08\x00", bodyOf("\x01\x0b")),
	}
	verdicts := map[string]int{}
	for what, m := range modules {
		given := uint32(stack)
		if what == "calls itself just enough" {
			given *= 2
		}
		want, _ := run(m, memory, given)
		state, _ := onADevice(t, b, m, &protocol.AppLimits{Memory: new(uint32(memory)), Stack: new(uint32(stack))})
		got := state.Message
		if state.Phase == protocol.PhaseCompleted {
			got = "completed"
		}
		if got != want {
			t.Errorf("%s: %q on a simulated device, %q from the runtime", what, got, want)
		}
		verdicts[want]++
	}
	if len(verdicts) != 5 || deepest < 10 {
		t.Errorf("the modules do not differ enough: %v, depth %d", verdicts, deepest)
	}
}

// TestFuelIsRationed: an app that burns more than its limit takes as long as the limit says.
func TestFuelIsRationed(t *testing.T) {
	b := newBench(t)
	// run() { for (n = 30000; n; n--); }: 10 bytes a round.
	burner := module("\x01\x01\x60\x00\x00", declare, exportRun,
		"\x0a\x01\x16\x01\x01\x7f\x41\xb0\xea\x01\x21\x00\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b")
	_, fuel := native(t)(burner, 1000, 1000)
	const rate = 200_000
	began := time.Now()
	state, _ := onADevice(t, b, burner, &protocol.AppLimits{Fuel: rate})
	took, least := time.Since(began), time.Duration(float64(fuel-rate)/rate*float64(time.Second)) // a second's worth is there at once
	if state.Phase != protocol.PhaseCompleted || took < least || least < 100*time.Millisecond {
		t.Errorf("%d units at %d a second took %s, less than %s: %+v", fuel, rate, took, least, state)
	}
}

// TestARunawayBurnsNoMoreThanABoard bounds what an app without a limit takes of this machine.
func TestARunawayBurnsNoMoreThanABoard(t *testing.T) {
	b := newBench(t)
	spin := module(typeRun, declare, exportRun, bodyOf("\x03\x40\x0c\x00\x0b\x0b"))
	digest := protocol.DigestOf(spin)
	d := b.powerOn()
	check(t, d.store.writeModule(digest, spin))
	until(t, "it is on", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.ctx != nil })
	began := time.Now()
	d.mu.Lock()
	d.apply(1, digest, []protocol.App{{Name: "spin", Digest: digest, Artifact: protocol.Artifact{Digest: digest, Size: uint32(len(spin))}, Spec: 1}}, time.Now())
	d.mu.Unlock()
	var used wasmcheck.Usage
	until(t, "it has used up what was there at once", func() bool {
		for _, i := range d.instances() {
			var err error
			used, err = i.wasm.Usage(t.Context())
			check(t, err)
		}
		return used.Fuel > boardFuel
	})
	if most := uint64(boardFuel*(1+time.Since(began).Seconds())) + sliceFuel; used.Fuel > most {
		t.Errorf("used %d units, more than %d", used.Fuel, most)
	}
}

// TestMemoryIsHandedOutAsOnABoard: what does not fit waits until another app is gone.
func TestMemoryIsHandedOutAsOnABoard(t *testing.T) {
	board, _ := boards.Get(boards.DefaultSimulated)
	a := newArena(board)
	half := wasmcheck.RAM{Module: 100, Instance: uint32(board.AppMemoryBytes/2) - 200, Load: 1000}
	first, err := a.reserve(half)
	check(t, err)
	second, err := a.reserve(half)
	check(t, err)
	if _, err = a.reserve(half); err == nil || refusalOf(err).message != "all app memory is in use" {
		t.Fatal(err)
	}
	a.set(first, false)
	if _, err = a.reserve(wasmcheck.RAM{Module: 100, Instance: uint32(board.AppMemoryBytes / 2)}); err == nil || refusalOf(err).reason != protocol.ReasonNoMemory {
		t.Fatal(err)
	}
	if _, err = a.reserve(wasmcheck.RAM{Module: 1, Instance: 1, Load: uint32(board.AppMemoryBytes)}); err == nil {
		t.Fatal("loading needs more than is free")
	}
	third, err := a.reserve(half)
	check(t, err)
	a.set(second, false)
	a.set(third, false)
	if a.left() != board.AppMemoryBytes {
		t.Errorf("%d bytes of %d are left", a.left(), board.AppMemoryBytes)
	}

	_, g := start(t)
	big, small := g.offer("big", napper), g.offer("small", napper)
	big.Limits = &protocol.AppLimits{Stack: new(uint32(120 << 10))}
	small.Limits = &protocol.AppLimits{Stack: new(uint32(20 << 10))}
	g.desire(big)
	g.phase("big", protocol.PhaseRunning)
	g.desire(big, small)
	if s := g.phase("small", protocol.PhaseRejected); s.Reason != protocol.ReasonNoMemory || !strings.HasPrefix(s.Message, "needs at least 20") {
		t.Fatalf("%+v", s)
	}
	g.desire(small)
	g.phase("small", protocol.PhaseRunning)
}
