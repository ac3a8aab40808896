// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"reflect"
	"strings"
	"testing"

	"wasmbed.dev/devices/wasmcheck"
)

// named is a module of functions () -> () with names, each of so many bytes of code; the first is exported as run.
func named(names []string, nops []int) []byte {
	section := func(id byte, body string) string { return string([]byte{id, byte(len(body))}) + body }
	functions, code, list := "", "", ""
	for i, name := range names {
		body := "\x00" + strings.Repeat("\x01", nops[i]) + "\x0b"
		functions += "\x00"
		code += string(rune(len(body))) + body
		list += string(rune(i)) + string(rune(len(name))) + name
	}
	n := string(rune(len(names)))
	subsection := "\x01" + string(rune(len(n+list))) + n + list
	return []byte("\x00asm\x01\x00\x00\x00" + section(1, "\x01\x60\x00\x00") + section(3, n+functions) +
		section(7, "\x01\x03run\x00\x00") + section(10, n+code) + section(0, "\x04name"+subsection))
}

func inspect(t *testing.T, module []byte) map[string]int64 {
	t.Helper()
	checker, err := wasmcheck.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer checker.Close(t.Context())
	info, err := checker.Inspect(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	return functionSizes(module, &info)
}

func TestFunctionsThatGrew(t *testing.T) {
	before := inspect(t, named([]string{"start", "same", "shrinks", "grows", "a", "b", "c"}, []int{1, 2, 9, 3, 1, 1, 1}))
	if want := map[string]int64{"start": 3, "same": 4, "shrinks": 11, "grows": 5, "a": 3, "b": 3, "c": 3}; !reflect.DeepEqual(before, want) {
		t.Fatalf("got %v", before)
	}
	after := inspect(t, named([]string{"start", "same", "shrinks", "grows", "a", "b", "c", "new"}, []int{1, 2, 4, 9, 2, 3, 2, 4}))
	want := []Function{{"grows", 5, 11}, {"new", 0, 6}, {"b", 3, 5}, {"a", 3, 4}, {"c", 3, 4}}
	if got := grown(before, after); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := grown(nil, after); len(got) != 0 {
		t.Errorf("without names before, nothing can be compared: %v", got)
	}
}

// TestBrokenModules: what the runtime would refuse must still not break the reader.
func TestBrokenModules(t *testing.T) {
	whole := named([]string{"run", "other"}, []int{3, 4})
	info := &wasmcheck.Info{Exports: []wasmcheck.Export{{Name: "run"}}, FunctionNames: map[uint32]string{1 << 31: "x"}}
	for i := range whole {
		functionSizes(whole[:i], info)
		for _, b := range []byte{0, 0x7f, 0x80, 0xff} {
			broken := append([]byte{}, whole...)
			broken[i] = b
			for name, size := range functionSizes(broken, info) {
				if size > int64(len(whole)) {
					t.Fatalf("byte %d as %#x: %s has %d bytes", i, b, name, size)
				}
			}
		}
	}
}
