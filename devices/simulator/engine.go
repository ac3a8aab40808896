// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// Engine is what the devices of one process share: the boards' WebAssembly runtime, each module loaded once, the
// processors that apps take turns on, and the number of TLS handshakes under way. It is safe for concurrent use.
type Engine struct {
	checker    *wasmcheck.Checker
	handshakes chan struct{}
	turns      turns

	mu        sync.Mutex
	modules   map[protocol.Digest]*loaded
	functions map[string][]wasmcheck.HostFunction // by what board and app allow
}

// maxHandshakes of all devices of a process at once: more only lengthen one another.
const maxHandshakes = 32

// loaded is one module, checked and loaded once however many devices run it.
type loaded struct {
	ready   chan struct{} // closed when the fields below are set
	program *wasmcheck.Program
	err     error
	users   int // guarded by Engine.mu
}

// NewEngine starts an empty engine.
func NewEngine(ctx context.Context) (*Engine, error) {
	for _, f := range hostapi.Functions() {
		if hostFunctions[f.Name] == nil {
			return nil, fmt.Errorf("internal error: host function %s is not implemented", f.Name)
		}
	}
	checker, err := wasmcheck.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the WebAssembly runtime: %w", err)
	}
	return &Engine{checker: checker, handshakes: make(chan struct{}, maxHandshakes), turns: turns{most: runtime.GOMAXPROCS(0)},
		modules: map[protocol.Digest]*loaded{}, functions: map[string][]wasmcheck.HostFunction{}}, nil
}

// Close ends the engine. No device of it runs any more.
func (e *Engine) Close(ctx context.Context) error { return e.checker.Close(ctx) }

// load returns the module, and loads it when no device has done so yet. Every successful load is followed by one
// unload.
func (e *Engine) load(ctx context.Context, digest protocol.Digest, read func() ([]byte, error)) (*wasmcheck.Program, error) {
	e.mu.Lock()
	m, ok := e.modules[digest]
	if ok {
		m.users++
		e.mu.Unlock()
		<-m.ready
	} else {
		m = &loaded{ready: make(chan struct{}), users: 1}
		e.modules[digest] = m
		e.mu.Unlock()
		m.program, m.err = e.program(ctx, digest, read)
		close(m.ready)
	}
	if m.err != nil {
		e.unload(digest)
		return nil, m.err
	}
	return m.program, nil
}

func (e *Engine) program(ctx context.Context, digest protocol.Digest, read func() ([]byte, error)) (*wasmcheck.Program, error) {
	bytes, err := read()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", digest, err)
	}
	program, err := e.checker.Program(context.WithoutCancel(ctx), bytes)
	if err != nil {
		return nil, refusalOf(err)
	}
	return program, nil
}

// unload gives a module back; the last user frees it.
func (e *Engine) unload(digest protocol.Digest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.modules[digest]
	if m == nil {
		return
	}
	if m.users--; m.users > 0 {
		return
	}
	delete(e.modules, digest)
	if m.program != nil {
		_ = m.program.Close(context.Background()) // frees memory only
	}
}

// offered are the host functions of a board for an app with these permissions. All devices share them.
func (e *Engine) offered(board boards.Board, permissions []string) ([]wasmcheck.HostFunction, error) {
	for _, p := range permissions {
		if !hostapi.Known(hostapi.Permission(p)) {
			return nil, refusal{protocol.ReasonPermissionDenied, "unknown permission " + p}
		}
	}
	key := strings.Join(board.Permissions, " ") + "/" + strings.Join(slices.Sorted(slices.Values(permissions)), " ")
	e.mu.Lock()
	defer e.mu.Unlock()
	list, ok := e.functions[key]
	if ok {
		return list, nil
	}
	for _, f := range hostapi.Functions() {
		free := f.Permission == hostapi.PermissionNone
		if free || board.Has(string(f.Permission)) {
			call := hostFunctions[f.Name]
			list = append(list, wasmcheck.HostFunction{Module: f.Module, Name: f.Name, Signature: signature(f),
				Denied: !free && !slices.Contains(permissions, string(f.Permission)),
				Call:   func(c *wasmcheck.Call) wasmcheck.HostResult { return call(c.Instance.User().(*instance), c) }})
		}
	}
	e.functions[key] = list
	return list, nil
}

