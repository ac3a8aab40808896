// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what sessions and the README show anew")

var commitHash = regexp.MustCompile(`\([0-9a-f]{7}\)`)

// TestTheReadmeShowsAComment does what the README does before it shows a comment, with the example fleet, and wants that comment.
func TestTheReadmeShowsAComment(t *testing.T) {
	path := filepath.Join(root, "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "\n> <!-- wasmbed-plan . -->\n", "\n\n`wasmbed preview` tries"
	before, rest, ok := strings.Cut(string(readme), begin)
	shown, after, ok2 := strings.Cut(rest, end)
	session := regexp.MustCompile(`(?m)^    (sed .*)\n    \.\./bin/wasmbed plan -o markdown$`).FindStringSubmatch(before)
	if !ok || !ok2 || session == nil {
		t.Fatal("README.md shows no comment after a session of sed and wasmbed plan")
	}
	dir := t.TempDir()
	for _, args := range [][]string{
		{"cp", "-r", "apps", "devices", "clusters", "kustomization.yaml", dir}, {"git", "-C", dir, "init", "-q", "-b", "main"}, {"git", "-C", dir, "add", "-A"},
		{"git", "-C", dir, "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "Start"},
		{"sh", "-c", "cd " + dir + " && " + session[1]},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	out, said := says(t, command(newPlanCommand(), "--path", dir, "-o", "markdown"))
	if said != "" {
		t.Fatal(said)
	}
	out = commitHash.ReplaceAllString(strings.TrimSpace(out), "(c3cce84)")
	var quote strings.Builder
	for line := range strings.SplitSeq(out, "\n") {
		quote.WriteString(strings.TrimRight("> "+line, " ") + "\n")
	}
	_, want, _ := strings.Cut("\n"+strings.TrimSpace(quote.String()), begin)
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != shown {
		t.Errorf("README.md does not show what is written now (go test -update writes it):\n%s", want)
	}
}
