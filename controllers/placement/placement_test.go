// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.dev/controllers/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fleet is a namespace with one Application under test. It does what the application controller and the gateways
// would do, so that a test reads as a story.
type fleet struct {
	t         testing.TB
	now       time.Time
	app       *v1alpha1.Application
	others    []*v1alpha1.Application
	devices   map[string]*v1alpha1.Device
	instances map[string]*v1alpha1.Instance
	last      Result
}

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func newApp(name string) *v1alpha1.Application {
	unavailable := intstr.FromInt32(2)
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "plant", UID: types.UID(name), Generation: 1,
			CreationTimestamp: metav1.NewTime(epoch), Annotations: map[string]string{v1alpha1.AnnotationRevision: "commit-1"}},
		Spec: v1alpha1.ApplicationSpec{
			Module:  v1alpha1.Module{Path: "a.wasm", Digest: digest("a"), Size: 100},
			Rollout: v1alpha1.Rollout{MaxUnavailable: &unavailable},
		},
	}
}

// newFleet has online devices d0, d1, …
func newFleet(t testing.TB, online int) *fleet {
	f := &fleet{t: t, now: epoch.Add(time.Minute), app: newApp("app"), devices: map[string]*v1alpha1.Device{}, instances: map[string]*v1alpha1.Instance{}}
	for i := range online {
		f.add(fmt.Sprintf("d%d", i))
	}
	return f
}

func (f *fleet) add(name string) *v1alpha1.Device {
	device := &v1alpha1.Device{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "plant", CreationTimestamp: metav1.NewTime(f.now),
			Annotations: map[string]string{v1alpha1.AnnotationRevision: "device-commit"}},
		Spec:   v1alpha1.DeviceSpec{Board: "sim-m4"},
		Status: v1alpha1.DeviceStatus{Gateway: "plant.gw"},
	}
	f.devices[name] = device
	f.connect(name)
	return device
}

func (f *fleet) connect(names ...string) {
	for _, name := range names {
		since := metav1.NewTime(f.now)
		f.devices[name].Status.Connection = &v1alpha1.DeviceConnection{Gateway: "plant.gw", Connected: true, Since: &since}
	}
}

func (f *fleet) disconnect(names ...string) {
	for _, name := range names {
		since := metav1.NewTime(f.now)
		f.devices[name].Status.Connection = &v1alpha1.DeviceConnection{Gateway: "plant.gw", Since: &since}
	}
}

// change gives the Application a new spec, as a commit does.
func (f *fleet) change(edit func(*v1alpha1.ApplicationSpec)) {
	edit(&f.app.Spec)
	f.app.Generation++
	f.app.Annotations[v1alpha1.AnnotationRevision] = fmt.Sprintf("commit-%d", f.app.Generation)
}

func (f *fleet) module(c string) {
	f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Module.Digest = digest(c) })
}

// step plans, carries the plan out and lets a second pass.
func (f *fleet) step() Result {
	f.t.Helper()
	f.last = f.plan()
	for _, order := range f.last.Issue {
		f.write(order)
	}
	for _, instance := range f.last.Delete {
		delete(f.instances, instance.Name)
	}
	f.app.Status = f.last.Status
	f.now = f.now.Add(time.Second)
	return f.last
}

func (f *fleet) plan() Result {
	in := Input{Application: f.app, Others: f.others, Devices: slices.Collect(maps.Values(f.devices)), Instances: slices.Collect(maps.Values(f.instances)), Now: f.now}
	result := Plan(in)
	slices.Reverse(in.Devices)
	slices.Reverse(in.Instances)
	if again := Plan(in); !reflect.DeepEqual(result, again) {
		f.t.Errorf("the plan depends on the order of its input:\n%+v\n%+v", result, again)
	}
	return result
}

func (f *fleet) write(order Order) {
	name := v1alpha1.InstanceName(f.app.Name, order.Device.Name)
	instance := f.instances[name]
	if (instance == nil) != (order.Instance == nil) {
		f.t.Fatalf("order for %s does not know what is there", name)
	}
	if instance == nil {
		instance = &v1alpha1.Instance{ObjectMeta: metav1.ObjectMeta{Name: name}}
		f.instances[name] = instance
	}
	instance.Spec = order.Spec
	instance.Generation++
	instance.Annotations = map[string]string{v1alpha1.AnnotationIssuedAt: f.now.Format(time.RFC3339Nano), v1alpha1.AnnotationRevision: order.Revision}
}

