// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"testing"

	"github.com/go-git/go-git/v5/storage/memory"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// gitTree puts a tree into an object store in memory.
func gitTree(t testing.TB, tree fleettest.Tree) fleet.Tree {
	t.Helper()
	store := memory.NewStorage()
	hash, err := tree.Store(store)
	if err != nil {
		t.Fatal(err)
	}
	return fleet.NewGitTree(store, hash)
}

func judge(t testing.TB, tree fleet.Tree, opts fleet.Options) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Judge(context.Background(), tree, opts)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBaseIsGood(t *testing.T) {
	f := judge(t, gitTree(t, fleettest.Base()), fleet.Options{})
	for _, g := range f.Findings {
		t.Errorf("%s: %s (%s)", g.Severity, fleet.Text(g), g.Reason)
	}
	for _, o := range f.Objects {
		t.Log(o.ID, o.Source(), string(o.JSON))
	}
}
