// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
	"wasmbed.dev/controllers/plan/render"
)

// liveOf is a fleet that runs what a commit says, on all devices.
func liveOf(f *fleet.Fleet) *plan.Live {
	l := &plan.Live{Repository: "wasmbed-system/fleet", Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Devices: map[string]*v1alpha1.Device{},
		Applications: map[string]*v1alpha1.Application{}, Gateways: map[string]*v1alpha1.Gateway{}, Instances: map[string][]*v1alpha1.Instance{}}
	for _, d := range f.Devices {
		d = d.DeepCopy()
		d.Labels[v1alpha1.LabelRepositoryName] = "fleet"
		d.Status = v1alpha1.DeviceStatus{Phase: v1alpha1.DeviceOnline, Connection: &v1alpha1.DeviceConnection{Connected: true}}
		l.Devices[d.Namespace+"/"+d.Name] = d
	}
	for _, g := range f.Gateways {
		l.Gateways[g.Namespace+"/"+g.Name] = g.DeepCopy()
	}
	for _, a := range f.Applications {
		a = a.DeepCopy()
		a.Generation = 3
		l.Applications[a.Namespace+"/"+a.Name] = a
	}
	return l
}

func TestAPlanAgainstWhatRuns(t *testing.T) {
	base, head := plantest.NewChange(func(f fleettest.Tree) { f.Replace("apps/report.yaml", "[log]", "[log, sensor]") }).Judge(t)
	compute := func(edit func(*plan.Live)) *plan.Report {
		live := liveOf(base)
		edit(live)
		r, err := plan.Compute(t.Context(), plan.Input{Base: base, Head: head, Live: live})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Applications) != 1 || r.Applications[0].Name != "report" || !r.Live.Asked {
			t.Fatalf("%+v", r.Applications)
		}
		return r
	}
	target := len(base.Devices)

	// Nothing runs yet: everybody gets it, nobody restarts it.
	r := compute(func(*plan.Live) {})
	if a := r.Applications[0]; len(a.Gets) != target || len(a.Restarts)+len(r.Live.Offline)+len(r.Live.Drift) != 0 {
		t.Errorf("nothing runs: %+v %+v", a, r.Live)
	}

	// One holds it, one is away, and somebody changed an application by hand.
	first, second := base.Devices[0], base.Devices[1]
	r = compute(func(l *plan.Live) {
		app := l.Applications["plant/report"]
		app.Spec.Suspend = true
		l.Devices["plant/"+second.Name].Status.Connection.Connected = false
		l.Instances["plant/report"] = []*v1alpha1.Instance{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: v1alpha1.InstanceName("report", first.Name), Generation: 1},
			Spec: v1alpha1.InstanceSpec{Device: first.Name, Application: "report", Digest: app.Spec.Module.Digest, Size: app.Spec.Module.Size,
				Permissions: app.Spec.Permissions, Limits: app.Spec.Limits, RestartPolicy: app.Spec.RestartPolicy},
		}}
	})
	a := r.Applications[0]
	if len(a.Restarts) != 1 || a.Restarts[0].Device != first.Name || len(a.Gets) != target-2 || a.Waiting != 1 {
		t.Errorf("one holds it, one is away: %+v", a)
	}
	if len(r.Live.Offline) != 1 || r.Live.Offline[0] != "plant/"+second.Name {
		t.Errorf("offline: %v", r.Live.Offline)
	}
	if len(r.Live.Drift) != 1 || r.Live.Drift[0].Name != "report" || r.Live.Drift[0].Fields[0].Path != "spec.suspend" {
		t.Errorf("drift: %+v", r.Live.Drift)
	}
	var text, comment bytes.Buffer
	if err := render.Text(&text, r, false); err != nil {
		t.Fatal(err)
	}
	if err := render.Markdown(&comment, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 device away now", "is not as git says"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(comment.String(), want) {
			t.Errorf("%q is not told:\n%s", want, text.String())
		}
	}

	// What git does not hold, or what is missing.
	r = compute(func(l *plan.Live) {
		delete(l.Gateways, "plant/"+base.Gateways[0].Name)
		l.Devices["plant/stray"] = &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "stray"}}
	})
	if len(r.Live.Drift) != 2 || r.Live.Drift[0].Kind != "Gateway" || r.Live.Drift[1].Name != "stray" {
		t.Errorf("drift: %+v", r.Live.Drift)
	}
}
