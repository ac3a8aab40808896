// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxAliasNodes is how many values the aliases of one file may stand for in all.
const maxAliasNodes = 20_000

// document is one document of a YAML file.
type document struct {
	node *yaml.Node
	// value is what JSON knows: map[string]any, []any, string, int64, float64, bool, nil.
	value any
}

// problem says what is wrong with a file, and where.
type problem struct {
	line, column int
	message      string
}

func (p *problem) Error() string { return p.message }

// parseYAML reads all documents of a file, those without content left out. With a problem it returns the documents
// before it.
func parseYAML(content []byte) (docs []document, bad *problem) {
	if p := checkText(content); p != nil {
		return nil, p
	}
	defer func() {
		if r := recover(); r != nil {
			bad = &problem{line: 1, message: "this is not YAML that can be read"}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	c := &converter{aliasNodes: maxAliasNodes}
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			p := yamlProblem(err)
			if n := len(content); n <= maxBisect {
				p.line = brokenLine(content)
			}
			return docs, p
		}
		if node.Kind != yaml.DocumentNode || len(node.Content) != 1 || isEmpty(node.Content[0]) {
			continue
		}
		value, p := c.convert(node.Content[0], 0)
		if p != nil {
			return docs, p
		}
		docs = append(docs, document{node: node.Content[0], value: value})
	}
}

func isEmpty(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// checkText finds the first byte that no text has.
func checkText(content []byte) *problem {
	if utf8.Valid(content) {
		return nil
	}
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		if r == utf8.RuneError && size == 1 {
			before := content[:i]
			return &problem{
				line:    1 + bytes.Count(before, []byte{'\n'}),
				column:  i - bytes.LastIndexByte(before, '\n'),
				message: "the file is not UTF-8 text: save it as UTF-8",
			}
		}
		i += size
	}
	return nil
}

var yamlErrorLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?`)

// yamlProblem takes line and text out of an error of the YAML library.
func yamlProblem(err error) *problem {
	text := err.Error()
	p := &problem{line: 1}
	if m := yamlErrorLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			p.line = n
		}
	}
	text, _, _ = strings.Cut(text, "'") // what is quoted may be a secret
	p.message = "this is not YAML: " + strings.TrimSpace(text)
	return p
}

// maxBisect is the largest file of which the broken line is searched for.
const maxBisect = 64 << 10

// brokenLine finds the first line with which the text before it is no longer YAML. The library names the line of the
// surrounding map or list.
func brokenLine(content []byte) int {
	lines := bytes.SplitAfter(content, []byte("\n"))
	good, bad := 0, len(lines)
	for bad-good > 1 {
		middle := (good + bad) / 2
		end := 0
		for _, line := range lines[:middle] {
			end += len(line)
		}
		if isYAML(content[:end]) {
			good = middle
		} else {
			bad = middle
		}
	}
	return bad
}

func isYAML(content []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// converter turns nodes into the values of JSON, within bounds.
type converter struct {
	aliasNodes int // that may still be written out
	inAlias    int
	longest    int // scalar, in bytes
}

func problemAt(n *yaml.Node, format string, args ...any) *problem {
	return &problem{line: n.Line, column: n.Column, message: fmt.Sprintf(format, args...)}
}

func (c *converter) convert(n *yaml.Node, depth int) (any, *problem) {
	if depth > MaxYAMLDepth {
		return nil, problemAt(n, "nested deeper than %d levels", MaxYAMLDepth)
	}
	if c.inAlias > 0 {
		if c.aliasNodes--; c.aliasNodes < 0 {
			return nil, problemAt(n, "aliases of this file stand for more than %d values: write them out", maxAliasNodes)
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		c.inAlias++
		defer func() { c.inAlias-- }()
		v, p := c.convert(n.Alias, depth+1)
		if p != nil {
			p.line, p.column = n.Line, n.Column
		}
		return v, p
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, child := range n.Content {
			v, p := c.convert(child, depth+1)
			if p != nil {
				return nil, p
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return c.convertMap(n, depth)
	case yaml.ScalarNode:
		c.longest = max(c.longest, len(n.Value))
		return convertScalar(n)
	}
	return nil, problemAt(n, "unexpected YAML")
}

func (c *converter) convertMap(n *yaml.Node, depth int) (any, *problem) {
	m := make(map[string]any, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, problemAt(n.Content[i], "a key must be a plain text")
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if _, ok := m[key.Value]; ok {
			return nil, problemAt(n.Content[i], "key %q is there twice: remove one of them", key.Value)
		}
		v, p := c.convert(value, depth+1)
		if p != nil {
			return nil, p
		}
		m[key.Value] = v
	}
	for _, merge := range merges {
		if p := c.merge(m, merge, depth); p != nil {
			return nil, p
		}
	}
	return m, nil
}

// merge adds the keys of `<<`, which those already there hide.
func (c *converter) merge(m map[string]any, n *yaml.Node, depth int) *problem {
	v, p := c.convert(n, depth+1)
	if p != nil {
		return p
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		from, ok := item.(map[string]any)
		if !ok {
			return problemAt(n, "<< takes a map, or a list of maps")
		}
		for k, v := range from {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
	}
	return nil
}

func convertScalar(n *yaml.Node) (any, *problem) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool", "!!int", "!!float":
	default:
		return nil, problemAt(n, "the YAML tag %s is not accepted", n.ShortTag())
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, problemAt(n, "the value is not one of the tag %s", n.ShortTag())
	}
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, problemAt(n, "the value is not a number that JSON knows")
		}
		return v, nil
	default:
		return v, nil
	}
}

// position is a line and column, both from 1; 0 is not known.
type position struct{ line, column int }

func positionOf(n *yaml.Node) position {
	if n == nil {
		return position{}
	}
	return position{n.Line, n.Column}
}

// locate finds the field that a path like spec.keys[0] or metadata.labels[a.b/c] names. When it is not there, it
// finds the nearest field above. found tells whether it is there; value is its node then.
func locate(root *yaml.Node, fieldPath string) (pos position, value *yaml.Node, found bool) {
	n, rest, pos := root, fieldPath, positionOf(root)
	for rest != "" {
		n = deref(n)
		var key *yaml.Node
		key, n, rest = step(n, rest)
		if n == nil {
			return pos, nil, false
		}
		pos = positionOf(key)
	}
	return pos, n, true
}

func deref(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// step follows one element of a path: a key, which may hold dots, or an index.
func step(n *yaml.Node, rest string) (key, value *yaml.Node, after string) {
	if n == nil {
		return nil, nil, ""
	}
	switch n.Kind {
	case yaml.SequenceNode:
		inner, after, ok := strings.Cut(strings.TrimPrefix(rest, "["), "]")
		i, err := strconv.Atoi(inner)
		if !ok || err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil, ""
		}
		return n.Content[i], n.Content[i], strings.TrimPrefix(after, ".")
	case yaml.MappingNode:
		best := -1
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i].Value
			r, ok := cutKey(rest, k)
			if ok && (best < 0 || len(k) > len(n.Content[best].Value)) {
				best, after = i, r
			}
		}
		if best >= 0 {
			return n.Content[best], n.Content[best+1], after
		}
	}
	return nil, nil, ""
}

// cutKey takes key, or [key], off the front of a path.
func cutKey(rest, key string) (string, bool) {
	if r, ok := strings.CutPrefix(rest, "["+key+"]"); ok {
		return strings.TrimPrefix(r, "."), true
	}
	r, ok := strings.CutPrefix(rest, key)
	if !ok || r != "" && r[0] != '.' && r[0] != '[' {
		return "", false
	}
	return strings.TrimPrefix(r, "."), true
}

// findKey finds a key anywhere below a node.
func findKey(n *yaml.Node, name string) position {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if strings.EqualFold(child.Value, name) {
				return positionOf(child)
			}
			continue
		}
		if pos := findKey(child, name); pos.line > 0 {
			return pos
		}
	}
	return position{}
}