// signature is a function's type as wasmcheck writes it.
func signature(f hostapi.Function) string {
	text := strings.ReplaceAll(f.Signature(), " ", "")
	if len(f.Results) == 0 {
		text += "->()"
	}
	return text
}

// turns lets instances that have something to run do so in turn, a slice of fuel each, on as many goroutines as there
// are processors. A goroutine exists only while there is something to run.
type turns struct {
	most int

	mu      sync.Mutex
	queue   []*instance
	head    int
	workers int
}

// put appends an instance to the queue. The caller may hold Device.mu and instance.mu.
func (t *turns) put(i *instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, i)
	if t.workers < t.most {
		t.workers++
		go t.work()
	}
}

// take removes the oldest instance; nil, and one worker less, when there is none.
func (t *turns) take() *instance {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.head == len(t.queue) {
		t.queue, t.head = t.queue[:0], 0
		t.workers--
		return nil
	}
	i := t.queue[t.head]
	t.queue[t.head] = nil
	t.head++
	if t.head > 1024 && t.head > len(t.queue)/2 { // never empty for long: move what waits to the front
		t.queue = t.queue[:copy(t.queue, t.queue[t.head:])]
		t.head = 0
	}
	return i
}

func (t *turns) work() {
	for i := t.take(); i != nil; i = t.take() {
		if i.turn() {
			t.put(i)
		}
	}
}

// refusal is why a device does not run a module: a reason of the protocol and a sentence.
type refusal struct {
	reason  protocol.Reason
	message string
}

func (r refusal) Error() string { return r.message }

// refusalOf is the reason and sentence for any error of starting a module, in the firmware's words.
func refusalOf(err error) refusal {
	var r refusal
	if errors.As(err, &r) {
		return r
	}
	var e *wasmcheck.Error
	if !errors.As(err, &e) {
		return refusal{protocol.ReasonModuleInvalid, err.Error()}
	}
	reason := map[wasmcheck.Code]protocol.Reason{
		wasmcheck.ErrUnsupported: protocol.ReasonUnsupported, wasmcheck.ErrLimit: protocol.ReasonUnsupported, wasmcheck.ErrMemory: protocol.ReasonNoMemory,
		wasmcheck.ErrImport: protocol.ReasonImportUnknown, wasmcheck.ErrSignature: protocol.ReasonImportUnknown, wasmcheck.ErrPermission: protocol.ReasonPermissionDenied,
	}[e.Code]
	if reason == protocol.ReasonNone {
		reason = protocol.ReasonModuleInvalid
	}
	if e.Import != "" {
		name, _, _ := strings.Cut(e.Import, " ")
		return refusal{reason, name + ": " + e.Code.String()}
	}
	message := e.Code.String()
	if e.Detail != "" {
		message += ": " + e.Detail
	}
	return refusal{reason, fmt.Sprintf("%s at byte %d", message, e.Offset)}
}

// entries refuses a module that lacks its entry.
func entries(info wasmcheck.Info) error {
	if !exports(info, hostapi.EntryRun, "()->()") && !exports(info, hostapi.EntryRun, "()->i32") {
		return refusal{protocol.ReasonModuleInvalid, "exports no function run of type () -> () or () -> i32"}
	}
	return nil
}

// exports tells whether a module has a function of that name and type.
func exports(info wasmcheck.Info, name, signature string) bool {
	x, ok := info.Export(name)
	return ok && x.Kind == wasmcheck.Function && x.Signature == signature
}
