// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// dirTree writes a tree into a directory.
func dirTree(t testing.TB, tree fleettest.Tree) fleet.Tree {
	t.Helper()
	dir := t.TempDir()
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	d, err := fleet.OpenDirTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func fits(w fleettest.Want, f v1alpha1.Finding) bool {
	severity := fleet.SeverityError
	if w.Warning {
		severity = fleet.SeverityWarning
	}
	return f.Severity == severity && f.Reason == w.Reason && f.File == w.File && (w.Line == 0 || f.Line == w.Line) &&
		f.Object == w.Object && strings.Contains(f.Message, w.Message)
}

// TestBadCommits judges the table in a git tree and in a directory, without and with a cache that knows the fleet
// before it.
func TestBadCommits(t *testing.T) {
	base := gitTree(t, fleettest.Base())
	for _, c := range fleettest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.Huge && testing.Short() {
				t.Skip("a huge commit")
			}
			tree := fleettest.Base()
			c.Change(tree)
			cache := fleet.NewCache()
			previous := judge(t, base, fleet.Options{Cache: cache})
			inGit := gitTree(t, tree)
			withCache := judge(t, inGit, fleet.Options{Cache: cache, Previous: previous})
			expect(t, c.Want, withCache)
			again := judge(t, inGit, fleet.Options{Cache: cache, Previous: previous})
			if !slices.Equal(again.Findings, withCache.Findings) {
				t.Errorf("judged again: %v\nfirst: %v", again.Findings, withCache.Findings)
			}
			inDir := judge(t, dirTree(t, tree), fleet.Options{Previous: previous})
			if !slices.Equal(inDir.Findings, withCache.Findings) {
				t.Errorf("in a directory: %v\nin git: %v", inDir.Findings, withCache.Findings)
			}
			if healed := judge(t, base, fleet.Options{Cache: cache, Previous: previous}); healed.Refused() {
				t.Errorf("after going back: %v", healed.Findings)
			} else if d := fleet.Diff(previous, healed); !d.Empty() {
				t.Errorf("after going back: %+v differ", d)
			}
		})
	}
}

func expect(t *testing.T, w fleettest.Want, f *fleet.Fleet) {
	t.Helper()
	if f.Refused() == w.Warning {
		t.Errorf("refused: %v", f.Refused())
	}
	if !slices.ContainsFunc(f.Findings, func(g v1alpha1.Finding) bool { return fits(w, g) }) {
		t.Errorf("want %+v", w)
	}
	for _, g := range f.Findings {
		t.Logf("%s: %s (%s)", g.Severity, fleet.Text(g), g.Reason)
		if !w.Warning && g.Severity == fleet.SeverityError && g.Reason != w.Reason {
			t.Errorf("another error: %s (%s)", fleet.Text(g), g.Reason)
		}
		if strings.ContainsFunc(g.Message+g.File+g.Object, unicode.IsControl) {
			t.Errorf("control characters: %q", g)
		}
	}
	if reason, message := f.Verdict(); !w.Warning && (reason != w.Reason || !strings.Contains(message, w.Message)) {
		t.Errorf("verdict: %s: %s", reason, message)
	}
}

func TestUnusualCommits(t *testing.T) {
	for _, c := range fleettest.Good() {
		t.Run(c.Name, func(t *testing.T) {
			tree := fleettest.Base()
			c.Change(tree)
			inGit, inDir := judge(t, gitTree(t, tree), fleet.Options{}), judge(t, dirTree(t, tree), fleet.Options{})
			if inGit.Refused() {
				t.Errorf("refused: %v", inGit.Findings)
			}
			if d := fleet.Diff(inGit, inDir); !d.Empty() {
				t.Errorf("git and directory differ: %+v", d)
			}
			for _, o := range inGit.Objects {
				t.Log(o.ID, o.Source(), string(o.JSON))
			}
		})
	}
}
