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

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
)

// runtimeChecker is the firmware's runtime for all judgements; it lasts as long as the program.
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
func checkModule(ctx context.Context, tree Tree, p place, checker *wasmcheck.Checker) (*moduleResult, error) {
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

// trial asks the runtime what a module takes of a device under the limits of an Application, and whether it can be
// started there: whether its data lies within its memory.
func trial(ctx context.Context, checker *wasmcheck.Checker, module []byte, limits v1alpha1.AppLimits) (int64, error) {
	program, err := checker.Program(ctx, module)
	if err != nil {
		return 0, err
	}
	defer program.Close(ctx)
	given := wasmcheck.Limits{Memory: uint32(*limits.Memory), Stack: uint32(*limits.Stack)}
	ram, err := program.RAM(ctx, given)
	if err != nil {
		return 0, err
	}
	instance, err := program.Instantiate(ctx, wasmcheck.Config{Limits: given, Functions: hostFunctions})
	if err != nil {
		return 0, err
	}
	instance.Close()
	return int64(ram.Total()), nil
}

// hostFunctions are all that boards offer. Nothing calls them.
var hostFunctions = func() []wasmcheck.HostFunction {
	var out []wasmcheck.HostFunction
	for _, f := range hostapi.Functions() {
		signature := strings.ReplaceAll(f.Signature(), " ", "")
		if len(f.Results) == 0 {
			signature += "->()"
		}
		out = append(out, wasmcheck.HostFunction{Module: f.Module, Name: f.Name, Signature: signature})
	}
	return out
}()
