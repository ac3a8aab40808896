// SPDX-License-Identifier: Apache-2.0

// Package status answers "is the fleet as git says?": it gathers the objects of a fleet into one report, what is
// wrong first, and renders it as a tree.
package status

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// mostProblems is how many problems a report lists; the rest is counted.
const mostProblems = 20

// Report is the state of all that one can see through a client.
type Report struct {
	// Ready is true when there is a Repository and every object is Ready for its present spec.
	Ready bool `json:"ready"`
	// Stalled is true when the report is not Ready and nothing will change that until somebody changes something.
	Stalled      bool         `json:"stalled,omitempty"`
	Problems     []Problem    `json:"problems"`
	MoreProblems int          `json:"moreProblems,omitempty"`
	Repositories []Repository `json:"repositories"`
	// Unmanaged is what no Repository brought.
	Unmanaged *Contents `json:"unmanaged,omitempty"`
}

// Problem is one object that is not Ready.
type Problem struct {
	Object  string `json:"object"` // "Kind namespace/name"
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Working is true when the object is on its way and nothing has failed yet.
	Working bool `json:"working,omitempty"`
	stalled bool
}

// Repository is one Repository with what it brought.
type Repository struct {
	Name    string             `json:"name"`
	Ready   bool               `json:"ready"`
	Reason  string             `json:"reason"`
	Applied *v1alpha1.Revision `json:"applied,omitempty"`
	Fetched *v1alpha1.Revision `json:"fetched,omitempty"`
	Contents
}

// Contents are the objects of one Repository.
type Contents struct {
	Applications []Application  `json:"applications"`
	Gateways     []Gateway      `json:"gateways"`
	Devices      int            `json:"devices"`
	Phases       map[string]int `json:"phases"` // devices by phase
	NotReady     int            `json:"devicesNotReady"`
}

// Application is one line of progress.
type Application struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Reason   string `json:"reason"`
	Target   int32  `json:"target"`
	Updated  int32  `json:"updated"`
	Running  int32  `json:"running"`
	Failed   int32  `json:"failed"`
	Offline  int32  `json:"offline"`
	Excluded int32  `json:"excluded,omitempty"`
}

// Gateway is one line about connections.
type Gateway struct {
	Name      string `json:"name"`
	Ready     bool   `json:"ready"`
	Reason    string `json:"reason"`
	Address   string `json:"address,omitempty"`
	Assigned  int32  `json:"assigned"`
	Connected int32  `json:"connected"`
}

// Objects are what a report is made of.
type Objects struct {
	Repositories v1alpha1.RepositoryList
	Gateways     v1alpha1.GatewayList
	Applications v1alpha1.ApplicationList
	Devices      v1alpha1.DeviceList
}

// Gather reads all repositories, gateways, applications and devices, and reports on them.
func Gather(ctx context.Context, reader client.Reader) (*Report, error) {
	var o Objects
	for _, list := range []client.ObjectList{&o.Repositories, &o.Gateways, &o.Applications, &o.Devices} {
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("read the fleet: %w", err)
		}
	}
	return Build(&o), nil
}

// Build makes the report. It changes nothing in the objects.
func Build(o *Objects) *Report {
	g := &gatherer{report: &Report{Ready: len(o.Repositories.Items) > 0, Problems: []Problem{}}, contents: map[string]*Contents{}, away: map[string]int32{}}
	for i := range o.Repositories.Items {
		g.repository(&o.Repositories.Items[i])
	}
	for i := range o.Gateways.Items {
		g.gateway(&o.Gateways.Items[i])
	}
	for i := range o.Devices.Items {
		g.device(&o.Devices.Items[i])
	}
	for i := range o.Applications.Items {
		g.application(&o.Applications.Items[i])
	}
	return g.finish()
}

type gatherer struct {
	report   *Report
	contents map[string]*Contents
	problems []Problem
	away     map[string]int32 // namespace → devices that are not online
}

// judge says whether an object is Ready for its present spec, and notes the problem when it is not.
func (g *gatherer) judge(kind string, object client.Object, observed int64, conditions []metav1.Condition) (bool, string) {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	p := Problem{Object: kind + " " + object.GetNamespace() + "/" + object.GetName()}
	switch {
	case ready == nil:
		p.Reason, p.Message, p.Working = v1alpha1.ReasonPending, "nothing has looked at it yet", true
	case observed < object.GetGeneration() || ready.ObservedGeneration < object.GetGeneration() && ready.ObservedGeneration != 0:
		p.Reason, p.Message, p.Working = v1alpha1.ReasonProgressing, "its newest change is not acted on yet", true
	case ready.Status == metav1.ConditionTrue:
		return true, ready.Reason
	default:
		p.Reason, p.Message = ready.Reason, ready.Message
		p.Working = meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling)
		p.stalled = meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)
	}
	return g.note(p)
}

// note adds the problem of an object that is not Ready.
func (g *gatherer) note(p Problem) (ready bool, reason string) {
	g.report.Ready = false
	g.problems = append(g.problems, p)
	return false, p.Reason
}

