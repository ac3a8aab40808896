// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/fleet/fleettest"
)

// secretMarkers are all that a test plants in Secrets; no output may hold one in any form.
var secretMarkers = []string{
	markerToken, markerHook, reviewToken, "MARKER-data-5be1", "MARKER-string-90cc", "MARKER-user-3d77", "MARKER-password-e2f4", "MARKER-identity-1a6b",
}

// A text that tries to get out of wherever it is put: a terminal, a line, a table or code span of Markdown, HTML, JSON.
// It has no slash, so that it can be a file's name too.
const hostileText = "x\x1b[31m\x07\u009b31m\u202e\u2028`|` ](http:evil) <script>--><!-- @everyone \"}],\r\n# heading"

// quoted is the text in YAML or JSON.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString("\\" + string(r))
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String() + `"`
}

// secretManifest is a Secret with markers in data and stringData.
const secretManifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: hidden, namespace: plant}\ndata: {a: %s}\nstringData:\n  b: |\n    line\n    %s\n"

func markedSecret(version string) string {
	return fmt.Sprintf(secretManifest, base64.StdEncoding.EncodeToString([]byte(secretMarkers[3]+version)), secretMarkers[4]+version)
}

// showsNoMarker fails when an output holds a marker in any form.
func showsNoMarker(t *testing.T, what, output string) {
	t.Helper()
	for _, marker := range secretMarkers {
		encoded := base64.StdEncoding.EncodeToString([]byte(marker))
		for _, form := range []string{marker, encoded[:len(encoded)/4*4-4], base64.StdEncoding.EncodeToString([]byte("line\n" + marker))[8:20], hex.EncodeToString([]byte(marker)), url.QueryEscape(marker)} {
			if strings.Contains(output, form) {
				t.Errorf("%s shows %q:\n%s", what, form, output)
			}
		}
	}
}

// harmless fails when an output shows a marker, or steers what reads it.
func harmless(t *testing.T, what, format, output string) {
	t.Helper()
	showsNoMarker(t, what, output)
	for i, r := range output {
		if r != '\n' && !unicode.IsPrint(r) && (format != "logs" || r != '\t') && (format != "markdown" || r != '\u2060') {
			t.Errorf("%s has %q in %q", what, r, output[max(0, i-80):min(len(output), i+20)])
			break
		}
	}
	if !utf8.ValidString(output) {
		t.Errorf("%s is not UTF-8", what)
	}
	switch format {
	case "json", "sarif":
		if !json.Valid([]byte(output)) {
			t.Errorf("%s is not one document:\n%s", what, output)
		}
		return
	case "markdown":
		for _, bad := range []string{"<script", "](http", "@everyone", "<!--"} {
			if strings.Contains(codeSpans.ReplaceAllString(ownMarks.ReplaceAllString(output, ""), "CODE"), bad) {
				t.Errorf("%s has %q outside of a code span:\n%s", what, bad, output)
			}
		}
	}
	if strings.Contains(output, "\n# heading") {
		t.Errorf("%s: a text begins a line of its own:\n%s", what, output)
	}
}

var (
	codeSpans = regexp.MustCompile("`[^`\n]*`")
	ownMarks  = regexp.MustCompile(`(?m)^<!-- wasmbed-(plan|preview) \. -->$`)
)

