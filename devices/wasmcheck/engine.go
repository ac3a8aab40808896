// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

//go:embed runtime.wasm
var runtimeWasm []byte

// MaxModule is the largest module in bytes that the runtime accepts.
const MaxModule = 1<<23 - 1

const (
	firstBuffer = 64 << 10
	maxBuffer   = 64 << 20 // for loading one module
)

// Sizes and places of the C structures (asserted in firmware/wasm/wasm32/guest.c).
const (
	sizeError  = 16
	sizeInfo   = 48
	sizeCursor = 24
	sizeImport = 28
	sizeExport = 16
	sizeRow    = 20
	sizeConfig = 36
	sizeTrap   = 20
)

// engine is one copy of the runtime with its linear memory. It must be used by
// one goroutine at a time.
type engine struct {
	mod     api.Module
	mem     api.Memory
	fn      map[string]api.Function
	forward uint64 // table index of guest_forward's function
	heap    uint32
	top     uint32 // first free byte
	dirty   uint32 // everything from here on is zero
	free    map[uint32][]uint32
	stack   [8]uint64
}

var guestFunctions = []string{
	"wasm_load", "wasm_module_info", "wasm_module_size", "wasm_next_import", "wasm_next_export",
	"wasm_signature", "wasm_instance_size", "wasm_instantiate", "wasm_call", "wasm_run", "wasm_status",
	"wasm_results", "wasm_wake", "wasm_abandon", "wasm_get_trap", "wasm_fuel_used", "wasm_stack_used",
	"wasm_memory_at", "wasm_memory_size", "wasm_global",
}

func newEngine(ctx context.Context, rt wazero.Runtime, code wazero.CompiledModule) (_ *engine, err error) {
	defer func() {
		if v := recover(); v != nil {
			refused, ok := v.(errMapping)
			if !ok {
				panic(v)
			}
			err = fmt.Errorf("starting the runtime: %w", refused)
		}
	}()
	mod, err := rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(reserveMemory)), code,
		wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, fmt.Errorf("starting the runtime: %w", err)
	}
	e := &engine{mod: mod, mem: mod.Memory(), fn: map[string]api.Function{}, free: map[uint32][]uint32{}}
	for _, name := range guestFunctions {
		e.fn[name] = mod.ExportedFunction(name)
	}
	forward, err := mod.ExportedFunction("guest_forward").Call(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting the runtime: %w", err)
	}
	heap, err := mod.ExportedFunction("guest_heap").Call(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting the runtime: %w", err)
	}
	e.forward = forward[0]
	e.heap = (uint32(heap[0]) + 7) &^ 7
	e.top, e.dirty = e.heap, e.heap
	return e, nil
}

func (e *engine) close(ctx context.Context) error { return e.mod.Close(ctx) }

// call runs a function of the runtime. An error means that the runtime itself
// failed, which no module may bring about.
func (e *engine) call(ctx context.Context, name string, args ...uint64) (uint64, error) {
	n := copy(e.stack[:], args)
	if err := e.fn[name].CallWithStack(ctx, e.stack[:max(n, 1)]); err != nil {
		return 0, fmt.Errorf("wasmcheck: internal error in %s: %w", name, err)
	}
	return e.stack[0], nil
}

var errMemory = errors.New("wasmcheck: the program's instances need more than 4 GiB")

// reserve makes sure that the memory reaches up to end.
func (e *engine) reserve(end uint64) error {
	if end > maxMemory {
		return errMemory
	}
	if have := uint64(e.mem.Size()); end > have {
		if _, ok := e.mem.Grow(uint32((end - have + pageSize - 1) / pageSize)); !ok {
			return errMemory
		}
	}
	return nil
}

// alloc gives size bytes aligned to 8, to be written to. Blocks of one size are reused.
func (e *engine) alloc(size uint32) (uint32, error) {
	p, err := e.allocArena(size)
	if err == nil {
		e.taint(uint64(p) + uint64(size))
	}
	return p, err
}

// taint notes that bytes below end are not zero any more.
func (e *engine) taint(end uint64) { e.dirty = max(e.dirty, uint32(min(end, maxMemory))) }

