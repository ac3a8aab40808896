// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/store"
)

// Options of Setup.
type Options struct {
	// GitDir holds the clones, one directory for each Repository.
	GitDir string
	// Store takes the modules.
	Store *store.Store
	// Workers is how many objects are written at once; 0 means 8.
	Workers int
	// Burst is told when a commit that writes or removes very many objects is applied; may be nil.
	Burst *loop.Burst
}

// Setup adds the reconciler of Repositories to a manager. The manager's scheme must know the core kinds and ours.
func Setup(mgr ctrl.Manager, options Options) error {
	if options.GitDir == "" || options.Store == nil {
		return errors.New("internal error: sync needs a directory and a store")
	}
	if options.Workers <= 0 {
		options.Workers = 8
	}
	if err := os.MkdirAll(options.GitDir, 0o700); err != nil {
		return fmt.Errorf("making the directory of clones: %w", err)
	}
	core, err := coreCache(mgr)
	if err != nil {
		return err
	}
	w, err := newWriter(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return err
	}
	r := &reconciler{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), core: core, writer: w,
		events: mgr.GetEventRecorder("wasmbed-sync"), options: options, now: time.Now,
		states: map[types.NamespacedName]*state{},
	}
	c, err := controller.New("sync", mgr, controller.Options{
		Reconciler: r, MaxConcurrentReconciles: 4,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, time.Minute),
	})
	if err != nil {
		return fmt.Errorf("setting up sync: %w", err)
	}
	if err := c.Watch(source.Kind(mgr.GetCache(), client.Object(&api.Repository{}), r.repositoryHandler())); err != nil {
		return fmt.Errorf("setting up sync: %w", err)
	}
	for _, k := range kinds {
		objects := mgr.GetCache()
		if k.core {
			objects = core
		}
		if err := c.Watch(source.Kind(objects, k.object(), r.objectHandler(k))); err != nil {
			return fmt.Errorf("setting up sync: %w", err)
		}
	}
	// The garbage collection of modules lists Instances.
	if _, err := mgr.GetCache().GetInformer(context.Background(), &api.Instance{}, cache.BlockUntilSynced(false)); err != nil {
		return fmt.Errorf("setting up sync: %w", err)
	}
	return nil
}

// coreCache holds the managed Namespaces, ConfigMaps and Secrets and no others.
func coreCache(mgr ctrl.Manager) (cache.Cache, error) {
	managed, err := labels.NewRequirement(api.LabelRepositoryName, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	only := cache.ByObject{Label: labels.NewSelector().Add(*managed)}
	core, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{&corev1.Namespace{}: only, &corev1.ConfigMap{}: only, &corev1.Secret{}: only},
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache of managed objects: %w", err)
	}
	if err := mgr.Add(core); err != nil {
		return nil, fmt.Errorf("making the cache of managed objects: %w", err)
	}
	return core, nil
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// repositoryHandler asks for a turn when a Repository's spec or one of our annotations changed, and wakes an apply that
// runs.
func (r *reconciler) repositoryHandler() handler.EventHandler {
	ask := func(object client.Object, q queue) {
		repository := object.(*api.Repository)
		key := client.ObjectKeyFromObject(repository)
		r.mu.Lock()
		st := r.states[key]
		r.mu.Unlock()
		if st != nil {
			st.changed(triggerOf(repository))
		}
		q.Add(reconcile.Request{NamespacedName: key})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { ask(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if triggerOf(e.ObjectOld.(*api.Repository)) != triggerOf(e.ObjectNew.(*api.Repository)) || e.ObjectNew.GetDeletionTimestamp() != nil {
				ask(e.ObjectNew, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ask(e.Object, q) },
	}
}

// objectHandler notes changes of managed objects, those of status apart.
func (r *reconciler) objectHandler(k *kind) handler.EventHandler {
	note := func(object client.Object, gone bool, q queue) {
		key, managed := owner(object)
		if !managed {
			return
		}
		id := idOf(k.name, object)
		st := r.state(key)
		if gone {
			st.gone(id, version(object))
		}
		st.mark(id, version(object))
		q.Add(reconcile.Request{NamespacedName: key})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { note(e.Object, false, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if !k.core && !gitChanged(e.ObjectOld, e.ObjectNew) {
				return
			}
			note(e.ObjectNew, false, q)
			before, _ := owner(e.ObjectOld)
			if after, _ := owner(e.ObjectNew); before != after {
				// Whose it was wants it back; the version is the new one's.
				if st := r.stateOf(before); st != nil {
					st.mark(idOf(k.name, e.ObjectNew), version(e.ObjectNew))
					q.Add(reconcile.Request{NamespacedName: before})
				}
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { note(e.Object, true, q) },
	}
}

func (r *reconciler) stateOf(key types.NamespacedName) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[key]
}

// gitChanged says whether a change touches what git owns; the generation grows with the spec.
func gitChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() ||
		(before.GetDeletionTimestamp() == nil) != (after.GetDeletionTimestamp() == nil) ||
		!labels.Equals(before.GetLabels(), after.GetLabels()) || !labels.Equals(before.GetAnnotations(), after.GetAnnotations())
}
