// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// live lists the objects that the API server holds for a Repository, from the caches and this process's own writes.
// The objects are shared with the caches and must not be changed.
func (r *reconciler) live(ctx context.Context, st *state) (map[fleet.ID]liveObject, error) {
	found := map[fleet.ID]liveObject{}
	for _, k := range kinds {
		list := k.list()
		err := r.cacheOf(k).List(ctx, list, client.UnsafeDisableDeepCopy, client.MatchingLabels{
			api.LabelRepositoryName: st.key.Name, api.LabelRepositoryNamespace: st.key.Namespace,
		})
		if err != nil {
			return nil, fmt.Errorf("listing managed objects: %w", err)
		}
		err = meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			found[idOf(k.name, object)] = liveObject{digest: object.GetAnnotations()[api.AnnotationDigest], object: object}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("listing managed objects: %w", err)
		}
	}
	st.overlay(found)
	return found, nil
}

func (r *reconciler) cacheOf(k *kind) client.Reader {
	if k.core {
		return r.core
	}
	return r.client
}

// cached returns an object from the cache, or nil. The cache of the core kinds knows managed objects only.
func (r *reconciler) cached(ctx context.Context, id fleet.ID) (client.Object, error) {
	return get(ctx, r.cacheOf(kindOf(id)), id)
}

// direct returns an object from the API server, or nil.
func (r *reconciler) direct(ctx context.Context, id fleet.ID) (client.Object, error) {
	return get(ctx, r.reader, id)
}

func get(ctx context.Context, reader client.Reader, id fleet.ID) (client.Object, error) {
	object := kindOf(id).object()
	err := reader.Get(ctx, client.ObjectKey{Namespace: id.Namespace, Name: id.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", id, err)
	}
	return object, nil
}
