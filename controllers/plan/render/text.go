// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"wasmbed.dev/controllers/plan"
)

// How much of each list a person is shown at a terminal; JSON has all of it.
const (
	textNames  = 6
	textFields = 12
	textItems  = 40
	textLength = 2000 // bytes of one text
)

// style is a colour of a terminal.
type style string

const (
	plainStyle style = ""
	bold       style = "1"
	red        style = "31"
	green      style = "32"
	yellow     style = "33"
	cyan       style = "36"
	faint      style = "2"
)

type textWriter struct {
	b      strings.Builder
	colour bool
}

// Text writes a report for a person. Long lists are folded to their first entries and a count.
func Text(w io.Writer, r *plan.Report, colour bool) error {
	t := &textWriter{colour: colour}
	t.line("%s → %s %s", t.in(bold, revision(r.Base)), t.in(bold, revision(r.Head)), t.in(faint, r.Head.Subject))
	t.line("%s", t.in(bold, Summary(r)))
	t.findings(r)
	t.risks(r)
	if !r.Refused {
		t.consequences(r)
	}
	t.objects(r)
	t.notes(r)
	if _, err := io.WriteString(w, t.b.String()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

func (t *textWriter) line(format string, args ...any) {
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " "))
	t.b.WriteByte('\n')
}

