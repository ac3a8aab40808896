// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// maxText is how much of a message a row keeps.
const maxText = 1024

// texts shares equal texts and label sets between rows: a fleet has few boards, commits and messages.
type texts struct {
	strings map[string]string
	labels  map[string]map[string]string
}

// maxShared bounds what is remembered; then it begins anew.
const maxShared = 1 << 16

func newTexts() *texts {
	return &texts{strings: map[string]string{}, labels: map[string]map[string]string{}}
}

func (t *texts) share(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := t.strings[s]; ok {
		return known
	}
	if len(t.strings) >= maxShared {
		clear(t.strings)
	}
	s = strings.Clone(s)
	t.strings[s] = s
	return s
}

// clip shares a text of at most maxText bytes.
func (t *texts) clip(s string) string { return t.share(clip(s, maxText)) }

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// labelSet shares the labels that a person or the fleet gave; those that say which Repository manages the object are
// left out.
func (t *texts) labelSet(labels map[string]string) map[string]string {
	var key strings.Builder
	kept := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if strings.HasPrefix(name, v1alpha1.Group+"/") {
			continue
		}
		kept[t.share(name)] = t.share(labels[name])
		key.WriteString(name + "=" + labels[name] + ",")
	}
	if len(kept) == 0 {
		return nil
	}
	if known, ok := t.labels[key.String()]; ok {
		return known
	}
	if len(t.labels) >= maxShared {
		clear(t.labels)
	}
	t.labels[key.String()] = kept
	return kept
}

func (t *texts) common(o metav1.Object) Common {
	namespace := t.share(o.GetNamespace())
	id := namespace + "/" + o.GetName()
	return Common{ID: id, Metadata: Metadata{
		Namespace: namespace, Name: id[len(namespace)+1:], Labels: t.labelSet(o.GetLabels()), CreatedAt: MomentOf(o.GetCreationTimestamp().Time),
	}}
}

// judge reads the Ready condition, and colours the object by it.
func (t *texts) judge(generation, observed int64, conditions []metav1.Condition) (j Judgement, state State, since Moment) {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		return Judgement{Ready: "Unknown", Reason: v1alpha1.ReasonPending, Message: "nothing has looked at it yet"}, StateWorking, 0
	case observed < generation:
		return Judgement{Ready: "Unknown", Reason: v1alpha1.ReasonProgressing, Message: "its newest change is not acted on yet"}, StateWorking, MomentOf(ready.LastTransitionTime.Time)
	}
	j = Judgement{Ready: t.share(string(ready.Status)), Reason: t.share(ready.Reason), Message: t.clip(ready.Message)}
	since = MomentOf(ready.LastTransitionTime.Time)
	switch {
	case ready.Status == metav1.ConditionTrue:
		return j, StateOK, since
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling):
		return j, StateWorking, since
	}
	return j, StateError, since
}

func (t *texts) repositoryOf(labels map[string]string) string {
	name := labels[v1alpha1.LabelRepositoryName]
	if name == "" {
		return ""
	}
	return t.share(labels[v1alpha1.LabelRepositoryNamespace] + "/" + name)
}

// slashed turns "namespace.name", as status spells a gateway, into "namespace/name".
func (t *texts) slashed(key string) string {
	namespace, name, ok := strings.Cut(key, ".")
	if !ok {
		return t.share(key)
	}
	return t.share(namespace + "/" + name)
}

func (t *texts) device(d *v1alpha1.Device) *Device {
	row := &Device{Common: t.common(d), Board: t.share(d.Spec.Board), Backend: t.share(string(d.Spec.Backend)),
		Gateway: t.slashed(d.Status.Gateway), Phase: t.share(string(d.Status.Phase)),
		Revision: t.share(d.Annotations[v1alpha1.AnnotationRevision]), Repository: t.repositoryOf(d.Labels)}
	row.Judgement, row.State, row.Trouble = t.judge(d.Generation, d.Status.ObservedGeneration, d.Status.Conditions)
	if row.Phase == "" {
		row.Phase = string(v1alpha1.DevicePending)
	}
	if running, wanted, ok := strings.Cut(d.Status.Apps, "/"); ok {
		row.Running, _ = strconv.Atoi(running)
		row.Wanted, _ = strconv.Atoi(wanted)
	}
	if c := d.Status.Connection; c != nil {
		row.Connected, row.Firmware, row.LastCrash = c.Connected, t.clip(c.Firmware), t.clip(c.LastCrash)
		if c.Since != nil {
			row.Since = MomentOf(c.Since.Time)
		}
	}
	switch d.Status.Phase {
	case v1alpha1.DeviceOff, v1alpha1.DeviceQuarantined:
		if row.State == StateOK {
			row.State = StateOff
		}
	case v1alpha1.DeviceOffline, v1alpha1.DeviceUnknown:
		// Offline is normal: it is not the fleet's fault, and somebody should still look.
		if row.State == StateError && (row.Reason == v1alpha1.ReasonDisconnected || row.Reason == v1alpha1.ReasonGatewayLost) {
			row.State = StateWarning
		}
	}
	return row
}

