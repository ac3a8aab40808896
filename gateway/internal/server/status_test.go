// SPDX-License-Identifier: Apache-2.0

package server

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/internal/session"
	"wasmbed.dev/gateway/protocol"
)

var (
	sentAt   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	reportAt = sentAt.Add(120 * time.Millisecond)
	module   = protocol.DigestOf([]byte("module"))
)

func instance(generation int64) *v1alpha1.Instance {
	i := &v1alpha1.Instance{Spec: v1alpha1.InstanceSpec{Application: "a", Device: "d", Digest: module.String(), Size: 6}}
	i.Name, i.UID, i.Generation = "a.d", "uid-1", generation
	return i
}

// told is what a connection knows that was sent i, and of which these states were reported.
func told(i *v1alpha1.Instance, states ...protocol.State) *knowledge {
	k := &knowledge{}
	k.settle(5, []*v1alpha1.Instance{i}, sentAt)
	if states != nil {
		k.accept(&session.Reported{Generation: 5, States: states}, reportAt)
	}
	return k
}

func runningState(spec uint64) protocol.State {
	start := uint32(12)
	return protocol.State{Name: "a", Spec: spec, Phase: protocol.PhaseRunning, Digest: &module, StartTime: &start}
}

func TestInstanceStatus(t *testing.T) {
	running := instance(2)
	running.Status = instanceStatus(running, told(running, runningState(2)))
	changed := running.DeepCopy()
	changed.Generation = 3
	recreated := running.DeepCopy()
	recreated.UID, recreated.Status = "uid-2", v1alpha1.InstanceStatus{}
	lost := running.DeepCopy()
	lost.Status.Phase = v1alpha1.InstanceUnknown
	stale := told(running, runningState(2))
	stale.settle(6, []*v1alpha1.Instance{changed}, reportAt)
	stale.accept(&session.Reported{Generation: 5, States: []protocol.State{runningState(2)}}, reportAt)
	held := &knowledge{}
	held.settle(5, []*v1alpha1.Instance{running}, reportAt)

	for name, c := range map[string]struct {
		instance *v1alpha1.Instance
		known    *knowledge
		phase    v1alpha1.InstancePhase
		same     bool
	}{
		"nothing is known of a device that was not told yet":       {instance(1), &knowledge{}, "", true},
		"an app that was sent is being delivered":                  {instance(1), told(instance(1)), v1alpha1.InstanceDelivering, false},
		"an app that was reported runs":                            {instance(2), told(instance(2), runningState(2)), v1alpha1.InstanceRunning, false},
		"the same report again changes nothing":                    {running, told(running, runningState(2)), v1alpha1.InstanceRunning, true},
		"a new spec that was not sent yet leaves the old status":   {changed, told(running, runningState(2)), v1alpha1.InstanceRunning, true},
		"a new spec that was sent is being delivered":              {changed, told(changed), v1alpha1.InstanceDelivering, false},
		"a report about the old spec says nothing about the new":   {changed, told(changed, runningState(2)), v1alpha1.InstanceDelivering, false},
		"a report about an older desired state is not taken":       {changed, stale, v1alpha1.InstanceDelivering, false},
		"an Instance that was made anew is not the old one":        {recreated, told(running, runningState(2)), "", true},
		"a device that was away and holds the spec keeps its word": {running, held, v1alpha1.InstanceRunning, true},
		"what was unknown is known again":                          {lost, told(lost, runningState(2)), v1alpha1.InstanceRunning, false},
		"an app that the device does not report is not running":    {running, told(running, []protocol.State{}...), v1alpha1.InstanceDelivering, false},
		"fetching is delivering":                                   {instance(1), told(instance(1), protocol.State{Name: "a", Spec: 1, Phase: protocol.PhaseFetching}), v1alpha1.InstanceDelivering, false},
	} {
		got := instanceStatus(c.instance, c.known)
		if got.Phase != c.phase || equality.Semantic.DeepEqual(got, c.instance.Status) != c.same {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestInstanceStatusKeepsTimesOfOneSpec(t *testing.T) {
	i := instance(2)
	i.Status = instanceStatus(i, told(i, runningState(2)))
	if s := i.Status; !s.DeliveredAt.Time.Equal(sentAt) || !s.RunningAt.Time.Equal(reportAt) || *s.StartMilliseconds != 12 || s.Digest != module.String() || s.ObservedGeneration != 2 {
		t.Fatalf("%+v", s)
	}
	k := told(i)
	k.accept(&session.Reported{Generation: 5, States: []protocol.State{{Name: "a", Spec: 2, Phase: protocol.PhaseFailed, Reason: protocol.ReasonTrapped, Message: "m"}}}, reportAt.Add(time.Minute))
	i.Status = instanceStatus(i, k)
	ready := i.Status.Conditions[0]
	if i.Status.RunningAt == nil || !i.Status.RunningAt.Time.Equal(reportAt) || ready.Status != metav1.ConditionFalse || ready.Message != "Trapped: m" ||
		!ready.LastTransitionTime.Time.Equal(reportAt.Add(time.Minute).Truncate(time.Second)) {
		t.Errorf("%+v", i.Status)
	}
	i.Generation = 3
	next := instanceStatus(i, told(i))
	if next.RunningAt != nil || next.StartMilliseconds != nil || next.Reason != "" || next.Restarts != 0 || next.Digest != module.String() {
		t.Errorf("the new spec starts with %+v", next)
	}
}

func TestSettleKeepsWhenAnAppWasSentFirst(t *testing.T) {
	i := *instance(2)
	k := told(&i, runningState(2))
	other := *instance(1)
	other.Spec.Application, other.UID = "b", "uid-b"
	k.settle(6, []*v1alpha1.Instance{&i, &other}, reportAt)
	if !k.apps[0].at.Equal(sentAt) || !k.apps[1].at.Equal(reportAt) || k.hasReport {
		t.Errorf("%+v", k)
	}
}

func TestDeviceConnection(t *testing.T) {
	facts := &v1alpha1.DeviceConnection{Firmware: "1", Board: "sim-m4", Protocol: 1, Memory: 65536, Boots: 3}
	recorded := func(gateway string, connected bool, epoch int64) *v1alpha1.DeviceConnection {
		c := *facts
		since := metav1.NewTime(sentAt)
		c.Gateway, c.Connected, c.Epoch, c.Since = gateway, connected, epoch, &since
		return &c
	}
	here := func(connected bool, epoch int64) presence {
		return presence{connected: connected, since: reportAt.Add(time.Hour), epoch: epoch, facts: facts}
	}
	rebooted := here(true, 9)
	more := *facts
	more.Boots = 4
	rebooted.facts = &more
	for name, c := range map[string]struct {
		present  *v1alpha1.DeviceConnection
		presence presence
		write    bool
		moved    bool // since changes
	}{
		"a device is seen for the first time":                {nil, here(true, 9), true, true},
		"a device that went before anything was recorded":    {nil, here(false, 9), false, true},
		"a reconnect within the grace period writes nothing": {recorded("a", true, 5), here(true, 9), false, false},
		"a reboot is recorded, the connection goes on":       {recorded("a", true, 5), rebooted, true, false},
		"a device went":                                             {recorded("a", true, 5), here(false, 9), true, true},
		"a device that is recorded as gone":                         {recorded("a", false, 5), here(false, 9), false, false},
		"a device came back":                                        {recorded("a", false, 5), here(true, 9), true, true},
		"a device came from another gateway":                        {recorded("b", true, 5), here(true, 9), true, true},
		"another gateway has it since":                              {recorded("b", true, 9), here(true, 5), false, true},
		"another gateway has it since, and here it went":            {recorded("b", true, 9), here(false, 5), false, true},
		"it went before this process started":                       {recorded("a", true, 5), presence{since: reportAt.Add(time.Hour), epoch: 5}, true, true},
		"it went before this process started, from another gateway": {recorded("b", true, 5), presence{since: reportAt.Add(time.Hour), epoch: 5}, false, true},
	} {
		want, write := deviceConnection(c.present, "a", c.presence)
		if write != c.write {
			t.Errorf("%s: write is %t: %+v", name, write, want)
			continue
		}
		if !write {
			continue
		}
		if want.Gateway != "a" || want.Connected != c.presence.connected || want.Epoch != c.presence.epoch || want.Firmware != "1" {
			t.Errorf("%s: %+v", name, want)
		}
		if moved := !want.Since.Time.Equal(sentAt); moved != c.moved {
			t.Errorf("%s: since is %s", name, want.Since)
		}
	}
	crashed := recorded("a", true, 5)
	crashed.LastCrash = "watchdog at 0x00000000"
	if want, _ := deviceConnection(crashed, "a", here(false, 9)); want.LastCrash != crashed.LastCrash {
		t.Error("the last crash is forgotten")
	}
}

func TestJudge(t *testing.T) {
	device := func(change func(*v1alpha1.Device)) *v1alpha1.Device {
		d := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Backend: v1alpha1.BackendSimulated, Power: v1alpha1.PowerOn}}
		change(d)
		return d
	}
	hardware := func(d *v1alpha1.Device) { d.Spec.Backend, d.Spec.Keys = v1alpha1.BackendHardware, []string{"k1", "k2"} }
	for name, c := range map[string]struct {
		device  *v1alpha1.Device
		who     identity
		code    protocol.ErrorCode
		release bool
	}{
		"a device with its certificate": {device(func(*v1alpha1.Device) {}), identity{}, 0, false},
		"hardware with its key":         {device(hardware), identity{key: "k2"}, 0, false},
		"hardware with another key":     {device(hardware), identity{key: "k3"}, protocol.CodeNotAssigned, false},
		"hardware with a certificate":   {device(hardware), identity{}, protocol.CodeNotAssigned, false},
		"a device in quarantine":        {device(func(d *v1alpha1.Device) { d.Spec.Quarantine = true }), identity{}, protocol.CodeQuarantined, false},
		"a device that should be off":   {device(func(d *v1alpha1.Device) { d.Spec.Power = v1alpha1.PowerOff }), identity{}, 0, true},
	} {
		if v := judge(c.device, c.who); v.code != c.code || v.release != c.release {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestDesiredApps(t *testing.T) {
	memory, stack := int32(0), int32(2048)
	full := instance(7)
	full.Spec.Config = v1alpha1.ConfigValues{"k": "v"}
	full.Spec.Permissions = []v1alpha1.Permission{"timer", "gpio"}
	full.Spec.Limits = v1alpha1.AppLimits{Memory: &memory, Stack: &stack, Fuel: 5}
	full.Spec.RestartPolicy = v1alpha1.RestartOnFailure
	full.Spec.Artifact = &v1alpha1.Artifact{Digest: protocol.DigestOf(nil).String(), Size: 9, Format: "Wasm"}
	apps, err := desiredApps([]*v1alpha1.Instance{full})
	if err != nil {
		t.Fatal(err)
	}
	a := apps[0]
	if a.Name != "a" || a.Spec != 7 || a.Digest != module || a.Artifact.Digest != protocol.DigestOf(nil) || a.Artifact.Size != 9 || a.Config["k"] != "v" ||
		a.Permissions[0] != "gpio" || *a.Limits.Memory != 0 || *a.Limits.Stack != 2048 || a.Limits.Fuel != 5 || a.RestartPolicy != protocol.RestartOnFailure {
		t.Errorf("%+v", a)
	}
	for name, change := range map[string]func(*v1alpha1.Instance){
		"a digest that is none": func(i *v1alpha1.Instance) { i.Spec.Digest = "sha256:x" },
		"a module above 1 MiB":  func(i *v1alpha1.Instance) { i.Spec.Size = 1 << 40 },
		"a config above 1 KB": func(i *v1alpha1.Instance) {
			i.Spec.Config = v1alpha1.ConfigValues{"k": v1alpha1.ConfigValue(make([]byte, 1024))}
		},
	} {
		i := instance(1)
		change(i)
		apps, err := desiredApps([]*v1alpha1.Instance{i})
		if err == nil {
			_, err = protocol.EncodeApps(apps)
		}
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
