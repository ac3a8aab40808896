// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

// How much garbage the collector lets gather, in percent of what lives. Ten thousand idle connections make little of it,
// so that collecting early costs next to nothing and saves most of what would lie around; while all of them come at once,
// collecting early would cost as much as the handshakes. In a quiet process garbageRoom bytes may gather in any case: where
// little lives, there is little to save.
const (
	garbageBusy  = 100
	garbageQuiet = 20
	garbageRoom  = 8 << 20
)

// The process is busy from one rate of allocation on, in bytes a second, and quiet again after so many looks below the
// other one.
const (
	busyRate     = 16 << 20
	quietRate    = 4 << 20
	quietLooks   = 3
	lookInterval = 2 * time.Second
)

// keepSmall fits the garbage collector to what the process does, and gives memory back once a storm is over, until ctx
// ends. An operator who sets GOGC decides instead.
func keepSmall(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	p := pressure{looks: quietLooks}
	percent := garbageBusy
	for last := read("/gc/heap/allocs:bytes"); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := read("/gc/heap/allocs:bytes")
		change := p.look(float64(now-last) / lookInterval.Seconds())
		last = now
		if want := p.percent(read("/gc/heap/live:bytes")); want < percent-5 || want > percent+5 {
			percent = want
			debug.SetGCPercent(percent)
		}
		if change == becameQuiet {
			runtime.GC() // what has finalizers or lies in pools goes with the second one only
			debug.FreeOSMemory()
		}
	}
}

// read reads a figure of the runtime.
func read(metric string) uint64 {
	sample := []runtimemetrics.Sample{{Name: metric}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}

// pressure tells a busy process from a quiet one. It begins busy.
type pressure struct {
	quiet bool
	looks int // until it is quiet
}

type pressureChange int

const (
	stayed pressureChange = iota
	becameBusy
	becameQuiet
)

// look takes a rate of allocation, in bytes a second.
func (p *pressure) look(rate float64) pressureChange {
	switch {
	case p.quiet && rate >= busyRate:
		p.quiet, p.looks = false, quietLooks
		return becameBusy
	case p.quiet:
		return stayed
	case rate >= quietRate:
		p.looks = quietLooks
		return stayed
	}
	if p.looks--; p.looks > 0 {
		return stayed
	}
	p.quiet = true
	return becameQuiet
}

// percent is how much garbage may gather when so many bytes live.
func (p *pressure) percent(live uint64) int {
	if !p.quiet {
		return garbageBusy
	}
	return min(garbageBusy, max(garbageQuiet, int(garbageRoom*100/max(1, live))))
}
