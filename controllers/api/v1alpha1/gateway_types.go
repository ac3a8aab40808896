// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GatewaySpec says where a gateway listens and whom it serves.
type GatewaySpec struct {
	// Listen is the address for devices, "host:port". When it is empty the installation gives one.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Listen string `json:"listen,omitempty"`
	// Endpoints that devices are told, in order, "host:port". When it is empty: the address that it listens on.
	// +optional
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=128
	Endpoints []string `json:"endpoints,omitempty"`
	// AllowedNamespaces whose devices may be assigned to this gateway; "*" means all. When it is empty: its own.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
	// +optional
	// +kubebuilder:default={}
	Limits GatewayLimits `json:"limits,omitempty"`
}

// GatewayLimits bound what a gateway takes on.
type GatewayLimits struct {
	// Devices that may be assigned.
	// +optional
	// +kubebuilder:default=20000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Devices int32 `json:"devices,omitempty"`
	// Handshakes under way at once. A small board takes seconds for one.
	// +optional
	// +kubebuilder:default=512
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4096
	Handshakes int32 `json:"handshakes,omitempty"`
	// AcceptRate is connections taken a second.
	// +optional
	// +kubebuilder:default=2000
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	AcceptRate int32 `json:"acceptRate,omitempty"`
	// HeartbeatSeconds is the interval that devices are told. A gateway with more than 5,000 devices tells them up to a minute,
	// so that all together send no more than 167 heartbeats a second.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	HeartbeatSeconds int32 `json:"heartbeatSeconds,omitempty"`
}

// GatewayStatus is what is known of a gateway: address by itself, the rest by the gateway controller.
type GatewayStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Address that it listens on for devices.
	// +optional
	Address string `json:"address,omitempty"`
	// HTTPAddress of health, metrics, logs.
	// +optional
	HTTPAddress string `json:"httpAddress,omitempty"`
	// Endpoints that devices are told.
	// +optional
	Endpoints []string `json:"endpoints,omitempty"`
	// AssignedDevices is how many devices are assigned to it.
	// +optional
	// +kubebuilder:default=0
	AssignedDevices int32 `json:"assignedDevices"`
	// ConnectedDevices is how many of them hold a session.
	// +optional
	// +kubebuilder:default=0
	ConnectedDevices int32 `json:"connectedDevices"`
	// Version of the gateway's program.
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Gateway is where devices connect.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=gw,categories=wasmbed
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.status.address`
// +kubebuilder:printcolumn:name="Assigned",type=integer,JSONPath=`.status.assignedDevices`
// +kubebuilder:printcolumn:name="Connected",type=integer,JSONPath=`.status.connectedDevices`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 31 && !self.metadata.name.contains('.')",message="a gateway's name has at most 31 characters and no dot"
type Gateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec   GatewaySpec   `json:"spec,omitempty"`
	Status GatewayStatus `json:"status,omitempty"`
}

// Gone tells whether the gateway was given up: its Lease has expired, or it is being removed. One that is starting is not.
func (g *Gateway) Gone() bool {
	ready := meta.FindStatusCondition(g.Status.Conditions, ConditionReady)
	return g.DeletionTimestamp != nil || ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == ReasonLeaseExpired
}

// Allows tells whether the gateway takes devices of a namespace.
func (g *Gateway) Allows(namespace string) bool {
	if len(g.Spec.AllowedNamespaces) == 0 {
		return g.Namespace == namespace
	}
	return slices.Contains(g.Spec.AllowedNamespaces, "*") || slices.Contains(g.Spec.AllowedNamespaces, namespace)
}

// GatewayList is a list of Gateways.
//
// +kubebuilder:object:root=true
type GatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gateway `json:"items"`
}
