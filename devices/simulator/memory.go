// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"wasmbed.dev/gateway/protocol"
)

// linearMemory gives an app exactly the bytes that its limit says, although WebAssembly counts pages of 64 KiB: an
// access beyond them traps, as on a board. The pages that the module declares are reserved, because the runtime
// wants to see them, but the host spends memory only on those that are touched.
type linearMemory struct {
	limit    uint64
	reserved []byte // nil before the first use and after Free
	view     []byte // what the app sees of it now
}

// Reallocate is called first with the pages that the module declares as its least, then for each memory.grow.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if m.reserved == nil {
		return m.reserve(size)
	}
	if size > m.limit {
		return nil // memory.grow yields -1
	}
	m.view = m.reserved[:size]
	return m.view
}

func (m *linearMemory) reserve(size uint64) []byte {
	least := max(size, pagesOf(m.limit))
	if least == 0 {
		return []byte{}
	}
	mapped, err := unix.Mmap(-1, 0, int(least), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(refusal{protocol.ReasonNoMemory, "the host has no memory left: " + err.Error()}) // caught in instantiate
	}
	m.reserved = mapped
	m.view = mapped[:min(size, m.limit)]
	return m.view
}

// Free gives the memory back. The runtime calls it when no code of the instance runs any more.
func (m *linearMemory) Free() {
	if m.reserved != nil {
		_ = unix.Munmap(m.reserved)
		m.reserved, m.view = nil, nil
	}
}

// read returns n bytes at ptr, which stay valid until the app runs again.
func (m *linearMemory) read(ptr, n int32) ([]byte, bool) {
	from, to := uint64(uint32(ptr)), uint64(uint32(ptr))+uint64(uint32(n))
	if n < 0 || to > uint64(len(m.view)) {
		return nil, false
	}
	return m.view[from:to], true
}

// text returns the bytes from ptr up to a zero byte.
func (m *linearMemory) text(ptr int32) (string, bool) {
	if uint64(uint32(ptr)) >= uint64(len(m.view)) {
		return "", false
	}
	text, _, ok := bytes.Cut(m.view[uint32(ptr):], []byte{0})
	return string(text), ok
}

// putInt32 writes an i32 where the app wants one; 0 means that it does not.
func (m *linearMemory) putInt32(ptr, value int32) bool {
	if ptr == 0 {
		return true
	}
	at, ok := m.read(ptr, 4)
	if ok {
		binary.LittleEndian.PutUint32(at, uint32(value))
	}
	return ok
}

const pageSize = 65536

func pagesOf(bytes uint64) uint64 { return (bytes + pageSize - 1) / pageSize * pageSize }
