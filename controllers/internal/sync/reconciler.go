// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/sync/git"
)

// Waits. They are variables for the tests' sake.
var (
	// firstRetry is the wait after a first failure that is repeated by itself; it doubles up to the interval.
	firstRetry = time.Second
	// writeTimeout bounds one write.
	writeTimeout = 30 * time.Second
)

// tooLargeWait is how much later than usual the remote is looked at after it sent too much.
const tooLargeWait = 15 * time.Minute

// progressFrom is how many writes make an apply worth announcing in the status before it begins.
const progressFrom = 100

type reconciler struct {
	client  client.Client
	reader  client.Reader
	core    cache.Cache
	writer  *writer
	events  events.EventRecorder
	options Options
	now     func() time.Time

	mu     sync.Mutex
	states map[types.NamespacedName]*state
}

func (r *reconciler) state(key types.NamespacedName) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.states[key]
	if st == nil {
		st = newState(key, r.cloneDir(key))
		r.states[key] = st
	}
	return st
}

// cloneDir is unique: a namespace's name holds no dot.
func (r *reconciler) cloneDir(key types.NamespacedName) string {
	return filepath.Join(r.options.GitDir, key.Namespace+"."+key.Name)
}

// forget frees what is kept for a Repository that is gone.
func (r *reconciler) forget(key types.NamespacedName) error {
	r.mu.Lock()
	st := r.states[key]
	delete(r.states, key)
	r.mu.Unlock()
	if st != nil {
		return st.clone.Remove()
	}
	return os.RemoveAll(r.cloneDir(key))
}

// turn is one reconcile of one Repository.
type turn struct {
	*reconciler
	*state
	repository *api.Repository
	before     *api.RepositoryStatus
	notes      []note
	// blocked says that the newest commit cannot be had or is refused, which is what the conditions tell.
	blocked bool
}

