// SPDX-License-Identifier: Apache-2.0

package checkout_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/checkout"
)

// repository makes one with a commit in which fleet/a says "committed"; the working tree says otherwise.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "committed")
	git(t, dir, "add", "-A")
	git(t, dir, "-c", "user.name=Tester", "-c", "user.email=tester@example.org", "commit", "-q", "-m", "Start")
	write(t, dir, "changed")
	return dir
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func write(t *testing.T, dir, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "fleet"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "fleet", "a"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestClonesOfEveryKind(t *testing.T) {
	origin := repository(t)
	clones := map[string][]string{
		"full":    {"clone", "-q"},
		"shared":  {"clone", "-q", "--shared"},
		"bare":    {"clone", "-q", "--bare"},
		"shallow": {"clone", "-q", "--depth=1", "--no-local"},
	}
	for name, args := range clones {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "clone")
			git(t, ".", append(args, origin, dir)...)
			says(t, dir, "committed")
		})
	}
	t.Run("worktree", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "worktree")
		git(t, origin, "worktree", "add", "-q", "--detach", dir)
		says(t, dir, "committed")
	})
}

func says(t *testing.T, dir, want string) {
	t.Helper()
	c, err := checkout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	commit, err := c.Commit("HEAD")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Tree(commit).ReadFile("fleet/a", 100); err != nil || string(got) != want {
		t.Errorf("the commit says %q, %v", got, err)
	}
}

func TestTheFleetMayBeADirectoryOfIt(t *testing.T) {
	c, err := checkout.Open(filepath.Join(repository(t), "fleet"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Root != "fleet" {
		t.Errorf("the fleet lies in %q", c.Root)
	}
	tree, err := c.WorkingTree()
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if got, err := tree.ReadFile("fleet/a", 100); err != nil || string(got) != "changed" {
		t.Errorf("the working tree says %q, %v", got, err)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	if _, err := checkout.Open(t.TempDir()); !errors.Is(err, checkout.ErrNoRepository) {
		t.Errorf("no repository: %v", err)
	}
	dir := repository(t)
	if _, err := checkout.Open(filepath.Join(dir, "fleet", "a")); err == nil || !strings.Contains(err.Error(), "name the directory") {
		t.Errorf("a file: %v", err)
	}
	c, err := checkout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Commit("nowhere"); err == nil || !strings.Contains(err.Error(), `find revision "nowhere"`) {
		t.Errorf("no such revision: %v", err)
	}
}
