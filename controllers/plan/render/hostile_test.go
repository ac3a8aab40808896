// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/render"
)

// payloads try to get out of where a text is put.
var payloads = []string{
	"a | b || c |\n|---|",
	"`code` ``` more",
	"\\`\\|\\\\|\\",
	"](https://evil.example) [x](javascript:alert(1)) ![i](http://evil.example/i.png)",
	"<script>alert(1)</script><img src=x onerror=alert(1)>",
	"--><!-- wasmbed-plan other -->",
	"</details></code></summary><details open>",
	"@everyone @octocat owner/repo#1 #1 !1 GH-1 JIRA-2 $3 ~label %milestone &epic :smile:",
	"\n/close\n/assign @someone\n# heading\n- item\n> quote\n    code\n---\n",
	"www.evil.example https://evil.example ftp://evil.example me@evil.example",
	"**bold** _it_ ~~no~~ &lt;b&gt; &#60;b&#62; $`x`$ $$y$$",
	"\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x07\x08\x7f \u009b31m",
	"\u202eright to left\u202c \u2066x\u2069 \u200b\u200d\ufeff \u2028 \u2029",
	"bad utf-8 \xff\xfe\xc3\x28 \x00",
	"\r\nWasmbed-Allow-Prune: 1000\r\n",
	`"}]},{"outcome":"NoChange`,
	strings.Repeat("x", 5000) + "|`<",
}

// hostile fills every text of a report with payloads, and every list with two entries.
func hostile(v reflect.Value, next *int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(payloads[*next%len(payloads)])
		*next++
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(2)
	case reflect.Bool:
		v.SetBool(*next%2 == 0)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			hostile(v.Index(i), next)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			hostile(v.Field(i), next)
		}
	}
}

// hostileReports have each payload in each place.
func hostileReports() []*plan.Report {
	var out []*plan.Report
	for shift := range payloads {
		for _, refused := range []bool{false, true} {
			next, r := shift, &plan.Report{}
			hostile(reflect.ValueOf(r).Elem(), &next)
			r.Refused, r.Prune.Needed = refused, true
			r.Objects.Changed[0].Kind = "Device"
			out = append(out, r)
		}
	}
	return out
}

func TestHostileTextInATerminal(t *testing.T) {
	own := regexp.MustCompile("\x1b\\[(0|1|2|31|32|33|36)m")
	for _, r := range hostileReports() {
		for _, colour := range []bool{false, true} {
			var b bytes.Buffer
			if err := render.Text(&b, r, colour); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if colour {
				text = own.ReplaceAllString(text, "")
			}
			for _, c := range text {
				if c != '\n' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029') {
					t.Fatalf("%q is in the text: %q", c, text)
				}
			}
			if !utf8.ValidString(text) {
				t.Fatal("the text is not UTF-8")
			}
			if strings.Contains(text, "\n/close") || strings.Contains(text, "\nWasmbed") {
				t.Fatalf("a text begins a line of its own: %q", text)
			}
		}
	}
}

var (
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	ownTags   = regexp.MustCompile(`^<!-- wasmbed-plan [^<> ]* -->|</?details>|</?summary>|<code>[A-Za-z0-9 ._/&#;-]*</code>`)
	numericEs = regexp.MustCompile(`&#[0-9]+;(\x{2060})?`)
)

// TestHostileTextInMarkdown takes away what may be there (code spans, our own tags, numeric references) and wants
// nothing in the rest that means something.
func TestHostileTextInMarkdown(t *testing.T) {
	for _, r := range hostileReports() {
		text := comment(t, r)
		first, _, _ := strings.Cut(text, "\n")
		if !regexp.MustCompile(`^<!-- wasmbed-plan [^ <>]+ -->$`).MatchString(first) || strings.Count(codeSpan.ReplaceAllString(text, ""), "-->") != 1 {
			t.Fatalf("the marker: %q", first)
		}
		for n, line := range strings.Split(text, "\n") {
			if strings.Count(line, "`")%2 != 0 {
				t.Fatalf("a code span is open: %q", line)
			}
			rest := codeSpan.ReplaceAllString(line, "CODE")
			if strings.HasPrefix(line, "|") && strings.Count(rest, "|") != strings.Count(line, "|") {
				t.Fatalf("a code span holds the border of a cell: %q", line)
			}
			rest = numericEs.ReplaceAllString(ownTags.ReplaceAllString(rest, "TAG"), "")
			if n == 1 {
				rest = strings.TrimPrefix(rest, "### ")
			}
			rest = strings.TrimPrefix(strings.TrimLeft(rest, " "), "- ")
			for _, bad := range []string{"<", ">", "`", "[", "]", "@", "#", "!", "$", "~", "&", "\\", "_", "http", "www.", "://", "GH-", "JIRA-"} {
				if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(rest, "https", ""), "http", ""), bad) {
					t.Fatalf("%q is in %q\nof %q", bad, rest, line)
				}
			}
			if strings.HasPrefix(line, "/") || strings.HasPrefix(line, "#") && n != 1 {
				t.Fatalf("a command or heading: %q", line)
			}
		}
		columns(t, text)
		balanced(t, text)
	}
}

