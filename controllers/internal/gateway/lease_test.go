// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// watch is a story about one Lease of 15 s, told in seconds.
type watch struct {
	t     *testing.T
	pulse pulse
	now   time.Time
	lease *coordinationv1.Lease
}

var theKey = client.ObjectKey{Namespace: "a", Name: "b"}

func (w *watch) renew() {
	seconds, renewed := int32(15), metav1.NewMicroTime(w.now)
	w.lease = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &seconds, RenewTime: &renewed}}
}

// at looks at the given second as the reconciler does: a direct read follows when one is asked for.
func (w *watch) at(second int, want life) (after time.Duration) {
	w.t.Helper()
	w.now = epoch.Add(time.Duration(second) * time.Second)
	state, after, confirm := w.pulse.observe(theKey, w.lease, false, w.now)
	if confirm {
		state, after, _ = w.pulse.observe(theKey, w.lease, true, w.now)
	}
	if state != want {
		w.t.Errorf("at %d s: %v, want %v", second, state, want)
	}
	return after
}

func TestLeases(t *testing.T) {
	for sentence, story := range map[string]func(*watch){
		"a Lease that is renewed is alive": func(w *watch) {
			w.at(0, unknown)
			for second := 1; second < 100; second += 5 {
				w.now = epoch.Add(time.Duration(second) * time.Second)
				w.renew()
				w.at(second, alive)
			}
		},
		"one that is not renewed any more expires after its duration and a third": func(w *watch) {
			w.at(0, unknown)
			w.renew()
			if after := w.at(1, alive); after != 15*time.Second {
				w.t.Errorf("looks again after %s", after)
			}
			if after := w.at(16, alive); after != 5*time.Second {
				w.t.Errorf("looks again after %s", after)
			}
			if after := w.at(18, alive); after != 3*time.Second {
				w.t.Errorf("an event in between changes when it is looked at: %s", after)
			}
			w.at(21, expired)
			w.at(100, expired)
			w.renew()
			w.at(101, alive)
		},
		"one that was found old is given its time, whatever its clock says": func(w *watch) {
			w.now = epoch.Add(-time.Hour)
			w.renew()
			w.at(0, unknown)
			w.at(14, unknown)
			w.at(15, unknown)
			w.at(20, expired)
		},
		"a clock that is ahead does not help": func(w *watch) {
			w.now = epoch.Add(time.Hour)
			w.renew()
			w.at(0, unknown)
			w.at(15, unknown)
			w.at(20, expired)
		},
		"none at all expires too": func(w *watch) {
			w.at(0, unknown)
			w.at(15, unknown)
			w.at(20, expired)
		},
		"a renewal in the last moment counts": func(w *watch) {
			w.at(0, unknown)
			w.renew()
			w.at(1, alive)
			w.at(16, alive)
			w.now = epoch.Add(20 * time.Second)
			w.renew()
			w.at(21, alive)
			w.at(35, alive)
		},
		"while the API server cannot be read nothing expires": func(w *watch) {
			w.at(0, unknown)
			w.renew()
			w.at(1, alive)
			for second := 16; second < 200; second += 10 {
				w.now = epoch.Add(time.Duration(second) * time.Second)
				if _, _, confirm := w.pulse.observe(theKey, w.lease, false, w.now); confirm {
					w.pulse.unreadable(theKey, w.now)
				}
			}
			w.at(197, alive)
			w.at(213, alive)
			w.at(218, expired)
		},
	} {
		t.Run(sentence, func(t *testing.T) { story(&watch{t: t}) })
	}
}
