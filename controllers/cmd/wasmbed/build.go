// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"wasmbed.dev/devices/appbuild"
)

// appsFolder is where applications lie in a fleet's repository.
const appsFolder = "apps"

func newBuildCommand() *cobra.Command {
	var check, names bool
	cmd := &cobra.Command{
		Use:   "build [APP...]",
		Short: "Compile applications to the modules that are committed beside their sources",
		Long: `Compile applications: C with clang, Rust with rustc, WebAssembly text with wat2wasm.

APP is the name of a folder in ./apps, or a path to a folder. Without APP all of ./apps is compiled. The module and a
record of what made it are written beside the source. With --check nothing is written: the command fails when a
committed module is not, byte by byte, what its source gives.

What no device needs is trimmed: sections that are not executed, exports other than functions, the padding that linkers
leave in numbers. The memory ends where the linker's layout does, so that an app takes no more of a board than it uses,
unless the code grows its memory or the source speaks of __heap_base. The names of functions go, too: a trap then tells a
function's index and the byte. With --names they stay, and the record says so, for this build and the next ones.`,
		Example: "  wasmbed build thermostat\n  wasmbed build --check",
		RunE: func(cmd *cobra.Command, args []string) error {
			how := appbuild.NamesAsRecorded
			if cmd.Flags().Changed("names") {
				how = appbuild.NamesDropped
				if names {
					how = appbuild.NamesKept
				}
			}
			return runBuild(cmd.Context(), cmd.OutOrStdout(), args, check, how)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; fail when a committed module is not what its source gives")
	cmd.Flags().BoolVar(&names, "names", false, "keep the functions' names, which traps then tell; without the flag as in the record")
	cmd.MarkFlagsMutuallyExclusive("check", "names")
	return cmd
}

// runBuild goes on after an app that fails, so that one run tells about all.
func runBuild(ctx context.Context, out io.Writer, apps []string, check bool, names appbuild.Names) error {
	targets, err := buildTargets(apps)
	if err != nil {
		return err
	}
	var failures []error
	for _, app := range targets {
		if err := buildOne(ctx, out, app, check, names); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func buildTargets(names []string) ([]appbuild.App, error) {
	if len(names) == 0 {
		apps, err := appbuild.Find(appsFolder)
		if err == nil && len(apps) == 0 {
			err = fmt.Errorf("no application in ./%s; run this in a fleet's repository, or name a folder", appsFolder)
		}
		return apps, err
	}
	var apps []appbuild.App
	for _, name := range names {
		dir := name
		if !strings.ContainsRune(name, filepath.Separator) {
			if _, err := os.Stat(filepath.Join(appsFolder, name)); err == nil {
				dir = filepath.Join(appsFolder, name)
			}
		}
		app, err := appbuild.Open(dir)
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

func buildOne(ctx context.Context, out io.Writer, app appbuild.App, check bool, names appbuild.Names) error {
	if check {
		res, err := appbuild.Check(ctx, app)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s is what its source gives with %s\n", app.Name, app.ModulePath(), res.Record.Compiler)
		return nil
	}
	res, err := appbuild.Build(ctx, app, names)
	if err != nil {
		return err
	}
	if err := res.Write(); err != nil {
		return err
	}
	printBuilt(out, res)
	return nil
}

func printBuilt(out io.Writer, res appbuild.Result) {
	or := func(list []string, none string) string {
		if len(list) == 0 {
			return none
		}
		return strings.Join(list, ", ")
	}
	memory := "none"
	switch i := res.Info; {
	case i.MemoryUsed > 0:
		memory = fmt.Sprintf("%d bytes for stack, constants and variables; limits.memory is at least that", i.MemoryUsed)
		if t := res.Trimmed; t.Pages != "" {
			memory += fmt.Sprintf("\n               %d bytes declared: %s", i.MemoryDeclared, t.Pages)
		}
	case i.MemoryDeclared > 0:
		memory = fmt.Sprintf("%d bytes declared", i.MemoryDeclared)
	}
	fmt.Fprintf(out, "%s: %s, %d bytes, by %s\n", res.App.Name, res.App.ModulePath(), res.Info.Size, res.Record.Compiler)
	fmt.Fprintf(out, "  imports      %s\n", or(res.Info.Imports, "none"))
	fmt.Fprintf(out, "  permissions  %s\n", or(res.Info.Permissions, "none needed"))
	fmt.Fprintf(out, "  memory       %s\n", memory)
	t := res.Trimmed
	fmt.Fprintf(out, "  trimmed      %d bytes: sections that are not executed %d, exports %d, padding of numbers %d\n", t.Total(), t.Custom, t.Exports, t.Padding)
	if len(res.Info.Unknown) > 0 {
		fmt.Fprintf(out, "  refused      no device offers %s\n", strings.Join(res.Info.Unknown, ", "))
	}
}
