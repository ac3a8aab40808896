// SPDX-License-Identifier: Apache-2.0

// Command spectest packs the specification's test suite into one blob for the
// C runner (../test/runner.c), which reads it on the host and on boards alike.
//
// The suite, converted to JSON command files by wast2json, comes with the
// wazero module. Usage: spectest [-board] SUITE_DIR OUT [FILE...], where
// SUITE_DIR is wazero's internal/integration_test/spectest. With -board, what
// needs more memory than a board has is left out, and the blob is preceded by
// its length, 4 bytes.
//
// The blob is a sequence of commands, little-endian, strings and vectors with
// a length of 4 bytes. Each begins with a byte and the line of its script:
//
//	F name                             new file: forget all instances
//	S bytes                            the module "spectest"
//	M slot flags bytes                 load, instantiate, start; bit 0: it is
//	                                   needed after the next module, bit 1: its
//	                                   memory grows by megabytes
//	R slot name                        register for imports
//	A slot field args results          call and compare
//	T slot field args trap             call that must trap
//	G slot field results               read an exported global
//	I bytes / O bytes                  must be refused as invalid / malformed
//	L bytes                            must not link
//	U bytes trap                       must trap while instantiating
//	E                                  end
//
// args is a vector of slots; results a vector of (kind, low, high).
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

type value struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

type command struct {
	Type       string `json:"type"`
	Line       uint32 `json:"line"`
	Name       string `json:"name"`
	Filename   string `json:"filename"`
	As         string `json:"as"`
	Text       string `json:"text"`
	ModuleType string `json:"module_type"`
	Action     struct {
		Type   string  `json:"type"`
		Module string  `json:"module"`
		Field  string  `json:"field"`
		Args   []value `json:"args"`
	} `json:"action"`
	Expected []value `json:"expected"`
}

// Kinds of expected results; the runner has the same list.
const (
	kind32 = iota
	kind64
	kindCanonical32
	kindArithmetic32
	kindCanonical64
	kindArithmetic64
	kindAnyRef
)

// Traps as in wasm.h, by the beginning of the specification's text.
var traps = []struct {
	text string
	code uint32
}{
	{"unreachable", 1}, {"out of bounds memory", 2}, {"out of bounds table", 3}, {"undefined", 3},
	{"uninitialized", 4}, {"indirect call", 5}, {"integer divide", 6}, {"integer overflow", 7},
	{"invalid conversion", 8}, {"call stack", 9},
}

func trapCode(text string) uint32 {
	for _, t := range traps {
		if strings.HasPrefix(text, t.text) {
			return t.code
		}
	}
	panic("unknown trap text " + text)
}

// skipKey names a command of the suite.
type skipKey struct {
	suite, file string
	line        uint32
}

type packer struct {
	out     []byte
	slots   map[string]uint32
	current uint32
	next    uint32
	board   bool
	total   int
	skipped map[string]int
}

func (p *packer) u8(b byte)      { p.out = append(p.out, b) }
func (p *packer) u32(v uint32)   { p.out = binary.LittleEndian.AppendUint32(p.out, v) }
func (p *packer) bytes(b []byte) { p.u32(uint32(len(b))); p.out = append(p.out, b...) }
func (p *packer) head(kind byte, c *command) {
	p.u8(kind)
	p.u32(c.Line)
}

func number(v value) uint64 {
	s, _ := v.Value.(string)
	if s == "null" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			panic("bad number " + s)
		}
		n = uint64(i)
	}
	if v.Type == "externref" {
		n++ // so that it differs from null
	}
	return n
}

func wide(v value) bool { return v.Type == "i64" || v.Type == "f64" }

func (p *packer) args(args []value) {
	var slots []uint32
	for _, a := range args {
		n := number(a)
		slots = append(slots, uint32(n))
		if wide(a) {
			slots = append(slots, uint32(n>>32))
		}
	}
	p.u32(uint32(len(slots)))
	for _, s := range slots {
		p.u32(s)
	}
}

func (p *packer) results(results []value) {
	p.u32(uint32(len(results)))
	for _, r := range results {
		kind, n := uint32(kind32), uint64(0)
		s, _ := r.Value.(string)
		switch {
		case r.Value == nil:
			kind = kindAnyRef
		case s == "nan:canonical" && wide(r):
			kind = kindCanonical64
		case s == "nan:canonical":
			kind = kindCanonical32
		case s == "nan:arithmetic" && wide(r):
			kind = kindArithmetic64
		case s == "nan:arithmetic":
			kind = kindArithmetic32
		default:
			n = number(r)
			if wide(r) {
				kind = kind64
			}
		}
		p.u32(kind)
		p.u32(uint32(n))
		p.u32(uint32(n >> 32))
	}
}

func (p *packer) slot(name string) uint32 {
	if name == "" {
		return p.current
	}
	return p.slots[name]
}

