// SPDX-License-Identifier: Apache-2.0

// Package plantest makes reports for the tests of this room.
package plantest

import (
	"context"
	"maps"
	"testing"

	"github.com/go-git/go-git/v5/storage/memory"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/devices/wasmcheck"
)

// Change is a fleet's tree before and after.
type Change struct{ Base, Head fleettest.Tree }

// NewChange changes the small fleet of fleettest.
func NewChange(edit func(fleettest.Tree)) Change {
	return Changed(fleettest.Base(), edit)
}

// Changed changes a tree, of which a copy is the head.
func Changed(base fleettest.Tree, edit func(fleettest.Tree)) Change {
	head := maps.Clone(base)
	edit(head)
	return Change{base, head}
}

// Judge judges both trees.
func (c Change) Judge(t testing.TB) (base, head *fleet.Fleet) {
	t.Helper()
	cache := fleet.NewCache()
	return judge(t, c.Base, cache, nil), judge(t, c.Head, cache, base)
}

func judge(t testing.TB, tree fleettest.Tree, cache *fleet.Cache, previous *fleet.Fleet) *fleet.Fleet {
	t.Helper()
	store := memory.NewStorage()
	hash, err := tree.Store(store)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Judge(t.Context(), fleet.NewGitTree(store, hash), fleet.Options{Cache: cache, Previous: previous})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Report computes the report of a change, with the boards' runtime.
func (c Change) Report(t testing.TB) *plan.Report {
	t.Helper()
	base, head := c.Judge(t)
	runtime, err := wasmcheck.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := runtime.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r, err := plan.Compute(t.Context(), plan.Input{
		Base: base, Head: head, Path: ".",
		BaseRevision: plan.Revision{Name: "main", Commit: "1111111111111111111111111111111111111111", Subject: "Base"},
		HeadRevision: plan.Revision{Name: "change", Commit: "2222222222222222222222222222222222222222", Subject: "Change"},
		Runtime:      runtime,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
