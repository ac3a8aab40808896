// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func newConsoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "console NAMESPACE/DEVICE",
		Short: "Connect the terminal to a virtual board's serial console, both ways, until Ctrl-C",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			namespace, name, ok := strings.Cut(args[0], "/")
			if !ok {
				return fmt.Errorf("%q is no NAMESPACE/DEVICE", args[0])
			}
			objects, err := readerOf(command)
			if err != nil {
				return err
			}
			device := &v1alpha1.Device{}
			if err := objects.Get(command.Context(), client.ObjectKey{Namespace: namespace, Name: name}, device); err != nil {
				return fmt.Errorf("read device: %w", err)
			}
			if device.Spec.Backend != v1alpha1.BackendQEMU {
				return fmt.Errorf("device %s is %s: only virtual boards (backend QEMU) have a console here", args[0], device.Spec.Backend)
			}
			if device.Status.Backend == nil || device.Status.Backend.Console == "" {
				return fmt.Errorf("device %s does not run: see `wasmbed status`", args[0])
			}
			return connectConsole(command.Context(), device.Status.Backend.Console, command.InOrStdin(), command.OutOrStdout())
		},
	}
}

// connectConsole copies both ways until ctx or the connection ends; the end of in leaves the other way open.
func connectConsole(ctx context.Context, address string, in io.Reader, out io.Writer) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to the console: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
	defer stop()
	go func() { _, _ = io.Copy(connection, in) }()
	if _, err := io.Copy(out, connection); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("read the console: %w", err)
	}
	return nil
}
