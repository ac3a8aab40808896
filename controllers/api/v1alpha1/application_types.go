// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Module is a WebAssembly module in the same commit.
type Module struct {
	// Path of the file in the repository, relative to its root.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Path string `json:"path"`
	// Digest is the file's SHA-256 as "sha256:" and 64 hexadecimal digits. The sync controller fills it in; a commit
	// that gives one must give the right one.
	// +optional
	// +kubebuilder:validation:Pattern=`^sha256:[0-9a-f]{64}$`
	Digest string `json:"digest,omitempty"`
	// Size in bytes; filled in by the sync controller.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Size int64 `json:"size,omitempty"`
}

// Permission lets an app use a group of host functions.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
type Permission string

// AppLimits bound what one instance takes on a device.
type AppLimits struct {
	// Memory is the linear memory in bytes, not pages.
	// +optional
	// +kubebuilder:default=16384
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16777216
	Memory *int32 `json:"memory,omitempty"`
	// Stack is the interpreter's stack in bytes: values and calls together.
	// +optional
	// +kubebuilder:default=4096
	// +kubebuilder:validation:Minimum=512
	// +kubebuilder:validation:Maximum=1048576
	Stack *int32 `json:"stack,omitempty"`
	// Fuel is how many units (about one for an instruction) the app may use a second; 0: what is left over.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Fuel int64 `json:"fuel,omitempty"`
}

// RestartPolicy says when an app that ended is started again.
//
// +kubebuilder:validation:Enum=Always;OnFailure;Never
type RestartPolicy string

// Restart policies.
const (
	RestartAlways    RestartPolicy = "Always"
	RestartOnFailure RestartPolicy = "OnFailure"
	RestartNever     RestartPolicy = "Never"
)

// Rollout says how a change reaches the devices.
type Rollout struct {
	// MaxUnavailable is how many devices, or which share of those online, may be without a running app at once
	// because of the change.
	// +optional
	// +kubebuilder:default="25%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9][0-9]?|100)%$')",message="maxUnavailable is a count from 1 or a share from 1% to 100%"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	// ProgressDeadline is how long a device may take; then its wave has failed and the rollout stops.
	// +optional
	// +kubebuilder:default="2m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="progressDeadline is at least 1s"
	ProgressDeadline *metav1.Duration `json:"progressDeadline,omitempty"`
}

// ApplicationSpec says which module runs on which devices, and how.
type ApplicationSpec struct {
	Module Module `json:"module"`
	// Selector of devices in the Application's namespace. An empty selector selects all of them.
	Selector metav1.LabelSelector `json:"selector"`
	// Config that the app reads by key.
	// +optional
	Config ConfigValues `json:"config,omitempty"`
	// Permissions that the app is given; an import outside of them refuses the commit.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Permissions []Permission `json:"permissions,omitempty"`
	// +optional
	// +kubebuilder:default={}
	Limits AppLimits `json:"limits,omitempty"`
	// +optional
	// +kubebuilder:default=Always
	RestartPolicy RestartPolicy `json:"restartPolicy,omitempty"`
	// +optional
	// +kubebuilder:default={}
	Rollout Rollout `json:"rollout,omitempty"`
	// Suspend stops the rollout where it is; what runs goes on.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// ApplicationStatus counts; it never lists devices.
type ApplicationStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Revision is the commit that the present spec comes from.
	// +optional
	Revision string `json:"revision,omitempty"`
	// Target is how many devices the selector matches and the app fits.
	// +optional
	// +kubebuilder:default=0
	Target int32 `json:"target"`
	// Updated is how many Instances carry the present spec.
	// +optional
	// +kubebuilder:default=0
	Updated int32 `json:"updated"`
	// Running is how many of those run.
	// +optional
	// +kubebuilder:default=0
	Running int32 `json:"running"`
	// Failed is how many of those failed or went back.
	// +optional
	// +kubebuilder:default=0
	Failed int32 `json:"failed"`
	// Offline is how many target devices are away.
	// +optional
	// +kubebuilder:default=0
	Offline int32 `json:"offline"`
	// Excluded is how many matching devices the module does not fit.
	// +optional
	Excluded int32 `json:"excluded,omitempty"`
	// Wave counts from 1 while a rollout goes on.
	// +optional
	Wave int32 `json:"wave,omitempty"`
	// Progress is "running/target".
	// +optional
	Progress string `json:"progress,omitempty"`
	// RolloutStartedAt is when the present rollout began.
	// +optional
	RolloutStartedAt *metav1.MicroTime `json:"rolloutStartedAt,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Application is a WebAssembly module on every device that its selector matches.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=app,categories=wasmbed
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Target",type=integer,JSONPath=`.status.target`
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=`.status.updated`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.running`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Offline",type=integer,JSONPath=`.status.offline`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Module",type=string,priority=1,JSONPath=`.spec.module.path`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="an application's name has at most 63 characters and no dot"
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ApplicationSpec   `json:"spec"`
	Status ApplicationStatus `json:"status,omitempty"`
}

// ApplicationList is a list of Applications.
//
// +kubebuilder:object:root=true
type ApplicationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Application `json:"items"`
}
