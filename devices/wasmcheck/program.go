// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
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
	b, err := c.Instance.memory(address, n)
	return b, err == nil && b != nil
}

// Text gives the bytes from address up to a zero byte, which must come within
// limit bytes.
func (c *Call) Text(address, limit uint32) (string, bool) {
	size, err := c.Instance.call(c.Instance.p.ctx, "wasm_memory_size")
	if err != nil || uint64(address) >= size {
		return "", false
	}
	b, ok := c.Memory(address, min(limit, uint32(size)-address))
	text, _, found := bytes.Cut(b, []byte{0})
	return string(text), ok && found
}

// Program is a module, loaded once, of which many instances can run.
type Program struct {
	mu      sync.Mutex
	e       *engine
	m       uint32
	info    Info
	ctx     context.Context   // for calls that lead to host functions: says that this is their program
	exports map[string]export // functions
	// instances by the address of their record, for host calls
	instances map[uint32]*Instance
	// tables of host functions, by the place of their first row and by what
	// they say; instances with the same functions and permissions share one
	byPlace map[*HostFunction]hostTable
	tables  map[string]hostTable
	slots   uint32 // 256 slots for arguments, used while mu is held
}

// export is an exported function.
type export struct {
	index  uint32
	params string // a letter each, as in wasm.h
	full   string // the signature for people
}