// report is a device's answer to the present spec.
func (f *fleet) report(phase v1alpha1.InstancePhase, names ...string) {
	f.t.Helper()
	for _, name := range names {
		instance := f.instances["app."+name]
		if instance == nil {
			f.t.Fatalf("%s has no Instance", name)
		}
		now := metav1.NewMicroTime(f.now)
		instance.Status.ObservedGeneration, instance.Status.Phase, instance.Status.DeliveredAt = instance.Generation, phase, &now
		if phase == v1alpha1.InstanceRunning {
			instance.Status.RunningAt = &now
		}
	}
}

func (f *fleet) running(names ...string) { f.t.Helper(); f.report(v1alpha1.InstanceRunning, names...) }

// settle lets every online device run what it has, wave by wave, and returns how many plans that took.
func (f *fleet) settle() int {
	f.t.Helper()
	for i := range 1000 {
		f.step()
		quiet := len(f.last.Issue) == 0 && f.last.Status.Wave == 0
		for _, instance := range f.instances {
			if device := f.devices[instance.Spec.Device]; device != nil && Online(device) && instance.Status.ObservedGeneration != instance.Generation {
				f.running(device.Name)
				quiet = false
			}
		}
		if quiet {
			return i
		}
	}
	f.t.Fatalf("does not settle: %+v", f.last.Verdict)
	return 0
}

func (f *fleet) wantIssued(names ...string) {
	f.t.Helper()
	var got []string
	for _, order := range f.last.Issue {
		got = append(got, order.Device.Name)
	}
	if !slices.Equal(got, names) {
		f.t.Errorf("issued %v, want %v; %s: %s", got, names, f.last.Verdict.Reason, f.last.Verdict.Message)
	}
}

// wantCounts checks "target updated running failed offline excluded wave".
func (f *fleet) wantCounts(want string) {
	f.t.Helper()
	s := f.last.Status
	if got := fmt.Sprint(s.Target, s.Updated, s.Running, s.Failed, s.Offline, s.Excluded, s.Wave); got != want {
		f.t.Errorf("target updated running failed offline excluded wave: %s, want %s", got, want)
	}
}

func (f *fleet) wantVerdict(reason, message string) {
	f.t.Helper()
	v := f.last.Verdict
	if v.Reason != reason || !strings.Contains(v.Message, message) {
		f.t.Errorf("verdict %s: %q, want %s: %q", v.Reason, v.Message, reason, message)
	}
	if v.Ready && (v.Reconciling || v.Stalled) || v.Stalled && v.Reconciling {
		f.t.Errorf("contradiction: %+v", v)
	}
	if v.Ready != (reason == v1alpha1.ReasonRolledOut) {
		f.t.Errorf("Ready %v beside %s", v.Ready, reason)
	}
}

