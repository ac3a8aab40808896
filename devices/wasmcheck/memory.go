// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// An engine's memory is address space, of which the host spends only the pages
// that were touched: it grows in place, without a copy, and a board's unused
// memory costs nothing.
const (
	pageSize       = 65536
	maxMemoryPages = 1<<16 - 1 // for all instances of a program; the size in bytes must fit 32 bits
	maxMemory      = maxMemoryPages * pageSize
)

// mapping implements experimental.LinearMemory.
type mapping struct{ reserved []byte }

// errMapping is panicked with when the host has no address space left; newEngine catches it.
type errMapping struct{ err error }

func (e errMapping) Error() string { return fmt.Sprintf("no address space for memory: %v", e.err) }

func reserveMemory(_, _ uint64) experimental.LinearMemory {
	b, err := unix.Mmap(-1, 0, maxMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		panic(errMapping{err})
	}
	return &mapping{b}
}

// Reallocate gives the first size bytes.
func (m *mapping) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		return nil
	}
	return m.reserved[:size]
}

// Free gives the memory back. No code of the engine runs any more.
func (m *mapping) Free() {
	if m.reserved != nil {
		_ = unix.Munmap(m.reserved) // fails only for what is not a mapping
		m.reserved = nil
	}
}
