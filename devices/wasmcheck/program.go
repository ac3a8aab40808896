// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/tetratelabs/wazero/api"
)

// HostResult is what a host function returns.
type HostResult uint32

// The results of host functions.
const (
	HostOK   HostResult = iota // the results are in place, go on
	HostWait                   // suspend the instance until Wake gives the results
	HostTrap                   // end the instance with TrapHost
)

// HostFunction is offered to apps under a module and a name.
type HostFunction struct {
	Module, Name string
	Signature    string // for example "(i32,i64)->i32"; no results: "(i32)->()"
	// Denied refuses modules that import the function: the app does not have
	// the permission.
	Denied bool
	// Call runs with the Program locked: it must not block and not use the
	// Program or another Instance of it.
	Call func(c *Call) HostResult
}

// Call is one call of a host function. It must not be kept.
type Call struct {
	Instance *Instance
	slots    uint32
}

// Arg gives the 32 bits of a slot. The arguments' slots are in order; i64 and
// f64 take two, the low half first.
func (c *Call) Arg(slot int) uint32 { return c.Instance.p.e.u32(c.slots + 4*uint32(slot)) }

// Arg64 gives the 64 bits of the slots from slot on.
func (c *Call) Arg64(slot int) uint64 {
	return uint64(c.Arg(slot)) | uint64(c.Arg(slot+1))<<32
}

// Return sets the result of a function with one i32.
func (c *Call) Return(v uint32) { c.Instance.p.e.mem.WriteUint32Le(c.slots, v) }

// Return64 sets the result of a function with one i64 or f64.
func (c *Call) Return64(v uint64) { c.Instance.p.e.mem.WriteUint64Le(c.slots, v) }

// Memory gives n bytes of the app's memory from address on, to read or write;
// false if they are not all inside. The slice is valid during the call.
func (c *Call) Memory(address, n uint32) ([]byte, bool) {
	b, err := c.Instance.memory(c.Instance.ctx, address, n)
	return b, err == nil && b != nil
}

// Program is a module, loaded once, of which many instances can run.
type Program struct {
	mu   sync.Mutex
	e    *engine
	m    uint32
	info Info
	// instances by the address of their record, for host calls
	instances map[uint32]*Instance
	// tables of host functions by what they say; instances with the same
	// functions and permissions share one
	tables map[string]uint32
	slots  uint32 // 256 slots for arguments, used while mu is held
}

// Program loads a module. A refusal is an [*Error].
func (c *Checker) Program(ctx context.Context, module []byte) (*Program, error) {
	e, err := newEngine(ctx, c.rt, c.code)
	if err != nil {
		return nil, fmt.Errorf("wasmcheck: %w", err)
	}
	p := &Program{e: e, instances: map[uint32]*Instance{}, tables: map[string]uint32{}}
	if p.m, err = e.load(ctx, module); err == nil {
		p.info, err = e.info(ctx, p.m)
	}
	if err == nil {
		p.slots, err = e.alloc(slotBytes)
	}
	if err != nil {
		_ = e.close(ctx)
		return nil, err
	}
	p.info.FunctionNames = functionNames(module)
	return p, nil
}

// Info describes the module.
func (p *Program) Info() Info { return p.info }

// RAM says what one instance takes on a board under these limits.
func (p *Program) RAM(ctx context.Context, limits Limits) (RAM, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.e.ram(ctx, p.m, limits)
}

// Close ends all instances and frees the memory.
func (p *Program) Close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.e.close(ctx)
}

// Config is what an instance gets.
type Config struct {
	Limits    Limits
	Functions []HostFunction
	// User is for the host functions.
	User any
}

// Instance is a running copy of a program.
type Instance struct {
	p     *Program
	host  []HostFunction
	user  any
	addr  uint32 // struct wasm_instance; 0 when closed
	size  uint32
	table uint32 // the host functions' rows
	ctx   context.Context
}

const slotBytes = 256 * 4

// User is the value from the configuration.
func (i *Instance) User() any { return i.user }

