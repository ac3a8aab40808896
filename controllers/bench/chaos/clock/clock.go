// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

// Package clock lets a process's wall clock jump, and its monotonic clock go on. Importing it puts a function of its own in
// the place of the kernel's that the runtime asks for the time; that needs -ldflags=-checklinkname=0, and nothing of the
// standard library is built anew. No product imports it: chaos builds programs of its own that do, wasmbed by importing it and the
// cluster's, which is of another module, by having its files.
package clock

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Directory names the environment variable with the directory where each command of wasmbed, and each program without
// commands, has a file of its name, which holds how many seconds its clock is ahead. No file: it is right.
const Directory = "WASMBED_CHAOS_CLOCKS"

// every is how often the file is read.
const every = 100 * time.Millisecond

// offset is how many seconds the wall clock is ahead, and kernel the address of the function that knows the right time.
var (
	offset atomic.Int64
	kernel uintptr
)

// install puts read, in clock_amd64.s, in the place of the kernel's function.
func install()

func init() {
	directory := os.Getenv(Directory)
	if directory == "" {
		return
	}
	if install(); kernel == 0 {
		panic("clock: the kernel offers no vDSO")
	}
	path := filepath.Join(directory, name(os.Args))
	follow(path)
	go func() {
		for range time.Tick(every) {
			follow(path)
		}
	}()
}

// name of the file of a process with these arguments.
func name(args []string) string {
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		return filepath.Base(args[1])
	}
	return filepath.Base(args[0])
}

func follow(path string) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		offset.Store(0)
	}
	if seconds, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
		offset.Store(seconds)
	}
}
