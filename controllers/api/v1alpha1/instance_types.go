// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// InstanceSpec is a complete snapshot of what runs; it stays as it is until its wave.
type InstanceSpec struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="device is immutable"
	Device string `json:"device"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="application is immutable"
	Application string `json:"application"`
	// Digest of the module: "sha256:" and 64 hexadecimal digits.
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	// Size of the module in bytes.
	Size int64 `json:"size"`
	// Artifact is what the device fetches; the module itself when it is absent.
	// +optional
	Artifact *Artifact `json:"artifact,omitempty"`
	// Config with the device's overrides in it.
	// +optional
	Config ConfigValues `json:"config,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Permissions []Permission `json:"permissions,omitempty"`
	// +optional
	Limits AppLimits `json:"limits,omitempty"`
	// +optional
	// +kubebuilder:default=Always
	RestartPolicy RestartPolicy `json:"restartPolicy,omitempty"`
}

// Artifact is a form of a module that a board can run.
type Artifact struct {
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	// Format: Wasm.
	// +kubebuilder:validation:Enum=Wasm
	Format string `json:"format"`
}

// InstancePhase is one word for a person.
type InstancePhase string

// Phases of an Instance, as the device reports them.
const (
	InstancePending    InstancePhase = "Pending"    // not yet told to the device
	InstanceDelivering InstancePhase = "Delivering" // told; the device fetches or starts
	InstanceRunning    InstancePhase = "Running"
	InstanceCompleted  InstancePhase = "Completed"
	InstanceFailed     InstancePhase = "Failed"
	InstanceRolledBack InstancePhase = "RolledBack" // the device went back to the former version by itself
	InstanceRejected   InstancePhase = "Rejected"   // the device refuses to run it
	InstanceUnknown    InstancePhase = "Unknown"    // its device's gateway is away
)

// InstanceStatus is what the device reports, written by its gateway.
type InstanceStatus struct {
	// ObservedGeneration is the spec that the rest answers to.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Phase InstancePhase `json:"phase,omitempty"`
	// Digest of the module that runs, or ran last.
	// +optional
	Digest string `json:"digest,omitempty"`
	// Reason, in the words of the protocol: Trapped, NoMemory, …
	// +optional
	Reason string `json:"reason,omitempty"`
	// +optional
	Message string `json:"message,omitempty"`
	// Restarts since the present spec was started.
	// +optional
	// +kubebuilder:default=0
	Restarts int64 `json:"restarts"`
	// DeliveredAt is when the gateway sent this spec.
	// +optional
	DeliveredAt *metav1.MicroTime `json:"deliveredAt,omitempty"`
	// RunningAt is when the gateway learnt that it runs.
	// +optional
	RunningAt *metav1.MicroTime `json:"runningAt,omitempty"`
	// StartMilliseconds is what the device measured from the receipt of its desired state to the first instruction.
	// +optional
	StartMilliseconds *int64 `json:"startMilliseconds,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Instance is one Application on one Device, as a Pod is to a Node. The application controller makes and removes it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=inst,categories=wasmbed
// +kubebuilder:printcolumn:name="Application",type=string,JSONPath=`.spec.application`
// +kubebuilder:printcolumn:name="Device",type=string,JSONPath=`.spec.device`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Restarts",type=integer,JSONPath=`.status.restarts`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Digest",type=string,priority=1,JSONPath=`.spec.digest`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
type Instance struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   InstanceSpec   `json:"spec"`
	Status InstanceStatus `json:"status,omitempty"`
}

// InstanceList is a list of Instances.
//
// +kubebuilder:object:root=true
type InstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Instance `json:"items"`
}

// InstanceName is the name of the Instance of an application on a device: at most 63 + 1 + 63 characters, unique
// because neither name holds a dot.
func InstanceName(application, device string) string { return application + "." + device }