// zero makes n bytes zero, without touching what is. The runtime calls it for an instance's memory.
func (e *engine) zero(p, n uint32) {
	if end := min(uint64(p)+uint64(n), uint64(e.dirty)); end > uint64(p) {
		clear(e.read(p, uint32(end)-p))
	}
}

// allocArena is alloc for what may stay untouched; the caller taints it.
func (e *engine) allocArena(size uint32) (uint32, error) {
	if size > maxMemory {
		return 0, errMemory
	}
	size = (size + 7) &^ 7
	if list := e.free[size]; len(list) > 0 {
		p := list[len(list)-1]
		e.free[size] = list[:len(list)-1]
		return p, nil
	}
	if err := e.reserve(uint64(e.top) + uint64(size)); err != nil {
		return 0, err
	}
	p := e.top
	e.top += size
	return p, nil
}

func (e *engine) release(p, size uint32) {
	size = (size + 7) &^ 7
	e.free[size] = append(e.free[size], p)
}

func (e *engine) put(b []byte) (uint32, error) {
	p, err := e.alloc(uint32(len(b)))
	if err == nil {
		e.mem.Write(p, b)
	}
	return p, err
}

// read gives a view of the memory that is valid until the next call.
func (e *engine) read(p, n uint32) []byte {
	b, ok := e.mem.Read(p, n)
	if !ok {
		panic("wasmcheck: internal error: the runtime points outside its memory")
	}
	return b
}

func (e *engine) u32(p uint32) uint32 { return binary.LittleEndian.Uint32(e.read(p, 4)) }

// text reads a struct wasm_text.
func (e *engine) text(p uint32) string {
	data, n := e.u32(p), e.u32(p+4)
	if n == 0 {
		return ""
	}
	return string(e.read(data, n))
}

// cString reads a terminated string.
func (e *engine) cString(p uint32) string {
	for n := uint32(0); n < 4096; n++ {
		if b, ok := e.mem.ReadByte(p + n); !ok || b == 0 {
			return string(e.read(p, n))
		}
	}
	return ""
}

// reset forgets everything that was allocated.
func (e *engine) reset() {
	e.top = e.heap
	clear(e.free)
}

// failure reads a struct wasm_error.
func (e *engine) failure(p uint32) *Error {
	return &Error{Code: Code(int32(e.u32(p))), Offset: e.u32(p + 4), Need: e.u32(p + 8), Detail: e.cString(e.u32(p + 12))}
}

// load puts a module at the start of the free memory and returns where the
// runtime's record of it is.
func (e *engine) load(ctx context.Context, module []byte) (uint32, error) {
	if len(module) > MaxModule {
		return 0, &Error{Code: ErrLimit, Detail: fmt.Sprintf("module of %d bytes, at most %d are accepted", len(module), MaxModule)}
	}
	fail, err := e.alloc(sizeError + 4)
	if err != nil {
		return 0, err
	}
	bytes, err := e.put(module)
	if err != nil {
		return 0, err
	}
	buffer := e.top
	for size := uint32(firstBuffer); ; size *= 2 {
		end := uint64(buffer) + uint64(size)
		if err := e.reserve(end); err != nil {
			return 0, err
		}
		e.taint(end)
		code, err := e.call(ctx, "wasm_load", uint64(fail+sizeError), uint64(bytes), uint64(len(module)),
			uint64(buffer), uint64(size), uint64(fail))
		if err != nil {
			return 0, err
		}
		if Code(int32(code)) == 0 {
			break
		}
		if Code(int32(code)) != ErrMemory || size >= maxBuffer {
			return 0, e.failure(fail)
		}
	}
	m := e.u32(fail + sizeError)
	size, err := e.call(ctx, "wasm_module_size", uint64(m))
	if err != nil {
		return 0, err
	}
	e.top = buffer + uint32(size)
	return m, nil
}

// pool keeps a few idle engines for inspections.
type pool struct {
	mu   sync.Mutex
	idle []*engine
}

// An engine that has grown beyond this is not kept.
const maxIdleBytes = 4 << 20

func (p *pool) take() *engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	e := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return e
}

func (p *pool) give(ctx context.Context, e *engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.mem.Size() > maxIdleBytes || len(p.idle) >= 4 {
		_ = e.close(ctx)
		return
	}
	e.reset()
	p.idle = append(p.idle, e)
}
