// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Code says why a module was refused (enum wasm_error_code in wasm.h).
type Code int32

// The codes of wasm.h.
const (
	ErrMalformed   Code = -1  // the binary format is broken
	ErrInvalid     Code = -2  // the module does not validate
	ErrUnsupported Code = -3  // a language feature that boards refuse
	ErrLimit       Code = -4  // a limit of the implementation
	ErrMemory      Code = -5  // not enough memory
	ErrImport      Code = -6  // an import that the host does not have
	ErrSignature   Code = -7  // an import with another type than the host's
	ErrPermission  Code = -8  // an import without the permission
	ErrSegment     Code = -9  // a data or element segment that does not fit
	ErrArgument    Code = -10 // a wrong call, such as of an unknown function
	ErrBusy        Code = -11 // a call is under way, or the instance has trapped
)

var codeTexts = []string{"ok", "malformed module", "invalid module", "unsupported", "limit exceeded", "not enough memory",
	"unknown import", "import type mismatch", "permission not granted", "segment out of bounds", "bad argument", "busy"}

func (c Code) String() string {
	if i := -int(c); i >= 0 && i < len(codeTexts) {
		return codeTexts[i]
	}
	return fmt.Sprintf("error %d", int32(c))
}

// Error is the runtime's refusal of a module or of a call.
type Error struct {
	Code   Code
	Offset uint32 // in the module, bytes
	Need   uint32 // ErrMemory: bytes that would be needed, as far as known
	Detail string
	Import string // the import that is refused, "module.name"
}

func (e *Error) Error() string {
	s := e.Code.String()
	if e.Detail != "" && e.Detail != s {
		s += ": " + e.Detail
	}
	if e.Import != "" {
		s += " (" + e.Import + ")"
	}
	if e.Offset != 0 {
		s += fmt.Sprintf(" at byte %d", e.Offset)
	}
	return s
}

// Kind is what an import or export is.
type Kind uint8

// The kinds of imports and exports.
const (
	Function Kind = iota
	Table
	Memory
	Global
)

func (k Kind) String() string { return [...]string{"function", "table", "memory", "global"}[k&3] }

// Import is something that a module wants from its host. Signature is set for
// functions, for example "(i32,i64)->i32".
type Import struct {
	Module, Name string
	Kind         Kind
	Signature    string
	Offset       uint32 // in the module
}

// Export is something that a module offers.
type Export struct {
	Name      string
	Kind      Kind
	Index     uint32
	Signature string // of a function
}

// Info is what an accepted module says about itself. Sizes are in bytes.
type Info struct {
	Imports []Import
	Exports []Export

	HasMemory    bool
	PageSize     uint32 // 1 or 65536; 0 without memory
	MemoryMin    uint64
	MemoryMax    uint64 // declared maximum; only if HasMemoryMax
	HasMemoryMax bool
	HasStart     bool

	Functions int // with imported ones
	CodeSize  uint32
	SideTable uint32 // RAM for the branch table and function records
	// FunctionNames are those of the module's name section by function index.
	FunctionNames map[uint32]string
}

// Export finds an export by name.
func (i Info) Export(name string) (Export, bool) {
	for _, e := range i.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// Limits are what a board or a manifest gives an instance. All in bytes,
// except TableGrowth.
type Limits struct {
	Memory      uint32 // linear memory
	Stack       uint32 // values and calls
	TableGrowth uint32 // elements that each table may grow by
}

// RAM is what a module takes on a board, in bytes, the module's own bytes
// excluded.
type RAM struct {
	Load     uint32 // while it is loaded
	Module   uint32 // afterwards, shared by its instances
	Instance uint32 // for each instance, linear memory and stack included
}

// Total is the RAM for one instance.
func (r RAM) Total() int { return max(int(r.Load), int(r.Module)+int(r.Instance)) }

// Checker judges modules.
type Checker struct {
	rt   wazero.Runtime
	code wazero.CompiledModule
	pool pool
}

// compiled keeps the runtime's machine code for the next Checker of the process.
var compiled = wazero.NewCompilationCache()

// New compiles the runtime, once in a process. Close ends everything that was
// made with it.
func New(ctx context.Context) (*Checker, error) {
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(maxMemoryPages).WithCompilationCache(compiled)
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	fail := func(err error) (*Checker, error) {
		_ = rt.Close(ctx)
		return nil, fmt.Errorf("wasmcheck: %w", err)
	}
	i32 := api.ValueTypeI32
	_, err := rt.NewHostModuleBuilder("wasmbed").
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(hostCall), []api.ValueType{i32, i32, i32}, []api.ValueType{i32}).Export("call").
		NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(zero), []api.ValueType{i32, i32}, nil).Export("zero").
		Instantiate(ctx)
	if err != nil {
		return fail(err)
	}
	code, err := rt.CompileModule(ctx, runtimeWasm)
	if err != nil {
		return fail(err)
	}
	return &Checker{rt: rt, code: code}, nil
}

