// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// errIncomplete is that the Instances of a namespace have not all come yet.
var errIncomplete = errors.New("the instances of the namespace have not all come yet")

// sweepInterval is how often Instances of namespaces are dropped in which no device is this gateway's any more.
const sweepInterval = time.Minute

// instances are those of each namespace that a device of this gateway is in, whole. A device that comes from another
// gateway is so told at once what to run, and moving it writes no Instance; a gateway without devices holds none.
type instances struct {
	live    client.WithWatch
	changed func(device types.NamespacedName)

	mu sync.Mutex
	in map[string]*followed
}

// of a device that should run, by name of the application. The error is errIncomplete until all are known.
func (c *instances) of(ctx context.Context, device types.NamespacedName) ([]*v1alpha1.Instance, error) {
	here, err := c.follow(ctx, device.Namespace)
	if err != nil {
		return nil, err
	}
	if !here.HasSynced() {
		return nil, errIncomplete
	}
	found, err := here.GetIndexer().ByIndex(indexDevice, device.Name)
	if err != nil {
		return nil, fmt.Errorf("instances of %s: %w", device, err)
	}
	list := make([]*v1alpha1.Instance, 0, len(found))
	for _, o := range found {
		if i, ok := o.(*v1alpha1.Instance); ok && i.DeletionTimestamp == nil {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b *v1alpha1.Instance) int { return cmp.Compare(a.Spec.Application, b.Spec.Application) })
	return list, nil
}

// follow is the cache of a namespace's Instances, which is started when there is none. It runs until ctx ends or none of
// the gateway's devices is in the namespace.
func (c *instances) follow(ctx context.Context, namespace string) (*followed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if here := c.in[namespace]; here != nil {
		return here, nil
	}
	here, err := follow(ctx, c.live, selection{
		object: &v1alpha1.Instance{}, list: func() client.ObjectList { return &v1alpha1.InstanceList{} },
		options: client.ListOptions{Namespace: namespace},
		indexers: toolscache.Indexers{
			indexDevice: func(o any) ([]string, error) { return []string{o.(*v1alpha1.Instance).Spec.Device}, nil },
		},
		transform: stripInstance,
		changed: eachObject(func(o client.Object) {
			c.changed(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Instance).Spec.Device})
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("instances of namespace %s: %w", namespace, err)
	}
	c.in[namespace] = here
	return here, nil
}

// await returns when the Instances of these namespaces have come.
func (c *instances) await(ctx context.Context, namespaces map[string]bool) error {
	for namespace := range namespaces {
		here, err := c.follow(ctx, namespace)
		if err != nil {
			return err
		}
		if !toolscache.WaitForCacheSync(ctx.Done(), here.HasSynced) {
			return fmt.Errorf("instances of namespace %s were not complete: %w", namespace, context.Cause(ctx))
		}
	}
	return nil
}

// keepOnly drops the Instances of all other namespaces.
func (c *instances) keepOnly(namespaces map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for namespace, here := range c.in {
		if !namespaces[namespace] {
			here.stop()
			delete(c.in, namespace)
		}
	}
}

func stripInstance(object any) (any, error) {
	if i, ok := object.(*v1alpha1.Instance); ok {
		strip(i)
		i.Labels = nil
	}
	return object, nil
}
