// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the objects of the API group wasmbed.dev: what a fleet is made of, what people may ask
// for in git, and what each loop reports back.
//
// Who writes what: git owns the spec of Device, Gateway and Application (through the sync controller); the
// application controller owns Instance specs; the gateway owns Instance status and Device.status.connection; who runs
// virtual boards owns Device.status.backend; the device controller owns the rest of Device status. Conditions follow kstatus: Ready is true when the object is as
// its spec says, Reconciling while work goes on, Stalled when nothing will happen until somebody changes something.
//
// +kubebuilder:object:generate=true
// +groupName=wasmbed.dev
package v1alpha1
