// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/placement"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
)

// Runtime is the boards' own runtime; *wasmcheck.Checker is one.
type Runtime interface {
	// RAM says what an instance takes.
	RAM(ctx context.Context, module []byte, limits wasmcheck.Limits) (wasmcheck.RAM, error)
	// Program loads a module for a trial start.
	Program(ctx context.Context, module []byte) (*wasmcheck.Program, error)
}

const (
	// maxGrown is how many functions a report names.
	maxGrown = 5
	// trialFuel is what a trial start may cost.
	trialFuel = 5_000_000
)

// measureKey is a module under limits.
type measureKey struct {
	digest string
	limits wasmcheck.Limits
}

type measure struct {
	ram   int64
	fuel  int64
	end   string
	tried bool
}

// moduleChange is a module that is new or differs, for all applications for which the same is true.
type moduleChange struct {
	before, after string
	limits        wasmcheck.Limits // of the head
	limitsBefore  wasmcheck.Limits
	path          string
}

// modules reports on the modules of Applications that are new or have another module.
func (c *computation) modules() error {
	apps := map[moduleChange][]*riskyApp{}
	for i := range c.risky {
		a := &c.risky[i]
		if a.head == nil || a.base != nil && a.base.Spec.Module.Digest == a.head.Spec.Module.Digest {
			continue
		}
		key := moduleChange{after: a.head.Spec.Module.Digest, limits: limitsOf(a.head), path: a.head.Spec.Module.Path}
		if a.base != nil {
			key.before, key.limitsBefore = a.base.Spec.Module.Digest, limitsOf(a.base)
		}
		apps[key] = append(apps[key], a)
	}
	for key, list := range apps {
		m, err := c.module(key, list)
		if err != nil {
			return err
		}
		c.report.Modules = append(c.report.Modules, *m)
	}
	slices.SortFunc(c.report.Modules, func(a, b Module) int {
		return compareText(strings.Join(a.Applications, " "), strings.Join(b.Applications, " "))
	})
	return nil
}

func limitsOf(a *v1alpha1.Application) wasmcheck.Limits {
	var l wasmcheck.Limits
	if m := a.Spec.Limits.Memory; m != nil {
		l.Memory = uint32(*m)
	}
	if s := a.Spec.Limits.Stack; s != nil {
		l.Stack = uint32(*s)
	}
	return l
}

func (c *computation) module(key moduleChange, apps []*riskyApp) (*Module, error) {
	out := &Module{
		Applications: []string{}, Path: Text(key.path), ImportsGained: []string{}, ImportsLost: []string{},
		ExportsGained: []string{}, ExportsLost: []string{}, Grown: []Function{}, RAM: []ModuleRAM{},
	}
	for _, a := range apps {
		out.Applications = append(out.Applications, deviceName(a.report.Namespace, a.report.Name))
	}
	slices.Sort(out.Applications)
	before, err := c.facts(c.in.Base, key.before, key.limitsBefore)
	if err != nil {
		return nil, err
	}
	after, err := c.facts(c.in.Head, key.after, key.limits)
	if err != nil {
		return nil, err
	}
	out.Before, out.After = before.facts, after.facts
	out.ImportsGained, out.ImportsLost = texts(lacking(after.imports, before.imports)), texts(lacking(before.imports, after.imports))
	out.ExportsGained, out.ExportsLost = texts(lacking(after.exports, before.exports)), texts(lacking(before.exports, after.exports))
	if key.before != "" {
		out.Grown = grown(before.functions, after.functions)
	}
	out.RAM = c.moduleRAM(key, apps, out)
	return out, nil
}

// version is one version of a module.
type version struct {
	facts            ModuleFacts
	imports, exports []string
	functions        map[string]int64
}

func (c *computation) facts(f *fleet.Fleet, digest string, limits wasmcheck.Limits) (version, error) {
	var v version
	m := f.Modules[digest]
	if m == nil {
		return v, nil // none, or a module of a base commit that is refused
	}
	content, err := f.ReadModule(digest)
	if err != nil {
		return v, err
	}
	for _, i := range m.Info.Imports {
		v.imports = append(v.imports, i.Module+"."+i.Name)
	}
	for _, e := range m.Info.Exports {
		v.exports = append(v.exports, e.Name)
	}
	slices.Sort(v.imports)
	slices.Sort(v.exports)
	v.imports, v.exports = slices.Compact(v.imports), slices.Compact(v.exports)
	v.functions = functionSizes(content, &m.Info)
	measured, err := c.measure(f, digest, limits, true)
	if err != nil {
		return v, err
	}
	v.facts = ModuleFacts{
		Digest: digest, Size: m.Size, CodeSize: int64(m.Info.CodeSize), Memory: int64(m.Info.MemoryMin),
		RAM: measured.ram, TrialFuel: measured.fuel, TrialEnd: measured.end,
	}
	return v, nil
}

