// SPDX-License-Identifier: Apache-2.0

package application

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/placement"
)

// carryOut does what the plan says, several writes at once: removals first, since they make room. A write that finds
// the object otherwise than expected is left: the event of whoever changed it leads to a new plan.
func (r *reconciler) carryOut(ctx context.Context, app *v1alpha1.Application, plan *placement.Result, written *loop.Written) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.opts.Workers)
	for _, instance := range plan.Delete {
		group.Go(func() error { return r.remove(ctx, instance, written) })
	}
	for i := range plan.Issue {
		group.Go(func() error { return r.issue(ctx, app, &plan.Issue[i], written) })
	}
	return group.Wait()
}

// issue creates an Instance or gives it a new spec.
func (r *reconciler) issue(ctx context.Context, app *v1alpha1.Application, order *placement.Order, written *loop.Written) error {
	now := r.opts.Now()
	instance := &v1alpha1.Instance{}
	if order.Instance != nil {
		instance = order.Instance.DeepCopy()
	}
	instance.Namespace, instance.Name = app.Namespace, v1alpha1.InstanceName(app.Name, order.Device.Name)
	instance.Spec = order.Spec
	stamp(instance, app)
	if instance.Annotations == nil {
		instance.Annotations = map[string]string{}
	}
	instance.Annotations[v1alpha1.AnnotationIssuedAt] = now.UTC().Format(time.RFC3339Nano)
	if order.Revision == "" {
		delete(instance.Annotations, v1alpha1.AnnotationRevision)
	} else {
		instance.Annotations[v1alpha1.AnnotationRevision] = order.Revision
	}
	var err error
	if order.Instance == nil {
		err = r.Create(ctx, instance)
	} else {
		err = r.Update(ctx, instance)
	}
	return noted(written, instance, now, err)
}

func (r *reconciler) remove(ctx context.Context, instance *v1alpha1.Instance, written *loop.Written) error {
	err := r.Delete(ctx, instance, client.Preconditions{UID: &instance.UID})
	if err == nil || apierrors.IsNotFound(err) {
		written.NoteDeleted(instance, r.opts.Now())
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove instance %s: %w", instance.Name, err)
	}
	return nil
}

// stamp sets labels. An Instance has no owner reference: the cluster's garbage collector would look at each and remove it
// beside this controller, which takes as much of the API server's time again. cleanUp removes what an Application leaves.
func stamp(instance *v1alpha1.Instance, app *v1alpha1.Application) {
	if instance.Labels == nil {
		instance.Labels = map[string]string{}
	}
	instance.Labels[v1alpha1.LabelDevice] = instance.Spec.Device
	instance.Labels[v1alpha1.LabelApplication] = app.Name
}

// noted remembers a write that succeeded and forgives one that came too late.
func noted(written *loop.Written, instance *v1alpha1.Instance, now time.Time, err error) error {
	switch {
	case err == nil:
		written.Note(instance, now)
		return nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the Application goes too
	}
	return fmt.Errorf("write instance %s: %w", instance.Name, err)
}
