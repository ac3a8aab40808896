// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
)

func parse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gpio gives the app report one permission more.
func gpio(t *testing.T) *plan.Report {
	return plantest.NewChange(func(tree fleettest.Tree) { tree.Replace("apps/report.yaml", "[log]", "[log, gpio]") }).Report(t)
}

func TestLevels(t *testing.T) {
	const ok, no = `expression: "true"`, `expression: "false"`
	for name, test := range map[string]struct {
		base, head string
		outcome    string
		risks      string
	}{
		"without a policy":                     {"", "", plan.OutcomeChanges, "permissions-gained=warn"},
		"a rule that denies":                   {"rules: {permissions-gained: deny}", "rules: {permissions-gained: deny}", plan.OutcomeDenied, "permissions-gained=deny"},
		"a rule that is off":                   {"rules: {permissions-gained: off}", "rules: {permissions-gained: off}", plan.OutcomeChanges, ""},
		"off in quotes":                        {`rules: {permissions-gained: "off"}`, `rules: {permissions-gained: "off"}`, plan.OutcomeChanges, ""},
		"a change cannot relax its own policy": {"rules: {permissions-gained: deny}", "rules: {permissions-gained: off}", plan.OutcomeDenied, "permissions-gained=deny policy-relaxed=warn"},
		"a change can tighten it":              {"", "rules: {permissions-gained: deny}", plan.OutcomeDenied, "permissions-gained=deny"},
		"relaxing can be denied":               {"rules: {permissions-gained: deny, policy-relaxed: deny}", "", plan.OutcomeDenied, "permissions-gained=deny policy-relaxed=deny"},
		"a check that holds":                   {"checks: [{name: x, " + ok + "}]", "checks: [{name: x, " + ok + "}]", plan.OutcomeChanges, "permissions-gained=warn"},
		"a check that does not hold":           {"checks: [{name: x, level: deny, " + no + "}]", "checks: [{name: x, level: deny, " + no + "}]", plan.OutcomeDenied, "x=deny permissions-gained=warn"},
		"a check warns unless it says more":    {"", "checks: [{name: x, " + no + "}]", plan.OutcomeChanges, "permissions-gained=warn x=warn"},
		"a check that is off":                  {"", "checks: [{name: x, level: off, " + no + "}]", plan.OutcomeChanges, "permissions-gained=warn"},
		"a check that the change removes":      {"checks: [{name: x, level: deny, " + no + "}]", "", plan.OutcomeDenied, "x=deny permissions-gained=warn policy-relaxed=warn"},
		"a check that the change weakens":      {"checks: [{name: x, level: deny, " + no + "}]", "checks: [{name: x, level: deny, " + ok + "}]", plan.OutcomeDenied, "x=deny permissions-gained=warn policy-relaxed=warn"},
	} {
		t.Run(name, func(t *testing.T) {
			r := gpio(t)
			if err := Apply(t.Context(), r, parse(t, test.base), parse(t, test.head)); err != nil {
				t.Fatal(err)
			}
			var risks []string
			for _, risk := range r.Risks {
				risks = append(risks, risk.Rule+"="+risk.Level)
			}
			if got := strings.Join(risks, " "); got != test.risks || r.Outcome != test.outcome {
				t.Errorf("got %s, %s", r.Outcome, got)
			}
		})
	}
}

func TestExpressionsSeeTheReport(t *testing.T) {
	r := gpio(t)
	for expression, want := range map[string]bool{
		`change.totals.restarts == 3`: true,
		`change.applications.exists(a, a.name == "report" && "gpio" in a.permissionsGained)`:                      true,
		`change.applications.all(a, a.rollout.waves <= 2)`:                                                        false,
		`change.applications.filter(a, a.namespace == "plant").map(a, size(a.restarts)).sum() == 3`:               true,
		`change.objects.changed.all(o, o.fields.all(f, f.path.startsWith("spec.permissions")))`:                   true,
		`size(change.devices.removed) == 0 && change.devices.before == 3`:                                         true,
		`change.objects.changed.exists(o, o.kind == "Device")`:                                                    false,
		`change.head.subject.matches("^[A-Z]") && change.risks.exists(r, r.rule == "permissions-gained")`:         true,
		`change.applications.all(a, a.restarts.all(s, s.wave >= 1 && s.device in ["a", "b", "c"]))`:               true,
		`change.boards.all(b, b.memory * 10 < b.memoryLimit * 9) && change.modules.all(m, m.after.size < 100000)`: true,
	} {
		p := parse(t, fmt.Sprintf("checks: [{name: x, expression: %q}]", expression))
		report := *r
		if err := Apply(t.Context(), &report, p, p); err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if holds := len(report.Risks) == len(r.Risks); holds != want {
			t.Errorf("%s: got %v", expression, report.Risks)
		}
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"rules: {nothing: warn}":                                                 "there is no rule",
		"rules: {permissions-gained: error}":                                     "use off, warn or deny",
		"rule: {}":                                                               "field rule not found",
		"checks: [{name: x}]":                                                    "expression must have",
		"checks: [{name: X y, expression: 'true'}]":                              "other characters",
		"checks: [{name: all-at-once, expression: 'true'}]":                      "name of a rule",
		"checks: [{name: x, level: maybe, expression: 'true'}]":                  "use off, warn or deny",
		"checks: [{name: x, expression: 'true'}, {name: x, expression: 'true'}]": "two checks",
		"rules: {}\n---\nrules: {}":                                              "one YAML document",
		"rules: [":                                                               "did not find",
		strings.Repeat("#", MaxBytes+1):                                          "the limit is",
		"checks: [" + many(maxChecks+1) + "]":                                    "the limit is 32",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v", text, err)
		}
	}
	for expression, want := range map[string]string{
		"1 + 1":                        "must yield a bool",
		"change.totals.rstarts == 1":   "undefined field 'rstarts'",
		"nothing":                      "undeclared reference",
		"change.totals.restarts ==":    "Syntax error",
		"change.totals.restarts > 'a'": "no matching overload",
	} {
		p := parse(t, fmt.Sprintf("checks: [{name: x, expression: %q}]", expression))
		if err := Apply(t.Context(), &plan.Report{}, p, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", expression, err)
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{name: c%d, expression: 'true'}, ", i)
	}
	return b.String()
}

// TestDearExpressionsDoNotHold: a check must neither hang nor pass because it could not be evaluated.
func TestDearExpressionsDoNotHold(t *testing.T) {
	r := &plan.Report{}
	for i := range 3000 {
		r.Devices.Removed = append(r.Devices.Removed, fmt.Sprintf("plant/d%d", i))
	}
	for _, expression := range []string{
		`change.devices.removed.all(a, change.devices.removed.all(b, change.devices.removed.all(c, a != b + c)))`,
		`change.devices.removed[5000] == "x"`,
		`[1, 2].map(x, 1 / (x - 1)).size() == 2`,
	} {
		p := parse(t, fmt.Sprintf("checks: [{name: x, level: deny, expression: %q}]", expression))
		report := *r
		if err := Apply(t.Context(), &report, p, p); err != nil {
			t.Fatal(err)
		}
		if report.Outcome != plan.OutcomeDenied || !strings.Contains(report.Risks[0].Message, "could not be evaluated") {
			t.Errorf("%s: got %+v", expression, report.Risks)
		}
	}
}
