// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/plan"
)

// liveFleet reads what a Repository brought and what runs of it.
func liveFleet(ctx context.Context, reader client.Reader, name string) (*plan.Live, error) {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		return nil, fmt.Errorf("--repository %q is no NAMESPACE/NAME", name)
	}
	repository := &v1alpha1.Repository{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: short}, repository); err != nil {
		return nil, fmt.Errorf("read the Repository that the fleet follows: %w", err)
	}
	if repository.Status.Applied == nil {
		return nil, fmt.Errorf("repository %s has no commit applied yet: see `wasmbed status`", name)
	}
	live := &plan.Live{Repository: name, Commit: repository.Status.Applied.Commit, Now: time.Now(),
		Devices: map[string]*v1alpha1.Device{}, Applications: map[string]*v1alpha1.Application{}, Gateways: map[string]*v1alpha1.Gateway{},
		Instances: map[string][]*v1alpha1.Instance{}}
	var devices v1alpha1.DeviceList
	var applications v1alpha1.ApplicationList
	var gateways v1alpha1.GatewayList
	var instances v1alpha1.InstanceList
	own := client.MatchingLabels{v1alpha1.LabelRepositoryName: short, v1alpha1.LabelRepositoryNamespace: namespace}
	for _, list := range []client.ObjectList{&devices, &applications, &gateways} {
		if err := reader.List(ctx, list, own); err != nil {
			return nil, fmt.Errorf("read what runs: %w", err)
		}
	}
	if err := reader.List(ctx, &instances); err != nil {
		return nil, fmt.Errorf("read what runs: %w", err)
	}
	put(live.Devices, devices.Items)
	put(live.Applications, applications.Items)
	put(live.Gateways, gateways.Items)
	for i := range instances.Items {
		instance := &instances.Items[i]
		key := instance.Namespace + "/" + instance.Spec.Application
		live.Instances[key] = append(live.Instances[key], instance)
	}
	return live, nil
}

// put files objects by "namespace/name".
func put[T any, P interface {
	*T
	client.Object
}](into map[string]P, items []T) {
	for i := range items {
		o := P(&items[i])
		into[o.GetNamespace()+"/"+o.GetName()] = o
	}
}
