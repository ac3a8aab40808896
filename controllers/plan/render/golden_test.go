// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
	"wasmbed.dev/controllers/plan/policy"
	"wasmbed.dev/controllers/plan/render"
)

// hall is a fleet of forty devices in a hall and three in a yard.
func hall() fleettest.Tree {
	t := fleettest.Base()
	files := []string{"gateway.yaml", "secret.yaml", "settings.yaml"}
	for i := range 40 {
		name := fmt.Sprintf("hall-%02d", i)
		t.Set("devices/"+name+".yaml", fleettest.Device(name, "board: sim-m4", "backend: Simulated"))
		files = append(files, name+".yaml")
	}
	for i := range 3 {
		name := fmt.Sprintf("yard-%d", i)
		t.Set("devices/"+name+".yaml", strings.Replace(fleettest.Device(name, "board: mps2-an385", "backend: Simulated"), "hall", "yard", 1))
		files = append(files, name+".yaml")
	}
	t.List("devices", files...)
	t.Set("devices/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: credentials, namespace: plant}\nstringData:\n  password: old\n")
	t.Set("devices/settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: plant}\ndata:\n  colour: red\n")
	return t
}

// changes are those of the golden files.
var changes = map[string]struct {
	base   func() fleettest.Tree
	edit   func(fleettest.Tree)
	policy string
}{
	"nothing": {fleettest.Base, func(t fleettest.Tree) {
		t.Replace("devices/a.yaml", "  backend: Simulated", "  power: \"On\"\n  backend: Simulated")
	}, ""},
	"release": {hall, func(t fleettest.Tree) {
		t.Set("apps/report.wasm", fleettest.Module{Imports: []string{"wasmbed_log", "ocre_sleep", "ocre_sensors_read"}, Pages: 1, Padding: 500}.Bytes())
		t.Replace("apps/report.yaml", "[log]", "[log, sensor]")
		t.Replace("apps/report.yaml", "  selector: {matchLabels: {site: hall}}", "  selector: {}\n  config: {interval: \"250\"}")
		t.Replace("devices/hall-07.yaml", "backend: Simulated", "backend: Simulated\n  power: \"Off\"")
		for i := 10; i < 14; i++ {
			t.Replace(fmt.Sprintf("devices/hall-%02d.yaml", i), "backend: Simulated", "backend: Simulated\n  gateway: main")
		}
		t.Replace("devices/secret.yaml", "old", "new")
		t.Replace("devices/settings.yaml", "red", "green")
	}, "rules: {permissions-gained: deny}\nchecks:\n- name: small-changes\n  expression: change.totals.touched <= 20\n  message: more than 20 devices are touched at once\n"},
	"removal": {hall, func(t fleettest.Tree) {
		files := []string{"secret.yaml", "settings.yaml"}
		for i := range 28 {
			files = append(files, fmt.Sprintf("hall-%02d.yaml", i))
		}
		t.List("devices", files...)
		t.List("apps", "report.yaml")
	}, ""},
	"refused": {fleettest.Base, func(t fleettest.Tree) {
		t.Replace("devices/a.yaml", "board: sim-m4", "board: sim-m9")
		t.Set("apps/report.wasm", "no module")
	}, ""},
}

func reportOf(t *testing.T, name string) *plan.Report {
	t.Helper()
	c := changes[name]
	r := plantest.Changed(c.base(), c.edit).Report(t)
	p, err := policy.Parse([]byte(c.policy))
	if err != nil {
		t.Fatal(err)
	}
	if err := policy.Apply(t.Context(), r, p, p); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGolden(t *testing.T) {
	for name := range changes {
		t.Run(name, func(t *testing.T) {
			r := reportOf(t, name)
			var text, colour, comment, document bytes.Buffer
			for _, err := range []error{render.Text(&text, r, false), render.Text(&colour, r, true), render.Markdown(&comment, r), render.JSON(&document, r)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			golden(t, "testdata/"+name+".txt", text.String())
			golden(t, "testdata/"+name+".colour.txt", colour.String())
			golden(t, "testdata/"+name+".md", comment.String())
			golden(t, "testdata/"+name+".json", document.String())
			validJSON(t, document.Bytes())
		})
	}
}
