// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/storage/memory"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// TestCacheChangesNothing judges a random walk through good and bad commits with one cache and without: the same
// objects, modules and findings.
func TestCacheChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var changes []func(fleettest.Tree)
	for _, c := range fleettest.Cases() {
		if !c.Huge {
			changes = append(changes, c.Change)
		}
	}
	for range 10 {
		for _, c := range fleettest.Good() {
			changes = append(changes, c.Change)
		}
	}
	cache := fleet.NewCache()
	var previous *fleet.Fleet
	tree := fleettest.Base()
	refused, accepted := 0, 0
	for step := range 200 {
		if random.IntN(2) == 0 {
			tree = fleettest.Base()
		} else {
			tree = maps.Clone(tree)
		}
		tryChange(tree, changes[random.IntN(len(changes))])
		opts := fleet.Options{Previous: previous}
		plain := judge(t, gitTree(t, tree), opts)
		opts.Cache = cache
		cached := judge(t, gitTree(t, tree), opts)
		mustBeEqual(t, fmt.Sprintf("step %d", step), plain, cached)
		if plain.Refused() {
			refused++
		} else {
			accepted++
			previous = cached
		}
	}
	if refused < 50 || accepted < 50 {
		t.Errorf("the walk proves little: %d refused, %d accepted", refused, accepted)
	}
}

// tryChange applies a change unless what it replaces is not there any more.
func tryChange(tree fleettest.Tree, change func(fleettest.Tree)) {
	defer func() { _ = recover() }()
	change(tree)
}

func mustBeEqual(t *testing.T, what string, want, got *fleet.Fleet) {
	t.Helper()
	if !slices.Equal(want.Findings, got.Findings) {
		t.Fatalf("%s: findings differ:\n%v\n%v", what, want.Findings, got.Findings)
	}
	if d := fleet.Diff(want, got); !d.Empty() {
		t.Fatalf("%s: objects differ: %+v", what, d)
	}
	for i, o := range want.Objects {
		if o.Source() != got.Objects[i].Source() {
			t.Fatalf("%s: %s stands at %s and %s", what, o.ID, o.Source(), got.Objects[i].Source())
		}
	}
	modules := func(f *fleet.Fleet) []string {
		var out []string
		for digest, m := range f.Modules {
			out = append(out, digest+m.Path)
		}
		slices.Sort(out)
		return out
	}
	if !slices.Equal(modules(want), modules(got)) {
		t.Fatalf("%s: modules differ", what)
	}
}

// slowTree ends a context after some reads.
type slowTree struct {
	fleet.Tree
	left int
	stop context.CancelFunc
}

func (s *slowTree) ReadFile(name string, limit int64) ([]byte, error) {
	if s.left--; s.left == 0 {
		s.stop()
	}
	return s.Tree.ReadFile(name, limit)
}

