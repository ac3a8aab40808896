// SPDX-License-Identifier: Apache-2.0

package appbuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
	"wasmbed.dev/devices/wasmcheck/trim"
)

// Info is what a person wants to know of a module before it goes to a device.
type Info struct {
	Size int
	// Imports are the host functions that it uses, as "name (permission)".
	Imports []string
	// Unknown are imports that no device offers.
	Unknown []string
	// Permissions that its Application must ask for, ascending.
	Permissions []string
	// MemoryDeclared is the linear memory that the module declares, in bytes; 0: none.
	MemoryDeclared uint64
	// MemoryUsed is how much of it the linker has laid out: stack, constants, variables. 0: the module does not
	// tell.
	MemoryUsed uint64
}

// checker judges modules; its code is compiled once.
var checker = sync.OnceValues(func() (*wasmcheck.Checker, error) { return wasmcheck.New(context.Background()) })

// Inspect lets the boards' runtime judge a module, and reads what it needs.
func Inspect(ctx context.Context, module []byte) (Info, error) {
	judge, err := checker()
	if err != nil {
		return Info{}, err
	}
	found, err := judge.Inspect(ctx, module)
	if err != nil {
		return Info{}, fmt.Errorf("not a module that boards run: %w", err)
	}
	info := Info{Size: len(module), MemoryDeclared: found.MemoryMin}
	for _, i := range found.Imports {
		info.addImport(i)
	}
	slices.Sort(info.Permissions)
	info.Permissions = slices.Compact(info.Permissions)
	if x, ok := found.Export(hostapi.EntryRun); !ok || x.Kind != wasmcheck.Function {
		return info, fmt.Errorf("the module does not export the function %q", hostapi.EntryRun)
	}
	if base, ok := trim.HeapBase(module); ok && found.HasMemory {
		info.MemoryUsed = uint64(base)
	} else if found.PageSize == 1 {
		info.MemoryUsed = found.MemoryMin
	}
	return info, nil
}

func (i *Info) addImport(f wasmcheck.Import) {
	h, ok := hostapi.Lookup(f.Module, f.Name)
	if signature := strings.ReplaceAll(h.Signature(), " ", ""); !ok || f.Kind != wasmcheck.Function || f.Signature != signature {
		i.Unknown = append(i.Unknown, strings.TrimSpace(f.Module+"."+f.Name+" "+f.Signature))
		return
	}
	if h.Permission == hostapi.PermissionNone {
		i.Imports = append(i.Imports, f.Name)
		return
	}
	i.Imports = append(i.Imports, f.Name+" ("+string(h.Permission)+")")
	i.Permissions = append(i.Permissions, string(h.Permission))
}

// Trimmed says what a device does not have to keep of what the compiler wrote.
type Trimmed struct {
	trim.Saved
	// Memory is true when the memory was cut to what the linker laid out, in bytes instead of pages.
	Memory bool
	// Pages says why it was not.
	Pages string
}

// trimModule drops what no device uses: custom sections, exports other than functions, the padding of numbers, and the
// memory behind what the linker laid out, unless the app has a heap there.
func trimModule(ctx context.Context, module []byte, names, heap bool) ([]byte, Trimmed, error) {
	judge, err := checker()
	if err != nil {
		return nil, Trimmed{}, err
	}
	found, err := judge.Inspect(ctx, module)
	if err != nil {
		return nil, Trimmed{}, fmt.Errorf("not a module that boards run: %w", err)
	}
	o := trim.Options{Exports: []string{}, KeepNames: names}
	for _, x := range found.Exports {
		if x.Kind == wasmcheck.Function {
			o.Exports = append(o.Exports, x.Name)
		}
	}
	var done Trimmed
	base, ok := trim.HeapBase(module)
	switch {
	case !found.HasMemory:
	case !ok || base == 0:
		done.Pages = "the module does not tell how much of it is used"
	case heap:
		done.Pages = "the source speaks of __heap_base"
	default:
		o.MemoryBytes, done.Memory = base, true
	}
	out, saved, err := trim.Bytes(module, o)
	if errors.Is(err, trim.ErrPages) {
		o.MemoryBytes, done.Memory, done.Pages = 0, false, "the code uses memory.size or memory.grow"
		out, saved, err = trim.Bytes(module, o)
	}
	done.Saved = saved
	return out, done, err
}
