// SPDX-License-Identifier: Apache-2.0

package main

// Reasons for skipping a command, as they are printed and as README.md has them.
const (
	multiValue = "1.0 only: valid since multi-value"
	multiTable = "1.0 only: valid since reference types"
	bulk       = "1.0 only: since bulk memory a failing segment leaves the ones before it"
	selects    = "1.0 only: valid since unknown types are bottom"
)

// skips lists what version 2.0 of the specification has changed in the suite
// of 1.0. The same modules are in the suite of 2.0 with today's meaning.
var skips = map[skipKey]string{
	{"v1", "func", 493}:              multiValue,
	{"v1", "func", 497}:              multiValue,
	{"v1", "type", 53}:               multiValue,
	{"v1", "type", 57}:               multiValue,
	{"v1", "imports", 310}:           multiTable,
	{"v1", "imports", 314}:           multiTable,
	{"v1", "imports", 318}:           multiTable,
	{"v1", "linking", 236}:           bulk,
	{"v1", "linking", 248}:           bulk,
	{"v1", "linking", 342}:           bulk,
	{"v1", "linking", 354}:           bulk,
	{"v1", "unreached-invalid", 539}: selects,
}

// large lists files with modules that grow their memory by up to 20 MiB, which
// needs a machine with so much.
var large = map[string]bool{"call": true, "call_indirect": true, "local_tee": true, "memory_grow": true, "nop": true}

// tooLarge lists commands whose memory grows beyond what a board has.
var tooLarge = map[skipKey]bool{
	{"v1", "call", 294}: true, {"v2", "call", 359}: true,
	{"v1", "call_indirect", 574}: true, {"v2", "call_indirect", 603}: true,
	{"v1", "local_tee", 345}: true, {"v2", "local_tee", 345}: true,
	{"v1", "memory_grow", 45}: true, {"v1", "memory_grow", 48}: true,
	{"v2", "memory_grow", 45}: true, {"v2", "memory_grow", 48}: true,
	{"v1", "nop", 382}: true, {"v2", "nop", 382}: true,
}
