// SPDX-License-Identifier: Apache-2.0

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"wasmbed.dev/controllers/internal/home"
)

// installHook writes the fleet repository's hook anew, so that it names this program wherever it lies now.
func installHook(dir home.Dir, program string) error {
	script := fmt.Sprintf(`#!/bin/sh
# Tells the controllers of a push at once, and the person who pushed how to follow it. Written by wasmbed up.
now=$(date -u +%%Y-%%m-%%dT%%H:%%M:%%S.%%NZ)
while read -r old new ref; do
	[ "$ref" = refs/heads/%s ] || continue
	%s notify --home %s --commit "$new" --at "$now" || :
done
`, fleetBranch, shellQuote(program), shellQuote(string(dir)))
	hooks := filepath.Join(dir.FleetRepository(), "hooks")
	if err := os.MkdirAll(hooks, 0o700); err != nil {
		return fmt.Errorf("install the fleet repository's hook: %w", err)
	}
	return home.WriteFile(filepath.Join(hooks, "post-receive"), []byte(script), 0o700)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
