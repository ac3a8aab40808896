// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// outcome is how an instance ended.
type outcome struct {
	reason  protocol.Reason // ReasonNone: it completed
	message string
}

// event waits in an instance's queue. A timer's id is its number, a pin's its number, with port and state. A message's
// port, state and extra are where its topic, content type and payload lie.
type event struct {
	kind            int
	id, port, state int32
	extra, length   int32
	room            uint32
}

// state is which of the app's functions is being called, as in the firmware.
type state uint8

const (
	initializing state = iota // the start function, then _initialize
	inRun
	resting
	inCallback
)

// instance is one running app. It is the Go side of the firmware's runner: turn does what one pass of the firmware's
// loop does, and in between an app that sleeps or is idle costs no goroutine, only a timer.
type instance struct {
	app      protocol.App
	device   *Device
	wasm     *wasmcheck.Instance
	info     *wasmcheck.Info
	memory   blocks        // guarded by Device.mu; freed when the app is told to stop or has ended
	onReady  func()        // called once, when the first call has returned or blocked, or ran for a while
	onExit   func(outcome) // called once, unless the app was told to stop
	release  func()        // gives the module back
	done     chan struct{} // closed when no guest code will run any more
	begun    time.Duration // of the device's uptime, as all times here
	ready    bool
	returned bool // no call is under way
	sensing  bool // the sensor is open

	// What follows belongs to the goroutine whose turn it is.
	state       state
	initialized bool
	sleeping    bool
	wake        time.Duration // when it sleeps
	result      hostapi.Code  // of what it sleeps in
	published   *message      // in this turn
	fuel        fuel
	timers      []guestTimer   // by number - 1; nil until one is made
	dispatchers map[int]string // export by event, where the app named another one
	lines       []line         // logged in this turn
	dropped     uint32         // log lines

	// mu is taken after Device.mu and within the app's host functions. Who holds it does not run the app.
	mu        sync.Mutex
	scheduled bool // waits for its turn, or has it
	again     bool // something happened during its turn
	halted    bool // told to stop
	alarm     *time.Timer
	queue     []event
	watched   []event // pins: id and port
	inbox     inbox
	values    map[string]int64 // published
}

// guestTimer is one of an app's timers.
type guestTimer struct {
	exists bool
	due    time.Duration // 0: stopped
	period time.Duration // 0: once
}

// line was logged.
type line struct {
	level protocol.LogLevel
	text  string
}

// readyAfter is how long the first call may run until the app counts as running.
const readyAfter = 50 * time.Millisecond

// never wakes nobody.
const never = time.Duration(math.MaxInt64)

// begin gives the app its first turn.
func (i *instance) begin() {
	i.begun = i.device.uptime()
	i.rouse()
}

// rouse asks for a turn.
func (i *instance) rouse() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.call()
}

// push queues an event; the oldest one goes when there are too many. The caller holds mu.
func (i *instance) push(ev event) {
	if len(i.queue) >= hostapi.MaxEvents {
		i.queue = slices.Delete(i.queue, 0, 1)
	}
	i.queue = append(i.queue, ev)
}

// call asks for a turn. The caller holds mu.
func (i *instance) call() {
	if i.scheduled {
		i.again = true
		return
	}
	i.scheduled = true
	i.device.cfg.Engine.turns.put(i)
}

// halt tells the app to stop. done is closed when it has. The caller holds Device.mu.
func (i *instance) halt() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.halted = true
	i.call()
}