func (g *gatherer) in(object client.Object) *Contents {
	labels := object.GetLabels()
	key := ""
	if name := labels[v1alpha1.LabelRepositoryName]; name != "" {
		key = labels[v1alpha1.LabelRepositoryNamespace] + "/" + name
	}
	c, ok := g.contents[key]
	if !ok {
		c = &Contents{Phases: map[string]int{}}
		g.contents[key] = c
	}
	return c
}

func (g *gatherer) repository(r *v1alpha1.Repository) {
	ready, reason := g.judge("Repository", r, r.Status.ObservedGeneration, r.Status.Conditions)
	g.report.Repositories = append(g.report.Repositories, Repository{
		Name: r.Namespace + "/" + r.Name, Ready: ready, Reason: reason, Applied: r.Status.Applied, Fetched: r.Status.Fetched,
	})
}

func (g *gatherer) gateway(o *v1alpha1.Gateway) {
	ready, reason := g.judge("Gateway", o, o.Status.ObservedGeneration, o.Status.Conditions)
	c := g.in(o)
	c.Gateways = append(c.Gateways, Gateway{Name: o.Namespace + "/" + o.Name, Ready: ready, Reason: reason,
		Address: o.Status.Address, Assigned: o.Status.AssignedDevices, Connected: o.Status.ConnectedDevices})
}

// application takes devices into account that came after the Application's status was written: what that says of them is
// outdated.
func (g *gatherer) application(o *v1alpha1.Application) {
	ready, reason := g.judge("Application", o, o.Status.ObservedGeneration, o.Status.Conditions)
	c := g.in(o)
	s := o.Status
	if ready && s.Offline > g.away[o.Namespace] {
		ready, reason = g.note(Problem{Object: "Application " + o.Namespace + "/" + o.Name, Reason: v1alpha1.ReasonProgressing,
			Message: "devices have come that it does not count yet", Working: true})
	}
	c.Applications = append(c.Applications, Application{Name: o.Namespace + "/" + o.Name, Ready: ready, Reason: reason,
		Target: s.Target, Updated: s.Updated, Running: s.Running, Failed: s.Failed, Offline: s.Offline, Excluded: s.Excluded})
}

func (g *gatherer) device(o *v1alpha1.Device) {
	ready, _ := g.judge("Device", o, o.Status.ObservedGeneration, o.Status.Conditions)
	c := g.in(o)
	c.Devices++
	c.Phases[cmp.Or(string(o.Status.Phase), string(v1alpha1.DevicePending))]++
	if !ready {
		c.NotReady++
	}
	if o.Status.Phase != v1alpha1.DeviceOnline {
		g.away[o.Namespace]++
	}
}

func (g *gatherer) finish() *Report {
	r := g.report
	for i := range r.Repositories {
		if c, ok := g.contents[r.Repositories[i].Name]; ok {
			r.Repositories[i].Contents = *c
			delete(g.contents, r.Repositories[i].Name)
		}
	}
	rest := &Contents{Phases: map[string]int{}}
	for _, c := range g.contents { // what no Repository, or one that is gone, brought
		rest.Applications = append(rest.Applications, c.Applications...)
		rest.Gateways = append(rest.Gateways, c.Gateways...)
		rest.Devices += c.Devices
		rest.NotReady += c.NotReady
		for phase, count := range c.Phases {
			rest.Phases[phase] += count
		}
		r.Unmanaged = rest
	}
	rank := func(p Problem) string {
		order := map[string]string{"Repository": "0", "Gateway": "1", "Application": "2", "Device": "3"}
		kind, _, _ := strings.Cut(p.Object, " ")
		return order[kind] + p.Object
	}
	slices.SortFunc(g.problems, func(a, b Problem) int {
		if a.Working != b.Working {
			if b.Working {
				return -1
			}
			return 1
		}
		return strings.Compare(rank(a), rank(b))
	})
	r.Problems = append(r.Problems, g.problems[:min(len(g.problems), mostProblems)]...)
	r.Stalled = len(g.problems) > 0 && !slices.ContainsFunc(g.problems, func(p Problem) bool { return !p.stalled })
	r.MoreProblems = max(0, len(g.problems)-mostProblems)
	return r
}

// Waiting says in one line what is not ready, for somebody who waits.
func (r *Report) Waiting() string {
	if len(r.Repositories) == 0 {
		return "there is no Repository"
	}
	if len(r.Problems) == 0 {
		return "nothing"
	}
	first := r.Problems[0]
	text := fmt.Sprintf("%s: %s: %s", first.Object, first.Reason, first.Message)
	if more := len(r.Problems) - 1 + r.MoreProblems; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// Summary counts in one line.
func (r *Report) Summary() string {
	var applications, gateways, devices int
	for _, repository := range r.Repositories {
		applications += len(repository.Applications)
		gateways += len(repository.Gateways)
		devices += repository.Devices
	}
	return fmt.Sprintf("%d devices, %d applications, %d gateways", devices, applications, gateways)
}
