// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// Value types as in the binary format.
const (
	i32     = 0x7f
	i64     = 0x7e
	f32     = 0x7d
	f64     = 0x7c
	funcref = 0x70
)

var numeric = []byte{i32, i64, f32, f64}

// op is an instruction with fixed types from the table of the runtime.
type op struct {
	code    []byte
	in      []byte
	out     byte // 0: none
	memory  bool
	align   uint32
	makeNaN bool // its result can be a NaN whose bits the specification leaves open
}

type funcType struct{ params, results []byte }

// Limits of generated programs. Every loop counts down from a small number,
// functions call only later ones and the table holds only functions that call
// nothing, so every program ends; maxCost bounds how late.
const (
	maxDepth   = 5
	maxCost    = 200000
	functions  = 6
	leaves     = 2 // the last functions, which are in the table
	tableSize  = 8
	dataLength = 40
)

// gen makes one module.
type gen struct {
	r      *rand.Rand
	types  []funcType
	funcs  []int // type of each function
	cost   []int // of each function that is already generated
	global []byte
	used   map[string]bool // opcodes emitted

	// of the function being generated
	self     int
	locals   []byte // types; parameters first
	nparams  int
	counters map[int]bool // locals that count loops
	code     []byte
	labels   [][]byte // types that a branch to each label takes, innermost last
	loops    []bool   // whether the label is a loop's
	spent    int      // cost so far
	times    int      // how often the current place runs
}

func (g *gen) emit(b ...byte) { g.code = append(g.code, b...) }

func (g *gen) opcode(b ...byte) {
	g.used[string(b)] = true
	g.emit(b...)
	g.spent += g.times
}

func (g *gen) u32(v uint32) { g.code = appendU32(g.code, v) }

// index sometimes writes a longer encoding than needed.
func (g *gen) index(v int) {
	if g.r.IntN(50) == 0 {
		g.emit(byte(v&0x7f)|0x80, byte(v>>7))
		return
	}
	g.u32(uint32(v))
}

func appendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

var interesting = []uint64{0, 1, 2, 7, 31, 32, 63, 64, 127, 128, 255, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
	0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffffffffff0}

var interestingFloats = []float64{0, math.Copysign(0, -1), 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 1e10, -1e10, 3.4e38, 1e-40, 1e300, 5e-324,
	2147483647, 2147483648, -2147483649, 4294967295, 4294967296, 9.2e18, -9.3e18, 1.8e19, 1.9e19, math.Inf(1), math.Inf(-1), math.NaN()}

func (g *gen) bits() uint64 {
	if g.r.IntN(2) == 0 {
		return pick(g.r, interesting)
	}
	return g.r.Uint64() >> g.r.IntN(64)
}

func (g *gen) float() float64 {
	if g.r.IntN(2) == 0 {
		return pick(g.r, interestingFloats)
	}
	return g.r.NormFloat64() * math.Pow(10, float64(g.r.IntN(12)))
}

func (g *gen) constant(t byte) {
	switch t {
	case i32:
		g.i32(int32(g.bits()))
	case i64:
		g.opcode(0x42)
		g.code = appendS64(g.code, int64(g.bits()))
	case f32:
		g.opcode(0x43)
		g.code = binary.LittleEndian.AppendUint32(g.code, math.Float32bits(float32(g.float())))
	case f64:
		g.opcode(0x44)
		g.code = binary.LittleEndian.AppendUint64(g.code, math.Float64bits(g.float()))
	default:
		g.opcode(0xd0)
		g.emit(t)
	}
}

// i32 writes a constant, sometimes padded to five bytes as linkers do.
func (g *gen) i32(v int32) {
	g.opcode(0x41)
	if g.r.IntN(4) == 0 {
		u := uint32(v)
		g.emit(byte(u)|0x80, byte(u>>7)|0x80, byte(u>>14)|0x80, byte(u>>21)|0x80, byte(v>>28)&0x7f)
		return
	}
	g.code = appendS64(g.code, int64(v))
}

