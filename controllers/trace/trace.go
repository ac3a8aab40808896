// SPDX-License-Identifier: Apache-2.0

// Package trace follows a commit from the push to the app that runs on a device, by what the objects of the fleet
// say. It is pure: objects in, a Trace out.
//
// A commit has four moments of its own (pushed, fetched, checked, applied; in the Repository's history) and four on
// each Instance that it caused (issued, delivered, started, running). An Instance remembers the commit that its present spec
// comes from and no earlier one: of an older commit only its own moments are left, and the devices that nothing has
// changed since.
package trace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Names of stages, in their order.
const (
	StagePushed    = "pushed"
	StageFetched   = "fetched"
	StageChecked   = "checked"
	StageApplied   = "applied"
	StageIssued    = "issued"
	StageDelivered = "delivered"
	// StageStarted is when the first instruction ran: the device tells how long after the receipt of its desired state,
	// and the gateway's clock says when that was sent.
	StageStarted = "started"
	// StageRunning is when the gateway learnt that it runs.
	StageRunning = "running"
)

// Outcome of a commit that is on its way.
const OutcomeInProgress = "InProgress"

// MaxFailures is how many failures a Trace lists; the rest is counted.
const MaxFailures = 20

// minPrefix is how much of a commit's name must be given.
const minPrefix = 4

// Errors that callers tell apart.
var (
	ErrUnknownCommit = errors.New("no repository has this commit among its last revisions")
	ErrAmbiguous     = errors.New("more than one commit begins like this")
)

// Input are the objects of a fleet. Nothing in them is changed.
type Input struct {
	Repositories []v1alpha1.Repository
	Instances    []v1alpha1.Instance
}

// Trace is the way of one commit. Times are the controllers' and gateways' wall times.
type Trace struct {
	// Repository is "namespace/name".
	Repository string `json:"repository"`
	Commit     string `json:"commit"`
	Author     string `json:"author,omitempty"`
	Subject    string `json:"subject,omitempty"`
	// Outcome is Applied, Refused, Failed or Superseded, or InProgress.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Changed is what the commit created, changed or removed: the first 20.
	Changed []string `json:"changed,omitempty"`
	// Start is when the clock starts: the push, or the fetch where no hook told of the push.
	Start *time.Time `json:"start,omitempty"`
	// Stages in their order; a stage that nothing has reached has Count 0.
	Stages []Stage `json:"stages"`
	// Instances counts those whose present spec comes from the commit: all, and by what became of them.
	Instances int `json:"instances"`
	Running   int `json:"running"`
	Failed    int `json:"failed"`
	Waiting   int `json:"waiting"`
	// DeviceStart is what the devices measured from the receipt of their desired state to the first instruction.
	DeviceStart *Quantiles `json:"deviceStart,omitempty"`
	// Applications that the commit's Instances belong to, by name.
	Applications []Application `json:"applications,omitempty"`
	// Failures by device: the first MaxFailures; the rest is counted.
	Failures     []Failure `json:"failures,omitempty"`
	MoreFailures int       `json:"moreFailures,omitempty"`
}

