// SPDX-License-Identifier: Apache-2.0

package views

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/fleet"
)

// Bounds of the overview.
const (
	topObjects  = 12
	topCommits  = 5
	topProblems = 20
)

// Overview is the fleet in one sentence, and what is wrong.
type Overview struct {
	Sentence        string               `json:"sentence"`
	State           fleet.State          `json:"state"`
	Empty           bool                 `json:"empty,omitempty"`
	Repositories    []*fleet.Repository  `json:"repositories"`
	Devices         DeviceCounts         `json:"devices"`
	Instances       InstanceCounts       `json:"instances"`
	Applications    ApplicationCounts    `json:"applications"`
	Gateways        GatewayCounts        `json:"gateways"`
	TopApplications []*fleet.Application `json:"topApplications"`
	TopGateways     []*fleet.Gateway     `json:"topGateways"`
	Commits         []*fleet.Commit      `json:"commits"`
	Problems        []*fleet.Problem     `json:"problems"`
	MoreProblems    int                  `json:"moreProblems"`
}

// DeviceCounts counts devices.
type DeviceCounts struct {
	Total    int                 `json:"total"`
	NotReady int                 `json:"notReady"`
	Phases   map[string]int      `json:"phases"`
	States   map[fleet.State]int `json:"states"`
}

// InstanceCounts counts instances.
type InstanceCounts struct {
	Total  int            `json:"total"`
	Phases map[string]int `json:"phases"`
}

// ApplicationCounts counts applications.
type ApplicationCounts struct {
	Total  int                 `json:"total"`
	States map[fleet.State]int `json:"states"`
}

// GatewayCounts counts gateways and their devices.
type GatewayCounts struct {
	Total     int                 `json:"total"`
	States    map[fleet.State]int `json:"states"`
	Connected int32               `json:"connected"`
	Assigned  int32               `json:"assigned"`
}

func overview(_ context.Context, e *Engine, _ Params, scope fleet.Scope) (any, error) {
	o := &Overview{
		Repositories: []*fleet.Repository{}, TopApplications: []*fleet.Application{}, TopGateways: []*fleet.Gateway{}, Commits: []*fleet.Commit{}, Problems: []*fleet.Problem{},
		Devices: DeviceCounts{Phases: map[string]int{}, States: map[fleet.State]int{}}, Instances: InstanceCounts{Phases: map[string]int{}},
		Applications: ApplicationCounts{States: map[fleet.State]int{}}, Gateways: GatewayCounts{States: map[fleet.State]int{}},
	}
	e.Store.Each(fleet.Devices, scope, func(row fleet.Row) {
		d := row.(*fleet.Device)
		o.Devices.Total++
		o.Devices.Phases[d.Phase]++
		o.Devices.States[d.State]++
		if d.State != fleet.StateOK && d.State != fleet.StateOff {
			o.Devices.NotReady++
		}
	})
	e.Store.Each(fleet.Instances, scope, func(row fleet.Row) {
		o.Instances.Total++
		o.Instances.Phases[row.(*fleet.Instance).Phase]++
	})
	o.Repositories = collect[*fleet.Repository](e, fleet.Repositories, scope, fleet.ByState)
	o.TopApplications = collect[*fleet.Application](e, fleet.Applications, scope, fleet.ByState)
	for _, a := range o.TopApplications {
		o.Applications.Total++
		o.Applications.States[a.State]++
	}
	o.TopGateways = collect[*fleet.Gateway](e, fleet.Gateways, scope, fleet.ByState)
	for _, g := range o.TopGateways {
		o.Gateways.Total++
		o.Gateways.States[g.State]++
		o.Gateways.Connected, o.Gateways.Assigned = o.Gateways.Connected+g.Connected, o.Gateways.Assigned+g.Assigned
	}
	for _, c := range first(topCommits, collect[*fleet.Commit](e, fleet.Commits, scope, fleet.ByTime)) {
		short := *c
		short.Stages, short.Detail = nil, nil
		o.Commits = append(o.Commits, &short)
	}
	o.Problems = collect[*fleet.Problem](e, fleet.Problems, scope, byProblem)
	o.MoreProblems = max(0, len(o.Problems)-topProblems)
	o.judge()
	o.TopApplications, o.TopGateways, o.Problems = first(topObjects, o.TopApplications), first(topObjects, o.TopGateways), first(topProblems, o.Problems)
	o.Repositories = first(topObjects, o.Repositories)
	return o, nil
}

// collect returns a kind's rows in order.
func collect[R fleet.Row](e *Engine, kind fleet.Kind, scope fleet.Scope, order compare) []R {
	rows := []R{}
	e.Store.Each(kind, scope, func(row fleet.Row) { rows = append(rows, row.(R)) })
	slices.SortFunc(rows, func(a, b R) int { return cmp.Or(order(a, b), fleet.Natural(a.Key(), b.Key())) })
	return rows
}

func first[T any](most int, all []T) []T { return all[:min(most, len(all))] }

// judge writes the sentence.
func (o *Overview) judge() {
	o.State = fleet.StateOK
	worst := func(s fleet.State) {
		order := []fleet.State{fleet.StateOK, fleet.StateWorking, fleet.StateWarning, fleet.StateError}
		if slices.Index(order, s) > slices.Index(order, o.State) {
			o.State = s
		}
	}
	for _, p := range o.Problems {
		worst(p.State)
	}
	o.Empty = o.Devices.Total == 0 && o.Applications.Total == 0
	switch {
	case len(o.Repositories) == 0 && o.Empty:
		o.Sentence, o.State = "There is no repository and no device yet.", fleet.StateOff
	case o.Empty:
		o.Sentence = "The repository brings no device and no application yet."
		if o.State == fleet.StateOK {
			o.State = fleet.StateOff
		}
	default:
		o.Sentence = o.devices() + o.rest()
	}
}

func (o *Overview) devices() string {
	d := &o.Devices
	good := d.States[fleet.StateOK]
	if d.NotReady == 0 {
		text := "All " + count(good, "device") + " run what git says"
		if good == 1 {
			text = "The one device runs what git says"
		}
		if off := d.States[fleet.StateOff]; off > 0 {
			text += "; " + number(off) + " more are off"
		}
		return text + "."
	}
	var parts []string
	offline := d.Phases[string(v1alpha1.DeviceOffline)] + d.Phases[string(v1alpha1.DeviceUnknown)]
	for _, part := range []struct {
		n    int
		text string
	}{{offline, "offline"}, {d.States[fleet.StateError], "with an error"}, {d.States[fleet.StateWorking], "on the way"}} {
		if part.n > 0 {
			parts = append(parts, number(part.n)+" "+part.text)
		}
	}
	if len(parts) == 0 {
		parts = []string{number(d.NotReady) + " not"}
	}
	return number(good) + " of " + count(good+d.NotReady, "device") + " run what git says; " + strings.Join(parts, ", ") + "."
}

// rest tells what is wrong beside the devices.
func (o *Overview) rest() string {
	text := ""
	for _, r := range o.Repositories {
		if r.State == fleet.StateError {
			text += " The newest commit of " + r.ID + " is not applied: " + r.Reason + "."
			break
		}
	}
	if n := o.Gateways.States[fleet.StateError]; n > 0 {
		text += " " + count(n, "gateway") + " not serving."
	}
	if n := o.Applications.States[fleet.StateError]; n > 0 {
		text += " " + count(n, "application") + " stopped with an error."
	} else if n := o.Applications.States[fleet.StateWorking]; n > 0 {
		text += " " + count(n, "rollout") + " under way."
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}

// number writes thousands apart, as the page does: 10,000.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