func (p *packer) target(kind byte, c *command) {
	p.head(kind, c)
	p.u32(p.slot(c.Action.Module))
	p.bytes([]byte(c.Action.Field))
}

// add packs one command; dir is where its module lies. flags are those of M.
func (p *packer) add(c *command, dir string, flags uint32) error {
	var module []byte
	if c.Filename != "" && c.ModuleType != "text" {
		var err error
		if module, err = os.ReadFile(filepath.Join(dir, c.Filename)); err != nil {
			return err
		}
	}
	p.total++
	switch c.Type {
	case "module":
		p.current = p.next
		p.next++
		p.slots[c.Name] = p.current
		p.head('M', c)
		p.u32(p.current)
		p.u32(flags)
		p.bytes(module)
	case "register":
		p.head('R', c)
		p.u32(p.slot(c.Name))
		p.bytes([]byte(c.As))
	case "assert_return", "action":
		if c.Action.Type == "get" {
			p.target('G', c)
		} else {
			p.target('A', c)
			p.args(c.Action.Args)
		}
		p.results(c.Expected)
	case "assert_trap", "assert_exhaustion":
		p.target('T', c)
		p.args(c.Action.Args)
		p.u32(trapCode(c.Text))
	case "assert_invalid":
		p.head('I', c)
		p.bytes(module)
	case "assert_malformed":
		if c.ModuleType == "text" {
			p.skip("text format")
			return nil
		}
		p.head('O', c)
		p.bytes(module)
	case "assert_unlinkable":
		p.head('L', c)
		p.bytes(module)
	case "assert_uninstantiable":
		p.head('U', c)
		p.bytes(module)
		p.u32(trapCode(c.Text))
	default:
		return fmt.Errorf("line %d: unknown command %q", c.Line, c.Type)
	}
	return nil
}

func (p *packer) skip(reason string) {
	p.total--
	p.skipped[reason]++
}

func (p *packer) file(suite, path string) error {
	var script struct {
		Commands []command `json:"commands"`
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &script); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".json")
	if strings.HasPrefix(name, "simd_") {
		p.skipped["SIMD"] += len(script.Commands)
		return nil
	}
	p.u8('F')
	p.u32(0)
	p.bytes([]byte(suite + "/" + name))
	p.slots, p.current, p.next = map[string]uint32{}, 0, 0
	for i := range script.Commands {
		c := &script.Commands[i]
		if reason := skips[skipKey{suite, name, c.Line}]; reason != "" {
			p.skipped[reason]++
			continue
		}
		if p.board && tooLarge[skipKey{suite, name, c.Line}] {
			p.skipped["memory beyond 16 MiB"]++
			continue
		}
		flags := kept(script.Commands[i:])
		if large[name] {
			flags |= 2
		}
		if err := p.add(c, filepath.Dir(path), flags); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// kept tells whether a command after the next module needs the module that the
// first command defines: it is registered, or called by name.
func kept(commands []command) uint32 {
	name := commands[0].Name
	last := true // the module is still the latest one
	for _, c := range commands[1:] {
		if c.Type == "module" {
			last = false
		}
		if name != "" && c.Action.Module == name {
			return 1
		}
		if c.Type == "register" && (c.Name == "" && last || c.Name != "" && c.Name == name) {
			return 1
		}
	}
	return 0
}

func run(dir, out string, board bool, only []string) error {
	p := &packer{skipped: map[string]int{}, board: board}
	spectest, err := os.ReadFile(filepath.Join(dir, "testdata", "spectest.wasm"))
	if err != nil {
		return err
	}
	p.u8('S')
	p.u32(0)
	p.bytes(spectest)
	for _, suite := range []string{"v1", "v2"} {
		paths, err := filepath.Glob(filepath.Join(dir, suite, "testdata", "*.json"))
		if err != nil || len(paths) == 0 {
			return fmt.Errorf("no test suite in %s (%w)", dir, err)
		}
		for _, path := range paths {
			name := suite + "/" + strings.TrimSuffix(filepath.Base(path), ".json")
			if len(only) > 0 && !contains(only, name) {
				continue
			}
			if err := p.file(suite, path); err != nil {
				return err
			}
		}
	}
	p.u8('E')
	p.u32(0)
	if board {
		p.out = append(binary.LittleEndian.AppendUint32(nil, uint32(len(p.out))), p.out...)
	}
	if err := os.WriteFile(out, p.out, 0o644); err != nil {
		return err
	}
	fmt.Printf("packed %d commands, %d bytes; skipped:", p.total, len(p.out))
	var reasons []string
	for r, n := range p.skipped {
		reasons = append(reasons, fmt.Sprintf(" %s %d", r, n))
	}
	sort.Strings(reasons)
	fmt.Println(strings.Join(reasons, ","))
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func main() {
	board := flag.Bool("board", false, "pack for a board")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: spectest [-board] SUITE_DIR OUT [SUITE/FILE...]")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *board, flag.Args()[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "spectest:", err)
		os.Exit(1)
	}
}
