// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	"testing"
)

// How fast apps run in a simulated device: a loop of 8 bytes and 5
// instructions, 1000 units of fuel at a time.
func BenchmarkRun(b *testing.B) {
	ctx := context.Background()
	c, err := New(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(ctx)
	p, err := c.Program(ctx, module(section(1, vec("\x60\x01\x7f\x00")), section(3, vec("\x00")), section(7, vec(name("run")+"\x00\x00")),
		section(10, vec(body("\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b")))))
	if err != nil {
		b.Fatal(err)
	}
	i, err := p.Instantiate(ctx, Config{Limits: Limits{Stack: 512}})
	if err != nil {
		b.Fatal(err)
	}
	if err := i.Call(ctx, "run", 1<<32-1); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s, err := i.Run(ctx, 1000); s != OutOfFuel || err != nil {
			b.Fatal(s, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/fuel")
}
