// SPDX-License-Identifier: Apache-2.0

// Command trim rewrites a module as `wasmbed build` does: without what is not
// executed and with the shortest form of every number.
package main

import (
	"fmt"
	"os"

	"wasmbed.dev/devices/wasmcheck/trim"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: trim IN OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	module, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	short, _, err := trim.Bytes(module, trim.Options{})
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return os.WriteFile(out, short, 0o644)
}