// Instantiate makes an instance: binds its imports and initialises its memory.
// A refusal is an [*Error]. If the module has a start function, the instance
// is ready to run it: Run until Done before the first Call.
func (p *Program) Instantiate(ctx context.Context, config Config) (*Instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := &Instance{p: p, host: config.Functions, user: config.User}
	if err := p.instantiate(ctx, i, config.Limits); err != nil {
		i.release()
		return nil, err
	}
	p.instances[i.addr] = i
	return i, nil
}

func (p *Program) instantiate(ctx context.Context, i *Instance, limits Limits) error {
	e := p.e
	table, err := p.hostTable(i.host)
	if err != nil {
		return err
	}
	i.table = table
	config, err := e.put(configBytes(table, uint32(len(i.host)), limits))
	if err != nil {
		return err
	}
	defer e.release(config, sizeConfig)
	size, err := e.call(ctx, "wasm_instance_size", uint64(p.m), uint64(config))
	if err != nil {
		return err
	}
	if uint32(size) == 0 {
		return &Error{Code: ErrMemory, Detail: "an instance needs more than 4 GiB"}
	}
	arena, err := e.alloc(uint32(size))
	if err != nil {
		return err
	}
	i.addr, i.size = arena, uint32(size)
	fail, err := e.alloc(sizeError + 4)
	if err != nil {
		return err
	}
	defer e.release(fail, sizeError+4)
	code, err := e.call(ctx, "wasm_instantiate", uint64(fail+sizeError), uint64(p.m), uint64(config), uint64(arena), size, uint64(fail))
	if err != nil {
		return err
	}
	if Code(int32(code)) != 0 {
		return p.refusal(fail)
	}
	return nil
}

// refusal names the import that a refusal is about.
func (p *Program) refusal(fail uint32) *Error {
	err := p.e.failure(fail)
	for _, i := range p.info.Imports {
		if i.Offset == err.Offset && (err.Code == ErrImport || err.Code == ErrSignature || err.Code == ErrPermission) {
			err.Import = i.Module + "." + i.Name
			if i.Kind == Function {
				err.Import += " " + i.Signature
			}
		}
	}
	return err
}

// hostTable gives the address of the functions' rows (struct
// wasm_host_function), which are followed by their texts.
func (p *Program) hostTable(functions []HostFunction) (uint32, error) {
	texts := []byte{}
	for _, f := range functions {
		short, err := shortSignature(f.Signature)
		if err != nil {
			return 0, fmt.Errorf("host function %s.%s: %w", f.Module, f.Name, err)
		}
		for _, s := range []string{f.Module, f.Name, short} {
			texts = append(append(texts, s...), 0)
		}
	}
	key := string(texts)
	for _, f := range functions {
		key += fmt.Sprint(f.Denied)
	}
	if addr, ok := p.tables[key]; ok {
		return addr, nil
	}
	size := uint32(len(functions) * sizeRow)
	addr, err := p.e.alloc(size + uint32(len(texts)))
	if err != nil {
		return 0, err
	}
	rows := make([]byte, 0, size)
	next := addr + size
	for _, f := range functions {
		short, _ := shortSignature(f.Signature)
		for _, s := range []string{f.Module, f.Name, short} {
			rows = binary.LittleEndian.AppendUint32(rows, next)
			next += uint32(len(s)) + 1
		}
		permission := uint32(0)
		if f.Denied {
			permission = 1
		}
		rows = binary.LittleEndian.AppendUint32(rows, permission)
		rows = binary.LittleEndian.AppendUint32(rows, uint32(p.e.forward))
	}
	p.e.mem.Write(addr, append(rows, texts...))
	p.tables[key] = addr
	return addr, nil
}

func (i *Instance) release() {
	e := i.p.e
	if i.size != 0 {
		e.release(i.addr, i.size)
	}
	*i = Instance{p: i.p}
}

// Close ends the instance. Its memory is used for the next one.
func (i *Instance) Close() {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	if i.addr != 0 {
		delete(i.p.instances, i.addr)
		i.release()
	}
}

var errClosed = errors.New("wasmcheck: the instance is closed")