func (g *gen) newLocal(t byte) int {
	g.locals = append(g.locals, t)
	return len(g.locals) - 1
}

// local finds a local of a type, -1 if there is none. Counters may be read but
// not written.
func (g *gen) local(t byte, write bool) int {
	var found []int
	for i, have := range g.locals {
		if have == t && !(write && g.counters[i]) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return -1
	}
	return pick(g.r, found)
}

func (g *gen) memarg(align uint32) {
	a := uint32(g.r.IntN(int(align) + 1))
	if g.r.IntN(100) == 0 {
		g.emit(byte(a)|0x80, 0)
	} else {
		g.u32(a)
	}
	switch g.r.IntN(12) {
	case 0:
		g.u32(uint32(g.r.IntN(70000)))
	case 1:
		g.u32(0xfffffff0 + uint32(g.r.IntN(16)))
	default:
		g.u32(uint32(g.r.IntN(200)))
	}
}

// address puts a mostly valid address on the stack.
func (g *gen) address(depth int) {
	g.value(i32, depth)
	if g.r.IntN(40) != 0 {
		g.i32(int32(pick(g.r, []int{0xff, 0xfff, 0xffff})))
		g.opcode(0x71)
	}
}

// canonical replaces a NaN on the stack by the canonical one.
func (g *gen) canonical(t byte) {
	l := g.newLocal(t)
	g.opcode(0x22)
	g.index(l)
	if t == f32 {
		g.opcode(0x43)
		g.emit(0, 0, 0xc0, 0x7f)
	} else {
		g.opcode(0x44)
		g.emit(0, 0, 0, 0, 0, 0, 0xf8, 0x7f)
	}
	g.opcode(0x20)
	g.index(l)
	g.opcode(0x20)
	g.index(l)
	g.opcode(map[byte]byte{f32: 0x5b, f64: 0x61}[t])
	g.opcode(0x1b)
	g.opcode(0x22) // the local must not keep the other NaN
	g.index(l)
}

// operands puts values for an instruction on the stack.
func (g *gen) apply(o op, depth int) {
	for i, t := range o.in {
		if i == 0 && o.memory {
			g.address(depth - 1)
		} else {
			g.value(t, depth-1)
		}
	}
	g.opcode(o.code...)
	if o.memory {
		g.memarg(o.align)
	}
	if o.makeNaN {
		g.canonical(o.out)
	}
}

// value puts one value of a type on the stack.
func (g *gen) value(t byte, depth int) {
	if depth <= 0 || len(g.code) > 6000 {
		g.simple(t)
		return
	}
	switch g.r.IntN(12) {
	case 0, 1:
		g.simple(t)
	case 2:
		g.selectValue(t, depth)
	case 3:
		g.blockValue(t, depth)
	case 4:
		g.ifValue(t, depth)
	case 5:
		if !g.callFor(t, depth) {
			g.simple(t)
		}
	case 6:
		if l := g.local(t, true); l >= 0 {
			g.value(t, depth-1)
			g.opcode(0x22)
			g.index(l)
		} else {
			g.simple(t)
		}
	case 7:
		if t == i32 {
			g.special(depth)
			return
		}
		fallthrough
	default:
		if t == funcref {
			g.reference(depth)
			return
		}
		g.apply(pick(g.r, byResult[t]), depth)
	}
}

func (g *gen) simple(t byte) {
	if l := g.local(t, false); l >= 0 && g.r.IntN(3) > 0 {
		g.opcode(0x20)
		g.index(l)
		return
	}
	for i, have := range g.global {
		if have == t && g.r.IntN(3) == 0 {
			g.opcode(0x23)
			g.index(i)
			return
		}
	}
	g.constant(t)
}

func (g *gen) selectValue(t byte, depth int) {
	g.value(t, depth-1)
	g.value(t, depth-1)
	g.value(i32, depth-1)
	if t == funcref || g.r.IntN(3) == 0 {
		g.opcode(0x1c)
		g.emit(1, t)
		return
	}
	g.opcode(0x1b)
}