// Close ends the checker and all its programs.
func (c *Checker) Close(ctx context.Context) error { return c.rt.Close(ctx) }

// with loads a module into an engine for the time of use.
func (c *Checker) with(ctx context.Context, module []byte, use func(e *engine, m uint32) error) error {
	e := c.pool.take()
	if e == nil {
		var err error
		if e, err = newEngine(ctx, c.rt, c.code); err != nil {
			return fmt.Errorf("wasmcheck: %w", err)
		}
	}
	m, err := e.load(ctx, module)
	if err == nil {
		err = use(e, m)
	}
	c.pool.give(ctx, e)
	return err
}

// Inspect says whether a board accepts a module, and what it is. A refusal is
// an [*Error].
func (c *Checker) Inspect(ctx context.Context, module []byte) (Info, error) {
	var info Info
	err := c.with(ctx, module, func(e *engine, m uint32) (err error) {
		info, err = e.info(ctx, m)
		return err
	})
	if err == nil {
		info.FunctionNames = functionNames(module)
	}
	return info, err
}

// RAM says how many bytes of RAM a module takes under the given limits.
func (c *Checker) RAM(ctx context.Context, module []byte, limits Limits) (RAM, error) {
	var ram RAM
	err := c.with(ctx, module, func(e *engine, m uint32) (err error) {
		ram, err = e.ram(ctx, m, limits)
		return err
	})
	return ram, err
}

func (e *engine) info(ctx context.Context, m uint32) (Info, error) {
	p, err := e.alloc(sizeInfo)
	if err != nil {
		return Info{}, err
	}
	if _, err := e.call(ctx, "wasm_module_info", uint64(m), uint64(p)); err != nil {
		return Info{}, err
	}
	page := uint64(e.u32(p + 32))
	info := Info{
		SideTable: e.u32(p + 8), CodeSize: e.u32(p + 12), Functions: int(e.u32(p + 16)),
		HasMemory: e.read(p+28, 1)[0] != 0, HasMemoryMax: e.read(p+29, 1)[0] != 0,
		PageSize: uint32(page), MemoryMin: uint64(e.u32(p+36)) * page, HasStart: e.read(p+44, 1)[0] != 0,
	}
	if info.HasMemoryMax {
		info.MemoryMax = uint64(e.u32(p+40)) * page
	}
	if info.Imports, err = e.imports(ctx, m); err != nil {
		return Info{}, err
	}
	info.Exports, err = e.exports(ctx, m)
	return info, err
}

// walk calls a wasm_next function until it is at the end.
func (e *engine) walk(ctx context.Context, next string, m, size uint32, each func(p uint32) error) error {
	cursor, err := e.put(make([]byte, sizeCursor))
	if err != nil {
		return err
	}
	p, err := e.alloc(size)
	if err != nil {
		return err
	}
	for {
		more, err := e.call(ctx, next, uint64(m), uint64(cursor), uint64(p))
		if err != nil || more == 0 {
			return err
		}
		if err := each(p); err != nil {
			return err
		}
	}
}

