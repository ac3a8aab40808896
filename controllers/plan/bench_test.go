// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
)

// BenchmarkCompute makes reports of changes in a fleet of 10,000 devices with ten applications, without the judgement.
func BenchmarkCompute(b *testing.B) {
	everything := func(t fleettest.Tree) {
		for name, f := range t {
			switch {
			case strings.Contains(name, "device-"):
				t.Replace(name, "serial: \"0000", "serial: \"0001")
			case strings.HasPrefix(name, "apps/app-") && strings.HasSuffix(name, ".yaml"):
				t.Set(name, f.Content+"  config: {a: \"1\"}\n")
			}
		}
	}
	wide := "selector: {}\n  rollout: {maxUnavailable: 1}\n  #"
	for _, bench := range []struct {
		name string
		edit func(fleettest.Tree)
	}{
		{"oneApplication", func(t fleettest.Tree) { t.Replace("apps/app-0.yaml", "[gpio, timer]", "[gpio, timer, log]") }},
		{"oneDevice", func(t fleettest.Tree) { t.Replace("fleet/d042/device-04242.yaml", "tier: t0", "tier: t1") }},
		{"oneByOneEverywhere", func(t fleettest.Tree) { t.Replace("apps/app-0.yaml", "selector:", wide) }},
		{"everything", everything},
	} {
		b.Run(bench.name, func(b *testing.B) {
			base, head := plantest.Changed(fleettest.Large(10_000, 100), bench.edit).Judge(b)
			if head.Refused() {
				b.Fatal(head.Findings[0])
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := plan.Compute(b.Context(), plan.Input{Base: base, Head: head}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
