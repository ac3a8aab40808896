// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/gateway/protocol"
)

// outcome is how an instance ended.
type outcome struct {
	reason  protocol.Reason // ReasonNone: it completed
	message string
}

// event waits in an instance's queue. A timer's id is its number, a pin's its number, with port and state.
type event struct {
	kind            int
	id, port, state int32
}

// instance is one running app. Guest code runs in at most one goroutine at a time, which exists only while there is
// something to run; an idle app costs none.
//
// mu guards what comes below it and is never held while guest code runs or the device's lock is taken.
type instance struct {
	app      protocol.App
	device   *Device
	module   api.Module
	memory   *linearMemory
	ctx      context.Context // ends when the app is told to stop
	stop     context.CancelFunc
	watchdog time.Duration
	onReady  func()        // called once, when the first call has returned or blocked, or ran for a while
	onExit   func(outcome) // called once, unless the app was told to stop
	release  func()        // gives the compiled module back
	done     chan struct{} // closed when no guest code will run any more
	ready    sync.Once

	mu      sync.Mutex
	busy    bool // guest code runs, or run has not been called yet
	ended   bool
	queue   []event
	timers  map[int32]*guestTimer
	watched []event            // pins: id and port
	exports map[int]string     // event → dispatcher that the app registered
	values  map[string]int64   // published
	sensing bool               // the sensor is open
	guard   *time.Timer        // fires when guest code runs too long without a pause
	cancel  context.CancelFunc // of the call under way
	overran bool
}

// guestTimer is one of an app's timers.
type guestTimer struct {
	timer    *time.Timer // nil while it is stopped
	period   time.Duration
	periodic bool
	due      time.Time
}

// readyAfter is how long the first call may run until the app counts as running.
const readyAfter = 50 * time.Millisecond

type instanceKey struct{}

// instantiate makes an instance of the app with memory of its own and runs its start function, if it has one. Nothing
// else of it has run yet, and neither onReady nor onExit are called before start is.
func instantiate(ctx context.Context, d *Device, module wazero.CompiledModule, app protocol.App, limit uint32) (_ *instance, err error) {
	i := &instance{app: app, device: d, watchdog: d.timing.watchdog, done: make(chan struct{}), busy: true, memory: &linearMemory{limit: uint64(limit)}}
	i.ctx, i.stop = context.WithCancel(context.WithValue(ctx, instanceKey{}, i))
	defer func() {
		if v := recover(); v != nil {
			refused, ok := v.(refusal)
			if !ok {
				panic(v)
			}
			err = refused
		}
		if err != nil {
			i.stop()
			i.memory.Free()
		}
	}()
	ctx, done := i.begin()
	allocator := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return i.memory })
	i.module, err = d.cfg.Engine.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocator), module, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	overran := done()
	switch {
	case overran:
		return nil, refusal{protocol.ReasonWatchdog, fmt.Sprintf("the start function ran for %s without a pause", i.watchdog)}
	case err != nil && strings.Contains(err.Error(), "data["):
		return nil, refusal{protocol.ReasonNoMemory, fmt.Sprintf("its data does not fit the %d bytes of memory that limits give it", limit)}
	case err != nil:
		return nil, refusal{protocol.ReasonTrapped, trapText(err)}
	}
	return i, nil
}

// start runs the app's entry points and then what is queued, in the calling goroutine.
func (i *instance) start() {
	soon := time.AfterFunc(readyAfter, i.markReady)
	defer soon.Stop()
	if f := i.module.ExportedFunction(hostapi.EntryInitialize); f != nil {
		if _, ended := i.call(f); ended {
			return
		}
	}
	results, ended := i.call(i.module.ExportedFunction(hostapi.EntryRun))
	if ended {
		return
	}
	if len(results) > 0 && int32(results[0]) != 0 {
		i.end(outcome{protocol.ReasonExited, fmt.Sprintf("run returned %d", int32(results[0]))})
		return
	}
	i.markReady()
	i.pump()
}

