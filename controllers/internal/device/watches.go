// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/pki"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

func requestFor(namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// onDevice enqueues a device; and those with the same key when a device's keys change or go.
func (r *reconciler) onDevice() handler.EventHandler {
	sharers := func(ctx context.Context, keys []string, q queue) {
		for _, key := range keys {
			r.enqueue(ctx, q, client.MatchingFields{deviceByKey: key})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			q.Add(requestFor(e.Object.GetNamespace(), e.Object.GetName()))
			sharers(ctx, e.Object.(*v1alpha1.Device).Spec.Keys, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			q.Add(requestFor(e.ObjectNew.GetNamespace(), e.ObjectNew.GetName()))
			before, after := e.ObjectOld.(*v1alpha1.Device).Spec.Keys, e.ObjectNew.(*v1alpha1.Device).Spec.Keys
			if !slices.Equal(before, after) {
				sharers(ctx, before, q)
				sharers(ctx, after, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			q.Add(requestFor(e.Object.GetNamespace(), e.Object.GetName()))
			sharers(ctx, e.Object.(*v1alpha1.Device).Spec.Keys, q)
		},
	}
}

// onInstance enqueues the device of an Instance when what it asks for or what is reported of it changed.
func onInstance() handler.EventHandler {
	add := func(object client.Object, q queue) {
		q.Add(requestFor(object.GetNamespace(), object.(*v1alpha1.Instance).Spec.Device))
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*v1alpha1.Instance), e.ObjectNew.(*v1alpha1.Instance)
			if answer(before) != answer(after) || before.Status.Phase != after.Status.Phase ||
				before.Status.Reason != after.Status.Reason || before.Status.Message != after.Status.Message {
				add(after, q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(e.Object, q) },
	}
}

// onGateway enqueues the devices of a gateway that came, went or changed whom it takes, and those without any.
func (r *reconciler) onGateway() handler.EventHandler {
	add := func(ctx context.Context, object client.Object, q queue) {
		key := v1alpha1.GatewayKey(object.GetNamespace(), object.GetName())
		r.enqueue(ctx, q, client.MatchingFields{deviceByGateway: key})
		r.enqueue(ctx, q, client.MatchingFields{deviceByGateway: ""})
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { add(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*v1alpha1.Gateway), e.ObjectNew.(*v1alpha1.Gateway)
			if before.Gone() != after.Gone() || before.Generation != after.Generation {
				add(ctx, after, q)
				r.enqueueHomeless(ctx, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, e.Object, q) },
	}
}

// enqueueHomeless enqueues the devices of all gateways that are gone: another one may take them now.
func (r *reconciler) enqueueHomeless(ctx context.Context, q queue) {
	var gateways v1alpha1.GatewayList
	if err := r.List(ctx, &gateways, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache does not fail once it has started
	}
	for i := range gateways.Items {
		if gateways.Items[i].Gone() {
			r.enqueue(ctx, q, client.MatchingFields{deviceByGateway: gatewayKey(&gateways.Items[i])})
		}
	}
}

func (r *reconciler) enqueue(ctx context.Context, q queue, options ...client.ListOption) {
	var devices v1alpha1.DeviceList
	if err := r.List(ctx, &devices, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return // the cache does not fail once it has started
	}
	for i := range devices.Items {
		q.Add(requestFor(devices.Items[i].Namespace, devices.Items[i].Name))
	}
}

// onSecret enqueues the device of an identity that changed, and all devices, spread over time, when the authority did.
func (r *reconciler) onSecret() handler.TypedEventHandler[*metav1.PartialObjectMetadata, ctrl.Request] {
	owner := func(secret *metav1.PartialObjectMetadata, q queue) {
		if secret.Labels[v1alpha1.LabelIdentity] != v1alpha1.IdentityDevice {
			return
		}
		if holder, ok := identity.HolderOf(secret); ok {
			q.Add(ctrl.Request{NamespacedName: holder})
		}
	}
	return handler.TypedFuncs[*metav1.PartialObjectMetadata, ctrl.Request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[*metav1.PartialObjectMetadata], q queue) {
			if client.ObjectKeyFromObject(e.Object) == identity.AuthorityKey {
				r.enqueue(ctx, q) // at the first start they wait for it
			}
			owner(e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[*metav1.PartialObjectMetadata], q queue) {
			if client.ObjectKeyFromObject(e.ObjectNew) == identity.AuthorityKey &&
				e.ObjectOld.Annotations[pki.AnnotationBundle] != e.ObjectNew.Annotations[pki.AnnotationBundle] {
				r.enqueueSpread(ctx, q)
			}
			owner(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.TypedDeleteEvent[*metav1.PartialObjectMetadata], q queue) {
			owner(e.Object, q)
		},
	}
}

func (r *reconciler) enqueueSpread(ctx context.Context, q queue) {
	var devices v1alpha1.DeviceList
	if err := r.List(ctx, &devices, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache does not fail once it has started
	}
	for i := range devices.Items {
		key := client.ObjectKeyFromObject(&devices.Items[i])
		q.AddAfter(ctrl.Request{NamespacedName: key}, identity.Spread(key, len(devices.Items)))
	}
}
