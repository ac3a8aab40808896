// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"fmt"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
)

func TestDiff(t *testing.T) {
	older := judge(t, gitTree(t, fleettest.Base()), fleet.Options{})
	tree := fleettest.Base()
	tree.Replace("devices/a.yaml", "site: hall", "site: yard")
	tree.Replace("devices/b.yaml", "name: b", "name: z")
	tree.Set("apps/blink.wasm", fleettest.Module{Imports: []string{"ocre_gpio_init"}}.Bytes())
	newer := judge(t, gitTree(t, tree), fleet.Options{})
	names := func(objects []*fleet.Object) string {
		var out []string
		for _, o := range objects {
			out = append(out, o.ID.String())
		}
		return strings.Join(out, ", ")
	}
	d := fleet.Diff(older, newer)
	if got := names(d.Added); got != "Device plant/z" {
		t.Errorf("added: %s", got)
	}
	if got := names(d.Changed); got != "Device plant/a, Application plant/blink" {
		t.Errorf("changed: %s", got)
	}
	if got := names(d.Removed); got != "Device plant/b" {
		t.Errorf("removed: %s", got)
	}
	if d := fleet.Diff(nil, older); len(d.Added) != len(older.Objects) || len(d.Changed)+len(d.Removed) != 0 {
		t.Errorf("from nothing: %+v", d)
	}
	if d := fleet.Diff(older, nil); len(d.Removed) != len(older.Objects) || len(d.Changed)+len(d.Added) != 0 {
		t.Errorf("to nothing: %+v", d)
	}
	if d := fleet.Diff(older, older); !d.Empty() {
		t.Errorf("to itself: %+v", d)
	}
}

// TestImmutableOfTheAPIServer refuses what the API server would of a ConfigMap and a Secret.
func TestImmutableOfTheAPIServer(t *testing.T) {
	const (
		fixed  = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: plant}\nimmutable: true\ndata: {a: b}\n"
		secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant}\ntype: Opaque\n"
	)
	for _, c := range []struct{ name, before, after, reason string }{
		{"nothing", fixed, fixed, ""},
		{"a label", fixed, strings.Replace(fixed, "plant}", "plant, labels: {x: y}}", 1), ""},
		{"data", fixed, strings.Replace(fixed, "a: b", "a: c", 1), "ImmutableChanged"},
		{"no longer immutable", fixed, strings.Replace(fixed, "true", "false", 1), "ImmutableChanged"},
		{"a bad label", fixed, strings.Replace(fixed, "plant}", "plant, labels: {x: 1}}", 1), "SchemaInvalid"},
		{"the type", secret, strings.Replace(secret, "Opaque", "example.com/x", 1), "ImmutableChanged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(manifest string) fleet.Tree {
				tree := fleettest.Base()
				tree.Replace("devices/kustomization.yaml", "- a.yaml", "- a.yaml\n- x.yaml")
				tree.Set("devices/x.yaml", manifest)
				return gitTree(t, tree)
			}
			previous := judge(t, with(c.before), fleet.Options{})
			reason, message := judge(t, with(c.after), fleet.Options{Previous: previous}).Verdict()
			if reason != c.reason {
				t.Errorf("%s: %s", reason, message)
			}
		})
	}
}

func ids(kind string, n int) []fleet.ID {
	var out []fleet.ID
	for i := range n {
		out = append(out, fleet.ID{Kind: kind, Namespace: "plant", Name: fmt.Sprint(i)})
	}
	return out
}

func TestPruneBrake(t *testing.T) {
	space := fleet.ID{Kind: "Namespace", Name: "plant"}
	gateway := fleet.ID{Kind: "Gateway", Namespace: "plant", Name: "main"}
	app := fleet.ID{Kind: "Application", Namespace: "plant", Name: "blink"}
	hundred := append(ids("Device", 100), space, gateway, app)
	thousand := append(ids("Device", 1000), space, gateway, app)
	for _, c := range []struct {
		name            string
		removed, before []fleet.ID
		message         string
		blocked         bool
		says            string
	}{
		{"nothing goes", nil, hundred, "", false, ""},
		{"nothing of nothing", nil, nil, "", false, ""},
		{"ten devices", ids("Device", 10), hundred, "", false, ""},
		{"eleven devices of a hundred", ids("Device", 11), hundred, "", true, "11 of 100 Devices"},
		{"a hundred of a thousand is just ten percent", ids("Device", 100), thousand, "", false, ""},
		{"a hundred and one of a thousand", ids("Device", 101), thousand, "", true, "101 of 1000 Devices"},
		{"an application", []fleet.ID{app}, hundred, "", false, ""},
		{"a gateway", []fleet.ID{gateway}, hundred, "", true, "Gateway plant/main"},
		{"a namespace", []fleet.ID{space}, hundred, "", true, "Namespace plant"},
		{"everything, however little", []fleet.ID{app}, []fleet.ID{app}, "", true, "everything: all 1 objects"},
		{"allowed", []fleet.ID{gateway}, hundred, "Move\n\nBecause.\n\nSigned-off-by: x\nWasmbed-Allow-Prune: 1\n", false, ""},
		{"allowed, with windows line ends", []fleet.ID{gateway}, hundred, "Move\r\n\r\nWasmbed-Allow-Prune: 1\r\n", false, ""},
		{"more than allowed", ids("Device", 20), hundred, "Move\n\nWasmbed-Allow-Prune: 19", true, "allows 19 removals and it makes 20"},
		{"allowed in the middle of the message", []fleet.ID{gateway}, hundred, "Move\n\nWasmbed-Allow-Prune: 1\n\nMore text.", true, "Wasmbed-Allow-Prune: 1"},
		{"a number that is none", []fleet.ID{gateway}, hundred, "Move\n\nWasmbed-Allow-Prune: all", true, ""},
		{"a negative number", []fleet.ID{gateway}, hundred, "Move\n\nWasmbed-Allow-Prune: -1", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := fleet.PruneBrake(c.removed, c.before, c.message)
			if b.Blocked != c.blocked || !strings.Contains(b.Message, c.says) {
				t.Errorf("%+v", b)
			}
			if b.Blocked && b.Trailer != fmt.Sprintf("Wasmbed-Allow-Prune: %d", len(c.removed)) {
				t.Errorf("trailer %q", b.Trailer)
			}
			if b.Blocked != (b.Message != "") || b.Blocked && !b.Needed {
				t.Errorf("%+v", b)
			}
		})
	}
}