// pump delivers queued events until there are none, in the goroutine that holds busy.
func (i *instance) pump() {
	for {
		ev, ok := i.next()
		if !ok {
			return
		}
		name, params := i.dispatch(ev)
		f := i.module.ExportedFunction(name)
		if f == nil {
			continue // nothing handles it
		}
		if _, ended := i.call(f, params...); ended {
			return
		}
	}
}

// next takes an event, or gives busy up; then the app is idle, or has completed when nothing can wake it.
func (i *instance) next() (event, bool) {
	i.mu.Lock()
	if i.ended {
		i.mu.Unlock()
		return event{}, false
	}
	if i.ctx.Err() != nil {
		i.mu.Unlock()
		i.end(outcome{})
		return event{}, false
	}
	if len(i.queue) > 0 {
		ev := i.queue[0]
		i.queue = slices.Delete(i.queue, 0, 1)
		i.mu.Unlock()
		return ev, true
	}
	alive := len(i.watched) > 0
	for _, t := range i.timers {
		alive = alive || t.timer != nil
	}
	if alive {
		i.busy = false
		i.mu.Unlock()
		return event{}, false
	}
	i.mu.Unlock()
	i.end(outcome{})
	return event{}, false
}

// dispatch names the export that handles an event, and its arguments.
func (i *instance) dispatch(ev event) (string, []uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range hostapi.Callbacks() {
		if c.Event != ev.kind {
			continue
		}
		name := c.Name
		if other, ok := i.exports[ev.kind]; ok {
			name = other
		}
		if ev.kind == hostapi.EventGPIO {
			return name, []uint64{api.EncodeI32(ev.id), api.EncodeI32(ev.state), api.EncodeI32(ev.port)}
		}
		return name, []uint64{api.EncodeI32(ev.id)}
	}
	return "", nil
}

// begin sets the watchdog for guest code that is about to run; done takes it off and tells whether it bit.
func (i *instance) begin() (ctx context.Context, done func() bool) {
	ctx, cancel := context.WithCancel(i.ctx)
	i.mu.Lock()
	i.cancel = cancel
	i.guard = time.AfterFunc(i.watchdog, i.bite)
	i.mu.Unlock()
	return ctx, func() bool {
		defer cancel()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.guard.Stop()
		return i.overran
	}
}

// call runs one export under the watchdog. When it fails, the instance has ended.
func (i *instance) call(f api.Function, params ...uint64) (results []uint64, ended bool) {
	ctx, done := i.begin()
	results, err := f.Call(ctx, params...)
	overran := done()
	switch {
	case i.ctx.Err() != nil:
		i.end(outcome{}) // told to stop; whatever the call returned is of no interest
	case overran:
		i.end(outcome{protocol.ReasonWatchdog, fmt.Sprintf("%s ran for %s without a pause", f.Definition().ExportNames()[0], i.watchdog)})
	case err != nil:
		i.end(outcome{protocol.ReasonTrapped, trapText(err)})
	default:
		return results, false
	}
	return nil, true
}

// bite stops guest code that ran too long.
func (i *instance) bite() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.overran = true
	i.cancel()
}

// block suspends the app for d, or until it is told to stop; the watchdog sleeps meanwhile.
func (i *instance) block(d time.Duration) {
	i.markReady()
	i.mu.Lock()
	i.guard.Stop()
	i.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-i.ctx.Done():
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.overran {
		i.guard.Reset(i.watchdog)
	}
}

// markReady tells, once, that the app runs. A start function that blocks comes before that.
func (i *instance) markReady() {
	if i.onReady != nil {
		i.ready.Do(i.onReady)
	}
}

// post queues an event and wakes the app when it is idle. The caller holds mu.
func (i *instance) post(ev event) {
	if i.ended || slices.Contains(i.queue, ev) && ev.kind == hostapi.EventTimer {
		return // a timer whose last event still waits does not fire twice
	}
	if len(i.queue) >= hostapi.MaxEvents {
		i.queue = slices.Delete(i.queue, 0, 1)
	}
	i.queue = append(i.queue, ev)
	if !i.busy {
		i.busy = true
		go i.pump()
	}
}

