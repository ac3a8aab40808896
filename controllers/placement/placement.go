// SPDX-License-Identifier: Apache-2.0

// Package placement decides which device should run what, and when. It is pure: no cluster, no clock; the same input
// gives the same plan.
//
// # Who is meant
//
// The devices that an Application's selector matches are either excluded, when the app does not fit them (see fit.go),
// or targets. A target is online when a gateway holds a session with it, it should be on and it is not quarantined;
// all others are offline and counted apart: nothing is issued to them, they hold nobody up, and when they come back
// they are served like any device that lacks the present spec. An Instance goes at once when its device is gone or no
// longer selected; that is no part of a rollout and not suspended.
//
// # Rollouts
//
// A rollout begins when the Application's spec changes in a way that Instances feel, and goes in waves of at most
// maxUnavailable online targets (a share is rounded down; at least one), those whose app has failed first, then by
// name. The next wave begins when every online device of those before runs what it was issued. The first deployment is
// a rollout like any other, so that a bad app stops at its first wave.
//
// The rollout halts, as long as this lasts, when among the Instances that it issued
//   - one on an online device reports Failed, RolledBack or Rejected, or
//   - one on an online device has not answered within progressDeadline of its issue, or of the device's return, or
//   - more devices disconnected after they had been given theirs than devices run it: an app that takes its
//     devices off the network must not reach the next wave.
//
// RolledBack and Rejected last until the spec changes. Instances that were issued before the rollout do not halt it:
// otherwise a device that failed already would keep the fix from the others. To go on without a broken device, switch
// its power Off, quarantine or remove it.
//
// The rollout is over when no online target waits. From then on single devices (new ones, ones that return, ones whose
// overrides changed) are served at once, but never so many that more than maxUnavailable online targets carry a spec
// that they have not run yet; and one that fails does not keep others from theirs.
//
// # State
//
// What the plan must remember lies in the Application's status: observedGeneration, wave (0: no rollout goes on) and
// rolloutStartedAt, which tells what this rollout issued from what was there before. When Result.Begin is set they must
// be stored before anything is issued.
package placement

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Defaults of a spec that the API server has not filled in.
const (
	defaultMemory         = 16384
	defaultStack          = 4096
	defaultDeadline       = 2 * time.Minute
	defaultMaxUnavailable = "25%"
)

// Input is all that a plan depends on. Nothing in it is changed.
type Input struct {
	Application *v1alpha1.Application
	// Others are the other Applications of the namespace: they take memory on the same devices.
	Others []*v1alpha1.Application
	// Devices of the namespace, in any order.
	Devices []*v1alpha1.Device
	// Instances of the Application, in any order.
	Instances []*v1alpha1.Instance
	Now       time.Time
}

// Order is an Instance to be created or given a new spec.
type Order struct {
	Device *v1alpha1.Device
	// Instance is the one to change, nil for one to create.
	Instance *v1alpha1.Instance
	Spec     v1alpha1.InstanceSpec
	// Revision is the commit that caused it: the Application's or the Device's.
	Revision string
}

// Verdict is the state of an Application in the words of its conditions.
type Verdict struct {
	Ready       bool
	Reconciling bool
	Stalled     bool
	Reason      string
	Message     string
}

// Result is a plan, and what the Application's status should say.
type Result struct {
	// Issue holds orders of one wave: devices in the order in which they should be served.
	Issue  []Order
	Delete []*v1alpha1.Instance
	// Status has the counts, wave and rolloutStartedAt; conditions are left to the caller.
	Status v1alpha1.ApplicationStatus
	// Begin is true when a rollout begins: Status is to be stored before Issue is acted on.
	Begin   bool
	Verdict Verdict
	// After is when time alone may change the plan; zero: never.
	After time.Duration
}

// Online tells whether a device can be reached: a rollout waits for those that can.
func Online(device *v1alpha1.Device) bool {
	c := device.Status.Connection
	return c != nil && c.Connected && device.Spec.Power != v1alpha1.PowerOff && !device.Spec.Quarantine &&
		device.Status.Phase != v1alpha1.DeviceUnknown
}

