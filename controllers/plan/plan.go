// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"fmt"
	"slices"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// Input is what a report is made of.
type Input struct {
	// Base and Head are the judged commits; Head was judged with Base as its Previous.
	Base, Head *fleet.Fleet
	// BaseRevision and HeadRevision name them.
	BaseRevision, HeadRevision Revision
	// Path of the fleet in the repository.
	Path string
	// Message of the head commit, with the trailer for the brake; empty for a working tree.
	Message string
	// Runtime measures modules; nil: what it would tell is left out.
	Runtime Runtime
	// Live is what runs now, with the base commit applied; nil: the fleet is as the base commit leaves it.
	Live *Live
}

// Compute makes the report, with the risks' default levels; policy applies others. The error is about reading modules,
// or ctx ended.
func Compute(ctx context.Context, in Input) (*Report, error) {
	r := &Report{
		Version: Version, Outcome: OutcomeNoChange, Path: Text(in.Path),
		Base: cleanRevision(in.BaseRevision), Head: cleanRevision(in.HeadRevision),
		Refused: in.Head.Refused(), Findings: findings(in.Base, in.Head), Risks: []Risk{},
		Applications: []Application{}, Modules: []Module{}, Boards: []Board{}, Notes: []string{},
		Devices: Devices{Before: len(in.Base.Devices)}.orEmpty(), Live: LiveState{Offline: []string{}, Drift: []Object{}},
	}
	c := &computation{ctx: ctx, in: in, report: r, measured: map[measureKey]measure{}}
	if in.Live != nil {
		if err := c.live(); err != nil {
			return nil, err
		}
	}
	changes := fleet.Diff(in.Base, in.Head)
	var err error
	if r.Objects, err = objects(in.Base, in.Head, changes); err != nil {
		return nil, err
	}
	if len(r.Objects.Added)+len(r.Objects.Changed)+len(r.Objects.Removed) > 0 {
		r.Outcome = OutcomeChanges
	}
	if r.Refused {
		r.Outcome = OutcomeDenied
		return r, nil
	}
	if r.Outcome == OutcomeNoChange {
		return r, nil
	}
	c.changes = changes
	if err := c.run(); err != nil {
		return nil, err
	}
	return r, nil
}

func cleanRevision(r Revision) Revision {
	return Revision{Name: Text(r.Name), Commit: Text(r.Commit), Subject: Text(r.Subject)}
}

// findings are the head's errors and those warnings that the base does not have.
func findings(base, head *fleet.Fleet) []Finding {
	type key struct{ reason, object, message string }
	known := map[key]bool{}
	for _, f := range base.Findings {
		known[key{f.Reason, f.Object, f.Message}] = true
	}
	out := []Finding{}
	for _, f := range head.Findings {
		if f.Severity != fleet.SeverityError && known[key{f.Reason, f.Object, f.Message}] {
			continue
		}
		out = append(out, Finding{
			Severity: f.Severity, Reason: f.Reason, Message: Message(f.Message),
			File: Text(f.File), Line: f.Line, Object: Text(f.Object),
		})
	}
	return out
}

// computation fills in a report.
type computation struct {
	ctx      context.Context
	in       Input
	report   *Report
	changes  fleet.Changes
	spaces   []*space
	pairs    int
	gave     map[delivery]bool
	measured map[measureKey]measure
	touched  touched
	risky    []riskyApp
}

// touched are the devices that something happens to, "namespace/name".
type touched struct{ gets, restarts, loses, mayGet, any map[string]bool }

func (c *computation) run() error {
	c.gave = map[delivery]bool{}
	c.touched = touched{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	c.devices()
	c.spaces = c.namespaces()
	for _, s := range c.spaces {
		if err := c.applications(s); err != nil {
			return err
		}
	}
	if err := c.modules(); err != nil {
		return err
	}
	if err := c.boards(); err != nil {
		return err
	}
	c.prune()
	c.totals()
	c.notes()
	c.risks()
	return c.ctx.Err()
}

// space is a namespace in which Applications or Devices differ.
type space struct {
	name                   string
	baseDevices            []*v1alpha1.Device // with the status of a fleet that runs
	headDevices            []*v1alpha1.Device
	baseApps, headApps     []*v1alpha1.Application
	baseByName, headByName map[string]*v1alpha1.Device
	// changed are the names of devices that differ, ascending.
	changed []string
}

// namespaces gathers what belongs together, of those in which something differs.
func (c *computation) namespaces() []*space {
	byName := map[string]*space{}
	for _, list := range [][]*fleet.Object{c.changes.Added, c.changes.Changed, c.changes.Removed} {
		for _, o := range list {
			if o.Device == nil && o.Application == nil {
				continue
			}
			s := byName[o.ID.Namespace]
			if s == nil {
				s = &space{name: o.ID.Namespace, baseByName: map[string]*v1alpha1.Device{}, headByName: map[string]*v1alpha1.Device{}}
				byName[o.ID.Namespace] = s
			}
			if o.Device != nil {
				s.changed = append(s.changed, o.ID.Name)
			}
		}
	}
	for _, d := range c.in.Base.Devices {
		if s := byName[d.Namespace]; s != nil {
			d = c.in.Live.withStatus(d)
			s.baseDevices, s.baseByName[d.Name] = append(s.baseDevices, d), d
		}
	}
	for _, d := range c.in.Head.Devices {
		if s := byName[d.Namespace]; s != nil {
			d = c.in.Live.withStatus(d)
			s.headDevices, s.headByName[d.Name] = append(s.headDevices, d), d
		}
	}
	for _, a := range c.in.Base.Applications {
		if s := byName[a.Namespace]; s != nil {
			s.baseApps = append(s.baseApps, a)
		}
	}
	for _, a := range c.in.Head.Applications {
		if s := byName[a.Namespace]; s != nil {
			s.headApps = append(s.headApps, a)
		}
	}
	out := make([]*space, 0, len(byName))
	for _, s := range byName {
		slices.Sort(s.changed)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *space) int { return compareText(a.name, b.name) })
	return out
}

func (c *computation) prune() {
	removed := make([]fleet.ID, len(c.changes.Removed))
	for i, o := range c.changes.Removed {
		removed[i] = o.ID
	}
	brake := fleet.PruneBrake(removed, c.in.Base.IDs(), c.in.Message)
	c.report.Prune = Prune{Needed: brake.Needed, Blocked: brake.Blocked, Trailer: brake.Trailer, Removed: len(removed)}
}

func (c *computation) totals() {
	t := &c.report.Totals
	t.MayGet = len(c.touched.mayGet)
	t.Gets, t.Restarts, t.Loses, t.Touched = len(c.touched.gets), len(c.touched.restarts), len(c.touched.loses), len(c.touched.any)
	for _, a := range c.report.Applications {
		t.Bytes += a.Bytes
		t.LongestSeconds = max(t.LongestSeconds, a.Rollout.LongestSeconds)
	}
}

func (c *computation) notes() {
	note := func(format string, args ...any) {
		c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, args...))
	}
	if c.in.Base.Refused() {
		note("The base commit is itself refused, so the fleet runs an older one; what is said of devices holds as if it had been applied.")
	}
	if len(c.report.Devices.On)+len(c.report.Devices.Released) > 0 {
		note("Devices that come back hold whatever they held when they went, which git does not say.")
	}
	for _, a := range c.report.Applications {
		if len(a.MayGet) > 0 && !a.Suspended {
			note("Some devices may get an application: they were away, or it was suspended, and git does not say what they hold.")
			break
		}
	}
	if c.pairs > maxPairs {
		note("The applications and devices are too many to tell how full the boards get.")
	}
}
