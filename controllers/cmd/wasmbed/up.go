// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
)

func newUpCommand() *cobra.Command {
	var detach bool
	o := local.Options{}
	base := home.DefaultPortBase
	chosen := home.Ports{}
	command := &cobra.Command{
		Use:   "up",
		Short: "Start everything on this machine and keep it running",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			o.Home, o.Out = dir, command.OutOrStdout()
			o.Ports = home.PortsFrom(base)
			for i, f := range o.Ports.Flags() {
				if command.Flags().Changed(f.Flag) {
					*f.Port = *chosen.Flags()[i].Port
				}
			}
			if o.Fleet, err = filepath.Abs(o.Fleet); err != nil {
				return fmt.Errorf("resolve --fleet: %w", err)
			}
			if _, err := os.Stat(filepath.Join(o.Fleet, "kustomization.yaml")); err != nil && command.Flags().Changed("fleet") {
				return fmt.Errorf("--fleet %s is no fleet: %w; wasmbed init makes one", o.Fleet, err)
			}
			if detach {
				return upDetached(command.Context(), o)
			}
			return up(command.Context(), o)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&detach, "detach", false, "return when all is ready and leave it running")
	flags.DurationVar(&o.Timeout, "timeout", 3*time.Minute, "how long to wait for everything to be ready")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "use this cluster instead of the embedded one")
	flags.StringVar(&o.Fleet, "fleet", ".", "directory of a fleet, which becomes the first commit of a new fleet repository")
	flags.IntVar(&base, "port-base", home.DefaultPortBase, "first of the installation's ports; moves all of them")
	for _, f := range chosen.Flags() {
		flags.IntVar(f.Port, f.Flag, 0, "port where "+f.Use+" (default from --port-base)")
	}
	return command
}

func up(ctx context.Context, o local.Options) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o.Program = program
	restart := make(chan os.Signal, 1)
	signal.Notify(restart, syscall.SIGHUP)
	o.Restart = restart
	err = local.Up(ctx, o)
	if errors.Is(err, home.ErrRunning) {
		return sayRunning(o.Home, o.Out)
	}
	return err
}

func sayRunning(dir home.Dir, out io.Writer) error {
	state, err := dir.ReadState()
	if err != nil {
		return fmt.Errorf("%w; it does not say how: %w", home.ErrRunning, err)
	}
	_, err = fmt.Fprintf(out, "Wasmbed runs already on %s: process %d since %s. See it with `wasmbed status`, end it with `wasmbed down`.\n",
		dir, state.PID, state.StartedAt.Format(time.DateTime))
	return err
}

// upDetached starts `wasmbed up` in a session of its own, shows what it says, and returns when it is ready.
func upDetached(ctx context.Context, o local.Options) error {
	if o.Home.Running() {
		return sayRunning(o.Home, o.Out)
	}
	if err := o.Home.Create(); err != nil {
		return err
	}
	arguments := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "--detach") })
	output, err := os.Create(o.Home.Run("up.out"))
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	defer func() { _ = output.Close() }()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	child := exec.Command(program, arguments...)
	child.Stdout, child.Stderr = output, output
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	return followUntilUp(ctx, o, output.Name(), ended, func() { _ = child.Process.Signal(syscall.SIGTERM) })
}

// followUntilUp copies what the background process says until it says that it is up, or has ended.
func followUntilUp(ctx context.Context, o local.Options, file string, ended <-chan error, stop func()) error {
	said, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read what the background process says: %w", err)
	}
	defer func() { _ = said.Close() }()
	reader := bufio.NewReader(said)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(o.Timeout + 2*time.Minute)
	for {
		state, err := o.Home.ReadState()
		ready := err == nil && state.Settled
		if _, err := io.Copy(o.Out, reader); err != nil {
			return err
		}
		if ready {
			if !state.Ready {
				return exitError{1, "it runs, and not everything is ready: see `wasmbed status`"}
			}
			return nil
		}
		select {
		case <-ctx.Done():
			stop()
			return ctx.Err()
		case <-deadline:
			return exitError{1, "not ready in time; it goes on in the background: see `wasmbed status` and `wasmbed logs`"}
		case <-ended:
			_, _ = io.Copy(o.Out, reader)
			return exitError{1, "it did not start"}
		case <-ticker.C:
		}
	}
}
