// SPDX-License-Identifier: Apache-2.0

// Package review finds two revisions in a git repository, judges both, and writes what the change between them does.
package review

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/policy"
	"wasmbed.dev/controllers/plan/render"
	"wasmbed.dev/devices/wasmcheck"
)

// Formats of the report.
const (
	FormatText     = "text"
	FormatMarkdown = "markdown"
	FormatJSON     = "json"
)

// Options of Run.
type Options struct {
	// Dir is the fleet's directory, in a git repository.
	Dir string
	// Base is a revision; empty: where Head left the main branch.
	Base string
	// Head is a revision; empty: the working tree.
	Head string
	// Format is one of the Format constants.
	Format string
	// Live is what runs now, which the change is then held against: its commit is the base.
	Live *plan.Live
	// Colour makes text with colours of a terminal.
	Colour bool
}

// Run writes the report and returns its outcome.
func Run(ctx context.Context, out io.Writer, o Options) (outcome string, err error) {
	write, ok := map[string]func(*plan.Report) error{
		FormatText:     func(r *plan.Report) error { return render.Text(out, r, o.Colour) },
		FormatMarkdown: func(r *plan.Report) error { return render.Markdown(out, r) },
		FormatJSON:     func(r *plan.Report) error { return render.JSON(out, r) },
	}[o.Format]
	if !ok {
		return "", fmt.Errorf("there is no output format %q: use text, markdown or json", o.Format)
	}
	r, err := Report(ctx, o)
	if err != nil {
		return "", err
	}
	return r.Outcome, write(r)
}

// Report makes the report, with the policies of both revisions applied. Its errors are fit for a terminal.
func Report(ctx context.Context, o Options) (*plan.Report, error) {
	c, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.Report, c.Close()
}

// Change is a change of the fleet: both sides judged, and what the one makes of the other.
type Change struct {
	Base, Head *fleet.Fleet
	Report     *plan.Report

	closers []func() error
}

// Close frees what the fleets read their modules from.
func (c *Change) Close() error {
	var err error
	for _, f := range slices.Backward(c.closers) {
		err = errors.Join(err, f())
	}
	c.closers = nil
	return err
}

// Open finds both revisions, judges them and makes the report. Its errors are fit for a terminal.
func Open(ctx context.Context, o Options) (*Change, error) {
	c := &Change{}
	if err := c.open(ctx, o); err != nil {
		return nil, &cleanError{errors.Join(err, c.Close())}
	}
	return c, nil
}

// cleanError words an error that may name what a commit holds.
type cleanError struct{ err error }

func (e *cleanError) Error() string { return plan.Message(e.err.Error()) }
func (e *cleanError) Unwrap() error { return e.err }

func (c *Change) open(ctx context.Context, o Options) error {
	s, err := open(o.Dir)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, s.Close)
	if o.Live != nil {
		if o.Base != "" {
			return errors.New("what runs is the base: give no other")
		}
		o.Base = o.Live.Commit
	}
	base, head, err := s.sides(o.Base, o.Head)
	if err != nil {
		return err
	}
	if o.Live != nil {
		base.revision.Name = "what runs"
	}
	c.closers = append(c.closers, base.close, head.close)
	basePolicy, headPolicy, note, err := s.policies(base, head)
	if err != nil {
		return err
	}
	in := plan.Input{Path: s.Root, BaseRevision: base.revision, HeadRevision: head.revision, Message: head.message, Live: o.Live}
	if in.Base, in.Head, err = s.judge(ctx, base, head); err != nil {
		return err
	}
	c.Base, c.Head = in.Base, in.Head
	if !in.Head.Refused() && !fleet.Diff(in.Base, in.Head).Empty() {
		runtime, err := wasmcheck.New(ctx)
		if err != nil {
			return err
		}
		defer runtime.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it holds memory only
		in.Runtime = runtime
	}
	if c.Report, err = plan.Compute(ctx, in); err != nil {
		return err
	}
	if note != "" {
		c.Report.Notes = append(c.Report.Notes, note)
	}
	return policy.Apply(ctx, c.Report, basePolicy, headPolicy)
}

func (s *source) judge(ctx context.Context, base, head *side) (before, after *fleet.Fleet, err error) {
	opts := fleet.Options{Root: s.Root, Cache: fleet.NewCache()}
	before = &fleet.Fleet{}
	there, err := s.hasFleet(base.tree)
	if err != nil {
		return nil, nil, err
	}
	if there {
		if before, err = fleet.Judge(ctx, base.tree, opts); err != nil {
			return nil, nil, fmt.Errorf("judge %s: %w", base.revision.Name, err)
		}
		opts.Previous = before
	}
	if after, err = fleet.Judge(ctx, head.tree, opts); err != nil {
		return nil, nil, fmt.Errorf("judge %s: %w", head.revision.Name, err)
	}
	return before, after, nil
}

// policies reads policy.yaml of both sides. One of the base that cannot be used does not keep a change from mending
// it.
func (s *source) policies(base, head *side) (before, after *policy.Policy, note string, err error) {
	if after, err = s.policy(head); err != nil {
		return nil, nil, "", err
	}
	if before, err = s.policy(base); err != nil {
		return after, after, "The base commit's policy cannot be used, so only that of the change counts.", nil
	}
	return before, after, "", nil
}

func (s *source) policy(of *side) (*policy.Policy, error) {
	content, err := readPolicy(of.tree, s.Root, policy.File, policy.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", policy.File, err)
	}
	return policy.Parse(content)
}
