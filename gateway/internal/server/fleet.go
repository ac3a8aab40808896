// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
)

// Indexes of the caches.
const (
	indexKey    = "spec.keys"
	indexDevice = "device"
)

// fleet is what the API server says about the gateway's devices: those that are assigned to it and those that it has
// adopted, their Instances, all Gateways and its own Secret. Objects that it returns are the caches' own and are not to be
// changed.
type fleet struct {
	key    string // GatewayKey of this gateway
	own    types.NamespacedName
	secret types.NamespacedName
	cache  cache.Cache
	// instances of the devices' namespaces.
	instances *instances
	// orphans are devices of gateways that are gone; assigned is how many are this gateway's.
	orphans  *orphans
	assigned atomic.Int64
	// live reads from the API server and writes to it.
	live client.WithWatch
}

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme, addLease} {
		if err := add(s); err != nil {
			panic("internal error: " + err.Error())
		}
	}
	return s
}

func newFleet(config *rest.Config, namespace, name string, log logr.Logger) (*fleet, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // status writes have their own limit, and the server has its fairness
	f := &fleet{
		key:    v1alpha1.GatewayKey(namespace, name),
		own:    types.NamespacedName{Namespace: namespace, Name: name},
		secret: types.NamespacedName{Namespace: namespace, Name: pki.SecretName(pki.GatewayIdentity(namespace, name))},
	}
	s := scheme()
	var err error
	if f.live, err = client.NewWithWatch(config, client.Options{Scheme: s}); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	f.instances = &instances{live: f.live, in: map[string]*followed{}}
	f.orphans = &orphans{live: f.live, log: log, of: map[string]*followed{}, adopted: map[types.NamespacedName]struct{}{}}
	noCopy := true
	f.cache, err = cache.New(config, cache.Options{
		Scheme:                       s,
		DefaultUnsafeDisableDeepCopy: &noCopy,
		ReaderFailOnMissingInformer:  true,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {
				Namespaces: map[string]cache.Config{f.secret.Namespace: {}}, Field: fields.OneTermEqualSelector("metadata.name", f.secret.Name),
			},
			&v1alpha1.Device{}: {
				Field: fields.OneTermEqualSelector("status.gateway", f.key), Transform: stripDevice,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("caches of the API server: %w", err)
	}
	return f, nil
}

// stripDevice keeps what the gateway looks at. Ten thousand of these are in memory.
func stripDevice(object any) (any, error) {
	if d, ok := object.(*v1alpha1.Device); ok {
		strip(d)
		d.Labels = nil
		d.Spec.Config = nil
		d.Status = v1alpha1.DeviceStatus{Gateway: d.Status.Gateway, Connection: d.Status.Connection}
	}
	return object, nil
}

func strip(object client.Object) {
	object.SetManagedFields(nil)
	object.SetAnnotations(nil)
	object.SetOwnerReferences(nil)
}

// handlers are told about every change, with the key of what is concerned.
type handlers struct {
	device  func(types.NamespacedName) // a Device, or an Instance of it
	left    func(types.NamespacedName) // a Device that was adopted and is no orphan any more
	gateway func()                     // any of them
	secret  func()
}

// start runs the caches until ctx ends and returns when they are complete.
func (f *fleet) start(ctx context.Context, h handlers) error {
	if err := f.cache.IndexField(ctx, &v1alpha1.Device{}, indexKey, func(o client.Object) []string {
		return o.(*v1alpha1.Device).Spec.Keys
	}); err != nil {
		return fmt.Errorf("index of keys: %w", err)
	}
	f.instances.changed, f.orphans.changed, f.orphans.left = h.device, h.device, h.left
	for object, handle := range map[client.Object]toolscache.ResourceEventHandler{
		&v1alpha1.Device{}:  f.count(eachObject(func(o client.Object) { h.device(client.ObjectKeyFromObject(o)) })),
		&v1alpha1.Gateway{}: eachObject(func(client.Object) { h.gateway() }),
		&corev1.Secret{}:    eachObject(func(client.Object) { h.secret() }),
	} {
		informer, err := f.cache.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		if _, err := informer.AddEventHandler(handle); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	go func() { _ = f.cache.Start(ctx) }()
	if !f.cache.WaitForCacheSync(ctx) {
		return fmt.Errorf("caches were not complete: %w", context.Cause(ctx))
	}
	namespaces, err := f.namespaces(ctx)
	if err != nil {
		return err
	}
	return f.instances.await(ctx, namespaces)
}

// count has the devices counted that are assigned to this gateway, and ends the adoption of those that come.
func (f *fleet) count(then toolscache.ResourceEventHandlerFuncs) toolscache.ResourceEventHandler {
	counted := then
	counted.AddFunc = func(o any) {
		f.assigned.Add(1)
		if d, ok := o.(client.Object); ok {
			f.orphans.disown(client.ObjectKeyFromObject(d))
		}
		then.AddFunc(o)
	}
	counted.DeleteFunc = func(o any) {
		f.assigned.Add(-1)
		then.DeleteFunc(o)
	}
	return counted
}

// namespaces are those that a device of this gateway is in.
func (f *fleet) namespaces(ctx context.Context) (map[string]bool, error) {
	var list v1alpha1.DeviceList
	if err := f.cache.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("devices of the gateway: %w", err)
	}
	in := map[string]bool{}
	for i := range list.Items {
		in[list.Items[i].Namespace] = true
	}
	f.orphans.namespaces(in)
	return in, nil
}

// sweep drops, now and then, the Instances of namespaces in which no device is this gateway's any more, until ctx ends.
func (f *fleet) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if namespaces, err := f.namespaces(ctx); err == nil {
				f.instances.keepOnly(namespaces)
			}
		}
	}
}

