// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What the runtime's own opcode table (wasm_opcodes.h) says.
var (
	byResult = map[byte][]op{} // instructions with fixed types, by result
	stores   []op
	names    = map[string]string{} // of all opcodes, by their bytes
)

var typeBytes = map[string]byte{"I32": i32, "I64": i64, "F32": f32, "F64": f64}

var rowPattern = regexp.MustCompile(`X\((\w+), \w+, "([^"]+)", \d, (\w+)(?:, (\w+), (\w+), (\w+), (\d))?\)`)

// readTable reads wasm_opcodes.h.
func readTable(text string) error {
	prefixed := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#define WASM_") {
			prefixed = strings.Contains(line, "PREFIXED")
		}
		row := rowPattern.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		code, err := strconv.ParseUint(row[1], 0, 8)
		if err != nil {
			return fmt.Errorf("opcode table: %w", err)
		}
		bytes := []byte{byte(code)}
		if prefixed {
			bytes = []byte{0xfc, byte(code)}
		}
		if row[3] != "PREFIX" {
			names[string(bytes)] = row[2]
		}
		if row[4] != "" {
			addOp(bytes, row)
		}
	}
	if len(names) < 180 || len(stores) != 9 {
		return fmt.Errorf("opcode table: read %d instructions and %d stores", len(names), len(stores))
	}
	return nil
}

func addOp(bytes []byte, row []string) {
	align, _ := strconv.Atoi(row[7])
	o := op{code: bytes, memory: row[3] == "MEM", align: uint32(align), out: typeBytes[row[6]]}
	for _, in := range row[4:6] {
		if t := typeBytes[in]; t != 0 {
			o.in = append(o.in, t)
		}
	}
	if len(o.in) == 0 {
		return // bulk instructions, which are generated one by one
	}
	_, operation, _ := strings.Cut(row[2], ".")
	exact := strings.HasPrefix(operation, "convert") || operation == "abs" || operation == "neg" || operation == "copysign"
	// Loads and reinterpretations can give any NaN, too, but always the same.
	o.makeNaN = (o.out == f32 || o.out == f64) && !o.memory && !exact && !strings.HasPrefix(operation, "reinterpret")
	if o.out == 0 {
		stores = append(stores, o)
	} else {
		byResult[o.out] = append(byResult[o.out], o)
	}
}
