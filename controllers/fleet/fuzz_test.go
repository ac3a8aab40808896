// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// fuzzFile judges Base with one file replaced, and checks what holds for every commit.
func fuzzFile(f *testing.F, name string) {
	f.Add([]byte(fleettest.Base()[name].Content))
	for _, c := range append(fleettest.Cases(), fleettest.Good()...) {
		if c.Huge {
			continue
		}
		tree := fleettest.Base()
		c.Change(tree)
		if file := tree[name]; file.Content != fleettest.Base()[name].Content {
			f.Add([]byte(file.Content))
		}
	}
	cache := fleet.NewCache()
	f.Fuzz(func(t *testing.T, content []byte) {
		tree := fleettest.Base()
		tree.Set(name, string(content))
		start := time.Now()
		got, err := fleet.Judge(context.Background(), gitTree(t, tree), fleet.Options{Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
		holds(t, got)
	})
}

// holds checks what is true of every judgement.
func holds(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	known := map[string]bool{}
	for _, r := range fleet.Reasons {
		known[r.Name] = true
	}
	for _, g := range f.Findings {
		if text := g.Message + g.File + g.Object; !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("not fit to be shown: %q", g)
		}
		if len(g.Message) > 1024 || g.Message == "" || !known[g.Reason] || g.Line < 0 || g.Column < 0 {
			t.Errorf("finding %+v", g)
		}
	}
	if reason, message := f.Verdict(); f.Refused() != (reason != "") || f.Refused() != (message != "") || len(message) > 1024 {
		t.Errorf("refused %v, %s: %s", f.Refused(), reason, message)
	}
	if !slices.IsSortedFunc(f.Findings, func(a, b v1alpha1.Finding) int { return strings.Compare(a.Severity, b.Severity) }) {
		t.Error("warnings before errors")
	}
	for _, o := range f.Objects {
		if !json.Valid(o.JSON) || f.Get(o.ID) != o {
			t.Errorf("%s: %s", o.ID, o.JSON)
		}
		if !f.Refused() && o.Device == nil && o.Application == nil && o.Gateway == nil && o.ID.GroupVersionKind().Group != "" {
			t.Errorf("%s has no typed view", o.ID)
		}
	}
}

// FuzzManifest judges a commit with an arbitrary manifest.
func FuzzManifest(f *testing.F) { fuzzFile(f, "devices/a.yaml") }

// FuzzApplication judges a commit with an arbitrary manifest in the place of an Application.
func FuzzApplication(f *testing.F) { fuzzFile(f, "apps/blink.yaml") }

// FuzzKustomization judges a commit with an arbitrary kustomization.
func FuzzKustomization(f *testing.F) { fuzzFile(f, "devices/kustomization.yaml") }

// FuzzPath judges commits that name arbitrary files.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a.yaml", "../x", "/etc/passwd", "http://x/y", "a/../../b", "x\x00y", "..", ".", "", "git@x:y", "a b", "\xff", "./a.yaml", "sub/"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, entry, link string) {
		quoted, err := json.Marshal(entry)
		if err != nil {
			t.Skip()
		}
		for _, also := range []string{"", "namePrefix: x-\n"} {
			tree := fleettest.Base()
			tree.Set("devices/kustomization.yaml", also+"resources: ["+string(quoted)+", link.yaml]\n")
			if link != "" {
				tree["devices/link.yaml"] = fleettest.File{Link: link}
			}
			holds(t, judge(t, gitTree(t, tree), fleet.Options{}))
		}
	})
}
