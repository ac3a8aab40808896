// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/home"
)

// How long the processes of an installation may take to end.
const downTimeout = 60 * time.Second

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop everything; identities, objects and modules stay",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			if err := dir.Check(); err != nil {
				return err
			}
			if !dir.Running() {
				_, err := fmt.Fprintf(command.OutOrStdout(), "Nothing runs on %s.\n", dir)
				return err
			}
			state, err := dir.ReadState()
			if err != nil {
				return err
			}
			if err := syscall.Kill(state.PID, syscall.SIGTERM); err != nil {
				return fmt.Errorf("stop process %d: %w", state.PID, err)
			}
			if err := waitFor(command.Context(), downTimeout, func() bool { return !dir.Running() }); err != nil {
				return fmt.Errorf("process %d does not end: see `wasmbed logs up`: %w", state.PID, err)
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), "stopped")
			return err
		},
	}
}

func newRestartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restart [PART]",
		Short: "Stop and start one part, or everything",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			state, err := dir.ReadState()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return restartPart(command.Context(), dir, args[0])
			}
			if err := syscall.Kill(state.PID, syscall.SIGHUP); err != nil {
				return fmt.Errorf("restart process %d: %w", state.PID, err)
			}
			return waitFor(command.Context(), 5*time.Minute, func() bool {
				now, err := dir.ReadState()
				return err == nil && now.Settled && now.StartedAt.After(state.StartedAt)
			})
		},
	}
}

// restartPart ends the process of a part; its supervisor starts it again.
func restartPart(ctx context.Context, dir home.Dir, part string) error {
	old, err := partPID(dir, part)
	if err != nil {
		return err
	}
	if err := syscall.Kill(old, syscall.SIGTERM); err != nil {
		return fmt.Errorf("restart %s: %w", part, err)
	}
	if err := waitFor(ctx, downTimeout, func() bool {
		pid, err := partPID(dir, part)
		return err == nil && pid != old
	}); err != nil {
		return fmt.Errorf("%s did not come back: see `wasmbed logs %s`: %w", part, part, err)
	}
	return nil
}

func partPID(dir home.Dir, part string) (int, error) {
	if strings.ContainsAny(part, "/\\") {
		return 0, fmt.Errorf("%q is no part of the installation", part)
	}
	text, err := os.ReadFile(dir.Run(part + ".pid"))
	if err != nil {
		return 0, fmt.Errorf("no part %q runs; those that do: %s", part, strings.Join(runningParts(dir), " "))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("the pid file of %s is damaged", part)
	}
	return pid, nil
}

func runningParts(dir home.Dir) []string {
	entries, err := os.ReadDir(dir.Run())
	if err != nil {
		return nil
	}
	var parts []string
	for _, e := range entries {
		if part, ok := strings.CutSuffix(e.Name(), ".pid"); ok {
			parts = append(parts, part)
		}
	}
	return parts
}

func newCleanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove the home: objects, identities, modules, logs and the fleet repository",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			if _, err := os.Stat(string(dir)); os.IsNotExist(err) {
				return nil
			}
			if err := dir.Remove(); err != nil {
				return fmt.Errorf("clean: %w", err)
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "removed %s\n", dir)
			return err
		},
	}
}

// waitFor polls until ok, the end of ctx, or the deadline.
func waitFor(ctx context.Context, most time.Duration, ok func() bool) error {
	deadline := time.Now().Add(most)
	for !ok() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s", most)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
