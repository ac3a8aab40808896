// SPDX-License-Identifier: Apache-2.0

// Package loop holds what the reconcilers share: conditions, status writes that happen only on change, reading one's
// own writes through a cache, and a pace for loops whose every run looks at thousands of objects.
package loop

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Is turns a bool into a condition's status.
func Is(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// Set gives a condition for the object's present generation. Equal conditions stay as they are.
func Set(conditions *[]metav1.Condition, generation int64, kind string, status metav1.ConditionStatus, reason, message string, now time.Time) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, ObservedGeneration: generation, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	})
}

// SetProgress keeps Reconciling and Stalled as kstatus has them: present and true, or absent.
func SetProgress(conditions *[]metav1.Condition, generation int64, reconciling, stalled bool, reason, message string, now time.Time) {
	for kind, present := range map[string]bool{v1alpha1.ConditionReconciling: reconciling, v1alpha1.ConditionStalled: stalled} {
		if present {
			Set(conditions, generation, kind, metav1.ConditionTrue, reason, message, now)
		} else {
			meta.RemoveStatusCondition(conditions, kind)
		}
	}
}

// PatchStatus writes what differs between two states of an object's status, and nothing when they are equal. It tells
// whether it wrote. after receives the server's answer. Parts of the status that others own are not touched, since the
// patch holds what differs only.
func PatchStatus(ctx context.Context, c client.Client, before, after client.Object) (bool, error) {
	patch := client.MergeFrom(before)
	data, err := patch.Data(after)
	if err != nil {
		return false, fmt.Errorf("compare status: %w", err)
	}
	if string(data) == "{}" {
		return false, nil
	}
	if err := c.Status().Patch(ctx, after, client.RawPatch(patch.Type(), data)); err != nil {
		return false, fmt.Errorf("write status: %w", err)
	}
	return true, nil
}

// catchUp is how long a cache may take to show a write before it is believed over what was written: the object may
// have been changed back or removed by somebody else.
const catchUp = 15 * time.Second

// Written remembers what this process wrote until its cache shows it, so that no decision is made on what is known to
// be outdated. It is safe for concurrent use; the zero value is ready.
type Written struct {
	mu    sync.Mutex
	marks map[client.ObjectKey]mark
}

// mark is one write: a version that the cache must reach, or an object that must vanish from it.
type mark struct {
	version uint64
	gone    types.UID
	until   time.Time
}

// Note remembers a created or changed object as the server returned it.
func (w *Written) Note(object client.Object, now time.Time) {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return // a server whose versions cannot be compared
	}
	w.put(client.ObjectKeyFromObject(object), mark{version: version, until: now.Add(catchUp)})
}

// NoteDeleted remembers a deleted object.
func (w *Written) NoteDeleted(object client.Object, now time.Time) {
	w.put(client.ObjectKeyFromObject(object), mark{gone: object.GetUID(), until: now.Add(catchUp)})
}

func (w *Written) put(key client.ObjectKey, m mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.marks == nil {
		w.marks = map[client.ObjectKey]mark{}
	}
	if m.gone != "" || m.version >= w.marks[key].version {
		w.marks[key] = m
	}
}

// Removed tells whether an object that the cache still shows was deleted by this process.
func (w *Written) Removed(cached client.Object, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := client.ObjectKeyFromObject(cached)
	return w.marks[key].gone != "" && w.behind(key, cached, now)
}

// Behind tells whether the cache, which holds cached for the key (nil: nothing), does not show the last write yet.
func (w *Written) Behind(key client.ObjectKey, cached client.Object, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.behind(key, cached, now)
}

// AnyBehind does the same for all writes that are remembered; cached looks an object up and returns nil when there is
// none.
func (w *Written) AnyBehind(cached func(client.ObjectKey) client.Object, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.marks {
		if w.behind(key, cached(key), now) {
			return true
		}
	}
	return false
}

func (w *Written) behind(key client.ObjectKey, cached client.Object, now time.Time) bool {
	m, ok := w.marks[key]
	if !ok {
		return false
	}
	if now.Before(m.until) && !m.shownBy(cached) {
		return true
	}
	delete(w.marks, key)
	return false
}

func (m mark) shownBy(cached client.Object) bool {
	absent := cached == nil || reflect.ValueOf(cached).IsNil()
	if m.gone != "" {
		return absent || cached.GetUID() != m.gone
	}
	if absent {
		return false
	}
	version, err := strconv.ParseUint(cached.GetResourceVersion(), 10, 64)
	return err != nil || version >= m.version
}

// Bounds of a Pace.
const (
	minPause = 20 * time.Millisecond
	maxPause = 5 * time.Second
	// paceFactor is how many times as long as it worked a loop pauses, for each loop that is at work.
	paceFactor = 4
)

// Pace keeps loops that look at everything again on each change from eating the machine: all keys together work for
// about a fifth of the time of one core, however many events come. After a run for a key the next one for it waits, for
// 20 ms at least and 5 s at most; what changes meanwhile is seen by one run. It is safe for concurrent use; the zero
// value is ready.
type Pace struct {
	mu   sync.Mutex
	next map[client.ObjectKey]time.Time
}

// Wait is how long a run for the key has to wait still; zero: it may go.
func (p *Pace) Wait(key client.ObjectKey, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.next[key].Sub(now))
}

// Ran notes that a run took from one moment to the other. Time that was spent waiting for others, such as the API
// server, should not count.
func (p *Pace) Ran(key client.ObjectKey, from, to time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = map[client.ObjectKey]time.Time{}
	}
	busy := 1
	for other, next := range p.next {
		if other != key && to.Before(next) {
			busy++
		}
	}
	p.next[key] = to.Add(min(max(time.Duration(paceFactor*busy)*to.Sub(from), minPause), maxPause))
}

// Forget drops a key that is no more.
func (p *Pace) Forget(key client.ObjectKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.next, key)
}
