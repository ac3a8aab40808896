// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"strings"

	eventsv1 "k8s.io/api/events/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// maxEvents is how many events of one source are kept.
const maxEvents = 5000

// history is what the commits are derived from.
type history struct {
	entries  []v1alpha1.HistoryEntry
	findings []Finding
	newest   string
	space    string
}

// rowOf makes the row of an object; what is a row already stays as it is. The caller holds mu.
func (s *Store) rowOf(object any) (Row, error) {
	switch o := object.(type) {
	case Row:
		return o, nil
	case *v1alpha1.Device:
		return s.texts.device(o), nil
	case *v1alpha1.Instance:
		return s.texts.instance(o), nil
	case *v1alpha1.Application:
		return s.texts.application(o), nil
	case *v1alpha1.Gateway:
		return s.texts.gateway(o), nil
	case *v1alpha1.Repository:
		return s.texts.repository(o), nil
	case *eventsv1.Event:
		return s.texts.event(o), nil
	}
	return nil, fmt.Errorf("internal error: unexpected object %T", object)
}

// take puts a row that rowOf made into its table. The caller holds mu.
func (s *Store) take(row Row) {
	switch r := row.(type) {
	case *Device:
		r.Applications = s.applicationsOf[r.ID]
		s.takeObject(Devices, r.ID, r)
	case *Instance:
		s.putInstance(r)
	case *Application:
		s.takeObject(Applications, r.ID, r)
	case *Gateway:
		s.takeObject(Gateways, r.ID, r)
	case *Repository:
		s.histories[r.ID], s.derive.repositories[r.ID] = r.history, struct{}{}
		s.takeObject(Repositories, r.ID, r)
	case *Event:
		s.putEvent(r)
	}
	s.derive.wake()
}

func (s *Store) takeObject(kind Kind, id string, row Row) {
	s.put(kind, id, row)
	s.touch(kind, id)
	s.derive.problems = true
}

// remove drops what take made of an object. Events stay: they tell what happened.
func (s *Store) remove(kind Kind, id string) {
	switch kind {
	case Events:
		return
	case Instances:
		if old, ok := s.tables[Instances].rows[id].(*Instance); ok {
			s.indexInstance(old, nil)
		}
	case Repositories:
		delete(s.histories, id)
		s.derive.repositories[id] = struct{}{}
	}
	s.put(kind, id, nil)
	s.touch(kind, id)
	s.derive.problems = true
	s.derive.wake()
}

func (s *Store) putInstance(row *Instance) {
	old, _ := s.tables[Instances].rows[row.ID].(*Instance)
	s.indexInstance(old, row)
	s.put(Instances, row.ID, row)
	s.touch(Devices, row.Device)
	s.touch(Applications, row.Application)
	if old == nil || old.State != row.State {
		s.derive.problems = true
	}
}

// indexInstance keeps the commits' instances and the devices' applications; each of both may be nil.
func (s *Store) indexInstance(old, row *Instance) {
	if old != nil && (row == nil || old.Revision != row.Revision) {
		delete(s.byRevision[old.Revision], old.ID)
		if len(s.byRevision[old.Revision]) == 0 {
			delete(s.byRevision, old.Revision)
		}
		s.derive.revisions[old.Revision] = struct{}{}
	}
	if row != nil {
		if s.byRevision[row.Revision] == nil {
			s.byRevision[row.Revision] = map[string]*Instance{}
		}
		s.byRevision[row.Revision][row.ID] = row
		s.derive.revisions[row.Revision] = struct{}{}
	}
	switch {
	case old == nil && row != nil:
		s.setApplications(row.Device, func(names []string) []string {
			names = append(slices.Clone(names), row.Application)
			slices.Sort(names)
			return slices.Compact(names)
		})
	case old != nil && row == nil:
		s.setApplications(old.Device, func(names []string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == old.Application })
		})
	}
}

func (s *Store) setApplications(device string, change func([]string) []string) {
	names := change(s.applicationsOf[device])
	if len(names) == 0 {
		delete(s.applicationsOf, device)
	} else {
		s.applicationsOf[device] = names
	}
	if row, ok := s.tables[Devices].rows[device].(*Device); ok {
		next := *row
		next.Applications = names
		s.put(Devices, device, &next)
	}
}

// putEvent keeps the newest events of a source.
func (s *Store) putEvent(row *Event) {
	if row.ID == "" {
		return
	}
	if _, known := s.tables[Events].rows[row.ID]; !known {
		ring := append(s.eventRing[row.Source], row.ID)
		if len(ring) > maxEvents {
			s.put(Events, ring[0], nil)
			ring = ring[1:]
		}
		s.eventRing[row.Source] = ring
	}
	s.put(Events, row.ID, row)
}

// Happened takes an event over that does not come from the API server's events.
func (s *Store) Happened(rows ...*Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		row.space, _, _ = strings.Cut(row.Object, "/")
		s.putEvent(row)
	}
}

func historyOf(r *v1alpha1.Repository, row *Repository) *history {
	h := &history{entries: r.Status.History, findings: row.Findings, newest: row.Fetched, space: row.Metadata.Namespace}
	fetched := r.Status.Fetched
	if fetched != nil && !slices.ContainsFunc(h.entries, func(e v1alpha1.HistoryEntry) bool { return e.Commit == fetched.Commit }) {
		h.entries = append([]v1alpha1.HistoryEntry{{Revision: *fetched, Outcome: "InProgress"}}, h.entries...)
	}
	return h
}

// Apply takes objects over as if a watch had told of them.
func (s *Store) Apply(objects ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range objects {
		row, err := s.rowOf(object)
		if err != nil {
			return err
		}
		s.take(row)
	}
	return nil
}

// Remove drops what Apply made of an object.
func (s *Store) Remove(kind Kind, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(kind, id)
}
