// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// maxApplyErrors is how many objects may fail before an apply gives up on the rest.
const maxApplyErrors = 20

// maxChangedNames is how many changed objects a history entry names.
const maxChangedNames = 20

// outcome collects what an apply did.
type outcome struct {
	mu      sync.Mutex
	counts  api.ChangeCounts
	changed []string
	errors  []error
}

func (o *outcome) note(sign string, id fleet.ID, count *int32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	*count++
	if len(o.changed) < maxChangedNames {
		o.changed = append(o.changed, sign+strings.ReplaceAll(id.String(), " ", "/"))
	}
}

// fail notes an error and says whether the apply goes on.
func (o *outcome) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.errors = append(o.errors, err)
	if len(o.errors) >= maxApplyErrors {
		return err
	}
	return nil
}

func (o *outcome) err() error {
	if len(o.errors) == 0 {
		return nil
	}
	if n := len(o.errors) - 3; n > 0 {
		return fmt.Errorf("%w; and %d more", errors.Join(o.errors[:3]...), n)
	}
	return errors.Join(o.errors...)
}

// apply carries out a plan. What fails is in the outcome; the error says that ctx ended.
func (r *reconciler) apply(ctx context.Context, st *state, j *judged, p plan, live map[fleet.ID]liveObject) (*outcome, error) {
	defer r.options.Burst.Begin(len(p.write) + len(p.remove))()
	out := &outcome{counts: api.ChangeCounts{Unchanged: int32(p.unchanged)}}
	mark := stamp{repository: st.key, revision: j.commit}
	namespaces := 0
	for namespaces < len(p.write) && p.write[namespaces].ID.Kind == "Namespace" {
		namespaces++
	}
	write := func(ctx context.Context, o *fleet.Object) error {
		if err := r.write(ctx, st, mark, o, live[o.ID].object, out); err != nil {
			return fmt.Errorf("%s (%s): %w", o.ID, o.Source(), err)
		}
		return nil
	}
	for _, objects := range [][]*fleet.Object{p.write[:namespaces], p.write[namespaces:]} {
		if err := each(ctx, r.options.Workers, out, objects, write); err != nil || len(out.errors) > 0 {
			return out, err
		}
	}
	last := len(p.remove)
	for last > 0 && p.remove[last-1].Kind == "Namespace" {
		last--
	}
	remove := func(ctx context.Context, id fleet.ID) error {
		if err := r.remove(ctx, st, id, live[id].object, out); err != nil {
			return fmt.Errorf("removing %s: %w", id, err)
		}
		return nil
	}
	for _, ids := range [][]fleet.ID{p.remove[:last], p.remove[last:]} {
		if err := each(ctx, r.options.Workers, out, ids, remove); err != nil || len(out.errors) > 0 {
			return out, err
		}
	}
	return out, nil
}

// each calls do for all items, some at a time, until ctx ends or too many failed.
func each[T any](ctx context.Context, workers int, out *outcome, items []T, do func(context.Context, T) error) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for _, item := range items {
		if within.Err() != nil {
			break
		}
		group.Go(func() error {
			if within.Err() != nil {
				return nil
			}
			// A write that has begun is finished, so that its outcome is known.
			if err := do(context.WithoutCancel(within), item); err != nil {
				return out.fail(err)
			}
			return nil
		})
	}
	_ = group.Wait()
	return context.Cause(ctx)
}

// write creates an object or changes the live one.
func (r *reconciler) write(ctx context.Context, st *state, mark stamp, o *fleet.Object, live client.Object, out *outcome) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	own := st.own(o.ID)
	if live == nil && !kindOf(o.ID).core {
		// An object without our label is in the cache as well.
		found, err := r.cached(ctx, o.ID)
		if err != nil {
			return err
		}
		live = found
	}
	if live == nil && own.version == 0 {
		created, err := r.create(ctx, st, mark, o)
		if created {
			out.note("+", o.ID, &out.counts.Created)
		}
		if created || err != nil {
			return err
		}
	}
	if live == nil || version(live) < own.version || live.GetDeletionTimestamp() != nil {
		var err error
		if live, err = r.direct(ctx, o.ID); err != nil {
			return err
		}
	}
	if live == nil {
		created, err := r.create(ctx, st, mark, o)
		if created {
			out.note("+", o.ID, &out.counts.Created)
		} else if err == nil {
			err = errors.New("somebody else made and removed it meanwhile")
		}
		return err
	}
	if err := mayTake(st.key, live); err != nil {
		return err
	}
	wrote, err := r.change(ctx, st, mark, o, live)
	if wrote {
		out.note("~", o.ID, &out.counts.Changed)
	}
	return err
}

// create creates an object; false without an error means that it is there already.
func (r *reconciler) create(ctx context.Context, st *state, mark stamp, o *fleet.Object) (bool, error) {
	body, err := mark.fresh(o)
	if err != nil {
		return false, err
	}
	written, err := r.writer.create(ctx, o.ID, body)
	if apierrors.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	st.wrote(o.ID, written, o.Digest)
	return true, nil
}

// change makes a live object what git says; false means that it is so already.
func (r *reconciler) change(ctx context.Context, st *state, mark stamp, o *fleet.Object, live client.Object) (bool, error) {
	if live.GetDeletionTimestamp() != nil {
		return false, errors.New("it is being deleted; it is made anew when it is gone")
	}
	want, err := mark.merged(live, o)
	if err != nil {
		return false, err
	}
	if apiequality.Semantic.DeepEqual(live, want) {
		return false, nil
	}
	written, err := r.writer.patch(ctx, o.ID, live, want)
	if err != nil {
		return false, err
	}
	st.wrote(o.ID, written, o.Digest)
	return true, nil
}

// mayTake says whether a Repository may take over an object that exists already.
func mayTake(repository client.ObjectKey, live client.Object) error {
	if by, managed := owner(live); managed && by != repository {
		return fmt.Errorf("it belongs to Repository %s: remove it there first", by)
	}
	if identity := live.GetLabels()[api.LabelIdentity]; identity != "" {
		return fmt.Errorf("it is an identity that the installation made: choose another name")
	}
	for _, reference := range live.GetOwnerReferences() {
		if reference.Controller != nil && *reference.Controller {
			return fmt.Errorf("it belongs to %s %s: choose another name", reference.Kind, reference.Name)
		}
	}
	return nil
}

// remove deletes an object that git no longer holds.
func (r *reconciler) remove(ctx context.Context, st *state, id fleet.ID, live client.Object, out *outcome) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if live != nil && live.GetDeletionTimestamp() != nil {
		return nil
	}
	if live == nil {
		var err error
		if live, err = r.direct(ctx, id); live == nil {
			return err
		}
		if by, _ := owner(live); by != st.key {
			return nil
		}
	}
	err := r.writer.delete(ctx, id, live.GetUID())
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	st.removed(id, live)
	out.note("-", id, &out.counts.Removed)
	return nil
}