// call runs a function of the runtime on the instance; i.p.mu is held.
func (i *Instance) call(ctx context.Context, name string, args ...uint64) (uint64, error) {
	if i.addr == 0 {
		return 0, errClosed
	}
	var all [4]uint64
	all[0] = uint64(i.addr)
	n := copy(all[1:], args)
	return i.p.e.call(ctx, name, all[:n+1]...)
}

// Status is the state of an instance (enum wasm_status in wasm.h).
type Status uint8

// The states of an instance.
const (
	Done      Status = iota // no call is under way
	OutOfFuel               // Run again to go on
	Waiting                 // a host function waits for Wake
	Trapped                 // ended for good
)

func (s Status) String() string {
	return [...]string{"done", "out of fuel", "waiting", "trapped"}[s&3]
}

// Call begins a call of an exported function. Run executes it.
func (i *Instance) Call(ctx context.Context, name string, args ...uint64) error {
	export, ok := i.p.info.Export(name)
	if !ok || export.Kind != Function {
		return &Error{Code: ErrArgument, Detail: fmt.Sprintf("the module exports no function %q", name)}
	}
	slots, err := slotsOf(export.Signature, args)
	if err != nil {
		return &Error{Code: ErrArgument, Detail: fmt.Sprintf("calling %q: %v", name, err)}
	}
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	if i.addr == 0 {
		return errClosed
	}
	i.p.e.mem.Write(i.p.slots, slots)
	code, err := i.call(ctx, "wasm_call", uint64(export.Index), uint64(i.p.slots))
	if err != nil {
		return err
	}
	if Code(int32(code)) != 0 {
		return &Error{Code: Code(int32(code)), Detail: fmt.Sprintf("calling %q", name)}
	}
	return nil
}

