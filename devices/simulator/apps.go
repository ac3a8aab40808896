// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// app is what a device holds of one application. All of it is guarded by the device's mu.
//
// A version is a protocol.App without its number: module, config, permissions, limits, policy. The version that is
// wanted becomes current when its module is there, and confirmed when it outlives its start-up window. Until then
// the version before it is kept as the former one, and is current again when the new one crashes again and again.
type app struct {
	want       protocol.App
	current    *protocol.App // runs, or should; nil while nothing can
	former     *protocol.App
	confirmed  bool // want has outlived its start-up window
	rolledBack bool // the former version is current, or none, because want failed

	phase     protocol.Phase
	reason    protocol.Reason
	message   string
	since     time.Time
	restarts  uint32
	received  time.Time // of want
	startTime *uint32

	crashes int           // in a row, none of which outlived the window
	exits   int           // likewise, with those that completed
	inst    *instance     // nil while nothing runs
	ended   chan struct{} // closed when what ran before has ended; the next one waits for it
	launch  uint64        // counts launches; what an earlier one still does is void
	retry   *time.Timer
	window  *time.Timer
	refetch *time.Timer
}

func (s savedApp) app() *app {
	return &app{want: s.Want, former: s.Former, confirmed: s.Confirmed, rolledBack: s.RolledBack, reason: s.Reason, message: s.Message}
}

func (a *app) saved() savedApp {
	s := savedApp{Want: a.want, Former: a.former, Confirmed: a.confirmed, RolledBack: a.rolledBack}
	if a.rolledBack {
		s.Reason, s.Message = a.reason, a.message
	}
	return s
}

// sameVersion compares everything but the number.
func sameVersion(a, b protocol.App) bool {
	return a.Digest == b.Digest && a.Artifact.Digest == b.Artifact.Digest && a.Artifact.Format == b.Artifact.Format &&
		maps.Equal(a.Config, b.Config) && slices.Equal(a.Permissions, b.Permissions) &&
		a.RestartPolicy == b.RestartPolicy && sameLimits(a.Limits, b.Limits)
}

func sameLimits(a, b *protocol.AppLimits) bool {
	same := func(x, y *uint32) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	if a == nil || b == nil {
		return a == b
	}
	return same(a.Memory, b.Memory) && same(a.Stack, b.Stack) && a.Fuel == b.Fuel
}

// What an app gets when its limits do not say: as the defaults of an Application.
const (
	defaultMemory = 16384
	defaultStack  = 4096
)

func limitsOf(v protocol.App) (memory, stack uint32) {
	memory, stack = defaultMemory, defaultStack
	if v.Limits != nil && v.Limits.Memory != nil {
		memory = *v.Limits.Memory
	}
	if v.Limits != nil && v.Limits.Stack != nil {
		stack = *v.Limits.Stack
	}
	return memory, stack
}

// sorted returns the apps by name.
func (d *Device) sorted() []*app {
	return slices.SortedFunc(maps.Values(d.apps), func(a, b *app) int { return strings.Compare(a.want.Name, b.want.Name) })
}

// storageFree is what modules leave of the board's storage.
func (d *Device) storageFree() int64 {
	used := map[protocol.Digest]int64{}
	for _, a := range d.apps {
		used[a.want.Artifact.Digest] = int64(a.want.Artifact.Size)
		if a.former != nil {
			used[a.former.Artifact.Digest] = int64(a.former.Artifact.Size)
		}
	}
	free := d.cfg.Board.ModuleStorageBytes
	for _, size := range used {
		free -= size
	}
	return max(free, 0)
}

// apply makes a list of apps what the device wants from now on. The caller holds mu.
func (d *Device) apply(generation uint64, digest protocol.Digest, list []protocol.App, received time.Time) {
	d.generation, d.digest = generation, &digest
	wanted := make(map[string]bool, len(list))
	for _, want := range list {
		wanted[want.Name] = true
	}
	room := false
	for name, a := range d.apps {
		if !wanted[name] {
			d.end(a)
			stopTimers(&a.refetch)
			delete(d.apps, name)
			d.mark(soon)
			room = true
		}
	}
	refused := admit(d.cfg.Board, list)
	for _, want := range list {
		d.want(want, refused[want.Name], received, room)
	}
	d.tidy()
	d.save()
	d.fetchNext()
	d.mark(later)
}

