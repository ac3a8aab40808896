// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"iter"
	"net/url"
	"slices"
	"strings"

	"wasmbed.dev/controllers/plan"
)

const (
	// MaxComment is the longest report in bytes. A forge takes comments of 65,536 characters or more; the rest is for
	// what stands beside a plan in the same comment.
	MaxComment = 44_000
	// reserve is kept for the end of the comment.
	reserve = 800
	// mdNames is how many devices a list names.
	mdNames = 50
)

// Marker is the first line of a comment: a pipeline finds the comment to update by it. It differs for each fleet of a
// repository.
func Marker(path string) string {
	return "<!-- wasmbed-plan " + url.PathEscape(path) + " -->"
}

// Markdown writes a report as a comment for a forge. Its first line is Marker; it has at most MaxComment bytes and says
// what was left out.
func Markdown(w io.Writer, r *plan.Report) error {
	p := &page{}
	p.add(Marker(r.Path) + "\n### Wasmbed plan: " + Prose(Summary(r)) + "\n\n")
	p.add(fmt.Sprintf("From %s to %s", Code(revision(r.Base)), Code(revision(r.Head))))
	if r.Head.Subject != "" {
		p.add(", " + Code(r.Head.Subject))
	}
	p.add("\n")
	p.risks(r)
	p.findings(r)
	if !r.Refused && r.Outcome != plan.OutcomeNoChange {
		p.overview(r)
		p.applications(r)
		p.devices(r)
		p.modules(r)
		p.boards(r)
	}
	p.objects(r)
	p.notes(r)
	p.end()
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// page is a comment under way.
type page struct {
	b       strings.Builder
	omitted []omission
}

// omission is how many of something were left out.
type omission struct {
	n    int
	noun string
}

func (p *page) omit(n int, noun string) {
	if n == 0 {
		return
	}
	i := slices.IndexFunc(p.omitted, func(o omission) bool { return o.noun == noun })
	if i < 0 {
		p.omitted = append(p.omitted, omission{noun: noun})
		i = len(p.omitted) - 1
	}
	p.omitted[i].n += n
}

func (p *page) add(s string) { p.b.WriteString(s) }

func (p *page) room() int { return MaxComment - reserve - p.b.Len() }

// items writes entries as far as they fit into so many bytes and there is room. It returns how many.
func (p *page) items(limit int, entries iter.Seq[string]) (n int) {
	limit = min(limit, p.room())
	start := p.b.Len()
	for entry := range entries {
		if p.b.Len()-start+len(entry) > limit {
			break
		}
		p.add(entry)
		n++
	}
	return n
}

// folded writes a section that is opened by a click, as items does; nothing when there is no room for a bit of it.
func (p *page) folded(summary, head string, limit int, entries iter.Seq[string]) (n int) {
	const least = 400
	if p.room() < len(summary)+len(head)+least {
		return 0
	}
	p.add("\n<details><summary>" + summary + "</summary>\n\n" + head)
	n = p.items(limit, entries)
	p.add("\n</details>\n")
	return n
}

func (p *page) risks(r *plan.Report) {
	if len(r.Risks) == 0 {
		return
	}
	p.add("\n| | Risk | |\n|---|---|---|\n")
	n := p.items(12_000, func(yield func(string) bool) {
		for _, risk := range r.Risks {
			level := "warning"
			if risk.Level == plan.LevelDeny {
				level = "**denied**"
			}
			text := Prose(risk.Message)
			if risk.Subject != "" {
				text = Code(risk.Subject) + ": " + text
			}
			if !yield(fmt.Sprintf("| %s | %s | %s |\n", level, Code(risk.Rule), text)) {
				return
			}
		}
	})
	p.omit(len(r.Risks)-n, "risk")
}

func (p *page) findings(r *plan.Report) {
	if len(r.Findings) == 0 {
		return
	}
	p.add("\n**Findings**\n\n")
	n := p.items(12_000, func(yield func(string) bool) {
		for _, f := range r.Findings {
			where := f.File
			if f.Line > 0 {
				where = fmt.Sprintf("%s:%d", f.File, f.Line)
			}
			subject := ""
			if f.Object != "" {
				subject = Code(f.Object) + ": "
			}
			if !yield(fmt.Sprintf("- %s %s %s%s\n", strings.ToLower(Prose(f.Severity)), Code(where), subject, Prose(f.Message))) {
				return
			}
		}
	})
	p.omit(len(r.Findings)-n, "finding")
}

func (p *page) overview(r *plan.Report) {
	o, t := &r.Objects, &r.Totals
	p.add("\n| | |\n|---|---|\n")
	row := func(name, text string) { p.add("| " + name + " | " + text + " |\n") }
	row("Objects", fmt.Sprintf("%s added, %s changed, %s removed", number(len(o.Added)), number(len(o.Changed)), number(len(o.Removed))))
	row("Devices touched", fmt.Sprintf("%s: %s restart, %s get, %s lose an application", number(t.Touched), number(t.Restarts), number(t.Gets), number(t.Loses)))
	if t.Bytes > 0 {
		row("To deliver", bytesText(t.Bytes))
	}
	if t.LongestSeconds > 0 {
		row("Longest rollout", "up to "+seconds(t.LongestSeconds))
	}
	switch b := r.Prune; {
	case b.Blocked:
		row("Brake on removals", "stops the commit unless its message ends with the line "+Code(b.Trailer))
	case b.Needed:
		row("Brake on removals", "released by "+Code(b.Trailer))
	}
}

// names lists devices on a line.
func names(list []string) string {
	shown := make([]string, 0, min(len(list), mdNames))
	for _, name := range list[:min(len(list), mdNames)] {
		shown = append(shown, Code(name))
	}
	text := strings.Join(shown, ", ")
	if n := len(list) - len(shown); n > 0 {
		text += " and " + number(n) + " more"
	}
	return text
}

// most keeps the longest section from taking all the room of those below it.
const most = 18_000

func (p *page) applications(r *plan.Report) {
	if len(r.Applications) == 0 {
		return
	}
	p.add("\n**Applications**\n")
	start := p.b.Len()
	for i := range r.Applications {
		a := &r.Applications[i]
		head := Tag(a.Namespace+"/"+a.Name) + " " + strings.ToLower(Prose(a.Change)) + ": " + applicationSummary(a)
		if p.b.Len()-start > most {
			p.omit(len(r.Applications)-i, "application")
			return
		}
		lines := applicationLines(a)
		p.omit(len(lines)-p.folded(head, "", 8_000, slices.Values(lines)), "line")
	}
}

func applicationSummary(a *plan.Application) string {
	var parts []string
	for _, h := range happenings(a) {
		parts = append(parts, number(len(h.devices))+" "+h.verb)
	}
	if len(parts) == 0 {
		return "no device is touched"
	}
	text := strings.Join(parts, ", ") + " (of " + count(a.Devices, "device") + ")"
	if a.Rollout.Waves > 0 {
		text += ", " + count(a.Rollout.Waves, "wave") + ", up to " + seconds(a.Rollout.LongestSeconds)
	}
	return text
}

func applicationLines(a *plan.Application) []string {
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, "- "+fmt.Sprintf(format, args...)+"\n") }
	if len(a.Why) > 0 {
		line("what changes: %s", Prose(strings.Join(a.Why, ", ")))
	}
	if a.Rollout.Waves > 0 {
		line("%s; at most %s unavailable, each wave at most %s", Prose(waves(&a.Rollout)), Code(a.Rollout.MaxUnavailable), seconds(a.Rollout.DeadlineSeconds))
		line("the first wave: %s", names(firstWave(a)))
	}
	for _, text := range applicationNotes(a) {
		line("%s", Prose(text))
	}
	for _, h := range happenings(a) {
		line("%s %s: %s", number(len(h.devices)), h.verb, names(h.devices))
	}
	return lines
}

