// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/render"
)

// MaxComment is the longest report in Markdown, in bytes: beside a plan it fits into one comment of a forge.
const MaxComment = 18_000

// Schema is the JSON schema (draft 7) of what JSON writes.
//
//go:embed preview.schema.json
var Schema []byte

// JSON writes a report whole.
func JSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the preview: %w", err)
	}
	return nil
}

// Summary is a report in one sentence without texts of the commit.
func Summary(r *Report) string {
	on := fmt.Sprintf("%d devices", len(r.Devices))
	if len(r.Devices) == 1 {
		on = "1 device"
	}
	switch r.Outcome {
	case OutcomeRefused:
		return "refused: the controllers would apply nothing of it, so nothing was tried"
	case OutcomeNothing:
		return "no device is touched, so there was nothing to try"
	case OutcomeHealthy:
		return "healthy on " + on
	}
	n := 0
	for _, p := range r.Problems {
		if p.Side == sideHead {
			n++
		}
	}
	if n == 1 {
		return "unhealthy: 1 problem on " + on
	}
	return fmt.Sprintf("unhealthy: %d problems on %s", n, on)
}

// Marker is the first line of a report in Markdown.
func Marker(path string) string { return "<!-- wasmbed-preview " + url.PathEscape(path) + " -->" }

// page is Markdown under way; what does not fit is counted.
type page struct {
	b       strings.Builder
	omitted int
}

// entry adds a whole entry, or counts it.
func (p *page) entry(s string) bool {
	if p.b.Len()+len(s) > MaxComment-200 {
		p.omitted++
		return false
	}
	p.b.WriteString(s)
	return true
}

// Markdown writes a report as a part of a comment for a forge. Its first line is Marker; it has at most MaxComment
// bytes and says what was left out.
func Markdown(w io.Writer, r *Report) error {
	p := &page{}
	p.entry(Marker(r.Path) + "\n### Wasmbed preview: " + render.Prose(Summary(r)) + "\n\n")
	if len(r.Devices) > 0 {
		p.entry(fmt.Sprintf("%s ran first, then %s was pushed to the same devices.\n", render.Code(revision(r.Base)), render.Code(revision(r.Head))))
	}
	p.problems(r)
	for _, f := range r.Findings {
		p.entry(fmt.Sprintf("\n- %s %s: %s\n", strings.ToLower(render.Prose(f.Severity)), render.Code(f.File+":"+strconv.Itoa(int(f.Line))), render.Prose(f.Message)))
	}
	p.applications(r)
	for i := range r.Applications {
		p.details(&r.Applications[i])
	}
	p.devices(r)
	for _, note := range r.Notes {
		p.entry("\n" + render.Prose(note) + "\n")
	}
	if p.omitted > 0 {
		p.b.WriteString("\n" + strconv.Itoa(p.omitted) + " more entries are left out; the JSON has them.\n")
	}
	if _, err := io.WriteString(w, p.b.String()); err != nil {
		return fmt.Errorf("write the preview: %w", err)
	}
	return nil
}

func (p *page) problems(r *Report) {
	if len(r.Problems) == 0 || !p.entry("\n| Problem | Where | |\n|---|---|---|\n") {
		return
	}
	for i := range r.Problems {
		f := &r.Problems[i]
		where := ""
		for _, part := range []string{f.Application, f.Device, f.Board} {
			if part != "" {
				where += ", " + render.Code(part)
			}
		}
		where = strings.TrimPrefix(cmp.Or(where, "everything"), ", ")
		p.entry(fmt.Sprintf("| %s%s | %s | %s |\n", render.Code(f.Reason), qualifier(f), where, render.Prose(f.Message)))
	}
}

// subject is what a problem is about.
func (p *Problem) subject() string {
	switch {
	case p.Device == "" && p.Application == "":
		return "everything"
	case p.Application == "":
		return p.Device
	case p.Device == "":
		return p.Application
	}
	return p.Application + " on " + p.Device
}

func qualifier(p *Problem) string {
	switch {
	case p.Side == sideBase:
		return " (base)"
	case p.Known:
		return " (at the base too)"
	}
	return ""
}

