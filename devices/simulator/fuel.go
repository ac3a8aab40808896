// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"math"
	"time"

	"wasmbed.dev/gateway/protocol"
)

const (
	// sliceFuel is what an app may run for before others have their turn, as in the firmware.
	sliceFuel = 10_000
	// boardFuel is how much fuel a second an app gets that has no limit: about what a Cortex-M3 with 25 MHz burns.
	// On a board the core sets that limit; here an app that never pauses would take the whole machine.
	boardFuel = 8_000_000
)

// fuel is the firmware's token bucket: it holds a second's worth.
type fuel struct {
	rate   int64 // units a second
	tokens int64
	at     time.Duration // when fuel was last given
	used   uint64        // by the instance in all
}

func newFuel(limits *protocol.AppLimits, now time.Duration) fuel {
	rate := uint64(boardFuel)
	if limits != nil && limits.Fuel != 0 {
		rate = min(rate, limits.Fuel, math.MaxInt32)
	}
	return fuel{rate: int64(rate), tokens: int64(rate), at: now}
}

// ration is the fuel for the next slice; 0 when the share is used up, and wake says when there is more.
func (f *fuel) ration(now time.Duration) (units uint32, wake time.Duration) {
	elapsed := min(now-f.at, time.Second).Microseconds()
	if gained := f.rate * elapsed / 1_000_000; gained > 0 {
		f.at = now
		f.tokens = min(f.tokens+gained, f.rate)
	}
	least := min(f.rate/100+1, sliceFuel)
	if f.tokens < least {
		return 0, now + time.Microsecond*time.Duration(1+(least-f.tokens)*1_000_000/f.rate)
	}
	return uint32(min(f.tokens, sliceFuel)), 0
}

// spent takes what the instance has used in all.
func (f *fuel) spent(used uint64) {
	f.tokens -= int64(used - f.used)
	f.used = used
}
