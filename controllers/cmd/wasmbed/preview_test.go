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
	"wasmbed.dev/controllers/internal/preview"
	"wasmbed.dev/controllers/plan"
)

// exampleApp puts the module of an example app into a tree.
func exampleApp(t *testing.T, tree fleettest.Tree, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "apps", name, name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	tree.Set("apps/"+name+".wasm", string(content))
}

// changedFleet is a repository with two commits: a light on a virtual and a simulated board; then an application that
// traps on the virtual board only.
func changedFleet(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		command := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	tree := fleettest.Base()
	exampleApp(t, tree, "blink")
	exampleApp(t, tree, "misbehaves")
	tree.Set("devices/a.yaml", fleettest.Device("a", "board: sim-m4", "backend: Simulated"))
	tree.Set("devices/b.yaml", fleettest.Device("b", "board: mps2-an385", "backend: Simulated", "config: {misbehaves: {mode: trap}}"))
	tree.Set("apps/blink.yaml", fleettest.App("blink", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0, stack: 1024}"))
	tree.List("apps", "blink.yaml")
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	git("commit", "-q", "-m", "Base")
	tree.Set("apps/misbehaves.yaml", fleettest.App("misbehaves", "apps/misbehaves.wasm", "permissions: [log]", "limits: {memory: 4096, stack: 2048}", `config: {mode: chatter}`))
	tree.List("apps", "blink.yaml", "misbehaves.yaml")
	if err := tree.Write(dir); err != nil {
		t.Fatal(err)
	}
	git("add", "-A")
	git("commit", "-q", "-m", "Change")
	return dir
}

// TestPreviewOfACrash: a change that crashes on one board type fails, and the report says which board, why and where.
func TestPreviewOfACrash(t *testing.T) {
	dir, temp := changedFleet(t), t.TempDir()
	command := exec.CommandContext(t.Context(), program(t, "wasmbed"), "preview", "--path", dir, "--base", "HEAD~1", "--head", "HEAD", "-o", "json")
	command.Env = append(os.Environ(), "TMPDIR="+temp)
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	err := command.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != statusPreviewUnhealthy {
		t.Fatalf("%v\n%s%s", err, out.String(), said.String())
	}
	var r preview.Report
	decode(t, out.String(), &r)
	if len(r.Problems) != 1 || r.Outcome != preview.OutcomeUnhealthy {
		t.Fatalf("%+v", r)
	}
	p := r.Problems[0]
	if p.Device != "plant/b" || p.Board != "mps2-an385" || p.Application != "misbehaves" || !strings.Contains(p.Message, "unreachable in function") || !strings.Contains(p.Message, "at byte") {
		t.Errorf("the problem is %+v", p)
	}
	states := map[string]preview.Application{}
	for _, a := range r.Applications {
		states[a.Name+" "+a.Board] = a
	}
	virtual, simulated := states["misbehaves mps2-an385"], states["misbehaves sim-m4"]
	if simulated.After.Phase != "Running" || len(simulated.After.Log) == 0 || virtual.Change != plan.Added || virtual.Before.Phase != "" || len(virtual.After.Log) == 0 {
		t.Errorf("%+v\n%+v", simulated, virtual)
	}
	if light := states["blink mps2-an385"]; light.Change != plan.Unchanged || light.Before.Phase != "Running" || light.After.FuelPerSecond == 0 || light.After.Stack == 0 {
		t.Errorf("the light: %+v", light)
	}
	if r.Devices[0].Backend != "QEMU" {
		t.Errorf("%+v: the board is not virtual: make build installs QEMU", r.Devices)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
