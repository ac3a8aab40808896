// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "plant", Name: name, UID: types.UID("uid-" + name)}
}

// objectsOf are some objects of a kind.
func objectsOf(kind Kind, from, to int) (objects []any) {
	for i := from; i < to; i++ {
		meta := named(fmt.Sprintf("o%02d", i))
		switch kind {
		case Repositories:
			objects = append(objects, &v1alpha1.Repository{ObjectMeta: meta, Status: v1alpha1.RepositoryStatus{
				History: []v1alpha1.HistoryEntry{{Revision: v1alpha1.Revision{Commit: fmt.Sprintf("%040d", i)}, Outcome: "Applied"}}}})
		case Applications:
			objects = append(objects, &v1alpha1.Application{ObjectMeta: meta})
		case Devices:
			objects = append(objects, &v1alpha1.Device{ObjectMeta: meta})
		case Instances:
			objects = append(objects, &v1alpha1.Instance{ObjectMeta: meta, Spec: v1alpha1.InstanceSpec{Device: meta.Name, Application: "app"}})
		case Gateways:
			objects = append(objects, &v1alpha1.Gateway{ObjectMeta: meta})
		case Events:
			objects = append(objects, &eventsv1.Event{ObjectMeta: meta, Regarding: corev1.ObjectReference{Namespace: "plant", Name: meta.Name}})
		}
	}
	return objects
}

// list hands objects to a store as a reflector does that lists by watching: it gathers what the transformer makes of each,
// and replaces all at the end.
func list(t *testing.T, s *Store, kind Kind, objects []any) {
	t.Helper()
	k := &sink{store: s, kind: kind}
	gathered := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc, toolscache.WithTransformer(k.Transformer()))
	for _, object := range objects {
		if err := gathered.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	for _, kept := range gathered.List() {
		if _, ok := kept.(Row); !ok {
			t.Fatalf("while %s are listed a %T is kept", kind, kept)
		}
	}
	if err := k.Replace(gathered.List(), "1"); err != nil {
		t.Fatal(err)
	}
}

func TestAListBecomesRowsOnTheWay(t *testing.T) {
	listed, applied := NewStore(), NewStore()
	for kind := range watched {
		list(t, listed, kind, objectsOf(kind, 0, 20))
		list(t, listed, kind, objectsOf(kind, 10, 30)) // listed again: some are gone, some are new
		if err := applied.Apply(objectsOf(kind, 10, 30)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := applied.Apply(objectsOf(Events, 0, 10)...); err != nil { // events stay
		t.Fatal(err)
	}
	listed.DeriveNow()
	applied.DeriveNow()
	for _, kind := range Kinds {
		if kind != Problems && listed.Len(kind) == 0 {
			t.Errorf("no %s", kind)
		}
		if !reflect.DeepEqual(listed.tables[kind].rows, applied.tables[kind].rows) {
			t.Errorf("%s: a list made other rows than single changes", kind)
		}
	}
	select {
	case <-listed.Synced():
	default:
		t.Error("all kinds are listed, and the store is not complete")
	}
}
