// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"strings"
	"testing"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/memory"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

const benchDevices = 10_000

// layouts are how the devices lie in directories.
var layouts = []struct {
	name   string
	perDir int
}{{"flat", 0}, {"100PerDir", 100}}

// onDisk writes a tree into a bare repository of loose objects and returns what opens it anew.
func onDisk(b *testing.B, trees ...fleettest.Tree) (open func(i int) fleet.Tree) {
	b.Helper()
	fs := osfs.New(b.TempDir())
	store := func() storer.EncodedObjectStorer {
		return filesystem.NewStorageWithOptions(fs, cache.NewObjectLRUDefault(), filesystem.Options{KeepDescriptors: true})
	}
	write := store()
	var commits []fleet.Tree
	for _, t := range trees {
		hash, err := t.Store(write)
		if err != nil {
			b.Fatal(err)
		}
		commits = append(commits, fleet.NewGitTree(write, hash))
	}
	return func(i int) fleet.Tree {
		return fleet.NewGitTree(store(), commits[i].(*fleet.GitTree).Hash())
	}
}

func mustBeGood(b *testing.B, f *fleet.Fleet, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	if f.Refused() {
		b.Fatal(fleet.Text(f.Findings[0]))
	}
}

// BenchmarkFirst judges 10,000 devices without a cache.
func BenchmarkFirst(b *testing.B) {
	for _, l := range layouts {
		b.Run(l.name, func(b *testing.B) {
			open := onDisk(b, fleettest.Large(benchDevices, l.perDir))
			b.ReportAllocs()
			for b.Loop() {
				f, err := fleet.Judge(b.Context(), open(0), fleet.Options{Cache: fleet.NewCache()})
				mustBeGood(b, f, err)
			}
		})
	}
}

// BenchmarkOneChange judges commits that change one device of 10,000, each after the other.
func BenchmarkOneChange(b *testing.B) {
	for _, l := range layouts {
		b.Run(l.name, func(b *testing.B) {
			before, after := fleettest.Large(benchDevices, l.perDir), fleettest.Large(benchDevices, l.perDir)
			for name := range after {
				if strings.HasSuffix(name, "device-05000.yaml") {
					after.Replace(name, "tier: t2", "tier: t1")
				}
			}
			open := onDisk(b, before, after)
			c := fleet.NewCache()
			previous, err := fleet.Judge(b.Context(), open(0), fleet.Options{Cache: c})
			mustBeGood(b, previous, err)
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				f, err := fleet.Judge(b.Context(), open(i%2), fleet.Options{Cache: c, Previous: previous})
				mustBeGood(b, f, err)
				if d := fleet.Diff(previous, f); len(d.Changed) != 1 {
					b.Fatalf("%d objects changed", len(d.Changed))
				}
				previous = f
			}
		})
	}
}

// BenchmarkNoChange judges a commit that changes none of 10,000 devices.
func BenchmarkNoChange(b *testing.B) {
	open := onDisk(b, fleettest.Large(benchDevices, 0))
	c := fleet.NewCache()
	f, err := fleet.Judge(b.Context(), open(0), fleet.Options{Cache: c})
	mustBeGood(b, f, err)
	b.ReportAllocs()
	for b.Loop() {
		f, err := fleet.Judge(b.Context(), open(0), fleet.Options{Cache: c})
		mustBeGood(b, f, err)
	}
}

// BenchmarkPart judges 500 devices that kustomize gives a label.
func BenchmarkPart(b *testing.B) {
	t := fleettest.Large(fleet.MaxPartObjects, 0)
	t.Replace("fleet/d000/kustomization.yaml", "resources:", "labels: [{pairs: {hall: north}}]\nresources:")
	store := memory.NewStorage()
	hash, err := t.Store(store)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := fleet.Judge(b.Context(), fleet.NewGitTree(store, hash), fleet.Options{})
		mustBeGood(b, f, err)
	}
}
