// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// How a text of the commit gets into Markdown. A comment is read by three parties: the Markdown parser (tables, links,
// HTML), the forge, which looks through what the parser made for names of people, issues and commits, and GitLab's
// commands at the start of a line. Nothing of the commit is ever at the start of a line, and:
//
//   - Code puts a text into a code span, in which neither parser nor forge looks for anything. What could end the span
//     or a cell of a table is replaced by a look-alike.
//   - Prose writes a sentence whose parts may come from the commit. Punctuation that means something is written as a
//     numeric reference, which never is structure, and followed by a word joiner where a forge would read a reference.
//   - Tag is Code for inside of HTML, where Markdown is not read.

const wordJoiner = "\u2060"

// maxCode is the longest code span, in bytes.
const maxCode = 160

// Code is a code span.
func Code(s string) string {
	s = strings.Map(func(r rune) rune {
		switch r {
		case '`':
			return 'ˋ'
		case '|':
			return '¦'
		}
		return r
	}, strings.TrimSpace(visible(s)))
	// a backslash before the span's end would escape the cell's border in some parsers
	s = strings.ReplaceAll(cut(s, maxCode), `\`, "＼")
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

// cut shortens a text to so many bytes.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}

// Prose is a sentence.
func Prose(s string) string {
	s = visible(s)
	var b strings.Builder
	for i, r := range s {
		next, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		upper := i > 0 && s[i-1] >= 'A' && s[i-1] <= 'Z' // GH-12 is an issue, and whatever prefix a forge is told of
		ends := next == utf8.RuneError || next == ' '
		switch {
		case r >= utf8.RuneSelf, r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == ' ', r == ',', r == ';', r == '(', r == ')', r == '/':
			b.WriteRune(r)
		case (r == ':' || r == '%') && ends, r == '.' && !strings.HasSuffix(strings.ToLower(s[:i]), "www"), r == '-' && !upper:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "&#%d;", r)
			if !ends {
				b.WriteString(wordJoiner)
			}
		}
	}
	return b.String()
}

// Tag is a <code> element for a place where HTML is read and Markdown is not.
func Tag(s string) string {
	var b strings.Builder
	b.WriteString("<code>")
	for _, r := range cut(visible(s), maxCode) {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(" ._/-", r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "&#%d;", r)
	}
	b.WriteString("</code>")
	return b.String()
}
