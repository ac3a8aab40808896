// SPDX-License-Identifier: Apache-2.0

// Package trim makes modules smaller for boards: it drops custom sections (the
// name section unless it is kept) and exports that nobody calls, shortens the
// padded numbers that linkers leave in code, and rewrites the memory so that it
// takes what the app uses and not whole pages of 64 KiB.
//
// It changes nothing that a program can observe, except that the memory ends
// where [Options] says, and that byte offsets in traps are those of the new
// module.
package trim

import (
	"errors"
	"fmt"
)

// Options say what to keep.
type Options struct {
	// Exports that stay; all others go. Nil keeps all.
	Exports []string
	// KeepNames keeps the name section, so that traps name functions.
	KeepNames bool
	// MemoryBytes is the size of the memory, in bytes, written with the custom
	// page size of 1 byte. 0 keeps the memory as it is. It must reach to the end
	// of the data that the module initialises, and the code must not contain
	// memory.size or memory.grow, whose unit would change: [ErrPages].
	MemoryBytes uint32
}

// ErrPages means that the code counts the pages of its memory.
var ErrPages = errors.New("it uses memory.size or memory.grow, so the memory must keep its pages")

// Saved is what became of the module's bytes.
type Saved struct {
	Custom  int // sections that are not executed
	Exports int
	Padding int // of numbers
	Memory  int // negative: its size in bytes takes more to say
}

// Total of all bytes saved.
func (s Saved) Total() int { return s.Custom + s.Exports + s.Padding + s.Memory }

// Sections of a module.
const (
	secCustom = 0
	secImport = 2
	secMemory = 5
	secGlobal = 6
	secExport = 7
	secCode   = 10
	secData   = 11
)

// Bytes trims a module, which must be valid (wasmcheck judges that).
func Bytes(module []byte, o Options) ([]byte, Saved, error) {
	var saved Saved
	r := &reader{b: module}
	if string(r.take(8)) != "\x00asm\x01\x00\x00\x00" {
		return nil, saved, errors.New("trim: not a WebAssembly module")
	}
	out := append([]byte{}, module[:8]...)
	for !r.done() {
		before, start := len(out), len(r.b)
		id := r.byte()
		body := r.take(r.u32())
		if r.bad {
			return nil, saved, errors.New("trim: a section ends beyond the module")
		}
		body, keep, err := section(id, body, o)
		if err != nil {
			return nil, saved, fmt.Errorf("trim: %w", err)
		}
		if keep {
			out = append(out, id)
			out = append(appendU32(out, uint32(len(body))), body...)
		}
		less := start - len(r.b) - (len(out) - before)
		switch id {
		case secCustom:
			saved.Custom += less
		case secExport:
			saved.Exports += less
		case secMemory:
			saved.Memory += less
		default:
			saved.Padding += less
		}
	}
	return out, saved, nil
}

// section rewrites one section; keep is false if it goes.
func section(id byte, body []byte, o Options) (out []byte, keep bool, err error) {
	switch id {
	case secCustom:
		r := &reader{b: body}
		return body, o.KeepNames && string(r.take(r.u32())) == "name", nil
	case secMemory:
		out, err = memory(body, o)
	case secExport:
		return exports(body, o)
	case secCode:
		out, err = code(body, o)
	case secData:
		out, err = body, data(body, o)
	default:
		out = body
	}
	return out, true, err
}

var errTruncated = errors.New("the module is truncated")

func memory(body []byte, o Options) ([]byte, error) {
	r := &reader{b: body}
	n := r.u32()
	if o.MemoryBytes == 0 || n == 0 {
		return body, nil
	}
	if n != 1 {
		return nil, errors.New("the module has several memories")
	}
	out := appendU32([]byte{1, 0x09}, o.MemoryBytes)
	out = appendU32(out, o.MemoryBytes)
	return append(out, 0), nil // pages of 2^0 bytes
}

func exports(body []byte, o Options) (out []byte, keep bool, err error) {
	if o.Exports == nil {
		return body, true, nil
	}
	wanted := map[string]bool{}
	for _, name := range o.Exports {
		wanted[name] = true
	}
	r := &reader{b: body}
	kept := uint32(0)
	for n := r.u32(); n > 0 && !r.bad; n-- {
		start := r.b
		name := r.take(r.u32())
		r.byte()
		r.u32()
		if wanted[string(name)] {
			out = append(out, start[:len(start)-len(r.b)]...)
			kept++
		}
	}
	if r.bad {
		return nil, false, errTruncated
	}
	return append(appendU32(nil, kept), out...), kept > 0, nil
}

// data checks that the memory reaches to the end of the initialised data.
func data(body []byte, o Options) error {
	if o.MemoryBytes == 0 {
		return nil
	}
	r := &reader{b: body}
	for n := r.u32(); n > 0 && !r.bad; n-- {
		flags, at := r.u32(), int64(0)
		if flags == 2 {
			r.u32()
		}
		if flags != 1 {
			if r.byte() != 0x41 {
				return nil // the place is not known before the start
			}
			at = int64(uint32(r.s64()))
			r.byte()
		}
		size := int64(len(r.take(r.u32())))
		if flags != 1 && at+size > int64(o.MemoryBytes) {
			return fmt.Errorf("the module's data ends at %d, beyond a memory of %d bytes", at+size, o.MemoryBytes)
		}
	}
	if r.bad {
		return errTruncated
	}
	return nil
}