// special are instructions that give an i32 and have immediates of their own.
func (g *gen) special(depth int) {
	switch g.r.IntN(6) {
	case 0:
		g.opcode(0x3f)
		g.emit(0)
	case 1:
		g.i32(int32(g.r.IntN(2)))
		g.opcode(0x40)
		g.emit(0)
	case 2:
		g.opcode(0xfc, 16)
		g.emit(0)
	case 3:
		g.value(funcref, depth-1)
		g.opcode(0xd1)
	case 4:
		g.value(funcref, depth-1)
		g.i32(int32(g.r.IntN(3)))
		g.opcode(0xfc, 15)
		g.emit(0)
	default:
		g.value(i64, depth-1)
		g.opcode(0x50)
	}
}

func (g *gen) reference(depth int) {
	switch g.r.IntN(3) {
	case 0:
		g.opcode(0xd2)
		g.index(functions - 1 - g.r.IntN(leaves))
	case 1:
		g.tableIndex(depth)
		g.opcode(0x25)
		g.emit(0)
	default:
		g.constant(funcref)
	}
}

func (g *gen) tableIndex(depth int) {
	if g.r.IntN(20) == 0 {
		g.value(i32, depth-1)
		return
	}
	g.value(i32, depth-1)
	g.i32(7)
	g.opcode(0x71)
}

// blockType writes a block type for these types and returns it as a type index
// or a short form.
func (g *gen) blockType(params, results []byte) {
	if len(params) == 0 && len(results) == 0 {
		g.emit(0x40)
		return
	}
	if len(params) == 0 && len(results) == 1 {
		g.emit(results[0])
		return
	}
	g.types = append(g.types, funcType{params, results})
	g.code = appendS64(g.code, int64(len(g.types)-1))
}

func (g *gen) enter(types []byte, loop bool) {
	g.labels = append(g.labels, types)
	g.loops = append(g.loops, loop)
}

func (g *gen) leave() {
	g.labels = g.labels[:len(g.labels)-1]
	g.loops = g.loops[:len(g.loops)-1]
	g.opcode(0x0b)
}

func (g *gen) randomTypes(max int) []byte {
	types := make([]byte, g.r.IntN(max+1))
	for i := range types {
		types[i] = pick(g.r, numeric)
	}
	return types
}

// blockValue is a block with one result of type t, possibly with parameters and
// more results that are dropped, and branches out of it.
func (g *gen) blockValue(t byte, depth int) {
	params, results := []byte(nil), []byte{t}
	if g.r.IntN(3) == 0 {
		params = g.randomTypes(2)
		results = append(results, g.randomTypes(2)...)
	}
	for _, p := range params {
		g.value(p, depth-2)
	}
	g.opcode(0x02)
	g.blockType(params, results)
	g.enter(results, false)
	for i := len(params) - 1; i >= 0; i-- {
		g.discard(params[i])
	}
	g.statements(depth-1, 2)
	if g.r.IntN(3) == 0 { // branch with operands below the kept ones
		g.value(pick(g.r, numeric), 1)
		for _, r := range results {
			g.value(r, depth-2)
		}
		g.value(i32, depth-2)
		g.opcode(0x0d)
		g.index(0)
		for i := len(results) - 1; i >= 0; i-- {
			g.discard(results[i])
		}
		g.opcode(0x1a)
	}
	for _, r := range results {
		g.value(r, depth-1)
	}
	if g.r.IntN(4) == 0 {
		g.opcode(0x0c)
		g.index(0)
	}
	g.leave()
	for i := len(results) - 1; i > 0; i-- {
		g.discard(results[i])
	}
}

func (g *gen) discard(t byte) {
	if l := g.local(t, true); l >= 0 && g.r.IntN(2) == 0 {
		g.opcode(0x21)
		g.index(l)
		return
	}
	g.opcode(0x1a)
}

func (g *gen) ifValue(t byte, depth int) {
	g.value(i32, depth-1)
	g.opcode(0x04)
	g.emit(t)
	g.enter([]byte{t}, false)
	g.value(t, depth-1)
	g.opcode(0x05)
	g.statements(depth-2, 1)
	g.value(t, depth-1)
	g.leave()
}

