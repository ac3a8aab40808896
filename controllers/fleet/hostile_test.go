// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// TestNothingIsFetched puts the address of a server that counts into every place of a kustomization that can hold a
// path, and a git into the PATH that counts too.
func TestNothingIsFetched(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write([]byte(fleettest.Device("fetched", "board: sim-m4", "backend: Simulated")))
	}))
	defer server.Close()
	bin, mark := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte("#!/bin/sh\necho ran >> "+mark+"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)

	host := strings.TrimPrefix(server.URL, "http://")
	c := fleet.NewCache()
	for _, address := range []string{
		server.URL + "/x.yaml", "HTTP://" + host + "/x.yaml", "git::" + server.URL + "/r.git", server.URL + "/r//x?ref=main",
		"github.com/x/y", "GitHub.com/x/y", "git@" + host + ":x/y.git", "ssh://git@" + host + "/x/y", "file:///x/y", "x@y:z/w.git",
		"./" + server.URL, "github.com:x/y", "https:/" + host + "/x", "\u200bhttp://" + host + "/x.yaml", " " + server.URL + "/x.yaml",
	} {
		for _, field := range []string{
			"resources: [%]", "bases: [%]", "components: [%]", "crds: [%]", "configurations: [%]", "openapi: {path: %}",
			"patches: [{path: %}]", "patches: [{patch: %}]", "patchesStrategicMerge: [%]",
			"patchesJson6902: [{path: %, target: {kind: Device, name: a}}]", "replacements: [{path: %}]",
			"generators: [%]", "transformers: [%]", "validators: [%]",
			"configMapGenerator: [{name: x, files: [%]}]", "configMapGenerator: [{name: x, files: [k=%]}]",
			"configMapGenerator: [{name: x, envs: [%]}]", "configMapGenerator: [{name: x, env: %}]",
			"secretGenerator: [{name: x, files: [%]}]", "helmCharts: [{name: x, repo: %}]", "helmGlobals: {chartHome: %}",
			"helmChartInflationGenerator: [{chartName: x, chartRepoUrl: %}]",
		} {
			for _, also := range []string{"", "namePrefix: x-\n"} {
				tree := fleettest.Base()
				tree.Set("devices/kustomization.yaml", also+strings.ReplaceAll(field, "%", "'"+address+"'")+"\n")
				if f := judge(t, gitTree(t, tree), fleet.Options{Cache: c}); !f.Refused() {
					t.Errorf("%s with %q is accepted", field, address)
				}
			}
		}
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("%d requests", n)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("git was run")
	}
}

// TestSecretsStaySecret plants a mark as a Secret's value into everything that can be wrong with one.
func TestSecretsStaySecret(t *testing.T) {
	const mark = "tRe4sUrE"
	secret := func(body string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant}\n" + body
	}
	manifests := map[string]string{
		"not base64":       secret("data: {a: '" + mark + "!'}\n"),
		"a list":           secret("data: [" + mark + "]\n"),
		"a text":           secret("data: " + mark + "\n"),
		"a map":            secret("data: {a: {b: " + mark + "}}\n"),
		"an unknown field": secret("date: {a: " + mark + "}\n"),
		"a wrong type":     secret("stringData: {a: " + mark + "}\nimmutable: " + mark + "\n"),
		"a label":          "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant, labels: {a: '" + mark + " x'}}\n",
		"an annotation":    "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant, annotations: {a: [" + mark + "]}}\n",
		"broken YAML":      secret("stringData:\n  a: " + mark + "\n b: " + mark + "\n"),
		"an unclosed text": secret("stringData: {a: \"" + mark + "\n"),
		"a tag":            secret("stringData: {a: !x " + mark + "}\n"),
		"a number":         secret("stringData: {a: !!int " + mark + "}\n"),
		"an alias":         secret("stringData: {a: *" + mark + "}\n"),
		"twice":            secret("stringData: {a: "+mark+"}\n---\n") + secret("stringData: {a: "+mark+"}\n"),
	}
	kustomizations := map[string]string{
		"an environment file": "secretGenerator: [{name: x, namespace: plant, envs: [env]}]\n",
		"a literal":           "secretGenerator: [{name: x, namespace: plant, literals: ['" + mark + "']}]\n",
		"a patch":             "resources: [s.yaml]\npatches: [{target: {kind: Secret}, patch: '[{\"op\": \"test\", \"path\": \"/stringData/a\", \"value\": \"" + mark + "\"}]'}]\n",
	}
	check := func(name string, tree fleettest.Tree) {
		t.Run(name, func(t *testing.T) {
			f := judge(t, gitTree(t, tree), fleet.Options{})
			if !f.Refused() {
				t.Error("accepted")
			}
			reason, message := f.Verdict()
			for _, g := range f.Findings {
				message += "\n" + fleet.Text(g)
			}
			if strings.Contains(message, mark) {
				t.Errorf("%s: %s", reason, message)
			}
			t.Log(message)
		})
	}
	for name, m := range manifests {
		for _, also := range []string{"", "labels: [{pairs: {x: y}}]\n"} {
			tree := fleettest.Base()
			tree.Set("devices/kustomization.yaml", also+"resources: [s.yaml]\n")
			tree.Set("devices/s.yaml", m)
			check(name+" "+also, tree)
		}
	}
	for name, k := range kustomizations {
		tree := fleettest.Base()
		tree.Set("devices/kustomization.yaml", k)
		tree.Set("devices/env", mark+" and more\n=\n")
		tree.Set("devices/s.yaml", secret("stringData: {a: other}\n"))
		check(name, tree)
	}
}
