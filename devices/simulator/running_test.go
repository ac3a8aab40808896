// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway/protocol"
)

// napper sleeps for 100 ms, again and again.
var napper = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x09\x02\x60\x01\x7f\x01\x7f\x60\x00\x00" +
	"\x02\x12\x01\x03env\x0aocre_sleep\x00\x00" +
	"\x03\x02\x01\x01" +
	"\x07\x07\x01\x03run\x00\x01" +
	"\x0a\x0f\x01\x0d\x00\x03\x40\x41\xe4\x00\x10\x00\x1a\x0c\x00\x0b\x0b")

// BenchmarkRunningApps reports what an app costs that wakes ten times a second, by a timer or from sleep. The number of
// devices is the benchmark's N: -benchtime=2000x.
func BenchmarkRunningApps(b *testing.B) {
	thermostat, err := os.ReadFile(filepath.Join("..", "..", "apps", "thermostat", "thermostat.wasm"))
	check(b, err)
	b.Run("timer", func(b *testing.B) { runningApps(b, thermostat, map[string]string{"period": "100", "target": "0"}) })
	b.Run("sleep", func(b *testing.B) { runningApps(b, napper, nil) })
}

func runningApps(b *testing.B, module []byte, config map[string]string) {
	engine, err := NewEngine(context.Background())
	check(b, err)
	defer engine.Close(context.Background())
	board, _ := boards.Get(boards.DefaultSimulated)
	digest, memory, stack := protocol.DigestOf(module), uint32(4096), uint32(2048)
	app := protocol.App{Name: "app", Digest: digest, Artifact: protocol.Artifact{Digest: digest, Size: uint32(len(module))}, Spec: 1, Config: config,
		Permissions: []string{"gpio", "log", "sensor", "timer"}, Limits: &protocol.AppLimits{Memory: &memory, Stack: &stack}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	devices := make([]*Device, b.N)
	dir := b.TempDir()
	for i := range devices {
		devices[i], err = New(Config{Namespace: "plant", Name: "d" + strconv.Itoa(i), Board: board, Engine: engine, StateDir: filepath.Join(dir, strconv.Itoa(i))})
		check(b, err)
		check(b, devices[i].store.writeModule(digest, module))
		wg.Go(func() { _ = devices[i].Run(ctx) })
	}
	before := measure()
	for _, d := range devices {
		until(b, "it is on", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.ctx != nil })
		d.mu.Lock()
		d.apply(1, digest, []protocol.App{app}, time.Now())
		d.mu.Unlock()
	}
	for _, d := range devices {
		until(b, "its app runs", func() bool { s := d.States(); return len(s) == 1 && s[0].Phase == protocol.PhaseRunning })
	}
	after := measure()
	const window = 5 * time.Second
	began, cpu := time.Now(), processorTime(b)
	time.Sleep(window)
	cpu = processorTime(b) - cpu
	events := float64(b.N) * time.Since(began).Seconds() * 10
	b.ReportMetric((after.kilobytes-before.kilobytes)/float64(b.N), "KB/app")
	b.ReportMetric((after.resident-before.resident)/float64(b.N), "resident-KB/app")
	b.ReportMetric((after.goroutines-before.goroutines)/float64(b.N), "goroutines/app")
	b.ReportMetric(float64(cpu.Microseconds())/events, "cpu-µs/event")
	runtime.KeepAlive(devices)
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
