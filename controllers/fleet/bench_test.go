// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/memory"
	"golang.org/x/sys/unix"

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

// measureCPU reports the processor time of the loop that follows, which says more than the clock on a busy machine.
func measureCPU(b *testing.B) (stop func()) {
	spent := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := spent()
	return func() { b.ReportMetric(float64(spent()-before)/1e6/float64(b.N), "cpu-ms/op") }
}

// heap is what is reachable, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
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
			before := heap()
			stop := measureCPU(b)
			var c *fleet.Cache
			var f *fleet.Fleet
			for b.Loop() {
				var err error
				c = fleet.NewCache()
				f, err = fleet.Judge(b.Context(), open(0), fleet.Options{Cache: c})
				mustBeGood(b, f, err)
			}
			stop()
			b.ReportMetric(float64(heap()-before)/1e6, "MB-kept")
			runtime.KeepAlive(c)
			runtime.KeepAlive(f)
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
			stop := measureCPU(b)
			for i := 1; b.Loop(); i++ {
				f, err := fleet.Judge(b.Context(), open(i%2), fleet.Options{Cache: c, Previous: previous})
				mustBeGood(b, f, err)
				if d := fleet.Diff(previous, f); len(d.Changed) != 1 {
					b.Fatalf("%d objects changed", len(d.Changed))
				}
				previous = f
			}
			stop()
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
	defer measureCPU(b)()
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
	defer measureCPU(b)()
	for b.Loop() {
		f, err := fleet.Judge(b.Context(), fleet.NewGitTree(store, hash), fleet.Options{})
		mustBeGood(b, f, err)
	}
}
