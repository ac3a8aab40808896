// SPDX-License-Identifier: Apache-2.0

// Package policy says what a team makes of the risks of a change: policy.yaml in the fleet's directory sets each rule
// to off, warn or deny and adds checks of its own, CEL expressions over the report.
//
// The policies of the base and of the head commit hold both, and the stricter level counts: otherwise a change could
// switch off the rule that denies it. What a change relaxes takes effect for the next one.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"wasmbed.dev/controllers/plan"
)

// File is the name of the policy in the fleet's directory.
const File = "policy.yaml"

// Bounds of a policy.
const (
	MaxBytes      = 64 << 10
	maxChecks     = 32
	maxExpression = 4096
	maxMessage    = 512
	maxName       = 63
)

// Policy is what policy.yaml says.
type Policy struct {
	// Rules are levels by the rules' names.
	Rules map[string]string `yaml:"rules"`
	// Checks are rules of the team's own.
	Checks []Check `yaml:"checks"`
}

// Check is a CEL expression that must hold for a change.
type Check struct {
	// Name in the report: lower-case letters, digits and dashes.
	Name string `yaml:"name"`
	// Level when it does not hold: warn, deny, or off. The default is warn.
	Level string `yaml:"level"`
	// Expression over `change`, the report; it must yield a bool.
	Expression string `yaml:"expression"`
	// Message for people, when it does not hold.
	Message string `yaml:"message"`
}

// Parse reads policy.yaml. Empty content is a policy that changes nothing.
func Parse(content []byte) (*Policy, error) {
	if len(content) > MaxBytes {
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d", File, len(content), MaxBytes)
	}
	p := &Policy{}
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	switch err := decoder.Decode(p); {
	case errors.Is(err, io.EOF):
		return p, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %s", File, plan.Text(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: it must be one YAML document", File)
	}
	return p, p.check()
}