// callFor calls a later function whose first result has type t.
func (g *gen) callFor(t byte, depth int) bool {
	indirect := g.r.IntN(3) == 0 && g.self < functions-leaves
	for try := 0; try < 4; try++ {
		callee := g.self + 1 + g.r.IntN(functions)
		if indirect {
			callee = functions - 1 - g.r.IntN(leaves)
		}
		if callee >= functions || callee <= g.self || g.self >= functions-leaves {
			continue
		}
		ft := g.types[g.funcs[callee]]
		if len(ft.results) == 0 || ft.results[0] != t || g.spent+g.times*g.cost[callee] > maxCost {
			continue
		}
		for _, p := range ft.params {
			g.value(p, depth-2)
		}
		g.spent += g.times * g.cost[callee]
		if indirect {
			g.tableIndex(depth - 1)
			g.opcode(0x11)
			g.u32(uint32(g.funcs[callee]))
			g.emit(0)
		} else {
			g.opcode(0x10)
			g.index(callee)
		}
		for i := len(ft.results) - 1; i > 0; i-- {
			g.discard(ft.results[i])
		}
		return true
	}
	return false
}

func (g *gen) statements(depth, n int) {
	for ; n > 0 && depth > 0 && len(g.code) < 6000; n-- {
		g.statement(depth)
	}
}

func (g *gen) statement(depth int) {
	switch g.r.IntN(16) {
	case 0, 1, 2:
		t := pick(g.r, append([]byte{funcref}, numeric...))
		g.value(t, depth-1)
		g.discard(t)
	case 3, 4:
		i := g.r.IntN(len(g.global))
		g.value(g.global[i], depth-1)
		g.opcode(0x24)
		g.index(i)
	case 5, 6:
		g.apply(pick(g.r, stores), depth)
	case 7:
		g.ifStatement(depth)
	case 8, 9:
		g.loop(depth)
	case 10:
		g.switchStatement(depth)
	case 11:
		g.branch(depth)
	case 12:
		g.bulkMemory(depth)
	case 13:
		g.tableStatement(depth)
	case 14:
		g.rare(depth)
	default:
		g.opcode(0x01)
	}
}

func (g *gen) ifStatement(depth int) {
	g.value(i32, depth-1)
	g.opcode(0x04)
	g.emit(0x40)
	g.enter(nil, false)
	g.statements(depth-1, 2)
	if g.r.IntN(2) == 0 {
		g.opcode(0x05)
		g.statements(depth-1, 2)
	}
	g.leave()
}

// loop runs its body a few times, counting down a local of its own.
func (g *gen) loop(depth int) {
	n := 1 + g.r.IntN(5)
	if g.spent+g.times*n*100 > maxCost {
		return
	}
	counter := g.newLocal(i32)
	g.counters[counter] = true
	g.i32(int32(n))
	g.opcode(0x21)
	g.index(counter)
	params := g.randomTypes(1)
	for _, p := range params {
		g.value(p, depth-2)
	}
	g.opcode(0x03)
	g.blockType(params, params)
	g.enter(params, true)
	g.times *= n
	for i := len(params) - 1; i >= 0; i-- {
		g.discard(params[i])
	}
	g.statements(depth-1, 2)
	for _, p := range params {
		g.value(p, depth-2)
	}
	g.opcode(0x20)
	g.index(counter)
	g.i32(1)
	g.opcode(0x6b)
	g.opcode(0x22)
	g.index(counter)
	g.opcode(0x0d)
	g.index(0)
	g.times /= n
	g.leave()
	for i := len(params) - 1; i >= 0; i-- {
		g.discard(params[i])
	}
}

