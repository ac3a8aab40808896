// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuildPrintsWhatAPersonWantsToKnow(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "apps"), os.DirFS("../../../apps")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	run := func(args ...string) (string, error) {
		cmd := newBuildCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(args)
		cmd.SetContext(t.Context())
		err := cmd.Execute()
		return out.String(), err
	}
	out, err := run("blink", "apps/thermostat")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"blink: apps/blink/blink.wasm, ", " bytes, by wat2wasm", "permissions  gpio, timer", "memory       none", "ocre_sensors_read (sensor)", "limits.memory is at least that"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
	if out, err = run("--check"); err != nil || strings.Count(out, "is what its source gives") < 4 {
		t.Errorf("--check: %v\n%s", err, out)
	}
	if err := os.WriteFile("apps/blink/blink.wasm", []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err = run("--check")
	if err == nil || !strings.Contains(err.Error(), "apps/blink/blink.wasm") || !strings.Contains(out, "thermostat") {
		t.Errorf("--check with one stale module, which must not hide the others: %v\n%s", err, out)
	}
	if _, err := run("no-such-app"); err == nil {
		t.Error("an app that does not exist was built")
	}
}
