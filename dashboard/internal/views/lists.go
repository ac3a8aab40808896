// SPDX-License-Identifier: Apache-2.0

package views

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
)

type compare = func(a, b fleet.Row) int

// listView is a list that can be asked for.
type listView struct {
	kind   fleet.Kind
	params []string
	// sorts are the orders by name; the first of order is the default.
	order []string
	sorts map[string]compare
	// labelSorts: "label:KEY" is an order too.
	labelSorts bool
	filter     func(Params) (func(fleet.Row) bool, error)
}

func by[R fleet.Row, V cmp.Ordered](value func(R) V) compare {
	return func(a, b fleet.Row) int { return cmp.Compare(value(a.(R)), value(b.(R))) }
}

func byText[R fleet.Row](text func(R) string) compare {
	return func(a, b fleet.Row) int { return fleet.Natural(text(a.(R)), text(b.(R))) }
}

func byName(a, b fleet.Row) int { return fleet.Natural(a.Key(), b.Key()) }

func reverse(c compare) compare { return func(a, b fleet.Row) int { return c(b, a) } }

var window = []string{"sort", "offset", "limit"}

func params(names ...string) []string { return append(names, window...) }

var lists = map[string]*listView{
	"problems": {kind: fleet.Problems, params: params("search", "kind", "state"), order: []string{"state", "kind", "count", "since"},
		sorts: map[string]compare{
			"state": byProblem, "kind": by(func(p *fleet.Problem) string { return p.Kind }),
			"count": by(func(p *fleet.Problem) int { return p.Count }), "since": by(func(p *fleet.Problem) fleet.Moment { return p.Since }),
		}, filter: problemFilter},
	"repositories": {kind: fleet.Repositories, params: params("search", "namespace", "state"), order: []string{"name", "state"},
		sorts: map[string]compare{"name": byName, "state": fleet.ByState}, filter: objectFilter(nil)},
	"commits": {kind: fleet.Commits, params: params("search", "repository", "outcome", "state"), order: []string{"-time"},
		sorts: map[string]compare{"time": reverse(fleet.ByTime)}, filter: commitFilter},
	"applications": {kind: fleet.Applications, params: params("search", "namespace", "state", "label"), order: []string{"name", "state", "running", "failed", "revision"},
		sorts: map[string]compare{
			"name": byName, "state": fleet.ByState, "running": by(func(a *fleet.Application) int32 { return a.Running }),
			"failed": by(func(a *fleet.Application) int32 { return a.Failed }), "revision": by(func(a *fleet.Application) string { return a.Revision }),
		}, filter: objectFilter(nil)},
	"devices": {kind: fleet.Devices, params: params("search", "namespace", "phase", "state", "board", "backend", "gateway", "application", "label"),
		order: []string{"name", "state", "phase", "board", "gateway", "since", "running"}, labelSorts: true,
		sorts: map[string]compare{
			"name": byName, "state": fleet.ByState, "phase": by(func(d *fleet.Device) string { return d.Phase }),
			"board": byText(func(d *fleet.Device) string { return d.Board }), "gateway": byText(func(d *fleet.Device) string { return d.Gateway }),
			"since": by(func(d *fleet.Device) fleet.Moment { return d.Since }), "running": by(func(d *fleet.Device) int { return d.Running }),
		}, filter: objectFilter(deviceFilter)},
	"instances": {kind: fleet.Instances, params: params("search", "namespace", "application", "device", "phase", "state", "revision"),
		order: []string{"name", "state", "phase", "device", "restarts", "runningAt"},
		sorts: map[string]compare{
			"name": byName, "state": fleet.ByState, "phase": by(func(i *fleet.Instance) string { return i.Phase }),
			"device": byText(func(i *fleet.Instance) string { return i.Device }), "restarts": by(func(i *fleet.Instance) int64 { return i.Restarts }),
			"runningAt": by(func(i *fleet.Instance) fleet.Moment { return i.RunningAt }),
		}, filter: objectFilter(instanceFilter)},
	"gateways": {kind: fleet.Gateways, params: params("search", "namespace", "state"), order: []string{"name", "state", "assigned", "connected"},
		sorts: map[string]compare{
			"name": byName, "state": fleet.ByState, "assigned": by(func(g *fleet.Gateway) int32 { return g.Assigned }),
			"connected": by(func(g *fleet.Gateway) int32 { return g.Connected }),
		}, filter: objectFilter(nil)},
	"events": {kind: fleet.Events, params: params("search", "namespace", "kind", "object", "source", "type", "who", "since"), order: []string{"-time"},
		sorts: map[string]compare{"time": reverse(fleet.ByTime)}, filter: eventFilter},
}

