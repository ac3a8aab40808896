// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/local"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/review"
)

// Exit statuses of plan beside 0, no change, and 1, it could not run.
const (
	statusPlanChanges = 2
	statusPlanDenied  = 3
)

func newPlanCommand() *cobra.Command {
	var o review.Options
	var live bool
	var repository string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what a change of the fleet will do, before it is merged",
		Long: `Say what a change of the fleet's repository will do, from git alone: which objects differ, which devices get, restart or
lose an application, in which waves and how long at most, what modules gain, and what is risky about it.

The change goes from --base, by default the commit at which the head left the main branch (origin/HEAD, origin/main,
origin/master, main or master), to --head, by default the working tree as it is, committed or not.

With --live the change goes from what runs now: from the commit that is applied, which this clone must have, with the devices
that are away, the applications that devices really hold, and what differs from git by hand.

policy.yaml in the fleet's directory sets each rule to off, warn or deny and adds checks of its own; controllers/plan/README.md
lists the rules. The stricter of base and head counts.

The exit status is 0 when nothing changes, 2 when something does, 3 when the change is denied by the policy or would be
refused by the controllers, and 1 when the plan could not be made.`,
		Example: "  wasmbed plan\n  wasmbed plan --base v1.2 --head v1.3\n  wasmbed plan --base origin/main --head HEAD -o markdown > comment.md",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Colour = isTerminal(cmd.OutOrStdout())
			if live {
				reader, err := readerOf(cmd)
				if err != nil {
					return err
				}
				if o.Live, err = liveFleet(cmd.Context(), reader, repository); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if o.Format == review.FormatJSON {
				out = escapedJSON{out}
			}
			outcome, err := review.Run(cmd.Context(), out, o)
			switch {
			case err != nil:
				return err
			case outcome == plan.OutcomeChanges:
				return exitError{status: statusPlanChanges}
			case outcome == plan.OutcomeDenied:
				return exitError{status: statusPlanDenied}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Base, "base", "", "revision to start from (default: where the head left the main branch)")
	cmd.Flags().StringVar(&o.Head, "head", "", "revision that it leads to (default: the working tree)")
	cmd.Flags().BoolVar(&live, "live", false, "start from what runs now on the installation of --home")
	cmd.Flags().StringVar(&repository, "repository", v1alpha1.SystemNamespace+"/"+local.RepositoryName, "with --live: the Repository that the fleet follows, NAMESPACE/NAME")
	cmd.Flags().StringVarP(&o.Format, "output", "o", review.FormatText, "format: text, markdown or json")
	cmd.Flags().StringVar(&o.Dir, "path", ".", "directory of the fleet's root kustomization, in a git repository")
	return cmd
}

// isTerminal tells whether colours may be written: to a terminal, unless the environment says no (NO_COLOR).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}
