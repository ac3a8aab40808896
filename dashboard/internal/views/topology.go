// SPDX-License-Identifier: Apache-2.0

package views

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.dev/dashboard/internal/fleet"
)

// Bounds of topology and facets.
const (
	maxDrawn       = 200 // devices that the topology names one by one
	maxGroups      = 200 // groups of a gateway
	maxLabelKeys   = 50
	maxLabelValues = 200
)

func labelSet(l map[string]string) labels.Set { return l }

// Topology is gateways with their devices in groups.
type Topology struct {
	Group    string            `json:"group"`
	Total    int               `json:"total"`
	Gateways []TopologyGateway `json:"gateways"`
}

// TopologyGateway is one gateway; without an id it holds the devices that have none.
type TopologyGateway struct {
	ID         string          `json:"id"`
	State      fleet.State     `json:"state"`
	Assigned   int32           `json:"assigned"`
	Connected  int32           `json:"connected"`
	Devices    int             `json:"devices"`
	Groups     []TopologyGroup `json:"groups"`
	MoreGroups int             `json:"moreGroups"`
}

// TopologyGroup is a gateway's devices that have something in common.
type TopologyGroup struct {
	Name    string              `json:"name"`
	Count   int                 `json:"count"`
	States  map[fleet.State]int `json:"states"`
	Running int                 `json:"running"`
	Wanted  int                 `json:"wanted"`
	Devices []TopologyDevice    `json:"devices,omitempty"`
}

// TopologyDevice is a device as a dot.
type TopologyDevice struct {
	ID    string      `json:"id"`
	State fleet.State `json:"state"`
}

func grouping(p Params) (string, func(*fleet.Device) string, error) {
	group := cmp.Or(p["group"], "label:site")
	switch group {
	case "board":
		return group, func(d *fleet.Device) string { return d.Board }, nil
	case "namespace":
		return group, func(d *fleet.Device) string { return d.Metadata.Namespace }, nil
	case "phase":
		return group, func(d *fleet.Device) string { return d.Phase }, nil
	}
	if key, ok := strings.CutPrefix(group, "label:"); ok {
		return group, func(d *fleet.Device) string { return d.Metadata.Labels[key] }, nil
	}
	return "", nil, badRequest("cannot group by %.40q; there are: board namespace phase label:KEY", group)
}

func topology(_ context.Context, e *Engine, p Params, scope fleet.Scope) (any, error) {
	group, nameOf, err := grouping(p)
	if err != nil {
		return nil, err
	}
	keep, err := lists["devices"].filter(p)
	if err != nil {
		return nil, err
	}
	t := &Topology{Group: group, Gateways: []TopologyGateway{}}
	byGateway := map[string]map[string]*TopologyGroup{}
	e.Store.Each(fleet.Devices, scope, func(row fleet.Row) {
		if !keep(row) {
			return
		}
		d := row.(*fleet.Device)
		t.Total++
		if byGateway[d.Gateway] == nil {
			byGateway[d.Gateway] = map[string]*TopologyGroup{}
		}
		name := nameOf(d)
		g := byGateway[d.Gateway][name]
		if g == nil {
			g = &TopologyGroup{Name: name, States: map[fleet.State]int{}}
			byGateway[d.Gateway][name] = g
		}
		g.Count++
		g.States[d.State]++
		g.Running, g.Wanted = g.Running+d.Running, g.Wanted+d.Wanted
		if t.Total <= maxDrawn {
			g.Devices = append(g.Devices, TopologyDevice{d.ID, d.State})
		}
	})
	for _, g := range collect[*fleet.Gateway](e, fleet.Gateways, scope, byName) {
		t.Gateways = append(t.Gateways, TopologyGateway{ID: g.ID, State: g.State, Assigned: g.Assigned, Connected: g.Connected})
		if byGateway[g.ID] == nil {
			byGateway[g.ID] = map[string]*TopologyGroup{}
		}
	}
	for id := range byGateway {
		if !slices.ContainsFunc(t.Gateways, func(g TopologyGateway) bool { return g.ID == id }) {
			t.Gateways = append(t.Gateways, TopologyGateway{ID: id, State: fleet.StateOff})
		}
	}
	slices.SortFunc(t.Gateways, func(a, b TopologyGateway) int { return fleet.Natural(a.ID, b.ID) })
	for i := range t.Gateways {
		t.Gateways[i].fill(byGateway[t.Gateways[i].ID], t.Total <= maxDrawn)
	}
	return t, nil
}

// fill adds the groups, the largest first when there are too many, else by name.
func (g *TopologyGateway) fill(groups map[string]*TopologyGroup, draw bool) {
	g.Groups = []TopologyGroup{}
	for _, group := range groups {
		if !draw {
			group.Devices = nil
		}
		slices.SortFunc(group.Devices, func(a, b TopologyDevice) int { return fleet.Natural(a.ID, b.ID) })
		g.Devices += group.Count
		g.Groups = append(g.Groups, *group)
	}
	named := func(a, b TopologyGroup) int { return fleet.Natural(a.Name, b.Name) }
	slices.SortFunc(g.Groups, func(a, b TopologyGroup) int { return cmp.Or(cmp.Compare(b.Count, a.Count), named(a, b)) })
	g.MoreGroups = max(0, len(g.Groups)-maxGroups)
	g.Groups = first(maxGroups, g.Groups)
	slices.SortFunc(g.Groups, named)
}

// Facets are what devices can be filtered by, with counts.
type Facets struct {
	Phases       map[string]int            `json:"phases"`
	States       map[fleet.State]int       `json:"states"`
	Boards       map[string]int            `json:"boards"`
	Backends     map[string]int            `json:"backends"`
	Gateways     map[string]int            `json:"gateways"`
	Namespaces   map[string]int            `json:"namespaces"`
	Applications map[string]int            `json:"applications"`
	Labels       map[string]map[string]int `json:"labels"`
}

func facets(_ context.Context, e *Engine, _ Params, scope fleet.Scope) (any, error) {
	f := &Facets{Phases: map[string]int{}, States: map[fleet.State]int{}, Boards: map[string]int{}, Backends: map[string]int{}, Gateways: map[string]int{},
		Namespaces: map[string]int{}, Applications: map[string]int{}, Labels: map[string]map[string]int{}}
	e.Store.Each(fleet.Devices, scope, func(row fleet.Row) {
		d := row.(*fleet.Device)
		f.Phases[d.Phase]++
		f.States[d.State]++
		f.Backends[d.Backend]++
		for _, part := range []struct {
			in   map[string]int
			name string
		}{{f.Boards, d.Board}, {f.Gateways, d.Gateway}, {f.Namespaces, d.Metadata.Namespace}} {
			add(part.in, part.name)
		}
		for _, application := range d.Applications {
			add(f.Applications, application)
		}
		for key, value := range d.Metadata.Labels {
			if f.Labels[key] == nil {
				if len(f.Labels) >= maxLabelKeys {
					continue
				}
				f.Labels[key] = map[string]int{}
			}
			add(f.Labels[key], value)
		}
	})
	return f, nil
}

// add counts a name, unless there are too many already.
func add(in map[string]int, name string) {
	if _, known := in[name]; known || len(in) < maxLabelValues {
		in[name]++
	}
}
