// SPDX-License-Identifier: Apache-2.0

// Package machine keeps how the processes of an installation, and the machine that they run on, were over the last
// three hours: a point a minute.
package machine

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"wasmbed.dev/dashboard/internal/views"
)

const (
	points       = 180
	step         = 60
	maxProcesses = 64
)

// Names of series.
const (
	cpuPercent = "cpu_percent"
	memory     = "memory_bytes"
	memoryUsed = "memory_used_bytes"
	diskRead   = "disk_read_bytes"
	diskWrite  = "disk_write_bytes"
	diskFree   = "disk_free_bytes"
	networkIn  = "network_in_bytes"
	networkOut = "network_out_bytes"
)

// Watch samples the processes whose ids are in NAME.pid files of a directory.
type Watch struct {
	dir string

	mu        sync.Mutex
	processes map[string]*process
	machine   *series
	network   [2]uint64
	busy      float64
	sampledAt time.Time
}

// process is what was measured of one.
type process struct {
	pid     int
	cpu     float64
	io      procfs.ProcIO
	measure bool
	series  *series
}

// series are values by name and minute.
type series struct {
	values map[string]map[int64]float64
}

func newSeries() *series { return &series{map[string]map[int64]float64{}} }

func (s *series) set(name string, minute int64, value float64) {
	if s.values[name] == nil {
		s.values[name] = map[int64]float64{}
	}
	s.values[name][minute] = value
	for old := range s.values[name] {
		if old <= minute-points {
			delete(s.values[name], old)
		}
	}
}

// last three hours, oldest first.
func (s *series) read(start int64) map[string][]*float64 {
	all := map[string][]*float64{}
	for name, values := range s.values {
		line := make([]*float64, points)
		for minute, value := range values {
			if at := minute - start; at >= 0 && at < points {
				line[at] = &value
			}
		}
		all[name] = line
	}
	return all
}

// New watches the processes of a directory.
func New(dir string) *Watch {
	return &Watch{dir: dir, processes: map[string]*process{}, machine: newSeries()}
}

// Run takes a point a minute until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	w.Sample(time.Now())
	ticker := time.NewTicker(step * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			w.Sample(now)
		}
	}
}

// Sample takes a point. What cannot be read is left out.
func (w *Watch) Sample(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return
	}
	minute, passed := now.Unix()/step, now.Sub(w.sampledAt).Seconds()
	first := w.sampledAt.IsZero()
	w.sampledAt = now
	w.sampleMachine(fs, minute, passed, first)
	files, err := filepath.Glob(filepath.Join(w.dir, "*.pid"))
	if err != nil {
		return
	}
	for _, file := range files[:min(len(files), maxProcesses)] {
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			w.sampleProcess(fs, name, pid, minute, passed)
		}
	}
}

func (w *Watch) sampleProcess(fs procfs.FS, name string, pid int, minute int64, passed float64) {
	p := w.processes[name]
	if p == nil {
		p = &process{series: newSeries()}
		w.processes[name] = p
	}
	if p.pid != pid { // started anew
		p.pid, p.measure = pid, false
	}
	proc, err := fs.Proc(pid)
	if err != nil {
		return
	}
	if stat, err := proc.Stat(); err == nil {
		if p.measure && passed > 0 {
			p.series.set(cpuPercent, minute, 100*(stat.CPUTime()-p.cpu)/passed)
		}
		p.cpu = stat.CPUTime()
		p.series.set(memory, minute, float64(stat.ResidentMemory()))
	}
	if io, err := proc.IO(); err == nil {
		if p.measure {
			p.series.set(diskRead, minute, float64(io.ReadBytes-p.io.ReadBytes))
			p.series.set(diskWrite, minute, float64(io.WriteBytes-p.io.WriteBytes))
		}
		p.io = io
	}
	p.measure = true
}

func (w *Watch) sampleMachine(fs procfs.FS, minute int64, passed float64, first bool) {
	if stat, err := fs.Stat(); err == nil {
		c := stat.CPUTotal
		busy := c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
		if !first && passed > 0 {
			w.machine.set(cpuPercent, minute, 100*(busy-w.busy)/passed)
		}
		w.busy = busy
	}
	if m, err := fs.Meminfo(); err == nil && m.MemTotalBytes != nil && m.MemAvailableBytes != nil {
		w.machine.set(memoryUsed, minute, float64(*m.MemTotalBytes-*m.MemAvailableBytes))
	}
	if devices, err := fs.NetDev(); err == nil {
		total := devices.Total()
		if !first {
			w.machine.set(networkIn, minute, float64(total.RxBytes-w.network[0]))
			w.machine.set(networkOut, minute, float64(total.TxBytes-w.network[1]))
		}
		w.network = [2]uint64{total.RxBytes, total.TxBytes}
	}
	var disk syscall.Statfs_t
	if syscall.Statfs(w.dir, &disk) == nil {
		w.machine.set(diskFree, minute, float64(disk.Bavail)*float64(disk.Bsize))
	}
}

// Read fills in what is known.
func (w *Watch) Read(into *views.System, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	start := now.Unix()/step - points + 1
	into.Start, into.Step, into.Cores = time.Unix(start*step, 0).UTC(), step, runtime.NumCPU()
	into.Machine = &views.Machine{Series: w.machine.read(start)}
	for name, p := range w.processes {
		into.Processes = append(into.Processes, views.Process{Name: name, PID: p.pid, Series: p.series.read(start)})
	}
}
