// SPDX-License-Identifier: Apache-2.0

package config

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// GatewaySecretAccess is the role, and its binding, by which one gateway reads the Secret with its own key and
// certificate and no other.
func GatewaySecretAccess(gateway *v1alpha1.Gateway, secret string) (*rbacv1.Role, *rbacv1.RoleBinding) {
	meta := metav1.ObjectMeta{
		Namespace: gateway.Namespace,
		Name:      "gateway-" + gateway.Name + "-identity",
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "Gateway", Name: gateway.Name, UID: gateway.UID,
		}},
	}
	role := &rbacv1.Role{
		ObjectMeta: meta,
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{secret}, Verbs: []string{"get", "list", "watch"},
		}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: *meta.DeepCopy(),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{
			APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: v1alpha1.UserGatewayPrefix + gateway.Namespace + ":" + gateway.Name,
		}},
	}
	return role, binding
}