// switchStatement is a br_table over nested blocks.
func (g *gen) switchStatement(depth int) {
	n := 1 + g.r.IntN(4)
	for i := 0; i < n; i++ {
		g.opcode(0x02)
		g.emit(0x40)
		g.enter(nil, false)
	}
	g.value(i32, depth-1)
	if g.r.IntN(2) == 0 {
		g.i32(7)
		g.opcode(0x71)
	}
	g.opcode(0x0e)
	entries := g.r.IntN(5)
	g.u32(uint32(entries))
	for i := 0; i <= entries; i++ {
		g.index(g.r.IntN(n))
	}
	for i := 0; i < n; i++ {
		g.leave()
		g.statements(depth-1, 1)
	}
}

// branch leaves a block outwards, never back to a loop.
func (g *gen) branch(depth int) {
	var targets []int
	for i := range g.labels {
		if !g.loops[len(g.labels)-1-i] {
			targets = append(targets, i)
		}
	}
	if len(targets) == 0 {
		return
	}
	target := pick(g.r, targets)
	types := g.labels[len(g.labels)-1-target]
	for _, t := range types {
		g.value(t, depth-2)
	}
	g.value(i32, depth-1)
	g.opcode(0x0d)
	g.index(target)
	for i := len(types) - 1; i >= 0; i-- {
		g.discard(types[i])
	}
}

func (g *gen) bulkMemory(depth int) {
	g.address(depth - 1)
	switch g.r.IntN(4) {
	case 0:
		g.address(depth - 1)
		g.i32(int32(g.r.IntN(300)))
		g.opcode(0xfc, 10)
		g.emit(0, 0)
	case 1:
		g.value(i32, depth-1)
		g.i32(int32(g.r.IntN(300)))
		g.opcode(0xfc, 11)
		g.emit(0)
	default:
		g.i32(int32(g.r.IntN(dataLength)))
		g.i32(int32(g.r.IntN(dataLength / 2)))
		g.opcode(0xfc, 8)
		g.emit(1, 0)
	}
}

func (g *gen) tableStatement(depth int) {
	g.tableIndex(depth - 1)
	switch g.r.IntN(5) {
	case 0:
		g.value(funcref, depth-1)
		g.opcode(0x26)
		g.emit(0)
	case 1:
		g.i32(int32(g.r.IntN(4)))
		g.i32(int32(g.r.IntN(5)))
		g.opcode(0xfc, 12)
		g.emit(1, 0)
	case 2:
		g.tableIndex(depth - 1)
		g.i32(int32(g.r.IntN(4)))
		g.opcode(0xfc, 14)
		g.emit(0, 0)
	case 3:
		g.value(funcref, depth-1)
		g.i32(int32(g.r.IntN(4)))
		g.opcode(0xfc, 17)
		g.emit(0)
	default:
		g.opcode(0x1a)
	}
}

func (g *gen) rare(depth int) {
	switch g.r.IntN(10) {
	case 0:
		g.opcode(0xfc, 9)
		g.emit(1)
	case 1:
		g.opcode(0xfc, 13)
		g.emit(1)
	case 2, 3:
		g.value(i32, depth-1)
		g.opcode(0x04)
		g.emit(0x40)
		g.enter(nil, false)
		for _, t := range g.types[g.funcs[g.self]].results {
			g.value(t, depth-2)
		}
		g.opcode(0x0f)
		g.leave()
	case 4:
		g.value(i32, depth-1)
		g.i32(63)
		g.opcode(0x71)
		g.opcode(0x45)
		g.opcode(0x04)
		g.emit(0x40)
		g.opcode(0x00)
		g.opcode(0x0b)
	default:
		g.opcode(0x01)
	}
}