// code rewrites function bodies with the shortest encoding of every number.
func code(body []byte, o Options) ([]byte, error) {
	r := &reader{b: body}
	n := r.u32()
	out := appendU32(nil, n)
	for i := uint32(0); i < n && !r.bad; i++ {
		f := &reader{b: r.take(r.u32())}
		short, err := function(f, o)
		if err != nil {
			return nil, fmt.Errorf("function body %d: %w", i, err)
		}
		out = append(appendU32(out, uint32(len(short))), short...)
	}
	if r.bad {
		return nil, errTruncated
	}
	return out, nil
}

func function(r *reader, o Options) ([]byte, error) {
	groups := r.u32()
	out := appendU32(nil, groups)
	for i := uint32(0); i < groups && !r.bad; i++ {
		out = append(appendU32(out, r.u32()), r.byte())
	}
	for !r.done() {
		op := r.byte()
		if o.MemoryBytes != 0 && (op == 0x3f || op == 0x40) {
			return nil, ErrPages
		}
		out = append(out, op)
		kind := immediate(op)
		if op == 0xfc {
			sub := r.u32()
			out = appendU32(out, sub)
			kind = prefixed(sub)
		}
		if kind == immUnknown {
			return nil, fmt.Errorf("unknown instruction %#x", op)
		}
		out = copyImmediate(r, out, kind)
	}
	if r.bad {
		return nil, errTruncated
	}
	return out, nil
}

// What follows an opcode.
type kind int

const (
	immUnknown kind = iota
	immNone
	immIndex  // an unsigned number
	immIndex2 // two
	immSigned
	immTable // a vector of numbers and one more
	immTypes // a vector of value types
	imm4     // four bytes
	imm8     // eight
	immByte
)

func immediate(op byte) kind {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, op == 0x1a, op == 0x1b, op == 0xd1, op >= 0x45 && op <= 0xc4:
		return immNone
	case op >= 0x02 && op <= 0x04, op == 0x41, op == 0x42:
		return immSigned // a block type is one, too
	case op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op == 0x3f, op == 0x40, op == 0xd2:
		return immIndex
	case op == 0x11, op >= 0x28 && op <= 0x3e:
		return immIndex2
	case op == 0x0e:
		return immTable
	case op == 0x1c:
		return immTypes
	case op == 0x43:
		return imm4
	case op == 0x44:
		return imm8
	case op == 0xd0:
		return immByte
	case op == 0xfc:
		return immNone
	}
	return immUnknown
}

func prefixed(sub uint32) kind {
	switch {
	case sub <= 7:
		return immNone
	case sub == 8, sub == 10, sub == 12, sub == 14:
		return immIndex2
	case sub <= 17:
		return immIndex
	}
	return immUnknown
}

func copyImmediate(r *reader, out []byte, k kind) []byte {
	switch k {
	case immIndex:
		out = appendU32(out, r.u32())
	case immIndex2:
		out = appendU32(out, r.u32())
		out = appendU32(out, r.u32())
	case immSigned:
		out = appendS64(out, r.s64())
	case immTable:
		n := r.u32()
		out = appendU32(out, n)
		for i := uint32(0); i <= n && !r.bad; i++ {
			out = appendU32(out, r.u32())
		}
	case immTypes:
		n := r.u32()
		out = append(appendU32(out, n), r.take(n)...)
	case imm4:
		out = append(out, r.take(4)...)
	case imm8:
		out = append(out, r.take(8)...)
	case immByte:
		out = append(out, r.byte())
	}
	return out
}

// HeapBase reads the global that linkers export as __heap_base: where the
// app's own data and stack end and its heap begins. It is the least memory
// that a program without a heap needs.
func HeapBase(module []byte) (uint32, bool) {
	index, ok := exportedGlobal(module, "__heap_base")
	if !ok {
		return 0, false
	}
	globals, ok := find(module, secGlobal)
	if !ok {
		return 0, false
	}
	imported := importedGlobals(module)
	r := &reader{b: globals}
	n := r.u32()
	if index < imported || index-imported >= n {
		return 0, false
	}
	for i := uint32(0); !r.bad; i++ {
		r.take(2)
		if r.byte() != 0x41 {
			return 0, false // constants of other types come only before and are rare
		}
		value := uint32(r.s64())
		r.byte()
		if i == index-imported {
			return value, !r.bad
		}
	}
	return 0, false
}

func find(module []byte, want byte) ([]byte, bool) {
	r := &reader{b: module}
	r.take(8)
	for !r.done() {
		id := r.byte()
		if body := r.take(r.u32()); id == want && !r.bad {
			return body, true
		}
	}
	return nil, false
}

func exportedGlobal(module []byte, name string) (uint32, bool) {
	body, ok := find(module, secExport)
	r := &reader{b: body}
	for n := r.u32(); ok && n > 0 && !r.bad; n-- {
		got := string(r.take(r.u32()))
		kind := r.byte()
		index := r.u32()
		if got == name && kind == 3 && !r.bad {
			return index, true
		}
	}
	return 0, false
}

func importedGlobals(module []byte) (count uint32) {
	body, ok := find(module, secImport)
	r := &reader{b: body}
	for n := r.u32(); ok && n > 0 && !r.bad; n-- {
		r.take(r.u32())
		r.take(r.u32())
		switch r.byte() {
		case 0:
			r.u32()
		case 1:
			r.byte()
			r.limits()
		case 2:
			r.limits()
		default:
			r.take(2)
			count++
		}
	}
	return count
}