func (p *Policy) check() error {
	for _, name := range slices.Sorted(maps.Keys(p.Rules)) {
		if !slices.ContainsFunc(plan.Rules, func(r plan.Rule) bool { return r.Name == name }) {
			return fmt.Errorf("%s: there is no rule %q; there are: %s", File, plan.Text(name), ruleNames())
		}
		if rank(p.Rules[name]) < 0 {
			return fmt.Errorf("%s: rule %s has the level %q: use off, warn or deny", File, name, plan.Text(p.Rules[name]))
		}
	}
	if len(p.Checks) > maxChecks {
		return fmt.Errorf("%s: there are %d checks, the limit is %d", File, len(p.Checks), maxChecks)
	}
	seen := map[string]bool{}
	for i := range p.Checks {
		c := &p.Checks[i]
		if err := c.check(); err != nil {
			return fmt.Errorf("%s: checks[%d]: %w", File, i, err)
		}
		if seen[c.Name] {
			return fmt.Errorf("%s: checks[%d]: there are two checks %q", File, i, c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}

func (c *Check) check() error {
	if c.Level == "" {
		c.Level = plan.LevelWarn
	}
	for _, r := range c.Name {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') {
			return fmt.Errorf("the name %q has other characters than lower-case letters, digits and dashes", plan.Text(c.Name))
		}
	}
	switch {
	case c.Name == "" || len(c.Name) > maxName:
		return fmt.Errorf("name must have 1 to %d characters", maxName)
	case slices.ContainsFunc(plan.Rules, func(r plan.Rule) bool { return r.Name == c.Name }):
		return fmt.Errorf("%q is the name of a rule: give the check another one", c.Name)
	case rank(c.Level) < 0:
		return fmt.Errorf("%s has the level %q: use off, warn or deny", c.Name, plan.Text(c.Level))
	case c.Expression == "" || len(c.Expression) > maxExpression:
		return fmt.Errorf("%s: expression must have 1 to %d characters", c.Name, maxExpression)
	case len(c.Message) > maxMessage:
		return fmt.Errorf("%s: message has more than %d characters", c.Name, maxMessage)
	}
	return nil
}

func ruleNames() string {
	names := make([]string, len(plan.Rules))
	for i, r := range plan.Rules {
		names[i] = r.Name
	}
	return strings.Join(names, ", ")
}

// rank orders levels by strictness; -1: there is no such level.
func rank(level string) int {
	return slices.Index([]string{plan.LevelOff, plan.LevelWarn, plan.LevelDeny}, level)
}

// level of a rule under a policy.
func (p *Policy) level(rule plan.Rule) string {
	if level, ok := p.Rules[rule.Name]; ok {
		return level
	}
	return rule.Level
}

// Apply gives each risk of a report its level, adds those of the checks that do not hold, sorts denied ones first, and
// sets the outcome. The error is about an expression that cannot be compiled, or ctx ended.
func Apply(ctx context.Context, r *plan.Report, base, head *Policy) error {
	if r.Refused {
		return nil
	}
	checks := merged(base, head)
	programs, err := compile(checks)
	if err != nil {
		return err
	}
	if relaxed := relaxations(base, head); len(relaxed) > 0 {
		i := slices.IndexFunc(plan.Rules, func(rule plan.Rule) bool { return rule.Name == plan.RulePolicyRelaxed })
		r.Risks = append(r.Risks, plan.Risk{
			Rule: plan.RulePolicyRelaxed, Level: plan.Rules[i].Level,
			Message: File + " becomes laxer, which takes effect for the next change: " + plan.Text(strings.Join(relaxed, "; ")),
		})
	}
	levels := map[string]string{}
	for _, rule := range plan.Rules {
		levels[rule.Name] = stricter(base.level(rule), head.level(rule))
	}
	for i := range r.Risks {
		r.Risks[i].Level = levels[r.Risks[i].Rule]
	}
	r.Risks = slices.DeleteFunc(r.Risks, func(risk plan.Risk) bool { return risk.Level == plan.LevelOff })
	if err := evaluate(ctx, r, checks, programs); err != nil {
		return err
	}
	slices.SortStableFunc(r.Risks, func(a, b plan.Risk) int { return rank(b.Level) - rank(a.Level) })
	if len(r.Risks) > 0 && r.Risks[0].Level == plan.LevelDeny {
		r.Outcome = plan.OutcomeDenied
	}
	return nil
}

func stricter(a, b string) string {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// merged are the checks of both policies. One that both have counts once, with the stricter level; one whose
// expression differs counts in both forms.
func merged(base, head *Policy) []Check {
	checks := slices.Clone(base.Checks)
	for _, c := range head.Checks {
		i := slices.IndexFunc(checks, func(o Check) bool { return o.Name == c.Name && o.Expression == c.Expression })
		if i < 0 {
			checks = append(checks, c)
			continue
		}
		c.Level = stricter(c.Level, checks[i].Level)
		checks[i] = c
	}
	return slices.DeleteFunc(checks, func(c Check) bool { return c.Level == plan.LevelOff })
}

// relaxations say what the head's policy no longer asks for.
func relaxations(base, head *Policy) []string {
	var out []string
	for _, rule := range plan.Rules {
		if was, is := base.level(rule), head.level(rule); rank(is) < rank(was) {
			out = append(out, fmt.Sprintf("%s from %s to %s", rule.Name, was, is))
		}
	}
	for _, c := range base.Checks {
		if c.Level == plan.LevelOff {
			continue
		}
		i := slices.IndexFunc(head.Checks, func(o Check) bool { return o.Name == c.Name })
		switch {
		case i < 0:
			out = append(out, "check "+c.Name+" goes")
		case rank(head.Checks[i].Level) < rank(c.Level):
			out = append(out, fmt.Sprintf("check %s from %s to %s", c.Name, c.Level, head.Checks[i].Level))
		case head.Checks[i].Expression != c.Expression:
			out = append(out, "the expression of check "+c.Name+" changes")
		}
	}
	return out
}
