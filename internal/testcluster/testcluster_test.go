// SPDX-License-Identifier: Apache-2.0

package testcluster

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

var cluster *Cluster

func TestMain(m *testing.M) { Main(m, &cluster) }

func TestObjectsOutliveARestart(t *testing.T) {
	namespace := cluster.Namespace(t)
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	device := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
	device.Namespace, device.Name = namespace, "one"
	if err := kube.Create(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	cluster.Kill()
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(device), device); err != nil {
		t.Error(err)
	}
}

func TestAUserMayDoWhatRolesSay(t *testing.T) {
	user, err := cluster.ForUser("nobody", "nobodies")
	if err != nil {
		t.Fatal(err)
	}
	kube, err := client.New(user, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := kube.List(t.Context(), &corev1.SecretList{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without roles lists secrets: %v", err)
	}
}

// TestFieldOwners: an Instance does not say who owns its fields before somebody applies it; what git manages does.
func TestFieldOwners(t *testing.T) {
	namespace := cluster.Namespace(t)
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	owners := func(object client.Object) (managers []string) {
		t.Helper()
		if err := kube.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
		for _, entry := range object.GetManagedFields() {
			managers = append(managers, entry.Manager)
		}
		slices.Sort(managers)
		return managers
	}
	instance := &v1alpha1.Instance{Spec: v1alpha1.InstanceSpec{Application: "blink", Device: "one", Digest: "sha256:" + strings.Repeat("a", 64), Size: 1}}
	device := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
	for name, object := range map[string]client.Object{v1alpha1.InstanceName("blink", "one"): instance, "one": device} {
		object.SetNamespace(namespace)
		object.SetName(name)
		if err := kube.Create(t.Context(), object, client.FieldOwner("maker")); err != nil {
			t.Fatal(err)
		}
		status := client.RawPatch(types.MergePatchType, []byte(`{"status":{"observedGeneration":1}}`))
		if err := kube.Status().Patch(t.Context(), object, status, client.FieldOwner("reporter")); err != nil {
			t.Fatal(err)
		}
	}
	if got := owners(device); !slices.Equal(got, []string{"maker", "reporter"}) {
		t.Errorf("owners of a device's fields: %v", got)
	}
	if got := owners(instance); got != nil {
		t.Errorf("owners of an instance's fields: %v", got)
	}
	applied := client.RawPatch(types.ApplyPatchType, []byte(`{"apiVersion":"wasmbed.dev/v1alpha1","kind":"Instance","metadata":{"labels":{"a":"b"}}}`))
	if err := kube.Patch(t.Context(), instance, applied, client.FieldOwner("applier")); err != nil {
		t.Fatal(err)
	}
	if got := owners(instance); !slices.Equal(got, []string{"applier", "before-first-apply"}) {
		t.Errorf("owners of an instance's fields, once it was applied: %v", got)
	}
}

func TestMissingBinaryIsExplained(t *testing.T) {
	t.Setenv("WASMBED_CLUSTER", "/nowhere")
	if _, err := New(); err == nil || !strings.Contains(err.Error(), "make bin/wasmbed-cluster") {
		t.Errorf("without a binary: %v", err)
	}
}

func TestSplitYAML(t *testing.T) {
	got := splitYAML([]byte("---\na: 1\n---\nb: 2"))
	if len(got) != 3 || string(got[1]) != "a: 1\n" || string(got[2]) != "b: 2" {
		t.Errorf("%q", got)
	}
}