func eachObject(handle func(client.Object)) toolscache.ResourceEventHandlerFuncs {
	one := func(o any) {
		if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if object, ok := o.(client.Object); ok {
			handle(object)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{AddFunc: one, UpdateFunc: func(_, o any) { one(o) }, DeleteFunc: one}
}

// device is a Device that is assigned to this gateway, or that it has adopted, or nil.
func (f *fleet) device(ctx context.Context, key types.NamespacedName) *v1alpha1.Device {
	d := f.known(ctx, key)
	if d == nil || d.DeletionTimestamp != nil || d.Status.Gateway != f.key && !f.orphans.has(key) {
		return nil
	}
	return d
}

// known is a Device that is assigned to this gateway, or to one that is gone, or nil.
func (f *fleet) known(ctx context.Context, key types.NamespacedName) *v1alpha1.Device {
	d := &v1alpha1.Device{}
	if err := f.cache.Get(ctx, key, d); err != nil || d.Status.Gateway != f.key {
		return f.orphans.find(key)
	}
	return d
}

// adopt is device, and takes one that has come although its gateway is another one, if that is gone and this one may have
// it.
func (f *fleet) adopt(ctx context.Context, key types.NamespacedName) *v1alpha1.Device {
	if d := f.device(ctx, key); d != nil {
		return d
	}
	if d := f.orphans.find(key); d != nil && f.orphans.adopt(key, f.room(ctx, d)) {
		return d
	}
	return nil
}

// room is how many devices this gateway may adopt of which this is one.
func (f *fleet) room(ctx context.Context, d *v1alpha1.Device) int {
	own := f.gateway(ctx)
	if own == nil || own.Gone() || d.DeletionTimestamp != nil || d.Spec.Gateway != "" || !own.Allows(d.Namespace) {
		return 0
	}
	return int(own.Spec.Limits.Devices) - int(f.assigned.Load())
}

// followOrphans follows the devices of all gateways that are gone.
func (f *fleet) followOrphans(ctx context.Context) error {
	var list v1alpha1.GatewayList
	if err := f.cache.List(ctx, &list); err != nil {
		return fmt.Errorf("gateways: %w", err)
	}
	var gone []string
	for i := range list.Items {
		if key := v1alpha1.GatewayKey(list.Items[i].Namespace, list.Items[i].Name); key != f.key && list.Items[i].Gone() {
			gone = append(gone, key)
		}
	}
	return f.orphans.follow(ctx, gone)
}

// deviceByKey is the Device that a public key is pinned for, among those that are assigned to this gateway or to one
// that is gone, or nil. A key that two Devices claim admits neither: which one it would be must not depend on the order
// of a list.
func (f *fleet) deviceByKey(ctx context.Context, publicKey string) *v1alpha1.Device {
	var list v1alpha1.DeviceList
	if err := f.cache.List(ctx, &list, client.MatchingFields{indexKey: publicKey}); err != nil {
		return nil
	}
	found := map[types.UID]*v1alpha1.Device{}
	for _, d := range f.orphans.withKey(publicKey) {
		found[d.UID] = d
	}
	for i := range list.Items {
		found[list.Items[i].UID] = &list.Items[i]
	}
	for _, d := range found {
		if len(found) == 1 {
			return d
		}
	}
	return nil
}

// gateway is this gateway's own object, or nil.
func (f *fleet) gateway(ctx context.Context) *v1alpha1.Gateway {
	g := &v1alpha1.Gateway{}
	if err := f.cache.Get(ctx, f.own, g); err != nil {
		return nil
	}
	return g
}

// credentials are this gateway's own.
func (f *fleet) credentials(ctx context.Context) (*pki.Credentials, error) {
	secret := &corev1.Secret{}
	if err := f.cache.Get(ctx, f.secret, secret); err != nil {
		return nil, fmt.Errorf("secret %s: %w", f.secret, err)
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", f.secret, err)
	}
	if want := pki.GatewayIdentity(f.own.Namespace, f.own.Name); credentials.Identity != want {
		return nil, fmt.Errorf("secret %s: its certificate is of %s, wanted %s", f.secret, credentials.Identity, want)
	}
	return credentials, nil
}

// whereabouts is what the API server says about a device that is not in the cache.
type whereabouts struct {
	device   *v1alpha1.Device // nil: there is none
	endpoint string           // of the gateway that it is assigned to, when that is another one
	gone     bool             // that gateway is
}

// locate asks the API server.
func (f *fleet) locate(ctx context.Context, key types.NamespacedName) (whereabouts, error) {
	device := &v1alpha1.Device{}
	if err := f.live.Get(ctx, key, device); err != nil {
		if apierrors.IsNotFound(err) {
			return whereabouts{}, nil
		}
		return whereabouts{}, fmt.Errorf("device %s: %w", key, err)
	}
	if device.DeletionTimestamp != nil {
		return whereabouts{}, nil
	}
	w := whereabouts{device: device}
	namespace, name, ok := strings.Cut(device.Status.Gateway, ".")
	if !ok || device.Status.Gateway == f.key {
		return w, nil
	}
	other := &v1alpha1.Gateway{}
	if err := f.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, other); err != nil {
		if apierrors.IsNotFound(err) {
			return w, nil
		}
		return w, fmt.Errorf("gateway %s: %w", device.Status.Gateway, err)
	}
	if w.gone = other.Gone(); len(other.Status.Endpoints) > 0 {
		w.endpoint = other.Status.Endpoints[0]
	}
	return w, nil
}

// removed reports whether the Instance of an application on a device is gone, or going, as the API server says now.
func (f *fleet) removed(ctx context.Context, device types.NamespacedName, application string) (bool, error) {
	instance := &v1alpha1.Instance{}
	key := types.NamespacedName{Namespace: device.Namespace, Name: v1alpha1.InstanceName(application, device.Name)}
	err := f.live.Get(ctx, key, instance)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("instance %s: %w", key, err)
	}
	return instance.DeletionTimestamp != nil, nil
}