func TestPlacement(t *testing.T) {
	for sentence, story := range map[string]func(*testing.T){
		"the first deployment goes in waves": func(t *testing.T) {
			f := newFleet(t, 5)
			f.step()
			f.wantIssued("d0", "d1")
			if !f.last.Begin {
				t.Error("the beginning is not to be stored")
			}
			f.wantCounts("5 0 0 0 0 0 1")
			f.step()
			f.wantIssued()
			f.wantVerdict(v1alpha1.ReasonRollingOut, "0/5 devices run sha256:aaaaaaaaaaaa…; wave 1")
			f.running("d0")
			f.step()
			f.wantIssued() // the wave is not complete
			f.running("d1")
			f.step()
			f.wantIssued("d2", "d3")
			f.running("d2", "d3")
			f.step()
			f.wantIssued("d4")
			f.wantCounts("5 4 4 0 0 0 3")
			f.running("d4")
			f.step()
			f.wantCounts("5 5 5 0 0 0 0")
			f.wantVerdict(v1alpha1.ReasonRolledOut, "5/5 devices run sha256:aaaaaaaaaaaa…")
			if f.step(); f.last.Begin || f.last.After != 0 {
				t.Errorf("something goes on when all is done: %+v", f.last)
			}
		},
		"a share of the online devices is rounded down, to one at least": func(t *testing.T) {
			f := newFleet(t, 11)
			share := intstr.FromString("25%")
			f.app.Spec.Rollout.MaxUnavailable = &share
			f.step()
			f.wantIssued("d0", "d1")
			f = newFleet(t, 3)
			f.app.Spec.Rollout.MaxUnavailable = &share
			f.step()
			f.wantIssued("d0")
			f = newFleet(t, 3)
			f.app.Spec.Rollout.MaxUnavailable = nil
			f.step()
			f.wantIssued("d0")
		},
		"a change goes in waves and ends": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.module("b")
			f.step()
			f.wantIssued("d0", "d1")
			f.wantCounts("6 0 0 0 0 0 1")
			if got := f.last.Issue[0].Revision; got != "commit-2" {
				t.Errorf("caused by %s", got)
			}
			if plans := f.settle(); plans > 4 {
				t.Errorf("took %d plans", plans)
			}
			f.wantCounts("6 6 6 0 0 0 0")
		},
		"one failure stops the rollout at its wave, and the next good commit heals it, the broken device first": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.module("b")
			f.step()
			f.running("d0")
			f.report(v1alpha1.InstanceFailed, "d1")
			f.instances["app.d1"].Status.Reason, f.instances["app.d1"].Status.Message = "Trapped", "unreachable at\nfunction 12"
			for range 3 {
				f.step()
				f.wantIssued()
			}
			f.wantCounts("6 2 1 1 0 0 1")
			f.wantVerdict(v1alpha1.ReasonWaveFailed, "1/6 devices run sha256:bbbbbbbbbbbb…; wave 1 failed and the rollout has stopped; d1 failed: Trapped: unreachable at function 12")
			if !f.last.Verdict.Stalled {
				t.Error("not stalled")
			}
			f.module("c")
			f.step()
			f.wantIssued("d1", "d0")
			f.settle()
			f.wantCounts("6 6 6 0 0 0 0")
		},
		"a device that recovers lets the rollout go on": func(t *testing.T) {
			f := newFleet(t, 4)
			f.step()
			f.running("d0")
			f.report(v1alpha1.InstanceFailed, "d1")
			f.step()
			f.wantIssued()
			f.running("d1")
			f.step()
			f.wantIssued("d2", "d3")
		},
		"a device that went back halts the rollout until the spec changes": func(t *testing.T) {
			f := newFleet(t, 4)
			f.settle()
			f.module("b")
			f.step()
			f.running("d0")
			f.report(v1alpha1.InstanceRolledBack, "d1")
			f.step()
			f.wantIssued()
			f.wantVerdict(v1alpha1.ReasonRolledBack, "d1 went back to its former version")
			f.now = f.now.Add(time.Hour)
			f.step()
			f.wantIssued()
			f.module("a") // git revert
			f.step()
			f.wantIssued("d1", "d0")
			f.settle()
			f.wantCounts("4 4 4 0 0 0 0")
		},
		"a device that says nothing fails its wave at the deadline": func(t *testing.T) {
			f := newFleet(t, 4)
			f.app.Spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: time.Minute}
			f.step()
			f.running("d0")
			f.report(v1alpha1.InstanceDelivering, "d1")
			f.step()
			f.wantIssued()
			if f.last.After != 59*time.Second {
				t.Errorf("looks again in %s", f.last.After)
			}
			f.now = f.now.Add(f.last.After)
			f.step()
			f.wantIssued()
			f.wantCounts("4 2 1 1 0 0 1")
			f.wantVerdict(v1alpha1.ReasonProgressDeadlineExceeded, "d1 has not run it within 1m0s, it is Delivering")
			f.running("d1") // late, but it runs
			f.step()
			f.wantIssued("d2", "d3")
		},
		"an answer to an older spec counts for nothing": func(t *testing.T) {
			f := newFleet(t, 4)
			f.settle()
			f.module("b")
			f.step()
			f.step()
			f.wantIssued()
			f.wantCounts("4 2 0 0 0 0 1")
		},
		"what failed before the rollout does not keep the fix from the others": func(t *testing.T) {
			f := newFleet(t, 4)
			f.settle()
			f.report(v1alpha1.InstanceFailed, "d3")
			f.step()
			f.wantVerdict(v1alpha1.ReasonFailed, "3/4 devices run sha256:aaaaaaaaaaaa…; d3 failed")
			f.module("b")
			f.step()
			f.wantIssued("d3", "d0")
			f.running("d0")
			f.report(v1alpha1.InstanceRejected, "d3")
			f.step()
			f.wantIssued()
			f.module("a") // d1, d2 still have a; d3 failed with it, but was issued b since
			f.step()
			f.wantIssued("d3", "d0")
		},
		"a revert is not halted by a device that had not been reached": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.report(v1alpha1.InstanceFailed, "d5") // fails under a
			f.module("b")
			f.step()
			f.wantIssued("d5", "d0")
			f.running("d5")
			f.report(v1alpha1.InstanceFailed, "d0")
			f.report(v1alpha1.InstanceFailed, "d4") // fails under a as well, and keeps it
			f.step()
			f.wantIssued()
			f.module("a")
			f.step()
			f.wantIssued("d0", "d5")
			f.running("d0", "d5")
			f.step()
			f.wantCounts("6 6 5 1 0 0 0")
		},
		"offline devices are counted apart, hold nobody up and catch up": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.disconnect("d0", "d1", "d2")
			f.devices["d3"].Spec.Power = v1alpha1.PowerOff
			f.devices["d4"].Spec.Quarantine = true
			f.module("b")
			f.step()
			f.wantIssued("d5")
			f.running("d5")
			f.step()
			f.wantCounts("6 1 1 0 5 0 0")
			f.wantVerdict(v1alpha1.ReasonRolledOut, "1/6 devices run sha256:bbbbbbbbbbbb…; 5 offline")
			f.now = f.now.Add(48 * time.Hour)
			f.connect("d0", "d1", "d2")
			f.step()
			f.wantIssued("d0", "d1")
			if got := f.last.Issue[0].Revision; got != "commit-2" {
				t.Errorf("caused by %s", got)
			}
			f.running("d0")
			f.step()
			f.wantIssued("d2") // served as soon as there is room, not in waves
		},
		"a device that goes offline in its wave does not stall it": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.module("b")
			f.step()
			f.wantIssued("d0", "d1")
			f.running("d0")
			f.report(v1alpha1.InstanceDelivering, "d1")
			f.disconnect("d1")
			f.step()
			f.wantIssued("d2", "d3")
			f.settle()
			f.wantCounts("6 6 5 0 1 0 0")
		},
		"an app that takes its devices off the network stops at its wave": func(t *testing.T) {
			f := newFleet(t, 6)
			f.settle()
			f.module("b")
			f.step()
			f.report(v1alpha1.InstanceDelivering, "d0", "d1")
			f.disconnect("d0", "d1")
			f.step()
			f.wantIssued()
			f.wantVerdict(v1alpha1.ReasonWaveFailed, "2 devices disconnected after receiving it, d0 among them")
			f.connect("d0", "d1") // they reboot, and run it after all
			f.running("d0", "d1")
			f.step()
			f.wantIssued("d2", "d3")
		},
		"a device whose gateway is away is offline and accuses nobody": func(t *testing.T) {
			f := newFleet(t, 4)
			f.step()
			f.report(v1alpha1.InstanceDelivering, "d0", "d1")
			f.devices["d0"].Status.Phase, f.devices["d1"].Status.Phase = v1alpha1.DeviceUnknown, v1alpha1.DeviceUnknown
			f.step()
			f.wantIssued("d2", "d3")
			f.wantCounts("4 2 0 0 2 0 2")
		},
		"the deadline of a device that returns starts with its return": func(t *testing.T) {
			f := newFleet(t, 2)
			f.step()
			f.running("d0")
			f.disconnect("d1")
			f.step()
			f.now = f.now.Add(time.Hour)
			f.connect("d1")
			f.step()
			f.wantVerdict(v1alpha1.ReasonRollingOut, "1/2 devices")
			f.now = f.now.Add(3 * time.Minute)
			f.step()
			f.wantVerdict(v1alpha1.ReasonProgressDeadlineExceeded, "d1 has not run it within 2m0s")
		},
		"an app that starts again is not overdue at once": func(t *testing.T) {
			f := newFleet(t, 1)
			f.settle()
			f.now = f.now.Add(time.Hour)
			instance := f.instances["app.d0"]
			f.report(v1alpha1.InstanceDelivering, "d0")
			instance.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(f.now)}}
			f.step()
			f.wantCounts("1 1 0 0 0 0 0")
			f.wantVerdict(v1alpha1.ReasonRollingOut, "0/1")
		},
		"suspend stops the rollout where it is; removal goes on": func(t *testing.T) {
			f := newFleet(t, 4)
			f.step()
			f.running("d0", "d1")
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Suspend = true })
			delete(f.devices, "d0")
			f.step()
			f.wantIssued()
			if len(f.last.Delete) != 1 {
				t.Errorf("deletes %d", len(f.last.Delete))
			}
			f.wantVerdict(v1alpha1.ReasonSuspended, "1/3 devices run sha256:aaaaaaaaaaaa…; suspended")
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Suspend = false })
			f.step()
			f.wantIssued("d2", "d3")
			f.wantCounts("3 1 1 0 0 0 2")
		},
		"suspending and resuming does not forgive a failure": func(t *testing.T) {
			f := newFleet(t, 4)
			f.step()
			f.running("d0")
			f.report(v1alpha1.InstanceRolledBack, "d1")
			f.step()
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Suspend = true })
			f.step()
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Suspend = false })
			f.step()
			f.wantIssued()
			f.wantVerdict(v1alpha1.ReasonRolledBack, "d1")
		},
		"an app is removed where the selector no longer matches": func(t *testing.T) {
			f := newFleet(t, 3)
			for _, device := range f.devices {
				device.Labels = map[string]string{"site": "a"}
			}
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Selector.MatchLabels = map[string]string{"site": "a"} })
			f.settle()
			f.devices["d1"].Labels["site"] = "b"
			f.step()
			if len(f.last.Delete) != 1 || f.last.Delete[0].Name != "app.d1" {
				t.Errorf("deletes %v", f.last.Delete)
			}
			f.wantCounts("2 2 2 0 0 0 0")
			f.change(func(spec *v1alpha1.ApplicationSpec) { spec.Selector.MatchLabels["site"] = "c" })
			f.step()
			f.wantCounts("0 0 0 0 0 0 0")
			f.wantVerdict(v1alpha1.ReasonRolledOut, "no device matches the selector")
			if len(f.instances) != 0 {
				t.Errorf("%d Instances are left", len(f.instances))
			}
		},
		"an Instance under a name that is not its own is removed": func(t *testing.T) {
			f := newFleet(t, 1)
			f.settle()
			f.instances["x"] = &v1alpha1.Instance{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: f.instances["app.d0"].Spec}
			f.step()
			if len(f.last.Delete) != 1 || f.last.Delete[0].Name != "x" {
				t.Errorf("deletes %v", f.last.Delete)
			}
		},
		"a device that joins later is served at once, beside one that fails": func(t *testing.T) {
			f := newFleet(t, 4)
			f.settle()
			f.now = f.now.Add(time.Hour)
			f.report(v1alpha1.InstanceFailed, "d0")
			for _, name := range []string{"n0", "n1", "n2"} {
				f.add(name)
			}
			f.step()
			f.wantIssued("n0", "n1")
			if got := f.last.Issue[0].Revision; got != "device-commit" {
				t.Errorf("caused by %s", got)
			}
			f.wantCounts("7 4 3 1 0 0 0")
			f.report(v1alpha1.InstanceFailed, "n0")
			f.step()
			f.wantIssued() // no room
			f.running("n1")
			f.step()
			f.wantIssued("n2")
		},
		"overrides of a device concern its Instance only": func(t *testing.T) {
			f := newFleet(t, 3)
			f.app.Spec.Config = v1alpha1.ConfigValues{"low": "1", "high": "9"}
			f.settle()
			f.devices["d1"].Spec.Config = map[string]v1alpha1.ConfigValues{"app": {"high": "5", "x": "y"}, "other": {"low": "0"}}
			f.step()
			f.wantIssued("d1")
			order := f.last.Issue[0]
			if want := (v1alpha1.ConfigValues{"low": "1", "high": "5", "x": "y"}); !maps.Equal(order.Spec.Config, want) {
				t.Errorf("config %v, want %v", order.Spec.Config, want)
			}
			if order.Revision != "device-commit" {
				t.Errorf("caused by %s", order.Revision)
			}
			if len(f.app.Spec.Config) != 2 {
				t.Errorf("the Application's own config was changed: %v", f.app.Spec.Config)
			}
			f.settle()
			f.wantCounts("3 3 3 0 0 0 0")
		},
		"an app that does not fit a board is not placed there": func(t *testing.T) {
			f := newFleet(t, 3)
			memory := int32(200 << 10)
			f.app.Spec.Limits.Memory = &memory
			f.devices["d1"].Spec.Board = "mps2-an385"
			f.devices["d2"].Spec.Board = "unheard-of"
			f.settle()
			f.wantCounts("1 1 1 0 0 2 0")
			f.wantVerdict(v1alpha1.ReasonDoesNotFit, "1/1 devices run sha256:aaaaaaaaaaaa…; 2 devices without room")
		},
		"of two apps that do not fit together the older one stays": func(t *testing.T) {
			for _, older := range []bool{true, false} {
				f := newFleet(t, 2)
				memory := int32(80 << 10)
				f.app.Spec.Limits.Memory = &memory
				other := newApp("other")
				other.Spec.Limits.Memory = &memory
				other.Spec.Selector.MatchLabels = map[string]string{"other": "yes"}
				other.CreationTimestamp = metav1.NewTime(epoch.Add(time.Hour))
				if older {
					other.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
				}
				f.others = []*v1alpha1.Application{other}
				f.devices["d1"].Labels = map[string]string{"other": "yes"}
				f.settle()
				if want := map[bool]string{true: "1 1 1 0 0 1 0", false: "2 2 2 0 0 0 0"}[older]; true {
					f.wantCounts(want)
				}
			}
		},
		"a board runs so many apps at once": func(t *testing.T) {
			f := newFleet(t, 1)
			zero, little := int32(0), int32(512)
			f.app.Spec.Limits = v1alpha1.AppLimits{Memory: &zero, Stack: &little}
			for i := range 8 {
				other := newApp(fmt.Sprintf("other-%d", i))
				other.Spec.Limits = f.app.Spec.Limits
				other.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
				f.others = append(f.others, other)
			}
			f.step()
			f.wantCounts("0 0 0 0 0 1 0")
		},
		"nothing is placed without a digest": func(t *testing.T) {
			f := newFleet(t, 2)
			f.app.Spec.Module.Digest = ""
			f.step()
			f.wantIssued()
			f.wantVerdict(v1alpha1.ReasonPending, "no digest")
			f.module("a")
			f.step()
			f.wantIssued("d0", "d1")
		},
		"an app is not Ready while all its devices are away, and waits for them in waves": func(t *testing.T) {
			f := newFleet(t, 3)
			f.disconnect("d0", "d1", "d2")
			f.step()
			f.wantVerdict(v1alpha1.ReasonDeviceOffline, "0/3 devices run sha256:aaaaaaaaaaaa…; 3 offline")
			f.connect("d0", "d1", "d2")
			f.step()
			f.wantIssued("d0", "d1")
			f.report(v1alpha1.InstanceFailed, "d0", "d1")
			f.step()
			f.wantIssued()
		},
		"another gateway changes no Instance": func(t *testing.T) {
			f := newFleet(t, 2)
			f.settle()
			f.devices["d1"].Status.Gateway = "plant.other"
			f.step()
			f.wantIssued()
			if len(f.last.Delete) != 0 {
				t.Errorf("deletes %+v", f.last.Delete)
			}
		},
		"an Instance of an Application that was made anew is adopted": func(t *testing.T) {
			f := newFleet(t, 1)
			f.settle()
			f.app.UID = "another"
			f.step()
			if len(f.last.Delete) != 0 {
				t.Errorf("deletes %+v", f.last.Delete)
			}
			f.wantIssued()
		},
		"a stored beginning that nothing followed is taken up": func(t *testing.T) {
			f := newFleet(t, 4)
			f.settle()
			f.module("b")
			f.app.Status = f.plan().Status // stored; then the process died
			f.now = f.now.Add(time.Minute)
			f.step()
			f.wantIssued("d0", "d1")
			if f.last.Begin {
				t.Error("begins twice")
			}
			f.wantCounts("4 0 0 0 0 0 1")
		},
		"an app that ends is as good as one that runs": func(t *testing.T) {
			f := newFleet(t, 3)
			f.step()
			f.report(v1alpha1.InstanceCompleted, "d0", "d1")
			f.step()
			f.wantIssued("d2")
		},
	} {
		t.Run(sentence, story)
	}
}

