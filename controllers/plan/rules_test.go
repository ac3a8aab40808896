// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
)

// fuelled is the small fleet with ten devices more and limits of which no rule complains.
func fuelled() fleettest.Tree {
	t := fleettest.Base()
	files := []string{"a.yaml", "b.yaml", "gateway.yaml"}
	for i := range 10 {
		name := fmt.Sprintf("n%d", i)
		t.Set("devices/"+name+".yaml", fleettest.Device(name, "board: sim-m4", "backend: Simulated"))
		files = append(files, name+".yaml")
	}
	t.List("devices", files...)
	t.Replace("apps/report.yaml", "memory: 65536", "memory: 65536, fuel: 1000")
	t.Replace("apps/blink.yaml", "memory: 0", "memory: 0, fuel: 1000")
	return t
}

func replaces(name, old, new string) func(fleettest.Tree) {
	return func(t fleettest.Tree) { t.Replace(name, old, new) }
}

func all(edits ...func(fleettest.Tree)) func(fleettest.Tree) {
	return func(t fleettest.Tree) {
		for _, edit := range edits {
			edit(t)
		}
	}
}

func without(files ...string) func(fleettest.Tree) {
	return func(t fleettest.Tree) {
		list := t["devices/kustomization.yaml"]
		for _, f := range files {
			list.Content = strings.Replace(list.Content, "- "+f+"\n", "", 1)
		}
		t["devices/kustomization.yaml"] = list
	}
}

const (
	blinkFile  = "apps/blink.yaml"
	reportFile = "apps/report.yaml"
	n0         = "devices/n0.yaml"
)

