// SPDX-License-Identifier: Apache-2.0

package boards_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
)

func TestCatalogueIsSortedAndComplete(t *testing.T) {
	names := boards.Names()
	if !slices.IsSorted(names) {
		t.Fatalf("names are not in order, so Get does not find them: %v", names)
	}
	for _, n := range names {
		b, ok := boards.Get(n)
		if !ok || b.Name != n {
			t.Fatalf("Get(%q) = %q, %v", n, b.Name, ok)
		}
		if b.AppMemoryBytes <= 0 || b.AppMemoryBytes >= b.RAMBytes || b.AppMemoryBytes%b.AppMemoryBlock != 0 {
			t.Errorf("%s: app memory %d does not fit RAM %d in blocks of %d", n, b.AppMemoryBytes, b.RAMBytes, b.AppMemoryBlock)
		}
		if b.MaxModuleBytes > b.ModuleStorageBytes || b.MaxFrame < 512 || len(b.Backends) == 0 || b.Core == "" {
			t.Errorf("%s: not complete: %+v", n, b)
		}
		for _, p := range b.Permissions {
			if !hostapi.Known(hostapi.Permission(p)) {
				t.Errorf("%s: there is no permission %q", n, p)
			}
		}
		if b.Provides(boards.BackendQEMU) != (b.QEMUMachine != "") {
			t.Errorf("%s: backend QEMU and QEMUMachine disagree", n)
		}
	}
	if b, ok := boards.Get(boards.DefaultSimulated); !ok || !b.Provides(boards.BackendSimulated) {
		t.Error("the default simulated board is not in the catalogue")
	}
	if _, ok := boards.Get("no-such-board"); ok {
		t.Error("an unknown board was found")
	}
}

func TestCatalogueCannotBeChangedFromOutside(t *testing.T) {
	b, _ := boards.Get("mps2-an385")
	b.Backends[0] = "Toaster"
	if again, _ := boards.Get("mps2-an385"); again.Backends[0] == "Toaster" {
		t.Fatal("a caller changed the catalogue")
	}
}

func TestMemoryIsHandedOutInBlocks(t *testing.T) {
	b, _ := boards.Get("mps2-an385")
	if got := b.Blocks(1); got != b.AppMemoryBlock {
		t.Errorf("one byte takes %d, want a block of %d", got, b.AppMemoryBlock)
	}
	if got := b.MemoryForApps(1, b.AppMemoryBlock); got != b.AppMemoryBytes-2*b.AppMemoryBlock {
		t.Errorf("two apps of one block leave %d", got)
	}
	if got := b.MemoryForApps(b.AppMemoryBytes, 1); got != 0 {
		t.Errorf("more than all leaves %d, want 0", got)
	}
}

// TestFirmwareAgrees compares the catalogue with the firmware's own headers.
func TestFirmwareAgrees(t *testing.T) {
	root := filepath.Join("..", "..", "firmware", "boards")
	for _, b := range boards.All() {
		header, err := os.ReadFile(filepath.Join(root, b.Name, "board.h"))
		if os.IsNotExist(err) && !b.Provides(boards.BackendQEMU) {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", b.Name, err)
			continue
		}
		if got := macro(header, "BOARD_CORE"); got != strconv.Quote(b.Core) {
			t.Errorf("%s: the firmware's core is %s, the catalogue's %q", b.Name, got, b.Core)
		}
		for name, want := range map[string]int64{"BOARD_FLASH_SIZE": b.FlashBytes, "BOARD_RAM_SIZE": b.RAMBytes} {
			if got, err := strconv.ParseInt(macro(header, name), 0, 64); err != nil || got != want {
				t.Errorf("%s: the firmware's %s is %d (%v), the catalogue's %d", b.Name, name, got, err, want)
			}
		}
	}
}

func macro(header []byte, name string) string {
	m := regexp.MustCompile(`(?m)^#define ` + name + `\s+(\S+)`).FindSubmatch(header)
	if m == nil {
		return ""
	}
	return string(m[1])
}
