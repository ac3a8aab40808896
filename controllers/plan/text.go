// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"unicode"
)

// maxText is the longest text of a commit in a report, in bytes.
const maxText = 256

// Text makes what a commit says fit for a report: one line of valid UTF-8 without control characters, without
// characters that turn the direction of writing or cannot be seen, of at most 256 bytes.
func Text(s string) string {
	const more = "…"
	cut := false
	if len(s) > 4*maxText {
		s, cut = s[:4*maxText], true
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == unicode.ReplacementChar, !unicode.IsGraphic(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), unicode.Is(unicode.Variation_Selector, r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= maxText && !cut {
		return s
	}
	end := min(len(s), maxText-len(more))
	for end > 0 && end < len(s) && s[end]&0xc0 == 0x80 {
		end--
	}
	return s[:end] + more
}

// texts makes each of a list fit.
func texts(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Text(s)
	}
	return out
}

// maxMessage is the longest message of a finding, in bytes.
const maxMessage = 1024

// Message is Text for a message, of at most 1,024 bytes or little more.
func Message(s string) string {
	if len(s) <= maxText {
		return Text(s)
	}
	var b strings.Builder
	for len(s) > 0 && b.Len() < maxMessage {
		n := min(len(s), maxText)
		for n < len(s) && n > 0 && s[n]&0xc0 == 0x80 {
			n--
		}
		if n == 0 {
			n = min(len(s), maxText)
		}
		b.WriteString(Text(s[:n]))
		s = s[n:]
	}
	return b.String()
}

// orEmpty makes lists that are written as [] instead of null.
func (d Devices) orEmpty() Devices {
	for _, list := range []*[]string{&d.Added, &d.Removed, &d.Off, &d.On, &d.Quarantined, &d.Released, &d.KeysChanged} {
		if *list == nil {
			*list = []string{}
		}
	}
	if d.Moves == nil {
		d.Moves = []Move{}
	}
	return d
}
