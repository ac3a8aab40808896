// SPDX-License-Identifier: Apache-2.0

package wasmcheck

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// Modules are written here as bytes, section by section.
func module(sections ...[]byte) []byte {
	m := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range sections {
		m = append(m, s...)
	}
	return m
}

func section(id byte, parts ...string) []byte {
	body := strings.Join(parts, "")
	return append([]byte{id, byte(len(body))}, body...)
}

// vec is a vector: its count and its elements.
func vec(parts ...string) string { return string(rune(len(parts))) + strings.Join(parts, "") }

func name(s string) string { return string(rune(len(s))) + s }

func body(code string) string { return string(rune(len(code)+1)) + "\x00" + code }

var (
	// run() -> i32 { return sleep(7) + 1 }, from timer.sleep(i32) -> i32.
	sleeper = module(
		section(1, vec("\x60\x01\x7f\x01\x7f", "\x60\x00\x01\x7f")),
		section(2, vec(name("timer")+name("sleep")+"\x00\x00")),
		section(3, vec("\x01")),
		section(7, vec(name("run")+"\x00\x01")),
		section(10, vec(body("\x41\x07\x10\x00\x41\x01\x6a\x0b"))),
	)
	// run() { loop forever }, with one page of memory that is exported.
	looper = module(
		section(1, vec("\x60\x00\x00")),
		section(3, vec("\x00")),
		section(5, vec("\x00\x01")),
		section(7, vec(name("run")+"\x00\x00", name("memory")+"\x02\x00")),
		section(10, vec(body("\x03\x40\x0c\x00\x0b\x0b"))),
	)
	// run(i32) { store at the argument }
	storer = module(
		section(1, vec("\x60\x01\x7f\x00")),
		section(3, vec("\x00")),
		section(5, vec("\x00\x01")),
		section(7, vec(name("run")+"\x00\x00")),
		section(10, vec(body("\x20\x00\x41\x2a\x36\x02\x00\x0b"))),
		section(0, name("name"), "\x01\x07", vec("\x00" + name("store"))[:0]+"\x01\x00\x04pokd"[:7]),
	)
	// run() calls itself.
	recursor = module(
		section(1, vec("\x60\x00\x00")),
		section(3, vec("\x00")),
		section(7, vec(name("run")+"\x00\x00")),
		section(10, vec(body("\x10\x00\x0b"))),
	)
)

func newChecker(t *testing.T) (*Checker, context.Context) {
	t.Helper()
	ctx := context.Background()
	c, err := New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(ctx) })
	return c, ctx
}