// Program loads a module. A refusal is an [*Error].
func (c *Checker) Program(ctx context.Context, module []byte) (*Program, error) {
	e, err := newEngine(ctx, c.rt, c.code)
	if err != nil {
		return nil, fmt.Errorf("wasmcheck: %w", err)
	}
	p := &Program{e: e, instances: map[uint32]*Instance{}, byPlace: map[*HostFunction]hostTable{}, tables: map[string]hostTable{}}
	p.ctx = context.WithValue(context.WithoutCancel(ctx), programKey{}, p)
	if p.m, err = e.load(ctx, module); err == nil {
		p.info, err = e.info(ctx, p.m)
	}
	if err == nil {
		p.exports, err = callable(p.info)
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

func callable(info Info) (map[string]export, error) {
	out := map[string]export{}
	for _, x := range info.Exports {
		if x.Kind != Function {
			continue
		}
		short, err := shortSignature(x.Signature)
		if err != nil {
			return nil, err
		}
		params, _, _ := strings.Cut(short, ":")
		out[x.Name] = export{x.Index, params, x.Signature}
	}
	return out, nil
}

// Info describes the module. It must not be changed.
func (p *Program) Info() *Info { return &p.info }

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
	Limits Limits
	// Functions must not change afterwards. Instances that get the same slice
	// share what is made of it.
	Functions []HostFunction
	// User is for the host functions.
	User any
}

// Instance is a running copy of a program.
type Instance struct {
	p       *Program
	host    []HostFunction
	current Call // of a host function
	user    any
	addr    uint32 // struct wasm_instance; 0 when closed
	size    uint32
	table   uint32 // the host functions' rows
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
	i.table = uint32(table)
	config, err := e.put(configBytes(i.table, uint32(len(i.host)), limits))
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
	arena, err := e.allocArena(uint32(size))
	if err != nil {
		return err
	}
	defer e.taint(uint64(arena) + size)
	i.addr, i.size = arena, uint32(size)
	fail, err := e.alloc(sizeError + 4)
	if err != nil {
		return err
	}
	defer e.release(fail, sizeError+4)
	code, err := e.call(p.ctx, "wasm_instantiate", uint64(fail+sizeError), uint64(p.m), uint64(config), uint64(arena), size, uint64(fail))
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

// hostTable is where the functions' rows (struct wasm_host_function) are.
type hostTable uint32

// hostTable writes the rows and, behind them, their texts, unless it has done
// so for the same functions before.
func (p *Program) hostTable(functions []HostFunction) (hostTable, error) {
	if len(functions) == 0 {
		return 0, nil
	}
	if table, ok := p.byPlace[&functions[0]]; ok {
		return table, nil
	}
	texts, key := []byte{}, strings.Builder{}
	for _, f := range functions {
		short, err := shortSignature(f.Signature)
		if err != nil {
			return 0, fmt.Errorf("host function %s.%s: %w", f.Module, f.Name, err)
		}
		for _, s := range []string{f.Module, f.Name, short} {
			texts = append(append(texts, s...), 0)
		}
		fmt.Fprint(&key, f.Denied)
	}
	key.Write(texts)
	table, ok := p.tables[key.String()]
	if !ok {
		var err error
		if table, err = p.writeTable(functions, texts); err != nil {
			return 0, err
		}
		p.tables[key.String()] = table
	}
	if len(p.byPlace) < maxPlaces {
		p.byPlace[&functions[0]] = table
	}
	return table, nil
}

// maxPlaces bounds what a caller that makes its functions anew each time costs.
const maxPlaces = 64

func (p *Program) writeTable(functions []HostFunction, texts []byte) (hostTable, error) {
	size := uint32(len(functions) * sizeRow)
	addr, err := p.e.alloc(size + uint32(len(texts)))
	if err != nil {
		return 0, err
	}
	rows := make([]byte, 0, size)
	next, rest := addr+size, texts
	for _, f := range functions {
		for range 3 {
			n := bytes.IndexByte(rest, 0) + 1
			rows = binary.LittleEndian.AppendUint32(rows, next)
			next, rest = next+uint32(n), rest[n:]
		}
		permission := uint32(0)
		if f.Denied {
			permission = 1
		}
		rows = binary.LittleEndian.AppendUint32(rows, permission)
		rows = binary.LittleEndian.AppendUint32(rows, uint32(p.e.forward))
	}
	p.e.mem.Write(addr, append(rows, texts...))
	return hostTable(addr), nil
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
	x, ok := i.p.exports[name]
	if !ok {
		return &Error{Code: ErrArgument, Detail: fmt.Sprintf("the module exports no function %q", name)}
	}
	if len(args) != len(x.params) {
		return &Error{Code: ErrArgument, Detail: fmt.Sprintf("calling %q: %d arguments for %s", name, len(args), x.full)}
	}
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	if i.addr == 0 {
		return errClosed
	}
	at := i.p.slots
	for k, letter := range []byte(x.params) {
		i.p.e.mem.WriteUint32Le(at, uint32(args[k]))
		if at += 4; letter == 'I' || letter == 'F' {
			i.p.e.mem.WriteUint32Le(at, uint32(args[k]>>32))
			at += 4
		}
	}
	code, err := i.call(ctx, "wasm_call", uint64(x.index), uint64(i.p.slots))
	if err != nil {
		return err
	}
	if Code(int32(code)) != 0 {
		return &Error{Code: Code(int32(code)), Detail: fmt.Sprintf("calling %q", name)}
	}
	return nil
}

// Run goes on with the call under way for at most this much fuel, as counted
// on a board (wasm.h, FUEL). Fuel is what bounds it: it does not look at ctx.
func (i *Instance) Run(_ context.Context, fuel uint32) (Status, error) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	s, err := i.call(i.p.ctx, "wasm_run", uint64(min(fuel, math.MaxInt32)))
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
	clear(i.p.e.read(i.p.slots, slotBytes)) // results that are not given are 0
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
func (i *Instance) memory(address, n uint32) ([]byte, error) {
	at, err := i.call(i.p.ctx, "wasm_memory_at", uint64(address), uint64(n))
	if err != nil || at == 0 {
		return nil, err
	}
	return i.p.e.read(uint32(at), n), nil
}

// ReadMemory copies n bytes of the app's memory; false if they are not all inside.
func (i *Instance) ReadMemory(_ context.Context, address, n uint32) ([]byte, bool) {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	b, err := i.memory(address, n)
	if err != nil || b == nil {
		return nil, false
	}
	return append([]byte{}, b...), true
}

// WriteMemory copies bytes into the app's memory; false if they are not all inside.
func (i *Instance) WriteMemory(_ context.Context, address uint32, bytes []byte) bool {
	i.p.mu.Lock()
	defer i.p.mu.Unlock()
	b, err := i.memory(address, uint32(len(bytes)))
	return err == nil && b != nil && copy(b, bytes) == len(bytes)
}

type programKey struct{}

// hostCall is the runtime's one import: (instance, row, slots) -> host result.
func hostCall(ctx context.Context, _ api.Module, stack []uint64) {
	p := ctx.Value(programKey{}).(*Program)
	i := p.instances[uint32(stack[0])]
	row := (uint32(stack[1]) - i.table) / sizeRow
	i.current = Call{Instance: i, slots: uint32(stack[2])}
	result := i.host[row].Call(&i.current)
	stack[0] = uint64(result)
}

// zero is what the runtime calls to make an instance's memory zero: (at, bytes).
func zero(ctx context.Context, _ api.Module, stack []uint64) {
	ctx.Value(programKey{}).(*Program).e.zero(uint32(stack[0]), uint32(stack[1]))
}
