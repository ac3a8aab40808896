// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Kind is a table.
type Kind string

// Kinds.
const (
	Repositories Kind = "repositories"
	Commits      Kind = "commits"
	Applications Kind = "applications"
	Devices      Kind = "devices"
	Instances    Kind = "instances"
	Gateways     Kind = "gateways"
	Problems     Kind = "problems"
	Events       Kind = "events"
)

// Kinds are all tables.
var Kinds = []Kind{Repositories, Commits, Applications, Devices, Instances, Gateways, Problems, Events}

// Listener is told that something which it asked about may have changed. Wake must not block and not call back.
type Listener interface{ Wake() }

// Scope is what a reader may see. The zero value is nothing.
type Scope struct {
	all    bool
	spaces []string
}

// Everything is the scope of who may see all namespaces.
func Everything() Scope { return Scope{all: true} }

// Namespaces is the scope of who may see these.
func Namespaces(names ...string) Scope {
	names = slices.Clone(names)
	slices.Sort(names)
	return Scope{spaces: slices.Compact(names)}
}

// Sees says whether the scope holds a namespace.
func (s Scope) Sees(namespace string) bool {
	if s.all {
		return true
	}
	_, found := slices.BinarySearch(s.spaces, namespace)
	return found
}

// All says whether the scope holds every namespace.
func (s Scope) All() bool { return s.all }

// List are the namespaces of a scope that does not hold all.
func (s Scope) List() []string { return s.spaces }

// String is different for different scopes.
func (s Scope) String() string {
	if s.all {
		return "*"
	}
	return strings.Join(s.spaces, ",")
}

// Store is the picture. All methods are safe for concurrent use.
type Store struct {
	mu     sync.RWMutex
	tables map[Kind]*table
	texts  *texts
	// synced are the kinds of objects whose first list is complete.
	synced map[Kind]bool
	// onSynced is closed when all are.
	onSynced chan struct{}

	// applicationsOf are the applications with an instance on a device, by the device's id.
	applicationsOf map[string][]string
	// byRevision are the instances that a commit put there.
	byRevision map[string]map[string]*Instance
	histories  map[string]*history
	derive     deriver
	eventRing  map[string][]string
	// touched are told about changes of one object that its row does not show.
	touched map[string]map[Listener]struct{}
}

// table holds the rows of a kind, the live queries on them, and who listens to all of it.
type table struct {
	kind      Kind
	rows      map[string]Row
	version   uint64
	queries   map[string]*Query
	listeners map[Listener]struct{}
}

// NewStore returns an empty picture.
func NewStore() *Store {
	s := &Store{
		tables: map[Kind]*table{}, texts: newTexts(), synced: map[Kind]bool{}, onSynced: make(chan struct{}), applicationsOf: map[string][]string{},
		byRevision: map[string]map[string]*Instance{}, histories: map[string]*history{}, eventRing: map[string][]string{}, touched: map[string]map[Listener]struct{}{},
	}
	for _, kind := range Kinds {
		s.tables[kind] = &table{kind: kind, rows: map[string]Row{}, queries: map[string]*Query{}, listeners: map[Listener]struct{}{}}
	}
	s.derive.init()
	return s
}

// Len is the number of rows of a kind.
func (s *Store) Len(kind Kind) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.tables[kind].rows)
}

// Rows counts the rows of all kinds.
func (s *Store) Rows() (all int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.tables {
		all += len(t.rows)
	}
	return all
}

// Version grows with every change of one of the kinds.
func (s *Store) Version(kinds ...Kind) (sum uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, kind := range kinds {
		sum += s.tables[kind].version
	}
	return sum
}

// Get returns a row that the scope sees, or nil.
func (s *Store) Get(kind Kind, id string, scope Scope) Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	row, ok := s.tables[kind].rows[id]
	if !ok || !scope.Sees(row.Space()) {
		return nil
	}
	return row
}

// Each calls f with every row of a kind that the scope sees, in no order. f must not call the store.
func (s *Store) Each(kind Kind, scope Scope, f func(Row)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, row := range s.tables[kind].rows {
		if scope.Sees(row.Space()) {
			f(row)
		}
	}
}

// OfRevision are the instances that a commit put there and the scope sees.
func (s *Store) OfRevision(commit string, scope Scope) (found []*Instance) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, i := range s.byRevision[commit] {
		if scope.Sees(i.Space()) {
			found = append(found, i)
		}
	}
	return found
}

