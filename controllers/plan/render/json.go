// SPDX-License-Identifier: Apache-2.0

package render

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"

	"wasmbed.dev/controllers/plan"
)

// Schema is the JSON schema (draft 7) of what JSON writes.
//
//go:embed plan.schema.json
var Schema []byte

// JSON writes a report whole.
func JSON(w io.Writer, r *plan.Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}
