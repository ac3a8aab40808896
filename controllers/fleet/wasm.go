// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// wasmFeatures are what boards run beyond version 1.0 of the core specification. No SIMD, threads or exceptions.
const wasmFeatures = api.CoreFeatureMutableGlobal | api.CoreFeatureSignExtensionOps | api.CoreFeatureMultiValue |
	api.CoreFeatureNonTrappingFloatToIntConversion | api.CoreFeatureBulkMemoryOperations | api.CoreFeatureReferenceTypes

// wazeroChecker validates with wazero's compiler for its interpreter, which compiles no machine code.
type wazeroChecker struct{}

// NewWazeroChecker returns a checker that accepts what the core specification and the extensions that boards run
// allow, page sizes of one byte included.
func NewWazeroChecker() ModuleChecker { return wazeroChecker{} }

// Check implements ModuleChecker.
func (wazeroChecker) Check(ctx context.Context, wasm []byte) (info *ModuleInfo, err error) {
	defer func() {
		if r := recover(); r != nil {
			info, err = nil, &ModuleError{"the module cannot be checked"}
		}
	}()
	info, standard, err := readModule(wasm)
	if err != nil {
		return nil, &ModuleError{err.Error()}
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(wasmFeatures))
	defer runtime.Close(ctx)
	if _, err := runtime.CompileModule(ctx, standard); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &ModuleError{err.Error()}
	}
	return info, nil
}

// Sections of a module.
const (
	sectionType   = 1
	sectionImport = 2
	sectionFunc   = 3
	sectionMemory = 5
	sectionExport = 7
)

const (
	wasmPage       = 65536
	maxWasmItems   = 100_000 // of one section
	maxWasmImports = 1_000
	maxWasmName    = 256
)

var errTruncated = errors.New("the module ends in the middle")

// wasmReader reads the binary format.
type wasmReader struct{ rest []byte }

func (r *wasmReader) byte() (byte, error) {
	if len(r.rest) == 0 {
		return 0, errTruncated
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b, nil
}

func (r *wasmReader) u32() (uint32, error) {
	v, err := r.uleb(32)
	return uint32(v), err
}

func (r *wasmReader) uleb(bits uint) (uint64, error) {
	var v uint64
	for shift := uint(0); shift < bits; shift += 7 {
		b, err := r.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			if v > math.MaxUint64>>(64-bits) {
				break
			}
			return v, nil
		}
	}
	return 0, errors.New("a number of the module is too long")
}

func (r *wasmReader) bytes(n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(r.rest)) {
		return nil, errTruncated
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b, nil
}

func (r *wasmReader) name() (string, error) {
	n, err := r.u32()
	if err != nil {
		return "", err
	}
	b, err := r.bytes(n)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", errors.New("a name of the module is not UTF-8")
	}
	if len(b) > maxWasmName {
		return "", fmt.Errorf("a name of the module has %d bytes, the limit is %d", len(b), maxWasmName)
	}
	return string(b), nil
}

// count reads the length of a list; every item takes at least one byte.
func (r *wasmReader) count(limit int) (int, error) {
	n, err := r.u32()
	if err != nil {
		return 0, err
	}
	if int64(n) > int64(limit) {
		return 0, fmt.Errorf("a list of the module has %d items, the limit is %d", n, limit)
	}
	if int64(n) > int64(len(r.rest)) {
		return 0, errTruncated
	}
	return int(n), nil
}

type funcType struct{ params, results []byte }

// moduleReader collects what the sections say.
type moduleReader struct {
	info  ModuleInfo
	types []funcType
	funcs []uint32 // type of each function, imported ones first
	// standard is the module with its memory's page size written in 64 KiB.
	standard bytes.Buffer
}

// readModule reads what a module imports, exports and needs. It checks the frame only. It also returns the module in
// a form that knows pages of 64 KiB only, with the same code.
func readModule(wasm []byte) (*ModuleInfo, []byte, error) {
	const header = "\x00asm\x01\x00\x00\x00"
	if !bytes.HasPrefix(wasm, []byte(header[:4])) {
		return nil, nil, errors.New("the file does not begin as a WebAssembly module does")
	}
	if !bytes.HasPrefix(wasm, []byte(header)) {
		return nil, nil, errors.New("this is not version 1 of the binary format (components are not accepted)")
	}
	m := &moduleReader{}
	m.standard.WriteString(header)
	r := &wasmReader{wasm[len(header):]}
	for len(r.rest) > 0 {
		id, err := r.byte()
		if err != nil {
			return nil, nil, err
		}
		size, err := r.u32()
		if err != nil {
			return nil, nil, err
		}
		body, err := r.bytes(size)
		if err != nil {
			return nil, nil, err
		}
		if err := m.section(id, body); err != nil {
			return nil, nil, err
		}
	}
	return &m.info, m.standard.Bytes(), nil
}

func (m *moduleReader) section(id byte, body []byte) error {
	r := &wasmReader{body}
	var err error
	switch id {
	case sectionType:
		err = m.typeSection(r)
	case sectionImport:
		err = m.importSection(r)
	case sectionFunc:
		err = m.funcSection(r)
	case sectionMemory:
		body, err = m.memorySection(r, body)
	case sectionExport:
		err = m.exportSection(r)
	}
	if err != nil {
		return err
	}
	m.standard.WriteByte(id)
	m.standard.Write(appendULEB(nil, uint64(len(body))))
	m.standard.Write(body)
	return nil
}

