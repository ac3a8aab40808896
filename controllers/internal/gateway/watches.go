// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"wasmbed.dev/controllers/api/v1alpha1"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

func requestFor(namespace, name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

func onGateway() handler.EventHandler { return &handler.EnqueueRequestForObject{} }

// gather is how long changes of devices are gathered before a gateway's devices are counted: to count is work for all of
// them, and when many come at once, each would have them counted.
const gather = 500 * time.Millisecond

// onDevice enqueues the gateways that a device was or is assigned to, when that or its connection changed.
func onDevice() handler.EventHandler {
	add := func(gateway string, q queue) {
		if namespace, name, ok := strings.Cut(gateway, "."); ok {
			q.AddAfter(requestFor(namespace, name), gather)
		}
	}
	of := func(object client.Object) string { return object.(*v1alpha1.Device).Status.Gateway }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(of(e.Object), q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if of(e.ObjectOld) != of(e.ObjectNew) {
				add(of(e.ObjectOld), q)
				add(of(e.ObjectNew), q)
			} else if connectedTo(e.ObjectOld) != connectedTo(e.ObjectNew) {
				add(of(e.ObjectNew), q)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { add(of(e.Object), q) },
	}
}

func connectedTo(object client.Object) string {
	if c := object.(*v1alpha1.Device).Status.Connection; c != nil && c.Connected {
		return c.Gateway
	}
	return ""
}

// onLease enqueues the gateways whose Lease has the name.
func (r *reconciler) onLease() handler.TypedEventHandler[*coordinationv1.Lease, ctrl.Request] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, lease *coordinationv1.Lease) []ctrl.Request {
		var gateways v1alpha1.GatewayList
		if err := r.List(ctx, &gateways, client.UnsafeDisableDeepCopy); err != nil {
			return nil // the cache does not fail once it has started
		}
		var out []ctrl.Request
		for i := range gateways.Items {
			if gateway := &gateways.Items[i]; v1alpha1.GatewayLease(gateway.Namespace, gateway.Name) == lease.Name {
				out = append(out, requestFor(gateway.Namespace, gateway.Name))
			}
		}
		return out
	})
}

// onSecret enqueues the gateway of an identity that changed, and all gateways when the authority did.
func (r *reconciler) onSecret() handler.TypedEventHandler[*metav1.PartialObjectMetadata, ctrl.Request] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, secret *metav1.PartialObjectMetadata) []ctrl.Request {
		switch secret.Labels[v1alpha1.LabelIdentity] {
		case v1alpha1.IdentityGateway:
			if controller := metav1.GetControllerOfNoCopy(secret); controller != nil {
				return []ctrl.Request{requestFor(secret.Namespace, controller.Name)}
			}
		case v1alpha1.IdentityCA:
			var gateways v1alpha1.GatewayList
			if err := r.List(ctx, &gateways, client.UnsafeDisableDeepCopy); err != nil {
				return nil // the cache does not fail once it has started
			}
			var out []ctrl.Request
			for i := range gateways.Items {
				out = append(out, requestFor(gateways.Items[i].Namespace, gateways.Items[i].Name))
			}
			return out
		}
		return nil
	})
}
