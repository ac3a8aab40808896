// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"slices"
	"strings"

	"wasmbed.dev/dashboard/internal/fleet"
)

// maxItems is how many completions are offered.
const maxItems = 50

// Complete implements stream.Terminal: what may stand where the line ends.
func (t *Terminal) Complete(line string, scope fleet.Scope) (from int, items []string) {
	items = []string{}
	if len(line) > maxLine {
		return len(line), items
	}
	from = strings.LastIndexByte(line, ' ') + 1
	before, begun := strings.Fields(line[:from]), line[from:]
	for _, candidate := range t.candidates(before, begun, scope) {
		if strings.HasPrefix(candidate, begun) && len(items) < maxItems {
			items = append(items, candidate)
		}
	}
	return from, items
}

// candidates are all words that may follow.
func (t *Terminal) candidates(before []string, begun string, scope fleet.Scope) []string {
	if len(before) == 0 {
		return Names()
	}
	c := commands[before[0]]
	if c == nil {
		return nil
	}
	if f := c.flag(before[len(before)-1]); f != nil && f.value != "" {
		return t.values(f, scope)
	}
	if strings.HasPrefix(begun, "-") {
		var flags []string
		for _, f := range c.flags {
			flags = append(flags, f.names...)
		}
		return flags
	}
	switch before[0] {
	case "get", "describe":
		if len(before) == 1 {
			var names []string
			for _, k := range kinds {
				if before[0] == "get" || k.detail != "" {
					names = append(names, k.names[0])
				}
			}
			return names
		}
		if k, err := kindNamed(before[1]); err == nil {
			return t.ids(fleet.Kind(k.names[0]), begun, scope)
		}
	case "logs":
		return t.ids(fleet.Devices, begun, scope)
	case "trace":
		return t.ids(fleet.Commits, begun, scope)
	case "top":
		return []string{"processes", "gateways", "instances"}
	case "help":
		return Names()
	}
	return nil
}

// values are what a flag may have.
func (t *Terminal) values(f *flag, scope fleet.Scope) []string {
	switch f.long() {
	case "--namespace":
		seen := map[string]bool{}
		t.Engine.Store.Each(fleet.Devices, scope, func(row fleet.Row) { seen[row.Space()] = true })
		var names []string
		for name := range seen {
			names = append(names, name)
		}
		slices.SortFunc(names, fleet.Natural)
		return names
	case "--level":
		return []string{"debug", "info", "warning", "error"}
	case "--state":
		return []string{"ok", "working", "warning", "error", "off"}
	case "--type":
		return []string{"Normal", "Warning", "Change"}
	}
	return nil
}

// ids are the first names of a kind that begin like this.
func (t *Terminal) ids(kind fleet.Kind, begun string, scope fleet.Scope) (found []string) {
	t.Engine.Store.Each(kind, scope, func(row fleet.Row) {
		id := row.Key()
		if c, ok := row.(*fleet.Commit); ok {
			id = c.Commit
		}
		if strings.HasPrefix(id, begun) {
			found = append(found, id)
		}
	})
	slices.SortFunc(found, fleet.Natural)
	found = slices.Compact(found)
	return found[:min(maxItems, len(found))]
}
