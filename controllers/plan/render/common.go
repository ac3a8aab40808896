// SPDX-License-Identifier: Apache-2.0

// Package render writes a report for people at a terminal, as a comment in a forge, and as JSON.
package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"wasmbed.dev/controllers/plan"
)

// liveNotes are how what runs differs from the base.
func liveNotes(r *plan.Report) []string {
	var out []string
	l := &r.Live
	if n := len(l.Offline); n > 0 {
		out = append(out, fmt.Sprintf("%s away now and served on return: %s", count(n, "device"), firsts(l.Offline, n)))
	}
	for i := range l.Drift[:min(len(l.Drift), 10)] {
		o := &l.Drift[i]
		var fields []string
		for _, f := range o.Fields {
			fields = append(fields, f.Path+": "+or(f.Before, "nothing")+" in git, "+or(f.After, "nothing")+" live")
		}
		out = append(out, fmt.Sprintf("%s %s is not as git says: %s", o.Kind, objectName(o), firsts(fields, len(fields)+o.MoreFields)))
	}
	if n := len(l.Drift) - 10; n > 0 {
		out = append(out, count(n, "more object")+" not as git says")
	}
	return out
}

// firsts are the first six of n texts.
func firsts(list []string, n int) string {
	shown := list[:min(len(list), 6)]
	text := strings.Join(shown, ", ")
	if n > len(shown) {
		text += fmt.Sprintf(" and %s more", number(n-len(shown)))
	}
	return text
}

// Summary is a report in one sentence without texts of the commit.
func Summary(r *plan.Report) string {
	switch {
	case r.Refused:
		return "refused with " + count(errorsOf(r), "error") + "; nothing of it would be applied"
	case r.Outcome == plan.OutcomeNoChange:
		return "nothing changes"
	}
	t := &r.Totals
	parts := []string{}
	tell := func(n int, one, many string) {
		switch {
		case n == 0:
		case len(parts) == 0 && n == 1:
			parts = append(parts, "1 device "+one+" an application")
		case len(parts) == 0:
			parts = append(parts, number(n)+" devices "+many+" an application")
		case n == 1:
			parts = append(parts, "1 "+one+" one")
		default:
			parts = append(parts, number(n)+" "+many+" one")
		}
	}
	tell(t.Restarts, "restarts", "restart")
	tell(t.Gets, "gets", "get")
	tell(t.Loses, "loses", "lose")
	if t.MayGet > 0 {
		parts = append(parts, count(t.MayGet, "device")+" may get an application")
	}
	if n := len(r.Devices.Added); n > 0 {
		parts = append(parts, count(n, "device")+" added")
	}
	if n := len(r.Devices.Removed); n > 0 {
		parts = append(parts, count(n, "device")+" removed")
	}
	if len(parts) == 0 {
		parts = append(parts, "no device is touched")
	}
	text := strings.Join(parts, ", ")
	denied, warned := levels(r)
	if denied > 0 {
		text += "; denied for " + count(denied, "reason")
	}
	if warned > 0 {
		text += "; " + count(warned, "warning")
	}
	return text
}

func errorsOf(r *plan.Report) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == "Error" {
			n++
		}
	}
	return n
}

func levels(r *plan.Report) (denied, warned int) {
	for _, risk := range r.Risks {
		if risk.Level == plan.LevelDeny {
			denied++
		} else {
			warned++
		}
	}
	return denied, warned
}

// number writes thousands apart: 10,000.
func number[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}

func bytesText(n int64) string {
	switch {
	case n < 10_000:
		return number(n) + " bytes"
	case n < 10_000_000:
		return number((n+500)/1000) + " kB"
	}
	return number((n+500_000)/1_000_000) + " MB"
}

