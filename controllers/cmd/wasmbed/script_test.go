// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"wasmbed.dev/controllers/fleet/fleettest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wasmbed": func() { os.Exit(run()) }})
}

// TestScripts runs sessions at a terminal. They know these commands beside those of testscript:
//
//	fleet DIR      writes a small good fleet
//	commit DIR     commits everything in a directory, which becomes a git repository
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fleet":  writeFleet,
			"commit": commitAll,
		},
	})
}

func writeFleet(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(fleettest.Base().Write(ts.MkAbs(args[0])))
}

func commitAll(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for _, command := range []string{
		"init -q", "add -A", "-c user.name=Test -c user.email=test@example.com -c commit.gpgsign=false commit -q --allow-empty -m change",
	} {
		ts.Check(ts.Exec("git", append([]string{"-C", dir}, strings.Fields(command)...)...))
	}
}