func (p *page) applications(r *Report) {
	if len(r.Applications) == 0 || !p.entry("\n| Application | Device | Board | | State | Memory | Stack | Fuel a second |\n|---|---|---|---|---|---|---|---|\n") {
		return
	}
	for i := range r.Applications {
		a := &r.Applications[i]
		p.entry(fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", render.Code(a.Name), render.Code(a.Device), render.Code(a.Board),
			strings.ToLower(render.Prose(a.Change)), between(render.Code(state(&a.Before)), render.Code(state(&a.After))),
			figure(a, func(r *Run) int64 { return r.Memory }), figure(a, func(r *Run) int64 { return r.Stack }),
			figure(a, func(r *Run) int64 { return r.FuelPerSecond })))
	}
}

func state(r *Run) string {
	if r.Phase == "" {
		return "–"
	}
	return r.Phase
}

// between is one text when nothing changed.
func between(before, after string) string {
	if before == after {
		return after
	}
	return before + " → " + after
}

func figure(a *Application, of func(*Run) int64) string {
	text := func(r *Run) string {
		if n := of(r); r.Phase != "" && n > 0 {
			return strconv.FormatInt(n, 10)
		}
		return "–"
	}
	return between(text(&a.Before), text(&a.After))
}

// details are log and values of an application, opened by a click.
func (p *page) details(a *Application) {
	var b strings.Builder
	for _, side := range []struct {
		name string
		run  *Run
	}{{"before", &a.Before}, {"after", &a.After}} {
		if side.run.Phase == "" || a.Change == plan.Unchanged && side.name == "before" {
			continue
		}
		if side.run.StartMilliseconds >= 0 && a.Change != plan.Unchanged {
			fmt.Fprintf(&b, "- %s: started in %d ms, %d restarts\n", side.name, side.run.StartMilliseconds, side.run.Restarts)
		}
		for _, v := range side.run.Values {
			fmt.Fprintf(&b, "- %s: %s is %s\n", side.name, render.Code(v.Name), render.Code(strconv.FormatInt(v.Value, 10)))
		}
		for _, text := range side.run.Log {
			fmt.Fprintf(&b, "- %s: log %s\n", side.name, render.Code(text))
		}
	}
	if b.Len() > 0 {
		p.entry("\n<details><summary>" + render.Tag(a.Name) + " on " + render.Tag(a.Device) + "</summary>\n\n" + b.String() + "\n</details>\n")
	}
}

func (p *page) devices(r *Report) {
	var b strings.Builder
	for i := range r.Devices {
		d := &r.Devices[i]
		fmt.Fprintf(&b, "- %s: board %s, %s", render.Code(d.Device), render.Code(d.Board), render.Prose(d.Backend))
		for _, m := range d.After {
			fmt.Fprintf(&b, ", %s", render.Code(m.Name+" "+strconv.FormatInt(m.Value, 10)))
		}
		b.WriteString("\n")
	}
	if b.Len() > 0 {
		p.entry("\n<details><summary>Devices</summary>\n\n" + b.String() + "\n</details>\n")
	}
}

func revision(r plan.Revision) string {
	switch {
	case r.Commit == "":
		return r.Name
	case r.Name == "" || strings.HasPrefix(r.Commit, r.Name):
		return r.Commit[:min(len(r.Commit), 7)]
	}
	return r.Name + " (" + r.Commit[:min(len(r.Commit), 7)] + ")"
}

// Text writes a report for a person.
func Text(w io.Writer, r *Report) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(strings.TrimRight(status.Printable(fmt.Sprintf(format, args...)), " ") + "\n")
	}
	line("%s → %s", revision(r.Base), revision(r.Head))
	line("%s", Summary(r))
	for i := range r.Problems {
		p := &r.Problems[i]
		where := p.subject()
		if p.Board != "" {
			where += " (" + p.Board + ")"
		}
		line("  %s%s: %s: %s", p.Reason, qualifier(p), where, p.Message)
	}
	for _, f := range r.Findings {
		line("  %s:%d: %s: %s", f.File, f.Line, f.Severity, f.Message)
	}
	for i := range r.Applications {
		a := &r.Applications[i]
		line("%s on %s (%s): %s, %s", a.Name, a.Device, a.Board, strings.ToLower(a.Change), between(state(&a.Before), state(&a.After)))
		line("  memory %s bytes, stack %s bytes, fuel %s a second", figure(a, func(r *Run) int64 { return r.Memory }),
			figure(a, func(r *Run) int64 { return r.Stack }), figure(a, func(r *Run) int64 { return r.FuelPerSecond }))
		for _, v := range a.After.Values {
			line("  %s = %d", v.Name, v.Value)
		}
		for _, text := range a.After.Log {
			line("  log %s", text)
		}
	}
	for _, note := range r.Notes {
		line("%s", note)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the preview: %w", err)
	}
	return nil
}
