// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// errIncomplete is that the Instances of a namespace have not all come yet.
var errIncomplete = errors.New("the instances of the namespace have not all come yet")

// sweepInterval is how often Instances of namespaces are dropped in which no device is this gateway's any more.
const sweepInterval = time.Minute

// instances are those of each namespace that a device of this gateway is in, whole. A device that comes from another
// gateway is so told at once what to run, and moving it writes no Instance; a gateway without devices holds none.
type instances struct {
	config  *rest.Config
	scheme  *runtime.Scheme
	http    *http.Client
	mapper  meta.RESTMapper
	changed func(device types.NamespacedName)

	mu sync.Mutex
	in map[string]*namespaceInstances
}

type namespaceInstances struct {
	cache.Cache
	informer cache.Informer
	stop     context.CancelFunc
}

func newInstances(config *rest.Config, scheme *runtime.Scheme) (*instances, error) {
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, web)
	if err != nil {
		return nil, err
	}
	return &instances{config: config, scheme: scheme, http: web, mapper: mapper, in: map[string]*namespaceInstances{}}, nil
}

// of a device that should run, by name of the application. The error is errIncomplete until all are known.
func (c *instances) of(ctx context.Context, device types.NamespacedName) ([]v1alpha1.Instance, error) {
	here, err := c.follow(ctx, device.Namespace)
	if err != nil {
		return nil, fmt.Errorf("instances of namespace %s: %w", device.Namespace, err)
	}
	if !here.informer.HasSynced() {
		return nil, errIncomplete
	}
	var list v1alpha1.InstanceList
	if err := here.List(ctx, &list, client.MatchingFields{indexDevice: device.Name}); err != nil {
		return nil, fmt.Errorf("instances of %s: %w", device, err)
	}
	items := slices.DeleteFunc(list.Items, func(i v1alpha1.Instance) bool { return i.DeletionTimestamp != nil })
	slices.SortFunc(items, func(a, b v1alpha1.Instance) int { return strings.Compare(a.Spec.Application, b.Spec.Application) })
	return items, nil
}

// follow is the cache of a namespace's Instances, which is started when there is none. It runs until ctx ends or none of
// the gateway's devices is in the namespace.
func (c *instances) follow(ctx context.Context, namespace string) (*namespaceInstances, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if here := c.in[namespace]; here != nil {
		return here, nil
	}
	noCopy := true
	objects, err := cache.New(c.config, cache.Options{
		Scheme: c.scheme, HTTPClient: c.http, Mapper: c.mapper,
		DefaultNamespaces:            map[string]cache.Config{namespace: {}},
		DefaultTransform:             stripInstance,
		DefaultUnsafeDisableDeepCopy: &noCopy,
		ReaderFailOnMissingInformer:  true,
	})
	if err != nil {
		return nil, err
	}
	if err := objects.IndexField(ctx, &v1alpha1.Instance{}, indexDevice, func(o client.Object) []string {
		return []string{o.(*v1alpha1.Instance).Spec.Device}
	}); err != nil {
		return nil, fmt.Errorf("index of devices: %w", err)
	}
	informer, err := objects.GetInformer(ctx, &v1alpha1.Instance{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	if _, err := informer.AddEventHandler(eachObject(func(o client.Object) {
		c.changed(types.NamespacedName{Namespace: o.GetNamespace(), Name: o.(*v1alpha1.Instance).Spec.Device})
	})); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	go func() { _ = objects.Start(run) }()
	here := &namespaceInstances{Cache: objects, informer: informer, stop: stop}
	c.in[namespace] = here
	return here, nil
}

// await returns when the Instances of these namespaces have come.
func (c *instances) await(ctx context.Context, namespaces map[string]bool) error {
	for namespace := range namespaces {
		here, err := c.follow(ctx, namespace)
		if err != nil {
			return fmt.Errorf("instances of namespace %s: %w", namespace, err)
		}
		if !here.WaitForCacheSync(ctx) {
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
