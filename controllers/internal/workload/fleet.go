// SPDX-License-Identifier: Apache-2.0

// Package workload runs the devices that the installation itself runs: it follows Devices of one backend, the Secrets
// with their identities and the Gateways that they are assigned to. RunSimulator is the process behind all simulated
// devices, which writes nothing to the API; RunBoards the one behind all virtual boards, which tells how they are.
package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/boards"
)

const (
	// workers handle changes side by side; starting a device is little work.
	workers = 4
	// retryAfter a device could not be started.
	retryAfter = 10 * time.Second
	// writeTimeout of one write to the API.
	writeTimeout = 10 * time.Second
)

// machine is a device that is switched on.
type machine interface {
	// Run returns when ctx has ended and the device is off.
	Run(ctx context.Context) error
	// SetIdentity gives it a renewed key and certificate.
	SetIdentity(*pki.Credentials)
	// SetEndpoints tells where its gateway listens; there is at least one.
	SetEndpoints([]string)
}

// backend is how devices of one kind are run.
type backend struct {
	kind v1alpha1.Backend
	// make prepares a machine whose state lies in dir.
	make func(device *v1alpha1.Device, board boards.Board, credentials *pki.Credentials, endpoints []string, dir string) (machine, error)
	// remove ends what may still run for a machine's dir, and removes it.
	remove func(dir string) error
	// rate is how many are switched on a second at most.
	rate int
}

// fleet is the devices that run.
type fleet struct {
	backend
	config   *rest.Config
	stateDir string
	log      logr.Logger
	reader   client.Reader
	queue    workqueue.TypedDelayingInterface[types.NamespacedName]
	starts   *rate.Limiter

	mu        sync.Mutex
	running   map[types.NamespacedName]*runningDevice
	byGateway map[string]map[types.NamespacedName]bool // GatewayKey → devices assigned to it
}

// runningDevice is one device that is switched on. A worker has its key to itself, so its fields need no lock.
type runningDevice struct {
	machine
	uid      types.UID
	identity string // resource version of its Secret
	stop     context.CancelFunc
	done     chan struct{}
}

func newFleet(config *rest.Config, stateDir string, log logr.Logger, b backend) (*fleet, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	return &fleet{backend: b, config: config, stateDir: stateDir, log: log, starts: rate.NewLimiter(rate.Limit(b.rate), max(1, b.rate/10)),
		queue:   workqueue.NewTypedDelayingQueue[types.NamespacedName](),
		running: map[types.NamespacedName]*runningDevice{}, byGateway: map[string]map[types.NamespacedName]bool{}}, nil
}

func (f *fleet) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	objects, err := newCache(f.config, f.kind)
	if err != nil {
		return err
	}
	f.reader = objects
	if err := f.watch(ctx, objects); err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, 1)
	wg.Go(func() { failed <- objects.Start(ctx) })
	if !objects.WaitForCacheSync(ctx) {
		cancel()
		wg.Wait()
		if err := <-failed; err != nil {
			return fmt.Errorf("watch devices: %w", err)
		}
		return nil // told to stop before it began
	}
	if err := f.sweep(ctx); err != nil {
		f.log.Error(err, "state of devices that are gone not removed")
	}
	for range workers {
		wg.Go(func() { f.work(ctx) })
	}
	<-ctx.Done()
	f.queue.ShutDown()
	wg.Wait()
	f.stopAll()
	return <-failed
}

// newCache watches what a fleet reads, without what it does not.
func newCache(config *rest.Config, kind v1alpha1.Backend) (cache.Cache, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	identities := labels.SelectorFromSet(labels.Set{v1alpha1.LabelIdentity: v1alpha1.IdentityDevice, v1alpha1.LabelBackend: strings.ToLower(string(kind))})
	objects, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: strip, ByObject: map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Label: identities, Namespaces: map[string]cache.Config{v1alpha1.IdentityNamespace: {}}},
	}})
	if err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	return objects, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("make scheme: %w", err)
	}
	return scheme, nil
}

// strip keeps the cache of ten thousand objects small.
func strip(object any) (any, error) {
	if o, ok := object.(client.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
		o.SetOwnerReferences(nil)
	}
	if d, ok := object.(*v1alpha1.Device); ok {
		d.Spec.Config, d.Spec.Keys = nil, nil
		d.Status.Conditions, d.Status.Connection, d.Status.Backend = nil, nil, nil
	}
	return object, nil
}

// watch queues a device for every change that concerns it.
func (f *fleet) watch(ctx context.Context, objects cache.Cache) error {
	handlers := map[client.Object]toolscache.ResourceEventHandlerFuncs{
		&v1alpha1.Device{}: {AddFunc: f.enqueue, DeleteFunc: f.enqueue, UpdateFunc: func(old, now any) {
			was, is := old.(*v1alpha1.Device), now.(*v1alpha1.Device)
			if was.Generation != is.Generation || was.UID != is.UID || was.Status.Gateway != is.Status.Gateway || was.Status.Identity != is.Status.Identity {
				f.enqueue(now)
			}
		}},
		&corev1.Secret{}: {AddFunc: f.enqueueHolder, UpdateFunc: func(old, now any) {
			if old.(*corev1.Secret).ResourceVersion != now.(*corev1.Secret).ResourceVersion {
				f.enqueueHolder(now)
			}
		}},
		&v1alpha1.Gateway{}: {AddFunc: f.enqueueAssigned, UpdateFunc: func(old, now any) {
			was, is := old.(*v1alpha1.Gateway), now.(*v1alpha1.Gateway)
			if !slices.Equal(was.Status.Endpoints, is.Status.Endpoints) || was.Gone() != is.Gone() {
				f.enqueueAssigned(now)
			}
		}},
	}
	for object, handler := range handlers {
		informer, err := objects.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	return nil
}

func (f *fleet) enqueue(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if o, ok := object.(client.Object); ok {
		f.queue.Add(client.ObjectKeyFromObject(o))
	}
}

// enqueueHolder queues the device whose identity a Secret is.
func (f *fleet) enqueueHolder(object any) {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		f.log.Error(err, "identity cannot be used", "secret", client.ObjectKeyFromObject(secret).String())
		return
	}
	f.queue.Add(types.NamespacedName{Namespace: credentials.Identity.Namespace, Name: credentials.Identity.Name})
}

// enqueueAssigned queues the devices of a gateway, and of those that are gone: this one may adopt them.
func (f *fleet) enqueueAssigned(object any) {
	gateway, ok := object.(*v1alpha1.Gateway)
	if !ok {
		return
	}
	concerned := []string{v1alpha1.GatewayKey(gateway.Namespace, gateway.Name)}
	var all v1alpha1.GatewayList
	if err := f.reader.List(context.Background(), &all, client.UnsafeDisableDeepCopy); err == nil { // fails only before it has synced
		for i := range all.Items {
			if all.Items[i].Gone() {
				concerned = append(concerned, v1alpha1.GatewayKey(all.Items[i].Namespace, all.Items[i].Name))
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range concerned {
		for device := range f.byGateway[key] {
			f.queue.Add(device)
		}
	}
}

func (f *fleet) work(ctx context.Context) {
	for {
		key, shutdown := f.queue.Get()
		if shutdown {
			return
		}
		if err := f.reconcile(ctx, key); err != nil && ctx.Err() == nil {
			f.log.Error(err, "device not started", "device", key.String())
			f.queue.AddAfter(key, retryAfter)
		}
		f.queue.Done(key)
	}
}
