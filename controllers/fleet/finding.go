// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Longest texts of a finding, in bytes.
const (
	maxMessage = 1024
	maxName    = 512
)

// finding makes a finding of which the texts are not yet cleaned.
func finding(severity, reason, file string, pos position, object, message string) v1alpha1.Finding {
	return v1alpha1.Finding{
		Severity: severity, Reason: reason, Message: message, File: file,
		Line: int32(pos.line), Column: int32(pos.column), Object: object,
	}
}

// clean makes what a commit says fit to be shown: one line, no control characters, bounded.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	const more = "…"
	cut := limit - len(more)
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + more
}

// quote shows a text of the commit inside of a message.
func quote(s string) string {
	const limit = 80
	return `"` + strings.ReplaceAll(clean(s, limit), `"`, `'`) + `"`
}

// finish cleans, sorts and bounds the findings, and says how many were left out.
func finish(findings []v1alpha1.Finding) ([]v1alpha1.Finding, int) {
	slices.SortStableFunc(findings, compareFindings)
	findings = slices.CompactFunc(findings, func(a, b v1alpha1.Finding) bool { return a == b })
	more := max(0, len(findings)-MaxFindings)
	findings = slices.Clone(findings[:len(findings)-more])
	for i := range findings {
		f := &findings[i]
		f.Message = clean(f.Message, maxMessage)
		f.File = clean(f.File, maxName)
		f.Object = clean(f.Object, maxName)
	}
	return findings, more
}

func compareFindings(a, b v1alpha1.Finding) int {
	return cmp.Or(
		cmp.Compare(a.Severity, b.Severity), // Error before Warning
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Column, b.Column),
		cmp.Compare(reasonOrder(a.Reason), reasonOrder(b.Reason)),
		cmp.Compare(a.Object, b.Object),
		cmp.Compare(a.Message, b.Message),
	)
}

// Reason is a kind of finding.
type Reason struct {
	Name string
	// Help says what it means and what to do, in one or two sentences.
	Help string
}

// Reasons are all kinds of findings, in the order in which they give a Repository its condition.
var Reasons = []Reason{
	{v1alpha1.ReasonInvalidYAML, "A file is not YAML, or nests or repeats itself beyond the limits. Mend the file at the line that is named; `kubectl create --dry-run=client -f FILE` reads it too."},
	{v1alpha1.ReasonKustomizeFailed, "A kustomization cannot be built. `kustomize build DIRECTORY` shows the same; plugins, helm charts and variables are not accepted."},
	{v1alpha1.ReasonRemoteBase, "A kustomization names something outside of the commit. Copy it into the repository: what runs is what was reviewed."},
	{v1alpha1.ReasonPathEscape, "A path or symbolic link leads out of the repository. Use a path that stays inside."},
	{v1alpha1.ReasonTooLarge, "A file, module or build is larger than its limit, which the message names. Split it or make it smaller."},
	{v1alpha1.ReasonEmptyBuild, "The commit yields no object at all, which would remove the whole fleet. Check the root kustomization."},
	{v1alpha1.ReasonKindNotAllowed, "Git may bring Namespaces, ConfigMaps, Secrets, Gateways, Devices and Applications only."},
	{v1alpha1.ReasonSchemaInvalid, "A field is unknown, missing, or has a wrong type or value. `kubectl explain KIND.spec` describes the fields."},
	{v1alpha1.ReasonRuleViolated, "A rule of the kind does not hold; the message is the rule's own."},
	{v1alpha1.ReasonImmutableChanged, "A field that cannot change was changed. Remove the object in one commit and add it again in another, under another name if it should be there all the time."},
	{v1alpha1.ReasonDuplicateObject, "The same object stands in two places. Keep one."},
	{v1alpha1.ReasonDuplicateKey, "Two devices have the same public key, so they could not be told apart. Give each its own."},
	{v1alpha1.ReasonUnknownBoard, "The board is not in the catalogue, or the backend cannot provide it."},
	{v1alpha1.ReasonUnknownReference, "A Gateway, Application or Namespace that is named does not exist in the commit, or does not take the object."},
	{v1alpha1.ReasonModuleNotFound, "spec.module.path names no file of the commit. The path starts at the repository's root; `git add` the module."},
	{v1alpha1.ReasonModuleInvalid, "The file is not a WebAssembly module that a board accepts. `wasmbed build` makes one."},
	{v1alpha1.ReasonDigestMismatch, "spec.module.digest is given and is not the digest of the file. Leave it out, or correct it."},
	{v1alpha1.ReasonImportForbidden, "The module imports what no host function offers, or with another signature, or what a selected board lacks."},
	{v1alpha1.ReasonPermissionMissing, "The module imports a host function whose permission the Application does not ask for. Add it to spec.permissions."},
	{v1alpha1.ReasonMemoryExceeded, "The module or the applications of a device need more memory than spec.limits or the board gives."},
	{v1alpha1.ReasonSelectsNothing, "A selector matches no device of the Application's namespace, so nothing will run."},
}

var reasonOrders = func() map[string]int {
	m := map[string]int{}
	for i, r := range Reasons {
		m[r.Name] = i
	}
	return m
}()

func reasonOrder(reason string) int { return reasonOrders[reason] }

// Verdict sums a refused commit up for a condition: the first reason in the order of Reasons, and a message that
// says how many errors there are and quotes the first of that reason. The reason is empty when there is no error.
func (f *Fleet) Verdict() (reason, message string) {
	var first *v1alpha1.Finding
	count := f.MoreFindings
	for i := range f.Findings {
		g := &f.Findings[i]
		if g.Severity != SeverityError {
			break
		}
		count++
		if first == nil || reasonOrder(g.Reason) < reasonOrder(first.Reason) {
			first = g
		}
	}
	if first == nil {
		return "", ""
	}
	message = Text(*first)
	if count > 1 {
		message = clean(message, maxMessage-32) + moreErrors(count-1)
	}
	return first.Reason, clean(message, maxMessage)
}

func moreErrors(n int) string {
	if n == 1 {
		return " (and 1 more error)"
	}
	return fmt.Sprintf(" (and %d more errors)", n)
}

// Text writes a finding in one line, without its severity and reason: "file:line:column: object: message".
func Text(f v1alpha1.Finding) string {
	if where := Where(f); where != "" {
		return where + ": " + What(f)
	}
	return What(f)
}

// Where is the place of a finding as far as it is known: "file:line:column".
func Where(f v1alpha1.Finding) string {
	switch {
	case f.File == "" || f.Line == 0:
		return f.File
	case f.Column == 0:
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
}

// What is the object and the message of a finding: "object: message".
func What(f v1alpha1.Finding) string {
	if f.Object == "" {
		return f.Message
	}
	return f.Object + ": " + f.Message
}