func appendULEB(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func (m *moduleReader) typeSection(r *wasmReader) error {
	n, err := r.count(maxWasmItems)
	for i := 0; i < n && err == nil; i++ {
		var form byte
		if form, err = r.byte(); err != nil {
			return err
		}
		if form != 0x60 {
			return fmt.Errorf("a type of form %#x is not accepted", form)
		}
		var t funcType
		if t.params, err = r.valueTypes(); err != nil {
			return err
		}
		t.results, err = r.valueTypes()
		m.types = append(m.types, t)
	}
	return err
}

func (r *wasmReader) valueTypes() ([]byte, error) {
	n, err := r.count(maxWasmImports)
	if err != nil {
		return nil, err
	}
	return r.bytes(uint32(n))
}

func (m *moduleReader) typeAt(i uint32) (funcType, error) {
	if uint64(i) >= uint64(len(m.types)) {
		return funcType{}, fmt.Errorf("the module has no type %d", i)
	}
	return m.types[i], nil
}

func (m *moduleReader) importSection(r *wasmReader) error {
	n, err := r.count(maxWasmImports)
	for i := 0; i < n && err == nil; i++ {
		err = m.importEntry(r)
	}
	return err
}

func (m *moduleReader) importEntry(r *wasmReader) error {
	module, err := r.name()
	if err != nil {
		return err
	}
	name, err := r.name()
	if err != nil {
		return err
	}
	kind, err := r.byte()
	if err != nil {
		return err
	}
	switch kind {
	case 0:
		index, err := r.u32()
		if err != nil {
			return err
		}
		t, err := m.typeAt(index)
		if err != nil {
			return err
		}
		m.funcs = append(m.funcs, index)
		m.info.Imports = append(m.info.Imports, ModuleFunction{Module: module, Name: name, Params: t.params, Results: t.results})
		return nil
	case 1, 2, 3:
		what := []string{"", "table", "memory", "global"}[kind]
		m.info.OtherImports = append(m.info.OtherImports, fmt.Sprintf("%s %s.%s", what, module, name))
		return m.skipImport(r, kind)
	}
	return fmt.Errorf("an import of kind %d is not accepted", kind)
}

// skipImport reads over the type of a table, memory or global.
func (m *moduleReader) skipImport(r *wasmReader, kind byte) error {
	if kind != 2 {
		if _, err := r.byte(); err != nil {
			return err
		}
	}
	if kind == 3 {
		_, err := r.byte()
		return err
	}
	_, err := r.limits()
	return err
}

type wasmLimits struct {
	min, max uint64
	hasMax   bool
	pageLog2 uint32
	custom   bool
}

func (r *wasmReader) limits() (l wasmLimits, err error) {
	flags, err := r.byte()
	if err != nil {
		return l, err
	}
	if flags&^0x09 != 0 {
		return l, fmt.Errorf("a memory or table with flags %#x (shared, or of 64 bits) is not accepted", flags)
	}
	l.pageLog2 = 16
	if l.min, err = r.uleb(32); err != nil {
		return l, err
	}
	if flags&1 != 0 {
		l.hasMax = true
		if l.max, err = r.uleb(32); err != nil {
			return l, err
		}
	}
	if flags&8 != 0 {
		l.custom = true
		if l.pageLog2, err = r.u32(); err != nil {
			return l, err
		}
		if l.pageLog2 != 0 && l.pageLog2 != 16 {
			return l, errors.New("a page size must be 1 or 65536 bytes")
		}
	}
	return l, nil
}

func (m *moduleReader) funcSection(r *wasmReader) error {
	n, err := r.count(maxWasmItems)
	for i := 0; i < n && err == nil; i++ {
		var index uint32
		if index, err = r.u32(); err == nil {
			m.funcs = append(m.funcs, index)
		}
	}
	return err
}

// memorySection returns the section with its page size in 64 KiB.
func (m *moduleReader) memorySection(r *wasmReader, body []byte) ([]byte, error) {
	n, err := r.count(maxWasmItems)
	if err != nil || n == 0 {
		return body, err
	}
	if n > 1 {
		return nil, errors.New("more than one memory is not accepted")
	}
	l, err := r.limits()
	if err != nil {
		return nil, err
	}
	m.info.HasMemory, m.info.MinMemory = true, int64(l.min)<<l.pageLog2
	m.info.HasMaxMemory, m.info.MaxMemory = l.hasMax, int64(l.max)<<l.pageLog2
	if !l.custom {
		return body, nil
	}
	if l.hasMax && l.max < l.min {
		return nil, errors.New("the memory's maximum is below its minimum")
	}
	pages := func(v int64) uint64 { return uint64((v + wasmPage - 1) / wasmPage) }
	out := []byte{1, 0}
	out = appendULEB(out, pages(m.info.MinMemory))
	if l.hasMax {
		out[1] = 1
		out = appendULEB(out, pages(m.info.MaxMemory))
	}
	return append(out, r.rest...), nil
}

func (m *moduleReader) exportSection(r *wasmReader) error {
	n, err := r.count(maxWasmItems)
	for i := 0; i < n && err == nil; i++ {
		err = m.exportEntry(r)
	}
	return err
}

func (m *moduleReader) exportEntry(r *wasmReader) error {
	name, err := r.name()
	if err != nil {
		return err
	}
	kind, err := r.byte()
	if err != nil {
		return err
	}
	index, err := r.u32()
	if err != nil || kind != 0 {
		return err
	}
	if uint64(index) >= uint64(len(m.funcs)) {
		return fmt.Errorf("the module has no function %d", index)
	}
	t, err := m.typeAt(m.funcs[index])
	m.info.Exports = append(m.info.Exports, ModuleFunction{Name: name, Params: t.params, Results: t.results})
	return err
}
