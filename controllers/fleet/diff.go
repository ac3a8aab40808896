// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Changes is what differs between two fleets, each list in the order of Fleet.Objects.
type Changes struct {
	Added   []*Object
	Changed []*Object // as they are in the newer fleet
	Removed []*Object // as they were in the older one
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool {
	return len(c.Added) == 0 && len(c.Changed) == 0 && len(c.Removed) == 0
}

// Diff compares two fleets by the digests of their objects. Either may be nil, which is an empty fleet.
func Diff(older, newer *Fleet) Changes {
	var c Changes
	var a, b []*Object
	if older != nil {
		a = older.Objects
	}
	if newer != nil {
		b = newer.Objects
	}
	for len(a) > 0 && len(b) > 0 {
		switch d := compareIDs(a[0].ID, b[0].ID); {
		case d < 0:
			c.Removed = append(c.Removed, a[0])
			a = a[1:]
		case d > 0:
			c.Added = append(c.Added, b[0])
			b = b[1:]
		default:
			if a[0].Digest != b[0].Digest {
				c.Changed = append(c.Changed, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	c.Removed = append(c.Removed, a...)
	c.Added = append(c.Added, b...)
	return c
}

// compareIDs is the order of Fleet.Objects.
func compareIDs(a, b ID) int {
	return cmp.Or(
		cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)),
		cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name),
	)
}

// Brake is the decision whether a commit may remove what it removes.
type Brake struct {
	// Blocked means that nothing of the commit may be applied; Message says why and what to do.
	Blocked bool
	Message string
	// Needed is whether a trailer is needed, Trailer the line that a commit message must carry, and Allowed what the
	// commit's own trailer allows (0 without one).
	Needed  bool
	Trailer string
	Allowed int
}

// Thresholds of the brake: more Devices than both.
const (
	brakeDevices      = 10
	brakeSharePercent = 10
)

// PruneBrake decides on a commit that removes objects of those that there were before. The message is the commit's.
// More than 10 Devices that are also more than 10 % of them, any Namespace or Gateway, or everything, need a trailer
// that allows as many removals as there are.
func PruneBrake(removed, before []ID, message string) Brake {
	why := brakeReason(removed, before)
	b := Brake{Needed: why != "", Allowed: allowedPrune(message)}
	if !b.Needed {
		return b
	}
	b.Trailer = fmt.Sprintf("%s: %d", v1alpha1.TrailerAllowPrune, len(removed))
	if b.Allowed >= len(removed) {
		return b
	}
	b.Blocked = true
	b.Message = fmt.Sprintf("the commit removes %s; nothing of it is applied. If that is meant, put the line %q at the end of the commit message (git commit --amend, or a further commit); if not, revert it", why, b.Trailer)
	if b.Allowed > 0 {
		b.Message += fmt.Sprintf(". Its trailer allows %d removals and it makes %d", b.Allowed, len(removed))
	}
	return b
}

func brakeReason(removed, before []ID) string {
	if len(removed) == 0 {
		return ""
	}
	if len(removed) >= len(before) {
		return fmt.Sprintf("everything: all %d objects", len(before))
	}
	var had, gone int
	for _, id := range before {
		if id.Kind == kindDevice {
			had++
		}
	}
	var others []string
	for _, id := range removed {
		switch id.Kind {
		case kindDevice:
			gone++
		case kindNamespace, kindGateway:
			others = append(others, id.String())
		}
	}
	var why []string
	if gone > brakeDevices && gone*100 > had*brakeSharePercent {
		why = append(why, fmt.Sprintf("%d of %d Devices", gone, had))
	}
	if n := len(others); n > 3 {
		others = append(others[:3:3], fmt.Sprintf("%d more", n-3))
	}
	return strings.Join(append(why, others...), ", ")
}

// allowedPrune reads the trailer of a commit message: the last paragraph, a line by itself. The last one counts.
func allowedPrune(message string) int {
	message = strings.TrimSpace(strings.ReplaceAll(message, "\r\n", "\n"))
	if i := strings.LastIndex(message, "\n\n"); i >= 0 {
		message = message[i+2:]
	}
	allowed := 0
	for line := range strings.SplitSeq(message, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok || !strings.EqualFold(strings.TrimSpace(key), v1alpha1.TrailerAllowPrune) {
			continue
		}
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > 0 {
			allowed = n
		}
	}
	return allowed
}
