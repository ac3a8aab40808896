// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/protocol"
)

// knowledge is what a connection knows about what runs on its device.
type knowledge struct {
	// generation of the desired state that the device holds or was sent; apps is what it says. settled is true once
	// this connection knows that.
	generation uint64
	settled    bool
	apps       []sentApp
	// reported are the states that answer to it; nil when none did yet.
	reported   []protocol.State
	hasReport  bool
	reportedAt time.Time
}

// sentApp is an Instance's spec as it stands in a desired state.
type sentApp struct {
	name       string
	uid        types.UID
	generation int64
	// at is when it was sent; for what the device held before, when it connected.
	at time.Time
}

func (k *knowledge) app(i *v1alpha1.Instance) (sentApp, bool) {
	for _, a := range k.apps {
		if a.name == i.Spec.Application && a.uid == i.UID && a.generation == i.Generation {
			return a, true
		}
	}
	return sentApp{}, false
}

func (k *knowledge) state(name string) *protocol.State {
	for i := range k.reported {
		if k.reported[i].Name == name {
			return &k.reported[i]
		}
	}
	return nil
}

// instanceStatus is what an Instance's status should be by what is known. It is the present one when nothing is known
// about the Instance's present spec: what was reported of an older spec stays until the device has the new one.
func instanceStatus(i *v1alpha1.Instance, k *knowledge) v1alpha1.InstanceStatus {
	status := *i.Status.DeepCopy()
	app, ok := k.app(i)
	if !k.settled || !ok {
		return status
	}
	state := k.state(app.name)
	if state != nil && state.Spec != uint64(app.generation) {
		state = nil
	}
	if status.ObservedGeneration != i.Generation || status.DeliveredAt == nil {
		fresh := v1alpha1.InstanceStatus{ObservedGeneration: i.Generation, Digest: status.Digest, Conditions: status.Conditions, Phase: v1alpha1.InstanceDelivering}
		delivered := metav1.NewMicroTime(app.at)
		fresh.DeliveredAt = &delivered
		status = fresh
	} else if state == nil && !k.hasReport {
		return status
	}
	at := app.at
	if k.hasReport {
		at = k.reportedAt
	}
	if state == nil {
		status.Phase, status.Reason, status.Message = v1alpha1.InstanceDelivering, "", ""
	} else {
		applyState(&status, state, at)
	}
	setReady(&status, at)
	return status
}

func applyState(status *v1alpha1.InstanceStatus, state *protocol.State, at time.Time) {
	status.Phase = instancePhases[state.Phase]
	status.Reason = state.Reason.String()
	status.Message = state.Message
	status.Restarts = int64(state.Restarts)
	if state.Digest != nil {
		status.Digest = state.Digest.String()
	}
	if state.StartTime != nil {
		milliseconds := int64(*state.StartTime)
		status.StartMilliseconds = &milliseconds
	}
	if status.Phase == v1alpha1.InstanceRunning && status.RunningAt == nil {
		running := metav1.NewMicroTime(at)
		status.RunningAt = &running
	}
}

var instancePhases = map[protocol.Phase]v1alpha1.InstancePhase{
	protocol.PhasePending:    v1alpha1.InstanceDelivering,
	protocol.PhaseFetching:   v1alpha1.InstanceDelivering,
	protocol.PhaseStarting:   v1alpha1.InstanceDelivering,
	protocol.PhaseRunning:    v1alpha1.InstanceRunning,
	protocol.PhaseCompleted:  v1alpha1.InstanceCompleted,
	protocol.PhaseFailed:     v1alpha1.InstanceFailed,
	protocol.PhaseRolledBack: v1alpha1.InstanceRolledBack,
	protocol.PhaseRejected:   v1alpha1.InstanceRejected,
}

// readyReasons are the Ready condition's reasons by phase.
var readyReasons = map[v1alpha1.InstancePhase]string{
	v1alpha1.InstanceDelivering: v1alpha1.ReasonDelivering,
	v1alpha1.InstanceRunning:    v1alpha1.ReasonRunning,
	v1alpha1.InstanceCompleted:  v1alpha1.ReasonCompleted,
	v1alpha1.InstanceFailed:     v1alpha1.ReasonFailed,
	v1alpha1.InstanceRejected:   v1alpha1.ReasonFailed,
	v1alpha1.InstanceRolledBack: v1alpha1.ReasonRolledBack,
}

func setReady(status *v1alpha1.InstanceStatus, at time.Time) {
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: readyReasons[status.Phase],
		Message: readyMessage(status), ObservedGeneration: status.ObservedGeneration,
	}
	if status.Phase == v1alpha1.InstanceRunning || status.Phase == v1alpha1.InstanceCompleted {
		ready.Status = metav1.ConditionTrue
	}
	ready.LastTransitionTime = metav1.NewTime(at).Rfc3339Copy()
	meta.SetStatusCondition(&status.Conditions, ready)
}

func readyMessage(status *v1alpha1.InstanceStatus) string {
	switch {
	case status.Phase == v1alpha1.InstanceRejected && status.Reason == "":
		return "the device refuses to run it"
	case status.Phase == v1alpha1.InstanceRolledBack:
		return fmt.Sprintf("the device went back to the former version: %s", reasonAndMessage(status))
	case status.Reason != "":
		return reasonAndMessage(status)
	}
	return ""
}

func reasonAndMessage(status *v1alpha1.InstanceStatus) string {
	if status.Message == "" {
		return status.Reason
	}
	return status.Reason + ": " + status.Message
}

// presence is what a gateway knows about its connection with a device.
type presence struct {
	connected bool
	since     time.Time
	epoch     int64
	// facts that the device told; nil when it was not seen by this process.
	facts *v1alpha1.DeviceConnection
}

// deviceConnection is what a Device's status.connection should be, and whether that differs from what it is. The
// writer is gateway; another gateway's connection with a newer epoch is never overwritten, and an epoch alone is no
// reason to write: it is recorded with the next change.
func deviceConnection(present *v1alpha1.DeviceConnection, gateway string, p presence) (want *v1alpha1.DeviceConnection, write bool) {
	if present != nil && present.Gateway != gateway && present.Epoch > p.epoch {
		return nil, false
	}
	switch {
	case p.facts != nil:
		c := *p.facts
		want = &c
	case present != nil && present.Gateway == gateway:
		c := *present
		want = &c
	default:
		return nil, false
	}
	want.Gateway, want.Connected = gateway, p.connected
	since := metav1.NewTime(p.since).Rfc3339Copy()
	want.Since, want.Epoch = &since, p.epoch
	if present == nil {
		return want, p.connected
	}
	if want.LastCrash == "" {
		want.LastCrash = present.LastCrash
	}
	if want.Connected == present.Connected && want.Gateway == present.Gateway {
		want.Since = present.Since
	}
	want.Epoch = max(want.Epoch, present.Epoch)
	same := *want
	same.Epoch, same.Since = present.Epoch, present.Since
	return want, same != *present
}
