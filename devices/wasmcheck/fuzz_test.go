// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	"os"
	"testing"
)

// FuzzInspect judges arbitrary modules: what the judge says fits the module, and it can judge the next one.
func FuzzInspect(f *testing.F) {
	for _, seed := range [][]byte{sleeper, looper, storer, recursor, {}} {
		f.Add(seed)
	}
	for _, app := range []string{"blink/blink", "thermostat/thermostat"} {
		code, err := os.ReadFile("../../apps/" + app + ".wasm")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(code)
	}
	ctx := context.Background()
	c, err := New(ctx)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close(ctx) })
	f.Fuzz(func(t *testing.T, code []byte) {
		info, err := c.Inspect(ctx, code)
		if err == nil {
			if len(info.Imports)+len(info.Exports) > len(code) {
				t.Errorf("%d imports and %d exports in %d bytes", len(info.Imports), len(info.Exports), len(code))
			}
			_, _ = c.RAM(ctx, code, Limits{}) // a limit may refuse it
			functionNames(code)
		}
		if _, err := c.Inspect(ctx, sleeper); err != nil {
			t.Fatalf("a good module after it: %v", err)
		}
	})
}
