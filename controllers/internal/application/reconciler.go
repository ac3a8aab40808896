// SPDX-License-Identifier: Apache-2.0

// Package application makes Applications run: it keeps one Instance for each device that an Application is meant for,
// in the waves that package placement plans, and counts what becomes of them.
//
// Every event of an Instance or Device that matters enqueues its Application, and one run looks at all of them: some
// milliseconds for 10,000. Runs of one Application are paced (loop.Pace), so that a burst of events costs a few runs
// and not one each. A run waits until the cache shows what the run before wrote; so a wave is never planned on what is
// outdated.
package application

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/placement"
)

// Options of the reconciler.
type Options struct {
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Workers is how many writes of one Application are under way at once; 12 when zero.
	Workers int
}

// instanceByApplication is an index of Instances by the name of their Application.
const instanceByApplication = "application.instances"

// backstop is when a run that waits for the cache looks again though nothing told it to.
const backstop = time.Second

// +kubebuilder:rbac:groups=wasmbed.dev,resources=applications;devices,verbs=get;list;watch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=applications/status,verbs=patch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=instances,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Setup registers the reconciler.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Workers == 0 {
		opts.Workers = 12
	}
	r := &reconciler{
		Client: mgr.GetClient(), opts: opts, events: mgr.GetEventRecorder("application-controller"),
		written: map[client.ObjectKey]*loop.Written{},
	}
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Instance{}, instanceByApplication,
		func(object client.Object) []string { return []string{object.(*v1alpha1.Instance).Spec.Application} })
	if err != nil {
		return fmt.Errorf("index instances by application: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).Named("application").
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Watches(&v1alpha1.Application{}, r.onApplication()).
		Watches(&v1alpha1.Instance{}, onInstance()).
		Watches(&v1alpha1.Device{}, r.onDevice()).
		Complete(r)
	if err != nil {
		return fmt.Errorf("application controller: %w", err)
	}
	return nil
}

type reconciler struct {
	client.Client
	opts      Options
	events    recorder.EventRecorder
	pace      loop.Pace
	selectors selectorCache

	mu      sync.Mutex
	written map[client.ObjectKey]*loop.Written
}

// Reconcile brings one Application's Instances and status up to date.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	started := r.opts.Now()
	if wait := r.pace.Wait(request.NamespacedName, started); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	app := &v1alpha1.Application{}
	if err := r.Get(ctx, request.NamespacedName, app); apierrors.IsNotFound(err) {
		return ctrl.Result{}, r.cleanUp(ctx, request.NamespacedName)
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("read application: %w", err)
	}
	if app.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	plan, written, err := r.plan(ctx, app)
	r.pace.Ran(request.NamespacedName, started, r.opts.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	if plan == nil {
		return ctrl.Result{RequeueAfter: backstop}, nil
	}
	return r.act(ctx, app, plan, written)
}

// plan is nil while the cache does not show what was written last.
func (r *reconciler) plan(ctx context.Context, app *v1alpha1.Application) (*placement.Result, *loop.Written, error) {
	in, err := r.gather(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	written := r.writtenOf(client.ObjectKeyFromObject(app))
	if r.behind(written, app, in.Instances) {
		return nil, written, nil
	}
	plan := placement.Plan(*in)
	return &plan, written, nil
}

// gather reads from the cache, without copies, what a plan depends on.
func (r *reconciler) gather(ctx context.Context, app *v1alpha1.Application) (*placement.Input, error) {
	var (
		instances v1alpha1.InstanceList
		devices   v1alpha1.DeviceList
		apps      v1alpha1.ApplicationList
		here      = client.InNamespace(app.Namespace)
	)
	err := errors.Join(
		r.List(ctx, &instances, here, client.MatchingFields{instanceByApplication: app.Name}, client.UnsafeDisableDeepCopy),
		r.List(ctx, &devices, here, client.UnsafeDisableDeepCopy),
		r.List(ctx, &apps, here, client.UnsafeDisableDeepCopy),
	)
	if err != nil {
		return nil, fmt.Errorf("read from cache: %w", err)
	}
	in := &placement.Input{Application: app, Now: r.opts.Now(), Devices: pointers(devices.Items), Instances: pointers(instances.Items)}
	for i := range apps.Items {
		if apps.Items[i].Name != app.Name {
			in.Others = append(in.Others, &apps.Items[i])
		}
	}
	return in, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// behind tells whether the cache does not show yet what was written for the Application.
func (r *reconciler) behind(written *loop.Written, app *v1alpha1.Application, instances []*v1alpha1.Instance) bool {
	var byName map[string]*v1alpha1.Instance
	return written.AnyBehind(func(key client.ObjectKey) client.Object {
		if key.Name == app.Name { // an Instance's name holds a dot, an Application's does not
			return app
		}
		if byName == nil {
			byName = make(map[string]*v1alpha1.Instance, len(instances))
			for _, instance := range instances {
				byName[instance.Name] = instance
			}
		}
		return byName[key.Name]
	}, r.opts.Now())
}

func (r *reconciler) writtenOf(key client.ObjectKey) *loop.Written {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.written[key]
	if !ok {
		w = &loop.Written{}
		r.written[key] = w
	}
	return w
}

// act carries a plan out. The status comes first when a rollout begins, because it tells what the rollout issued from
// what was there before, even when this process dies in between.
func (r *reconciler) act(ctx context.Context, app *v1alpha1.Application, plan *placement.Result, written *loop.Written) (ctrl.Result, error) {
	if plan.Begin {
		if err := r.report(ctx, app, plan, written); err != nil {
			return ctrl.Result{}, err
		}
	}
	err := r.carryOut(ctx, app, plan, written)
	if !plan.Begin {
		err = errors.Join(err, r.report(ctx, app, plan, written))
	}
	return ctrl.Result{RequeueAfter: plan.After}, err
}

// report writes the status when it changed, and tells of turning points by events.
func (r *reconciler) report(ctx context.Context, app *v1alpha1.Application, plan *placement.Result, written *loop.Written) error {
	after := app.DeepCopy()
	conditions := after.Status.Conditions
	after.Status = plan.Status
	now, verdict := r.opts.Now(), plan.Verdict
	loop.Set(&conditions, app.Generation, v1alpha1.ConditionReady, loop.Is(verdict.Ready), verdict.Reason, verdict.Message, now)
	loop.SetProgress(&conditions, app.Generation, verdict.Reconciling, verdict.Stalled, verdict.Reason, verdict.Message, now)
	after.Status.Conditions = conditions
	wrote, err := loop.PatchStatus(ctx, r.Client, app, after)
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("application %s/%s: %w", app.Namespace, app.Name, err)
	}
	if wrote {
		written.Note(after, now)
		r.tell(app, plan)
		log.FromContext(ctx).V(1).Info("application status", "progress", plan.Status.Progress, "wave", plan.Status.Wave, "reason", verdict.Reason)
	}
	return nil
}

// tell emits an event when a rollout begins, ends, or halts.
func (r *reconciler) tell(app *v1alpha1.Application, plan *placement.Result) {
	was := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady)
	verdict := plan.Verdict
	switch {
	case verdict.Stalled && (was == nil || was.Reason != verdict.Reason):
		r.events.Eventf(app, nil, "Warning", verdict.Reason, "Rollout", "%s", verdict.Message)
	case plan.Begin && plan.Status.Wave > 0:
		r.events.Eventf(app, nil, "Normal", "RolloutStarted", "Rollout", "revision %s, %s", plan.Status.Revision, verdict.Message)
	case verdict.Ready && was != nil && was.Status != "True":
		r.events.Eventf(app, nil, "Normal", v1alpha1.ReasonRolledOut, "Rollout", "%s", verdict.Message)
	}
}

// cleanUp removes what an Application left behind. Each removal's event leads here again, while the cache still shows others that are gone already:
// those are not asked for twice. Applications that go together leave devices in the same order, so that a device's status tells of all at once.
func (r *reconciler) cleanUp(ctx context.Context, key client.ObjectKey) error {
	r.pace.Forget(key)
	r.selectors.forget(key)
	var left v1alpha1.InstanceList
	err := r.List(ctx, &left, client.InNamespace(key.Namespace), client.MatchingFields{instanceByApplication: key.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("read from cache: %w", err)
	}
	if len(left.Items) == 0 {
		r.mu.Lock()
		delete(r.written, key)
		r.mu.Unlock()
		return nil
	}
	written, gone := r.writtenOf(key), &placement.Result{}
	for _, instance := range pointers(left.Items) {
		if !written.Removed(instance, r.opts.Now()) {
			gone.Delete = append(gone.Delete, instance)
		}
	}
	slices.SortFunc(gone.Delete, func(a, b *v1alpha1.Instance) int { return strings.Compare(a.Spec.Device, b.Spec.Device) })
	return r.carryOut(ctx, &v1alpha1.Application{}, gone, written)
}