// Plan says what to do now.
func Plan(in Input) Result {
	p := &plan{Input: in, app: in.Application}
	p.prepare()
	p.survey()
	p.judge()
	p.issue()
	p.finish()
	return p.result
}

// target is an online device that lacks the present spec; instance is nil when it has none at all.
type target struct {
	device   *v1alpha1.Device
	instance *v1alpha1.Instance
}

// state is how far an Instance with the present spec on an online device is.
type state int

const (
	stateWaiting state = iota // the device has not said that it runs
	stateRunning
	stateFailed  // Failed, RolledBack or Rejected
	stateOverdue // waiting for longer than progressDeadline
)

// plan is one run of Plan.
type plan struct {
	Input
	app      *v1alpha1.Application
	base     v1alpha1.InstanceSpec
	deadline time.Duration
	rolling  bool
	began    time.Time
	carried  []carried
	stale    []target
	online   int
	// Of the Instances that this rollout issued, on targets:
	issued, waiting, ran, lost int
	lostDevice                 string
	// unproven counts online targets with a present spec that they have not run yet.
	unproven int
	pending  int // online targets that wait, whoever issued it
	failing  failure
	halt     failure
	halted   bool
	result   Result
}

// carried is an Instance with the present spec on a target, looked at in a second pass.
type carried struct {
	device   *v1alpha1.Device
	instance *v1alpha1.Instance
	online   bool
	issuedAt time.Time
}

func (p *plan) prepare() {
	spec := &p.app.Spec
	p.base = v1alpha1.InstanceSpec{
		Application: p.app.Name, Digest: spec.Module.Digest, Size: spec.Module.Size, Config: spec.Config,
		Permissions: spec.Permissions, RestartPolicy: spec.RestartPolicy,
		Limits: v1alpha1.AppLimits{Memory: orDefault(spec.Limits.Memory, defaultMemory), Stack: orDefault(spec.Limits.Stack, defaultStack), Fuel: spec.Limits.Fuel},
	}
	if p.base.RestartPolicy == "" {
		p.base.RestartPolicy = v1alpha1.RestartAlways
	}
	p.deadline = defaultDeadline
	if spec.Rollout.ProgressDeadline != nil {
		p.deadline = spec.Rollout.ProgressDeadline.Duration
	}
}

func orDefault(value *int32, fallback int32) *int32 {
	if value == nil {
		return &fallback
	}
	return value
}

// spec is what the application's Instance on a device should be now.
func (p *plan) spec(device *v1alpha1.Device) v1alpha1.InstanceSpec {
	spec := p.base
	spec.Device = device.Name
	if overrides := device.Spec.Config[p.app.Name]; len(overrides) > 0 {
		merged := make(v1alpha1.ConfigValues, len(spec.Config)+len(overrides))
		for key, value := range spec.Config {
			merged[key] = value
		}
		for key, value := range overrides {
			merged[key] = value
		}
		spec.Config = merged
	}
	return spec
}

// survey sorts devices and Instances by what is to be done with them, in one pass over each.
func (p *plan) survey() {
	selector, err := metav1.LabelSelectorAsSelector(&p.app.Spec.Selector)
	if err != nil {
		selector = labels.Nothing() // the schema admits none such
	}
	instances := make(map[string]*v1alpha1.Instance, len(p.Instances))
	for _, instance := range p.Instances {
		if instance.Name != v1alpha1.InstanceName(p.app.Name, instance.Spec.Device) {
			p.result.Delete = append(p.result.Delete, instance)
			continue
		}
		instances[instance.Spec.Device] = instance
	}
	fits := newFitting(p.app, p.Others)
	status := &p.result.Status
	p.carried = make([]carried, 0, len(instances))
	for _, device := range p.Devices {
		if device.DeletionTimestamp != nil || !selector.Matches(labels.Set(device.Labels)) {
			continue
		}
		instance := instances[device.Name]
		delete(instances, device.Name)
		if !fits.on(device) {
			status.Excluded++ // what runs there already goes on
			continue
		}
		status.Target++
		p.place(device, instance)
	}
	for _, instance := range instances {
		p.result.Delete = append(p.result.Delete, instance)
	}
	slices.SortFunc(p.result.Delete, func(a, b *v1alpha1.Instance) int { return strings.Compare(a.Name, b.Name) })
}