func (e *engine) imports(ctx context.Context, m uint32) (list []Import, err error) {
	err = e.walk(ctx, "wasm_next_import", m, sizeImport, func(p uint32) error {
		i := Import{Module: e.text(p), Name: e.text(p + 8), Kind: Kind(e.u32(p + 16)), Offset: e.u32(p + 24)}
		if i.Kind == Function {
			var err error
			if i.Signature, err = e.signature(ctx, m, e.u32(p+20)); err != nil {
				return err
			}
		}
		list = append(list, i)
		return nil
	})
	return list, err
}

func (e *engine) exports(ctx context.Context, m uint32) (list []Export, err error) {
	err = e.walk(ctx, "wasm_next_export", m, sizeExport, func(p uint32) error {
		x := Export{Name: e.text(p), Kind: Kind(e.u32(p + 8)), Index: e.u32(p + 12)}
		if x.Kind == Function {
			var err error
			if x.Signature, err = e.signature(ctx, m, x.Index); err != nil {
				return err
			}
		}
		list = append(list, x)
		return nil
	})
	return list, err
}

// The runtime limits parameters and results to 255 slots each.
const maxSignature = 512

func (e *engine) signature(ctx context.Context, m, function uint32) (string, error) {
	p, err := e.alloc(maxSignature)
	if err != nil {
		return "", err
	}
	defer e.release(p, maxSignature)
	if _, err := e.call(ctx, "wasm_signature", uint64(m), uint64(function), uint64(p), maxSignature); err != nil {
		return "", err
	}
	return longSignature(e.cString(p)), nil
}

func (e *engine) ram(ctx context.Context, m uint32, limits Limits) (RAM, error) {
	p, err := e.alloc(sizeInfo)
	if err != nil {
		return RAM{}, err
	}
	if _, err := e.call(ctx, "wasm_module_info", uint64(m), uint64(p)); err != nil {
		return RAM{}, err
	}
	config, err := e.put(configBytes(0, 0, limits))
	if err != nil {
		return RAM{}, err
	}
	size, err := e.call(ctx, "wasm_instance_size", uint64(m), uint64(config))
	if err != nil {
		return RAM{}, err
	}
	if uint32(size) == 0 {
		return RAM{}, &Error{Code: ErrMemory, Detail: "an instance needs more than 4 GiB"}
	}
	return RAM{Module: e.u32(p), Load: e.u32(p + 4), Instance: uint32(size)}, nil
}

// configBytes is a struct wasm_config.
func configBytes(rows, count uint32, limits Limits) []byte {
	b := make([]byte, 0, sizeConfig)
	for _, v := range []uint32{rows, count, 0, 0, limits.Memory, limits.Stack, limits.TableGrowth, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

var typeNames = map[byte]string{'i': "i32", 'I': "i64", 'f': "f32", 'F': "f64", 'r': "funcref", 'e': "externref"}

// longSignature turns "iI:f" into "(i32,i64)->f32". Several results are in
// parentheses, none is "()".
func longSignature(short string) string {
	params, results, _ := strings.Cut(short, ":")
	list := func(s string) string {
		names := make([]string, len(s))
		for i := range s {
			names[i] = typeNames[s[i]]
		}
		return strings.Join(names, ",")
	}
	if len(results) == 1 {
		return "(" + list(params) + ")->" + list(results)
	}
	return "(" + list(params) + ")->(" + list(results) + ")"
}

// shortSignature is the inverse of longSignature.
func shortSignature(long string) (string, error) {
	params, results, ok := strings.Cut(strings.ReplaceAll(long, " ", ""), "->")
	if !ok || !strings.HasPrefix(params, "(") {
		return "", fmt.Errorf("signature %q is not of the form (i32,i32)->i32", long)
	}
	out := ""
	for i, part := range []string{params, results} {
		if i == 1 {
			out += ":"
		}
		part = strings.TrimSuffix(strings.TrimPrefix(part, "("), ")")
		if part == "" {
			continue
		}
		for _, name := range strings.Split(part, ",") {
			letter := ""
			for l, n := range typeNames {
				if n == name {
					letter = string(l)
				}
			}
			if letter == "" {
				return "", fmt.Errorf("signature %q has an unknown type %q", long, name)
			}
			out += letter
		}
	}
	return out, nil
}
