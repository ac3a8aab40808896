// SPDX-License-Identifier: Apache-2.0

package appbuild

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzModule reads arbitrary modules, as a fleet's repository may hold them.
func FuzzModule(f *testing.F) {
	f.Add([]byte("#!/bin/sh"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	for _, app := range []string{"blink", "thermostat"} {
		module, err := os.ReadFile(filepath.Join(fleetApps, app, app+".wasm"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(module)
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		_, _ = Inspect(t.Context(), module)
		trimmed, _, err := trimModule(t.Context(), module, false, false)
		if err != nil {
			return
		}
		again, saved, err := trimModule(t.Context(), trimmed, false, false)
		if err != nil || len(again) != len(trimmed) || saved.Total() != 0 {
			t.Errorf("trimmed to %d bytes, and again to %d: %v", len(trimmed), len(again), err)
		}
	})
}