// Whatever devices do, no more than maxUnavailable online ones are without a running app because of a rollout.
func TestWavesNeverExceedTheirBound(t *testing.T) {
	const devices, most = 40, 3
	f := newFleet(t, devices)
	unavailable := intstr.FromInt32(most)
	f.app.Spec.Rollout.MaxUnavailable = &unavailable
	f.settle()
	f.module("b")
	for round := range 400 {
		f.step()
		down := 0
		for _, instance := range f.instances {
			if instance.Status.ObservedGeneration != instance.Generation {
				down++
			}
		}
		if down > most {
			t.Fatalf("round %d: %d devices are down", round, down)
		}
		if f.last.Status.Wave == 0 {
			return
		}
		for i := range devices { // one device answers a round, each time another
			name := fmt.Sprintf("d%d", (i+round)%devices)
			if instance := f.instances["app."+name]; instance.Status.ObservedGeneration != instance.Generation {
				f.running(name)
				break
			}
		}
	}
	t.Fatal("does not end")
}

func TestHostileTextIsBounded(t *testing.T) {
	got := printable("a\x00b\nc\x1b[31m" + strings.Repeat("é", 500))
	if len(got) > 210 || strings.ContainsAny(got, "\x00\n\x1b") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func TestSpecsDiffer(t *testing.T) {
	// Every field of an InstanceSpec makes two specs unequal: one that is added later must be compared too.
	base := v1alpha1.InstanceSpec{}
	var check func(path string, set func(*v1alpha1.InstanceSpec) reflect.Value)
	check = func(path string, at func(*v1alpha1.InstanceSpec) reflect.Value) {
		changed := v1alpha1.InstanceSpec{}
		field := at(&changed)
		switch field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Int64, reflect.Int32:
			field.SetInt(7)
		case reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.Map:
			field.Set(reflect.MakeMap(field.Type()))
			field.SetMapIndex(reflect.Zero(field.Type().Key()), reflect.Zero(field.Type().Elem()))
		case reflect.Struct:
			for i := range field.NumField() {
				check(path+"."+field.Type().Field(i).Name, func(s *v1alpha1.InstanceSpec) reflect.Value { return at(s).Field(i) })
			}
			return
		default:
			t.Fatalf("%s is of kind %s", path, field.Kind())
		}
		if equal(&base, &changed) {
			t.Errorf("a change of %s goes unseen", path)
		}
	}
	check("spec", func(s *v1alpha1.InstanceSpec) reflect.Value { return reflect.ValueOf(s).Elem() })
}