// want updates one app. With room, another app has gone.
func (d *Device) want(want protocol.App, refused *refusal, received time.Time, room bool) {
	a := d.apps[want.Name]
	if a == nil {
		a = &app{}
		d.apps[want.Name] = a
	} else {
		newNumber := a.want.Spec != want.Spec
		tryAgain := newNumber && (a.rolledBack || a.phase == protocol.PhaseRejected) ||
			room && a.phase == protocol.PhaseRejected && (a.reason == protocol.ReasonNoMemory || a.reason == protocol.ReasonNoStorage)
		if sameVersion(a.want, want) && !tryAgain {
			a.want = want
			if newNumber {
				d.mark(soon)
			}
			return
		}
		a.keepFormer()
	}
	a.want, a.received = want, received
	a.confirmed, a.rolledBack, a.startTime = false, false, nil
	a.crashes, a.exits, a.restarts = 0, 0, 0
	stopTimers(&a.retry, &a.refetch)
	switch {
	case refused != nil:
		d.refuse(a, *refused)
	case d.store.hasModule(want.Artifact.Digest):
		d.switchTo(a)
	default:
		d.setPhase(a, protocol.PhaseFetching, protocol.ReasonNone, "") // what is current goes on meanwhile
	}
}

// keepFormer remembers the version that runs now as the one to go back to.
func (a *app) keepFormer() {
	proven := a.confirmed && !a.rolledBack
	if a.current != nil && (proven || a.rolledBack || a.former == nil && a.inst != nil && a.crashes == 0) {
		version := *a.current
		a.former = &version
	}
}

// admit judges a list by what the board can store and how many apps it runs; in the order of the list, the first ones
// win. Whether there is memory shows when an app starts.
func admit(b boards.Board, list []protocol.App) map[string]*refusal {
	refused := map[string]*refusal{}
	count := 0
	stored := map[protocol.Digest]bool{}
	storage := b.ModuleStorageBytes
	for _, want := range list {
		size := int64(want.Artifact.Size)
		if stored[want.Artifact.Digest] {
			size = 0
		}
		no := func(reason protocol.Reason, format string, args ...any) {
			refused[want.Name] = &refusal{reason, fmt.Sprintf(format, args...)}
		}
		switch {
		case size == 0 && !stored[want.Artifact.Digest]:
			no(protocol.ReasonModuleInvalid, "a module of no bytes")
		case want.Artifact.Format != protocol.FormatWasm || want.Artifact.Digest != want.Digest:
			no(protocol.ReasonUnsupported, "this board runs WebAssembly modules only, not format %d", want.Artifact.Format)
		case int64(want.Artifact.Size) > b.MaxModuleBytes:
			no(protocol.ReasonNoStorage, "a module of %d bytes; this board takes %d", want.Artifact.Size, b.MaxModuleBytes)
		case size > storage:
			no(protocol.ReasonNoStorage, "a module of %d bytes; %d are left for modules", want.Artifact.Size, storage)
		case count >= b.MaxApps:
			no(protocol.ReasonNoMemory, "this board runs at most %d apps", b.MaxApps)
		default:
			count++
			stored[want.Artifact.Digest] = true
			storage -= size
		}
	}
	return refused
}

// resume starts an app at boot.
func (d *Device) resume(a *app) {
	a.received = time.Now()
	if a.rolledBack {
		reason, message := a.reason, a.message
		if a.former == nil {
			d.setPhase(a, protocol.PhaseRejected, reason, message)
			return
		}
		a.current = a.former
		d.setPhase(a, protocol.PhaseRolledBack, reason, message)
		d.run(a)
		return
	}
	if refused := admit(d.cfg.Board, []protocol.App{a.want})[a.want.Name]; refused != nil {
		d.refuse(a, *refused)
		return
	}
	if d.store.hasModule(a.want.Artifact.Digest) {
		d.switchTo(a)
		return
	}
	d.setPhase(a, protocol.PhaseFetching, protocol.ReasonNone, "")
	if a.former != nil && d.store.hasModule(a.former.Artifact.Digest) {
		a.current = a.former
		d.run(a)
	}
}

// switchTo makes the wanted version current.
func (d *Device) switchTo(a *app) {
	version := a.want
	a.current = &version
	d.setPhase(a, protocol.PhaseStarting, protocol.ReasonNone, "")
	d.run(a)
}

// refuse follows a wanted version that cannot run at all.
func (d *Device) refuse(a *app, why refusal) {
	if a.former != nil {
		d.goBack(a, why)
		return
	}
	d.end(a)
	a.current = nil
	d.setPhase(a, protocol.PhaseRejected, why.reason, why.message)
}

// goBack runs the former version and says so. Nobody retries the wanted one until it changes.
func (d *Device) goBack(a *app, why refusal) {
	d.cfg.Log.Info("app went back to its former version", "app", a.want.Name, "reason", why.reason.String(), "message", why.message)
	a.rolledBack, a.crashes, a.exits = true, 0, 0
	d.setPhase(a, protocol.PhaseRolledBack, why.reason, why.message)
	d.save()
	if a.inst != nil && sameVersion(a.inst.app, *a.former) {
		a.current = a.former
		return // it still runs
	}
	a.current = a.former
	d.run(a)
}

