// SPDX-License-Identifier: Apache-2.0

package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmbed.dev/controllers/internal/home"
)

func newHome(t *testing.T) home.Dir {
	t.Helper()
	dir := home.Dir(filepath.Join(t.TempDir(), "home"))
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestTheFirstCommitHoldsTheFleetAndNoPrograms(t *testing.T) {
	dir := newHome(t)
	if _, err := makeFleetRepository(dir, "../../.."); err != nil {
		t.Fatal(err)
	}
	runGit(t, dir.FleetRepository(), "fsck", "--strict")
	files := strings.Split(strings.TrimSpace(runGit(t, dir.FleetRepository(), "ls-tree", "-r", "--name-only", "main")), "\n")
	for _, want := range []string{"kustomization.yaml", "apps/blink/blink.wasm", "apps/blink/blink.wat", "apps/thermostat/thermostat.c", "devices/kustomization.yaml", "clusters/local/gateway.yaml"} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not in the first commit", want)
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".go") || strings.HasPrefix(file, "clusters/embedded") || strings.Contains(file, "testdata") || strings.HasPrefix(file, "devices/simulator") {
			t.Errorf("%s is in the first commit", file)
		}
	}
	clone := filepath.Join(t.TempDir(), "clone")
	runGit(t, "", "clone", "-q", dir.FleetRepository(), clone)
	content, err := os.ReadFile("../../../apps/blink/blink.wasm")
	cloned, cloneErr := os.ReadFile(filepath.Join(clone, "apps/blink/blink.wasm"))
	if err != nil || cloneErr != nil || string(content) != string(cloned) {
		t.Errorf("the module in the clone is another: %v, %v", err, cloneErr)
	}
}

func TestTheFirstCommitOfAFleetOfItsOwnHoldsAllOfIt(t *testing.T) {
	source := t.TempDir()
	for name, mode := range map[string]os.FileMode{
		"kustomization.yaml": 0o644, "plant/one.yaml": 0o644, "policy.yaml": 0o644, "ci/review": 0o755, ".github/workflows/review.yaml": 0o644,
		".git/config": 0o644, ".wasmbed/kubeconfig": 0o600, "apps/light/target/debug.wasm": 0o644,
	} {
		path := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#"), mode); err != nil {
			t.Fatal(err)
		}
	}
	dir := newHome(t)
	if _, err := makeFleetRepository(dir, source); err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(runGit(t, dir.FleetRepository(), "ls-tree", "-r", "--format=%(objectmode) %(path)", "main"))
	want := strings.Fields("100644 .github/workflows/review.yaml 100755 ci/review 100644 kustomization.yaml 100644 plant/one.yaml 100644 policy.yaml")
	if !slices.Equal(got, want) {
		t.Errorf("the first commit holds %v", got)
	}
}

func TestAFleetRepositoryThatIsThereIsKept(t *testing.T) {
	dir := newHome(t)
	if _, err := makeFleetRepository(dir, "../../.."); err != nil {
		t.Fatal(err)
	}
	before := runGit(t, dir.FleetRepository(), "rev-parse", "main")
	note, err := makeFleetRepository(dir, t.TempDir())
	if err != nil || note != "kept" {
		t.Errorf("second make: %q, %v", note, err)
	}
	if after := runGit(t, dir.FleetRepository(), "rev-parse", "main"); after != before {
		t.Error("the second make changed the branch")
	}
}

func TestADirectoryWithoutAFleetGivesAnEmptyRepository(t *testing.T) {
	dir := newHome(t)
	note, err := makeFleetRepository(dir, t.TempDir())
	if err != nil || !strings.Contains(note, "empty") {
		t.Errorf("%q, %v", note, err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	runGit(t, "", "clone", "-q", dir.FleetRepository(), clone)
}

func TestTheHookCallsTheProgramForTheBranchOnly(t *testing.T) {
	dir := newHome(t)
	if _, err := makeFleetRepository(dir, "../../.."); err != nil {
		t.Fatal(err)
	}
	calls := filepath.Join(t.TempDir(), "calls")
	program := filepath.Join(t.TempDir(), "it's a program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >> '"+calls+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := installHook(dir, program); err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	runGit(t, "", "clone", "-q", dir.FleetRepository(), clone)
	runGit(t, clone, "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-q", "--allow-empty", "-m", "x")
	runGit(t, clone, "push", "-q", "origin", "HEAD:refs/heads/topic")
	if text, err := os.ReadFile(calls); err == nil {
		t.Errorf("a push to another branch called the program: %s", text)
	}
	runGit(t, clone, "push", "-q", "origin", "HEAD:main")
	text, err := os.ReadFile(calls)
	want := "notify --home " + string(dir) + " --commit " + strings.TrimSpace(runGit(t, clone, "rev-parse", "HEAD")) + " --at 20"
	if err != nil || !strings.HasPrefix(string(text), want) {
		t.Errorf("the hook called %q, %v; want %q…", text, err, want)
	}
}

func TestGatewayPortsStayTheSame(t *testing.T) {
	g := &gateways{home: newHome(t), ports: home.PortsFrom(30450)}
	ports := func(key string) gatewayPorts {
		t.Helper()
		p, err := g.portsOf(key)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, second, third := ports("plant.edge"), ports("plant.other"), ports("plant.third")
	if first != (gatewayPorts{30450, 30451}) || second.Device < 30480 || second.HTTP <= second.Device || third.Device <= second.HTTP || third.HTTP <= third.Device || third.HTTP > 31000 {
		t.Errorf("first %v, second %v, third %v", first, second, third)
	}
	g.ports = home.PortsFrom(40000)
	if again := ports("plant.other"); again != second {
		t.Errorf("the second gateway moved from %v to %v", second, again)
	}
	if moved := ports("plant.edge"); moved != (gatewayPorts{40000, 40001}) {
		t.Errorf("the first gateway does not follow the installation's ports: %v", moved)
	}
}
