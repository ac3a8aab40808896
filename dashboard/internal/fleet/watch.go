// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"maps"
	"sync"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Reader reaches the API server, to read only.
type Reader struct {
	clients map[schema.GroupVersion]*rest.RESTClient
}

// NewReader makes a Reader with the identity of config.
func NewReader(config *rest.Config) (*Reader, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, eventsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	r := &Reader{clients: map[schema.GroupVersion]*rest.RESTClient{}}
	for _, version := range []schema.GroupVersion{v1alpha1.GroupVersion, eventsv1.SchemeGroupVersion} {
		own := rest.CopyConfig(config)
		own.GroupVersion, own.APIPath = &version, "/apis"
		own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
		client, err := rest.RESTClientFor(own)
		if err != nil {
			return nil, fmt.Errorf("make a client of %s: %w", version, err)
		}
		r.clients[version] = client
	}
	return r, nil
}

// Get reads one object as it is now.
func (r *Reader) Get(ctx context.Context, kind Kind, namespace, name string, into runtime.Object) error {
	return r.clients[v1alpha1.GroupVersion].Get().Namespace(namespace).Resource(string(kind)).Name(name).Do(ctx).Into(into)
}

// watched are the kinds that come from the API server.
var watched = map[Kind]struct {
	version schema.GroupVersion
	example runtime.Object
}{
	Repositories: {v1alpha1.GroupVersion, &v1alpha1.Repository{}},
	Applications: {v1alpha1.GroupVersion, &v1alpha1.Application{}},
	Devices:      {v1alpha1.GroupVersion, &v1alpha1.Device{}},
	Instances:    {v1alpha1.GroupVersion, &v1alpha1.Instance{}},
	Gateways:     {v1alpha1.GroupVersion, &v1alpha1.Gateway{}},
	Events:       {eventsv1.SchemeGroupVersion, &eventsv1.Event{}},
}

// Watch fills the store and keeps it current until ctx ends.
func (s *Store) Watch(ctx context.Context, r *Reader) {
	var running sync.WaitGroup
	for kind, w := range watched {
		lister := toolscache.NewListWatchFromClient(r.clients[w.version], string(kind), metav1.NamespaceAll, fields.Everything())
		reflector := toolscache.NewReflectorWithOptions(lister, w.example, &sink{store: s, kind: kind}, toolscache.ReflectorOptions{Name: "dashboard-" + string(kind)})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
}

// Synced is closed when the first list of every kind is complete.
func (s *Store) Synced() <-chan struct{} { return s.onSynced }

// sink is where a watch puts one kind's objects; they become rows at once and are not kept.
type sink struct {
	store *Store
	kind  Kind
}

var _ toolscache.TransformingStore = (*sink)(nil)

// Transformer implements toolscache.TransformingStore: objects of a list become rows one by one, as they come, so that
// they are never there all at once.
func (k *sink) Transformer() toolscache.TransformFunc {
	return func(object any) (any, error) {
		k.store.mu.Lock()
		defer k.store.mu.Unlock()
		return k.store.rowOf(object)
	}
}

// Add implements toolscache.ReflectorStore.
func (k *sink) Add(object any) error { return k.store.Apply(object) }

// Update implements toolscache.ReflectorStore.
func (k *sink) Update(object any) error { return k.Add(object) }

// Delete implements toolscache.ReflectorStore.
func (k *sink) Delete(object any) error {
	o, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	k.store.Remove(k.kind, o.GetNamespace()+"/"+o.GetName())
	return nil
}

// chunk is how many objects are taken over before readers get a turn.
const chunk = 500

// Replace implements toolscache.ReflectorStore.
func (k *sink) Replace(objects []any, _ string) error {
	k.store.mu.RLock()
	gone := maps.Clone(k.store.tables[k.kind].rows)
	k.store.mu.RUnlock()
	for from := 0; from < len(objects); from += chunk {
		if err := k.addAll(objects[from:min(from+chunk, len(objects))], gone); err != nil {
			return err
		}
	}
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	for id := range gone {
		k.store.remove(k.kind, id)
	}
	k.store.markSynced(k.kind)
	return nil
}

func (k *sink) addAll(objects []any, gone map[string]Row) error {
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	for _, object := range objects {
		row, err := k.store.rowOf(object)
		if err != nil {
			return err
		}
		k.store.take(row)
		delete(gone, row.Key())
	}
	return nil
}

// Resync implements toolscache.ReflectorStore.
func (k *sink) Resync() error { return nil }

func (s *Store) markSynced(kind Kind) {
	if s.synced[kind] {
		return
	}
	if s.synced[kind] = true; len(s.synced) == len(watched) {
		close(s.onSynced)
	}
}
