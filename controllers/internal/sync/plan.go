// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// liveObject is what is known of a managed object in the API server.
type liveObject struct {
	digest string
	// object is the cached object; nil when the cache does not show it yet.
	object client.Object
}

// plan is what must be written so that the API server holds what a commit says.
type plan struct {
	// write lists objects to create or change, Namespaces first.
	write []*fleet.Object
	// remove lists managed objects that the commit does not hold, Namespaces last.
	remove    []fleet.ID
	unchanged int
	// before lists all managed objects, in no order.
	before []fleet.ID
}

// makePlan compares a commit with the managed objects. It is pure.
func makePlan(f *fleet.Fleet, live map[fleet.ID]liveObject, prune bool) plan {
	var p plan
	for _, o := range f.Objects {
		if l, ok := live[o.ID]; ok && l.digest == o.Digest {
			p.unchanged++
			continue
		}
		p.write = append(p.write, o)
	}
	for id := range live {
		p.before = append(p.before, id)
		if prune && f.Get(id) == nil {
			p.remove = append(p.remove, id)
		}
	}
	slices.SortFunc(p.remove, func(a, b fleet.ID) int { return compareIDs(b, a) })
	return p
}

// compareIDs orders by kind, in the order of kinds, then by name.
func compareIDs(a, b fleet.ID) int {
	ka := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == a.Kind })
	kb := slices.IndexFunc(kinds, func(k *kind) bool { return k.name == b.Kind })
	switch {
	case ka != kb:
		return ka - kb
	case a.Namespace != b.Namespace && a.Namespace < b.Namespace, a.Namespace == b.Namespace && a.Name < b.Name:
		return -1
	case a == b:
		return 0
	}
	return 1
}

func objectFinding(o *fleet.Object, reason, message string) api.Finding {
	return api.Finding{Severity: fleet.SeverityError, Reason: reason, Message: message, File: o.File, Line: int32(o.Line), Object: o.ID.String()}
}

// undeclared lists the namespaces that the objects stand in and the commit does not hold, each with its first object.
func undeclared(f *fleet.Fleet) []*fleet.Object {
	var first []*fleet.Object
	seen := map[string]bool{"default": true}
	for _, o := range f.Objects {
		if o.ID.Namespace == "" || seen[o.ID.Namespace] {
			continue
		}
		seen[o.ID.Namespace] = true
		if f.Get(fleet.ID{Kind: "Namespace", Name: o.ID.Namespace}) == nil {
			first = append(first, o)
		}
	}
	return first
}