// run launches the current version, after what runs now has ended.
func (d *Device) run(a *app) {
	d.end(a)
	if d.ctx == nil {
		return
	}
	version, launch := *a.current, a.launch
	before := a.ended
	d.guests.Go(func() {
		if before != nil {
			<-before
		}
		d.start(a, launch, version)
	})
}

// end stops what runs or is about to.
func (d *Device) end(a *app) {
	a.launch++
	stopTimers(&a.retry, &a.window)
	if a.inst != nil {
		a.inst.halt()
		a.ended = a.inst.done
		d.drop(a)
	}
}

// drop forgets an instance that will not run any more.
func (d *Device) drop(a *app) {
	d.arena.set(a.inst.memory, false)
	a.inst = nil
}

func stopTimers(timers ...**time.Timer) {
	for _, t := range timers {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}

// start makes an instance and runs it; it holds no lock while the module is loaded.
func (d *Device) start(a *app, launch uint64, version protocol.App) {
	if d.cfg.NoModules {
		d.pretend(a, launch)
		return
	}
	module, err := d.cfg.Engine.load(context.Background(), version.Artifact.Digest, func() ([]byte, error) { return d.store.readModule(version.Artifact.Digest) })
	if err != nil {
		d.unless(a, launch, func() { d.failed(a, err) })
		return
	}
	release := func() { d.cfg.Engine.unload(version.Artifact.Digest) }
	inst, err := d.prepare(a, launch, version, module)
	if err != nil {
		release()
		d.unless(a, launch, func() { d.failed(a, err) })
		return
	}
	inst.release = func() {
		release()
		d.guests.Done()
	}
	started := false
	d.unless(a, launch, func() {
		a.inst, started = inst, true
		d.guests.Add(1)
		d.begun(a)
		inst.begin()
	})
	if !started {
		d.mu.Lock()
		d.arena.set(inst.memory, false)
		d.mu.Unlock()
		inst.wasm.Close()
		release()
	}
}

// unless does f with mu held, unless the launch is void or the device is off.
func (d *Device) unless(a *app, launch uint64, f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.launch == launch && d.ctx != nil {
		f()
	}
}

// begun notes the time to the first instruction.
func (d *Device) begun(a *app) {
	if a.startTime == nil {
		took := uint32(time.Since(a.received).Milliseconds())
		a.startTime = &took
	}
}

// pretend is a start without a module.
func (d *Device) pretend(a *app, launch uint64) {
	d.unless(a, launch, func() {
		d.begun(a)
		a.confirmed, a.former = true, nil
		d.setPhase(a, protocol.PhaseRunning, protocol.ReasonNone, "")
		d.tidy()
		d.save()
	})
}

// prepare finds memory for a version and instantiates it: what the firmware does, in its order.
func (d *Device) prepare(a *app, launch uint64, version protocol.App, module *wasmcheck.Program) (_ *instance, err error) {
	ctx := context.Background()
	functions, err := d.cfg.Engine.offered(d.cfg.Board, version.Permissions)
	if err != nil {
		return nil, err
	}
	memory, stack := limitsOf(version)
	limits := wasmcheck.Limits{Memory: memory, Stack: stack}
	ram, err := module.RAM(ctx, limits)
	if err != nil {
		return nil, refusalOf(err)
	}
	i := &instance{app: version, device: d, info: module.Info(), done: make(chan struct{}), fuel: newFuel(version.Limits, d.uptime()),
		onReady: func() { d.ready(a, launch) }, onExit: func(out outcome) { d.exited(a, launch, out) }}
	d.mu.Lock()
	i.memory, err = d.arena.reserve(ram)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if i.wasm, err = module.Instantiate(ctx, wasmcheck.Config{Limits: limits, Functions: functions, User: i}); err == nil {
		err = entries(*i.info)
	}
	if err != nil {
		if i.wasm != nil {
			i.wasm.Close()
		}
		d.mu.Lock()
		d.arena.set(i.memory, false)
		d.mu.Unlock()
		return nil, refusalOf(err)
	}
	i.returned = !i.info.HasStart
	return i, nil
}

// failed follows a version that could not be started: lacking its module it is fetched anew, all else is refused.
func (d *Device) failed(a *app, err error) {
	why := refusalOf(err)
	switch {
	case !a.onWanted():
		d.crashed(a, outcome(why)) // the former version; it is tried again later
	case errors.Is(err, os.ErrNotExist) || why.reason == protocol.ReasonDigestMismatch:
		d.setPhase(a, protocol.PhaseFetching, protocol.ReasonNone, "")
		d.fetchNext()
	default:
		d.refuse(a, why)
	}
}

// ready follows an app whose first call has returned or waits: it runs. One that has crashed before has to outlive
// its window first.
func (d *Device) ready(a *app, launch uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.launch != launch || a.inst == nil {
		return
	}
	if a.crashes == 0 {
		d.settled(a)
	}
	d.later(&a.window, d.timing.startupWindow, func() { d.outlived(a) })
}

// onWanted tells whether the current version is the wanted one, so that what happens to it is what is reported.
func (a *app) onWanted() bool {
	return !a.rolledBack && a.current != nil && sameVersion(*a.current, a.want)
}

// settled says that the current version runs, when that is the wanted one.
func (d *Device) settled(a *app) {
	if a.onWanted() {
		d.setPhase(a, protocol.PhaseRunning, protocol.ReasonNone, "")
	}
}

// outlived confirms the current version.
func (d *Device) outlived(a *app) {
	a.crashes, a.exits = 0, 0
	d.settled(a)
	d.confirm(a)
}

// confirm ends the trial of the wanted version; the former one is not needed any more.
func (d *Device) confirm(a *app) {
	if a.confirmed || !a.onWanted() {
		return
	}
	a.confirmed, a.former = true, nil
	d.tidy()
	d.save()
}

// exited follows an app that ended by itself.
func (d *Device) exited(a *app, launch uint64, out outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.launch != launch {
		return
	}
	d.drop(a)
	stopTimers(&a.retry, &a.window)
	a.exits++
	if out.reason != protocol.ReasonNone {
		d.crashed(a, out)
		return
	}
	d.confirm(a)
	if a.onWanted() {
		d.setPhase(a, protocol.PhaseCompleted, protocol.ReasonNone, "")
	}
	if a.current.RestartPolicy == protocol.RestartAlways {
		d.restart(a)
	}
}

// crashed starts the app again, later each time, or goes back to the former version.
func (d *Device) crashed(a *app, out outcome) {
	a.crashes++
	onTrial := !a.confirmed && a.former != nil && a.onWanted()
	if onTrial && (a.crashes >= crashesToGoBack || a.want.RestartPolicy == protocol.RestartNever) {
		d.goBack(a, refusal{protocol.ReasonCrashLoop, cleanText(fmt.Sprintf("ended %d times within its start-up window: %s", a.crashes, out.message), protocol.MaxText)})
		return
	}
	if a.onWanted() {
		d.setPhase(a, protocol.PhaseFailed, out.reason, out.message)
	}
	if a.current.RestartPolicy != protocol.RestartNever {
		d.restart(a)
	}
}

// restart launches the current version after a pause that doubles each time.
func (d *Device) restart(a *app) {
	pause := d.timing.restartMax
	if n := max(a.crashes, a.exits) - 1; n < 20 {
		pause = min(pause, d.timing.restartBase<<max(n, 0))
	}
	d.later(&a.retry, pause, func() {
		a.restarts++
		d.mark(later)
		d.run(a)
	})
}

// later does f after a pause, with mu held, unless the timer is stopped or set anew before.
func (d *Device) later(slot **time.Timer, pause time.Duration, f func()) {
	stopTimers(slot)
	var timer *time.Timer
	timer = time.AfterFunc(pause, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if *slot == timer && d.ctx != nil {
			*slot = nil
			f()
		}
	})
	*slot = timer
}

