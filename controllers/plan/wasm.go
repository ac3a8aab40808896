// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"encoding/binary"
	"slices"

	"wasmbed.dev/devices/wasmcheck"
)

// functionSizes are the bytes of code of the functions that have a name: one of the name section, else that of an
// export. The module was accepted by the runtime; what cannot be read all the same is left out.
func functionSizes(module []byte, info *wasmcheck.Info) map[string]int64 {
	index := uint32(0)
	for _, i := range info.Imports {
		if i.Kind == wasmcheck.Function {
			index++
		}
	}
	names := map[uint32]string{}
	for _, e := range info.Exports {
		if e.Kind == wasmcheck.Function {
			names[e.Index] = e.Name
		}
	}
	for i, name := range info.FunctionNames {
		names[i] = name
	}
	out := map[string]int64{}
	for _, size := range bodies(module) {
		if name := names[index]; name != "" {
			out[name] += size
		}
		index++
	}
	return out
}

// bodies are the sizes of the function bodies in the code section.
func bodies(module []byte) []int64 {
	const header, codeSection = 8, 10
	rest := module[min(header, len(module)):]
	for len(rest) > 0 {
		id := rest[0]
		size, after := leb(rest[1:])
		if uint64(size) > uint64(len(after)) {
			return nil
		}
		if id != codeSection {
			rest = after[size:]
			continue
		}
		count, code := leb(after[:size])
		var out []int64
		for ; count > 0 && len(code) > 0; count-- {
			n, body := leb(code)
			if uint64(n) > uint64(len(body)) {
				return out
			}
			out, code = append(out, int64(n)), body[n:]
		}
		return out
	}
	return nil
}

// leb reads a number of at most 32 bits; what is broken ends the input.
func leb(b []byte) (uint32, []byte) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > 1<<32-1 {
		return 0, nil
	}
	return uint32(v), b[n:]
}

// grown are the functions that grew most, new ones among them.
func grown(before, after map[string]int64) []Function {
	if len(before) == 0 {
		return []Function{}
	}
	out := []Function{}
	for name, size := range after {
		if size > before[name] {
			out = append(out, Function{Name: Text(name), Before: before[name], After: size})
		}
	}
	slices.SortFunc(out, func(a, b Function) int {
		return cmp.Or(cmp.Compare(b.After-b.Before, a.After-a.Before), cmp.Compare(a.Name, b.Name))
	})
	return out[:min(len(out), maxGrown)]
}
