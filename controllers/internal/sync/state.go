// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/internal/sync/git"
)

// state is what is kept in memory for one Repository. All of it can be had again from git and the API server. Fields
// above mu belong to the reconcile that runs; there is one at a time for a Repository.
type state struct {
	key   types.NamespacedName
	clone *git.Clone
	cache *fleet.Cache

	// judged is the newest commit, target the newest one that was accepted, and applied the one that the API server
	// holds: nil while it holds something between previous and target.
	judged, target, applied, previous *judged
	// checked is when the remote was looked at last.
	checked time.Time
	// failures counts attempts in a row that failed and are repeated by themselves; retryAt is when the next is due.
	failures int
	retryAt  time.Time
	// status is what this process wrote last, for the time until the cache shows it.
	status     *api.RepositoryStatus
	version    uint64
	generation int64
	reconcile  string
	// drifted is when a managed object was put back last.
	drifted time.Time
	// sweep says that the module store may hold what nobody needs any more.
	sweep bool

	mu sync.Mutex
	// dirty holds the managed objects that changed, with the resource version that was seen.
	dirty map[fleet.ID]uint64
	// written is this process's own last write of each object.
	written map[fleet.ID]ownWrite
	// poke wakes a running apply to ask whether a newer commit is there.
	poke chan struct{}
	// seen is what the running reconcile knows of the Repository, and latest what the cache shows.
	seen, latest trigger
}

// judged is a commit with the judgement on it.
type judged struct {
	commit, root string
	message      string
	revision     api.Revision
	fleet        *fleet.Fleet
}

// ownWrite is the version that a write of this process made, and the digest that it wrote; or the object that it
// removed.
type ownWrite struct {
	version uint64
	digest  string
	removed types.UID
}

// trigger is what a person or hook changes on a Repository to make something happen.
type trigger struct {
	generation        int64
	reconcile, pushed string
}

func triggerOf(repository *api.Repository) trigger {
	return trigger{repository.Generation, repository.Annotations[api.AnnotationReconcileAt], repository.Annotations[api.AnnotationPushed]}
}

func newState(key types.NamespacedName, dir string) *state {
	return &state{
		key: key, clone: git.Open(dir), cache: fleet.NewCache(),
		dirty: map[fleet.ID]uint64{}, written: map[fleet.ID]ownWrite{}, poke: make(chan struct{}, 1),
	}
}

// mark notes that an object changed.
func (s *state) mark(id fleet.ID, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[id] = max(s.dirty[id], version)
}

// takeDirty returns what changed since the last call.
func (s *state) takeDirty() map[fleet.ID]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = map[fleet.ID]uint64{}
	return dirty
}

// restore puts back what takeDirty returned and could not be dealt with.
func (s *state) restore(dirty map[fleet.ID]uint64) {
	for id, version := range dirty {
		s.mark(id, version)
	}
}

func (s *state) wrote(id fleet.ID, version uint64, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[id] = ownWrite{version: version, digest: digest}
}

func (s *state) removed(id fleet.ID, object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[id] = ownWrite{version: version(object), removed: object.GetUID()}
}

// gone forgets an own write when the cache has seen the object's end after it.
func (s *state) gone(id fleet.ID, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own, ok := s.written[id]; ok && own.version <= version {
		delete(s.written, id)
	}
}

// overlay corrects what the cache shows by this process's own writes that it does not show yet.
func (s *state) overlay(live map[fleet.ID]liveObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, own := range s.written {
		l, cached := live[id]
		switch {
		case own.removed != "":
			if cached && l.object.GetUID() == own.removed {
				delete(live, id)
			}
		case !cached:
			live[id] = liveObject{digest: own.digest}
		case version(l.object) < own.version:
			live[id] = liveObject{digest: own.digest, object: l.object}
		}
	}
}

func (s *state) own(id fleet.ID) ownWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written[id]
}

// known tells the state what the running reconcile knows of the Repository; a later change pokes it.
func (s *state) known(t trigger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = t
	select {
	case <-s.poke:
	default:
	}
	if s.latest != (trigger{}) && s.latest != t { // it changed while it was being read
		s.poke <- struct{}{}
	}
}

// changed takes note of what the cache shows of the Repository.
func (s *state) changed(t trigger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = t
	if t == s.seen {
		return
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// respecified says that the Repository's spec is no longer what the running reconcile knows.
func (s *state) respecified() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest.generation > s.seen.generation
}

// version reads a resource version. The API server's numbers grow with every write.
func version(object metav1.Object) uint64 {
	n, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
