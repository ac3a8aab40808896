// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"slices"

	"wasmbed.dev/controllers/plan"
)

// Version of the report, which is its field "version". Within a version fields are only added.
const Version = "wasmbed.dev/preview/v1"

// Outcomes of a preview.
const (
	OutcomeHealthy   = "Healthy"   // everything that the change asks for ran
	OutcomeUnhealthy = "Unhealthy" // something crashed, did not start, or was not there in time
	OutcomeRefused   = "Refused"   // the controllers would refuse the head commit, so nothing was tried
	OutcomeNothing   = "Nothing"   // the change touches no device, so there was nothing to try
)

// Report is what a preview saw. Lists are sorted and never null.
type Report struct {
	// Version is "wasmbed.dev/preview/v1".
	Version string `json:"version"`
	// Outcome is Healthy, Unhealthy, Refused or Nothing.
	Outcome string `json:"outcome"`
	// Path is the fleet's directory in the repository.
	Path string `json:"path"`
	// Base ran first, and Head was pushed to what ran.
	Base plan.Revision `json:"base"`
	Head plan.Revision `json:"head"`
	// Problems are why the outcome is Unhealthy, those of the head first.
	Problems []Problem `json:"problems"`
	// Findings on the head commit, when it is refused.
	Findings []plan.Finding `json:"findings"`
	// Devices on which the change was tried.
	Devices []Device `json:"devices"`
	// Applications that ran there, one entry for each device.
	Applications []Application `json:"applications"`
	// Notes say what the preview left out.
	Notes []string `json:"notes"`
}

// Problem is one thing that went wrong.
type Problem struct {
	// Side is base or head. What went wrong at the base does not make the outcome Unhealthy, nor does what is Known of
	// an application that the change leaves alone.
	Side string `json:"side"`
	// Device is "namespace/name", and Board what it is made of; empty when it is about no single device.
	Device string `json:"device"`
	Board  string `json:"board"`
	// Application that it is about; empty: the device itself.
	Application string `json:"application"`
	// Reason in one word: Trapped, CrashLoop, NotInTime, …
	Reason string `json:"reason"`
	// Message says what happened and where, as the device told it.
	Message string `json:"message"`
	// Known is true when the same happened at the base.
	Known bool `json:"known"`
}

// Device is one device of the preview.
type Device struct {
	// Device is "namespace/name".
	Device string `json:"device"`
	Board  string `json:"board"`
	// Backend that ran it here: QEMU or Simulated.
	Backend string `json:"backend"`
	// Before is what it told while the base ran, After while the head ran: its own metrics by name.
	Before []Metric `json:"before"`
	After  []Metric `json:"after"`
}

// Metric is a value by name.
type Metric struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// Application is one application on one device.
type Application struct {
	// Device is "namespace/name".
	Device string `json:"device"`
	Board  string `json:"board"`
	Name   string `json:"name"`
	// Change is Added, Changed or Removed on this device, or Unchanged.
	Change string `json:"change"`
	// Before is how it ran at the base, After at the head.
	Before Run `json:"before"`
	After  Run `json:"after"`
}

// Run is how an application ran.
type Run struct {
	// Phase as the device reported it last: Running, Completed, Failed, RolledBack, …; empty: it was not there.
	Phase string `json:"phase"`
	// Reason and Message of a failure.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Restarts since it was started.
	Restarts int64 `json:"restarts"`
	// StartMilliseconds from the receipt of the order to the first instruction, as the device measured it; -1: unknown.
	StartMilliseconds int64 `json:"startMilliseconds"`
	// Fuel that it used since its start, and how much of it a second while it was watched.
	Fuel          int64 `json:"fuel"`
	FuelPerSecond int64 `json:"fuelPerSecond"`
	// Memory is the high-water of its linear memory, Stack that of its stack, in bytes.
	Memory int64 `json:"memory"`
	Stack  int64 `json:"stack"`
	// Values that it published.
	Values []Metric `json:"values"`
	// Log has its first lines, "level: text".
	Log []string `json:"log"`
}

// newReport is a report with empty lists.
func newReport(path string, base, head plan.Revision) *Report {
	return &Report{Version: Version, Path: path, Base: base, Head: head,
		Problems: []Problem{}, Findings: []plan.Finding{}, Devices: []Device{}, Applications: []Application{}, Notes: []string{}}
}

// judge decides the outcome from the problems: one at the head counts, unless it is about an application that the
// change leaves alone and that had it at the base.
func (r *Report) judge() {
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return sideOrder(a.Side) - sideOrder(b.Side) })
	r.Outcome = OutcomeHealthy
	for i := range r.Problems {
		p := &r.Problems[i]
		if p.Side != sideHead {
			continue
		}
		p.Known = slices.ContainsFunc(r.Problems, func(o Problem) bool {
			return o.Side == sideBase && o.Device == p.Device && o.Application == p.Application && o.Reason == p.Reason
		})
		alone := slices.ContainsFunc(r.Applications, func(a Application) bool {
			return a.Device == p.Device && a.Name == p.Application && a.Change == plan.Unchanged
		})
		if !p.Known || !alone {
			r.Outcome = OutcomeUnhealthy
		}
	}
}

const (
	sideBase = "base"
	sideHead = "head"
)

func sideOrder(side string) int {
	if side == sideHead {
		return 0
	}
	return 1
}
