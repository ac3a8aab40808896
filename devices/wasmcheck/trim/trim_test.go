// SPDX-License-Identifier: Apache-2.0

package trim

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"wasmbed.dev/devices/wasmcheck"
)

func sect(id byte, parts ...string) []byte {
	body := strings.Join(parts, "")
	return append([]byte{id, byte(len(body))}, body...)
}

func module(sections ...[]byte) []byte {
	return append([]byte("\x00asm\x01\x00\x00\x00"), bytes.Join(sections, nil)...)
}

// app has run() -> i32, which loads the word at 1024 through a padded address,
// an export that nobody calls, data at 1024, a heap base of 2000 and names.
func app(code string) []byte {
	return module(
		sect(1, "\x01\x60\x00\x01\x7f"),
		sect(3, "\x01\x00"),
		sect(5, "\x01\x00\x01"),
		sect(6, "\x02\x7f\x01\x41\x80\x08\x0b\x7f\x00\x41\xd0\x0f\x0b"),
		sect(7, "\x04\x03run\x00\x00\x05spare\x00\x00\x06memory\x02\x00\x0b__heap_base\x03\x01"),
		sect(10, "\x01", string(rune(len(code)+1)), "\x00", code),
		sect(11, "\x01\x00\x41\x80\x08\x0b\x04\x2a\x00\x00\x00"),
		sect(0, "\x04name\x01\x06\x01\x00\x03run"),
		sect(0, "\x09producers\x00"),
	)
}

const loader = "\x41\x80\x88\x80\x80\x00\x28\x02\x00\x0b"

func checker(t *testing.T) (*wasmcheck.Checker, context.Context) {
	t.Helper()
	ctx := context.Background()
	c, err := wasmcheck.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(ctx) })
	return c, ctx
}

func result(t *testing.T, c *wasmcheck.Checker, ctx context.Context, code []byte) uint32 {
	t.Helper()
	p, err := c.Program(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.Instantiate(ctx, wasmcheck.Config{Limits: wasmcheck.Limits{Memory: 1 << 16, Stack: 512}})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Call(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	if s, err := i.Run(ctx, 1000); s != wasmcheck.Done || err != nil {
		t.Fatal(s, err)
	}
	r, err := i.Results(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	return r[0]
}

func TestATrimmedModuleDoesTheSameInLess(t *testing.T) {
	c, ctx := checker(t)
	full := app(loader)
	small, saved, err := Bytes(full, Options{Exports: []string{"run"}, MemoryBytes: 1028})
	if err != nil {
		t.Fatal(err)
	}
	if len(full)-len(small) != saved.Total() || saved.Custom != 28 || saved.Exports != 31 || saved.Padding != 3 || saved.Memory != -4 {
		t.Errorf("%d bytes became %d: %+v", len(full), len(small), saved)
	}
	if a, b := result(t, c, ctx, full), result(t, c, ctx, small); a != 42 || b != 42 {
		t.Error(a, b)
	}
	info, err := c.Inspect(ctx, small)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Exports) != 1 || info.PageSize != 1 || info.MemoryMin != 1028 || info.MemoryMax != 1028 || info.FunctionNames != nil {
		t.Errorf("%+v", info)
	}
	if info.CodeSize != uint32(len(loader))-3+3 {
		t.Errorf("code of %d bytes", info.CodeSize)
	}
	limits := wasmcheck.Limits{Memory: 1 << 16, Stack: 512}
	before, _ := c.RAM(ctx, full, limits)
	after, err := c.RAM(ctx, small, limits)
	if err != nil || before.Total()-after.Total() < 64000 {
		t.Error(before, after, err)
	}
}

func TestNamesAreKeptOnRequest(t *testing.T) {
	c, ctx := checker(t)
	small, _, err := Bytes(app(loader), Options{KeepNames: true})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Inspect(ctx, small)
	if err != nil || info.FunctionNames[0] != "run" || len(info.Exports) != 4 || bytes.Contains(small, []byte("producers")) {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestWhatCannotBeTrimmedIsRefused(t *testing.T) {
	for what, test := range map[string]struct {
		module  []byte
		options Options
		want    string
	}{
		"data beyond the memory": {app(loader), Options{MemoryBytes: 1027}, "data ends at 1028"},
		"memory.size":            {app("\x3f\x00\x0b"), Options{MemoryBytes: 2000}, "memory.size"},
		"memory.grow":            {app("\x41\x01\x40\x00\x0b"), Options{MemoryBytes: 2000}, "memory.grow"},
		"not a module":           {[]byte("hello, world"), Options{}, "not a WebAssembly module"},
		"truncated":              {app(loader)[:60], Options{}, "beyond the module"},
	} {
		if _, _, err := Bytes(test.module, test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestHeapBase(t *testing.T) {
	if base, ok := HeapBase(app(loader)); !ok || base != 2000 {
		t.Error(base, ok)
	}
	if _, ok := HeapBase(module()); ok {
		t.Error("a module without globals has a heap base")
	}
}

// The runtime itself is a large module from a real linker.
func TestALargeModuleStaysValidAndTrimmingTwiceChangesNothing(t *testing.T) {
	c, ctx := checker(t)
	full, err := os.ReadFile("../runtime.wasm")
	if err != nil {
		t.Fatal(err)
	}
	once, _, err := Bytes(full, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Inspect(ctx, once); err != nil {
		t.Error(err)
	}
	if len(once) >= len(full) {
		t.Errorf("%d bytes became %d", len(full), len(once))
	}
	twice, _, err := Bytes(once, Options{})
	if err != nil || !bytes.Equal(once, twice) {
		t.Errorf("trimming twice: %d and %d bytes, %v", len(once), len(twice), err)
	}
}

func FuzzBytes(f *testing.F) {
	f.Add(app(loader), uint32(2000))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x0a\xff\xff\xff\xff\x0f"), uint32(0))
	f.Fuzz(func(t *testing.T, code []byte, memory uint32) {
		once, _, err := Bytes(code, Options{MemoryBytes: memory, Exports: []string{"run"}})
		if err != nil {
			return
		}
		if twice, _, err := Bytes(once, Options{MemoryBytes: memory, Exports: []string{"run"}}); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("not stable: %v", err)
		}
		HeapBase(code)
	})
}
