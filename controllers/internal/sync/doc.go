// SPDX-License-Identifier: Apache-2.0

// Package sync makes the API server hold what a git repository says: one reconciler, for Repository objects.
//
// A reconcile looks at the remote when it is due, judges a new commit whole (controllers/fleet), compares it with what
// the API server holds, and writes what differs: Namespaces first, then the rest in parallel, then what must go. What
// is compared is a digest of each object, kept in an annotation of the live one, so that a restart needs nothing of its
// own and a commit that touches one object of thousands costs one write.
//
// Two things happen beside that. A push that arrives while a commit is being applied is noticed at once: the remote is
// asked, and a newer commit ends the older one's turn (interrupt.go). And every change of a managed object that is not
// this package's own is put back and reported (drift.go); resource versions tell the two apart, because the API
// server's numbers grow and the cache may lag behind this package's own writes.
//
// Deleting a Repository stops the following and leaves its objects as they are.
package sync

// +kubebuilder:rbac:groups=wasmbed.dev,resources=repositories,verbs=get;list;watch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=repositories/status,verbs=patch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=devices;gateways;applications,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=wasmbed.dev,resources=instances,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces;configmaps;secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update
