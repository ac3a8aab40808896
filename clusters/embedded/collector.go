// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// How much garbage the collector lets gather, in percent of what lives. An
// API server allocates megabytes for each hundred writes: at 50 % the
// collector takes two fifths of the processor time of a status patch.
const (
	garbageBusy  = 200
	garbageQuiet = 50
)

// The process is busy from one rate of allocation on, in bytes a second, and
// quiet after so many looks below the other one.
const (
	busyRate     = 32 << 20
	quietRate    = 8 << 20
	quietLooks   = 8
	lookInterval = 2 * time.Second
)

// fitCollector fits the garbage collector to what the process does until ctx
// ends: while it is busy, processor time counts, and afterwards memory. An
// operator who sets GOGC decides instead.
func fitCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	p := pressure{looks: quietLooks}
	percent := 0
	for last := figure("/gc/heap/allocs:bytes"); ; {
		if want := p.percent(figure("/gc/heap/live:bytes"), available()); want < percent-5 || want > percent+5 {
			percent = want
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := figure("/gc/heap/allocs:bytes")
		becameQuiet := p.look(float64(now-last) / lookInterval.Seconds())
		last = now
		if becameQuiet {
			runtime.GC() // what lies in pools goes with the second one only
			debug.FreeOSMemory()
		}
	}
}

// figure reads a figure of the runtime.
func figure(metric string) uint64 {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// available is the memory in bytes that the machine has to spare; 0 when
// it does not tell.
func available() uint64 {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(content) {
		if rest, ok := bytes.CutPrefix(line, []byte("MemAvailable:")); ok {
			kilobytes, _ := strconv.ParseUint(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// pressure tells a busy process from a quiet one. It begins busy.
type pressure struct {
	quiet bool
	looks int // until it is quiet
}

// look takes a rate of allocation in bytes a second, and tells whether the
// process has become quiet.
func (p *pressure) look(rate float64) bool {
	switch {
	case rate >= busyRate || !p.quiet && rate >= quietRate:
		p.quiet, p.looks = false, quietLooks
	case !p.quiet:
		p.looks--
		p.quiet = p.looks <= 0
		return p.quiet
	}
	return false
}

// percent is how much garbage may gather when so many bytes live and so many
// are to spare: no more than a quarter of those, unless that is less than in
// a quiet process.
func (p *pressure) percent(live, available uint64) int {
	if p.quiet {
		return garbageQuiet
	}
	return int(min(garbageBusy, max(garbageQuiet, available/4*100/max(1, live))))
}
