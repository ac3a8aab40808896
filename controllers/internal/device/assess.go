// SPDX-License-Identifier: Apache-2.0

package device

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/boards"
)

// input is all that the status of a device depends on.
type input struct {
	device    *v1alpha1.Device
	assigned  assignment
	instances []*v1alpha1.Instance
	// lost is true when the gateway of the last session is gone.
	lost bool
	// moving is true while a device that lost its gateway is expected at another one.
	moving bool
	// sameKey names another device with one of this one's keys.
	sameKey string
	// identityProblem says why the device has no key and certificate yet.
	identityProblem string
}

// finding is the state of one condition.
type finding struct {
	status  metav1.ConditionStatus
	reason  string
	message string
}

func (f finding) is(status metav1.ConditionStatus) bool { return f.status == status }

// assessment is what the status should say.
type assessment struct {
	phase                    v1alpha1.DevicePhase
	apps                     string
	connected, inSync, ready finding
	reconciling, stalled     bool
}

// assess judges a device. What nobody can know now, because the device or its gateway is away, is Unknown.
func assess(in *input) assessment {
	var a assessment
	a.connected = connected(in)
	a.phase = phase(in, a.connected)
	a.inSync, a.apps = inSync(in, a.connected)
	a.ready, a.reconciling, a.stalled = ready(in, &a)
	return a
}

func connected(in *input) finding {
	c := in.device.Status.Connection
	switch {
	case c == nil:
		return finding{metav1.ConditionFalse, v1alpha1.ReasonNeverSeen, "the device has not connected yet"}
	case !c.Connected:
		return finding{metav1.ConditionFalse, v1alpha1.ReasonDisconnected, "the device disconnected from gateway " + c.Gateway}
	case in.lost && !in.moving:
		return finding{metav1.ConditionUnknown, v1alpha1.ReasonGatewayLost, "gateway " + c.Gateway + ", which held its session, is away"}
	}
	return finding{metav1.ConditionTrue, v1alpha1.ReasonConnected, "connected"}
}

func phase(in *input, connected finding) v1alpha1.DevicePhase {
	switch {
	case in.device.Spec.Quarantine:
		return v1alpha1.DeviceQuarantined
	case in.device.Spec.Power == v1alpha1.PowerOff:
		return v1alpha1.DeviceOff
	case connected.is(metav1.ConditionTrue):
		return v1alpha1.DeviceOnline
	case connected.is(metav1.ConditionUnknown):
		return v1alpha1.DeviceUnknown
	case connected.reason == v1alpha1.ReasonDisconnected:
		return v1alpha1.DeviceOffline
	}
	return v1alpha1.DevicePending
}

// inSync compares what the Instances ask for with what the device reported of them.
func inSync(in *input, connected finding) (finding, string) {
	running, failed, waiting := 0, (*v1alpha1.Instance)(nil), (*v1alpha1.Instance)(nil)
	for _, instance := range in.instances {
		switch answer(instance) {
		case v1alpha1.InstanceRunning:
			running++
		case v1alpha1.InstanceFailed:
			failed = first(failed, instance)
		default:
			waiting = first(waiting, instance)
		}
	}
	all := len(in.instances)
	if !connected.is(metav1.ConditionTrue) {
		return finding{metav1.ConditionUnknown, connected.reason, "what runs on the device is not known while it is away"}, fmt.Sprintf("?/%d", all)
	}
	apps := fmt.Sprintf("%d/%d", running, all)
	switch {
	case failed != nil:
		message := fmt.Sprintf("%s: %s", failed.Spec.Application, failed.Status.Phase)
		for _, text := range []string{failed.Status.Reason, failed.Status.Message} {
			if text != "" {
				message += ": " + printable(text)
			}
		}
		return finding{metav1.ConditionFalse, v1alpha1.ReasonInstanceFails, message}, apps
	case waiting != nil:
		return finding{metav1.ConditionFalse, v1alpha1.ReasonOutOfSync, fmt.Sprintf("%d of %d apps wait for the device, %s among them", all-running, all, waiting.Spec.Application)}, apps
	case all == 0:
		return finding{metav1.ConditionTrue, v1alpha1.ReasonInSync, "no app is meant for the device"}, apps
	}
	return finding{metav1.ConditionTrue, v1alpha1.ReasonInSync, "all apps run"}, apps
}

