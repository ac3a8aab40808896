// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Render writes the report as a tree for a person; what is wrong comes first.
func Render(w io.Writer, r *Report, now time.Time) error {
	var b strings.Builder
	for _, p := range r.Problems {
		mark := "✗"
		if p.Working {
			mark = "…"
		}
		fmt.Fprintf(&b, "%s %s: %s: %s\n", mark, p.Object, p.Reason, Printable(p.Message))
	}
	if r.MoreProblems > 0 {
		fmt.Fprintf(&b, "  and %d more\n", r.MoreProblems)
	}
	if len(r.Problems) > 0 {
		b.WriteString("\n")
	}
	if len(r.Repositories) == 0 {
		b.WriteString("There is no Repository.\n")
	}
	for _, repository := range r.Repositories {
		fmt.Fprintf(&b, "%s Repository %s  %s\n", mark(repository.Ready), repository.Name, revisions(repository, now))
		renderContents(&b, &repository.Contents)
	}
	if r.Unmanaged != nil {
		b.WriteString("  Not from git\n")
		renderContents(&b, r.Unmanaged)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(ready bool) string {
	if ready {
		return "✓"
	}
	return "✗"
}

func revisions(r Repository, now time.Time) string {
	if r.Applied == nil {
		return r.Reason
	}
	text := describe(r.Applied)
	if r.Applied.AppliedAt != nil {
		text += fmt.Sprintf(", applied %s ago", age(now.Sub(r.Applied.AppliedAt.Time)))
	}
	if r.Fetched != nil && r.Fetched.Commit != r.Applied.Commit {
		text += "; newest is " + describe(r.Fetched) + ": " + r.Reason
	}
	return text
}

func describe(r *v1alpha1.Revision) string {
	return fmt.Sprintf("%.8s %q", r.Commit, Printable(r.Subject))
}

func renderContents(b *strings.Builder, c *Contents) {
	var lines [][3]string
	for _, a := range c.Applications {
		progress := fmt.Sprintf("%d/%d running", a.Running, a.Target)
		for _, part := range []struct {
			count int32
			word  string
		}{{a.Target - a.Updated, "to update"}, {a.Failed, "failed"}, {a.Offline, "offline"}, {a.Excluded, "do not fit"}} {
			if part.count > 0 {
				progress += fmt.Sprintf(", %d %s", part.count, part.word)
			}
		}
		lines = append(lines, [3]string{mark(a.Ready) + " Application " + a.Name, a.Reason, progress})
	}
	for _, g := range c.Gateways {
		lines = append(lines, [3]string{mark(g.Ready) + " Gateway " + g.Name, g.Reason, fmt.Sprintf("%d/%d connected at %s", g.Connected, g.Assigned, g.Address)})
	}
	lines = append(lines, [3]string{fmt.Sprintf("%s %d Devices", mark(c.NotReady == 0), c.Devices), "", phases(c.Phases)})
	var wide [2]int
	for _, line := range lines {
		for i := range wide {
			wide[i] = max(wide[i], len([]rune(line[i])))
		}
	}
	for i, line := range lines {
		branch := "├─"
		if i == len(lines)-1 {
			branch = "└─"
		}
		text := fmt.Sprintf("%s %-*s  %-*s  %s", branch, wide[0], line[0], wide[1], line[1], line[2])
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
}

func phases(counts map[string]int) string {
	var parts []string
	for _, phase := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[phase], phase))
	}
	return strings.Join(parts, ", ")
}

func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// Printable makes text from git or a device safe for a terminal: no control characters, no direction overrides.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
