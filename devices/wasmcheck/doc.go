// SPDX-License-Identifier: Apache-2.0

// Package wasmcheck judges and runs WebAssembly modules exactly as a board
// does: it is the firmware's own runtime (firmware/wasm), compiled to
// WebAssembly and run inside wazero. So a module that it accepts, its RAM in
// bytes, the fuel that it spends and the trap that ends it are the board's.
//
// A [Checker] inspects modules. A [Program] is a loaded module of which many
// [Instance] values can run at once, each with its own memory, limits and host
// functions; a device simulator uses one Program for a module and one Instance
// for each device.
//
// Modules are hostile input. Memory is bounded by [MaxModule] and by the
// limits that the caller gives; time by the module's size and by fuel.
//
// All types are safe for concurrent use, except that one Instance is driven by
// one goroutine at a time. The instances of a Program take turns: it has one
// interpreter.
package wasmcheck