func TestRules(t *testing.T) {
	config := replaces(blinkFile, "limits:", "config: {a: b}\n  limits:")
	rollout := func(unavailable string) func(fleettest.Tree) {
		return replaces(blinkFile, "limits:", "rollout: {maxUnavailable: "+unavailable+"}\n  limits:")
	}
	hardware := fleettest.Device("hw", "board: mps2-an385", "keys: ["+fleettest.PublicKey(1)+"]")
	withHardware := func(t fleettest.Tree) { t.Set(n0, hardware) }
	for name, test := range map[string]struct {
		base func(fleettest.Tree) // may be nil
		edit func(fleettest.Tree)
		want string // rules, in order, with a part of the message
	}{
		"nothing risky":                 {nil, config, ""},
		"a permission more":             {nil, replaces(blinkFile, "[gpio, timer]", "[gpio, timer, log, sensor]"), "permissions-gained(log, sensor)"},
		"permissions in another order":  {nil, replaces(blinkFile, "[gpio, timer]", "[timer, gpio]"), ""},
		"a permission less":             {replaces(blinkFile, "[gpio, timer]", "[gpio, timer, log]"), replaces(blinkFile, "[gpio, timer, log]", "[gpio, timer]"), ""},
		"all at once":                   {nil, all(config, rollout("100%")), "all-at-once(all 13 devices)"},
		"half at once":                  {nil, all(config, rollout("50%")), "no-first-wave(6 of 13 devices)"},
		"a quarter at once":             {nil, all(config, rollout("25%")), ""},
		"a rollout that reaches nobody": {nil, rollout("100%"), ""},
		"a new app without fuel": {nil, func(t fleettest.Tree) {
			t.Set("apps/new.yaml", fleettest.App("new", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0}"))
			t.List("apps", "blink.yaml", "report.yaml", "new.yaml")
		}, "no-limits(limits.fuel)"},
		"limits that go":             {nil, replaces(blinkFile, "limits: {memory: 0, fuel: 1000}", "suspend: false"), "no-limits(it gets the default"},
		"an old app without limits":  {replaces(blinkFile, ", fuel: 1000", ""), config, ""},
		"a board that gets full":     {nil, replaces(blinkFile, "memory: 0,", "memory: 49152,"), "board-full(12 devices of 12"},
		"a board that was full":      {replaces(blinkFile, "memory: 0,", "memory: 49152,"), config, ""},
		"a device removed":           {nil, without("n0.yaml"), "devices-removed(1 device of 13"},
		"a device off":               {nil, replaces(n0, "backend: Simulated", "backend: Simulated\n  power: \"Off\""), "devices-off(1 device is switched off: plant/n0)"},
		"a device on":                {replaces(n0, "backend: Simulated", "backend: Simulated\n  power: \"Off\""), replaces(n0, "\"Off\"", "\"On\""), ""},
		"a device quarantined":       {nil, replaces(n0, "backend: Simulated", "backend: Simulated\n  quarantine: true"), "devices-quarantined(plant/n0)"},
		"a device deselected":        {nil, replaces(n0, "site: hall", "site: attic"), "devices-deselected(1 device loses it) devices-deselected(1 device loses it)"},
		"another key":                {withHardware, replaces(n0, fleettest.PublicKey(1), fleettest.PublicKey(2)), "keys-changed(plant/hw)"},
		"a pin":                      {nil, replaces(n0, "backend: Simulated", "backend: Simulated\n  gateway: main"), "gateway-moved(plant/n0)"},
		"the same pin in full":       {replaces(n0, "backend: Simulated", "backend: Simulated\n  gateway: main"), replaces(n0, "gateway: main", "gateway: plant/main"), ""},
		"a gateway that goes":        {replaces("devices/b.yaml", "  gateway: main\n", ""), without("gateway.yaml"), "prune-brake(Wasmbed-Allow-Prune: 1) gateway-removed()"},
		"a gateway that opens":       {nil, replaces("devices/gateway.yaml", "spec: {}", "spec: {allowedNamespaces: [plant, other]}"), "gateway-opened(devices of other)"},
		"a gateway that closes":      {replaces("devices/gateway.yaml", "spec: {}", "spec: {allowedNamespaces: ['*']}"), replaces("devices/gateway.yaml", "'*'", "plant"), ""},
		"a namespace that goes":      {nil, replaces("kustomization.yaml", "- namespace.yaml\n", ""), "prune-brake() namespace-removed()"},
		"an application that goes":   {nil, func(t fleettest.Tree) { t.List("apps", "report.yaml") }, "application-removed(13 devices)"},
		"a change that is held up":   {nil, all(config, replaces(blinkFile, "limits:", "suspend: true\n  limits:")), "suspended(13 devices would change)"},
		"a change that is let go":    {replaces(blinkFile, "limits:", "suspend: true\n  limits:"), replaces(blinkFile, "suspend: true", "suspend: false"), "suspended(up to 13 devices)"},
		"a module that traps":        {nil, func(t fleettest.Tree) { t.Set("apps/blink.wasm", trapping) }, "trial-traps(apps/blink.wasm)"},
		"a base that is refused":     {replaces(n0, "sim-m4", "sim-m9"), replaces(n0, "sim-m9", "sim-m4"), "base-refused()"},
		"a refused head has no risk": {nil, replaces(n0, "sim-m4", "sim-m9"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			base := fuelled()
			if test.base != nil {
				test.base(base)
			}
			r := plantest.Changed(base, test.edit).Report(t)
			wants := strings.SplitAfter(test.want, ") ")
			if test.want == "" {
				wants = nil
			}
			var got []string
			for _, risk := range r.Risks {
				got = append(got, risk.Rule+"("+risk.Message+")")
			}
			if len(got) != len(wants) {
				t.Fatalf("got %q", got)
			}
			for i, want := range wants {
				rule, part, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(want), ")"), "(")
				if !strings.HasPrefix(got[i], rule+"(") || !strings.Contains(got[i], part) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
			if test.want != "" && r.Outcome != plan.OutcomeChanges {
				t.Errorf("got %s", r.Outcome)
			}
		})
	}
}

// trapping is a module whose run does nothing but trap: (func (export "run") unreachable).
const trapping = "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x07\x07\x01\x03run\x00\x00" + "\x0a\x05\x01\x03\x00\x00\x0b"

