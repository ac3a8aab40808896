// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"wasmbed.dev/controllers/plan"
)

// Costs in the units of CEL, of which Kubernetes gives one rule of a resource ten million. A million is about a second.
const (
	costOfCheck = 1_000_000
	costOfAll   = 5_000_000
	// interruptEvery is after how many steps of a loop the context is looked at.
	interruptEvery = 1000
)

// env knows the library that Kubernetes gives expressions, and `change` with the fields of the report, so that a
// misspelt field is an error when the policy is read and not when a check fails to fire.
var env = sync.OnceValues(func() (*cel.Env, error) {
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions: []cel.EnvOption{
			ext.NativeTypes(ext.ParseStructTag("json"), reflect.TypeFor[plan.Report]()),
			cel.Variable("change", cel.ObjectType("plan.Report")),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the environment of %s: %w", File, err)
	}
	return set.StoredExpressionsEnv(), nil
})

// compile makes a program of each check.
func compile(checks []Check) ([]cel.Program, error) {
	if len(checks) == 0 {
		return nil, nil
	}
	env, err := env()
	if err != nil {
		return nil, err
	}
	programs := make([]cel.Program, len(checks))
	for i, c := range checks {
		ast, issues := env.Compile(c.Expression)
		if issues.Err() != nil {
			return nil, fmt.Errorf("%s: check %s: %s", File, c.Name, plan.Text(issues.Err().Error()))
		}
		if ast.OutputType() != cel.BoolType {
			return nil, fmt.Errorf("%s: check %s: the expression yields %s, it must yield a bool", File, c.Name, ast.OutputType())
		}
		programs[i], err = env.Program(ast, cel.CostLimit(costOfCheck), cel.EvalOptions(cel.OptTrackCost), cel.InterruptCheckFrequency(interruptEvery))
		if err != nil {
			return nil, fmt.Errorf("%s: check %s: %s", File, c.Name, plan.Text(err.Error()))
		}
	}
	return programs, nil
}

// evaluate adds a risk for each check that does not hold. One that cannot be evaluated, or is too dear, does not hold.
func evaluate(ctx context.Context, r *plan.Report, checks []Check, programs []cel.Program) error {
	variables := map[string]any{"change": r}
	spent := uint64(0)
	var failed []plan.Risk
	for i, c := range checks {
		risk := plan.Risk{Rule: c.Name, Level: c.Level, Message: plan.Text(c.Message)}
		if spent > costOfAll {
			risk.Message = "it was not evaluated: the checks before it cost too much together; make them simpler"
			failed = append(failed, risk)
			continue
		}
		value, details, err := programs[i].ContextEval(ctx, variables)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if details != nil && details.ActualCost() != nil {
			spent += *details.ActualCost()
		} else {
			spent += costOfCheck
		}
		switch {
		case err != nil:
			risk.Message = plan.Text("it could not be evaluated: " + err.Error())
		case value.Value() == true:
			continue
		case risk.Message == "":
			risk.Message = plan.Text("this does not hold: " + c.Expression)
		}
		failed = append(failed, risk)
	}
	r.Risks = append(r.Risks, failed...)
	return nil
}
