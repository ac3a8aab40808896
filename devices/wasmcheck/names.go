// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import "encoding/binary"

// functionNames reads the name section of a module that the runtime has
// accepted. The section itself is not checked by the runtime, so what cannot
// be read is left out.
func functionNames(module []byte) map[uint32]string {
	r := reader{module[8:]}
	for len(r.b) > 0 {
		id := r.byte()
		section := reader{r.take(r.u32())}
		if id != 0 || string(section.take(section.u32())) != "name" {
			continue
		}
		for len(section.b) > 0 {
			kind := section.byte()
			if sub := (reader{section.take(section.u32())}); kind == 1 {
				return sub.names()
			}
		}
	}
	return nil
}

// reader reads what is left of b; beyond the end it gives zeros.
type reader struct{ b []byte }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) u32() uint32 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > 1<<32-1 {
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return uint32(v)
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.b = nil
	}
	n = min(n, uint32(len(r.b)))
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) names() map[uint32]string {
	names := map[uint32]string{}
	for n := r.u32(); n > 0 && len(r.b) > 0; n-- {
		index := r.u32()
		names[index] = string(r.take(r.u32()))
	}
	return names
}
