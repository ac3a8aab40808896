// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"
)

// FuzzAllowedPrune reads arbitrary commit messages: a removal is allowed only where the trailer's name stands.
func FuzzAllowedPrune(f *testing.F) {
	for _, message := range []string{"", "Wasmbed-Allow-Prune: 5", "a\n\nWasmbed-Allow-Prune: 5\nwasmbed-allow-prune: 7\r\n", "Wasmbed-Allow-Prune: -1",
		"a\n\nWasmbed-Allow-Prune: 99999999999999999999\n", "Wasmbed-Allow-Prune: 5\n\nmore", "Wasmbed-Allow-Prune 5", "\x00\n\n: 5"} {
		f.Add(message)
	}
	ids := make([]ID, 20)
	for i := range ids {
		ids[i] = ID{Kind: kindDevice, Name: string(rune('a' + i))}
	}
	f.Fuzz(func(t *testing.T, message string) {
		allowed := allowedPrune(message)
		if allowed < 0 || allowed > 0 && !strings.Contains(strings.ToLower(message), "wasmbed-allow-prune") {
			t.Errorf("allows %d", allowed)
		}
		if b := PruneBrake(ids[:15], ids, message); b.Blocked != (allowed < 15) || b.Blocked != (b.Message != "") {
			t.Errorf("allows %d: %+v", allowed, b)
		}
	})
}
