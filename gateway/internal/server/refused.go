// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxRefused is how many keys are remembered; the one that was seen longest ago makes room.
const maxRefused = 1024

// Refused is a key that tried to connect and was not admitted.
type Refused struct {
	// Key as in Device.spec.keys.
	Key    string    `json:"key"`
	Count  int64     `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Remote string    `json:"remote"`
	Reason string    `json:"reason"`
}

// refusals aggregates refused keys.
type refusals struct {
	mu   sync.Mutex
	keys *simplelru.LRU[string, *Refused]
}

func newRefusals() *refusals {
	keys, err := simplelru.NewLRU[string, *Refused](maxRefused, nil)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return &refusals{keys: keys}
}

func (r *refusals) add(key, remote, reason string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, ok := r.keys.Get(key)
	if !ok {
		entry = &Refused{Key: key, First: now}
		r.keys.Add(key, entry)
	}
	entry.Count++
	entry.Last, entry.Remote, entry.Reason = now, remote, reason
}

// list is what is remembered, newest first.
func (r *refusals) list() []Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Refused, 0, r.keys.Len())
	for _, entry := range r.keys.Values() {
		out = append(out, *entry)
	}
	slices.SortFunc(out, func(a, b Refused) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Key, b.Key)) })
	return out
}
