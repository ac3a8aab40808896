// SPDX-License-Identifier: Apache-2.0

package testcluster

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
