// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/trace"
)

func newTraceCommand() *cobra.Command {
	var watch, asJSON bool
	command := &cobra.Command{
		Use:   "trace [COMMIT]",
		Short: "Follow a commit from the push to the running apps; the newest when none is named",
		Long: `Follow a commit: when it was pushed, fetched, checked and applied, when its instances were issued and delivered, when the
first instruction of their apps ran (started) and when the gateway knew of it (running), which device was slowest, and what
failed. Exit status 0 only when all that it caused runs.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			reader, err := readerOf(command)
			if err != nil {
				return err
			}
			t, err := followCommit(command.Context(), reader, strings.Join(args, ""), watch)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(escapedJSON{command.OutOrStdout()})
				encoder.SetIndent("", "  ")
				err = encoder.Encode(t)
			} else {
				err = renderTrace(command.OutOrStdout(), t)
			}
			if err == nil && !arrived(t) {
				err = exitError{status: 1}
			}
			return err
		},
	}
	command.Flags().BoolVarP(&watch, "watch", "w", false, "wait until everything runs, something failed, or Ctrl-C")
	command.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return command
}

// arrived says whether all that a commit caused runs.
func arrived(t *trace.Trace) bool {
	return t.Outcome == "Applied" && t.Waiting == 0 && t.Failed == 0
}

// settled says whether nothing more happens to a commit without a change: it was refused, or every Application that it
// changed has ended its rollout. Instances that are not issued yet are in no trace.
func settled(ctx context.Context, reader client.Reader, t *trace.Trace) (bool, error) {
	if t.Outcome == trace.OutcomeInProgress {
		return false, nil
	}
	if t.Outcome != "Applied" {
		return true, nil
	}
	var applications v1alpha1.ApplicationList
	if err := reader.List(ctx, &applications); err != nil {
		return false, fmt.Errorf("read the fleet: %w", err)
	}
	for i := range applications.Items {
		a := &applications.Items[i]
		if a.Annotations[v1alpha1.AnnotationRevision] != t.Commit {
			continue
		}
		done := meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) || meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled)
		if !done || a.Status.ObservedGeneration != a.Generation {
			return false, nil
		}
	}
	return t.Waiting == 0, nil
}

// followCommit traces a commit; when it watches, until that is settled. A commit that was pushed a moment ago is not
// known yet, which only a watcher waits for.
func followCommit(ctx context.Context, reader client.Reader, commit string, watch bool) (*trace.Trace, error) {
	for {
		t, err := traceNow(ctx, reader, commit)
		if !watch || err != nil && !errors.Is(err, trace.ErrUnknownCommit) {
			return t, err
		}
		if err == nil {
			if done, err := settled(ctx, reader, t); done || err != nil {
				return t, err
			}
		}
		select {
		case <-ctx.Done():
			return t, err
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func traceNow(ctx context.Context, reader client.Reader, commit string) (*trace.Trace, error) {
	var repositories v1alpha1.RepositoryList
	var instances v1alpha1.InstanceList
	for _, list := range []client.ObjectList{&repositories, &instances} {
		if err := reader.List(ctx, list); err != nil {
			return nil, fmt.Errorf("read the fleet: %w", err)
		}
	}
	return trace.Of(trace.Input{Repositories: repositories.Items, Instances: instances.Items}, commit)
}

func renderTrace(out io.Writer, t *trace.Trace) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %q by %s\n", t.Commit, status.Printable(t.Subject), status.Printable(t.Author))
	fmt.Fprintf(&b, "%s by %s", t.Outcome, t.Repository)
	if t.Reason != "" {
		fmt.Fprintf(&b, ": %s: %s", t.Reason, status.Printable(t.Message))
	}
	b.WriteString("\n")
	if len(t.Changed) > 0 {
		fmt.Fprintf(&b, "changed %s\n", strings.Join(t.Changed, " "))
	}
	b.WriteString("\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STAGE\tCOUNT\tP50\tP95\tLAST\tSLOWEST DEVICE")
	for _, stage := range t.Stages {
		count := ""
		if stage.PerInstance {
			count = fmt.Sprint(stage.Count)
		}
		if q := stage.SinceStart; q != nil {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", stage.Name, count, span(q.P50), span(q.P95), span(q.Max), q.Slowest)
		} else {
			_, _ = fmt.Fprintf(table, "%s\t%s\t-\t-\t-\t\n", stage.Name, count)
		}
	}
	_ = table.Flush()
	fmt.Fprintf(&b, "\n%d instances: %d running, %d failed, %d on their way; times since the push\n", t.Instances, t.Running, t.Failed, t.Waiting)
	for _, f := range t.Failures {
		fmt.Fprintf(&b, "✗ %s on %s: %s %s: %s\n", f.Application, f.Device, f.Phase, f.Reason, status.Printable(f.Message))
	}
	if t.MoreFailures > 0 {
		fmt.Fprintf(&b, "  and %d more\n", t.MoreFailures)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// span writes milliseconds for a person.
func span(milliseconds float64) string {
	if milliseconds >= 10_000 {
		return fmt.Sprintf("%.1f s", milliseconds/1000)
	}
	return fmt.Sprintf("%.0f ms", milliseconds)
}
