// SPDX-License-Identifier: Apache-2.0

package fleettest

import "wasmbed.dev/devices/hostapi"

// Module describes a small WebAssembly module.
type Module struct {
	// Imports are host functions by name.
	Imports []string
	// Foreign are imports "module.name" of type () -> ().
	Foreign [][2]string
	// ForeignMemory imports env.memory.
	ForeignMemory bool
	// Pages of linear memory; 0: no memory. OneByte makes them pages of one byte.
	Pages   uint32
	OneByte bool
	// Data is where in memory ten bytes of data begin; 0: there are none.
	Data uint32
	// NoRun leaves the export out that devices start.
	NoRun bool
	// Padding adds bytes in a section that says nothing.
	Padding int
}

// Bytes encodes the module.
func (m Module) Bytes() string {
	out := []byte("\x00asm\x01\x00\x00\x00")
	types := [][]byte{{0x60, 0, 0}}
	var imports [][]byte
	add := func(module, name string, index int) {
		e := text(nil, module)
		e = text(e, name)
		imports = append(imports, append(e, 0, byte(index)))
	}
	for _, name := range m.Imports {
		f, ok := hostapi.Lookup(hostapi.Module, name)
		if !ok {
			panic("no host function " + name)
		}
		t := []byte{0x60}
		t = append(uleb(t, uint32(len(f.Params))), f.ParamTypes()...)
		t = append(uleb(t, uint32(len(f.Results))), f.Results...)
		types = append(types, t)
		add(f.Module, f.Name, len(types)-1)
	}
	for _, f := range m.Foreign {
		add(f[0], f[1], 0)
	}
	functions := len(imports)
	if m.ForeignMemory {
		imports = append(imports, append(text(text(nil, "env"), "memory"), 2, 0, 1))
	}
	out = section(out, 1, types...)
	if len(imports) > 0 {
		out = section(out, 2, imports...)
	}
	out = section(out, 3, []byte{0})
	if m.Pages > 0 {
		memory := uleb([]byte{0}, m.Pages)
		if m.OneByte {
			memory = append(uleb([]byte{8}, m.Pages), 0)
		}
		out = section(out, 5, memory)
	}
	if !m.NoRun {
		out = section(out, 7, uleb(append(text(nil, hostapi.EntryRun), 0), uint32(functions)))
	}
	out = section(out, 10, []byte{2, 0, 0x0b})
	if m.Data > 0 { // i32.const in signed LEB128: one more byte keeps it positive
		segment := append([]byte{0, 0x41}, byte(m.Data)|0x80, byte(m.Data>>7)|0x80, byte(m.Data>>14)|0x80, byte(m.Data>>21)&0x3f, 0x0b)
		out = section(out, 11, text(segment, "0123456789"))
	}
	if m.Padding > 0 {
		body := append(text(nil, "padding"), make([]byte, m.Padding)...)
		out = append(uleb(append(out, 0), uint32(len(body))), body...)
	}
	return string(out)
}

func section(out []byte, id byte, items ...[]byte) []byte {
	body := uleb(nil, uint32(len(items)))
	for _, item := range items {
		body = append(body, item...)
	}
	return append(uleb(append(out, id), uint32(len(body))), body...)
}

func text(out []byte, s string) []byte { return append(uleb(out, uint32(len(s))), s...) }

func uleb(out []byte, v uint32) []byte {
	for v >= 0x80 {
		out = append(out, byte(v)|0x80)
		v >>= 7
	}
	return append(out, byte(v))
}
