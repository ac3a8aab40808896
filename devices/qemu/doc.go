// SPDX-License-Identifier: Apache-2.0

// Package qemu runs virtual boards: the project's firmware on a machine of QEMU, one process for each device.
//
// A [Board] supervises one of them. It launches QEMU with a provisioning blob made for that launch, watches it, starts
// it again with backoff when it ends, keeps what the board says on its console, and offers that console on a TCP port
// of a loopback address. Everything lies in one directory for each device, readable by the owner only:
//
//	nv.bin          the board's non-volatile memory, kept over launches, and its mailbox: identities that were renewed
//	                since the launch, gone when the board is off
//	provision.bin   identity and fresh entropy; exists for the moment of a launch only
//	console.log     what the console said, console.log.1 what it said before that
//	qemu.log        what QEMU itself said since its launch
//	process.json    which process runs, so that the next supervisor finds it
//	*.sock          console and monitor of the process that runs
//
// [Board.Renew] hands a board that runs a newer identity or other endpoints, without a launch.
//
// When a supervisor is killed its board goes on. The next one for the same directory takes it over, or ends it when it
// was launched for something else.
package qemu