func BenchmarkPlan(b *testing.B) {
	f := newFleet(b, 0)
	share := intstr.FromString("25%")
	f.app.Spec.Rollout.MaxUnavailable = &share
	f.app.Spec.Config = v1alpha1.ConfigValues{"low": "1", "high": "9"}
	f.app.Spec.Selector.MatchLabels = map[string]string{"site": "a"}
	for i := range 10_000 {
		f.add(fmt.Sprintf("d%05d", i)).Labels = map[string]string{"site": "a", "tier": "x"}
	}
	in := Input{Application: f.app, Devices: slices.Collect(maps.Values(f.devices)), Now: f.now}
	b.Run("first wave of 10000", func(b *testing.B) {
		for b.Loop() {
			if r := Plan(in); len(r.Issue) != 2500 {
				b.Fatal(len(r.Issue))
			}
		}
	})
	for {
		result := Plan(in)
		for _, order := range result.Issue {
			f.write(order)
			f.running(order.Device.Name)
		}
		f.app.Status = result.Status
		in.Instances, in.Now = slices.Collect(maps.Values(f.instances)), in.Now.Add(time.Second)
		if result.Status.Wave == 0 {
			break
		}
	}
	for i := range in.Instances {
		in.Instances[i] = in.Instances[i].DeepCopy() // not in the order of allocation
	}
	b.Run("nothing to do for 10000", func(b *testing.B) {
		for b.Loop() {
			if r := Plan(in); len(r.Issue) != 0 || r.Status.Running != 10_000 {
				b.Fatal(r.Status)
			}
		}
	})
}
