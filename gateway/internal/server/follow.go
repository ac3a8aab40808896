// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// followed is a cache of objects that is started and stopped while the gateway runs.
type followed struct {
	toolscache.SharedIndexInformer
	complete chan struct{} // closed when all objects have come, or it was stopped
	stop     context.CancelFunc
}

// selection is what is followed: the objects that the options select, stripped by transform, with changed called for every change.
type selection struct {
	object    client.Object
	list      func() client.ObjectList
	options   client.ListOptions
	indexers  toolscache.Indexers
	transform toolscache.TransformFunc
	changed   toolscache.ResourceEventHandler
}

// follow starts a cache, which runs until ctx ends or it is stopped.
func follow(ctx context.Context, live client.WithWatch, s selection) (*followed, error) {
	with := func(options metav1.ListOptions) *client.ListOptions {
		o := s.options
		o.Raw = &options
		return &o
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list := s.list()
			return list, live.List(ctx, list, with(options))
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return live.Watch(ctx, s.list(), with(options))
		},
	}, s.object, 0, s.indexers)
	_, err := informer.AddEventHandler(s.changed)
	if err = errors.Join(err, informer.SetTransform(s.transform)); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	go informer.RunWithContext(run)
	complete := make(chan struct{})
	go func() {
		defer close(complete)
		toolscache.WaitForCacheSync(run.Done(), informer.HasSynced)
	}()
	return &followed{informer, complete, stop}, nil
}
