// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"strings"
)

// Natural compares names as people do: hall-2 is before hall-10. It is 0 for equal names only.
func Natural(a, b string) int {
	x, y := afterCommon(a, b)
	for x != "" && y != "" {
		if !isDigit(x[0]) || !isDigit(y[0]) {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		var m, n string
		m, x = number(x)
		n, y = number(y)
		if len(m) != len(n) {
			return cmp.Compare(len(m), len(n))
		}
		if m != n {
			return strings.Compare(m, n)
		}
	}
	if len(x) != len(y) {
		return cmp.Compare(len(x), len(y))
	}
	return strings.Compare(a, b)
}

// afterCommon cuts off what both begin with, but for the digits at its end: they may be a part of a number.
func afterCommon(a, b string) (string, string) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	for i > 0 && isDigit(a[i-1]) {
		i--
	}
	return a[i:], b[i:]
}

// number cuts the digits off that s begins with; zeros in front say nothing.
func number(s string) (digits, rest string) {
	from := 0
	for from < len(s) && s[from] == '0' {
		from++
	}
	to := from
	for to < len(s) && isDigit(s[to]) {
		to++
	}
	return s[from:to], s[to:]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
