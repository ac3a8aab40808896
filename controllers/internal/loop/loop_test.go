// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func object(uid, version string) *v1alpha1.Instance {
	return &v1alpha1.Instance{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: types.UID(uid), ResourceVersion: version}}
}

func TestWrites(t *testing.T) {
	key := client.ObjectKeyFromObject(object("u", "1"))
	for sentence, test := range map[string]struct {
		write  func(*Written)
		cached *v1alpha1.Instance
		after  time.Duration
		behind bool
	}{
		"nothing was written":                  {func(*Written) {}, nil, 0, false},
		"a new object is not there yet":        {func(w *Written) { w.Note(object("u", "10"), epoch) }, nil, 0, true},
		"an older version is there":            {func(w *Written) { w.Note(object("u", "10"), epoch) }, object("u", "9"), 0, true},
		"versions are numbers":                 {func(w *Written) { w.Note(object("u", "9"), epoch) }, object("u", "10"), 0, false},
		"the version is there":                 {func(w *Written) { w.Note(object("u", "10"), epoch) }, object("u", "10"), 0, false},
		"a new object was removed by another":  {func(w *Written) { w.Note(object("u", "10"), epoch) }, nil, catchUp, false},
		"a deleted object is still there":      {func(w *Written) { w.NoteDeleted(object("u", "10"), epoch) }, object("u", "10"), 0, true},
		"a deleted object is gone":             {func(w *Written) { w.NoteDeleted(object("u", "10"), epoch) }, nil, 0, false},
		"a deleted object was made anew":       {func(w *Written) { w.NoteDeleted(object("u", "10"), epoch) }, object("v", "11"), 0, false},
		"answers that come in the wrong order": {func(w *Written) { w.Note(object("u", "11"), epoch); w.Note(object("u", "10"), epoch) }, object("u", "10"), 0, true},
		"versions that cannot be compared":     {func(w *Written) { w.Note(object("u", "x"), epoch) }, object("u", "y"), 0, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			var w Written
			test.write(&w)
			now := epoch.Add(test.after)
			var cached client.Object
			if test.cached != nil {
				cached = test.cached
			}
			if got := w.AnyBehind(func(client.ObjectKey) client.Object { return test.cached }, now); got != test.behind {
				t.Errorf("AnyBehind: %v", got)
			}
			if got := w.Behind(key, cached, now); got != test.behind {
				t.Errorf("Behind: %v", got)
			}
			if !test.behind && len(w.marks) != 0 {
				t.Errorf("%d marks are kept", len(w.marks))
			}
		})
	}
}

func TestRemoved(t *testing.T) {
	var w Written
	w.Note(object("u", "10"), epoch)
	if w.Removed(object("u", "9"), epoch) {
		t.Error("a write counts as a removal")
	}
	w.NoteDeleted(object("u", "10"), epoch)
	for sentence, test := range map[string]struct {
		cached *v1alpha1.Instance
		after  time.Duration
		want   bool
	}{
		"the cache still shows it":    {object("u", "10"), 0, true},
		"it was made anew":            {object("v", "11"), 0, false},
		"the cache shows it too long": {object("u", "10"), catchUp, false},
	} {
		w.NoteDeleted(object("u", "10"), epoch)
		if got := w.Removed(test.cached, epoch.Add(test.after)); got != test.want {
			t.Errorf("%s: %t", sentence, got)
		}
	}
}

func TestPace(t *testing.T) {
	var p Pace
	key := client.ObjectKey{Name: "a"}
	if wait := p.Wait(key, epoch); wait != 0 {
		t.Errorf("the first run waits %s", wait)
	}
	for took, want := range map[time.Duration]time.Duration{
		time.Microsecond: minPause, 15 * time.Millisecond: 60 * time.Millisecond, time.Minute: maxPause,
	} {
		p.Ran(key, epoch, epoch.Add(took))
		if wait := p.Wait(key, epoch.Add(took)); wait != want {
			t.Errorf("after a run of %s: %s, want %s", took, wait, want)
		}
		if wait := p.Wait(key, epoch.Add(took+want)); wait != 0 {
			t.Errorf("after the pause: %s", wait)
		}
	}
	// Another key that is at work makes both slower.
	other := client.ObjectKey{Name: "b"}
	p.Ran(key, epoch, epoch.Add(10*time.Millisecond))
	p.Ran(other, epoch, epoch.Add(20*time.Millisecond))
	if wait := p.Wait(other, epoch.Add(20*time.Millisecond)); wait != 160*time.Millisecond {
		t.Errorf("beside another key: %s", wait)
	}
	p.Forget(key)
	if wait := p.Wait(key, epoch); wait != 0 {
		t.Errorf("a forgotten key waits %s", wait)
	}
}

func TestProgressConditionsArePresentOrAbsent(t *testing.T) {
	var conditions []metav1.Condition
	SetProgress(&conditions, 1, true, false, "A", "a", epoch)
	if len(conditions) != 1 || conditions[0].Type != v1alpha1.ConditionReconciling || conditions[0].Status != metav1.ConditionTrue {
		t.Errorf("reconciling: %+v", conditions)
	}
	SetProgress(&conditions, 1, false, true, "B", "b", epoch)
	if len(conditions) != 1 || conditions[0].Type != v1alpha1.ConditionStalled {
		t.Errorf("stalled: %+v", conditions)
	}
	SetProgress(&conditions, 1, false, false, "", "", epoch)
	if len(conditions) != 0 {
		t.Errorf("neither: %+v", conditions)
	}
}
