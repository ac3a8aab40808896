// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/trace"
)

// deriveInterval is the least time between two derivations; a derivation that takes long comes less often, so that
// deriving never takes more than a tenth of a core.
const deriveInterval = 250 * time.Millisecond

// deriver notes what has to be derived anew: commits with what became of them, and problems by cause.
type deriver struct {
	problems     bool
	revisions    map[string]struct{}
	repositories map[string]struct{}
	dirty        chan struct{}
}

func (d *deriver) init() {
	d.revisions, d.repositories, d.dirty = map[string]struct{}{}, map[string]struct{}{}, make(chan struct{}, 1)
}

func (d *deriver) wake() {
	select {
	case d.dirty <- struct{}{}:
	default:
	}
}

// Derive keeps the commits and the problems current until ctx ends.
func (s *Store) Derive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.derive.dirty:
		}
		began := time.Now()
		s.DeriveNow()
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(deriveInterval, 10*time.Since(began))):
		}
	}
}

// DeriveNow brings commits and problems up to date.
func (s *Store) DeriveNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deriveCommits()
	if s.derive.problems {
		s.derive.problems = false
		s.deriveProblems()
	}
}

func (s *Store) deriveCommits() {
	for id := range s.derive.repositories {
		h := s.histories[id]
		for key, row := range s.tables[Commits].rows {
			c := row.(*Commit)
			if c.Repository == id && (h == nil || !slices.ContainsFunc(h.entries, func(e v1alpha1.HistoryEntry) bool { return e.Commit == c.Commit })) {
				s.put(Commits, key, nil)
			}
		}
	}
	for id, h := range s.histories {
		_, all := s.derive.repositories[id]
		for i := range h.entries {
			if _, some := s.derive.revisions[h.entries[i].Commit]; all || some {
				row := s.commit(id, h, &h.entries[i])
				s.put(Commits, row.ID, row)
			}
		}
	}
	clear(s.derive.repositories)
	clear(s.derive.revisions)
}

// commit derives one commit's row.
func (s *Store) commit(repository string, h *history, e *v1alpha1.HistoryEntry) *Commit {
	row := &Commit{ID: repository + "@" + e.Commit, Repository: repository, Commit: e.Commit, Author: clip(e.Author, maxText), Subject: clip(e.Subject, maxText),
		Outcome: e.Outcome, Reason: e.Reason, Message: clip(e.Message, maxText), Changed: e.Changed, space: h.space, Detail: &CommitDetail{}}
	if e.CommittedAt != nil {
		row.CommittedAt = MomentOf(e.CommittedAt.Time)
	}
	for _, part := range []struct {
		to   *Moment
		from *metav1.MicroTime
	}{{&row.PushedAt, e.PushedAt}, {&row.FetchedAt, e.FetchedAt}, {&row.CheckedAt, e.CheckedAt}, {&row.AppliedAt, e.AppliedAt}} {
		if part.from != nil {
			*part.to = MomentOf(part.from.Time)
		}
	}
	row.order = max(row.PushedAt, row.FetchedAt, row.CheckedAt, row.AppliedAt)
	if c := e.Changes; c != nil {
		row.Changes = &Changes{c.Created, c.Changed, c.Removed, c.Unchanged}
	}
	if e.Commit == h.newest {
		row.Findings = h.findings
	}
	namespace, name, _ := strings.Cut(repository, "/")
	in := trace.Input{Repositories: []v1alpha1.Repository{{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: v1alpha1.RepositoryStatus{History: []v1alpha1.HistoryEntry{*e}}}}}
	for _, i := range s.byRevision[e.Commit] {
		in.Instances = append(in.Instances, i.object())
	}
	if t, err := trace.Of(in, e.Commit); err == nil {
		row.takeTrace(t)
	}
	for _, digest := range e.Modules {
		row.Detail.Modules = append(row.Detail.Modules, s.module(digest, h.space))
	}
	row.State = row.judge()
	return row
}

