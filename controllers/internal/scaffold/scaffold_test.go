// SPDX-License-Identifier: Apache-2.0

package scaffold_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/internal/scaffold"
	"wasmbed.dev/controllers/internal/schemas"
	"wasmbed.dev/controllers/plan/policy"
	"wasmbed.dev/devices/boards"
)

const top = "../../.."

// TestEveryNewFleetIsAccepted: each language on all boards, without an error or a warning.
func TestEveryNewFleetIsAccepted(t *testing.T) {
	for _, language := range scaffold.Languages() {
		dir := t.TempDir()
		written, err := scaffold.Write(dir, scaffold.Options{Name: "my-plant", Boards: boards.Names(), Language: language})
		if err != nil {
			t.Fatal(err)
		}
		tree, err := fleet.OpenDirTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		judged, err := fleet.Judge(t.Context(), tree, fleet.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(judged.Findings) > 0 || len(judged.Devices) != len(boards.Names()) || len(judged.Applications) != 1 || judged.Applications[0].Namespace != "my-plant" {
			t.Errorf("%s: %+v", language, judged.Findings)
		}
		text, err := os.ReadFile(filepath.Join(dir, policy.File))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Parse(text); err != nil {
			t.Error(err)
		}
		for _, name := range written {
			if strings.HasSuffix(name, ".yaml") {
				holdAgainstItsSchema(t, dir, name)
			}
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || strings.Contains(string(content), "[[.") || strings.Contains(name, "APP") || strings.Contains(name, "tmpl") {
				t.Errorf("%s: %s is not filled in: %v", language, name, err)
			}
		}
		if info, err := os.Stat(filepath.Join(dir, "ci/wasmbed-review")); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("the script cannot be run: %v", err)
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
}

// holdAgainstItsSchema holds each document of a file against the schema that its first line names.
func holdAgainstItsSchema(t *testing.T, dir, name string) (documents int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	path, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=")
	if !ok {
		return 0
	}
	schema, err := os.ReadFile(filepath.Join(dir, filepath.Dir(name), path))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		for _, e := range problems(t, schema, document) {
			t.Errorf("%s: %s", name, e)
		}
		documents++
	}
	return documents
}

func problems(t *testing.T, schema []byte, document string) []gojsonschema.ResultError {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewBytesLoader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return result.Errors()
}

// TestTheExampleFleetNamesItsSchemas: what is in this repository's schemas is current, and its manifests fit.
func TestTheExampleFleetNamesItsSchemas(t *testing.T) {
	all, err := schemas.All()
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range all {
		committed, err := os.ReadFile(filepath.Join(top, "clusters", "schemas", name))
		if err != nil || string(committed) != string(schema) {
			t.Errorf("clusters/schemas/%s is not current: run make generate: %v", name, err)
		}
	}
	documents := 0
	for _, pattern := range []string{"apps/*/application.yaml", "devices/[hly]*.yaml", "clusters/local/gateway.yaml"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, err := filepath.Rel(top, file)
			if err != nil {
				t.Fatal(err)
			}
			n := holdAgainstItsSchema(t, top, name)
			if n == 0 {
				t.Errorf("%s names no schema", name)
			}
			documents += n
		}
	}
	if documents < 20 {
		t.Errorf("only %d documents", documents)
	}
}

// TestSchemasRefuse: what the API server refuses, an editor shows.
func TestSchemasRefuse(t *testing.T) {
	all, err := schemas.All()
	if err != nil {
		t.Fatal(err)
	}
	const device = "apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata: {name: a}\nspec: {board: sim-m4, backend: Simulated}\n"
	if p := problems(t, all["device.json"], device); len(p) > 0 {
		t.Fatal(p)
	}
	for name, c := range map[string]struct{ schema, document string }{
		"a misspelt field": {"device.json", strings.Replace(device, "backend:", "bakend:", 1)},
		"a wrong value":    {"device.json", strings.Replace(device, "Simulated", "Imaginary", 1)},
		"a wrong type":     {"device.json", strings.Replace(device, "sim-m4", "[1]", 1)},
		"no name":          {"device.json", strings.Replace(device, "name: a", "namespace: a", 1)},
		"no spec":          {"application.json", "apiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata: {name: a}\n"},
		"a status":         {"device.json", device + "status: {phase: Online}\n"},
		"no such rule":     {"policy.json", "rules: {no-such-rule: deny}"},
		"no such level":    {"policy.json", "rules: {all-at-once: never}"},
		"an empty check":   {"policy.json", "checks: [{name: a}]"},
		"a wrong rollout":  {"application.json", "apiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec: {module: {path: a}, selector: {}, rollout: {maxUnavailable: [1]}}\n"},
	} {
		if len(problems(t, all[c.schema], c.document)) == 0 {
			t.Errorf("%s is accepted", name)
		}
	}
	if p := problems(t, all["device.json"], "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"); len(p) > 0 {
		t.Errorf("another kind beside it: %v", p)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte("rules: {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := scaffold.Write(dir, scaffold.Options{Name: "plant", Boards: []string{"sim-m4"}, Language: "wat"})
	if !errors.Is(err, scaffold.ErrThere) || !strings.Contains(err.Error(), "policy.yaml") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something was written: %v %v", entries, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := scaffold.Options{Name: "plant", Boards: []string{"sim-m4"}, Language: "c"}
	for want, o := range map[string]scaffold.Options{
		"lower-case letters":      {Name: "Plant 1", Boards: good.Boards, Language: "c"},
		"belongs to the system":   {Name: "kube-system", Boards: good.Boards, Language: "c"},
		"at least one board":      {Name: "plant", Language: "c"},
		`there is no board "x"`:   {Name: "plant", Boards: []string{"x"}, Language: "c"},
		"is named twice":          {Name: "plant", Boards: []string{"sim-m4", "sim-m4"}, Language: "c"},
		"there is no app in \"go": {Name: "plant", Boards: good.Boards, Language: "go"},
	} {
		if _, err := scaffold.Files(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}
