// SPDX-License-Identifier: Apache-2.0

// Command wasmbed runs a fleet of microcontrollers from git: the installation on this machine, the processes that
// it is made of, and the commands with which people look at it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
)

// version is set by the build.
var version = "development"

// exitError ends the program with a status of its own; an empty message prints nothing.
type exitError struct {
	status  int
	message string
}

func (e exitError) Error() string { return e.message }

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRootCommand().ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 1
	var exit exitError
	if errors.As(err, &exit) {
		code = exit.status
	}
	sayError(os.Stderr, err)
	return code
}

// sayError tells a person why a command ended. The lines of a message stay lines; whatever else could steer a terminal, and
// came from a commit or a device, does not reach it.
func sayError(w io.Writer, err error) {
	if err.Error() == "" {
		return
	}
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		lines[i] = status.Printable(line)
	}
	_, _ = fmt.Fprintln(w, "wasmbed:", strings.Join(lines, "\n"))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "wasmbed",
		Short:         "WebAssembly applications on microcontrollers, run by git",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().String("home", "", "directory with everything that the installation keeps (default $WASMBED_HOME or "+home.DefaultDir+")")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run an installation:"}, &cobra.Group{ID: "look", Title: "Look at it:"}, &cobra.Group{ID: "fleet", Title: "Work on a fleet:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add("run", newUpCommand(), newDownCommand(), newRestartCommand(), newCleanCommand())
	add("look", newStatusCommand(), newTraceCommand(), newLogsCommand(), newConsoleCommand(), newEnrollCommand())
	add("fleet", newInitCommand(), newValidateCommand(), newPlanCommand(), newPreviewCommand(), newBuildCommand(), newSchemaCommand())
	root.AddCommand(newNotifyCommand(), newControllersCommand(), newGatewayCommand(), newSimulatorCommand(), newBoardsCommand(), newDashboardCommand())
	return root
}

// homeOf returns the home that a command's flags and environment name.
func homeOf(command *cobra.Command) (home.Dir, error) {
	flag, err := command.Flags().GetString("home")
	if err != nil {
		return "", err
	}
	return home.Resolve(flag)
}
