// SPDX-License-Identifier: Apache-2.0

// Package modules tells what WebAssembly modules of the store import. It never runs one.
package modules

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/semaphore"

	"wasmbed.dev/controllers/store"
	"wasmbed.dev/devices/wasmcheck"
)

const (
	remembered = 512
	life       = 10 * time.Minute
	// maxModule is the largest module that is looked at.
	maxModule = 1 << 20
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
	return inspect(ctx, content)
}

// inspect asks the boards' own runtime, so that whatever a board takes can be told.
func inspect(ctx context.Context, content []byte) (Facts, error) {
	checker, err := wasmcheck.New(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("start the runtime: %w", err)
	}
	defer func() { _ = checker.Close(ctx) }()
	info, err := checker.Inspect(ctx, content)
	if err != nil {
		return Facts{}, fmt.Errorf("read the module: %w", err)
	}
	f := Facts{Size: int64(len(content)), MemoryBytes: int64(info.MemoryMin)}
	for _, i := range info.Imports[:min(len(info.Imports), maxImports)] {
		text := i.Module + "." + i.Name
		f.Imports = append(f.Imports, text[:min(len(text), maxName)])
	}
	return f, nil
}
