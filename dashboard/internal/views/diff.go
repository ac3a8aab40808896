// SPDX-License-Identifier: Apache-2.0

package views

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"wasmbed.dev/dashboard/internal/fleet"
)

// Inserted puts a row into a window: a new one, or one that moved and is known by its id.
type Inserted struct {
	At  int       `json:"at"`
	Row fleet.Row `json:"row,omitempty"`
	ID  string    `json:"id,omitempty"`
}

// WindowDelta leads from one window to another: first Removed, then Inserted in order, then Changed.
type WindowDelta struct {
	Removed  []string         `json:"removed,omitempty"`
	Inserted []Inserted       `json:"inserted,omitempty"`
	Changed  []map[string]any `json:"changed,omitempty"`
}

// Empty says that there is no difference.
func (d *WindowDelta) Empty() bool {
	return len(d.Removed) == 0 && len(d.Inserted) == 0 && len(d.Changed) == 0
}

// Compare says what leads from the window before to the window after. Both have at most MaxLimit rows.
func Compare(before, after []fleet.Row) WindowDelta {
	was := make(map[string]int, len(before))
	for i, row := range before {
		was[row.Key()] = i
	}
	places := make([]int, 0, len(after)) // where the rows that stay stood before, in their new order
	stays := map[string]bool{}
	for _, row := range after {
		if i, ok := was[row.Key()]; ok {
			places = append(places, i)
		}
	}
	for _, i := range longestRise(places) {
		stays[before[i].Key()] = true
	}
	var d WindowDelta
	for _, row := range before {
		if !stays[row.Key()] {
			d.Removed = append(d.Removed, row.Key())
		}
	}
	for at, row := range after {
		i, known := was[row.Key()]
		switch {
		case !known:
			d.Inserted = append(d.Inserted, Inserted{At: at, Row: row})
			continue
		case !stays[row.Key()]:
			d.Inserted = append(d.Inserted, Inserted{At: at, ID: row.Key()})
		}
		if before[i] != row {
			if changes := Patch(before[i], row); len(changes) > 0 {
				changes["id"] = row.Key()
				d.Changed = append(d.Changed, changes)
			}
		}
	}
	return d
}

// longestRise is a longest rising part of numbers that are all different.
func longestRise(numbers []int) []int {
	ends := make([]int, 0, len(numbers)) // ends[k]: place of the least number that ends a rise of k+1
	before := make([]int, len(numbers))
	for i, n := range numbers {
		k, _ := slices.BinarySearchFunc(ends, n, func(place, n int) int { return numbers[place] - n })
		before[i] = -1
		if k > 0 {
			before[i] = ends[k-1]
		}
		if k == len(ends) {
			ends = append(ends, i)
		} else {
			ends[k] = i
		}
	}
	if len(ends) == 0 {
		return nil
	}
	rise := make([]int, len(ends))
	for k, i := len(ends)-1, ends[len(ends)-1]; k >= 0; k, i = k-1, before[i] {
		rise[k] = numbers[i]
	}
	return rise
}

// field of a struct as it stands in JSON.
type field struct {
	name      string
	index     []int
	omitEmpty bool
}

var fieldsOf sync.Map // reflect.Type → []field

// jsonFields are the fields of a struct with those of embedded structs, as encoding/json sees them.
func jsonFields(t reflect.Type) []field {
	if known, ok := fieldsOf.Load(t); ok {
		return known.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			for _, inner := range jsonFields(embedded) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
		case f.IsExported() && name != "-" && name != "":
			fields = append(fields, field{name, []int{i}, strings.Contains(options, "omitempty")})
		}
	}
	fieldsOf.Store(t, fields)
	return fields
}

// Field of a struct as encoding/json sees it.
type Field struct {
	Name      string
	Type      reflect.Type
	OmitEmpty bool
}

// FieldsOf are the fields of a struct with those of embedded structs.
func FieldsOf(t reflect.Type) (fields []Field) {
	for _, f := range jsonFields(t) {
		fields = append(fields, Field{f.name, t.FieldByIndex(f.index).Type, f.omitEmpty})
	}
	return fields
}

// Patch is what to merge into before to get after, both pointers to structs of one type: nil for a field that is
// absent now.
func Patch(before, after any) map[string]any {
	old, now := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	changes := map[string]any{}
	for _, f := range jsonFields(now.Type()) {
		a, errA := old.FieldByIndexErr(f.index)
		b, errB := now.FieldByIndexErr(f.index)
		switch {
		case errB != nil: // an embedded pointer that is nil
			if errA == nil {
				changes[f.name] = nil
			}
		case errA == nil && reflect.DeepEqual(a.Interface(), b.Interface()):
		case f.omitEmpty && empty(b):
			if errA == nil && !empty(a) {
				changes[f.name] = nil
			}
		default:
			changes[f.name] = b.Interface()
		}
	}
	return changes
}

// empty is what encoding/json leaves out with omitempty.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}
