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
	f.Add(wasmHeader)
	for _, app := range []string{"blink", "thermostat"} {
		module, err := os.ReadFile(filepath.Join(fleetApps, app, app+".wasm"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(module)
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		if stripped, err := stripCustom(module); err == nil {
			if again, err := stripCustom(stripped); err != nil || len(again) != len(stripped) || len(stripped) > len(module) {
				t.Errorf("stripped to %d bytes, and again to %d: %v", len(stripped), len(again), err)
			}
		}
		declaredMemory(module)
		heapBase(module)
	})
}
