// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// trouble is one object's share of a problem.
type trouble struct {
	kind, object, space string
	state               State
	reason, message     string
	since               Moment
	cause               *Reference
}

// maxNamed is how many objects a problem names.
const maxNamed = 3

// deriveProblems gathers what is not as it should be. The caller holds mu.
func (s *Store) deriveProblems() {
	groups := map[string]*Problem{}
	for _, kind := range []Kind{Repositories, Gateways, Applications, Devices} {
		for _, row := range s.tables[kind].rows {
			if t, wrong := s.troubleOf(row); wrong {
				t.addTo(groups)
			}
		}
	}
	for id := range s.tables[Problems].rows {
		if groups[id] == nil {
			s.put(Problems, id, nil)
		}
	}
	for id, p := range groups {
		s.put(Problems, id, p)
	}
}

func (t *trouble) addTo(groups map[string]*Problem) {
	id := t.kind + "/" + t.reason + "/" + string(t.state) + "/" + t.space
	switch {
	case t.kind != "Device":
		id += "/" + t.object
	case t.cause != nil:
		id += "/" + t.cause.Kind + "/" + t.cause.ID
	}
	p := groups[id]
	if p == nil {
		p = &Problem{ID: id, State: t.state, Kind: t.kind, Reason: t.reason, Message: t.message, Since: t.since, Cause: t.cause, space: t.space}
		groups[id] = p
	}
	p.Count++
	if t.since != 0 && (p.Since == 0 || t.since < p.Since) {
		p.Since = t.since
	}
	at, _ := slices.BinarySearchFunc(p.Objects, t.object, Natural)
	if at < maxNamed {
		if p.Objects = slices.Insert(p.Objects, at, t.object); len(p.Objects) > maxNamed {
			p.Objects = p.Objects[:maxNamed]
		}
		if at == 0 { // the same message whatever the order
			p.Message = t.message
		}
	}
	if p.Cause == nil && p.Count == 1 {
		p.Cause = &Reference{t.kind, t.object}
	} else if t.cause == nil && p.Cause != nil && p.Cause.Kind == "Device" {
		p.Cause = nil // several devices, and nothing that they share
	}
}

func (s *Store) troubleOf(row Row) (trouble, bool) {
	if state := row.condition(); state == StateOK || state == StateOff {
		return trouble{}, false
	}
	t := trouble{object: row.Key(), space: row.Space(), state: row.condition()}
	take := func(kind string, j *Judgement, since Moment, cause *Reference) {
		t.kind, t.reason, t.message, t.since, t.cause = kind, j.Reason, j.Message, since, cause
	}
	switch r := row.(type) {
	case *Repository:
		var cause *Reference
		if r.Fetched != "" && r.Fetched != r.Applied {
			cause = &Reference{"Commit", r.Fetched}
		}
		take("Repository", &r.Judgement, r.Trouble, cause)
	case *Gateway:
		take("Gateway", &r.Judgement, r.Trouble, nil)
	case *Application:
		var cause *Reference
		if r.Revision != "" {
			cause = &Reference{"Commit", r.Revision}
		}
		take("Application", &r.Judgement, r.Trouble, cause)
	case *Device:
		take("Device", &r.Judgement, r.Trouble, s.causeOf(r))
	}
	return t, true
}

// causeOf looks for what a device's trouble comes from.
func (s *Store) causeOf(d *Device) *Reference {
	if d.Reason == v1alpha1.ReasonInstanceFails || d.Reason == v1alpha1.ReasonOutOfSync {
		for _, application := range d.Applications {
			name := application[len(d.Metadata.Namespace)+1:]
			i, ok := s.tables[Instances].rows[d.Metadata.Namespace+"/"+v1alpha1.InstanceName(name, d.Metadata.Name)].(*Instance)
			if ok && i.State != StateOK {
				return &Reference{"Application", application}
			}
		}
	}
	if g, ok := s.tables[Gateways].rows[d.Gateway].(*Gateway); ok && g.State != StateOK {
		return &Reference{"Gateway", d.Gateway}
	}
	return nil
}