func (p *plan) place(device *v1alpha1.Device, instance *v1alpha1.Instance) {
	online := Online(device)
	if online {
		p.online++
	} else {
		p.result.Status.Offline++
	}
	spec := p.spec(device)
	if instance == nil || !equal(&instance.Spec, &spec) {
		if online {
			p.stale = append(p.stale, target{device, instance})
		}
		return
	}
	p.result.Status.Updated++
	p.carried = append(p.carried, carried{device, instance, online, issuedAt(instance)})
}

// judge finds out whether a rollout goes on and whether it is halted, and counts.
func (p *plan) judge() {
	old := &p.app.Status
	p.result.Status.Wave = old.Wave
	p.rolling = old.Wave > 0 || old.ObservedGeneration != p.app.Generation || old.RolloutStartedAt == nil
	if old.RolloutStartedAt != nil {
		p.began = old.RolloutStartedAt.Time
	}
	if old.RolloutStartedAt == nil || old.ObservedGeneration != p.app.Generation && !p.continues() {
		p.began = p.Now.Truncate(time.Microsecond)
		p.result.Begin = true
		p.result.Status.Wave = 1
	}
	started := metav1.NewMicroTime(p.began)
	p.result.Status.RolloutStartedAt = &started
	p.result.Status.ObservedGeneration = p.app.Generation
	for i := range p.carried {
		p.weigh(&p.carried[i])
	}
	if p.rolling && p.halt.kind == failureNone && p.lost > p.ran {
		p.halt = failure{kind: failureLost, device: p.lostDevice, count: p.lost}
	}
	p.halted = p.rolling && p.halt.kind != failureNone
}

// continues tells whether a changed Application means the rollout that goes on already: that one issued exactly this
// spec, so only the way it is rolled out changed.
func (p *plan) continues() bool {
	if p.app.Status.Wave == 0 {
		return false
	}
	return slices.ContainsFunc(p.carried, func(c carried) bool { return !c.issuedAt.Before(p.began) })
}

// weigh counts one Instance that has the present spec.
func (p *plan) weigh(c *carried) {
	ours := !c.issuedAt.Before(p.began)
	if ours {
		p.issued++
	}
	if !c.online {
		if ours && lost(c) {
			p.lost++
			if p.lostDevice == "" || c.device.Name < p.lostDevice {
				p.lostDevice = c.device.Name
			}
		}
		return
	}
	s := p.stateOf(c)
	if s == stateRunning {
		p.result.Status.Running++
		if ours {
			p.ran++
		}
		return
	}
	if ran := c.instance.Status.RunningAt; ran == nil || ran.Time.Before(c.issuedAt) {
		p.unproven++
	}
	if s == stateWaiting {
		p.pending++
		if ours {
			p.waiting++
		}
		return
	}
	p.result.Status.Failed++
	found := failureOf(c, s, p.deadline)
	p.failing.merge(found)
	if ours {
		p.halt.merge(found)
	}
}

// stateOf says how far an Instance with the present spec on an online device is, and notes when time would change it.
func (p *plan) stateOf(c *carried) state {
	status := &c.instance.Status
	if status.ObservedGeneration == c.instance.Generation {
		switch status.Phase {
		case v1alpha1.InstanceRunning, v1alpha1.InstanceCompleted:
			return stateRunning
		case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
			return stateFailed
		}
	}
	since := c.issuedAt
	if back := c.device.Status.Connection.Since; back != nil && back.After(since) {
		since = back.Time
	}
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); ready != nil && ready.LastTransitionTime.After(since) {
		since = ready.LastTransitionTime.Time // it ran and starts again
	}
	left := since.Add(p.deadline).Sub(p.Now)
	if left <= 0 {
		return stateOverdue
	}
	if p.result.After == 0 || left < p.result.After {
		p.result.After = left
	}
	return stateWaiting
}