// TestEachRuleIsDocumented: README.md has the list.
func TestEachRuleIsDocumented(t *testing.T) {
	readme := read(t, "README.md")
	for _, rule := range plan.Rules {
		if !strings.Contains(readme, "| `"+rule.Name+"` | "+rule.Level+" | "+rule.Doc+" |\n") {
			t.Errorf("README.md does not have this row:\n| `%s` | %s | %s |", rule.Name, rule.Level, rule.Doc)
		}
	}
	if n := strings.Count(readme, "\n| `"); n < len(plan.Rules) {
		t.Errorf("README.md has %d rows", n)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestFields(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(fleettest.Tree)
		want string
	}{
		"a value":             {replaces(n0, "site: hall", "site: yard"), "~metadata.labels.site=hall→yard"},
		"a value more":        {replaces(n0, "{site: hall}", "{site: hall, example.com/row: '7'}"), "+metadata.labels[example.com/row]=→7"},
		"a default spelt out": {replaces(n0, "backend: Simulated", "backend: Simulated\n  power: \"On\"\n  config: {}"), ""},
		"another notation":    {replaces(blinkFile, "limits:", "rollout: {progressDeadline: 120s, maxUnavailable: 25%}\n  limits:"), ""},
		"another duration":    {replaces(blinkFile, "limits:", "rollout: {progressDeadline: 90s}\n  limits:"), "~spec.rollout.progressDeadline=2m0s→1m30s"},
		"a set":               {replaces(reportFile, "[log]", "[sensor, log]"), "+spec.permissions=→sensor"},
		"the order of a set":  {replaces(blinkFile, "[gpio, timer]", "[timer, gpio]"), `~spec.permissions=["gpio","timer"]→["timer","gpio"]`},
		"a number":            {replaces(blinkFile, "fuel: 1000", "fuel: 2000"), "~spec.limits.fuel=1000→2000"},
		"texts that differ at the end": {replaces(n0, "backend: Simulated", "backend: Simulated\n  config: {blink: {k: "+strings.Repeat("x", 300)+"}}"),
			"+spec.config.blink.k=→" + strings.Repeat("x", 253) + "…"},
		"a comment": {replaces(n0, "spec:", "# nothing\nspec:"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := plantest.Changed(fuelled(), test.edit).Report(t)
			var got []string
			for _, o := range r.Objects.Changed {
				for _, f := range o.Fields {
					got = append(got, map[string]string{plan.Added: "+", plan.Changed: "~", plan.Removed: "-"}[f.Change]+f.Path+"="+f.Before+"→"+f.After)
				}
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("got %s", s)
			}
			if test.want == "" && r.Outcome != plan.OutcomeNoChange {
				t.Errorf("got %s", r.Outcome)
			}
		})
	}
}

// TestTheSameChangeGivesTheSameReport: a comment is updated in place, and must not change by itself.
func TestTheSameChangeGivesTheSameReport(t *testing.T) {
	change := plantest.Changed(fuelled(), all(replaces(blinkFile, "apps/blink.wasm", "apps/report.wasm"), replaces(blinkFile, "[gpio, timer]", "[log]"),
		replaces(n0, "hall", "attic"), without("n1.yaml", "n2.yaml"), func(t fleettest.Tree) {
			t.Set("apps/report.wasm", fleettest.Module{Imports: []string{"wasmbed_log"}}.Bytes())
		}))
	var first string
	for range 5 {
		got := fmt.Sprintf("%+v", *change.Report(t))
		if first == "" {
			first = got
		}
		if got != first {
			t.Fatalf("got\n%s\nand\n%s", first, got)
		}
	}
}

// TestBytes: a module is sent once to each device that lacks it.
func TestBytes(t *testing.T) {
	blink := int64(len(fleettest.Base()["apps/blink.wasm"].Content))
	for name, test := range map[string]struct {
		base, edit func(fleettest.Tree)
		want       int64
	}{
		"a config":  {nil, replaces(blinkFile, "limits:", "config: {a: b}\n  limits:"), 0},
		"a new app": {func(t fleettest.Tree) { t.List("apps", "report.yaml") }, func(t fleettest.Tree) { t.List("apps", "report.yaml", "blink.yaml") }, 13 * blink},
		"an app with a module that is there": {nil, func(t fleettest.Tree) {
			t.Set("apps/second.yaml", fleettest.App("second", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0, fuel: 1}"))
			t.List("apps", "blink.yaml", "report.yaml", "second.yaml")
		}, 0},
		"two new apps with one module": {func(t fleettest.Tree) { t.List("apps", "report.yaml") }, func(t fleettest.Tree) {
			t.Set("apps/second.yaml", fleettest.App("second", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0, fuel: 1}"))
			t.List("apps", "blink.yaml", "report.yaml", "second.yaml")
		}, 13 * blink},
		"a new device": {without("n0.yaml"), func(t fleettest.Tree) {
			t.List("devices", "a.yaml", "b.yaml", "gateway.yaml", "n0.yaml", "n1.yaml", "n2.yaml", "n3.yaml", "n4.yaml", "n5.yaml", "n6.yaml", "n7.yaml", "n8.yaml", "n9.yaml")
		}, blink + int64(len(fleettest.Base()["apps/report.wasm"].Content))},
	} {
		base := fuelled()
		if test.base != nil {
			test.base(base)
		}
		if got := plantest.Changed(base, test.edit).Report(t).Totals.Bytes; got != test.want {
			t.Errorf("%s: %d bytes, want %d", name, got, test.want)
		}
	}
}
