// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

var managed = map[string]string{v1alpha1.LabelRepositoryName: "fleet", v1alpha1.LabelRepositoryNamespace: "wasmbed-system"}

func named(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Generation: 2}
}

func condition(status metav1.ConditionStatus, reason, message string) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: reason, Message: message, ObservedGeneration: 2}}
}

func fleet() *Objects {
	applied := metav1.NewMicroTime(time.Unix(1000, 0))
	return &Objects{
		Repositories: v1alpha1.RepositoryList{Items: []v1alpha1.Repository{{ObjectMeta: named("wasmbed-system", "fleet", nil), Status: v1alpha1.RepositoryStatus{
			ObservedGeneration: 2, Applied: &v1alpha1.Revision{Commit: strings.Repeat("a", 40), Subject: "First", AppliedAt: &applied},
			Conditions: condition("True", "Reconciled", "")}}}},
		Gateways: v1alpha1.GatewayList{Items: []v1alpha1.Gateway{{ObjectMeta: named("plant", "gw", managed), Status: v1alpha1.GatewayStatus{
			ObservedGeneration: 2, Address: "127.0.0.1:1", AssignedDevices: 1, ConnectedDevices: 1, Conditions: condition("True", "Serving", "")}}}},
		Applications: v1alpha1.ApplicationList{Items: []v1alpha1.Application{{ObjectMeta: named("plant", "blink", managed), Status: v1alpha1.ApplicationStatus{
			ObservedGeneration: 2, Target: 1, Updated: 1, Running: 1, Conditions: condition("True", "RolledOut", "")}}}},
		Devices: v1alpha1.DeviceList{Items: []v1alpha1.Device{{ObjectMeta: named("plant", "a", managed), Status: v1alpha1.DeviceStatus{
			ObservedGeneration: 2, Phase: v1alpha1.DeviceOnline, Conditions: condition("True", "Online", "")}}}},
	}
}

func TestReadyOnlyWhenEverythingIs(t *testing.T) {
	if r := Build(fleet()); !r.Ready || len(r.Problems) != 0 {
		t.Errorf("a fleet where all is Ready: ready %v, problems %v", r.Ready, r.Problems)
	}
	if r := Build(&Objects{}); r.Ready || r.Waiting() == "" {
		t.Error("nothing at all counts as ready")
	}
	for name, spoil := range map[string]func(*Objects){
		"a device is away": func(o *Objects) {
			o.Devices.Items[0].Status.Conditions = condition("False", "Disconnected", "since noon")
		},
		"a status is older than its spec":                         func(o *Objects) { o.Applications.Items[0].Generation = 3 },
		"a device has come that an application counts as offline": func(o *Objects) { o.Applications.Items[0].Status.Offline = 1 },
		"an object has no status":                                 func(o *Objects) { o.Gateways.Items[0].Status = v1alpha1.GatewayStatus{} },
	} {
		objects := fleet()
		spoil(objects)
		if r := Build(objects); r.Ready || len(r.Problems) != 1 {
			t.Errorf("%s: ready %v, problems %v", name, r.Ready, r.Problems)
		}
	}
}

func TestStalledWhenNothingWillHappenByItself(t *testing.T) {
	refused := append(condition("False", "ModuleNotFound", "apps/x.wasm"), metav1.Condition{Type: v1alpha1.ConditionStalled, Status: "True"})
	objects := fleet()
	objects.Repositories.Items[0].Status.Conditions = refused
	if r := Build(objects); r.Ready || !r.Stalled {
		t.Errorf("a refused commit: ready %v, stalled %v", r.Ready, r.Stalled)
	}
	objects.Devices.Items[0].Status.Conditions = condition("False", "Disconnected", "since noon")
	if r := Build(objects); r.Stalled {
		t.Error("a device may come back, and the report is stalled")
	}
	if r := Build(fleet()); r.Stalled {
		t.Error("a fleet where all is Ready is stalled")
	}
}

func TestProblemsComeFirstFailuresBeforeWhatIsOnItsWay(t *testing.T) {
	objects := fleet()
	objects.Gateways.Items[0].Status.Conditions = nil
	objects.Devices.Items[0].Status.Conditions = condition("False", "Disconnected", "line \x1b[31mred\x1b[0m")
	var out bytes.Buffer
	if err := Render(&out, Build(objects), time.Unix(1042, 0)); err != nil {
		t.Fatal(err)
	}
	want := `✗ Device plant/a: Disconnected: line ·[31mred·[0m
… Gateway plant/gw: Pending: nothing has looked at it yet

✓ Repository wasmbed-system/fleet  aaaaaaaa "First", applied 42 s ago
├─ ✓ Application plant/blink  RolledOut  1/1 running
├─ ✗ Gateway plant/gw         Pending    1/1 connected at 127.0.0.1:1
└─ ✗ 1 Devices                           1 Online
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestObjectsOfNoRepositoryAreShownApart(t *testing.T) {
	objects := fleet()
	objects.Devices.Items[0].Labels = nil
	r := Build(objects)
	if r.Unmanaged == nil || r.Unmanaged.Devices != 1 || r.Repositories[0].Devices != 0 {
		t.Errorf("unmanaged %+v", r.Unmanaged)
	}
}