// lost tells whether a device went away by itself after it was given the present spec.
func lost(c *carried) bool {
	connection, delivered := c.device.Status.Connection, c.instance.Status.DeliveredAt
	return connection != nil && !connection.Connected && connection.Since != nil && delivered != nil &&
		!delivered.Time.Before(c.issuedAt) && !connection.Since.Time.Before(delivered.Time.Truncate(time.Second)) &&
		c.device.Spec.Power != v1alpha1.PowerOff && !c.device.Spec.Quarantine
}

// issue chooses who is served now.
func (p *plan) issue() {
	if len(p.stale) == 0 || p.app.Spec.Suspend || p.base.Digest == "" {
		return
	}
	room := p.maxUnavailable()
	switch {
	case !p.rolling:
		room -= p.unproven
	case p.halted || p.waiting > 0:
		room = 0
	}
	if room <= 0 {
		return
	}
	slices.SortFunc(p.stale, func(a, b target) int {
		if brokenA, brokenB := broken(a.instance), broken(b.instance); brokenA != brokenB {
			if brokenA {
				return -1
			}
			return 1
		}
		return strings.Compare(a.device.Name, b.device.Name)
	})
	wave := p.stale[:min(room, len(p.stale))]
	p.result.Issue = make([]Order, len(wave))
	for i, t := range wave {
		p.result.Issue[i] = Order{t.device, t.instance, p.spec(t.device), p.revision(t)}
	}
	if p.rolling && p.issued > 0 {
		p.result.Status.Wave++
	}
}

// broken tells whether an Instance's app does not run anyway, so that a change costs nothing there.
func broken(instance *v1alpha1.Instance) bool {
	if instance == nil {
		return false
	}
	switch instance.Status.Phase {
	case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
		return true
	}
	return false
}

// maxUnavailable is how many of the online targets may be without a running app.
func (p *plan) maxUnavailable() int {
	limit := p.app.Spec.Rollout.MaxUnavailable
	if limit == nil {
		fallback := intstr.FromString(defaultMaxUnavailable)
		limit = &fallback
	}
	count, err := intstr.GetScaledValueFromIntOrPercent(limit, p.online, false)
	if err != nil {
		return 1 // the schema admits none such
	}
	return max(count, 1)
}

// revision is the commit that caused an order. Within a rollout that is the Application's; afterwards a changed
// Instance comes from its Device's overrides, and a new one from a Device that is younger than the rollout.
func (p *plan) revision(t target) string {
	ofApp, ofDevice := p.app.Annotations[v1alpha1.AnnotationRevision], t.device.Annotations[v1alpha1.AnnotationRevision]
	if ofDevice == "" || p.rolling {
		return ofApp
	}
	since := t.device.CreationTimestamp.Time
	if t.instance != nil {
		since = issuedAt(t.instance)
	}
	if since.Before(p.began) {
		return ofApp // it was away during the rollout
	}
	return ofDevice
}

// finish ends the rollout when nobody waits, and words the verdict.
func (p *plan) finish() {
	status := &p.result.Status
	done := len(p.stale) == 0 && p.waiting == 0 && !p.halted
	if p.rolling && done && (p.online > 0 || status.Target == 0) && p.base.Digest != "" {
		status.Wave = 0
	}
	status.Revision = p.app.Annotations[v1alpha1.AnnotationRevision]
	status.Progress = fraction(int(status.Running), int(status.Target))
	p.result.Verdict = p.verdict()
}

// issuedAt is when an Instance's present spec was written; its creation when nobody noted it.
func issuedAt(instance *v1alpha1.Instance) time.Time {
	at, err := time.Parse(time.RFC3339Nano, instance.Annotations[v1alpha1.AnnotationIssuedAt])
	if err != nil {
		return instance.CreationTimestamp.Time
	}
	return at
}
