// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
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
	// OtherImports are those that are not functions, as "memory env.memory".
	OtherImports []string
	Exports      []ModuleFunction
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

// moduleResult is what is known of a file that an Application names.
type moduleResult struct {
	module *Module // nil when it is not valid
	digest string
	bad    string
}

// checkModule reads and checks a module file. The error is about the storage, never about the module.
func checkModule(ctx context.Context, tree Tree, p place, checker ModuleChecker) (*moduleResult, error) {
	content, err := tree.ReadFile(p.path, MaxModuleBytes)
	if err != nil {
		return nil, err
	}
	r := &moduleResult{digest: digestOf(content)}
	info, err := checker.Check(ctx, content)
	var invalid *ModuleError
	switch {
	case errors.As(err, &invalid):
		r.bad = invalid.Detail
		if strings.HasPrefix(string(content), "version https://git-lfs.github.com/spec/") {
			r.bad = "this is a pointer of git-lfs, which is not supported: commit the file itself"
		}
	case err != nil:
		return nil, fmt.Errorf("check module %s: %w", p.path, err)
	default:
		r.module = &Module{Path: p.path, Digest: r.digest, Size: int64(len(content)), Info: *info}
	}
	return r, nil
}
