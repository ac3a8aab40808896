// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/checkout"
	"wasmbed.dev/controllers/fleet/report"
)

// Exit statuses of validate beside 0.
const (
	statusFindings    = 1
	statusCouldNotRun = 2
)

func newValidateCommand() *cobra.Command {
	var revision, output string
	cmd := &cobra.Command{
		Use:   "validate [PATH]",
		Short: "Judge a fleet as the sync controller would, without a cluster",
		Long: `Judge a fleet as the sync controller would before it applies anything: the kustomizations, every manifest, the modules
and how they fit the boards of the devices that they select.

PATH is the directory of the root kustomization, by default the present one. Inside a git repository, paths in manifests
start at the repository's root. The working tree is judged as it is, committed or not; with --revision a commit of that
repository is judged instead.

The exit status is 0 when the fleet would be accepted (there may be warnings), 1 when it would be refused, and 2 when it
could not be judged.`,
		Example: "  wasmbed validate\n  wasmbed validate --revision origin/main fleet\n  wasmbed validate -o sarif > findings.sarif",
		Args: func(cmd *cobra.Command, args []string) error {
			return couldNotRun(cobra.MaximumNArgs(1)(cmd, args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			refused, err := validate(cmd.Context(), cmd.OutOrStdout(), path, revision, output)
			if err != nil {
				return couldNotRun(err)
			}
			if refused {
				return exitError{status: statusFindings}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&revision, "revision", "", "judge this commit, branch or tag of the repository instead of the working tree")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: text, json or sarif")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return couldNotRun(err) })
	return cmd
}

func couldNotRun(err error) error {
	if err == nil {
		return nil
	}
	return exitError{status: statusCouldNotRun, message: err.Error()}
}

func validate(ctx context.Context, out io.Writer, path, revision, output string) (refused bool, err error) {
	write, ok := map[string]func(report.Result) error{
		"text":  func(r report.Result) error { return r.Text(out) },
		"json":  func(r report.Result) error { return r.JSON(escapedJSON{out}) },
		"sarif": func(r report.Result) error { return r.SARIF(escapedJSON{out}, version) },
	}[output]
	if !ok {
		return false, fmt.Errorf("there is no output format %q: use text, json or sarif", output)
	}
	source, err := openSource(path, revision)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	f, err := fleet.Judge(ctx, source.tree, fleet.Options{Root: source.root})
	if err != nil {
		return false, fmt.Errorf("judge %s: %w", path, err)
	}
	return f.Refused(), write(report.New(f, source.commit))
}

// fleetSource is a tree to be judged.
type fleetSource struct {
	tree   fleet.Tree
	root   string // of the fleet in the tree
	commit string // empty for a working tree
	close  func() error
}

// openSource opens the working tree that a directory belongs to, or a commit of its repository.
func openSource(path, revision string) (*fleetSource, error) {
	c, err := checkout.Open(path)
	if errors.Is(err, checkout.ErrNoRepository) && revision == "" {
		tree, err := checkout.Directory(path)
		if err != nil {
			return nil, err
		}
		return &fleetSource{tree: tree, root: ".", close: tree.Close}, nil
	}
	if err != nil {
		return nil, err
	}
	if revision == "" {
		tree, err := c.WorkingTree()
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return &fleetSource{tree: tree, root: c.Root, close: func() error { return errors.Join(tree.Close(), c.Close()) }}, nil
	}
	commit, err := c.Commit(revision)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &fleetSource{tree: c.Tree(commit), root: c.Root, commit: commit.Hash.String(), close: c.Close}, nil
}
