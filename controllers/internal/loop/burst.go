// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Burst tells that very many objects are being written that somebody waits for. What only follows from new or removed ones
// can wait meanwhile: all of it takes the API server the same time, but a commit is applied sooner. A nil Burst is none.
type Burst struct{ under atomic.Int32 }

const (
	// burstSize is how many writes are a burst.
	burstSize = 200
	burstLook = 2 * time.Second
)

// Begin is called before so many writes, and what it returns after them.
func (b *Burst) Begin(writes int) (end func()) {
	if b == nil || writes < burstSize {
		return func() {}
	}
	b.under.Add(1)
	return func() { b.under.Add(-1) }
}

// Wait is how long to wait before looking again, or 0 when there is no burst.
func (b *Burst) Wait() time.Duration {
	if b == nil || b.under.Load() == 0 {
		return 0
	}
	return burstLook + rand.N(burstLook)
}
