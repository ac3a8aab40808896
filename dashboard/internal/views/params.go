// SPDX-License-Identifier: Apache-2.0

// Package views answers what the page asks: lists with filter, order and window, and values such as the overview, as
// they are now and as they change. PROTOCOL.md and openapi.yaml in the folder above say what each holds.
package views

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/labels"
)

// Bounds of a query.
const (
	maxParam     = 512
	maxParams    = 24
	defaultLimit = 100
	// MaxLimit is how many rows a window has at most.
	MaxLimit = 500
	maxWords = 32
)

// Errors that callers tell apart; each is wrapped with what is wrong.
var (
	ErrBadRequest  = errors.New("bad request")
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("not available now")
)

func badRequest(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadRequest, fmt.Sprintf(format, args...))
}

// Params are a view's parameters, by name.
type Params map[string]string

// ParamsOfURL reads a query string.
func ParamsOfURL(values url.Values) (Params, error) {
	p := Params{}
	for name, all := range values {
		if len(all) != 1 {
			return nil, badRequest("parameter %.40q is given %d times", name, len(all))
		}
		p[name] = all[0]
	}
	return p, p.check()
}

// ParamsOfJSON reads an object of strings, numbers and booleans.
func ParamsOfJSON(text []byte) (Params, error) {
	p := Params{}
	if len(text) == 0 {
		return p, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, badRequest("query is no object of strings and numbers")
	}
	for name, value := range fields {
		switch v := value.(type) {
		case string:
			p[name] = v
		case float64:
			p[name] = strconv.FormatFloat(v, 'f', -1, 64)
		case nil:
		default:
			return nil, badRequest("parameter %.40q is neither a string nor a number", name)
		}
	}
	return p, p.check()
}

func (p Params) check() error {
	if len(p) > maxParams {
		return badRequest("more than %d parameters", maxParams)
	}
	for name, value := range p {
		if len(name) > 40 || len(value) > maxParam || !utf8.ValidString(value) {
			return badRequest("parameter %.40q is too long or no UTF-8", name)
		}
		if value == "" {
			delete(p, name)
		}
	}
	return nil
}

// Only fails when there is a parameter that is not among the given ones.
func (p Params) Only(names ...string) error {
	for name := range p {
		if !slices.Contains(names, name) {
			return badRequest("there is no parameter %.40q here; there are: %s", name, strings.Join(names, " "))
		}
	}
	return nil
}

// key is the same for equal parameters; without are left out.
func (p Params) key(without ...string) string {
	var b strings.Builder
	names := make([]string, 0, len(p))
	for name := range p {
		if !slices.Contains(without, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name + "=" + strconv.Quote(p[name]) + "&")
	}
	return b.String()
}

// Number reads a parameter between 0 and most.
func (p Params) Number(name string, otherwise, least, most int) (int, error) {
	text, ok := p[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, badRequest("%s is a number from %d to %d, not %.40q", name, least, most, text)
	}
	return n, nil
}

// words reads a parameter that is a list separated by commas; nil when it is absent.
func (p Params) words(name string) (map[string]bool, error) {
	text, ok := p[name]
	if !ok {
		return nil, nil
	}
	words := strings.Split(text, ",")
	if len(words) > maxWords {
		return nil, badRequest("%s has more than %d words", name, maxWords)
	}
	set := map[string]bool{}
	for _, word := range words {
		set[strings.TrimSpace(word)] = true
	}
	return set, nil
}

func (p Params) selector() (labels.Selector, error) {
	text, ok := p["label"]
	if !ok {
		return nil, nil
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, badRequest("label is no label selector (site=hall-a,tier in (canary, stable),!old): %v", err)
	}
	return selector, nil
}

// since reads a time, or a duration before now.
func (p Params) since(now time.Time) (time.Time, error) {
	text, ok := p["since"]
	if !ok {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, badRequest("since is a time like 2026-01-02T03:04:05Z or a duration like 15m, not %.40q", text)
	}
	return at, nil
}

// Contains reports whether text contains the lower-case word, whatever the case.
func Contains(text, lower string) bool {
	if len(lower) > len(text) && isASCII(text) && isASCII(lower) {
		return false
	}
	if !isASCII(text) || !isASCII(lower) {
		return strings.Contains(strings.ToLower(text), lower)
	}
	for i := 0; i+len(lower) <= len(text); i++ {
		if equalFoldASCII(text[i:i+len(lower)], lower) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func equalFoldASCII(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Key is the same for equal parameters.
func (p Params) Key() string { return p.key() }
