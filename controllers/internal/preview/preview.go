// SPDX-License-Identifier: Apache-2.0

// Package preview tries a change of the fleet before it is merged: it brings up an installation that is thrown away,
// with one device of each board that the change touches, lets the base run on it, pushes the head to it, and reports
// what ran, what it used and what went wrong.
//
// The fleet that is tried is derived from the revision: the chosen devices with their labels and config, the
// applications that select them, their modules. Secrets and ConfigMaps are left out, hardware is a virtual board or
// simulated, all devices are switched on, and one gateway stands for all.
package preview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/review"
	"wasmbed.dev/devices/qemu"
)

// Options of Try.
type Options struct {
	// Dir is the fleet's directory, in a git repository.
	Dir string
	// Base is a revision; empty: where Head left the main branch.
	Base string
	// Head is a revision; empty: the working tree.
	Head string
	// Program is the path of the wasmbed binary; firmware/BOARD.elf lie beside it.
	Program string
	// Timeout is how long each side may take to settle.
	Timeout time.Duration
	// Keep leaves the installation up.
	Keep bool
	// Progress is told what goes on, for a person who waits.
	Progress io.Writer
}

// Try tries the change and reports on it.
func Try(ctx context.Context, o Options) (_ *Report, err error) {
	change, err := review.Open(ctx, review.Options{Dir: o.Dir, Base: o.Base, Head: o.Head})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, change.Close()) }()
	p := change.Report
	report := newReport(p.Path, p.Base, p.Head)
	if p.Refused {
		report.Outcome, report.Findings = OutcomeRefused, p.Findings
		return report, nil
	}
	small, err := reduce(change.Base, change.Head, p, emulatedHere(o.Program))
	if err != nil {
		return nil, fmt.Errorf("choose devices: %w", err)
	}
	report.Notes = append(report.Notes, small.notes...)
	if len(small.devices) == 0 {
		report.Outcome = OutcomeNothing
		return report, nil
	}
	return report, o.try(ctx, small, report)
}

// emulatedHere tells for which boards this machine has firmware and an emulator.
func emulatedHere(program string) func(board string) bool {
	_, err := exec.LookPath(qemu.Program)
	there := err == nil
	return func(board string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(program), "firmware", board+".elf"))
		return there && err == nil
	}
}

// try runs both sides and fills in the report.
func (o *Options) try(ctx context.Context, small *reduced, report *Report) (err error) {
	began := time.Now()
	o.say("starts an installation for %d devices", len(small.devices))
	s, err := start(ctx, o.Program, small.base, o.Keep)
	if err != nil {
		return err
	}
	defer func() {
		if !o.Keep {
			err = errors.Join(err, s.stop())
			return
		}
		o.say("left up; look at it with: wasmbed --home %s status; end it with: wasmbed --home %s down", s.home, s.home)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &logs{lines: map[place][]line{}}
	go s.followLogs(ctx, l)
	commit, err := s.commit()
	if err != nil {
		return err
	}
	base, err := o.side(ctx, s, small, sideBase, commit, l)
	if err != nil {
		return err
	}
	before := map[place]Run{}
	for _, p := range base.places() {
		before[p] = base.run(p) // its log, before that is begun anew
	}
	if commit, err = s.push(ctx, small.head); err != nil {
		return err
	}
	head, err := o.side(ctx, s, small, sideHead, commit, l)
	if err != nil {
		return err
	}
	report.fill(small, base, head, before)
	o.say("done after %.0f s: %s", time.Since(began).Seconds(), report.Outcome)
	return nil
}

// side lets one side run until it settles.
func (o *Options) side(ctx context.Context, s *stack, small *reduced, side, commit string, l *logs) (*watcher, error) {
	began := time.Now()
	w := newWatcher(s.objects, s.gateways, small.devices, side, l)
	said := ""
	err := w.settle(ctx, commit, o.Timeout, func(what string) {
		if what != said && time.Since(began) > 5*time.Second {
			said = what
			o.say("%s: %s", side, what)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch the %s: %w", side, err)
	}
	o.say("%s settled after %.1f s, %d problems", side, time.Since(began).Seconds(), len(w.problems))
	return w, nil
}

func (o *Options) say(format string, args ...any) {
	_, _ = fmt.Fprintf(o.Progress, "preview: %s\n", plan.Message(fmt.Sprintf(format, args...)))
}

// fill makes the report of what both sides did.
func (r *Report) fill(small *reduced, base, head *watcher, before map[place]Run) {
	for _, d := range small.devices {
		r.Devices = append(r.Devices, Device{Device: d.key(), Board: d.board, Backend: string(d.backend), Before: base.metricsOf(d), After: head.metricsOf(d)})
	}
	places := slices.Concat(base.places(), head.places())
	slices.SortFunc(places, comparePlaces)
	for _, p := range slices.Compact(places) {
		a := Application{Device: p.namespace + "/" + p.device, Board: head.board(p.namespace, p.device), Name: p.app,
			Change: changeOf(p, base, head), Before: before[p], After: head.run(p)}
		if _, ran := before[p]; !ran {
			a.Before = base.run(p)
		}
		r.Applications = append(r.Applications, a)
	}
	for _, w := range []*watcher{base, head} {
		keys := make([]place, 0, len(w.problems))
		for p := range w.problems {
			keys = append(keys, p)
		}
		slices.SortFunc(keys, comparePlaces)
		for _, p := range keys {
			r.Problems = append(r.Problems, w.problems[p])
		}
	}
	r.judge()
}