// in writes a text of the report in a style.
func (t *textWriter) in(s style, text string) string {
	text = cut(visible(text), textLength)
	if !t.colour || s == plainStyle || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (t *textWriter) heading(text string) {
	t.b.WriteByte('\n')
	t.line("%s", t.in(bold, text))
}

// more says how many entries of a list are not shown.
func (t *textWriter) more(n int, what string) {
	if n > 0 {
		t.line("  %s", t.in(faint, "… and "+count(n, "more "+what)+"; -o json has them"))
	}
}

func (t *textWriter) findings(r *plan.Report) {
	if len(r.Findings) == 0 {
		return
	}
	t.heading("Findings")
	for _, f := range r.Findings[:min(len(r.Findings), textItems)] {
		s := yellow
		if f.Severity == "Error" {
			s = red
		}
		where := f.File
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		t.line("  %s %s %s", t.in(s, strings.ToLower(f.Severity)), t.in(plainStyle, where), t.in(plainStyle, strings.TrimPrefix(f.Object+": "+f.Message, ": ")))
	}
	t.more(len(r.Findings)-textItems, "finding")
}

func (t *textWriter) risks(r *plan.Report) {
	if len(r.Risks) == 0 {
		return
	}
	t.heading("Risks")
	for _, risk := range r.Risks[:min(len(r.Risks), textItems)] {
		s := yellow
		if risk.Level == plan.LevelDeny {
			s = red
		}
		t.line("  %s %s: %s", t.in(s, risk.Level), t.in(plainStyle, risk.Rule), t.in(plainStyle, strings.TrimPrefix(risk.Subject+": "+risk.Message, ": ")))
	}
	t.more(len(r.Risks)-textItems, "risk")
}

func (t *textWriter) consequences(r *plan.Report) {
	t.applications(r)
	if lists := deviceLists(&r.Devices); len(lists) > 0 {
		t.heading("Devices")
		for _, h := range lists {
			t.counted(h)
		}
	}
	t.modules(r)
	t.boards(r)
	if p := r.Prune; p.Needed {
		t.heading("Brake on removals")
		if p.Blocked {
			t.line("  nothing is applied unless the commit message ends with the line: %s", t.in(bold, p.Trailer))
		} else {
			t.line("  the commit message carries %s", t.in(bold, p.Trailer))
		}
	}
}

func (t *textWriter) list(what string, names []string) {
	shown := names[:min(len(names), textNames)]
	rest := ""
	if n := len(names) - len(shown); n > 0 {
		rest = t.in(faint, " and "+number(n)+" more")
	}
	t.line("    %s: %s%s", t.in(plainStyle, what), t.in(plainStyle, strings.Join(shown, ", ")), rest)
}

func (t *textWriter) counted(h happening) { t.list(number(len(h.devices))+" "+h.verb, h.devices) }

func (t *textWriter) signed(sign byte, text string) string {
	s := map[byte]style{'+': green, '-': red, '~': cyan}[sign]
	return t.in(s, strings.TrimSpace(string(sign)+" "+text))
}

func (t *textWriter) applications(r *plan.Report) {
	if len(r.Applications) == 0 {
		return
	}
	t.heading("Applications")
	for i := range r.Applications[:min(len(r.Applications), textItems)] {
		a := &r.Applications[i]
		why := ""
		if len(a.Why) > 0 {
			why = ": " + strings.Join(a.Why, ", ")
		}
		t.line("  %s %s", t.signed(sign(a.Change), a.Namespace+"/"+a.Name), t.in(faint, devicesText(a)+why))
		for _, h := range happenings(a) {
			t.counted(h)
		}
		if a.Rollout.Waves > 0 {
			t.line("    %s, at most %s unavailable; up to %s", waves(&a.Rollout), t.in(plainStyle, a.Rollout.MaxUnavailable), seconds(a.Rollout.LongestSeconds))
		}
		for _, text := range applicationNotes(a) {
			t.line("    %s", t.in(plainStyle, text))
		}
	}
	t.more(len(r.Applications)-textItems, "application")
}

func devicesText(a *plan.Application) string {
	if a.Before == a.Devices {
		return count(a.Devices, "device")
	}
	return number(a.Before) + " → " + count(a.Devices, "device")
}

// applicationNotes are what else is to be said of an application.
func applicationNotes(a *plan.Application) []string {
	var out []string
	if a.Bytes > 0 {
		out = append(out, bytesText(a.Bytes)+" to deliver")
	}
	if len(a.PermissionsGained) > 0 && a.Change != plan.Removed {
		out = append(out, "permissions gained: "+strings.Join(a.PermissionsGained, ", "))
	}
	if len(a.PermissionsLost) > 0 && a.Change != plan.Removed {
		out = append(out, "permissions lost: "+strings.Join(a.PermissionsLost, ", "))
	}
	if a.Suspended {
		out = append(out, "suspended: "+count(a.Held, "device")+" held back")
	}
	if a.Waiting > 0 {
		out = append(out, count(a.Waiting, "device")+" off or quarantined, served on return")
	}
	if a.Excluded > 0 {
		out = append(out, count(a.Excluded, "device")+" without room for it")
	}
	return out
}

func (t *textWriter) modules(r *plan.Report) {
	if len(r.Modules) == 0 {
		return
	}
	t.heading("Modules")
	for i := range r.Modules[:min(len(r.Modules), textItems)] {
		m := &r.Modules[i]
		t.line("  %s %s", t.in(cyan, m.Path), t.in(faint, "for "+strings.Join(m.Applications[:min(len(m.Applications), textNames)], ", ")))
		for _, f := range moduleFacts(m) {
			text := f.after
			if f.before != "" && f.before != f.after {
				text = f.before + " → " + f.after
			}
			t.line("    %-18s %s", t.in(plainStyle, f.name), t.in(plainStyle, text))
		}
		for _, l := range moduleLists(m) {
			t.list(l.verb, l.devices)
		}
	}
	t.more(len(r.Modules)-textItems, "module")
}

func moduleLists(m *plan.Module) []happening {
	grown := make([]string, len(m.Grown))
	for i, f := range m.Grown {
		grown[i] = fmt.Sprintf("%s %s → %s", f.Name, number(f.Before), number(f.After))
	}
	var out []happening
	for _, h := range []happening{
		{"imports gained", m.ImportsGained}, {"imports lost", m.ImportsLost}, {"exports gained", m.ExportsGained},
		{"exports lost", m.ExportsLost}, {"functions grew most", grown},
	} {
		if len(h.devices) > 0 {
			out = append(out, h)
		}
	}
	return out
}

func (t *textWriter) boards(r *plan.Report) {
	if len(r.Boards) == 0 {
		return
	}
	t.heading("Boards, the fullest device of each")
	for _, b := range r.Boards {
		t.line("  %-12s memory %s of %s, apps %d of %d, storage %s of %s  %s", t.in(plainStyle, b.Board),
			from(number(b.MemoryBefore), number(b.Memory)), number(b.MemoryLimit), b.Apps, b.AppsLimit,
			from(number(b.StorageBefore), number(b.Storage)), number(b.StorageLimit), t.in(faint, b.Fullest))
	}
}

func from(before, after string) string {
	if before == after {
		return after
	}
	return before + " → " + after
}

func (t *textWriter) objects(r *plan.Report) {
	all := groups(r.Objects)
	if len(all) == 0 {
		return
	}
	o := &r.Objects
	t.heading(fmt.Sprintf("Objects: %s added, %s changed, %s removed, %s unchanged", number(len(o.Added)), number(len(o.Changed)), number(len(o.Removed)), number(o.Unchanged)))
	left := 0
	for i, g := range all {
		if i >= textItems {
			left += len(g.objects)
			continue
		}
		t.group(&g)
	}
	t.more(left, "object")
}

func (t *textWriter) group(g *group) {
	first := &g.objects[0]
	if len(g.objects) == 1 {
		t.line("  %s  %s", t.signed(g.sign, first.Kind+" "+objectName(first)), t.in(faint, fmt.Sprintf("%s:%d", first.File, first.Line)))
	} else {
		names := make([]string, len(g.objects))
		for i := range g.objects {
			names[i] = objectName(&g.objects[i])
		}
		t.line("  %s", t.signed(g.sign, count(len(names), first.Kind)))
		t.list("all alike", names)
	}
	for _, f := range first.Fields[:min(len(first.Fields), textFields)] {
		switch f.Change {
		case plan.Added:
			t.line("    %s", t.signed('+', f.Path+": "+shortDigest(f.After)))
		case plan.Removed:
			t.line("    %s", t.signed('-', f.Path+": "+shortDigest(f.Before)))
		default:
			t.line("    %s", t.signed('~', f.Path+": "+shortDigest(f.Before)+" → "+shortDigest(f.After)))
		}
	}
	if n := len(first.Fields) - textFields; n > 0 || first.MoreFields > 0 {
		t.more(max(n, 0)+first.MoreFields, "field")
	}
	if g.sign == '~' && first.Kind == "Secret" {
		t.line("    %s", t.in(faint, "its content changed; it is not shown"))
	}
}

func (t *textWriter) notes(r *plan.Report) {
	notes := slices.Concat(liveNotes(r), r.Notes)
	if len(notes) == 0 {
		return
	}
	t.heading("What git does not say")
	for _, n := range notes[:min(len(notes), textItems)] {
		t.line("  %s", t.in(plainStyle, n))
	}
	t.more(len(notes)-textItems, "note")
}