// module tells what is known of a module.
func (s *Store) module(digest, _ string) CommitModule {
	m := CommitModule{Digest: digest}
	for _, row := range s.tables[Applications].rows {
		if a := row.(*Application); a.Module.Digest == digest {
			m.Path, m.Size, m.Applications = a.Module.Path, a.Module.Size, append(m.Applications, a.ID)
		}
	}
	slices.SortFunc(m.Applications, Natural)
	return m
}

func (c *Commit) judge() State {
	switch {
	case c.Outcome == "Refused" || c.Outcome == "Failed" || c.Failed > 0:
		return StateError
	case c.Outcome == trace.OutcomeInProgress || c.Waiting > 0:
		return StateWorking
	case c.Outcome == "Superseded":
		return StateOff
	}
	return StateOK
}

func (c *Commit) takeTrace(t *trace.Trace) {
	c.Instances, c.Running, c.Failed, c.Waiting = t.Instances, t.Running, t.Failed, t.Waiting
	for _, stage := range t.Stages {
		next := Stage{Name: stage.Name, PerInstance: stage.PerInstance, Count: stage.Count, SinceStart: quantiles(stage.SinceStart), Took: quantiles(stage.Took)}
		if stage.First != nil {
			next.First = MomentOf(*stage.First)
		}
		if stage.Last != nil {
			next.Last = MomentOf(*stage.Last)
		}
		c.Stages = append(c.Stages, next)
	}
	for _, a := range t.Applications {
		c.Detail.Applications = append(c.Detail.Applications, CommitApplication{a.Name, a.Instances, a.Running, a.Failed, a.Waiting, quantiles(a.ToRunning)})
	}
	slices.SortFunc(c.Detail.Applications, func(a, b CommitApplication) int { return Natural(a.Name, b.Name) })
	for _, f := range t.Failures {
		c.Detail.Failures = append(c.Detail.Failures, Failure{f.Device, f.Application, string(f.Phase), f.Reason, clip(f.Message, maxText)})
	}
	c.Detail.MoreFailures, c.Detail.DeviceStart = t.MoreFailures, quantiles(t.DeviceStart)
}

func quantiles(q *trace.Quantiles) *Quantiles {
	if q == nil {
		return nil
	}
	return &Quantiles{q.P50, q.P95, q.Max, q.Slowest}
}

// object is as much of an Instance as a trace reads.
func (i *Instance) object() v1alpha1.Instance {
	_, application, _ := strings.Cut(i.Application, "/")
	_, device, _ := strings.Cut(i.Device, "/")
	o := v1alpha1.Instance{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.Metadata.Namespace, Name: i.Metadata.Name, Generation: 1, Annotations: map[string]string{
			v1alpha1.AnnotationRevision: i.Revision, v1alpha1.AnnotationIssuedAt: i.IssuedAt.Time().Format(time.RFC3339Nano)}},
		Spec:   v1alpha1.InstanceSpec{Application: application, Device: device},
		Status: v1alpha1.InstanceStatus{Phase: v1alpha1.InstancePhase(i.reported), Reason: i.Reason, Message: i.Message, StartMilliseconds: i.StartMilliseconds},
	}
	if i.Answered {
		o.Status.ObservedGeneration = 1
	}
	if i.DeliveredAt != 0 {
		o.Status.DeliveredAt = &metav1.MicroTime{Time: i.DeliveredAt.Time()}
	}
	if i.RunningAt != 0 {
		o.Status.RunningAt = &metav1.MicroTime{Time: i.RunningAt.Time()}
	}
	return o
}

// ByTime compares commits and events by time, the newest first.
func ByTime(a, b Row) int {
	switch a := a.(type) {
	case *Commit:
		return cmp.Compare(b.(*Commit).order, a.order)
	case *Event:
		return cmp.Compare(b.(*Event).Time, a.Time)
	}
	return 0
}
