// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/schemas"
)

func newSchemaCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "schema [NAME]",
		Short: "Write JSON schemas of manifests and of policy.yaml, for editors",
		Long: `Write JSON schemas (draft 7) of the kinds that a fleet's manifests hold and of policy.yaml, made from the definitions that the
API server is given. An editor with a YAML language server uses them in files whose first line names one:

  # yaml-language-server: $schema=../schemas/device.json`,
		Example: "  wasmbed schema device\n  wasmbed schema --dir schemas",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := schemas.All()
			if err != nil {
				return err
			}
			switch {
			case len(args) == 1 && dir == "":
				schema, ok := all[schemas.FileOf(args[0])]
				if !ok {
					return fmt.Errorf("there is no schema %q: there are %s", args[0], strings.Join(schemas.Names(all), ", "))
				}
				_, err = cmd.OutOrStdout().Write(schema)
				return err
			case len(args) == 0 && dir != "":
				return writeSchemas(dir, all)
			}
			return fmt.Errorf("name one of %s, or a directory for all of them with --dir", strings.Join(schemas.Names(all), ", "))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write all schemas into this directory")
	return cmd
}

// writeSchemas writes those that differ.
func writeSchemas(dir string, all map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write schemas: %w", err)
	}
	for file, schema := range all {
		path := filepath.Join(dir, file)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, schema) {
			continue
		}
		if err := os.WriteFile(path, schema, 0o644); err != nil {
			return fmt.Errorf("write schemas: %w", err)
		}
	}
	return nil
}