func seconds(n int64) string {
	d := time.Duration(n) * time.Second
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// waves says in which waves a rollout goes: "4 waves of 25, 25, 25, 10 devices".
func waves(r *plan.Rollout) string {
	const most = 6
	var sizes []string
	for i, s := range r.Sizes {
		if i == most {
			sizes = append(sizes, "…")
			break
		}
		text := number(s.Devices)
		if s.Times > 1 {
			text = number(s.Times) + " × " + text
		}
		sizes = append(sizes, text)
	}
	last := r.Sizes[len(r.Sizes)-1].Devices
	noun := "devices"
	if last == 1 {
		noun = "device"
	}
	return fmt.Sprintf("%s: %s %s", count(r.Waves, "wave"), strings.Join(sizes, ", "), noun)
}

// revision names a side of the change: name and short commit.
func revision(r plan.Revision) string {
	if r.Commit == "" {
		return r.Name
	}
	short := r.Commit[:min(len(r.Commit), 7)]
	if r.Name == "" || strings.HasPrefix(r.Commit, r.Name) {
		return short
	}
	return r.Name + " (" + short + ")"
}

// shortDigest is a digest as people compare them.
func shortDigest(digest string) string {
	const keep = len("sha256:") + 12
	if len(digest) <= keep || !strings.HasPrefix(digest, "sha256:") {
		return digest
	}
	return digest[:keep] + "…"
}

// visible drops what could steer a terminal or turn the direction of writing, should it have got this far.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsGraphic(r), unicode.Is(unicode.Cf, r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// group is objects that change in the same way.
type group struct {
	sign    byte // + ~ -
	objects []plan.Object
}

// groups gathers objects of one kind that differ in the same fields and values, in the order of the first of each;
// Devices come last, because they are many.
func groups(objects plan.Objects) []group {
	var out []group
	index := map[string]int{}
	for _, list := range []struct {
		sign    byte
		objects []plan.Object
	}{{'+', objects.Added}, {'~', objects.Changed}, {'-', objects.Removed}} {
		for _, o := range list.objects {
			key := fmt.Sprintf("%c%s%d%q", list.sign, o.Kind, o.MoreFields, o.Fields)
			i, ok := index[key]
			if !ok {
				i = len(out)
				index[key] = i
				out = append(out, group{sign: list.sign})
			}
			out[i].objects = append(out[i].objects, o)
		}
	}
	slices.SortStableFunc(out, func(a, b group) int { return a.last() - b.last() })
	return out
}

func (g *group) last() int {
	if g.objects[0].Kind == "Device" {
		return 1
	}
	return 0
}

func objectName(o *plan.Object) string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

// happening is the devices of an application by what happens to them.
type happening struct {
	verb    string
	devices []string
}

func happenings(a *plan.Application) []happening {
	names := func(steps []plan.Step) []string {
		out := make([]string, len(steps))
		for i, s := range steps {
			out[i] = s.Device
		}
		return out
	}
	var out []happening
	for _, h := range []happening{
		{"restart", names(a.Restarts)}, {"get it", names(a.Gets)}, {"may get it", names(a.MayGet)},
		{"lose it", a.Loses}, {"leave the fleet", a.Leaves},
	} {
		if len(h.devices) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// deviceLists are what happens to devices, whatever runs on them.
func deviceLists(d *plan.Devices) []happening {
	moved := make([]string, len(d.Moves))
	for i, m := range d.Moves {
		moved[i] = m.Device + ": " + or(m.From, "assigned") + " → " + or(m.To, "assigned")
	}
	var out []happening
	for _, h := range []happening{
		{"added", d.Added}, {"removed", d.Removed}, {"switched off", d.Off}, {"switched on", d.On},
		{"quarantined", d.Quarantined}, {"out of quarantine", d.Released}, {"with other keys", d.KeysChanged},
		{"pinned to another gateway", moved},
	} {
		if len(h.devices) > 0 {
			out = append(out, h)
		}
	}
	return out
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func sign(change string) byte {
	switch change {
	case plan.Added:
		return '+'
	case plan.Removed:
		return '-'
	case plan.Changed:
		return '~'
	}
	return ' '
}

// fact is a line about a module: what it was and is.
type fact struct{ name, before, after string }

func moduleFacts(m *plan.Module) []fact {
	var out []fact
	had := m.Before.Digest != ""
	add := func(name, before, after string) {
		if !had {
			before = ""
		}
		out = append(out, fact{name, before, after})
	}
	add("digest", shortDigest(m.Before.Digest), shortDigest(m.After.Digest))
	add("size", bytesText(m.Before.Size), bytesText(m.After.Size))
	add("code", bytesText(m.Before.CodeSize), bytesText(m.After.CodeSize))
	add("linear memory", bytesText(m.Before.Memory), bytesText(m.After.Memory))
	for _, r := range m.RAM {
		add("RAM on "+r.Board, number(r.Before)+" bytes", number(r.After)+" bytes")
	}
	if m.After.TrialEnd != "" {
		trial := func(f plan.ModuleFacts) string {
			return fmt.Sprintf("%s fuel, then it %s", number(f.TrialFuel), f.TrialEnd)
		}
		before := ""
		if m.Before.TrialEnd != "" {
			before = trial(m.Before)
		}
		add("trial start", before, trial(m.After))
	}
	return out
}
