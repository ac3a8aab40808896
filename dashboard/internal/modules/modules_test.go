// SPDX-License-Identifier: Apache-2.0

package modules

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The example's modules have pages of one byte, which not every reader of WebAssembly knows.
func TestWhatTheExamplesImport(t *testing.T) {
	for name, want := range map[string]string{"counter": "env.wasmbed_metric_set", "thermostat": "env.ocre_sensors_open", "blink": "env.ocre_gpio_pin_toggle"} {
		content, err := os.ReadFile("../../../apps/" + name + "/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		facts, err := inspect(t.Context(), content)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Contains(facts.Imports, want) || facts.Size != int64(len(content)) {
			t.Errorf("%s: %+v, want an import %s and size %d", name, facts, want, len(content))
		}
		if name == "counter" && (facts.MemoryBytes == 0 || facts.MemoryBytes >= 64<<10) {
			t.Errorf("counter: memory of %d bytes, want less than a page of 64 KiB", facts.MemoryBytes)
		}
	}
}

func TestWhatIsNoModuleIsRefused(t *testing.T) {
	if _, err := inspect(t.Context(), []byte("no module")); err == nil || !strings.Contains(err.Error(), "read the module") {
		t.Errorf("got %v, want a refusal", err)
	}
}
