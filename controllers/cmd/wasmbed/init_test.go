// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/scaffold"
)

// TestAFleetThatWasInitialisedRuns: what init makes is brought up with `up --fleet`, and everything is ready.
func TestAFleetThatWasInitialisedRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fleet")
	s := &stack{t: t, home: home.Dir(filepath.Join(t.TempDir(), "home")), base: freePortBase(t)}
	s.must("", program(t, "wasmbed"), "init", "--name", "meadow", "--board", "sim-m4", "--board", "mps2-an385", "--language", "c", dir)
	t.Cleanup(func() {
		if out, err := s.wasmbed("--home", string(s.home), "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	s.must("", program(t, "wasmbed"), "--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base), "--fleet", dir)
	out, err := s.wasmbed("--home", string(s.home), "status")
	if err != nil || !strings.Contains(out, "meadow/thermostat") {
		t.Errorf("status: %v\n%s", err, out)
	}
}

// TestAnEmptyFleetIsUpAtOnce: who has no fleet yet need not wait for one.
func TestAnEmptyFleetIsUpAtOnce(t *testing.T) {
	s := &stack{t: t, home: home.Dir(filepath.Join(t.TempDir(), "home")), base: freePortBase(t)}
	t.Cleanup(func() {
		if out, err := s.wasmbed("--home", string(s.home), "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	out := s.must(t.TempDir(), program(t, "wasmbed"), "--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base))
	if !strings.Contains(out, "empty, until a first commit is pushed") {
		t.Errorf("up: %s", out)
	}
	out, err := s.wasmbed("--home", string(s.home), "status")
	if err == nil || !strings.Contains(out, "push a first commit") {
		t.Errorf("status: %v\n%s", err, out)
	}
	s.upWithARefusedCommit(fleettest.Base())
}

// upWithARefusedCommit pushes while nothing runs: a commit that is refused does not keep `up` waiting, and one that heals it is waited for.
func (s *stack) upWithARefusedCommit(good fleettest.Tree) {
	t := s.t
	source := filepath.Join(t.TempDir(), "source.git")
	repository, err := git.PlainInit(source, true)
	if err != nil {
		t.Fatal(err)
	}
	down := func() { s.must("", program(t, "wasmbed"), "--home", string(s.home), "down") }
	push := func(tree fleettest.Tree) {
		t.Helper()
		commit, err := tree.Commit(repository.Storer, "A commit")
		if err != nil {
			t.Fatal(err)
		}
		if err := repository.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", commit)); err != nil {
			t.Fatal(err)
		}
		s.must(source, "git", "push", "-q", "-f", s.home.FleetRepository(), "main")
	}
	up := []string{"--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base), "--timeout", "2m"}
	bad := fleettest.Base()
	bad.Replace("kustomization.yaml", "resources:", "resources:\n- nowhere.yaml")
	down()
	push(bad)
	for range 2 { // the second time the Repository has said so before
		began := time.Now()
		out, err := s.wasmbed(up...)
		if err == nil || !strings.Contains(out, "nowhere.yaml") || !strings.Contains(out, "/?token=") || time.Since(began) > time.Minute {
			t.Errorf("up after %s: %v\n%s", time.Since(began), err, out)
		}
		down()
	}
	push(good)
	if out, err := s.wasmbed(up...); err != nil {
		t.Errorf("up with a commit that heals: %v\n%s", err, out)
	}
}

// TestUpWantsAFleetWhereOneIsNamed: nothing is started for a directory that holds none.
func TestUpWantsAFleetWhereOneIsNamed(t *testing.T) {
	at := filepath.Join(t.TempDir(), "home")
	s := &stack{t: t, home: home.Dir(at)}
	out, err := s.wasmbed("--home", at, "up", "--detach", "--fleet", t.TempDir())
	if err == nil || !strings.Contains(out, "is no fleet") || !strings.Contains(out, "wasmbed init") {
		t.Errorf("up: %v\n%s", err, out)
	}
	if _, err := os.Stat(at); err == nil {
		t.Error("it made a home")
	}
}

// TestInitAsks: a person is asked for what no flag says, and an empty answer takes what is proposed.
func TestInitAsks(t *testing.T) {
	var out bytes.Buffer
	o := scaffold.Options{}
	if err := askFor(&o, "meadow", strings.NewReader("\nsim-m4, mps2-an500\nwat\n"), &out); err != nil {
		t.Fatal(err)
	}
	if o.Name != "meadow" || len(o.Boards) != 2 || o.Boards[1] != "mps2-an500" || o.Language != "wat" || o.Check() != nil {
		t.Errorf("%+v", o)
	}
	if strings.Count(out.String(), "]: ") != 3 {
		t.Errorf("asked %q", out.String())
	}
	out.Reset()
	o = scaffold.Options{Name: "meadow", Language: "c"}
	if err := askFor(&o, "x", strings.NewReader("\n"), &out); err != nil || strings.Count(out.String(), "]: ") != 1 || o.Boards[0] != "sim-m4" {
		t.Errorf("%v %+v %q", err, o, out.String())
	}
	if err := askFor(&scaffold.Options{}, "x", strings.NewReader(""), &out); err == nil {
		t.Error("no answer is an answer")
	}
}
