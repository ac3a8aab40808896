// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
)

// TestPlanStatus is about the exit status of each outcome; what a plan says is tested in controllers/plan.
func TestPlanStatus(t *testing.T) {
	dir := t.TempDir()
	if err := fleettest.Base().Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"init -q -b main", "add -A", "-c user.name=Test -c user.email=test@example.com -c commit.gpgsign=false commit -q -m Start"} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	blink := func(spec ...string) string {
		return fleettest.App("blink", "apps/blink.wasm", append([]string{"limits: {memory: 0}"}, spec...)...)
	}
	for _, test := range []struct {
		name, blink, policy string
		args                []string
		status              int
		out                 string
	}{
		{"no change", blink("permissions: [gpio, timer]"), "", nil, 0, "nothing changes"},
		{"a change", blink("permissions: [gpio, timer, log]"), "", nil, statusPlanChanges, "warn permissions-gained"},
		{"a change, as a comment", blink("permissions: [gpio, timer, log]"), "", []string{"-o", "markdown"}, statusPlanChanges, "<!-- wasmbed-plan . -->\n"},
		{"a denied change", blink("permissions: [gpio, timer, log]"), "rules: {permissions-gained: deny}", nil, statusPlanDenied, "deny permissions-gained"},
		{"a refused change", blink("permissions: [gpio]"), "", nil, statusPlanDenied, "refused with 1 error"},
		{"a broken policy", blink("permissions: [gpio, timer]"), "rules: [", nil, 1, ""},
		{"no such revision", blink("permissions: [gpio, timer]"), "", []string{"--base", "nowhere"}, 1, ""},
	} {
		for name, content := range map[string]string{"apps/blink.yaml": test.blink, "policy.yaml": test.policy} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := newPlanCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append([]string{"--path", dir}, test.args...))
		err := cmd.ExecuteContext(t.Context())
		status := 0
		var exit exitError
		switch {
		case errors.As(err, &exit):
			status = exit.status
		case err != nil:
			status = 1
		}
		if status != test.status || !strings.Contains(out.String(), test.out) || test.out == "" && out.Len() > 0 {
			t.Errorf("%s: status %d, %v\n%s", test.name, status, err, out.String())
		}
	}
}
