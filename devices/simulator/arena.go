// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/gateway/protocol"
)

// arena keeps account of a board's memory for apps as the firmware does: in blocks, of which an app has a row. The
// memory itself is the runtime's.
type arena struct {
	block int64
	taken []bool
}

// blocks of an arena, from first on.
type blocks struct{ first, count int }

func newArena(b boards.Board) arena {
	return arena{b.AppMemoryBlock, make([]bool, b.AppMemoryBytes/b.AppMemoryBlock)}
}

// free is the longest row of free blocks.
func (a *arena) free() (best blocks) {
	run := 0
	for n, taken := range a.taken {
		if run++; taken {
			run = 0
		}
		if run > best.count {
			best = blocks{n + 1 - run, run}
		}
	}
	return best
}

// left is what no app has, in bytes.
func (a *arena) left() (bytes int64) {
	for _, taken := range a.taken {
		if !taken {
			bytes += a.block
		}
	}
	return bytes
}

// reserve takes what a module needs for loading and for one instance, and keeps what is needed afterwards.
func (a *arena) reserve(ram wasmcheck.RAM) (blocks, error) {
	free := a.free()
	if free.count == 0 {
		return blocks{}, refusal{protocol.ReasonNoMemory, "all app memory is in use"}
	}
	used := (int64(ram.Module)+7)&^7 + int64(ram.Instance)
	if need, have := max(used, int64(ram.Load)), int64(free.count)*a.block; need > have {
		return blocks{}, refusal{protocol.ReasonNoMemory, fmt.Sprintf("needs at least %d bytes of app memory, %d are free in one piece", need, have)}
	}
	free.count = int((used + a.block - 1) / a.block)
	a.set(free, true)
	return free, nil
}

func (a *arena) set(b blocks, taken bool) {
	for n := range b.count {
		a.taken[b.first+n] = taken
	}
}
