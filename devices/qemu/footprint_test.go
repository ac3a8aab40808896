// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// What the firmware may take of a board, in bytes: program memory, and RAM before apps.
const (
	maxFlash = 200 << 10
	maxRAM   = 96 << 10
)

type footprint struct{ flash, static, heapHigh, stack, stackHigh uint64 }

// elfFootprint sums up the sections: what is in the image, and what takes RAM, apps' memory apart.
func elfFootprint(t testing.TB, path string) (f footprint) {
	t.Helper()
	file, err := elf.Open(path)
	must(t, err)
	defer file.Close()
	for _, s := range file.Sections {
		switch {
		case s.Flags&elf.SHF_ALLOC == 0 || s.Name == ".arena":
		case s.Type == elf.SHT_NOBITS:
			f.static += s.Size
		default:
			f.flash += s.Size
			if s.Flags&elf.SHF_WRITE != 0 {
				f.static += s.Size
			}
		}
		if s.Name == ".stack" {
			f.stack = s.Size
		}
	}
	return f
}

// The firmware stays within its bounds, also after all that uses stack and heap: handshakes in full and resumed,
// fetching, loading and running apps, going on after a trap. Prints the table of `make size`.
func TestFootprint(t *testing.T) {
	fmt.Println("| board | flash | RAM before apps | of it stack | stack high-water | TLS heap high-water |")
	fmt.Println("|---|---|---|---|---|---|")
	everyBoard(t, func(t *testing.T, name string) {
		f := elfFootprint(t, firmware(t, name))
		r := newRig(t, name)
		thermostat := r.g.app("thermostat", 1, example(t, "thermostat"), "gpio", "log", "sensor", "timer")
		r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"), misbehaving(t, r.g, "recurse", 1, "recurse"), thermostat)
		r.g.waitFor("thermostat", 1, protocol.PhaseRunning)
		r.g.waitFor("recurse", 1, protocol.PhaseFailed)
		r.g.hangUp()
		r.g.until("a resumed session", func() bool { return r.g.resumed == 1 })
		r.g.mu.Lock()
		r.g.beat = nil
		r.g.mu.Unlock()
		r.g.until("metrics", func() bool { return r.g.beat != nil })
		f.stackHigh, f.heapHigh = r.g.metric(protocol.MetricStackHighWater), r.g.metric(protocol.MetricHeapHighWater)
		fmt.Printf("| %s | %d | %d | %d | %d | %d |\n", name, f.flash, f.static, f.stack, f.stackHigh, f.heapHigh)
		if f.flash > maxFlash || f.static > maxRAM {
			t.Errorf("flash %d of %d, RAM %d of %d", f.flash, maxFlash, f.static, maxRAM)
		}
		if f.stackHigh == 0 || f.stackHigh > f.stack*3/4 {
			t.Errorf("%d of %d bytes of stack were used", f.stackHigh, f.stack)
		}
	})
}

// cpuTime of a process in ticks of 10 ms, and its proportional share of memory in KB.
func usage(t testing.TB, pid int) (ticks, memory int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	for _, i := range []int{11, 12} {
		n, err := strconv.Atoi(fields[i])
		must(t, err)
		ticks += n
	}
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			memory, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return ticks, memory
}

// A fleet of boards on this machine: how long until all are connected and run an app, and what they cost idle.
// QEMU_FLEET says how many; make -C firmware fleet runs it with 50.
func TestFleet(t *testing.T) {
	count, _ := strconv.Atoi(os.Getenv("QEMU_FLEET"))
	if count == 0 {
		t.Skip("QEMU_FLEET is not set")
	}
	a := newAuthority(t)
	var rigs []*rig
	firmware(t, boardNames[0])
	begin := time.Now()
	for i := range count {
		g := newTestGateway(t, a)
		g.interval = 30000
		g.want(g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		opts := boardOptions(t, boardNames[i%len(boardNames)], filepath.Join(t.TempDir(), strconv.Itoa(i)), a.identity(a.issue("device"), g.address()))
		rigs = append(rigs, &rig{testBoard: startBoard(t, opts), g: g, a: a})
	}
	for _, r := range rigs {
		r.g.waitFor("blink", 1, protocol.PhaseRunning)
	}
	up := time.Since(begin)
	time.Sleep(12 * time.Second) // over the start-up window of the apps
	measure := func() (ticks, memory int) {
		for _, r := range rigs {
			n, m := usage(t, r.Status().PID)
			ticks, memory = ticks+n, memory+m
		}
		return ticks, memory
	}
	before, _ := measure()
	const window = 20 * time.Second
	time.Sleep(window)
	after, memory := measure()
	cores := float64(after-before) / 100 / window.Seconds()
	fmt.Printf("%d boards: all run an app after %.1f s; idle %.3f cores in all, %.1f MB proportional memory each\n",
		count, up.Seconds(), cores, float64(memory)/1024/float64(count))
	if count == 50 && cores > 0.4 {
		t.Errorf("idle boards take %.3f cores", cores)
	}
}
