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
