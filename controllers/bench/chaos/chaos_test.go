// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestChaos goes through rounds under a fixed seed. WASMBED_CHAOS says for how long, WASMBED_CHAOS_SEED under which seed.
func TestChaos(t *testing.T) {
	span, seed := 10*time.Minute, uint64(7)
	var err error
	if text := os.Getenv("WASMBED_CHAOS"); text != "" {
		if span, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("WASMBED_CHAOS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), filepath.Join("..", "..", "..", "bin"), seed, span, t.Logf); err != nil {
		t.Fatal(err)
	}
}
