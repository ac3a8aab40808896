// SPDX-License-Identifier: Apache-2.0

package embedded

import "testing"

func TestPressure(t *testing.T) {
	p := pressure{looks: 2}
	for step, look := range []struct {
		rate              float64
		becomes, endQuiet bool
	}{
		{0, false, false}, {quietRate, false, false}, // looks begin anew
		{0, false, false}, {0, false, false}, {0, false, false}, {0, false, false},
		{0, false, false}, {0, false, false}, {quietRate - 1, false, false}, {0, true, true},
		{0, false, true}, {busyRate - 1, false, true}, {busyRate, false, false},
	} {
		if got := p.look(look.rate); got != look.becomes || p.quiet != look.endQuiet {
			t.Errorf("step %d: becomes quiet %v, is quiet %v; want %v, %v", step, got, p.quiet, look.becomes, look.endQuiet)
		}
	}
}

func TestGarbage(t *testing.T) {
	const mb = 1 << 20
	for _, one := range []struct {
		quiet           bool
		live, available uint64
		want            int
	}{
		{true, 100 * mb, 20000 * mb, 50},
		{false, 100 * mb, 20000 * mb, 200},
		{false, 2000 * mb, 20000 * mb, 200},
		{false, 2000 * mb, 8000 * mb, 100},
		{false, 2000 * mb, 100 * mb, 50},
		{false, 0, 0, 50},
	} {
		p := pressure{quiet: one.quiet}
		if got := p.percent(one.live, one.available); got != one.want {
			t.Errorf("quiet %v, %d MB live, %d MB to spare: %d %%, want %d", one.quiet, one.live/mb, one.available/mb, got, one.want)
		}
	}
	if available() == 0 {
		t.Error("this machine does not tell how much memory it has to spare")
	}
}
