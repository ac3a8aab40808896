// SPDX-License-Identifier: Apache-2.0

package appbuild

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmbed.dev/devices/hostapi"
)

// Info is what a person wants to know of a module before it goes to a device.
type Info struct {
	Size int
	// Imports are the host functions that it uses, as "name (permission)".
	Imports []string
	// Unknown are imports that no device offers.
	Unknown []string
	// Permissions that its Application must ask for, ascending.
	Permissions []string
	// MemoryDeclared is the linear memory that the module declares, in bytes; 0: none.
	MemoryDeclared uint64
	// MemoryUsed is how much of it the linker has laid out: stack, constants, variables. 0: the module does not
	// tell. It is the least that limits.memory can be.
	MemoryUsed uint64
}

// Inspect validates a module and reads what it needs.
func Inspect(ctx context.Context, module []byte) (Info, error) {
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = rt.Close(ctx) }() // frees memory only
	compiled, err := rt.CompileModule(ctx, module)
	if err != nil {
		return Info{}, fmt.Errorf("not a valid module: %w", err)
	}
	info := Info{Size: len(module)}
	for _, f := range compiled.ImportedFunctions() {
		info.addImport(f)
	}
	slices.Sort(info.Permissions)
	info.Permissions = slices.Compact(info.Permissions)
	info.MemoryDeclared = declaredMemory(module)
	if _, ok := compiled.ExportedFunctions()[hostapi.EntryRun]; !ok {
		return info, fmt.Errorf("the module does not export %q", hostapi.EntryRun)
	}
	if info.MemoryDeclared > 0 {
		info.MemoryUsed = heapBase(module)
	}
	return info, nil
}

func (i *Info) addImport(f api.FunctionDefinition) {
	module, name, _ := f.Import()
	h, ok := hostapi.Lookup(module, name)
	if !ok || !h.Matches(f.ParamTypes(), f.ResultTypes()) {
		i.Unknown = append(i.Unknown, module+"."+name+" "+hostapi.Signature(f.ParamTypes(), f.ResultTypes()))
		return
	}
	if h.Permission == hostapi.PermissionNone {
		i.Imports = append(i.Imports, name)
		return
	}
	i.Imports = append(i.Imports, name+" ("+string(h.Permission)+")")
	i.Permissions = append(i.Permissions, string(h.Permission))
}

// Section numbers of the binary format.
const (
	sectionCustom = 0
	sectionImport = 2
	sectionMemory = 5
	sectionGlobal = 6
	sectionExport = 7
)

var (
	wasmHeader = []byte("\x00asm\x01\x00\x00\x00")
	errModule  = errors.New("not a WebAssembly module")
)

// sections calls f for each section, with its whole bytes and its contents.
func sections(module []byte, f func(id byte, whole, content []byte)) error {
	if !bytes.HasPrefix(module, wasmHeader) {
		return errModule
	}
	for rest := module[len(wasmHeader):]; len(rest) > 0; {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return errModule
		}
		end := 1 + n + int(size)
		f(rest[0], rest[:end], rest[1+n:end])
		rest = rest[end:]
	}
	return nil
}

// stripCustom removes everything that is not executed: names, producers, features. A device pays for each byte.
func stripCustom(module []byte) ([]byte, error) {
	out := bytes.Clone(wasmHeader)
	err := sections(module, func(id byte, whole, _ []byte) {
		if id != sectionCustom {
			out = append(out, whole...)
		}
	})
	return out, err
}

// declaredMemory is the least size in bytes of the memory that a valid module defines, 0 when it defines none.
func declaredMemory(module []byte) (bytes uint64) {
	_ = sections(module, func(id byte, _, content []byte) {
		if r := (&reader{b: content}); id == sectionMemory && r.uint() > 0 {
			r.byte() // flags
			bytes = r.uint() * 65536
		}
	})
	return bytes
}

// heapBase is the value of the exported global __heap_base, 0 when there is none. The module is a valid one.
func heapBase(module []byte) uint64 {
	var imported, wanted uint64
	var globals []byte
	found := false
	err := sections(module, func(id byte, _, content []byte) {
		r := &reader{b: content}
		switch id {
		case sectionImport:
			imported = r.importedGlobals()
		case sectionGlobal:
			globals = content
		case sectionExport:
			wanted, found = r.exportedGlobal("__heap_base")
		}
	})
	if err != nil || !found || wanted < imported {
		return 0
	}
	return (&reader{b: globals}).globalConstant(wanted - imported)
}

// reader reads a section's contents. Past the end it yields zeros, which ends every loop here.
type reader struct{ b []byte }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) name() string {
	n := min(r.uint(), uint64(len(r.b)))
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// limits skips the limits of a table or memory.
func (r *reader) limits() {
	flags := r.byte()
	r.uint()
	if flags&1 != 0 {
		r.uint()
	}
}

func (r *reader) importedGlobals() (count uint64) {
	for n := r.uint(); n > 0 && len(r.b) > 0; n-- {
		r.name()
		r.name()
		switch r.byte() {
		case 0: // function: index of its type
			r.uint()
		case 1: // table: element type, limits
			r.byte()
			r.limits()
		case 2: // memory
			r.limits()
		case 3: // global: type, mutability
			r.byte()
			r.byte()
			count++
		}
	}
	return count
}

func (r *reader) exportedGlobal(name string) (uint64, bool) {
	for n := r.uint(); n > 0 && len(r.b) > 0; n-- {
		is := r.name() == name
		kind, index := r.byte(), r.uint()
		if is && kind == 3 {
			return index, true
		}
	}
	return 0, false
}

// globalConstant is the value of an i32 global whose initialiser is one constant, as linkers write them.
func (r *reader) globalConstant(index uint64) uint64 {
	const i32Const, end = 0x41, 0x0b
	for n := r.uint(); n > 0 && len(r.b) > 0; n-- {
		valueType, _, opcode := r.byte(), r.byte(), r.byte()
		if valueType != hostapi.I32 || opcode != i32Const {
			return 0
		}
		value := r.signed()
		if r.byte() != end {
			return 0
		}
		if index == 0 {
			return uint64(uint32(value))
		}
		index--
	}
	return 0
}

// signed reads signed LEB128.
func (r *reader) signed() (v int64) {
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c&0x80 == 0 {
			if c&0x40 != 0 && shift < 57 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	return v
}