// TestInterrupted ends judgements in the middle: the cache that they leave says nothing wrong.
func TestInterrupted(t *testing.T) {
	tree := fleettest.Base()
	tree.Replace("devices/kustomization.yaml", "resources:", "namePrefix: x-\nresources:")
	want := judge(t, gitTree(t, tree), fleet.Options{})
	cache := fleet.NewCache()
	for reads := 1; ; reads++ {
		ctx, stop := context.WithCancel(context.Background())
		_, err := fleet.Judge(ctx, &slowTree{gitTree(t, tree), reads, stop}, fleet.Options{Cache: cache})
		stop()
		if err == nil {
			if reads < 5 {
				t.Errorf("ended after %d reads", reads)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		mustBeEqual(t, fmt.Sprintf("%d reads", reads), want, judge(t, gitTree(t, tree), fleet.Options{Cache: cache}))
		cache = fleet.NewCache()
		if _, err := fleet.Judge(canceled(), gitTree(t, tree), fleet.Options{Cache: cache}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func canceled() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}

// brokenTree fails to read one file, as a disk may.
type brokenTree struct {
	fleet.Tree
	name string
}

func (b brokenTree) ReadFile(name string, limit int64) ([]byte, error) {
	if name == b.name {
		return nil, errors.New("input/output error")
	}
	return b.Tree.ReadFile(name, limit)
}

// TestStorageFails tells what is wrong with the disk from what is wrong with the commit.
func TestStorageFails(t *testing.T) {
	for name := range fleettest.Base() {
		cache := fleet.NewCache()
		_, err := fleet.Judge(context.Background(), brokenTree{gitTree(t, fleettest.Base()), name}, fleet.Options{Cache: cache})
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("%s: %v", name, err)
		}
		if f := judge(t, gitTree(t, fleettest.Base()), fleet.Options{Cache: cache}); f.Refused() {
			t.Errorf("%s: afterwards: %v", name, f.Findings)
		}
	}
}

// TestOneFileIsRead judges a commit that changes one device of many: of the manifests only that file is read.
func TestOneFileIsRead(t *testing.T) {
	for _, perDir := range []int{0, 10} {
		tree := fleettest.Large(100, perDir)
		cache := fleet.NewCache()
		first := judge(t, gitTree(t, tree), fleet.Options{Cache: cache})
		var name string
		for n := range tree {
			if strings.HasSuffix(n, "device-00050.yaml") {
				name = n
			}
		}
		tree.Replace(name, "tier: t2", "tier: t1")
		counted := &countingTree{Tree: gitTree(t, tree)}
		second := judge(t, counted, fleet.Options{Cache: cache, Previous: first})
		if !slices.Equal(counted.files, []string{name}) {
			t.Errorf("read %v", counted.files)
		}
		if d := fleet.Diff(first, second); len(d.Changed) != 1 || len(d.Added)+len(d.Removed) != 0 {
			t.Errorf("%+v differ", d)
		}
		again := &countingTree{Tree: gitTree(t, tree)}
		judge(t, again, fleet.Options{Cache: cache})
		if len(again.files) != 0 || again.dirs > 2 {
			t.Errorf("nothing changed: read %v and %d directories", again.files, again.dirs)
		}
	}
}

type countingTree struct {
	fleet.Tree
	files []string
	dirs  int
}

func (c *countingTree) Hash() [20]byte { return c.Tree.(*fleet.GitTree).Hash() }

func (c *countingTree) ReadFile(name string, limit int64) ([]byte, error) {
	c.files = append(c.files, name)
	return c.Tree.ReadFile(name, limit)
}

func (c *countingTree) ReadDir(dir string) ([]fleet.Entry, error) {
	c.dirs++
	return c.Tree.ReadDir(dir)
}

// TestBranching names directories so that a walk without memory would never end.
func TestBranching(t *testing.T) {
	tree := fleettest.Base()
	const depth = 24
	for i := range depth {
		tree.List(fmt.Sprintf("x/d%d", i), fmt.Sprintf("../d%d", i+1), fmt.Sprintf("../d%d/", i+1), fmt.Sprintf("../../x/d%d", i+1))
	}
	tree.List(fmt.Sprintf("x/d%d", depth), "d.yaml")
	tree.Set(fmt.Sprintf("x/d%d/d.yaml", depth), fleettest.Device("x", "board: sim-m4", "backend: Simulated"))
	tree.Replace("kustomization.yaml", "- apps", "- apps\n- x/d0")
	for name, in := range map[string]fleet.Tree{"git": gitTree(t, tree), "directory": dirTree(t, tree)} {
		f := within(t, time.Minute, func() *fleet.Fleet { return judge(t, in, fleet.Options{}) })
		if reason, message := f.Verdict(); reason != v1alpha1.ReasonDuplicateObject {
			t.Errorf("%s: %s: %s", name, reason, message)
		}
	}
}

func within(t *testing.T, limit time.Duration, f func() *fleet.Fleet) *fleet.Fleet {
	t.Helper()
	done := make(chan *fleet.Fleet, 1)
	go func() { done <- f() }()
	select {
	case out := <-done:
		return out
	case <-time.After(limit):
		t.Fatalf("still not done after %s", limit)
		return nil
	}
}

// TestTooManyObjects names more objects than a commit may have.
func TestTooManyObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("50,001 objects")
	}
	tree := fleettest.Base()
	var files []string
	for i := 0; i <= fleet.MaxObjects; {
		var b strings.Builder
		for range 2000 {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n%d}\n", i)
			i++
		}
		name := fmt.Sprintf("n%d.yaml", i)
		tree.Set("many/"+name, b.String())
		files = append(files, name)
	}
	tree.List("many", files...)
	tree.Replace("kustomization.yaml", "- apps", "- apps\n- many")
	f := judge(t, gitTree(t, tree), fleet.Options{})
	if reason, message := f.Verdict(); reason != v1alpha1.ReasonTooLarge || !strings.Contains(message, "the limit is 50000") {
		t.Errorf("%s: %s", reason, message)
	}
}

// TestManyFindings bounds what is kept and says how many there were.
func TestManyFindings(t *testing.T) {
	tree := fleettest.Large(1500, 0)
	for name, f := range tree {
		if strings.HasPrefix(name, "fleet/d") && strings.Contains(name, "device") {
			tree.Set(name, strings.Replace(f.Content, "board: sim-m4", "board: nothing", 1))
		}
	}
	f := judge(t, gitTree(t, tree), fleet.Options{})
	if len(f.Findings) != fleet.MaxFindings || f.MoreFindings != 500 {
		t.Errorf("%d findings and %d more", len(f.Findings), f.MoreFindings)
	}
	if _, message := f.Verdict(); !strings.HasSuffix(message, "(and 1499 more errors)") {
		t.Error(message)
	}
}

// TestReadModule gives the bytes that were judged, and no others.
func TestReadModule(t *testing.T) {
	tree := fleettest.Base()
	store := memory.NewStorage()
	hash, err := tree.Store(store)
	if err != nil {
		t.Fatal(err)
	}
	f := judge(t, fleet.NewGitTree(store, hash), fleet.Options{})
	if len(f.Modules) != 2 {
		t.Fatalf("%d modules", len(f.Modules))
	}
	for digest, m := range f.Modules {
		content, err := f.ReadModule(digest)
		if err != nil || string(content) != tree[m.Path].Content || int64(len(content)) != m.Size {
			t.Errorf("%s: %d bytes, %v", m.Path, len(content), err)
		}
	}
	if _, err := f.ReadModule("sha256:00"); err == nil {
		t.Error("a module that is not there is read")
	}
	for _, a := range f.Applications {
		if f.Modules[a.Spec.Module.Digest] == nil || a.Spec.Module.Size == 0 {
			t.Errorf("%s has no module: %+v", a.Name, a.Spec.Module)
		}
	}
}