// hostilePlaces are where a commit can hold a text of its own; each is put into a good fleet.
var hostilePlaces = map[string]func(fleettest.Tree){
	"a module's path": func(f fleettest.Tree) {
		f.Set("apps/"+hostileText+".wasm", f["apps/report.wasm"].Content)
		f.Replace("apps/report.yaml", "apps/report.wasm", quoted("apps/"+hostileText+".wasm"))
	},
	"a module's path, in a flow": func(f fleettest.Tree) { f.Replace("apps/report.yaml", "apps/report.wasm", quoted("none/"+hostileText)) },
	"a manifest's name": func(f fleettest.Tree) {
		f.Set("devices/"+hostileText+".yaml", strings.Replace(f["devices/a.yaml"].Content, "sim-m4", "sim-m9", 1))
		f.Set("devices/kustomization.yaml", "resources: [b.yaml, gateway.yaml, hidden.yaml, "+quoted(hostileText+".yaml")+"]\n")
	},
	"config": func(f fleettest.Tree) {
		f.Set("apps/report.yaml", f["apps/report.yaml"].Content+"  config: {note: "+quoted(hostileText)+"}\n")
	},
	"an annotation": func(f fleettest.Tree) {
		f.Replace("devices/a.yaml", "labels:", "annotations: {note: "+quoted(hostileText)+"}\n  labels:")
	},
	"a label":       func(f fleettest.Tree) { f.Replace("devices/a.yaml", "site: hall", "site: "+quoted(hostileText)) },
	"a label's key": func(f fleettest.Tree) { f.Replace("devices/a.yaml", "site: hall", quoted(hostileText)+": hall") },
	"an application's name": func(f fleettest.Tree) {
		f.Replace("apps/report.yaml", "name: report", "name: "+quoted(hostileText))
	},
	"a namespace": func(f fleettest.Tree) {
		f.Replace("apps/report.yaml", "namespace: plant", "namespace: "+quoted(hostileText))
	},
	"a board":      func(f fleettest.Tree) { f.Replace("devices/a.yaml", "sim-m4", quoted(hostileText)) },
	"a kind":       func(f fleettest.Tree) { f.Replace("devices/a.yaml", "Device", quoted(hostileText)) },
	"a permission": func(f fleettest.Tree) { f.Replace("apps/report.yaml", "[log]", "[log, "+quoted(hostileText)+"]") },
	"a field": func(f fleettest.Tree) {
		f.Set("apps/report.yaml", f["apps/report.yaml"].Content+"  "+quoted(hostileText)+": 1\n")
	},
	"an import": func(f fleettest.Tree) {
		f.Set("apps/report.wasm", fleettest.Module{Foreign: [][2]string{{hostileText, hostileText}}}.Bytes())
	},
	"a patch": func(f fleettest.Tree) {
		f.Set("devices/kustomization.yaml", f["devices/kustomization.yaml"].Content+"patches: [{path: "+quoted(hostileText)+"}]\n")
	},
	"a policy's message": func(f fleettest.Tree) {
		f.Set("policy.yaml", "checks: [{name: a, level: deny, expression: 'false', message: "+quoted(hostileText)+"}]\n")
	},
	"a policy's expression": func(f fleettest.Tree) {
		f.Set("policy.yaml", "checks: [{name: a, expression: "+quoted(hostileText)+", message: x}]\n")
	},
	"a policy's rule": func(f fleettest.Tree) { f.Set("policy.yaml", "rules: {"+quoted(hostileText)+": deny}\n") },
	"a Secret's key": func(f fleettest.Tree) {
		f.Set("devices/hidden.yaml", strings.Replace(markedSecret(".after"), "  b:", "  "+quoted(hostileText)+":", 1))
	},
	"a Secret that is broken": func(f fleettest.Tree) {
		f.Set("devices/hidden.yaml", strings.Replace(markedSecret(".after"), "  b: |", "  b: "+quoted(hostileText)+" |", 1))
	},
	"a Secret's value that is a key": func(f fleettest.Tree) {
		f.Set("devices/hidden.yaml", strings.Replace(markedSecret(".after"), "data: {a: ", "data: {"+secretMarkers[4]+": , a: ", 1))
	},
	"a Secret's wrong field": func(f fleettest.Tree) {
		f.Set("devices/hidden.yaml", markedSecret(".after")+secretMarkers[4]+": {"+secretMarkers[4]+": 1}\n")
	},
}

// TestHostileCommits plants a text that tries to break out in every place of a commit that can hold one, beside markers in
// Secrets, and looks at all that validate, plan and preview write of it in every format.
func TestHostileCommits(t *testing.T) {
	base := fleettest.Base()
	base.List("devices", "a.yaml", "b.yaml", "gateway.yaml", "hidden.yaml")
	base.Set("devices/hidden.yaml", markedSecret(".before"))
	seen := 0
	for place, put := range hostilePlaces {
		dir := t.TempDir()
		commit := func(tree fleettest.Tree) {
			if err := tree.Write(dir); err != nil {
				t.Fatal(place, err)
			}
			for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", hostileText}} {
				cmd := exec.Command("git", append([]string{"-C", dir, "-c", "commit.gpgsign=false", "-c", "user.email=a@example.org", "-c", "user.name=" + hostileText}, args...)...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("git %v: %v: %s", args, err, out)
				}
			}
		}
		commit(base)
		head := fleettest.Tree{}
		for name, file := range base {
			head[name] = file
		}
		head.Set("devices/hidden.yaml", markedSecret(".after"))
		put(head)
		commit(head)
		for _, format := range []string{"text", "json", "sarif", "markdown"} {
			var commands []*cobra.Command
			if format != "markdown" {
				commands = append(commands, command(newValidateCommand(), dir, "-o", format), command(newValidateCommand(), dir, "-o", format, "--revision", "HEAD"))
			}
			if format != "sarif" {
				commands = append(commands, command(newPlanCommand(), "--path", dir, "--base", "HEAD~1", "--head", "HEAD", "-o", format))
			}
			if format != "sarif" && place != "a module's path" && place != "config" && place != "an annotation" { // those can be tried, which takes its time
				commands = append(commands, command(newPreviewCommand(), "--path", dir, "--base", "HEAD~1", "--head", "HEAD", "-o", format))
			}
			for _, c := range commands {
				out, said := says(t, c)
				harmless(t, place+": "+c.Name()+" "+format+", error", "text", said)
				if out == "" && said != "" {
					continue
				}
				harmless(t, place+": "+c.Name()+" "+format, format, out)
				if strings.Contains(out, "heading") {
					seen++
				}
			}
		}
	}
	if seen < len(hostilePlaces) {
		t.Errorf("the text is in %d outputs only: the test looks at nothing", seen)
	}
}

func command(c *cobra.Command, args ...string) *cobra.Command {
	c.SetArgs(args)
	return c
}

// says is what a command writes, and what it is told apart from that: its progress, and the error that it ends with.
func says(t *testing.T, c *cobra.Command) (out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(t.Context()); err != nil {
		sayError(&stderr, err)
	}
	return stdout.String(), stderr.String()
}