// tidy removes modules that no version needs.
func (d *Device) tidy() {
	keep := map[protocol.Digest]bool{}
	for _, a := range d.apps {
		keep[a.want.Artifact.Digest] = true
		if a.former != nil {
			keep[a.former.Artifact.Digest] = true
		}
		if a.current != nil {
			keep[a.current.Artifact.Digest] = true
		}
	}
	d.store.keepModules(keep)
}

// setPhase changes what is reported of an app. The caller holds mu.
func (d *Device) setPhase(a *app, phase protocol.Phase, reason protocol.Reason, message string) {
	message = cleanText(message, protocol.MaxText)
	if a.phase == phase && a.reason == reason && a.message == message && !a.since.IsZero() {
		return
	}
	a.phase, a.reason, a.message, a.since = phase, reason, message, time.Now()
	if phase == protocol.PhaseFetching || phase == protocol.PhaseStarting {
		d.mark(later)
	} else {
		d.mark(soon)
	}
}

// states is what is reported. The caller holds mu.
func (d *Device) states() []protocol.State {
	out := make([]protocol.State, 0, len(d.apps))
	for _, a := range d.sorted() {
		digest := a.want.Digest
		if a.current != nil {
			digest = a.current.Digest
		}
		out = append(out, protocol.State{Name: a.want.Name, Spec: a.want.Spec, Phase: a.phase, Digest: &digest, Reason: a.reason, Message: a.message,
			Restarts: a.restarts, Since: uint64(time.Since(a.since).Milliseconds()), StartTime: a.startTime})
	}
	return out
}
