// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// defaultLease is for a Lease that does not say how long it holds.
const defaultLease = 15 * time.Second

// life is what is known of a gateway's process.
type life int

const (
	unknown life = iota // not watched for long enough
	alive
	expired
)

// pulse watches how Leases are renewed, by this process's own clock: what a Lease says of the time is another
// machine's, and may be from before a break.
//
// A Lease has expired when it was not renewed for its duration, and then, seen by two reads of the API server itself a
// third of its duration apart, still was not. A read that fails starts the wait anew: while the API server is away
// nobody can renew.
type pulse struct {
	mu   sync.Mutex
	seen map[client.ObjectKey]*beat
}

// beat is the state of one Lease.
type beat struct {
	renewed  time.Time // as in the Lease
	at       time.Time // when that was first seen, by our clock
	fresh    bool      // a renewal was seen, not just an old Lease found
	suspect  time.Time // when a read confirmed that it was not renewed in time; zero: not yet
	expired  bool
	duration time.Duration
}

// observe notes a Lease as the cache or the API server shows it; nil: there is none. It returns what that says, and
// when to ask again: with confirm true, by a read of the API server itself.
func (p *pulse) observe(key client.ObjectKey, lease *coordinationv1.Lease, direct bool, now time.Time) (state life, after time.Duration, confirm bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[client.ObjectKey]*beat{}
	}
	b, ok := p.seen[key]
	if !ok {
		b = &beat{at: now, duration: defaultLease}
		p.seen[key] = b
		if lease != nil && lease.Spec.RenewTime != nil {
			b.renewed = lease.Spec.RenewTime.Time
		}
	}
	b.take(lease, now)
	if b.expired {
		return expired, 0, false
	}
	deadline := b.at.Add(b.duration)
	if now.Before(deadline) {
		return b.state(), deadline.Sub(now), false
	}
	return b.judge(direct, now)
}

// take notes a renewal.
func (b *beat) take(lease *coordinationv1.Lease, now time.Time) {
	if lease == nil {
		return
	}
	if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil && *seconds > 0 {
		b.duration = time.Duration(*seconds) * time.Second
	}
	if renewed := lease.Spec.RenewTime; renewed != nil && !renewed.Time.Equal(b.renewed) {
		*b = beat{renewed: renewed.Time, at: now, fresh: true, duration: b.duration}
	}
}

func (b *beat) state() life {
	if b.fresh {
		return alive
	}
	return unknown
}

// judge decides on a Lease whose time is up.
func (b *beat) judge(direct bool, now time.Time) (life, time.Duration, bool) {
	switch {
	case !b.suspect.IsZero() && now.Before(b.suspect.Add(b.duration/3)):
		return b.state(), b.suspect.Add(b.duration / 3).Sub(now), false
	case !direct:
		return b.state(), 0, true
	case b.suspect.IsZero():
		b.suspect = now
		return b.state(), b.duration / 3, false
	}
	b.expired = true
	return expired, 0, false
}

// unreadable notes that the API server could not be asked.
func (p *pulse) unreadable(key client.ObjectKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.seen[key]; ok {
		b.at, b.suspect = now, time.Time{}
	}
}

func (p *pulse) forget(key client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, key)
}
