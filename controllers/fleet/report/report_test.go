// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/storage/memory"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/fleet/report"
)

func result(t *testing.T, change func(fleettest.Tree)) report.Result {
	t.Helper()
	tree := fleettest.Base()
	change(tree)
	store := memory.NewStorage()
	hash, err := tree.Store(store)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Judge(context.Background(), fleet.NewGitTree(store, hash), fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report.New(f, "c0ffee")
}

func bad(t fleettest.Tree) {
	t.Replace("apps/report.yaml", "  limits", "  limit: x\n  limits")
	t.Replace("apps/blink.yaml", "{site: hall}", "{site: cellar}")
}

func TestText(t *testing.T) {
	for name, c := range map[string]struct {
		change func(fleettest.Tree)
		want   string
	}{
		"good": {func(fleettest.Tree) {}, "accepted: 3 devices, 2 applications, 1 gateway, 1 other object\n"},
		"bad": {bad, `apps/report.yaml:10:3: error: Application plant/report: unknown field "spec.limit": did you mean limits? (SchemaInvalid)
apps/blink.yaml:8:3: warning: Application plant/blink: the selector "site=cellar" matches no device of namespace "plant", so nothing will run: check the devices' labels (SelectsNothing)
refused: 1 error, 1 warning; nothing would be applied
`},
		"empty": {func(t fleettest.Tree) { t.Set("kustomization.yaml", "resources: []\n") },
			`.: error: the commit yields no object at all, which would remove the whole fleet: list files under ` + "`resources`" + ` in the root kustomization (EmptyBuild)
refused: 1 error, 0 warnings; nothing would be applied
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := result(t, c.change).Text(&out); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("got:\n%swant:\n%s", out.String(), c.want)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	want := result(t, bad)
	if err := want.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var got report.Result
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if !got.Refused || got.Errors != 1 || got.Warnings != 1 || got.Version != report.Version || got.Revision != "c0ffee" {
		t.Errorf("got %+v", got)
	}
	if len(got.Findings) != 2 || got.Findings[0] != want.Findings[0] || len(got.Modules) != 1 || got.Objects.Devices != 3 {
		t.Errorf("got %+v", got)
	}
}

// TestSARIF reads what was written with the format's own schema.
func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	err := result(t, func(tree fleettest.Tree) {
		bad(tree)
		tree.Replace("apps/blink.yaml", "  limits", "  limits: {stack: 1}\n  x")
		tree.Replace("devices/kustomization.yaml", "- a.yaml", "- a.yaml\n- 'x y#?.yaml'")
		tree.Set("devices/x y#?.yaml", "a: [")
	}).SARIF(&out, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := sarif.FromBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Validate(); err != nil {
		t.Errorf("not valid: %v", err)
	}
	run := parsed.Runs[0]
	if len(run.Tool.Driver.Rules) != len(fleet.Reasons) || len(run.Results) != 4 {
		t.Errorf("%d rules, %d results", len(run.Tool.Driver.Rules), len(run.Results))
	}
	for _, want := range []string{`"version": "2.1.0"`, `"uri": "devices/x%20y%23%3F.yaml"`, `"startLine": 10`, `"ruleId": "SchemaInvalid"`, `"level": "error"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, rule := range run.Tool.Driver.Rules {
		if rule.Help == nil || rule.Help.Text == nil || *rule.Help.Text == "" {
			t.Errorf("%s has no help", *rule.ID)
		}
	}
}
