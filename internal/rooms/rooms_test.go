// SPDX-License-Identifier: Apache-2.0

// Package rooms holds the test that the packages of this module import only what ARCHITECTURE.md lets them.
package rooms

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "wasmbed.dev/"

// rule says what the packages of a room may import; everything is true for rooms that only wire others together.
type rule struct {
	may        []string
	everything bool
}

func TestPackagesImportWhatTheirRoomMay(t *testing.T) {
	rules := readTable(t, filepath.Join("..", "..", "ARCHITECTURE.md"))
	used := map[string]bool{}
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		room := roomOf(rules, path)
		if room == "" {
			t.Errorf("package %s is in no room of ARCHITECTURE.md's table: add its room, or move it", path)
			continue
		}
		used[room] = true
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module)
			if !ours || roomOf(rules, other) == room || rules[room].everything {
				continue
			}
			if !slices.Contains(rules[room].may, roomOf(rules, other)) {
				t.Errorf("%s imports %s: room %s may import only %v (ARCHITECTURE.md, \"Rooms\"): pass a value or an interface in, or move the code",
					path, other, room, rules[room].may)
			}
		}
	}
	for room, r := range rules {
		for _, other := range r.may {
			if _, ok := rules[other]; !ok {
				t.Errorf("room %s may import %s, which is no room", room, other)
			}
		}
		if _, err := os.Stat(filepath.Join("..", "..", room)); err != nil {
			t.Errorf("room %s: %v", room, err)
		}
	}
	if len(used) < 5 {
		t.Errorf("only %d rooms have packages: the table was not read right", len(used))
	}
}

func TestABreachOfTheTableIsSeen(t *testing.T) {
	rules := readTable(t, filepath.Join("..", "..", "ARCHITECTURE.md"))
	if slices.Contains(rules["gateway/protocol"].may, "controllers/pki") || rules["gateway/protocol"].everything {
		t.Error("the protocol may import the certificates")
	}
	if got := roomOf(rules, "gateway/internal/session/x"); got != "gateway/internal/session" {
		t.Errorf("a package belongs to the most exact room, got %q", got)
	}
}

// roomOf is the longest room that holds the package.
func roomOf(rules map[string]rule, path string) string {
	for p := path; p != "." && p != "/"; p = filepath.Dir(p) {
		if _, ok := rules[p]; ok {
			return p
		}
	}
	return ""
}

var code = regexp.MustCompile("`([^`]+)`")

// readTable reads the table under "## Rooms".
func readTable(t *testing.T, path string) map[string]rule {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Rooms\n")
	if !found {
		t.Fatal("ARCHITECTURE.md has no section \"Rooms\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rules := map[string]rule{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		r := rule{everything: strings.TrimSpace(cells[3]) == "everything"}
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			r.may = append(r.may, m[1])
		}
		rules[code.FindStringSubmatch(cells[1])[1]] = r
	}
	return rules
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"...")
	command.Dir = filepath.Join("..", "..")
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
