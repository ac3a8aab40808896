// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// ModuleChecker tells what a WebAssembly module is, without running it.
type ModuleChecker interface {
	// Check returns what the module imports, exports and needs. The error is a *ModuleError when the module is
	// not valid; anything else means that it could not be checked.
	Check(ctx context.Context, wasm []byte) (*ModuleInfo, error)
}

// ModuleError says why a module is refused.
type ModuleError struct{ Detail string }

func (e *ModuleError) Error() string { return e.Detail }

// ModuleInfo is what a module says of itself.
type ModuleInfo struct {
	Imports []ModuleFunction
	Exports []ModuleFunction
	// HasMemory is whether it has a linear memory, of MinMemory bytes at the start and, when HasMaxMemory, of at most
	// MaxMemory.
	HasMemory    bool
	MinMemory    int64
	HasMaxMemory bool
	MaxMemory    int64
}

// ModuleFunction is a function that a module imports or exports.
type ModuleFunction struct {
	Module  string // empty for an export
	Name    string
	Params  []byte // value types as in the binary format: 0x7f i32, 0x7e i64, 0x7d f32, 0x7c f64 …
	Results []byte
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