// byProblem puts errors first, and of those what stands nearer to the cause.
func byProblem(a, b fleet.Row) int {
	rank := func(p *fleet.Problem) int {
		return slices.Index([]string{"Repository", "Gateway", "Application", "Device"}, p.Kind)
	}
	return cmp.Or(fleet.ByState(a, b), cmp.Compare(rank(a.(*fleet.Problem)), rank(b.(*fleet.Problem))))
}

// Window is the part of a list that somebody looks at.
type Window struct {
	Offset, Limit int
}

// ask opens the live query of a list.
func (v *listView) ask(store *fleet.Store, p Params, scope fleet.Scope) (*fleet.Query, Window, error) {
	if err := p.Only(v.params...); err != nil {
		return nil, Window{}, err
	}
	order, err := v.sorting(p)
	if err != nil {
		return nil, Window{}, err
	}
	keep, err := v.filter(p)
	if err != nil {
		return nil, Window{}, err
	}
	w := Window{}
	if w.Offset, err = p.Number("offset", 0, 0, 1<<30); err != nil {
		return nil, Window{}, err
	}
	if w.Limit, err = p.Number("limit", defaultLimit, 1, MaxLimit); err != nil {
		return nil, Window{}, err
	}
	return store.Ask(v.kind, p.key("offset", "limit"), scope, keep, order), w, nil
}

func (v *listView) sorting(p Params) (compare, error) {
	name, ok := p["sort"]
	if !ok {
		name = v.order[0]
	}
	plain, down := strings.CutPrefix(name, "-")
	order, ok := v.sorts[plain]
	if key, isLabel := strings.CutPrefix(plain, "label:"); isLabel && v.labelSorts {
		order, ok = byText(func(d *fleet.Device) string { return d.Metadata.Labels[key] }), true
	}
	if !ok {
		return nil, badRequest("cannot sort by %.40q; there are: %s", plain, strings.Join(v.order, " "))
	}
	if down {
		order = reverse(order)
	}
	return order, nil
}

// check is one condition of a filter.
type check = func(fleet.Row) bool

func every(checks []check) check {
	return func(row fleet.Row) bool {
		for _, c := range checks {
			if !c(row) {
				return false
			}
		}
		return true
	}
}

// text is what a search looks at.
func text(row fleet.Row) []string {
	switch r := row.(type) {
	case *fleet.Device:
		return []string{r.ID, r.Phase, r.Reason, r.Message, r.Board, r.Firmware}
	case *fleet.Instance:
		return []string{r.ID, r.Phase, r.Reason, r.Message}
	case *fleet.Application:
		return []string{r.ID, r.Reason, r.Message, r.Module.Path, r.Module.Digest, r.Revision}
	case *fleet.Gateway:
		return []string{r.ID, r.Reason, r.Message, r.Address}
	case *fleet.Repository:
		return []string{r.ID, r.Reason, r.Message, r.URL, r.Subject, r.Applied}
	case *fleet.Commit:
		return append([]string{r.Commit, r.Author, r.Subject, r.Reason, r.Message}, r.Changed...)
	case *fleet.Problem:
		return append([]string{r.Kind, r.Reason, r.Message}, r.Objects...)
	case *fleet.Event:
		return []string{r.Object, r.Reason, r.Message, r.Who, r.Kind}
	}
	return nil
}

func metadata(row fleet.Row) *fleet.Metadata {
	switch r := row.(type) {
	case *fleet.Device:
		return &r.Metadata
	case *fleet.Instance:
		return &r.Metadata
	case *fleet.Application:
		return &r.Metadata
	case *fleet.Gateway:
		return &r.Metadata
	case *fleet.Repository:
		return &r.Metadata
	}
	return nil
}

