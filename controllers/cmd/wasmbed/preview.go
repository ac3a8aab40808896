// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/internal/preview"
)

// Exit statuses of preview beside 0, healthy or nothing to try, and 1, it could not run.
const (
	statusPreviewUnhealthy = 2
	statusPreviewRefused   = 3
)

func newPreviewCommand() *cobra.Command {
	var o preview.Options
	var output string
	cmd := &cobra.Command{
		Use:   "preview",
		Short: "Try a change of the fleet on an installation that is thrown away, before it is merged",
		Long: `Try a change of the fleet's repository on this machine before it is merged: bring up an installation in a temporary
directory, with one device of each board that the change touches (virtual boards; simulated ones where QEMU or the firmware is
missing), let --base run on it, push --head to it, and report beside each other what ran, the first lines of the logs, values,
memory, stack and fuel of each application, and what crashed, why and where.

Secrets and ConfigMaps of the fleet are left out; hardware is replaced, all devices are on, and one gateway stands for all.

The exit status is 0 when all is healthy or there is nothing to try, 2 when something crashed, did not start or did not settle
in time, 3 when the controllers would refuse the change, and 1 when the preview could not be made.`,
		Example: "  wasmbed preview\n  wasmbed preview --base origin/main --head HEAD -o markdown > comment.md\n  wasmbed preview --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := map[string]func(*preview.Report) error{
				"text":     func(r *preview.Report) error { return preview.Text(cmd.OutOrStdout(), r) },
				"markdown": func(r *preview.Report) error { return preview.Markdown(cmd.OutOrStdout(), r) },
				"json":     func(r *preview.Report) error { return preview.JSON(escapedJSON{cmd.OutOrStdout()}, r) },
			}[output]
			if !ok {
				return fmt.Errorf("there is no output format %q: use text, markdown or json", output)
			}
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			ctrllog.SetLogger(logr.Discard())
			o.Program, o.Progress = program, cmd.ErrOrStderr()
			report, err := preview.Try(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := write(report); err != nil {
				return err
			}
			switch report.Outcome {
			case preview.OutcomeUnhealthy:
				return exitError{status: statusPreviewUnhealthy}
			case preview.OutcomeRefused:
				return exitError{status: statusPreviewRefused}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Base, "base", "", "revision that runs first (default: where the head left the main branch)")
	cmd.Flags().StringVar(&o.Head, "head", "", "revision that is tried (default: the working tree)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: text, markdown or json")
	cmd.Flags().StringVar(&o.Dir, "path", ".", "directory of the fleet's root kustomization, in a git repository")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 3*time.Minute, "how long each of the two may take to settle")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave the installation up, to look at it")
	return cmd
}
