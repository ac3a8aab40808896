// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"slices"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/protocol"
)

// desiredApps is what a device is told to run: its Instances, in ascending order of their applications' names.
func desiredApps(instances []*v1alpha1.Instance) ([]protocol.App, error) {
	apps := make([]protocol.App, 0, len(instances))
	for i := range instances {
		app, err := desiredApp(instances[i])
		if err != nil {
			return nil, fmt.Errorf("instance %s/%s: %w", instances[i].Namespace, instances[i].Name, err)
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func desiredApp(i *v1alpha1.Instance) (protocol.App, error) {
	digest, err := protocol.ParseDigest(i.Spec.Digest)
	if err != nil {
		return protocol.App{}, err
	}
	app := protocol.App{
		Name: i.Spec.Application, Digest: digest, Spec: uint64(i.Generation),
		Artifact:      protocol.Artifact{Digest: digest, Size: clamp(i.Spec.Size)},
		RestartPolicy: restartPolicies[i.Spec.RestartPolicy],
	}
	if a := i.Spec.Artifact; a != nil {
		if app.Artifact.Digest, err = protocol.ParseDigest(a.Digest); err != nil {
			return protocol.App{}, err
		}
		app.Artifact.Size = clamp(a.Size)
	}
	if len(i.Spec.Config) > 0 {
		app.Config = make(map[string]string, len(i.Spec.Config))
		for k, v := range i.Spec.Config {
			app.Config[k] = string(v)
		}
	}
	for _, p := range i.Spec.Permissions {
		app.Permissions = append(app.Permissions, string(p))
	}
	slices.Sort(app.Permissions)
	if l := i.Spec.Limits; l.Memory != nil || l.Stack != nil || l.Fuel > 0 {
		app.Limits = &protocol.AppLimits{Memory: unsigned(l.Memory), Stack: unsigned(l.Stack), Fuel: uint64(max(0, l.Fuel))}
	}
	return app, nil
}

var restartPolicies = map[v1alpha1.RestartPolicy]protocol.RestartPolicy{
	v1alpha1.RestartAlways:    protocol.RestartAlways,
	v1alpha1.RestartOnFailure: protocol.RestartOnFailure,
	v1alpha1.RestartNever:     protocol.RestartNever,
}

// clamp makes a size that the protocol cannot carry one that it refuses.
func clamp(size int64) uint32 { return uint32(min(max(0, size), 1<<32-1)) }

func unsigned(n *int32) *uint32 {
	if n == nil {
		return nil
	}
	u := uint32(max(0, *n))
	return &u
}
