// SPDX-License-Identifier: Apache-2.0

package application

import (
	"context"
	"maps"
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/placement"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

func requestFor(namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// onInstance enqueues the Application of an Instance. Every change counts: it is the gateway's status, or the cache
// catching up with a write.
func onInstance() handler.EventHandler {
	add := func(object client.Object, q queue) {
		q.Add(requestFor(object.GetNamespace(), object.(*v1alpha1.Instance).Spec.Application))
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { add(e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
	}
}

// onApplication enqueues an Application that changed, and the others of its namespace when what it takes of the
// devices changed.
func (r *reconciler) onApplication() handler.EventHandler {
	others := func(ctx context.Context, object client.Object, q queue) {
		var apps v1alpha1.ApplicationList
		if err := r.List(ctx, &apps, client.InNamespace(object.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			return // the cache does not fail once it has started
		}
		for i := range apps.Items {
			q.Add(requestFor(apps.Items[i].Namespace, apps.Items[i].Name))
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			q.Add(requestFor(e.Object.GetNamespace(), e.Object.GetName()))
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			q.Add(requestFor(e.ObjectNew.GetNamespace(), e.ObjectNew.GetName()))
			before, after := &e.ObjectOld.(*v1alpha1.Application).Spec, &e.ObjectNew.(*v1alpha1.Application).Spec
			if placement.Memory(before) != placement.Memory(after) || !reflect.DeepEqual(before.Selector, after.Selector) {
				others(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			q.Add(requestFor(e.Object.GetNamespace(), e.Object.GetName()))
			others(ctx, e.Object, q)
		},
	}
}

// onDevice enqueues the Applications that select a device, or did before it changed.
func (r *reconciler) onDevice() handler.EventHandler {
	add := func(ctx context.Context, q queue, devices ...client.Object) {
		var apps v1alpha1.ApplicationList
		if err := r.List(ctx, &apps, client.InNamespace(devices[0].GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			return // the cache does not fail once it has started
		}
		for i := range apps.Items {
			selector := r.selectors.of(&apps.Items[i])
			for _, device := range devices {
				if selector.Matches(labels.Set(device.GetLabels())) {
					q.Add(requestFor(apps.Items[i].Namespace, apps.Items[i].Name))
					break
				}
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { add(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if concerns(e.ObjectOld.(*v1alpha1.Device), e.ObjectNew.(*v1alpha1.Device)) {
				add(ctx, q, e.ObjectOld, e.ObjectNew)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, q, e.Object) },
	}
}

// concerns tells whether a change of a device can change a plan.
func concerns(before, after *v1alpha1.Device) bool {
	return before.Generation != after.Generation || !maps.Equal(before.Labels, after.Labels) ||
		placement.Online(before) != placement.Online(after) ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
}

// selectorCache keeps Applications' selectors in their compiled form: each event of a device tries all of them.
type selectorCache struct {
	mu      sync.Mutex
	entries map[client.ObjectKey]selectorEntry
}

type selectorEntry struct {
	uid        types.UID
	generation int64
	selector   labels.Selector
}

func (c *selectorCache) of(app *v1alpha1.Application) labels.Selector {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := client.ObjectKeyFromObject(app)
	if entry, ok := c.entries[key]; ok && entry.uid == app.UID && entry.generation == app.Generation {
		return entry.selector
	}
	selector, err := metav1.LabelSelectorAsSelector(&app.Spec.Selector)
	if err != nil {
		selector = labels.Nothing() // the schema admits none such
	}
	if c.entries == nil {
		c.entries = map[client.ObjectKey]selectorEntry{}
	}
	c.entries[key] = selectorEntry{app.UID, app.Generation, selector}
	return selector
}

func (c *selectorCache) forget(key client.ObjectKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, key)
}