// halt tells the app to stop. done is closed when it has.
func (i *instance) halt() {
	i.stop()
	i.mu.Lock()
	idle := !i.busy && !i.ended
	if idle {
		i.busy = true
	}
	i.mu.Unlock()
	if idle {
		i.end(outcome{})
	}
}

// end closes the instance, once, in the goroutine that holds busy.
func (i *instance) end(out outcome) {
	i.mu.Lock()
	if i.ended {
		i.mu.Unlock()
		return
	}
	i.ended = true
	i.queue = nil
	for _, t := range i.timers {
		t.stop()
	}
	i.mu.Unlock()
	told := i.ctx.Err() != nil
	i.stop()
	_ = i.module.Close(context.Background()) // frees memory only
	i.release()
	close(i.done)
	if !told {
		i.onExit(out)
	}
}

// metrics is a copy of what the app has published.
func (i *instance) metrics() map[string]int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.values) == 0 {
		return nil
	}
	out := make(map[string]int64, len(i.values))
	for k, v := range i.values {
		out[k] = v
	}
	return out
}

func (t *guestTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// createTimer, startTimer, stopTimer, deleteTimer and remaining are the app's timers.
func (i *instance) createTimer(id int32) hostapi.Code {
	i.mu.Lock()
	defer i.mu.Unlock()
	if id < 1 || id > hostapi.MaxTimers {
		return hostapi.CodeInvalid
	}
	if _, ok := i.timers[id]; ok {
		return hostapi.CodeBusy
	}
	if i.timers == nil {
		i.timers = map[int32]*guestTimer{}
	}
	i.timers[id] = &guestTimer{}
	return hostapi.CodeOK
}

func (i *instance) startTimer(id, milliseconds int32, periodic bool) hostapi.Code {
	i.mu.Lock()
	defer i.mu.Unlock()
	if milliseconds < 1 {
		return hostapi.CodeInvalid
	}
	t, ok := i.timers[id]
	if !ok || i.ended {
		return hostapi.CodeNotFound
	}
	t.stop()
	t.period, t.periodic = time.Duration(milliseconds)*time.Millisecond, periodic
	t.due = time.Now().Add(t.period)
	i.arm(id, t)
	return hostapi.CodeOK
}

// arm lets t fire when it is due. The caller holds mu.
func (i *instance) arm(id int32, t *guestTimer) {
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t.due), func() { i.fire(id, t, &timer) })
	t.timer = timer
}

// fire posts a timer's event. A timer that was stopped or started anew meanwhile is another one.
func (i *instance) fire(id int32, t *guestTimer, timer **time.Timer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t.timer != *timer || i.ended {
		return
	}
	t.timer = nil
	if t.periodic {
		t.due = t.due.Add(t.period)
		if late := time.Since(t.due); late > 0 {
			t.due = time.Now().Add(t.period) // too late for the next one already: no burst
		}
		i.arm(id, t)
	}
	i.post(event{kind: hostapi.EventTimer, id: id}) // in one step with the above, so that the app never looks idle for good in between
}

func (i *instance) stopTimer(id int32, remove bool) hostapi.Code {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, ok := i.timers[id]
	if !ok {
		return hostapi.CodeNotFound
	}
	t.stop()
	if remove {
		delete(i.timers, id)
	}
	return hostapi.CodeOK
}

func (i *instance) remaining(id int32) int32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, ok := i.timers[id]
	switch {
	case !ok:
		return int32(hostapi.CodeNotFound)
	case t.timer == nil:
		return 0
	}
	return int32(max(time.Until(t.due).Milliseconds(), 0))
}

// trapText is what a trap was and where, from a runtime's error. Modules without a name section have numbers only.
func trapText(err error) string {
	text, trace, _ := strings.Cut(err.Error(), "\n")
	text = strings.TrimSuffix(strings.TrimPrefix(text, "wasm error: "), " (recovered by wazero)")
	_, at, _ := strings.Cut(trace, "wasm stack trace:\n\t")
	at, _, _ = strings.Cut(strings.TrimPrefix(at, "."), "(")
	if at == "" {
		return text
	}
	return text + " in function " + strings.TrimPrefix(at, "$")
}
