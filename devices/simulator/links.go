// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// links decides which endpoint a device connects to next, and when: in order, each once, then a pause with full
// jitter that doubles with every round that failed; never before a gateway's hold-off is over.
type links struct {
	mu        sync.Mutex
	given     []string // provisioned
	welcomed  []string // told by a gateway; come first
	notBefore map[string]time.Time
	instead   string   // named by a release: next, at once
	tried     []string // in this round
	rounds    int      // that failed in a row
	retryAt   time.Time
	changed   chan struct{} // has an element when endpoints changed
	random    func() float64
}

// sessionEnd is how a connection ended.
type sessionEnd struct {
	err      error
	welcomed bool
	lasted   time.Duration
	released bool
	holdOff  time.Duration
	instead  string
}

func newLinks(given, welcomed []string) *links {
	return &links{given: slices.Clone(given), welcomed: slices.Clone(welcomed), notBefore: map[string]time.Time{}, changed: make(chan struct{}, 1), random: rand.Float64}
}

// provision replaces the provisioned endpoints and tells whether they changed.
func (l *links) provision(endpoints []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.given, endpoints) {
		return false
	}
	l.given, l.welcomed, l.tried, l.retryAt = slices.Clone(endpoints), nil, nil, time.Time{}
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return true
}

// welcome stores what a gateway told; it tells whether that is new.
func (l *links) welcome(endpoints []string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(endpoints) == 0 || slices.Equal(l.welcomed, endpoints) {
		return false
	}
	l.welcomed = slices.Clone(endpoints)
	return true
}

func (l *links) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.welcomed)
}

// idle is how long to wait when nobody has named an endpoint yet.
const idle = time.Minute

// next is the endpoint to connect to now, or empty and how long to wait until next is called again.
func (l *links) next(now time.Time) (string, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.instead != "" {
		endpoint := l.instead
		l.instead = ""
		return endpoint, 0
	}
	if wait := l.retryAt.Sub(now); wait > 0 {
		return "", wait
	}
	earliest := idle
	for _, endpoint := range slices.Concat(l.welcomed, l.given) {
		if slices.Contains(l.tried, endpoint) {
			continue
		}
		wait := l.notBefore[endpoint].Sub(now)
		if wait <= 0 {
			delete(l.notBefore, endpoint)
			return endpoint, 0
		}
		earliest = min(earliest, wait)
	}
	l.tried = nil // all others are held off
	return "", earliest
}

// ended takes in how a connection went.
func (l *links) ended(now time.Time, endpoint string, end sessionEnd, t timing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end.released {
		l.rounds, l.tried = 0, nil
		l.instead = end.instead
		// A tenth of jitter, so that a gateway's devices do not come back in one moment.
		l.notBefore[endpoint] = now.Add(end.holdOff + time.Duration(l.random()*float64(end.holdOff)/10))
		return
	}
	if end.welcomed {
		l.tried = nil
		if end.lasted >= t.steady {
			l.rounds = 0
		}
		l.pause(now, t)
		return
	}
	l.tried = append(l.tried, endpoint)
	for _, e := range slices.Concat(l.welcomed, l.given) {
		if !slices.Contains(l.tried, e) && !now.Before(l.notBefore[e]) {
			return // the next of the round, at once
		}
	}
	l.tried = nil
	l.pause(now, t)
}

// pause waits a random part of a time that doubles with each failed round. The caller holds mu.
func (l *links) pause(now time.Time, t timing) {
	limit := t.backoffMax
	if l.rounds < 20 {
		limit = min(limit, t.backoffBase<<l.rounds)
	}
	l.rounds++
	l.retryAt = now.Add(time.Duration(l.random() * float64(limit)))
}

// sleep waits, or until endpoints change.
func (l *links) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.changed:
	case <-ctx.Done():
	}
}
