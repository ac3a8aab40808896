// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Backend says what a device is made of.
//
// +kubebuilder:validation:Enum=Simulated;QEMU;Hardware
type Backend string

// Backends.
const (
	BackendSimulated Backend = "Simulated"
	BackendQEMU      Backend = "QEMU"
	BackendHardware  Backend = "Hardware"
)

// Power is whether a device should run.
//
// +kubebuilder:validation:Enum=On;Off
type Power string

// Powers.
const (
	PowerOn  Power = "On"
	PowerOff Power = "Off"
)

// DeviceSpec says what a device is and how it is treated.
//
// +kubebuilder:validation:XValidation:rule="self.board == oldSelf.board",message="board is immutable: a device with another board is another Device"
// +kubebuilder:validation:XValidation:rule="self.backend == oldSelf.backend",message="backend is immutable: remove the Device and add it anew"
// +kubebuilder:validation:XValidation:rule="self.backend == 'Hardware' ? has(self.keys) && size(self.keys) > 0 : !has(self.keys) || size(self.keys) == 0",message="keys are for backend Hardware, and required there"
type DeviceSpec struct {
	// Board, as in the board catalogue.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[a-z0-9][a-z0-9-]*$`
	Board string `json:"board"`
	// Backend: Simulated and QEMU devices are run by the installation, Hardware connects by itself.
	// +optional
	// +kubebuilder:default=Hardware
	Backend Backend `json:"backend,omitempty"`
	// Keys that the device may connect with: base64 of the DER SubjectPublicKeyInfo, as
	// `openssl pkey -pubout -outform DER | base64 -w0` prints. Several, so that they can be rotated. A key belongs to
	// one device of the installation.
	// +optional
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=60
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9+/]+={0,2}$`
	// +listType=set
	Keys []string `json:"keys,omitempty"`
	// Gateway to use, "name" in the same namespace or "namespace/name". When it is empty one is assigned.
	// +optional
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Gateway string `json:"gateway,omitempty"`
	// Power: Off stops a device that the installation runs. For Hardware it only means that nobody expects it.
	// +optional
	// +kubebuilder:default=On
	Power Power `json:"power,omitempty"`
	// Quarantine refuses the device's connection; what runs on it goes on.
	// +optional
	Quarantine bool `json:"quarantine,omitempty"`
	// Config overrides keys of an Application's config on this device: application → key → value.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Config map[string]ConfigValues `json:"config,omitempty"`
}

// ConfigValues is what an app reads by key: at most 1,024 bytes in all.
//
// +kubebuilder:validation:MaxProperties=32
// +kubebuilder:validation:XValidation:rule="self.all(k, size(k) >= 1 && size(k) <= 63 && size(self[k]) <= 1024)",message="a key has 1 to 63 characters and a value at most 1,024"
type ConfigValues map[string]ConfigValue

// ConfigValue is one value of a ConfigValues.
//
// +kubebuilder:validation:MaxLength=1024
type ConfigValue string

// DevicePhase is one word for a person.
type DevicePhase string

// Phases of a device.
const (
	DevicePending     DevicePhase = "Pending"     // never seen, or no gateway
	DeviceOnline      DevicePhase = "Online"      // a gateway holds a session with it
	DeviceOffline     DevicePhase = "Offline"     // it was there and is away
	DeviceOff         DevicePhase = "Off"         // power is Off
	DeviceQuarantined DevicePhase = "Quarantined" // its connection is refused
	DeviceUnknown     DevicePhase = "Unknown"     // its gateway is away
)

// DeviceConnection is written by the gateway that holds, or last held, the device's session.
type DeviceConnection struct {
	// Gateway is GatewayKey of the writer.
	Gateway string `json:"gateway"`
	// Connected is true from the session's Welcome, and false when it was gone for the grace period.
	Connected bool `json:"connected"`
	// Epoch grows with every connection that is recorded; an older epoch never overwrites a newer one.
	Epoch int64 `json:"epoch"`
	// Since is when connected last changed.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// Firmware that the device told.
	// +optional
	Firmware string `json:"firmware,omitempty"`
	// Board that the device told.
	// +optional
	Board string `json:"board,omitempty"`
	// Protocol version of the session.
	// +optional
	Protocol int32 `json:"protocol,omitempty"`
	// Memory for applications in bytes.
	// +optional
	Memory int64 `json:"memory,omitempty"`
	// Boots that the device counted.
	// +optional
	Boots int64 `json:"boots,omitempty"`
	// LastCrash is the newest crash report: "reason at pc (app)".
	// +optional
	LastCrash string `json:"lastCrash,omitempty"`
}

// DeviceBackend is how the process or board that the installation runs for a device is; written by who runs it.
type DeviceBackend struct {
	// Phase is Starting, Running, Waiting (for its next start) or Stopped.
	Phase string `json:"phase"`
	// Reason why it does not run, absent while it does.
	// +optional
	Reason string `json:"reason,omitempty"`
	// Message says what is wrong and what to do.
	// +optional
	Message string `json:"message,omitempty"`
	// Console is the loopback address, host:port, where the board's console is, both ways.
	// +optional
	Console string `json:"console,omitempty"`
	// LastExit says how it ended last.
	// +optional
	LastExit string `json:"lastExit,omitempty"`
	// Launches counts its starts since who runs it began.
	// +optional
	Launches int64 `json:"launches,omitempty"`
}

// DeviceStatus is what is known of a device.
type DeviceStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Gateway is GatewayKey of the gateway that it is assigned to.
	// +optional
	Gateway string `json:"gateway,omitempty"`
	// +optional
	Phase DevicePhase `json:"phase,omitempty"`
	// Apps is "running/wanted".
	// +optional
	Apps string `json:"apps,omitempty"`
	// Identity names the Secret in IdentityNamespace with its key and certificate, for devices that the installation runs.
	// +optional
	Identity string `json:"identity,omitempty"`
	// +optional
	Connection *DeviceConnection `json:"connection,omitempty"`
	// Backend is there for virtual boards.
	// +optional
	Backend *DeviceBackend `json:"backend,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Device is one microcontroller board: real, emulated or simulated.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=dev,categories=wasmbed
// +kubebuilder:selectablefield:JSONPath=`.status.gateway`
// +kubebuilder:printcolumn:name="Board",type=string,JSONPath=`.spec.board`
// +kubebuilder:printcolumn:name="Backend",type=string,JSONPath=`.spec.backend`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Apps",type=string,JSONPath=`.status.apps`
// +kubebuilder:printcolumn:name="Gateway",type=string,JSONPath=`.status.gateway`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Firmware",type=string,priority=1,JSONPath=`.status.connection.firmware`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="a device's name has at most 63 characters and no dot"
type Device struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   DeviceSpec   `json:"spec"`
	Status DeviceStatus `json:"status,omitempty"`
}

// DeviceList is a list of Devices.
//
// +kubebuilder:object:root=true
type DeviceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Device `json:"items"`
}