// Listen has l told about changes of kinds until the returned function is called.
func (s *Store) Listen(l Listener, kinds ...Kind) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range kinds {
		s.tables[kind].listeners[l] = struct{}{}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, kind := range kinds {
			delete(s.tables[kind].listeners, l)
		}
	}
}

// ListenTo has l told about every change of one object, also of what its row does not show.
func (s *Store) ListenTo(l Listener, kind Kind, id string) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(kind) + " " + id
	if s.touched[key] == nil {
		s.touched[key] = map[Listener]struct{}{}
	}
	s.touched[key][l] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.touched[key], l); len(s.touched[key]) == 0 {
			delete(s.touched, key)
		}
	}
}

func (s *Store) touch(kind Kind, id string) {
	if len(s.touched) == 0 {
		return
	}
	for l := range s.touched[string(kind)+" "+id] {
		l.Wake()
	}
}

// put places a row, or removes it when row is nil. The caller holds mu.
func (s *Store) put(kind Kind, id string, row Row) {
	t := s.tables[kind]
	old, had := t.rows[id]
	switch {
	case row == nil && !had:
		return
	case row == nil:
		delete(t.rows, id)
	case had && reflect.DeepEqual(old, row):
		return
	default:
		t.rows[id] = row
	}
	t.version++
	for _, q := range t.queries {
		q.change(old, row)
	}
	for l := range t.listeners {
		l.Wake()
	}
}

// Query is a live answer: the rows of a table that a filter keeps, in order. Equal queries share one.
type Query struct {
	store     *Store
	table     *table
	key       string
	scope     Scope
	keep      func(Row) bool
	compare   func(a, b Row) int
	sorted    []Row
	all       int
	users     int
	listeners map[Listener]struct{}
}

// Ask returns the live query with this key, made with keep and compare when there is none yet. compare need not tell
// rows with different ids apart. It must be closed.
func (s *Store) Ask(kind Kind, key string, scope Scope, keep func(Row) bool, compare func(a, b Row) int) *Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[kind]
	key = scope.String() + "\x00" + key
	if q, ok := t.queries[key]; ok {
		q.users++
		return q
	}
	q := &Query{store: s, table: t, key: key, scope: scope, keep: keep, users: 1, listeners: map[Listener]struct{}{}, compare: func(a, b Row) int {
		if c := compare(a, b); c != 0 {
			return c
		}
		return Natural(a.Key(), b.Key())
	}}
	for _, row := range t.rows {
		if scope.Sees(row.Space()) {
			q.all++
			if keep(row) {
				q.sorted = append(q.sorted, row)
			}
		}
	}
	slices.SortFunc(q.sorted, q.compare)
	t.queries[key] = q
	return q
}

// Close gives the query back.
func (q *Query) Close() {
	q.store.mu.Lock()
	defer q.store.mu.Unlock()
	if q.users--; q.users == 0 {
		delete(q.table.queries, q.key)
	}
}

// Listen has l told about changes of the query until the returned function is called.
func (q *Query) Listen(l Listener) (stop func()) {
	q.store.mu.Lock()
	defer q.store.mu.Unlock()
	q.listeners[l] = struct{}{}
	return func() {
		q.store.mu.Lock()
		defer q.store.mu.Unlock()
		delete(q.listeners, l)
	}
}

// Window copies the rows offset … offset+limit, and counts those that match and those that are seen.
func (q *Query) Window(offset, limit int) (rows []Row, total, all int) {
	q.store.mu.RLock()
	defer q.store.mu.RUnlock()
	from := min(offset, len(q.sorted))
	to := min(from+limit, len(q.sorted))
	return append([]Row{}, q.sorted[from:to]...), len(q.sorted), q.all
}

// change follows one row's change; each of both may be nil.
func (q *Query) change(old, row Row) {
	told := false
	if old != nil && q.scope.Sees(old.Space()) {
		q.all--
		told = true
		if q.keep(old) {
			if at, found := slices.BinarySearchFunc(q.sorted, old, q.compare); found {
				q.sorted = slices.Delete(q.sorted, at, at+1)
			}
		}
	}
	if row != nil && q.scope.Sees(row.Space()) {
		q.all++
		told = true
		if q.keep(row) {
			at, _ := slices.BinarySearchFunc(q.sorted, row, q.compare)
			q.sorted = slices.Insert(q.sorted, at, row)
		}
	}
	if told {
		for l := range q.listeners {
			l.Wake()
		}
	}
}

// ByState compares rows by state, what is wrong first.
func ByState(a, b Row) int { return cmp.Compare(a.condition().rank(), b.condition().rank()) }

// StateOf is a row's state.
func StateOf(row Row) State { return row.condition() }
