// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"wasmbed.dev/controllers/fleet"
)

// maxFields is how many fields of one object a report names.
const maxFields = 100

const kindSecret = "Secret"

// objects lists what differs between two fleets.
func objects(base, head *fleet.Fleet, changes fleet.Changes) (Objects, error) {
	out := Objects{Added: []Object{}, Changed: []Object{}, Removed: []Object{}}
	for _, o := range changes.Added {
		out.Added = append(out.Added, object(o))
	}
	for _, o := range changes.Removed {
		out.Removed = append(out.Removed, object(o))
	}
	for _, o := range changes.Changed {
		changed, err := changedObject(base.Get(o.ID), o)
		if err != nil {
			return out, err
		}
		if changed == nil {
			out.Rewritten++
			continue
		}
		out.Changed = append(out.Changed, *changed)
	}
	out.Unchanged = len(head.Objects) - len(out.Added) - len(out.Changed)
	return out, nil
}

func object(o *fleet.Object) Object {
	return Object{
		Kind: Text(o.ID.Kind), Namespace: Text(o.ID.Namespace), Name: Text(o.ID.Name),
		File: Text(o.File), Line: o.Line, Fields: []Field{},
	}
}

// changedObject compares two versions of an object; nil: they mean the same.
func changedObject(older, newer *fleet.Object) (*Object, error) {
	out := object(newer)
	if newer.ID.Kind == kindSecret {
		return &out, nil // that it changed, never what
	}
	before, err := content(older)
	if err != nil {
		return nil, err
	}
	after, err := content(newer)
	if err != nil {
		return nil, err
	}
	d := differ{fields: out.Fields}
	d.compare("", before, after)
	if len(d.fields) == 0 {
		return nil, nil
	}
	out.Fields, out.MoreFields = d.fields, d.more
	return &out, nil
}

// content is an object as the API server would keep it, without what git does not say.
func content(o *fleet.Object) (map[string]any, error) {
	var typed any
	switch {
	case o.Device != nil:
		typed = o.Device
	case o.Application != nil:
		typed = o.Application
	case o.Gateway != nil:
		typed = o.Gateway
	default:
		u, err := o.Unstructured()
		if err != nil {
			return nil, err
		}
		return u.Object, nil
	}
	value, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, fmt.Errorf("internal error: %s: %w", o.ID, err)
	}
	delete(value, "status")
	if metadata, ok := value["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	return value, nil
}

// differ collects the fields in which two values differ. What is absent equals what is empty.
type differ struct {
	fields []Field
	more   int
}

func (d *differ) add(f Field) {
	if len(d.fields) >= maxFields {
		d.more++
		return
	}
	f.Path, f.Before, f.After = Text(f.Path), Text(f.Before), Text(f.After)
	d.fields = append(d.fields, f)
}

func (d *differ) compare(path string, before, after any) {
	a, aMap := before.(map[string]any)
	b, bMap := after.(map[string]any)
	if (aMap || before == nil) && (bMap || after == nil) {
		d.maps(path, a, b)
		return
	}
	listA, aList := before.([]any)
	listB, bList := after.([]any)
	if (aList || before == nil) && (bList || after == nil) {
		d.lists(path, listA, listB)
		return
	}
	textA, textB := valueText(before), valueText(after)
	switch {
	case before == nil:
		d.add(Field{Path: path, Change: Added, After: textB})
	case after == nil:
		d.add(Field{Path: path, Change: Removed, Before: textA})
	case textA != textB:
		textA, textB = fromDifference(textA, textB)
		d.add(Field{Path: path, Change: Changed, Before: textA, After: textB})
	}
}

// fromDifference cuts what two long texts have in common at the start, so that what is shown of them differs.
func fromDifference(a, b string) (string, string) {
	const keep = 24
	if max(len(a), len(b)) <= maxText {
		return a, b
	}
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if n <= keep {
		return a, b
	}
	return "…" + a[n-keep:], "…" + b[n-keep:]
}

func (d *differ) maps(path string, a, b map[string]any) {
	keys := slices.Collect(maps.Keys(a))
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		d.compare(join(path, key), a[key], b[key])
	}
}

// lists compares lists of texts as sets and says when only their order differs, which instances feel; other lists
// item by item when they are equally long.
func (d *differ) lists(path string, a, b []any) {
	switch {
	case plain(a) && plain(b):
		d.sets(path, a, b)
	case len(a) == len(b):
		for i := range a {
			d.compare(path+"["+strconv.Itoa(i)+"]", a[i], b[i])
		}
	case len(a) == 0:
		d.add(Field{Path: path, Change: Added, After: valueText(b)})
	case len(b) == 0:
		d.add(Field{Path: path, Change: Removed, Before: valueText(a)})
	default:
		d.add(Field{Path: path, Change: Changed, Before: valueText(a), After: valueText(b)})
	}
}

func (d *differ) sets(path string, a, b []any) {
	n := len(d.fields) + d.more
	for _, v := range a {
		if !slices.Contains(b, v) {
			d.add(Field{Path: path, Change: Removed, Before: valueText(v)})
		}
	}
	for _, v := range b {
		if !slices.Contains(a, v) {
			d.add(Field{Path: path, Change: Added, After: valueText(v)})
		}
	}
	if n == len(d.fields)+d.more && !slices.Equal(a, b) {
		d.add(Field{Path: path, Change: Changed, Before: valueText(a), After: valueText(b)})
	}
}

func plain(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(string); return !ok })
}

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "(a value that cannot be shown)"
	}
	return strings.TrimSpace(b.String())
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func join(path, key string) string {
	switch {
	case !identifier.MatchString(key):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}