// turn runs one slice, and tells whether there is more to do at once.
func (i *instance) turn() bool {
	i.mu.Lock()
	i.again = false
	halted := i.halted
	if !halted {
		i.unpack(i.write)
	}
	i.mu.Unlock()
	if halted {
		i.end(outcome{})
		return false
	}
	now := i.device.uptime()
	wake, out := i.poll(now)
	i.flush()
	if i.published != nil {
		i.publish()
	}
	if out != nil {
		i.end(*out)
		return false
	}
	if !i.ready && (i.state == resting || i.state == inCallback || i.sleeping || now-i.begun >= readyAfter) {
		i.ready = true
		i.onReady()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.again || i.halted || wake <= now {
		return true
	}
	i.scheduled = false
	i.sleepUntil(wake)
	return false
}

// sleepUntil sets the alarm. The caller holds mu.
func (i *instance) sleepUntil(wake time.Duration) {
	if wake == never {
		return
	}
	pause := wake - i.device.uptime()
	if i.alarm == nil {
		i.alarm = time.AfterFunc(pause, i.rouse)
		return
	}
	i.alarm.Reset(pause)
}

// poll is the firmware's runner_poll: it runs one slice at most, and says when the app wants its next one, or how it
// ended.
func (i *instance) poll(now time.Duration) (wake time.Duration, out *outcome) {
	i.fireTimers(now)
	switch {
	case i.state == resting:
		wake, out = i.next()
	case i.sleeping && i.wake > now:
		wake = i.wake
	default:
		if i.sleeping {
			i.sleeping = false
			if err := i.wasm.Wake(context.Background(), code(i.result)); err != nil {
				return 0, broken(err)
			}
		}
		if i.returned {
			wake, out = i.next()
		} else {
			wake, out = i.run(now)
		}
	}
	return min(wake, i.nextTimer()), out
}

// broken is an outcome that no app can bring about.
func broken(err error) *outcome {
	return &outcome{protocol.ReasonTrapped, err.Error()}
}

// fireTimers queues the events of timers that are due. A timer that is late skips periods.
func (i *instance) fireTimers(now time.Duration) {
	for n := range i.timers {
		t := &i.timers[n]
		if t.due == 0 || t.due > now {
			continue
		}
		i.mu.Lock()
		i.push(event{kind: hostapi.EventTimer, id: int32(n + 1)})
		i.mu.Unlock()
		if t.period == 0 {
			t.due = 0
		} else if t.due += t.period; t.due <= now {
			t.due = now + t.period
		}
	}
}

func (i *instance) nextTimer() time.Duration {
	next := never
	for _, t := range i.timers {
		if t.due != 0 {
			next = min(next, t.due)
		}
	}
	return next
}

// next follows a call that has returned.
func (i *instance) next() (wake time.Duration, out *outcome) {
	if i.state == initializing {
		entry := hostapi.EntryRun
		if !i.initialized && exports(*i.info, hostapi.EntryInitialize, "()->()") {
			entry = hostapi.EntryInitialize
		} else {
			i.state = inRun
		}
		i.initialized = true
		return 0, i.enter(entry)
	}
	if i.state == inRun && exports(*i.info, hostapi.EntryRun, "()->i32") {
		result, err := i.wasm.Results(context.Background(), 1)
		if err != nil {
			return 0, broken(err)
		}
		if code := int32(result[0]); code != 0 {
			return 0, &outcome{protocol.ReasonExited, fmt.Sprintf("run returned %d", code)}
		}
	}
	i.state = resting
	for {
		name, args, ok := i.dispatch()
		if !ok {
			break
		}
		if name != "" {
			i.state = inCallback
			return 0, i.enter(name, args...)
		}
	}
	wake = i.nextTimer()
	i.mu.Lock()
	defer i.mu.Unlock()
	if wake == never && len(i.watched)+len(i.inbox.topics)+len(i.queue) == 0 {
		return 0, &outcome{}
	}
	return wake, nil
}

func (i *instance) enter(name string, args ...uint64) *outcome {
	if err := i.wasm.Call(context.Background(), name, args...); err != nil {
		return broken(err)
	}
	i.returned = false
	return nil
}

// dispatch takes the oldest event: the export that handles it, "" when none does, and its arguments.
func (i *instance) dispatch() (name string, args []uint64, ok bool) {
	i.mu.Lock()
	ev, ok := i.take(i.write)
	i.mu.Unlock()
	if !ok {
		return "", nil, false
	}
	c, known := callback(ev.kind)
	if !known {
		return "", nil, true
	}
	if name, known = i.dispatchers[ev.kind]; !known {
		name = c.name
		if !exports(*i.info, name, c.signature) {
			return "", nil, true
		}
	}
	order := []int32{ev.id, ev.state, ev.port}
	if ev.kind == hostapi.EventMessage {
		order = []int32{ev.id, ev.port, ev.state, ev.extra, ev.length}
	}
	for _, v := range order[:c.params] {
		args = append(args, uint64(uint32(v)))
	}
	return name, args, true
}

// callbacks by event.
type callbackType struct {
	name, signature string
	params          int
}

var callbacks = func() map[int]callbackType {
	out := map[int]callbackType{}
	for _, c := range hostapi.Callbacks() {
		f := hostapi.Function{Params: c.Params}
		out[c.Event] = callbackType{c.Name, signature(f), len(c.Params)}
	}
	return out
}()

func callback(kind int) (callbackType, bool) {
	c, ok := callbacks[kind]
	return c, ok
}

// run lets guest code run for a slice of fuel.
func (i *instance) run(now time.Duration) (wake time.Duration, out *outcome) {
	ration, wake := i.fuel.ration(now)
	if ration == 0 {
		return wake, nil
	}
	ctx := context.Background()
	status, err := i.wasm.Run(ctx, ration)
	if err != nil {
		return 0, broken(err)
	}
	used, err := i.wasm.Usage(ctx)
	if err != nil {
		return 0, broken(err)
	}
	i.fuel.spent(used.Fuel)
	switch status {
	case wasmcheck.Trapped:
		return 0, i.trapped()
	case wasmcheck.Waiting:
		return i.wake, nil
	case wasmcheck.Done:
		i.returned = true
		return i.next()
	}
	return 0, nil
}

// trapped says where, in the firmware's words.
func (i *instance) trapped() *outcome {
	t, err := i.wasm.Trap(context.Background())
	if err != nil {
		return broken(err)
	}
	in := strconv.FormatUint(uint64(t.Function), 10)
	if t.Name != "" {
		in += " (" + t.Name[:min(len(t.Name), maxTrapName)] + ")"
	}
	return &outcome{protocol.ReasonTrapped, fmt.Sprintf("%s in function %s at byte %d", t.Code, in, t.Offset)}
}

// maxTrapName is how much of a function's name a trap's message holds.
const maxTrapName = 32

// flush sends what the app logged in its turn: host functions run within the runtime's lock, which is taken after the
// device's.
func (i *instance) flush() {
	for _, l := range i.lines {
		i.device.log(l.level, i.app.Name, l.text)
	}
	i.lines = i.lines[:0]
	i.device.dropLogs(i.dropped)
	i.dropped = 0
}

// end closes the instance, once, in its turn; scheduled stays set, so that it has no other.
func (i *instance) end(out outcome) {
	i.mu.Lock()
	told := i.halted
	if i.alarm != nil {
		i.alarm.Stop()
	}
	i.queue = nil
	i.mu.Unlock()
	i.wasm.Close()
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
	return maps.Clone(i.values)
}

// createTimer, startTimer, stopTimer, deleteTimer and remaining are the app's timers.
func (i *instance) createTimer(id int32) hostapi.Code {
	if id < 1 || id > hostapi.MaxTimers {
		return hostapi.CodeInvalid
	}
	if i.timer(id) != nil {
		return hostapi.CodeBusy
	}
	if i.timers == nil {
		i.timers = make([]guestTimer, hostapi.MaxTimers)
	}
	i.timers[id-1] = guestTimer{exists: true}
	return hostapi.CodeOK
}

// timer is one that exists, or nil.
func (i *instance) timer(id int32) *guestTimer {
	if id < 1 || int(id) > len(i.timers) || !i.timers[id-1].exists {
		return nil
	}
	return &i.timers[id-1]
}

func (i *instance) startTimer(id, milliseconds int32, periodic bool) hostapi.Code {
	t := i.timer(id)
	switch {
	case milliseconds < 1:
		return hostapi.CodeInvalid
	case t == nil:
		return hostapi.CodeNotFound
	}
	period := time.Duration(milliseconds) * time.Millisecond
	t.due, t.period = i.device.uptime()+period, 0
	if periodic {
		t.period = period
	}
	return hostapi.CodeOK
}

func (i *instance) stopTimer(id int32, remove bool) hostapi.Code {
	t := i.timer(id)
	if t == nil {
		return hostapi.CodeNotFound
	}
	t.due, t.exists = 0, !remove
	return hostapi.CodeOK
}

func (i *instance) remaining(id int32) int32 {
	t := i.timer(id)
	if t == nil {
		return int32(hostapi.CodeNotFound)
	}
	return int32(max(t.due-i.device.uptime(), 0).Milliseconds())
}
