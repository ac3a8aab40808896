// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// driftShown is how long the Drifted condition stays after the last change that was put back.
const driftShown = 10 * time.Minute

// mend looks at the managed objects that changed since the last time and puts back what somebody else changed. It
// returns a line for each.
func (r *reconciler) mend(ctx context.Context, st *state, repository *api.Repository) ([]string, error) {
	dirty := st.takeDirty()
	var lines []string
	var failed []error
	braked, err := r.extrasBraked(ctx, st, repository, dirty)
	if err != nil {
		st.restore(dirty)
		return nil, err
	}
	for id, seen := range dirty {
		if braked && st.applied.fleet.Get(id) == nil {
			delete(dirty, id)
			continue
		}
		line, err := r.mendOne(ctx, st, id, seen)
		if err != nil {
			st.mark(id, seen)
			failed = append(failed, fmt.Errorf("putting back %s: %w", id, err))
			if len(failed) >= maxApplyErrors {
				break
			}
		}
		if line != "" {
			lines = append(lines, line)
		}
		delete(dirty, id)
	}
	st.restore(dirty)
	return lines, errors.Join(failed...)
}

// extrasBraked says whether the changed objects that are not in git are left alone: with spec.prune off, and when there
// are so many that a commit would need a trailer to remove them.
func (r *reconciler) extrasBraked(ctx context.Context, st *state, repository *api.Repository, dirty map[fleet.ID]uint64) (bool, error) {
	if repository.Spec.Prune != nil && !*repository.Spec.Prune {
		return true, nil
	}
	any := false
	for id := range dirty {
		any = any || st.applied.fleet.Get(id) == nil
	}
	if !any {
		return false, nil
	}
	live, err := r.live(ctx, st)
	if err != nil {
		return false, err
	}
	p := makePlan(st.applied.fleet, live, true)
	return fleet.PruneBrake(p.remove, p.before, "").Blocked, nil
}

func (r *reconciler) mendOne(ctx context.Context, st *state, id fleet.ID, seen uint64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	want := st.applied.fleet.Get(id)
	cached, err := r.cached(ctx, id)
	if err != nil {
		return "", err
	}
	if own := st.own(id); cached == nil && (want == nil || own.version > seen) || cached != nil && version(cached) < own.version {
		return "", nil // nothing there and nothing wanted, or the cache still lags behind an own write
	}
	mark := stamp{repository: st.key, revision: st.applied.commit}
	if asWanted(st.key, mark, cached, want) {
		return "", nil
	}
	live, err := r.direct(ctx, id)
	if err != nil {
		return "", err
	}
	if want == nil {
		return r.mendExtra(ctx, st, id, live)
	}
	if live == nil {
		st.gone(id, ^uint64(0))
		created, err := r.create(ctx, st, mark, want)
		if err != nil || !created {
			return "", err
		}
		return fmt.Sprintf("%s had been removed and was made anew", id), nil
	}
	if err := mayTake(st.key, live); err != nil {
		return "", err
	}
	who := changedBy(live)
	wrote, err := r.change(ctx, st, mark.keeping(live), want, live)
	if err != nil || !wrote {
		return "", err
	}
	return fmt.Sprintf("%s had been changed%s and was put back", id, who), nil
}

// mendExtra removes an object that carries the Repository's label and is not in git.
func (r *reconciler) mendExtra(ctx context.Context, st *state, id fleet.ID, live client.Object) (string, error) {
	if live == nil {
		return "", nil
	}
	if by, _ := owner(live); by != st.key || live.GetDeletionTimestamp() != nil {
		return "", nil
	}
	who := changedBy(live)
	if err := r.remove(ctx, st, id, live, &outcome{}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is not in git, was marked as if it were%s, and was removed", id, who), nil
}

// asWanted says whether a cached object is as git wants it, whatever commit it was stamped with.
func asWanted(repository client.ObjectKey, mark stamp, cached client.Object, want *fleet.Object) bool {
	if cached == nil || want == nil {
		by := client.ObjectKey{}
		if cached != nil {
			by, _ = owner(cached)
		}
		return want == nil && by != repository
	}
	merged, err := mark.keeping(cached).merged(cached, want)
	return err == nil && apiequality.Semantic.DeepEqual(cached, merged)
}

// keeping returns the stamp with the revision and source that an object has, where it has them.
func (s stamp) keeping(live metav1.Object) stamp {
	annotations := live.GetAnnotations()
	if revision := annotations[api.AnnotationRevision]; revision != "" {
		s.revision = revision
	}
	s.source = annotations[api.AnnotationSource]
	return s
}

// changedBy names the field manager that changed an object last, when it is known: " by MANAGER (update at TIME)".
func changedBy(live metav1.Object) string {
	var last *metav1.ManagedFieldsEntry
	for i, entry := range live.GetManagedFields() {
		if entry.Subresource != "" || entry.Manager == api.FieldManager || entry.Time == nil {
			continue
		}
		if last == nil || last.Time.Before(entry.Time) {
			last = &live.GetManagedFields()[i]
		}
	}
	if last == nil {
		return ""
	}
	return fmt.Sprintf(" by %s (%s)", last.Manager, strings.ToLower(string(last.Operation)))
}
