// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"os"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func addLease(s *runtime.Scheme) error { return coordinationv1.AddToScheme(s) }

// keepLease renews the gateway's Lease until ctx ends. It is not given up then: a gateway that is only restarted is
// back before the Lease has expired, and its devices are never taken for lost.
func (s *Server) keepLease(ctx context.Context) {
	holder, _ := os.Hostname()
	holder = fmt.Sprintf("%s_%d_%d", holder, os.Getpid(), s.started.UnixMilli())
	ticker := time.NewTicker(leaseInterval)
	defer ticker.Stop()
	for {
		if err := s.renewLease(ctx, holder); err != nil && ctx.Err() == nil {
			s.log.Error(err, "cannot renew the lease; the controllers take this gateway for lost when it expires")
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) renewLease(ctx context.Context, holder string) error {
	ctx, cancel := context.WithTimeout(ctx, leaseInterval)
	defer cancel()
	now := metav1.NowMicro()
	seconds := int32(leaseDuration / time.Second)
	lease := &coordinationv1.Lease{}
	lease.Namespace, lease.Name = v1alpha1.SystemNamespace, v1alpha1.GatewayLease(s.opts.Namespace, s.opts.Name)
	patch := client.MergeFrom(lease.DeepCopy())
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
	err := s.fleet.live.Patch(ctx, lease.DeepCopy(), patch)
	if apierrors.IsNotFound(err) {
		lease.Spec.AcquireTime = &now
		err = s.fleet.live.Create(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("lease %s: %w", client.ObjectKeyFromObject(lease), err)
	}
	return nil
}