// slotsOf encodes arguments for a signature in the long form.
func slotsOf(signature string, args []uint64) ([]byte, error) {
	short, err := shortSignature(signature)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, letter := range short {
		if letter == ':' {
			break
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("too few arguments for %s", signature)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(args[0]))
		if letter == 'I' || letter == 'F' {
			b = binary.LittleEndian.AppendUint32(b, uint32(args[0]>>32))
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("too many arguments for %s", signature)
	}
	return b, nil
}

// Run goes on with the call under way for at most this much fuel, as counted
// on a board (wasm.h, FUEL). Fuel is what bounds it: it does not look at ctx.
func (i *Instance) Run(ctx context.Context, fuel uint32) (Status, error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	i.ctx = context.WithValue(ctx, programKey{}, i.p)
	defer func() { i.ctx = nil }()
	s, err := i.call(i.ctx, "wasm_run", uint64(min(fuel, math.MaxInt32)))
	return Status(s), err
}

// Results gives the result slots of the finished call.
func (i *Instance) Results(ctx context.Context, n int) ([]uint32, error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	p, err := i.call(ctx, "wasm_results")
	if err != nil {
		return nil, err
	}
	slots := make([]uint32, min(n, 255))
	for k := range slots {
		slots[k] = i.p.e.u32(uint32(p) + 4*uint32(k))
	}
	return slots, nil
}

// Wake ends the wait of a host function that returned [HostWait]; the slots
// are its results.
func (i *Instance) Wake(ctx context.Context, slots ...uint32) error {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	if i.addr == 0 {
		return errClosed
	}
	i.p.e.mem.Write(i.p.slots, make([]byte, slotBytes)) // results that are not given are 0
	for k, v := range slots[:min(len(slots), 255)] {
		i.p.e.mem.WriteUint32Le(i.p.slots+4*uint32(k), v)
	}
	code, err := i.call(ctx, "wasm_wake", uint64(i.p.slots))
	if err == nil && Code(int32(code)) != 0 {
		return &Error{Code: Code(int32(code)), Detail: "the instance does not wait"}
	}
	return err
}

// Abandon drops the call under way, or the trap, so that another call can begin.
func (i *Instance) Abandon(ctx context.Context) error {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	_, err := i.call(ctx, "wasm_abandon")
	return err
}

// Global gives the bits of a global by index.
func (i *Instance) Global(ctx context.Context, index uint32) (uint64, error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	at, err := i.call(ctx, "wasm_global", uint64(index))
	if err != nil {
		return 0, err
	}
	if at == 0 {
		return 0, &Error{Code: ErrArgument, Detail: fmt.Sprintf("the module has no global %d", index)}
	}
	return binary.LittleEndian.Uint64(i.p.e.read(uint32(at), 8)), nil
}

// TrapCode says why an instance ended (enum wasm_trap_code in wasm.h).
type TrapCode uint32

// The codes of traps.
const (
	TrapNone TrapCode = iota
	TrapUnreachable
	TrapMemory
	TrapTable
	TrapUninitialized
	TrapSignature
	TrapDivide
	TrapOverflow
	TrapConversion
	TrapStack
	TrapHost
)

var trapTexts = []string{"no trap", "unreachable", "out of bounds memory access", "out of bounds table access",
	"uninitialized element", "indirect call type mismatch", "integer divide by zero", "integer overflow",
	"invalid conversion to integer", "call stack exhausted", "host function failed"}

func (c TrapCode) String() string {
	if int(c) < len(trapTexts) {
		return trapTexts[c]
	}
	return fmt.Sprintf("trap %d", uint32(c))
}

// Trap says where and why an instance ended.
type Trap struct {
	Code     TrapCode
	Function uint32 // index
	Offset   uint32 // of the instruction, in the module
	Name     string // of the function, "" if unknown
}

func (t Trap) String() string {
	name := t.Name
	if name == "" {
		name = "?"
	}
	return fmt.Sprintf("%s in function %d (%s) at byte %d", t.Code, t.Function, name, t.Offset)
}

// Trap describes the trap of a trapped instance.
func (i *Instance) Trap(ctx context.Context) (Trap, error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	p, err := i.p.e.alloc(sizeTrap)
	if err != nil {
		return Trap{}, err
	}
	defer i.p.e.release(p, sizeTrap)
	if _, err := i.call(ctx, "wasm_get_trap", uint64(p)); err != nil {
		return Trap{}, err
	}
	e := i.p.e
	return Trap{Code: TrapCode(e.u32(p)), Function: e.u32(p + 4), Offset: e.u32(p + 8), Name: e.text(p + 12)}, nil
}

// Usage is what an instance has used so far.
type Usage struct {
	Fuel   uint64 // units
	Stack  uint32 // bytes, at most at once
	Memory uint32 // bytes of linear memory now
}

// Usage measures the instance.
func (i *Instance) Usage(ctx context.Context) (u Usage, err error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	fuel, err := i.call(ctx, "wasm_fuel_used")
	if err != nil {
		return u, err
	}
	stack, err := i.call(ctx, "wasm_stack_used")
	if err != nil {
		return u, err
	}
	memory, err := i.call(ctx, "wasm_memory_size")
	return Usage{fuel, uint32(stack), uint32(memory)}, err
}

// memory gives a view of the app's memory, nil if it is out of bounds; i.p.mu
// is held.
func (i *Instance) memory(ctx context.Context, address, n uint32) ([]byte, error) {
	at, err := i.call(ctx, "wasm_memory_at", uint64(address), uint64(n))
	if err != nil || at == 0 {
		return nil, err
	}
	return i.p.e.read(uint32(at), n), nil
}

// ReadMemory copies n bytes of the app's memory; false if they are not all inside.
func (i *Instance) ReadMemory(ctx context.Context, address, n uint32) ([]byte, bool) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	b, err := i.memory(ctx, address, n)
	if err != nil || b == nil {
		return nil, false
	}
	return append([]byte{}, b...), true
}

type programKey struct{}

// hostCall is the runtime's one import: (instance, row, slots) -> host result.
func hostCall(ctx context.Context, _ api.Module, stack []uint64) {
	p := ctx.Value(programKey{}).(*Program)
	i := p.instances[uint32(stack[0])]
	row := (uint32(stack[1]) - i.table) / sizeRow
	result := i.host[row].Call(&Call{Instance: i, slots: uint32(stack[2])})
	stack[0] = uint64(result)
}