// columns wants each row of a table to have as many cells as its head.
func columns(t *testing.T, text string) {
	t.Helper()
	want := 0
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			want = 0
			continue
		}
		n := strings.Count(line, "|")
		if want == 0 {
			want = n
		}
		if n != want {
			t.Fatalf("a row has %d borders, its table %d: %q", n, want, line)
		}
	}
}

func balanced(t *testing.T, text string) {
	t.Helper()
	text = codeSpan.ReplaceAllString(text, "")
	for _, tag := range []string{"details", "summary", "code"} {
		if a, b := strings.Count(text, "<"+tag+">"), strings.Count(text, "</"+tag+">"); a != b {
			t.Fatalf("%d of <%s> and %d of its end", a, tag, b)
		}
	}
}

func TestHostileTextInJSON(t *testing.T) {
	for _, r := range hostileReports() {
		var b bytes.Buffer
		if err := render.JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		validJSON(t, b.Bytes())
		var back plan.Report
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if back.Outcome != strings.ToValidUTF8(r.Outcome, "\ufffd") && utf8.ValidString(r.Outcome) {
			t.Errorf("a text changed: %q, %q", r.Outcome, back.Outcome)
		}
	}
}

func comment(t *testing.T, r *plan.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := render.Markdown(&b, r); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 65_536 {
		t.Fatalf("the comment has %d bytes", b.Len())
	}
	return b.String()
}

// huge is a report of which every list is long and all is different.
func huge(n int) *plan.Report {
	next, r := 0, &plan.Report{Outcome: plan.OutcomeChanges}
	var devices []string
	var steps []plan.Step
	for i := range n {
		devices = append(devices, fmt.Sprintf("plant/device-%06d", i))
		steps = append(steps, plan.Step{Device: devices[i], Wave: 1 + i/100})
	}
	fill := func(v any) { hostile(reflect.ValueOf(v).Elem(), &next) }
	for i := range n {
		var o plan.Object
		var a plan.Application
		var m plan.Module
		var risk plan.Risk
		var f plan.Finding
		for _, v := range []any{&o, &a, &m, &risk, &f} {
			fill(v)
		}
		o.Name, o.Fields[0].After = devices[i], devices[i]
		a.Restarts, a.Gets, a.Loses = steps, steps, devices
		r.Objects.Changed, r.Risks, r.Findings = append(r.Objects.Changed, o), append(r.Risks, risk), append(r.Findings, f)
		r.Notes = append(r.Notes, payloads[i%len(payloads)])
		if i < 2000 {
			r.Applications, r.Modules = append(r.Applications, a), append(r.Modules, m)
		}
	}
	r.Devices = plan.Devices{Added: devices, Removed: devices, Off: devices, On: devices, Quarantined: devices, Released: devices, KeysChanged: devices}
	return r
}

// TestACommentIsBounded: what does not fit is counted, however much it is.
func TestACommentIsBounded(t *testing.T) {
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		text := comment(t, huge(n))
		balanced(t, text)
		columns(t, text)
		if n >= 1000 {
			end := text[strings.LastIndex(text, "Left out"):]
			for _, what := range []string{"risk", "finding", "application", "object"} {
				if !strings.Contains(end, what) {
					t.Errorf("%d: %ss are left out and not counted: %s", n, what, end)
				}
			}
		}
		var b bytes.Buffer
		if err := render.Text(&b, huge(n), true); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 500_000 {
			t.Errorf("%d: the text has %d bytes", n, b.Len())
		}
	}
}

// TestTheMarkerStays: a pipeline updates the comment that begins with it.
func TestTheMarkerStays(t *testing.T) {
	for path, want := range map[string]string{
		".": "<!-- wasmbed-plan . -->", "plants/north": "<!-- wasmbed-plan plants%2Fnorth -->", "a --> b\n": "<!-- wasmbed-plan a%20--%3E%20b%0A -->",
	} {
		if got := render.Marker(path); got != want {
			t.Errorf("%q: got %s", path, got)
		}
	}
}