func (t *texts) instance(i *v1alpha1.Instance) *Instance {
	row := &Instance{Common: t.common(i), Application: t.share(i.Namespace + "/" + i.Spec.Application), Device: t.share(i.Namespace + "/" + i.Spec.Device),
		Digest: t.share(i.Spec.Digest), Revision: t.share(i.Annotations[v1alpha1.AnnotationRevision]),
		reported: t.share(string(i.Status.Phase)), Answered: i.Status.ObservedGeneration == i.Generation,
		StartMilliseconds: i.Status.StartMilliseconds}
	row.Phase = row.reported
	if !row.Answered || row.Phase == "" {
		row.Phase = string(v1alpha1.InstancePending)
	} else {
		row.Reason, row.Message, row.Restarts = t.share(i.Status.Reason), t.clip(i.Status.Message), i.Status.Restarts
	}
	if issued, err := time.Parse(time.RFC3339Nano, i.Annotations[v1alpha1.AnnotationIssuedAt]); err == nil {
		row.IssuedAt = MomentOf(issued)
	} else {
		row.IssuedAt = row.Metadata.CreatedAt
	}
	if at := i.Status.DeliveredAt; at != nil {
		row.DeliveredAt = MomentOf(at.Time)
	}
	if at := i.Status.RunningAt; at != nil {
		row.RunningAt = MomentOf(at.Time)
	}
	switch v1alpha1.InstancePhase(row.Phase) {
	case v1alpha1.InstanceRunning, v1alpha1.InstanceCompleted:
		row.State = StateOK
	case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
		row.State = StateError
	case v1alpha1.InstanceUnknown:
		row.State = StateWarning
	default:
		row.State = StateWorking
	}
	return row
}

func (t *texts) application(a *v1alpha1.Application) *Application {
	s := &a.Status
	row := &Application{Common: t.common(a), Module: Module{Path: t.share(a.Spec.Module.Path), Digest: t.share(a.Spec.Module.Digest), Size: a.Spec.Module.Size},
		Revision: t.share(a.Annotations[v1alpha1.AnnotationRevision]), Repository: t.repositoryOf(a.Labels),
		Target: s.Target, Updated: s.Updated, Running: s.Running, Failed: s.Failed, Offline: s.Offline, Excluded: s.Excluded, Wave: s.Wave, Suspended: a.Spec.Suspend}
	row.Judgement, row.State, row.Trouble = t.judge(a.Generation, s.ObservedGeneration, s.Conditions)
	if s.RolloutStartedAt != nil {
		row.RolloutStartedAt = MomentOf(s.RolloutStartedAt.Time)
	}
	if a.Spec.Suspend && row.State != StateError {
		row.State = StateOff
	}
	return row
}

func (t *texts) gateway(g *v1alpha1.Gateway) *Gateway {
	row := &Gateway{Common: t.common(g), Address: t.share(g.Status.Address), HTTPAddress: t.share(g.Status.HTTPAddress), Endpoints: g.Status.Endpoints,
		Assigned: g.Status.AssignedDevices, Connected: g.Status.ConnectedDevices, Version: t.share(g.Status.Version)}
	row.Judgement, row.State, row.Trouble = t.judge(g.Generation, g.Status.ObservedGeneration, g.Status.Conditions)
	return row
}

func (t *texts) repository(r *v1alpha1.Repository) *Repository {
	row := &Repository{Common: t.common(r), URL: withoutUser(r.Spec.URL), Branch: r.Spec.Branch, Tag: r.Spec.Tag, Path: r.Spec.Path, Suspended: r.Spec.Suspend}
	row.Judgement, row.State, row.Trouble = t.judge(r.Generation, r.Status.ObservedGeneration, r.Status.Conditions)
	if r.Spec.Suspend {
		row.State = StateOff
	}
	if applied := r.Status.Applied; applied != nil {
		row.Applied, row.Subject = applied.Commit, clip(applied.Subject, maxText)
	}
	if fetched := r.Status.Fetched; fetched != nil {
		row.Fetched = fetched.Commit
	}
	if o := r.Status.Objects; o != nil {
		row.Objects = &ObjectCounts{o.Devices, o.Gateways, o.Applications, o.Others}
	}
	for _, f := range r.Status.Findings {
		row.Findings = append(row.Findings, Finding{Severity: f.Severity, Reason: f.Reason, Message: clip(f.Message, maxText), File: f.File, Line: f.Line, Column: f.Column, Object: f.Object})
	}
	row.history = historyOf(r, row)
	return row
}

// withoutUser takes user and password out of a URL; what cannot be read is not shown.
func withoutUser(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func (t *texts) event(e *eventsv1.Event) *Event {
	row := &Event{ID: string(e.UID), Source: "event", Type: t.share(e.Type), Reason: t.share(e.Reason), Kind: t.share(e.Regarding.Kind),
		Object: t.share(e.Regarding.Namespace + "/" + e.Regarding.Name), Message: t.clip(e.Note), Who: t.share(e.ReportingController), Count: 1, space: t.share(e.Regarding.Namespace)}
	if row.Who == "" {
		row.Who = t.share(e.DeprecatedSource.Component)
	}
	at := e.EventTime.Time
	if e.Series != nil {
		row.Count, at = e.Series.Count, e.Series.LastObservedTime.Time
	} else if e.DeprecatedCount > 1 {
		row.Count, at = e.DeprecatedCount, e.DeprecatedLastTimestamp.Time
	}
	for _, other := range []time.Time{e.DeprecatedLastTimestamp.Time, e.DeprecatedFirstTimestamp.Time, e.CreationTimestamp.Time} {
		if at.IsZero() {
			at = other
		}
	}
	row.Time = MomentOf(at)
	if e.Regarding.Namespace == "" {
		row.Object = t.share(e.Regarding.Name)
		row.space = v1alpha1.SystemNamespace
	}
	return row
}
