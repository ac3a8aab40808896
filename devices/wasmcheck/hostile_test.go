// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"
)

// big is a section of any size.
func big(id byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
}

func one(code []byte) []byte {
	body := append([]byte{0}, code...)
	return big(10, append(binary.AppendUvarint([]byte{1}, uint64(len(body))), body...))
}

// Work that grows faster than the module must be bounded.
func TestHostileModulesEndSoon(t *testing.T) {
	c, ctx := newChecker(t)
	nullary := section(1, vec("\x60\x00\x00"))
	const depth = 200000
	var nested []byte
	nested = append(nested, bytes.Repeat([]byte{0x02, 0x40}, depth)...)
	for i := 0; i < depth; i++ {
		nested = append(binary.AppendUvarint(append(nested, 0x41, 0, 0x0d), uint64(depth-1-i%1000)), 0x01)
	}
	nested = append(nested, bytes.Repeat([]byte{0x0b}, depth+1)...)

	var exports, types []byte
	exports = binary.AppendUvarint(exports, 1000)
	for i := 0; i < 1000; i++ {
		name := append(bytes.Repeat([]byte{'x'}, 6000), byte('0'+i%10), byte('0'+i/10%10), byte('0'+i/100))
		exports = append(append(binary.AppendUvarint(exports, uint64(len(name))), name...), 0, 0)
	}
	types = binary.AppendUvarint(types, 1024)
	for i := 0; i < 1024; i++ {
		params := bytes.Repeat([]byte{0x7f}, 200)
		for bit := 0; bit < 10; bit++ {
			if i>>bit&1 != 0 {
				params[190+bit] = 0x7d
			}
		}
		types = append(append(append(types, 0x60, 0xc8, 0x01), params...), 0)
	}
	for what, test := range map[string]struct {
		module []byte
		codes  []Code // accepted outcomes; 0 is success
	}{
		"deep nesting":      {module(nullary, section(3, vec("\x00")), one(nested)), []Code{0, ErrLimit, ErrMemory}},
		"long export names": {module(nullary, section(3, vec("\x00")), big(7, exports), one([]byte{0x0b})), []Code{ErrLimit}},
		"similar types":     {module(big(1, types)), []Code{ErrLimit}},
		"many imports":      {module(nullary, big(2, append([]byte{0x80, 0x80, 0x04}, bytes.Repeat([]byte{0, 0, 0, 0}, 65536)...))), []Code{ErrLimit}},
		"many types":        {module(big(1, append([]byte{0x80, 0x80, 0x04}, bytes.Repeat([]byte{0x60, 0, 0}, 65536)...))), []Code{ErrLimit}},
		"4 GiB of locals":   {module(nullary, section(3, vec("\x00")), section(10, "\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b")), []Code{ErrLimit}},
	} {
		start := time.Now()
		_, err := c.Inspect(ctx, test.module)
		var e *Error
		code := Code(0)
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if e != nil {
			code = e.Code
		}
		if !slices.Contains(test.codes, code) {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %v", what, took)
		}
	}
}

// sized has a memory with pages of one byte, 100 of them, at most 120.
func sized(flags string) []byte {
	return module(
		section(1, vec("\x60\x01\x7f\x01\x7f")),
		section(3, vec("\x00", "\x00")),
		section(5, "\x01"+flags),
		section(7, vec(name("grow")+"\x00\x00", name("load")+"\x00\x01")),
		section(10, vec(body("\x20\x00\x40\x00\x1a\x3f\x00\x0b"), body("\x20\x00\x2d\x00\x00\x0b"))),
	)
}

func TestPagesOfOneByte(t *testing.T) {
	c, ctx := newChecker(t)
	i := start(t, c, ctx, sized("\x09\x64\x78\x00"), Config{Limits: Limits{Memory: 1000, Stack: 512}})
	call := func(name string, arg uint64) (uint32, Status) {
		if err := i.Call(ctx, name, arg); err != nil {
			t.Fatal(err)
		}
		s, err := i.Run(ctx, 1000)
		if err != nil {
			t.Fatal(err)
		}
		r, err := i.Results(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		if s == Trapped {
			if err := i.Abandon(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return r[0], s
	}
	for _, step := range []struct {
		name   string
		arg    uint64
		want   uint32
		status Status
	}{
		{"load", 99, 0, Done}, {"load", 100, 0, Trapped}, {"grow", 0, 100, Done}, {"grow", 20, 120, Done}, {"load", 119, 0, Done},
		{"load", 120, 0, Trapped}, {"grow", 1, 120, Done}, {"grow", 1<<32 - 1, 120, Done},
	} {
		got, status := call(step.name, step.arg)
		if status != step.status || status == Done && got != step.want {
			t.Errorf("%s(%d): %d, %s", step.name, step.arg, got, status)
		}
	}
	for flags, code := range map[string]Code{"\x09\x64\x78\x01": ErrInvalid, "\x09\x64\x78\x10": 0, "\x0b\x64\x78\x00": ErrUnsupported} {
		_, err := c.Inspect(ctx, sized(flags))
		var e *Error
		if code == 0 && err != nil || code != 0 && (!errors.As(err, &e) || e.Code != code) {
			t.Errorf("memory %q: %v", flags, err)
		}
	}
}

// The same charges on every machine: a call costs the body's length and its
// locals' slots, a branch back what it jumps over, a host call 16.
func TestFuelIsExact(t *testing.T) {
	c, ctx := newChecker(t)
	for what, test := range map[string]struct {
		module []byte
		args   []uint64
		fuel   uint64
	}{
		"a call":                  {storer, []uint64{0}, 8},
		"a host call":             {sleeper, nil, 8 + 16},
		"a loop of 3 turns":       {module(section(1, vec("\x60\x01\x7f\x00")), section(3, vec("\x00")), section(7, vec(name("run")+"\x00\x00")), section(10, vec(body("\x03\x40\x20\x00\x41\x01\x6b\x22\x00\x0d\x00\x0b\x0b")))), []uint64{3}, 13 + 2*8},
		"filling 400 bytes":       {module(section(1, vec("\x60\x00\x00")), section(3, vec("\x00")), section(5, vec("\x00\x01")), section(7, vec(name("run")+"\x00\x00")), section(10, vec(body("\x41\x00\x41\x00\x41\x90\x03\xfc\x0b\x00\x0b")))), nil, 11 + 100},
		"a function with 5 slots": {module(section(1, vec("\x60\x00\x00")), section(3, vec("\x00")), section(7, vec(name("run")+"\x00\x00")), section(10, "\x01\x06\x02\x03\x7f\x01\x7e\x0b")), nil, 1 + 5},
	} {
		i := start(t, c, ctx, test.module, Config{Limits: Limits{Memory: 1000, Stack: 512},
			Functions: []HostFunction{{Module: "timer", Name: "sleep", Signature: "(i32)->i32", Call: func(*Call) HostResult { return HostOK }}}})
		if err := i.Call(ctx, "run", test.args...); err != nil {
			t.Fatal(what, err)
		}
		if s, err := i.Run(ctx, 10000); s != Done || err != nil {
			t.Fatal(what, s, err)
		}
		if u, err := i.Usage(ctx); err != nil || u.Fuel != test.fuel {
			t.Errorf("%s: %d units, want %d", what, u.Fuel, test.fuel)
		}
	}
}
