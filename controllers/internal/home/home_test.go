// SPDX-License-Identifier: Apache-2.0

package home

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func create(t *testing.T) Dir {
	t.Helper()
	dir := Dir(filepath.Join(t.TempDir(), "home"))
	if err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAHomeIsMadeOnceAndKept(t *testing.T) {
	dir := create(t)
	if err := os.WriteFile(dir.Kubeconfig(), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.Create(); err != nil {
		t.Errorf("second create: %v", err)
	}
	if text, _ := os.ReadFile(dir.Kubeconfig()); string(text) != "mine" {
		t.Error("the second create changed what was there")
	}
	if info, err := os.Stat(string(dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the home's mode is %v, %v; others must not read it", info.Mode(), err)
	}
}

func TestForeignAndNewerDirectoriesAreRefused(t *testing.T) {
	newer := create(t)
	if err := os.WriteFile(newer.versionFile(), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := create(t)
	if err := os.WriteFile(damaged.versionFile(), []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := Dir(t.TempDir())
	if err := os.WriteFile(filepath.Join(string(foreign), "letter.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[Dir]string{newer: "format version 99", damaged: "does not hold a format version", foreign: "not empty"} {
		for name, do := range map[string]func() error{"create": dir.Create, "remove": dir.Remove} {
			if err := do(); err == nil || name == "create" && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(string(foreign), "letter.txt")); err != nil {
		t.Errorf("remove took what is not ours: %v", err)
	}
}

func TestOnlyOneHoldsAHome(t *testing.T) {
	dir := create(t)
	if dir.Running() {
		t.Error("a new home is held by somebody")
	}
	unlock, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Lock(); !errors.Is(err, ErrRunning) {
		t.Errorf("second lock: %v", err)
	}
	if !dir.Running() {
		t.Error("a held home does not count as running")
	}
	if err := dir.Remove(); !errors.Is(err, ErrRunning) {
		t.Errorf("remove of a held home: %v", err)
	}
	unlock()
	if err := dir.Remove(); err != nil || dir.Exists() {
		t.Errorf("remove: %v", err)
	}
}

func TestStateIsReadOnlyWhileSomethingRuns(t *testing.T) {
	dir := create(t)
	if err := dir.WriteState(State{PID: 42, Ports: PortsFrom(1000)}); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.ReadState(); err == nil || !strings.Contains(err.Error(), "wasmbed up") {
		t.Errorf("state of nothing that runs: %v", err)
	}
	unlock, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if state, err := dir.ReadState(); err != nil || state.PID != 42 || state.Ports.Dashboard != 1020 {
		t.Errorf("state %+v, %v", state, err)
	}
}

func TestABusyPortIsNamedWithItsFlag(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	port := listener.Addr().(*net.TCPAddr).Port
	for i, f := range (&Ports{}).Flags() {
		ports := Ports{}
		for j, other := range ports.Flags() {
			if *other.Port, err = FreePort(); err != nil {
				t.Fatal(err)
			}
			if i == j {
				*other.Port = port
			}
		}
		if err := ports.Check(); err == nil || !strings.Contains(err.Error(), "--"+f.Flag) {
			t.Errorf("busy %s: %v", f.Flag, err)
		}
	}
	for _, bad := range []Ports{{}, {Device: 5, GatewayHTTP: 5, Store: 6, API: 7, Dashboard: 8}, {Device: 70000}} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}

func TestAFileIsReplacedWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(text) != content || info.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, %v", text, err, info)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
