// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"wasmbed.dev/devices/wasmcheck"
)

// ModuleChecker tells what a WebAssembly module is, without running it. It is the board's own judgement.
type ModuleChecker interface {
	// Inspect returns what the module imports, exports and needs.
	Inspect(ctx context.Context, module []byte) (wasmcheck.Info, error)
	// RAM returns what it takes of a device's memory.
	RAM(ctx context.Context, module []byte, limits wasmcheck.Limits) (wasmcheck.RAM, error)
}

// runtimeChecker is the checker of all judgements that name none; it lasts as long as the program.
var runtimeChecker = sync.OnceValues(func() (*wasmcheck.Checker, error) {
	return wasmcheck.New(context.Background())
})

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
	info, err := checker.Inspect(ctx, content)
	var invalid *wasmcheck.Error
	switch {
	case errors.As(err, &invalid):
		r.bad = invalid.Error()
		if strings.HasPrefix(string(content), "version https://git-lfs.github.com/spec/") {
			r.bad = "this is a pointer of git-lfs, which is not supported: commit the file itself"
		}
	case err != nil:
		return nil, fmt.Errorf("check module %s: %w", p.path, err)
	default:
		r.module = &Module{Path: p.path, Digest: r.digest, Size: int64(len(content)), Info: info}
	}
	return r, nil
}