// function generates a body and returns it with its locals.
func (g *gen) function(self int) []byte {
	ft := g.types[g.funcs[self]]
	g.self, g.code, g.counters, g.times, g.spent = self, nil, map[int]bool{}, 1, 0
	g.locals = append([]byte{}, ft.params...)
	g.nparams = len(ft.params)
	kinds := append([]byte{funcref}, numeric...)
	if g.r.IntN(3) == 0 {
		kinds = []byte{i32, i32, f32} // a function without two-slot values, unless parameters are
	}
	for n := g.r.IntN(6); n > 0; n-- {
		g.newLocal(pick(g.r, kinds))
	}
	if g.r.IntN(20) == 0 {
		for n := 0; n < 140; n++ { // indices of two bytes
			g.newLocal(i32)
		}
	}
	g.labels, g.loops = [][]byte{ft.results}, []bool{false}
	g.statements(maxDepth, 4)
	for _, t := range ft.results {
		g.value(t, maxDepth)
	}
	g.opcode(0x0b)
	g.cost[self] = g.spent
	body := appendU32(nil, uint32(len(g.locals)-g.nparams))
	for _, t := range g.locals[g.nparams:] {
		body = append(body, 1, t)
	}
	return append(body, g.code...)
}

func section(id byte, body []byte) []byte {
	return append(appendU32([]byte{id}, uint32(len(body))), body...)
}

// program is a generated module and how to call it.
type program struct {
	module  []byte
	exports []funcType // function i is exported as "f" and its number
	globals []byte
}

func generate(seed uint64, used map[string]bool) program {
	g := &gen{r: rand.New(rand.NewPCG(seed, 1)), used: used, cost: make([]int, functions)}
	g.global = append([]byte{i32, i64, f32, f64}, g.randomTypes(2)...)
	for i := 0; i < functions; i++ {
		results := append([]byte{pick(g.r, numeric)}, g.randomTypes(2)...)
		g.types = append(g.types, funcType{g.randomTypes(3), results})
		g.funcs = append(g.funcs, i)
	}
	bodies := make([][]byte, functions)
	for i := functions - 1; i >= 0; i-- {
		bodies[i] = g.function(i)
	}
	return program{g.assemble(bodies), g.types[:functions], g.global}
}

func (g *gen) assemble(bodies [][]byte) []byte {
	m := []byte("\x00asm\x01\x00\x00\x00")
	types := appendU32(nil, uint32(len(g.types)))
	for _, t := range g.types {
		types = append(types, 0x60, byte(len(t.params)))
		types = append(append(types, t.params...), byte(len(t.results)))
		types = append(types, t.results...)
	}
	m = append(m, section(1, types)...)
	funcs := []byte{functions}
	exports := []byte{byte(functions + 1 + len(g.global)), 1, 'm', 2, 0}
	for i := range g.funcs {
		funcs = append(funcs, byte(i))
		exports = append(exports, 2, 'f', byte('0'+i), 0, byte(i))
	}
	m = append(m, section(3, funcs)...)
	m = append(m, section(4, []byte{1, funcref, 1, tableSize, 2 * tableSize})...)
	m = append(m, section(5, []byte{1, 1, 1, 2})...)
	globals := []byte{byte(len(g.global))}
	for i, t := range g.global {
		g.code = nil
		g.constant(t)
		globals = append(append(append(globals, t, 1), g.code...), 0x0b)
		exports = append(exports, 2, 'g', byte('0'+i), 3, byte(i))
	}
	m = append(m, section(6, globals)...)
	m = append(m, section(7, exports)...)
	leaf := func() byte { return byte(functions - 1 - g.r.IntN(leaves)) }
	elems := []byte{2, 0, 0x41, 1, 0x0b, 5, leaf(), leaf(), leaf(), leaf(), functions - 1}
	elems = append(elems, 1, 0, 5, leaf(), leaf(), leaf(), leaf(), functions-2)
	m = append(m, section(9, elems)...)
	m = append(m, section(12, []byte{2})...)
	code := []byte{functions}
	for _, b := range bodies {
		code = append(appendU32(code, uint32(len(b))), b...)
	}
	m = append(m, section(10, code)...)
	data := []byte{2, 0, 0x41, 16, 0x0b, dataLength}
	for i := 0; i < dataLength; i++ {
		data = append(data, byte(g.r.Uint32()))
	}
	data = append(data, 1, dataLength)
	for i := 0; i < dataLength; i++ {
		data = append(data, byte(g.r.Uint32()))
	}
	return append(m, section(11, data)...)
}
