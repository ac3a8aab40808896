// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"slices"
	"strings"
	"testing"
)

func TestNamesAreSortedAsPeopleDo(t *testing.T) {
	for _, want := range []string{
		"hall-1 hall-2 hall-10 hall-a",
		"plant/d09 plant/d9 plant/d10 plant/e1",
		"a a-1 a-1-9 a-1-10 a1 ab",
		"x0 x00 x01 x1 x1a x01b",
		"p2/d1 p10/d1 p10/d1x",
		" 1 9 10 99999999999999999999 100000000000000000000",
		"é1 é2 é10",
	} {
		names := strings.Split(want, " ")
		turned := slices.Clone(names)
		slices.Reverse(turned)
		slices.SortFunc(turned, Natural)
		if got := strings.Join(turned, " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Lists find rows by binary search: the order must be total.
func FuzzNatural(f *testing.F) {
	f.Add("a1", "a01", "a1b")
	f.Add("9", "10", "1")
	f.Add("x0", "x00", "x")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if ab, ba := Natural(a, b), Natural(b, a); ab != -ba || (ab == 0) != (a == b) {
			t.Errorf("%q %q: %d, the other way %d", a, b, ab, ba)
		}
		if Natural(a, b) < 0 && Natural(b, c) < 0 && Natural(a, c) >= 0 {
			t.Errorf("%q < %q < %q, but not the first before the last", a, b, c)
		}
	})
}
