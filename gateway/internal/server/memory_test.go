// SPDX-License-Identifier: Apache-2.0

package server

import "testing"

func TestPressure(t *testing.T) {
	p := pressure{looks: quietLooks}
	for step, look := range []struct {
		rate float64
		want pressureChange
	}{
		{0, stayed}, {quietRate, stayed}, // not quiet for long enough
		{0, stayed}, {0, stayed}, {quietRate - 1, becameQuiet},
		{busyRate - 1, stayed}, {0, stayed}, {busyRate, becameBusy},
		{busyRate, stayed}, {0, stayed}, {0, stayed}, {0, becameQuiet},
	} {
		if got := p.look(look.rate); got != look.want {
			t.Errorf("step %d: %d, want %d", step, got, look.want)
		}
	}
}

func TestGarbage(t *testing.T) {
	p := pressure{quiet: true}
	for live, want := range map[uint64]int{0: 100, 4 << 20: 100, 16 << 20: 50, 40 << 20: 20, 200 << 20: 20} {
		if got := p.percent(live); got != want {
			t.Errorf("%d MB live: %d %%, want %d", live>>20, got, want)
		}
	}
	if p.quiet = false; p.percent(200<<20) != garbageBusy {
		t.Error("a busy process collects early")
	}
}