// searchFilter is the filter that every list has.
func searchFilter(p Params) ([]check, error) {
	var checks []check
	if word := strings.ToLower(p["search"]); word != "" {
		checks = append(checks, func(row fleet.Row) bool {
			for _, t := range text(row) {
				if Contains(t, word) {
					return true
				}
			}
			if m := metadata(row); m != nil {
				for _, value := range m.Labels {
					if Contains(value, word) {
						return true
					}
				}
			}
			return false
		})
	}
	states, err := p.words("state")
	if states != nil {
		checks = append(checks, func(row fleet.Row) bool { return states[string(fleet.StateOf(row))] })
	}
	return checks, err
}

// among keeps rows whose value is one of the words of a parameter.
func among[R fleet.Row](p Params, name string, value func(R) string) ([]check, error) {
	words, err := p.words(name)
	if err != nil || words == nil {
		return nil, err
	}
	return []check{func(row fleet.Row) bool { return words[value(row.(R))] }}, nil
}

type condition struct {
	checks []check
	err    error
}

func of(checks []check, err error) condition { return condition{checks, err} }

func combine(parts ...condition) (check, error) {
	var checks []check
	for _, part := range parts {
		if part.err != nil {
			return nil, part.err
		}
		checks = append(checks, part.checks...)
	}
	return every(checks), nil
}

// objectFilter filters objects by search, state, namespace and label, and by what more says.
func objectFilter(more func(Params) []condition) func(Params) (check, error) {
	return func(p Params) (check, error) {
		parts := []condition{of(searchFilter(p))}
		if namespace, ok := p["namespace"]; ok {
			parts = append(parts, of([]check{func(row fleet.Row) bool { return row.Space() == namespace }}, nil))
		}
		selector, err := p.selector()
		if selector != nil {
			parts = append(parts, of([]check{func(row fleet.Row) bool { return selector.Matches(labelSet(metadata(row).Labels)) }}, nil))
		}
		parts = append(parts, of(nil, err))
		if more != nil {
			parts = append(parts, more(p)...)
		}
		return combine(parts...)
	}
}

func deviceFilter(p Params) []condition {
	parts := []condition{
		of(among(p, "phase", func(d *fleet.Device) string { return d.Phase })),
		of(among(p, "board", func(d *fleet.Device) string { return d.Board })),
		of(among(p, "backend", func(d *fleet.Device) string { return d.Backend })),
		of(among(p, "gateway", func(d *fleet.Device) string { return d.Gateway })),
	}
	if application, ok := p["application"]; ok {
		parts = append(parts, of([]check{func(row fleet.Row) bool {
			_, found := slices.BinarySearch(row.(*fleet.Device).Applications, application)
			return found
		}}, nil))
	}
	return parts
}

func instanceFilter(p Params) []condition {
	return []condition{
		of(among(p, "application", func(i *fleet.Instance) string { return i.Application })),
		of(among(p, "device", func(i *fleet.Instance) string { return i.Device })),
		of(among(p, "phase", func(i *fleet.Instance) string { return i.Phase })),
		of(among(p, "revision", func(i *fleet.Instance) string { return i.Revision })),
	}
}

func commitFilter(p Params) (func(fleet.Row) bool, error) {
	return combine(of(searchFilter(p)),
		of(among(p, "repository", func(c *fleet.Commit) string { return c.Repository })),
		of(among(p, "outcome", func(c *fleet.Commit) string { return c.Outcome })))
}

func problemFilter(p Params) (func(fleet.Row) bool, error) {
	return combine(of(searchFilter(p)), of(among(p, "kind", func(r *fleet.Problem) string { return r.Kind })))
}

func eventFilter(p Params) (func(fleet.Row) bool, error) {
	after, err := p.since(time.Now())
	least := fleet.MomentOf(after)
	return combine(of(searchFilter(p)), of([]check{func(row fleet.Row) bool { return row.(*fleet.Event).Time >= least }}, err),
		of(among(p, "namespace", func(e *fleet.Event) string { return e.Space() })),
		of(among(p, "kind", func(e *fleet.Event) string { return e.Kind })),
		of(among(p, "object", func(e *fleet.Event) string { return e.Object })),
		of(among(p, "source", func(e *fleet.Event) string { return e.Source })),
		of(among(p, "type", func(e *fleet.Event) string { return e.Type })),
		of(among(p, "who", func(e *fleet.Event) string { return e.Who })))
}
