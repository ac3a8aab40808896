// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/pki"
)

// clients are those that talk to gateways and to the module store. The controllers serve the store themselves.
var clients = []identity.Holder{
	{Identity: pki.ClientIdentity("controllers"), Serving: true},
	{Identity: pki.ClientIdentity("dashboard")},
	{Identity: pki.ClientIdentity("admin")},
}

// installation keeps what there is once: the certificate authority and the clients' identities.
type installation struct {
	identities *identity.Keeper
}

// theInstallation is the only request of its controller.
var theInstallation = requestFor(v1alpha1.SystemNamespace, "installation")

func setupInstallation(mgr ctrl.Manager, opts Options) error {
	start := source.Func(func(_ context.Context, q queue) error {
		q.Add(theInstallation)
		return nil
	})
	ours := handler.TypedEnqueueRequestsFromMapFunc(func(_ context.Context, secret *metav1.PartialObjectMetadata) []ctrl.Request {
		switch secret.Labels[v1alpha1.LabelIdentity] {
		case v1alpha1.IdentityCA, v1alpha1.IdentityClient:
			return []ctrl.Request{theInstallation}
		}
		return nil
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("installation").
		WatchesRawSource(start).
		WatchesRawSource(source.Kind(opts.Identities.Secrets(), identity.Metadata(), ours)).
		Complete(&installation{opts.Identities})
	if err != nil {
		return fmt.Errorf("installation controller: %w", err)
	}
	return nil
}

// Reconcile keeps the authority and the clients.
func (i *installation) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	after, err := i.identities.MaintainAuthority(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	waits := []time.Duration{after}
	for _, holder := range clients {
		_, after, err := i.identities.Ensure(ctx, holder)
		if errors.Is(err, identity.ErrNoAuthority) {
			return ctrl.Result{RequeueAfter: backstop}, nil // made just now; the cache will show it
		}
		if err != nil {
			return ctrl.Result{}, err
		}
		waits = append(waits, after)
	}
	return ctrl.Result{RequeueAfter: soonest(waits...)}, nil
}
