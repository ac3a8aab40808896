// SPDX-License-Identifier: Apache-2.0

// Command generate writes what follows from the table of host functions: the firmware's table, the headers for
// applications in C and Rust, and the reference. Run it with `go generate ./devices/hostapi` after a change of the
// table; a test says when that was forgotten.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		fail(err)
	}
	for name, content := range files() {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			fail(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "generate:", err)
	os.Exit(1)
}