// wanted is how many apps a device should run by the text that counts them.
func wanted(apps string) int {
	_, text, _ := strings.Cut(apps, "/")
	n, _ := strconv.Atoi(text) // 0 before the first count
	return n
}

// answer is Running, Failed or Pending: what the device says to the Instance's present spec.
func answer(instance *v1alpha1.Instance) v1alpha1.InstancePhase {
	if instance.Status.ObservedGeneration != instance.Generation {
		return v1alpha1.InstancePending
	}
	switch instance.Status.Phase {
	case v1alpha1.InstanceRunning, v1alpha1.InstanceCompleted:
		return v1alpha1.InstanceRunning
	case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
		return v1alpha1.InstanceFailed
	}
	return v1alpha1.InstancePending
}

// first keeps messages the same from one look to the next.
func first(a, b *v1alpha1.Instance) *v1alpha1.Instance {
	if a == nil || b.Spec.Application < a.Spec.Application {
		return b
	}
	return a
}

// ready is the most pressing thing about the device. A device that is Off, or quarantined, and away is as its spec
// says.
func ready(in *input, a *assessment) (f finding, reconciling, stalled bool) {
	gone := !a.connected.is(metav1.ConditionTrue)
	device := in.device
	_, known := boards.Get(device.Spec.Board)
	no := func(reason, message string) finding { return finding{metav1.ConditionFalse, reason, message} }
	switch {
	case !known:
		return no(v1alpha1.ReasonUnknownBoard, fmt.Sprintf("board %q is not in the catalogue, which has %s", device.Spec.Board, strings.Join(boards.Names(), ", "))), false, true
	case in.sameKey != "":
		return no(v1alpha1.ReasonDuplicateKey, fmt.Sprintf("device %s has one of the same keys: a key belongs to one device; remove it from one of them", in.sameKey)), false, true
	case device.Spec.Quarantine && gone:
		return finding{metav1.ConditionTrue, v1alpha1.ReasonQuarantined, "its connection is refused"}, false, false
	case device.Spec.Quarantine:
		return no(v1alpha1.ReasonQuarantined, "its connection is about to be closed"), true, false
	case device.Spec.Power == v1alpha1.PowerOff && (gone || device.Spec.Backend == v1alpha1.BackendHardware):
		return finding{metav1.ConditionTrue, v1alpha1.ReasonPoweredOff, "power is Off"}, false, false
	case device.Spec.Power == v1alpha1.PowerOff:
		return no(v1alpha1.ReasonPoweredOff, "it is about to be stopped"), true, false
	case in.assigned.gateway == "":
		return no(v1alpha1.ReasonNoGateway, in.assigned.problem), false, false
	case in.identityProblem != "":
		return no(v1alpha1.ReasonNoIdentity, in.identityProblem), true, false
	case a.connected.is(metav1.ConditionUnknown):
		return finding{metav1.ConditionUnknown, a.connected.reason, a.connected.message}, false, false
	case gone && device.Status.Backend != nil && device.Status.Backend.Reason != "":
		return no(v1alpha1.ReasonBackendFailed, device.Status.Backend.Reason+": "+printable(device.Status.Backend.Message)), false, false
	case gone:
		return no(a.connected.reason, a.connected.message), false, false
	case !a.inSync.is(metav1.ConditionTrue):
		return no(a.inSync.reason, a.inSync.message), a.inSync.reason == v1alpha1.ReasonOutOfSync, false
	}
	return finding{metav1.ConditionTrue, v1alpha1.ReasonOnline, "connected, and " + a.inSync.message}, false, false
}

// printable is text from a device, fit for a condition.
func printable(text string) string {
	if len(text) > 200 {
		text = text[:200]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, text)
}
