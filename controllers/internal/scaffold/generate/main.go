// SPDX-License-Identifier: Apache-2.0

// Command generate copies the example fleet's apps, with their modules, to where package scaffold embeds them. Run it
// with `go generate ./controllers/internal/scaffold`.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(filepath.Join("..", "..", "..", "apps"), filepath.Join("template", "apps")); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	wanted := map[string]bool{}
	for _, folder := range []string{"blink", "counter", "include", "thermostat"} {
		entries, err := os.ReadDir(filepath.Join(from, folder))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || e.Name() == "application.yaml" {
				continue
			}
			name := filepath.Join(folder, e.Name())
			wanted[filepath.Join(to, name)] = true
			if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
	}
	return filepath.Walk(to, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || wanted[path] {
			return err
		}
		return os.Remove(path)
	})
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
