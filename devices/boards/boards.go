// SPDX-License-Identifier: Apache-2.0

// Package boards is the catalogue of boards that applications can run on: what a board is, how much room it has
// for applications, and which backends can provide one.
//
// The figures are what a commit is judged by, before any device has connected. A device tells its own memory when
// it connects; when both differ, the device's word counts for what it accepts.
package boards

import (
	"slices"
	"strings"
)

// Connection is how a board reaches its gateway.
type Connection string

// Connections.
const (
	Ethernet Connection = "Ethernet"
	UART     Connection = "UART" // a serial line to a bridge on a host
	Virtual  Connection = "Virtual"
)

// Names of backends, as in a Device's spec.
const (
	BackendSimulated = "Simulated"
	BackendQEMU      = "QEMU"
	BackendHardware  = "Hardware"
)

// DefaultSimulated is the board of a simulated device of which nothing more is known.
const DefaultSimulated = "sim-m4"

// Board describes one kind of board. Sizes are in bytes.
type Board struct {
	// Name as in a Device's spec and in the first message of the device.
	Name string
	// Title for people.
	Title string
	// Core, for example "cortex-m3".
	Core string
	// FPU is true when the core computes floats of 32 bits in hardware.
	FPU bool
	// FlashBytes and RAMBytes are the whole board's.
	FlashBytes, RAMBytes int64
	// AppMemoryBytes is the RAM for all applications together: linear memory, stack and what the runtime keeps
	// for each. It is handed out in blocks of AppMemoryBlock.
	AppMemoryBytes, AppMemoryBlock int64
	// MaxApps is how many applications run at once.
	MaxApps int
	// MaxModuleBytes is the largest module, ModuleStorageBytes the room for all of them.
	MaxModuleBytes, ModuleStorageBytes int64
	// MaxFrame is the largest protocol frame that the firmware accepts, length included.
	MaxFrame int
	// Connection to the gateway.
	Connection Connection
	// QEMUMachine is the -M argument; empty when QEMU has none.
	QEMUMachine string
	// Permissions whose host functions the board has, as in devices/hostapi; the base functions are on every board.
	Permissions []string
	// Backends that can provide the board, in the words of a Device's spec.
	Backends []string
}

const kib = 1024

var everything = []string{"gpio", "log", "messaging", "sensor", "timer"}

// mps2 is an Arm MPS2 board with the FPGA image that gives it the core.
func mps2(image, core string, fpu bool) Board {
	return Board{
		Name: "mps2-" + image, Title: "Arm MPS2 with image " + strings.ToUpper(image), Core: core, FPU: fpu,
		FlashBytes: 512 * kib, RAMBytes: 512 * kib,
		AppMemoryBytes: 256 * kib, AppMemoryBlock: 8 * kib, MaxApps: 8,
		MaxModuleBytes: 128 * kib, ModuleStorageBytes: 512 * kib, MaxFrame: 1024,
		Connection: Ethernet, QEMUMachine: "mps2-" + image,
		Permissions: everything, Backends: []string{BackendHardware, BackendQEMU, BackendSimulated},
	}
}

// all is in ascending order of names.
var all = []Board{
	mps2("an385", "cortex-m3", false),
	mps2("an386", "cortex-m4", true),
	mps2("an500", "cortex-m7", true),
	mps2("an505", "cortex-m33", true),
	{
		Name: DefaultSimulated, Title: "simulated board with the measures of a Cortex-M4", Core: "cortex-m4", FPU: true,
		FlashBytes: 512 * kib, RAMBytes: 256 * kib,
		AppMemoryBytes: 128 * kib, AppMemoryBlock: 4 * kib, MaxApps: 8,
		MaxModuleBytes: 128 * kib, ModuleStorageBytes: 512 * kib, MaxFrame: 1024,
		Connection: Virtual, Permissions: everything, Backends: []string{BackendSimulated},
	},
}

// Get returns the board of that name.
func Get(name string) (Board, bool) {
	i, ok := slices.BinarySearchFunc(all, name, func(b Board, n string) int { return strings.Compare(b.Name, n) })
	if !ok {
		return Board{}, false
	}
	return all[i].clone(), true
}

// All returns every board, ascending by name.
func All() []Board {
	out := make([]Board, len(all))
	for i := range all {
		out[i] = all[i].clone()
	}
	return out
}

// Names returns the names of all boards, ascending.
func Names() []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].Name
	}
	return out
}

// clone keeps callers from changing the catalogue through shared slices.
func (b Board) clone() Board {
	b.Permissions, b.Backends = slices.Clone(b.Permissions), slices.Clone(b.Backends)
	return b
}

// Has tells whether the board has the host functions that the permission opens.
func (b Board) Has(p string) bool { return slices.Contains(b.Permissions, p) }

// Provides tells whether the backend can provide the board.
func (b Board) Provides(backend string) bool { return slices.Contains(b.Backends, backend) }

// MemoryForApps is what remains for one more application beside others that take the given bytes, each rounded up
// to the board's blocks; never negative.
func (b Board) MemoryForApps(taken ...int64) int64 {
	left := b.AppMemoryBytes
	for _, t := range taken {
		left -= b.Blocks(t)
	}
	return max(left, 0)
}

// Blocks rounds bytes up to whole blocks of app memory. Nothing takes nothing.
func (b Board) Blocks(bytes int64) int64 {
	return (max(bytes, 0) + b.AppMemoryBlock - 1) / b.AppMemoryBlock * b.AppMemoryBlock
}
