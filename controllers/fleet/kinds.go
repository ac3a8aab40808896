// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.dev/controllers/api/v1alpha1"
)

const (
	kindNamespace   = "Namespace"
	kindConfigMap   = "ConfigMap"
	kindSecret      = "Secret"
	kindGateway     = "Gateway"
	kindDevice      = "Device"
	kindApplication = "Application"
)

// acceptedKind is a kind that git may bring.
type acceptedKind struct {
	gvk        schema.GroupVersionKind
	namespaced bool
}

// acceptedKinds is in the order in which objects are applied: what others refer to first.
var acceptedKinds = []acceptedKind{
	{gvk: corev1.SchemeGroupVersion.WithKind(kindNamespace)},
	{gvk: corev1.SchemeGroupVersion.WithKind(kindConfigMap), namespaced: true},
	{gvk: corev1.SchemeGroupVersion.WithKind(kindSecret), namespaced: true},
	{gvk: v1alpha1.GroupVersion.WithKind(kindGateway), namespaced: true},
	{gvk: v1alpha1.GroupVersion.WithKind(kindDevice), namespaced: true},
	{gvk: v1alpha1.GroupVersion.WithKind(kindApplication), namespaced: true},
}

func kindOrder(kind string) int {
	return slices.IndexFunc(acceptedKinds, func(k acceptedKind) bool { return k.gvk.Kind == kind })
}

func kindByName(kind string) *acceptedKind {
	if i := kindOrder(kind); i >= 0 {
		return &acceptedKinds[i]
	}
	return nil
}
