// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// orphans are the Devices of gateways that are gone. One that comes here is adopted: it is served at once, and its status
// says so afterwards, so that ten thousand devices do not wait until as many objects have been written.
type orphans struct {
	live client.WithWatch
	log  logr.Logger
	// changed is told of an adopted device.
	changed func(types.NamespacedName)
	// left is told of an adopted device that is no orphan any more.
	left func(types.NamespacedName)

	mu      sync.Mutex
	of      map[string]*followed // by GatewayKey
	adopted map[types.NamespacedName]struct{}
}

// follow starts and ends caches so that there is one for each of these gateways.
func (o *orphans) follow(ctx context.Context, gateways []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, cache := range o.of {
		if slices.Contains(gateways, key) {
			continue
		}
		cache.stop()
		delete(o.of, key)
		for _, device := range cache.GetStore().List() {
			o.leaves(client.ObjectKeyFromObject(device.(*v1alpha1.Device)))
		}
	}
	for _, key := range gateways {
		if o.of[key] != nil {
			continue
		}
		cache, err := follow(ctx, o.live, selection{
			object: &v1alpha1.Device{}, list: func() client.ObjectList { return &v1alpha1.DeviceList{} },
			options:  client.ListOptions{FieldSelector: fields.OneTermEqualSelector("status.gateway", key)},
			indexers: toolscache.Indexers{indexKey: func(d any) ([]string, error) { return d.(*v1alpha1.Device).Spec.Keys, nil }}, transform: stripDevice,
			changed: toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(_, d any) { o.updated(d) }, DeleteFunc: o.removed},
		})
		if err != nil {
			return fmt.Errorf("devices of gateway %s: %w", key, err)
		}
		o.of[key] = cache
		o.log.Info("a gateway is gone; its devices are served here when they come", "gone", key)
	}
	return nil
}

// await returns when all of them have come, or ctx has ended.
func (o *orphans) await(ctx context.Context) {
	o.mu.Lock()
	caches := slices.Collect(maps.Values(o.of))
	o.mu.Unlock()
	for _, cache := range caches {
		select {
		case <-ctx.Done():
		case <-cache.complete:
		}
	}
}

func (o *orphans) updated(d any) {
	if key := client.ObjectKeyFromObject(d.(*v1alpha1.Device)); o.has(key) {
		o.changed(key)
	}
}

func (o *orphans) removed(d any) {
	if gone, ok := d.(toolscache.DeletedFinalStateUnknown); ok {
		d = gone.Obj
	}
	if device, ok := d.(*v1alpha1.Device); ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.leaves(client.ObjectKeyFromObject(device))
	}
}

// leaves ends an adoption. The caller holds mu.
func (o *orphans) leaves(key types.NamespacedName) {
	if _, adopted := o.adopted[key]; adopted {
		delete(o.adopted, key)
		o.left(key)
	}
}

// find is a Device of a gateway that is gone, or nil.
func (o *orphans) find(key types.NamespacedName) *v1alpha1.Device {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, cache := range o.of {
		if d, ok, _ := cache.GetStore().GetByKey(key.String()); ok {
			return d.(*v1alpha1.Device)
		}
	}
	return nil
}

// withKey are those that a public key is pinned for.
func (o *orphans) withKey(publicKey string) (found []*v1alpha1.Device) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, cache := range o.of {
		list, _ := cache.GetIndexer().ByIndex(indexKey, publicKey)
		for _, d := range list {
			found = append(found, d.(*v1alpha1.Device))
		}
	}
	return found
}

func (o *orphans) has(key types.NamespacedName) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, adopted := o.adopted[key]
	return adopted
}

// adopt reports false when room is taken by other adopted devices already.
func (o *orphans) adopt(key types.NamespacedName, room int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, adopted := o.adopted[key]; room <= 0 || !adopted && len(o.adopted) >= room {
		return false
	}
	o.adopted[key] = struct{}{}
	return true
}

// disown gives a device up that has gone before its status said that it was here.
func (o *orphans) disown(key types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.adopted, key)
}

// namespaces are added to those that an adopted device is in.
func (o *orphans) namespaces(in map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.adopted {
		in[key.Namespace] = true
	}
}
