// SPDX-License-Identifier: Apache-2.0

// Package modules tells what WebAssembly modules of the store import. It never runs one.
package modules

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/tetratelabs/wazero"
	"golang.org/x/sync/semaphore"

	"wasmbed.dev/controllers/store"
)

const (
	remembered = 512
	life       = 10 * time.Minute
	// maxModule is the largest module that is looked at.
	maxModule = 1 << 20
	pageBytes = 64 << 10
	// maxImports is how many imports are named.
	maxImports = 64
	// maxName is how much of an import's name is shown.
	maxName = 100
)

// Facts are what a module says of itself.
type Facts struct {
	Imports     []string
	MemoryBytes int64
	Size        int64
}

// Reader reads modules, a few at once, and remembers what they say; also that one cannot be read, for a while.
type Reader struct {
	store   *store.Client
	known   *expirable.LRU[string, answer]
	compile *semaphore.Weighted
}

type answer struct {
	facts Facts
	err   error
}

// NewReader reads from a store.
func NewReader(client *store.Client) *Reader {
	return &Reader{store: client, known: expirable.NewLRU[string, answer](remembered, nil, life), compile: semaphore.NewWeighted(1)}
}

// Facts returns what a module says of itself.
func (r *Reader) Facts(ctx context.Context, digest string) (imports []string, memory, size int64, err error) {
	a, ok := r.known.Get(digest)
	if !ok {
		if err := r.compile.Acquire(ctx, 1); err != nil {
			return nil, 0, 0, fmt.Errorf("wait for a turn: %w", err)
		}
		a.facts, a.err = r.read(ctx, digest)
		r.compile.Release(1)
		if !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, context.DeadlineExceeded) {
			r.known.Add(digest, a)
		}
	}
	return a.facts.Imports, a.facts.MemoryBytes, a.facts.Size, a.err
}

func (r *Reader) read(ctx context.Context, digest string) (Facts, error) {
	content, err := r.store.Fetch(ctx, digest)
	if err != nil {
		return Facts{}, fmt.Errorf("fetch the module: %w", err)
	}
	if len(content) > maxModule {
		return Facts{}, errors.New("the module is too large to look at")
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = runtime.Close(ctx) }()
	compiled, err := runtime.CompileModule(ctx, content)
	if err != nil {
		return Facts{}, fmt.Errorf("read the module: %w", err)
	}
	f := Facts{Size: int64(len(content))}
	for _, function := range compiled.ImportedFunctions() {
		if module, name, ok := function.Import(); ok && len(f.Imports) < maxImports {
			text := module + "." + name
			f.Imports = append(f.Imports, text[:min(len(text), maxName)])
		}
	}
	for _, memory := range compiled.ExportedMemories() {
		f.MemoryBytes = max(f.MemoryBytes, int64(memory.Min())*pageBytes)
	}
	return f, nil
}
