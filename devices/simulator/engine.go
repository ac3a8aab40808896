// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/gateway/protocol"
)

// Engine is what the devices of one process share: the WebAssembly runtime, the compiled form of each module, and
// the number of TLS handshakes under way. It is safe for concurrent use.
type Engine struct {
	runtime    wazero.Runtime
	handshakes chan struct{}

	mu      sync.Mutex
	modules map[protocol.Digest]*compiled
}

// maxPages is the most linear memory that a module may declare: what limits.memory can be at most.
const maxPages = 256

// maxHandshakes of all devices of a process at once: more only lengthen one another.
const maxHandshakes = 32

// compiled is one module, compiled once however many devices run it.
type compiled struct {
	ready  chan struct{} // closed when the fields below are set
	module wazero.CompiledModule
	err    error
	users  int // guarded by Engine.mu
}

// NewEngine starts an empty engine.
func NewEngine(ctx context.Context) (*Engine, error) {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCloseOnContextDone(true).WithMemoryLimitPages(maxPages))
	builder := rt.NewHostModuleBuilder(hostapi.Module)
	for _, f := range hostapi.Functions() {
		call, ok := hostFunctions[f.Name]
		if !ok {
			return nil, fmt.Errorf("internal error: host function %s is not implemented", f.Name)
		}
		builder.NewFunctionBuilder().WithGoModuleFunction(hostCall(call), valueTypes(f.ParamTypes()), valueTypes(f.Results)).Export(f.Name)
	}
	if _, err := builder.Instantiate(ctx); err != nil {
		return nil, fmt.Errorf("start the WebAssembly runtime: %w", err)
	}
	return &Engine{runtime: rt, handshakes: make(chan struct{}, maxHandshakes), modules: map[protocol.Digest]*compiled{}}, nil
}

// Close ends the engine. No device of it runs any more.
func (e *Engine) Close(ctx context.Context) error { return e.runtime.Close(ctx) }

func valueTypes(in []byte) []api.ValueType { return slices.Clone(in) }

// load returns the compiled module, and compiles it when no device has done so yet. Every successful load is
// followed by one unload.
func (e *Engine) load(ctx context.Context, digest protocol.Digest, read func() ([]byte, error)) (wazero.CompiledModule, error) {
	e.mu.Lock()
	c, ok := e.modules[digest]
	if ok {
		c.users++
		e.mu.Unlock()
		<-c.ready
	} else {
		c = &compiled{ready: make(chan struct{}), users: 1}
		e.modules[digest] = c
		e.mu.Unlock()
		c.module, c.err = e.compile(ctx, digest, read)
		close(c.ready)
	}
	if c.err != nil {
		e.unload(ctx, digest)
		return nil, c.err
	}
	return c.module, nil
}

func (e *Engine) compile(ctx context.Context, digest protocol.Digest, read func() ([]byte, error)) (wazero.CompiledModule, error) {
	bytes, err := read()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", digest, err)
	}
	module, err := e.runtime.CompileModule(ctx, bytes)
	if err != nil {
		return nil, refusal{protocol.ReasonModuleInvalid, err.Error()}
	}
	return module, nil
}

// unload gives a module back; the last user frees it.
func (e *Engine) unload(ctx context.Context, digest protocol.Digest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.modules[digest]
	if c == nil {
		return
	}
	if c.users--; c.users > 0 {
		return
	}
	delete(e.modules, digest)
	if c.module != nil {
		_ = c.module.Close(ctx) // frees memory only
	}
}

// refusal is why a device does not run a module: a reason of the protocol and a sentence.
type refusal struct {
	reason  protocol.Reason
	message string
}

func (r refusal) Error() string { return r.message }

// refusalOf is the reason and sentence for any error of starting a module.
func refusalOf(err error) refusal {
	var r refusal
	if errors.As(err, &r) {
		return r
	}
	return refusal{protocol.ReasonModuleInvalid, err.Error()}
}

// judge refuses a module that imports what the board does not offer or the app may not use, or lacks its entry.
func judge(m wazero.CompiledModule, board boards.Board, permissions []string) error {
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		h, ok := hostapi.Lookup(module, name)
		if !ok || !h.Matches(f.ParamTypes(), f.ResultTypes()) || (h.Permission != hostapi.PermissionNone && !board.Has(string(h.Permission))) {
			return refusal{protocol.ReasonImportUnknown, fmt.Sprintf("imports %s.%s %s, which this board does not offer", module, name, hostapi.Signature(f.ParamTypes(), f.ResultTypes()))}
		}
		if h.Permission != hostapi.PermissionNone && !slices.Contains(permissions, string(h.Permission)) {
			return refusal{protocol.ReasonPermissionDenied, fmt.Sprintf("imports %s without the permission %q", name, h.Permission)}
		}
	}
	if len(m.ImportedMemories()) > 0 {
		return refusal{protocol.ReasonImportUnknown, "imports a memory, which no board offers"}
	}
	run, ok := m.ExportedFunctions()[hostapi.EntryRun]
	if !ok {
		return refusal{protocol.ReasonModuleInvalid, "does not export " + hostapi.EntryRun}
	}
	if len(run.ParamTypes()) > 0 || len(run.ResultTypes()) > 1 || (len(run.ResultTypes()) == 1 && run.ResultTypes()[0] != api.ValueTypeI32) {
		return refusal{protocol.ReasonModuleInvalid, "exports " + hostapi.EntryRun + " with a type that is neither () -> () nor () -> i32"}
	}
	if first, ok := m.ExportedFunctions()[hostapi.EntryInitialize]; ok && len(first.ParamTypes())+len(first.ResultTypes()) > 0 {
		return refusal{protocol.ReasonModuleInvalid, "exports " + hostapi.EntryInitialize + " with a type that is not () -> ()"}
	}
	return nil
}
