// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"
)

// Seeds that once showed a difference: 2051312 was wazero's compiler.
var findings = []uint64{2051312}

func TestRuntimeAgreesWithWazero(t *testing.T) {
	f, err := newFuzzer(context.Background(), "../wasm_opcodes.h")
	if err != nil {
		t.Fatal(err)
	}
	seeds := findings
	for s := uint64(1); s <= 300; s++ {
		seeds = append(seeds, s)
	}
	for _, s := range seeds {
		if _, err := f.one(s); err != nil {
			t.Fatalf("seed %d: %v", s, err)
		}
	}
	if missing := f.missing(); len(missing) > 0 {
		t.Errorf("never generated: %v", missing)
	}
}