// note is an event to be recorded when the status has been written.
type note struct {
	kind, reason, action, text string
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	repository := &api.Repository{}
	err := r.client.Get(ctx, request.NamespacedName, repository)
	if apierrors.IsNotFound(err) || err == nil && repository.DeletionTimestamp != nil {
		return ctrl.Result{}, r.forget(request.NamespacedName)
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	st := r.state(request.NamespacedName)
	if st.status != nil && version(repository) < st.version {
		repository.Status = *st.status.DeepCopy()
	}
	st.known(triggerOf(repository))
	t := &turn{reconciler: r, state: st, repository: repository, before: repository.Status.DeepCopy()}
	wait, err := t.run(ctx)
	if patchErr := t.patchStatus(ctx); patchErr != nil {
		return ctrl.Result{}, errors.Join(err, patchErr)
	}
	for _, n := range t.notes {
		r.events.Eventf(repository, nil, n.kind, n.reason, n.action, "%s", shorten(n.text, 1000))
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if st.sweep {
		st.sweep = false
		if err := t.collect(ctx); err != nil {
			log.FromContext(ctx).Error(err, "cannot collect garbage in the module store")
		}
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// patchStatus writes the status when it differs from what was read.
func (t *turn) patchStatus(ctx context.Context) error {
	if apiequality.Semantic.DeepEqual(t.before, &t.repository.Status) {
		return nil
	}
	base := t.repository.DeepCopy()
	base.Status = *t.before
	written := t.repository.DeepCopy()
	err := t.client.Status().Patch(ctx, written, client.MergeFrom(base))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	t.status, t.version = written.Status.DeepCopy(), version(written)
	t.before = t.repository.Status.DeepCopy()
	return nil
}

// run does the steps of a turn and returns how long to wait for the next.
func (t *turn) run(ctx context.Context) (time.Duration, error) {
	status := &t.repository.Status
	status.ObservedGeneration = t.repository.Generation
	if len(t.key.Name) > 63 {
		t.stall(api.ReasonInvalidSpec, "the Repository's name has more than 63 characters and cannot be a label: make one with a shorter name")
		return 0, nil
	}
	if t.repository.Spec.Suspend {
		t.suspend()
		return 0, nil
	}
	if t.due() {
		t.checked = t.now()
		t.generation = t.repository.Generation
		t.reconcile = t.repository.Annotations[api.AnnotationReconcileAt]
		status.LastHandledReconcileAt = t.reconcile
		again, err := t.follow(ctx)
		if again || err != nil {
			return time.Millisecond, err
		}
	}
	t.notePush()
	if err := t.repair(ctx); err != nil {
		return 0, err
	}
	return t.next(), nil
}

// due says whether the remote is to be looked at.
func (t *turn) due() bool {
	now := t.now()
	return t.checked.IsZero() || t.generation != t.repository.Generation ||
		t.reconcile != t.repository.Annotations[api.AnnotationReconcileAt] ||
		!now.Before(t.checked.Add(t.repository.Spec.Interval.Duration)) ||
		t.failures > 0 && !now.Before(t.retryAt)
}

// next is how long nothing is to be done unless something changes.
func (t *turn) next() time.Duration {
	now := t.now()
	at := t.checked.Add(t.repository.Spec.Interval.Duration)
	if t.failures > 0 && t.retryAt.Before(at) {
		at = t.retryAt
	}
	if !t.drifted.IsZero() {
		if until := t.drifted.Add(driftShown); until.Before(at) {
			at = until
		}
	}
	return max(at.Sub(now), time.Millisecond)
}

// later plans the next attempt after a failure: waits double, spread a little, up to the interval.
func (t *turn) later() {
	wait := t.repository.Spec.Interval.Duration
	if t.failures < 16 {
		wait = min(wait, firstRetry<<t.failures)
	}
	t.failures++
	t.retryAt = t.now().Add(wait - time.Duration(rand.Int64N(int64(wait)/8+1)))
}

// follow looks at the remote, judges its commit and applies it. True means that a newer commit is there already.
func (t *turn) follow(ctx context.Context) (bool, error) {
	commit, err := t.fetch(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		t.fetchFailed(err)
		if err := t.recall(ctx, nil); err != nil {
			return false, err
		}
		return t.finish(ctx)
	}
	newest := t.fetched(commit)
	if newest {
		t.notes = append(t.notes, note{corev1.EventTypeNormal, "Fetched", "Fetch", fmt.Sprintf("commit %s %q by %s",
			short(commit.revision.Commit), commit.revision.Subject, commit.revision.Author)})
	}
	j, err := t.judge(ctx, commit)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		t.retry(api.ReasonStorageFailed, "judging the commit: "+err.Error())
		return false, nil
	}
	t.judged = j
	if newest {
		now := microTime(t.now())
		t.repository.Status.Fetched.CheckedAt = &now
	}
	j.revision = *t.repository.Status.Fetched.DeepCopy()
	return t.converge(ctx, j)
}

// fetch brings the revision into the clone.
func (t *turn) fetch(ctx context.Context) (*commit, error) {
	credentials, err := t.credentials(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout())
	defer cancel()
	found, err := t.clone.Fetch(ctx, t.source(credentials))
	if err != nil {
		return nil, err
	}
	return readCommit(found), nil
}

func (t *turn) timeout() time.Duration {
	if d := t.repository.Spec.Timeout.Duration; d > 0 {
		return d
	}
	return time.Minute
}

func (t *turn) fetchFailed(err error) {
	t.blocked = true
	reason := git.Reason(err)
	switch reason {
	case api.ReasonTooLarge: // what is too large is not fetched again and again
		t.checked = t.checked.Add(tooLargeWait)
		t.failures = 0
		t.stall(reason, err.Error())
	case api.ReasonInvalidSpec, api.ReasonRevisionNotFound:
		t.failures = 0
		t.stall(reason, err.Error())
	default:
		t.retry(reason, err.Error())
	}
}

// retry reports a failure that is tried again by itself.
func (t *turn) retry(reason, message string) {
	t.later()
	t.notReady(reason, message)
}