func start(t *testing.T, c *Checker, ctx context.Context, code []byte, config Config) *Instance {
	t.Helper()
	p, err := c.Program(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.Instantiate(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInspectDescribesAModule(t *testing.T) {
	c, ctx := newChecker(t)
	info, err := c.Inspect(ctx, sleeper)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Imports) != 1 || info.Imports[0].Signature != "(i32)->i32" || info.Imports[0].Module != "timer" || info.Imports[0].Name != "sleep" {
		t.Errorf("imports: %+v", info.Imports)
	}
	if e, ok := info.Export("run"); !ok || e.Signature != "()->i32" || e.Kind != Function {
		t.Errorf("exports: %+v", info.Exports)
	}
	if info.HasMemory || info.Functions != 2 || info.CodeSize != 11 {
		t.Errorf("info: %+v", info)
	}
	info, err = c.Inspect(ctx, storer)
	if err != nil {
		t.Fatal(err)
	}
	if !info.HasMemory || info.MemoryMin != 65536 || info.HasMemoryMax || info.FunctionNames[0] != "pokd" {
		t.Errorf("info: %+v", info)
	}
}

func TestRefusals(t *testing.T) {
	c, ctx := newChecker(t)
	simd := module(section(1, vec("\x60\x00\x00")), section(3, vec("\x00")), section(10, vec(body("\xfd\x0c\x0b"))))
	for what, test := range map[string]struct {
		module []byte
		code   Code
		detail string
		offset uint32
	}{
		"nothing":       {nil, ErrMalformed, "magic", 0},
		"text":          {[]byte("hello, world"), ErrMalformed, "magic", 0},
		"truncated":     {sleeper[:30], ErrMalformed, "out of bounds", 0},
		"SIMD":          {simd, ErrUnsupported, "SIMD", uint32(len(simd) - 3)},
		"type mismatch": {module(section(1, vec("\x60\x00\x01\x7f")), section(3, vec("\x00")), section(10, vec(body("\x0b")))), ErrInvalid, "type mismatch", 0},
		"too large":     {make([]byte, MaxModule+1), ErrLimit, "bytes", 0},
	} {
		_, err := c.Inspect(ctx, test.module)
		var e *Error
		if !errors.As(err, &e) || e.Code != test.code || !strings.Contains(e.Detail, test.detail) {
			t.Errorf("%s: got %v", what, err)
		} else if test.offset != 0 && e.Offset != test.offset {
			t.Errorf("%s: offset %d, want %d", what, e.Offset, test.offset)
		}
	}
}

func TestRAMIsWhatInstantiateTakes(t *testing.T) {
	c, ctx := newChecker(t)
	small, err := c.RAM(ctx, looper, Limits{Memory: 1000, Stack: 512})
	if err != nil {
		t.Fatal(err)
	}
	large, err := c.RAM(ctx, looper, Limits{Memory: 3000, Stack: 512})
	if err != nil {
		t.Fatal(err)
	}
	if large.Total()-small.Total() != 2000 {
		t.Errorf("2000 bytes more memory take %d more", large.Total()-small.Total())
	}
	if overhead := small.Total() - 1000 - 512; overhead < 100 || overhead > 1500 {
		t.Errorf("%d bytes beyond memory and stack", overhead)
	}
	if _, err := c.RAM(ctx, looper, Limits{Memory: 1 << 20, Stack: 1<<32 - 1}); err == nil {
		t.Error("4 GiB of stack are accepted")
	}
}

func TestAnEndlessLoopRunsOutOfFuelAndLeavesOthersAlone(t *testing.T) {
	c, ctx := newChecker(t)
	p, err := c.Program(ctx, looper)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Limits: Limits{Memory: 100, Stack: 512}}
	a, err := p.Instantiate(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Instantiate(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Call(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		if s, err := a.Run(ctx, 1000); s != OutOfFuel || err != nil {
			t.Fatal(s, err)
		}
		u, err := a.Usage(ctx)
		if err != nil || u.Fuel < uint64(n)*1000 || u.Fuel > uint64(n)*1000+20 {
			t.Errorf("after %d runs: %+v, %v", n, u, err)
		}
	}
	if u, _ := b.Usage(ctx); u.Fuel != 0 || u.Memory != 100 {
		t.Errorf("the other instance: %+v", u)
	}
	var e *Error
	if err := a.Call(ctx, "run"); !errors.As(err, &e) || e.Code != ErrBusy {
		t.Error("a second call:", err)
	}
	a.Close()
	if _, err := a.Run(ctx, 1); err == nil {
		t.Error("a closed instance runs")
	}
}

func TestHostFunctionsCallWaitAndRefuse(t *testing.T) {
	c, ctx := newChecker(t)
	var got uint32
	answer := HostOK
	sleep := HostFunction{Module: "timer", Name: "sleep", Signature: "(i32)->i32", Call: func(call *Call) HostResult {
		got = call.Arg(0)
		call.Return(41)
		return answer
	}}
	limits := Limits{Stack: 512}
	i := start(t, c, ctx, sleeper, Config{Limits: limits, Functions: []HostFunction{sleep}})
	run := func() Status {
		s, err := i.Run(ctx, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	call := func() {
		if err := i.Call(ctx, "run"); err != nil {
			t.Fatal(err)
		}
	}
	call()
	if s := run(); s != Done || got != 7 {
		t.Fatal(s, got)
	}
	if r, err := i.Results(ctx, 1); err != nil || r[0] != 42 {
		t.Error(r, err)
	}
	answer = HostWait
	call()
	if s := run(); s != Waiting {
		t.Fatal(s)
	}
	if s := run(); s != Waiting {
		t.Fatal("runs while it waits:", s)
	}
	if err := i.Wake(ctx, 99); err != nil {
		t.Fatal(err)
	}
	if s := run(); s != Done {
		t.Fatal(s)
	}
	if r, _ := i.Results(ctx, 1); r[0] != 100 {
		t.Error(r)
	}
	answer = HostTrap
	call()
	if s := run(); s != Trapped {
		t.Fatal(s)
	}
	if trap, err := i.Trap(ctx); err != nil || trap.Code != TrapHost || trap.Function != 1 {
		t.Error(trap, err)
	}

	for what, test := range map[string]struct {
		functions []HostFunction
		code      Code
	}{
		"unknown":         {nil, ErrImport},
		"other signature": {[]HostFunction{{Module: "timer", Name: "sleep", Signature: "(i32)->()"}}, ErrSignature},
		"no permission":   {[]HostFunction{{Module: "timer", Name: "sleep", Signature: "(i32)->i32", Denied: true}}, ErrPermission},
	} {
		p, err := c.Program(ctx, sleeper)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Instantiate(ctx, Config{Limits: limits, Functions: test.functions})
		var e *Error
		if !errors.As(err, &e) || e.Code != test.code || !strings.Contains(e.Import, "timer.sleep") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTrapsNameFunctionAndOffset(t *testing.T) {
	c, ctx := newChecker(t)
	i := start(t, c, ctx, storer, Config{Limits: Limits{Memory: 1000, Stack: 512}})
	for address, want := range map[uint64]Status{0: Done, 996: Done, 997: Trapped, 65532: Trapped, 1<<32 - 1: Trapped} {
		i := start(t, c, ctx, storer, Config{Limits: Limits{Memory: 1000, Stack: 512}})
		if err := i.Call(ctx, "run", address); err != nil {
			t.Fatal(err)
		}
		if s, err := i.Run(ctx, 100); s != want || err != nil {
			t.Errorf("store at %d: %v, %v", address, s, err)
		}
	}
	if err := i.Call(ctx, "run", 5000); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Run(ctx, 100); err != nil {
		t.Fatal(err)
	}
	trap, err := i.Trap(ctx)
	at := uint32(strings.Index(string(storer), "\x36\x02\x00"))
	if err != nil || trap.Code != TrapMemory || trap.Function != 0 || trap.Offset != at || trap.Name != "pokd" {
		t.Error(trap, err, at)
	}
	if b, ok := i.ReadMemory(ctx, 990, 10); !ok || len(b) != 10 {
		t.Error("memory cannot be read")
	}
	if _, ok := i.ReadMemory(ctx, 990, 11); ok {
		t.Error("memory can be read beyond its end")
	}

	r := start(t, c, ctx, recursor, Config{Limits: Limits{Stack: 2048}})
	if err := r.Call(ctx, "run"); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Run(ctx, 1<<30); s != Trapped || err != nil {
		t.Fatal(s, err)
	}
	if trap, err := r.Trap(ctx); err != nil || trap.Code != TrapStack {
		t.Error(trap, err)
	}
}

func TestInspectionsAndInstancesRunConcurrently(t *testing.T) {
	c, ctx := newChecker(t)
	p, err := c.Program(ctx, looper)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := 0; n < 8; n++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for k := 0; k < 20; k++ {
				if _, err := c.Inspect(ctx, sleeper); err != nil {
					t.Error(err)
				}
				i, err := p.Instantiate(ctx, Config{Limits: Limits{Memory: 100, Stack: 256}})
				if err != nil {
					t.Error(err)
					return
				}
				if err := i.Call(ctx, "run"); err != nil {
					t.Error(err)
				}
				if s, err := i.Run(ctx, 500); s != OutOfFuel || err != nil {
					t.Error(s, err)
				}
				i.Close()
			}
		}()
	}
	wg.Wait()
	if len(p.instances) != 0 {
		t.Errorf("%d instances are left", len(p.instances))
	}
}

func TestTenThousandInstancesShareAProgram(t *testing.T) {
	c, ctx := newChecker(t)
	p, err := c.Program(ctx, sleeper)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	sleep := HostFunction{Module: "timer", Name: "sleep", Signature: "(i32)->i32", Call: func(call *Call) HostResult {
		calls++
		return HostWait
	}}
	const n = 10000
	var all []*Instance
	for k := 0; k < n; k++ {
		i, err := p.Instantiate(ctx, Config{Limits: Limits{Stack: 512}, Functions: []HostFunction{sleep}, User: k})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Call(ctx, "run"); err != nil {
			t.Fatal(err)
		}
		if s, err := i.Run(ctx, 100); s != Waiting || err != nil {
			t.Fatal(s, err)
		}
		all = append(all, i)
	}
	if used := p.e.mem.Size(); calls != n || used > n*1024 {
		t.Errorf("%d calls, %d bytes for %d instances", calls, used, n)
	}
	before := p.e.mem.Size()
	for _, i := range all {
		if err := i.Wake(ctx, uint32(i.User().(int))); err != nil {
			t.Fatal(err)
		}
		if s, err := i.Run(ctx, 100); s != Done || err != nil {
			t.Fatal(s, err)
		}
		if r, err := i.Results(ctx, 1); err != nil || r[0] != uint32(i.User().(int))+1 {
			t.Fatal(r, err)
		}
		i.Close()
	}
	for k := 0; k < n; k++ {
		if _, err := p.Instantiate(ctx, Config{Limits: Limits{Stack: 512}, Functions: []HostFunction{sleep}}); err != nil {
			t.Fatal(err)
		}
	}
	if p.e.mem.Size() != before {
		t.Error("the memory of closed instances is not used again")
	}
}