// measure asks the runtime, once for each module and limits. What it refuses is not known: a commit is judged
// elsewhere.
func (c *computation) measure(f *fleet.Fleet, digest string, limits wasmcheck.Limits, try bool) (measure, error) {
	key := measureKey{digest, limits}
	m, known := c.measured[key]
	if known && (m.tried || !try) || c.in.Runtime == nil || f.Modules[digest] == nil {
		return m, nil
	}
	content, err := f.ReadModule(digest)
	if err != nil {
		return m, err
	}
	var refused *wasmcheck.Error
	ram, err := c.in.Runtime.RAM(c.ctx, content, limits)
	switch {
	case err == nil:
		m.ram = int64(ram.Total())
	case !errors.As(err, &refused):
		return m, fmt.Errorf("measure module %s: %w", digest, err)
	}
	if try {
		m.tried = true
		if m.fuel, m.end, err = trial(c.ctx, c.in.Runtime, content, limits); err != nil && !errors.As(err, &refused) {
			return m, fmt.Errorf("start module %s: %w", digest, err)
		}
	}
	c.measured[key] = m
	return m, nil
}

// trial starts a module with host functions that answer 0, until it waits or ends.
func trial(ctx context.Context, runtime Runtime, content []byte, limits wasmcheck.Limits) (fuel int64, end string, err error) {
	program, err := runtime.Program(ctx, content)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, program.Close(ctx)) }()
	instance, err := program.Instantiate(ctx, wasmcheck.Config{Limits: limits, Functions: answers()})
	if err != nil {
		return 0, "", err
	}
	status := wasmcheck.Done
	if program.Info().HasStart {
		if status, err = instance.Run(ctx, trialFuel); err != nil {
			return 0, "", err
		}
	}
	for _, entry := range []string{hostapi.EntryInitialize, hostapi.EntryRun} {
		if _, ok := program.Info().Export(entry); !ok || status != wasmcheck.Done {
			continue
		}
		if err := instance.Call(ctx, entry); err != nil {
			return 0, "", err
		}
		if status, err = instance.Run(ctx, trialFuel); err != nil {
			return 0, "", err
		}
	}
	used, err := instance.Usage(ctx)
	if err != nil {
		return 0, "", err
	}
	return int64(used.Fuel), map[wasmcheck.Status]string{
		wasmcheck.Done: "ends", wasmcheck.Waiting: "waits", wasmcheck.Trapped: "traps", wasmcheck.OutOfFuel: "goes on",
	}[status], nil
}

// answers are the host functions of a trial: those that block wait for ever, the others answer 0.
func answers() []wasmcheck.HostFunction {
	var out []wasmcheck.HostFunction
	for _, f := range hostapi.Functions() {
		result, wide := wasmcheck.HostOK, slices.ContainsFunc(f.Results, func(t byte) bool { return t == hostapi.F64 || t == hostapi.I64 })
		if f.Blocking {
			result = wasmcheck.HostWait
		}
		signature := strings.ReplaceAll(f.Signature(), " ", "")
		if len(f.Results) == 0 {
			signature += "->()"
		}
		out = append(out, wasmcheck.HostFunction{Module: f.Module, Name: f.Name, Signature: signature, Call: func(call *wasmcheck.Call) wasmcheck.HostResult {
			if wide {
				call.Return64(0)
			} else if len(f.Results) > 0 {
				call.Return(0)
			}
			return result
		}})
	}
	return out
}

// moduleRAM tells what the applications take on each board that they select.
func (c *computation) moduleRAM(key moduleChange, apps []*riskyApp, m *Module) []ModuleRAM {
	names := map[string]bool{}
	for _, a := range apps {
		for _, s := range c.spaces {
			if s.name != a.head.Namespace {
				continue
			}
			for _, d := range selected(a.head, s.headDevices) {
				names[d.Spec.Board] = true
			}
		}
	}
	out := []ModuleRAM{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		board, ok := boards.Get(name)
		if !ok {
			continue
		}
		ram := ModuleRAM{Board: board.Name, Limit: board.AppMemoryBytes, After: board.Blocks(need(key.limits, m.After.RAM))}
		if key.before != "" {
			ram.Before = board.Blocks(need(key.limitsBefore, m.Before.RAM))
		}
		out = append(out, ram)
	}
	return out
}

// need is what an application takes of a device's memory for apps: its limits, or what the runtime counts when that is
// more.
func need(limits wasmcheck.Limits, ram int64) int64 {
	return max(int64(limits.Memory)+int64(limits.Stack), ram)
}

// needOf is need for an Application of a fleet.
func (c *computation) needOf(f *fleet.Fleet, app *v1alpha1.Application) (int64, error) {
	m, err := c.measure(f, app.Spec.Module.Digest, limitsOf(app), false)
	return max(placement.Memory(&app.Spec), m.ram), err
}
