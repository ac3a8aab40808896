// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of every item, known or not.
const (
	maxDepth    = 8
	maxElements = 16
	maxPairs    = 32
)

// Major types of CBOR.
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

// shape is what a known part of an item must hold: which keys of a map are required, and the shapes of what is
// inside. It is nil for parts that have no required keys, unknown ones among them.
type shape struct {
	required uint64 // bit n: key n
	keys     map[uint64]*shape
	elem     *shape // of an array
}

// shapeOf derives the shape from the cbor tags of a Go type: a field without omitempty is required.
func shapeOf(t reflect.Type) *shape {
	switch t {
	case reflect.TypeFor[AppSet]():
		return union(reflect.TypeFor[[]App]())
	case reflect.TypeFor[StateSet]():
		return union(reflect.TypeFor[[]State]())
	case reflect.TypeFor[Digest]():
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice:
		if elem := shapeOf(t.Elem()); elem != nil {
			return &shape{elem: elem}
		}
	case reflect.Struct:
		s := &shape{keys: map[uint64]*shape{}}
		for i := range t.NumField() {
			tag := strings.Split(t.Field(i).Tag.Get("cbor"), ",")
			key, err := strconv.ParseUint(tag[0], 10, 6)
			if err != nil {
				panic(fmt.Sprintf("internal error: %s.%s has no key below 64", t, t.Field(i).Name))
			}
			if tag[len(tag)-1] != "omitempty" {
				s.required |= 1 << key
			}
			s.keys[key] = shapeOf(t.Field(i).Type)
		}
		return s
	}
	return nil
}

// union is a list, or a document in its place: an array and a map never get in each other's way in a shape.
func union(list reflect.Type) *shape {
	s := *shapeOf(reflect.TypeFor[Document]())
	s.elem = shapeOf(list.Elem())
	return &s
}

var shapes = func() map[Type]*shape {
	m := map[Type]*shape{}
	for t := TypeHello; t <= TypeCrash; t++ {
		m[t] = shapeOf(reflect.TypeOf(newFrame(t)))
	}
	return m
}()

var (
	appsShape   = shapeOf(reflect.TypeFor[[]App]())
	statesShape = shapeOf(reflect.TypeFor[[]State]())
)

// checker walks an item once and refuses what the protocol does not allow, before anything is decoded from it.
type checker struct {
	in  []byte
	pos int
}

// checkItem holds in, which must be exactly one item at the given nesting, against the rules and the shape.
func checkItem(in []byte, s *shape, depth int) error {
	c := checker{in: in}
	if err := c.item(s, depth); err != nil {
		return err
	}
	if c.pos != len(in) {
		return malformed("%d bytes after the item", len(in)-c.pos)
	}
	return nil
}

// head reads one head in its shortest form.
func (c *checker) head() (major byte, value uint64, err error) {
	if c.pos >= len(c.in) {
		return 0, 0, malformed("the item ends early")
	}
	major, info := c.in[c.pos]>>5, c.in[c.pos]&31
	c.pos++
	if major > majorMap {
		return 0, 0, malformed("a tag, float or simple value at byte %d", c.pos-1)
	}
	if info < 24 {
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, malformed("an indefinite length or reserved head at byte %d", c.pos-1)
	}
	n := 1 << (info - 24)
	if len(c.in)-c.pos < n {
		return 0, 0, malformed("the item ends early")
	}
	var b [8]byte
	copy(b[8-n:], c.in[c.pos:c.pos+n])
	value = binary.BigEndian.Uint64(b[:])
	c.pos += n
	least := uint64(24)
	if n > 1 {
		least = 1 << (n * 4)
	}
	if value < least {
		return 0, 0, malformed("a head at byte %d is not the shortest", c.pos-n-1)
	}
	return major, value, nil
}

func (c *checker) item(s *shape, depth int) error {
	major, value, err := c.head()
	if err != nil {
		return err
	}
	switch major {
	case majorBytes, majorText:
		return c.str(major, value)
	case majorArray:
		return c.array(s, value, depth)
	case majorMap:
		return c.pairs(s, value, depth)
	}
	return nil
}

func (c *checker) str(major byte, length uint64) error {
	if length > uint64(len(c.in)-c.pos) {
		return malformed("the item ends early")
	}
	b := c.in[c.pos : c.pos+int(length)]
	c.pos += int(length)
	if major == majorText && !utf8.Valid(b) {
		return malformed("a text is not UTF-8")
	}
	return nil
}

func (c *checker) array(s *shape, n uint64, depth int) error {
	if depth > maxDepth {
		return malformed("more than %d levels", maxDepth)
	}
	if n > maxElements {
		return malformed("an array has %d elements, more than %d", n, maxElements)
	}
	var elem *shape
	if s != nil {
		elem = s.elem
	}
	for range n {
		if err := c.item(elem, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) pairs(s *shape, n uint64, depth int) error {
	if depth > maxDepth {
		return malformed("more than %d levels", maxDepth)
	}
	if n > maxPairs {
		return malformed("a map has %d pairs, more than %d", n, maxPairs)
	}
	var last []byte
	var seen uint64
	for range n {
		start := c.pos
		number, isNumber, err := c.key()
		if err != nil {
			return err
		}
		key := c.in[start:c.pos]
		if last != nil && bytes.Compare(last, key) >= 0 {
			return malformed("the keys of a map are not in ascending order, or twice the same")
		}
		last = key
		var inner *shape
		if s != nil && isNumber {
			inner = s.keys[number]
			seen |= 1 << number // a shift by 64 or more gives 0
		}
		if err := c.item(inner, depth+1); err != nil {
			return err
		}
	}
	if s != nil && s.keys != nil && seen&s.required != s.required {
		return invalid("a map lacks a required key: it has %s of %s", bits(seen), bits(s.required))
	}
	return nil
}

// key reads the key of a pair: an integer or a text.
func (c *checker) key() (number uint64, isNumber bool, err error) {
	major, value, err := c.head()
	switch {
	case err != nil:
		return 0, false, err
	case major == majorUint:
		return value, true, nil
	case major == majorNint:
		return 0, false, nil
	case major == majorText:
		return 0, false, c.str(major, value)
	}
	return 0, false, malformed("a key of a map is neither an integer nor a text")
}

// bits lists the keys in a set of them.
func bits(set uint64) string {
	var keys []string
	for n := range 64 {
		if set&(1<<n) != 0 {
			keys = append(keys, strconv.Itoa(n))
		}
	}
	return "{" + strings.Join(keys, " ") + "}"
}
