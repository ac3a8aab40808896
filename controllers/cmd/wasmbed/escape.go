// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escapedJSON writes JSON documents, of which each Write has whole characters, so that their texts do not steer a terminal:
// what does not print is escaped. JSON itself, as Go writes it, leaves C1 controls and marks of direction as they are.
type escapedJSON struct{ out io.Writer }

func (e escapedJSON) Write(p []byte) (int, error) {
	plain := make([]byte, 0, len(p))
	for rest := p; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r < ' ' || unicode.IsPrint(r): // below a space there are only the document's own line ends
			plain = append(plain, rest[:size]...)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				plain = fmt.Appendf(plain, `\u%04x`, unit)
			}
		}
		rest = rest[size:]
	}
	if _, err := e.out.Write(plain); err != nil {
		return 0, err
	}
	return len(p), nil
}