// Stage is one moment on the way: of the commit, or of all Instances that reached it.
type Stage struct {
	Name string `json:"name"`
	// PerInstance is true for issued, delivered, started and running.
	PerInstance bool `json:"perInstance"`
	// Count is how many reached it.
	Count int        `json:"count"`
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`
	// SinceStart is from Trace.Start, Took from the stage before; both absent when nothing reached both ends.
	SinceStart *Quantiles `json:"sinceStart,omitempty"`
	Took       *Quantiles `json:"took,omitempty"`
}

// Quantiles of durations in milliseconds, by nearest rank: P50 and P95 are among the durations.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
	// Slowest is the device with Max, "namespace/name"; empty for moments of the commit.
	Slowest string `json:"slowest,omitempty"`
}

// Application is one Application's share of a commit.
type Application struct {
	// Name is "namespace/name".
	Name      string `json:"name"`
	Instances int    `json:"instances"`
	Running   int    `json:"running"`
	Failed    int    `json:"failed"`
	Waiting   int    `json:"waiting"`
	// ToRunning is from Trace.Start.
	ToRunning *Quantiles `json:"toRunning,omitempty"`
}

// Failure is one Instance that does not run.
type Failure struct {
	// Device and Application are "namespace/name".
	Device      string                 `json:"device"`
	Application string                 `json:"application"`
	Phase       v1alpha1.InstancePhase `json:"phase"`
	Reason      string                 `json:"reason,omitempty"`
	Message     string                 `json:"message,omitempty"`
}

// Of traces a commit: its full name or at least four digits of its beginning; "" means the newest.
func Of(in Input, commit string) (*Trace, error) {
	found, err := find(in.Repositories, commit)
	if err != nil {
		return nil, err
	}
	t := &Trace{
		Repository: found.repository, Commit: found.entry.Commit, Author: found.entry.Author, Subject: found.entry.Subject,
		Outcome: found.entry.Outcome, Reason: found.entry.Reason, Message: found.entry.Message, Changed: found.entry.Changed,
	}
	b := &builder{trace: t}
	b.commitStages(&found.entry.Revision)
	for i := range in.Instances {
		if in.Instances[i].Annotations[v1alpha1.AnnotationRevision] == t.Commit {
			b.instance(&in.Instances[i])
		}
	}
	b.finish()
	return t, nil
}

// revision is a commit of a repository.
type revision struct {
	repository string
	entry      v1alpha1.HistoryEntry
}

// find looks a commit up in the repositories' histories, and among those that are on their way.
func find(repositories []v1alpha1.Repository, commit string) (revision, error) {
	if commit != "" && len(commit) < minPrefix {
		return revision{}, fmt.Errorf("%w: give at least %d digits", ErrAmbiguous, minPrefix)
	}
	var found []revision
	for i := range repositories {
		for _, entry := range entriesOf(&repositories[i]) {
			if strings.HasPrefix(entry.Commit, commit) {
				found = append(found, revision{repositories[i].Namespace + "/" + repositories[i].Name, entry})
			}
		}
	}
	if len(found) == 0 {
		return revision{}, fmt.Errorf("%w: %q", ErrUnknownCommit, commit)
	}
	if commit == "" {
		return slices.MaxFunc(found, func(a, b revision) int { return reached(&a.entry).Compare(reached(&b.entry)) }), nil
	}
	for _, other := range found[1:] {
		if other.entry.Commit != found[0].entry.Commit {
			return revision{}, fmt.Errorf("%w: %s and %s", ErrAmbiguous, found[0].entry.Commit, other.entry.Commit)
		}
	}
	return found[0], nil
}

// entriesOf are a repository's revisions, newest first, with the one that is being worked on.
func entriesOf(repository *v1alpha1.Repository) []v1alpha1.HistoryEntry {
	entries := repository.Status.History
	fetched := repository.Status.Fetched
	if fetched == nil || slices.ContainsFunc(entries, func(e v1alpha1.HistoryEntry) bool { return e.Commit == fetched.Commit }) {
		return entries
	}
	return append([]v1alpha1.HistoryEntry{{Revision: *fetched, Outcome: OutcomeInProgress}}, entries...)
}

// reached is the last moment of a commit that is known.
func reached(entry *v1alpha1.HistoryEntry) time.Time {
	var last time.Time
	for _, at := range []*metav1.MicroTime{entry.PushedAt, entry.FetchedAt, entry.CheckedAt, entry.AppliedAt} {
		if at != nil && at.After(last) {
			last = at.Time
		}
	}
	return last
}

// moment is when one device, or the commit ("" for the device), reached a stage.
type moment struct {
	device string
	at     time.Time
	// before is when it reached the stage before; zero when that is not known.
	before time.Time
}

// duration of something on a device, in milliseconds.
type duration struct {
	device       string
	milliseconds float64
}

// builder gathers what a Trace is made of.
type builder struct {
	trace   *Trace
	applied time.Time
	moments map[string][]moment
	starts  []duration
	apps    map[string]*share
}

// share is an Application's part.
type share struct {
	Application
	toRunning []duration
}

func (b *builder) commitStages(r *v1alpha1.Revision) {
	b.moments, b.apps = map[string][]moment{}, map[string]*share{}
	var before time.Time
	for _, stage := range []struct {
		name string
		at   *metav1.MicroTime
	}{{StagePushed, r.PushedAt}, {StageFetched, r.FetchedAt}, {StageChecked, r.CheckedAt}, {StageApplied, r.AppliedAt}} {
		if stage.at == nil {
			continue
		}
		if b.trace.Start == nil && (stage.name == StagePushed || stage.name == StageFetched) {
			start := stage.at.Time
			b.trace.Start = &start
		}
		b.moments[stage.name] = append(b.moments[stage.name], moment{at: stage.at.Time, before: before})
		before = stage.at.Time
	}
	if r.AppliedAt != nil {
		b.applied = r.AppliedAt.Time
	}
}

// instance adds the moments of one Instance. Moments from before its present spec was issued belong to an older one.
func (b *builder) instance(instance *v1alpha1.Instance) {
	t, status := b.trace, &instance.Status
	device := instance.Namespace + "/" + instance.Spec.Device
	app := b.share(instance.Namespace + "/" + instance.Spec.Application)
	t.Instances++
	app.Instances++
	issued, err := time.Parse(time.RFC3339Nano, instance.Annotations[v1alpha1.AnnotationIssuedAt])
	if err != nil {
		issued = instance.CreationTimestamp.Time
	}
	b.add(StageIssued, device, issued, b.applied)
	var delivered time.Time
	if at := status.DeliveredAt; at != nil && !at.Time.Before(issued.Truncate(time.Microsecond)) {
		delivered = at.Time
		b.add(StageDelivered, device, delivered, issued)
	}
	answered := status.ObservedGeneration == instance.Generation
	before := delivered
	if ms := status.StartMilliseconds; answered && ms != nil && !delivered.IsZero() {
		before = started(delivered, *ms, status.RunningAt)
		b.add(StageStarted, device, before, delivered)
	}
	if at := status.RunningAt; answered && at != nil && !at.Time.Before(issued.Truncate(time.Microsecond)) {
		b.add(StageRunning, device, at.Time, before)
		if t.Start != nil {
			app.toRunning = append(app.toRunning, duration{device, milliseconds(at.Sub(*t.Start))})
		}
		if status.StartMilliseconds != nil {
			b.starts = append(b.starts, duration{device, float64(*status.StartMilliseconds)})
		}
	}
	b.outcome(instance, app, device, answered)
}

// started is the wall time of the first instruction: never later than the gateway knew of it, however coarse the
// device's clock is.
func started(delivered time.Time, milliseconds int64, running *metav1.MicroTime) time.Time {
	at := delivered.Add(time.Duration(milliseconds) * time.Millisecond)
	if running != nil && running.Time.Before(at) && !running.Time.Before(delivered) {
		return running.Time
	}
	return at
}

// outcome counts what became of an Instance.
func (b *builder) outcome(instance *v1alpha1.Instance, app *share, device string, answered bool) {
	phase := instance.Status.Phase
	if !answered {
		phase = v1alpha1.InstancePending
	}
	switch phase {
	case v1alpha1.InstanceRunning, v1alpha1.InstanceCompleted:
		b.trace.Running++
		app.Running++
	case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
		b.trace.Failed++
		app.Failed++
		b.trace.Failures = append(b.trace.Failures, Failure{
			Device: device, Application: app.Name, Phase: phase, Reason: instance.Status.Reason, Message: instance.Status.Message,
		})
	default:
		b.trace.Waiting++
		app.Waiting++
	}
}

func (b *builder) share(name string) *share {
	s, ok := b.apps[name]
	if !ok {
		s = &share{Application: Application{Name: name}}
		b.apps[name] = s
	}
	return s
}

func (b *builder) add(stage, device string, at, before time.Time) {
	b.moments[stage] = append(b.moments[stage], moment{device, at, before})
}

func (b *builder) finish() {
	t := b.trace
	for _, name := range []string{StagePushed, StageFetched, StageChecked, StageApplied, StageIssued, StageDelivered, StageStarted, StageRunning} {
		stage := b.stage(name)
		stage.PerInstance = name == StageIssued || name == StageDelivered || name == StageStarted || name == StageRunning
		t.Stages = append(t.Stages, stage)
	}
	t.DeviceStart = quantiles(b.starts)
	for _, app := range b.apps {
		app.ToRunning = quantiles(app.toRunning)
		t.Applications = append(t.Applications, app.Application)
	}
	slices.SortFunc(t.Applications, func(a, b Application) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Failures, func(a, b Failure) int {
		return strings.Compare(a.Device+" "+a.Application, b.Device+" "+b.Application)
	})
	if more := len(t.Failures) - MaxFailures; more > 0 {
		t.Failures, t.MoreFailures = t.Failures[:MaxFailures], more
	}
}

func (b *builder) stage(name string) Stage {
	stage := Stage{Name: name, Count: len(b.moments[name])}
	var sinceStart, took []duration
	for _, m := range b.moments[name] {
		if at := m.at; stage.First == nil || at.Before(*stage.First) {
			stage.First = &at
		}
		if at := m.at; stage.Last == nil || at.After(*stage.Last) {
			stage.Last = &at
		}
		if b.trace.Start != nil && name != StagePushed {
			sinceStart = append(sinceStart, duration{m.device, milliseconds(m.at.Sub(*b.trace.Start))})
		}
		if !m.before.IsZero() {
			took = append(took, duration{m.device, milliseconds(m.at.Sub(m.before))})
		}
	}
	stage.SinceStart, stage.Took = quantiles(sinceStart), quantiles(took)
	return stage
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantiles is nil without durations.
func quantiles(durations []duration) *Quantiles {
	if len(durations) == 0 {
		return nil
	}
	slices.SortFunc(durations, func(a, b duration) int {
		switch {
		case a.milliseconds < b.milliseconds:
			return -1
		case a.milliseconds > b.milliseconds:
			return 1
		}
		return strings.Compare(b.device, a.device) // so that the slowest is the first by name
	})
	rank := func(percent int) float64 { return durations[(len(durations)*percent+99)/100-1].milliseconds }
	last := durations[len(durations)-1]
	return &Quantiles{P50: rank(50), P95: rank(95), Max: last.milliseconds, Slowest: last.device}
}