func firstWave(a *plan.Application) []string {
	var out []string
	for _, list := range [][]plan.Step{a.Restarts, a.Gets, a.MayGet} {
		for _, s := range list {
			if s.Wave == 1 {
				out = append(out, s.Device)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (p *page) devices(r *plan.Report) {
	lists := deviceLists(&r.Devices)
	if len(lists) == 0 {
		return
	}
	var parts, lines []string
	for _, h := range lists {
		parts = append(parts, number(len(h.devices))+" "+h.verb)
		lines = append(lines, fmt.Sprintf("- %s %s: %s\n", number(len(h.devices)), h.verb, names(h.devices)))
	}
	p.omit(len(lines)-p.folded("Devices: "+strings.Join(parts, ", "), "", most, slices.Values(lines)), "line")
}

func (p *page) modules(r *plan.Report) {
	start := p.b.Len()
	for i := range r.Modules {
		m := &r.Modules[i]
		if p.b.Len()-start > most {
			p.omit(len(r.Modules)-i, "module")
			return
		}
		var lines []string
		for _, f := range moduleFacts(m) {
			before := "–"
			if f.before != "" {
				before = Code(f.before)
			}
			lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", Prose(f.name), before, Code(f.after)))
		}
		lines = append(lines, "\n")
		for _, l := range moduleLists(m) {
			lines = append(lines, fmt.Sprintf("- %s: %s\n", l.verb, names(l.devices)))
		}
		n := p.folded("Module "+Tag(m.Path)+": "+moduleSummary(m), fmt.Sprintf("For %s.\n\n| | before | after |\n|---|---|---|\n", names(m.Applications)),
			8_000, slices.Values(lines))
		p.omit(len(lines)-n, "line")
	}
}

func moduleSummary(m *plan.Module) string {
	if m.Before.Digest == "" {
		return "new, " + bytesText(m.After.Size)
	}
	return from(bytesText(m.Before.Size), bytesText(m.After.Size))
}

func (p *page) boards(r *plan.Report) {
	if len(r.Boards) == 0 {
		return
	}
	n := p.folded("Boards: how full the fullest device of each is", "| Board | Memory for apps | Apps | Storage of modules | Fullest |\n|---|---|---|---|---|\n",
		most, func(yield func(string) bool) {
			for _, b := range r.Boards {
				if !yield(fmt.Sprintf("| %s | %s of %s | %s of %d | %s of %s | %s |\n", Code(b.Board),
					from(number(b.MemoryBefore), number(b.Memory)), number(b.MemoryLimit), from(number(b.AppsBefore), number(b.Apps)), b.AppsLimit,
					from(number(b.StorageBefore), number(b.Storage)), number(b.StorageLimit), Code(b.Fullest))) {
					return
				}
			}
		})
	p.omit(len(r.Boards)-n, "board")
}

func (p *page) objects(r *plan.Report) {
	all := groups(r.Objects)
	o := &r.Objects
	if len(all) == 0 {
		return
	}
	summary := fmt.Sprintf("Objects: %s added, %s changed, %s removed, %s unchanged", number(len(o.Added)), number(len(o.Changed)), number(len(o.Removed)), number(o.Unchanged))
	n := p.folded(summary, "", p.room()-2_000, func(yield func(string) bool) {
		for i := range all {
			if !yield(groupText(&all[i])) {
				return
			}
		}
	})
	for _, g := range all[n:] {
		p.omit(len(g.objects), "object")
	}
}

func groupText(g *group) string {
	const mostFields = 20
	var b strings.Builder
	first := &g.objects[0]
	verb := map[byte]string{'+': "added", '~': "changed", '-': "removed"}[g.sign]
	if len(g.objects) == 1 {
		fmt.Fprintf(&b, "- %s %s, %s\n", verb, Code(first.Kind+" "+objectName(first)), Code(fmt.Sprintf("%s:%d", first.File, first.Line)))
	} else {
		list := make([]string, len(g.objects))
		for i := range g.objects {
			list[i] = objectName(&g.objects[i])
		}
		fmt.Fprintf(&b, "- %s %s × %s: %s\n", verb, number(len(list)), Code(first.Kind), names(list))
	}
	for _, f := range first.Fields[:min(len(first.Fields), mostFields)] {
		switch f.Change {
		case plan.Added:
			fmt.Fprintf(&b, "  - %s: + %s\n", Code(f.Path), Code(shortDigest(f.After)))
		case plan.Removed:
			fmt.Fprintf(&b, "  - %s: − %s\n", Code(f.Path), Code(shortDigest(f.Before)))
		default:
			fmt.Fprintf(&b, "  - %s: %s → %s\n", Code(f.Path), Code(shortDigest(f.Before)), Code(shortDigest(f.After)))
		}
	}
	if n := max(len(first.Fields)-mostFields, 0) + first.MoreFields; n > 0 {
		fmt.Fprintf(&b, "  - and %s\n", count(n, "more field"))
	}
	if g.sign == '~' && first.Kind == "Secret" {
		b.WriteString("  - its content changed; it is not shown\n")
	}
	return b.String()
}

func (p *page) notes(r *plan.Report) {
	notes := slices.Concat(liveNotes(r), r.Notes)
	if len(notes) == 0 {
		return
	}
	lines := make([]string, len(notes))
	for i, n := range notes {
		lines[i] = "- " + Prose(n) + "\n"
	}
	p.omit(len(lines)-p.folded("What git does not say", "", 4_000, slices.Values(lines)), "note")
}

// end says what was left out.
func (p *page) end() {
	if len(p.omitted) == 0 {
		return
	}
	parts := make([]string, len(p.omitted))
	for i, o := range p.omitted {
		parts[i] = count(o.n, o.noun)
	}
	p.add("\nLeft out to keep this short: " + strings.Join(parts, ", ") + ". `wasmbed plan -o json` has everything.\n")
}
