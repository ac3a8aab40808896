// SPDX-License-Identifier: Apache-2.0

// Package report writes a judgement for people, for programs and for code scanners.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// Version of the JSON document. It changes when a field goes or means something else.
const Version = 1

// Result is a judgement as JSON has it.
type Result struct {
	// Version is the constant.
	Version int `json:"version"`
	// Revision is the commit that was judged; empty for a working tree.
	Revision string `json:"revision,omitempty"`
	// Refused is whether there is an error, so that the sync controller would apply nothing.
	Refused  bool `json:"refused"`
	Errors   int  `json:"errors"`
	Warnings int  `json:"warnings"`
	// More is how many findings are left out.
	More     int                   `json:"more,omitempty"`
	Objects  v1alpha1.ObjectCounts `json:"objects"`
	Modules  []Module              `json:"modules"`
	Findings []v1alpha1.Finding    `json:"findings"`
}

// Module is a module that an Application names.
type Module struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// New makes the result of a judgement.
func New(f *fleet.Fleet, revision string) Result {
	r := Result{
		Version: Version, Revision: revision, Refused: f.Refused(), More: f.MoreFindings,
		Objects: f.Counts(), Modules: []Module{}, Findings: append([]v1alpha1.Finding{}, f.Findings...),
	}
	for _, g := range f.Findings {
		if g.Severity == fleet.SeverityError {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	for _, m := range f.Modules {
		r.Modules = append(r.Modules, Module{m.Path, m.Digest, m.Size})
	}
	slices.SortFunc(r.Modules, func(a, b Module) int { return strings.Compare(a.Path+a.Digest, b.Path+b.Digest) })
	return r
}

// Text writes one line for each finding, as compilers do, and a line that sums up.
func (r Result) Text(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		if where := fleet.Where(f); where != "" {
			b.WriteString(where + ": ")
		}
		fmt.Fprintf(&b, "%s: %s (%s)\n", strings.ToLower(f.Severity), fleet.What(f), f.Reason)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "… and %s more\n", count(r.More, "finding"))
	}
	fmt.Fprintln(&b, r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) summary() string {
	o := r.Objects
	objects := fmt.Sprintf("%s, %s, %s, %s", count(int(o.Devices), "device"), count(int(o.Applications), "application"), count(int(o.Gateways), "gateway"), count(int(o.Others), "other object"))
	switch {
	case r.Refused:
		return fmt.Sprintf("refused: %s, %s; nothing would be applied", count(r.Errors, "error"), count(r.Warnings, "warning"))
	case r.Warnings > 0:
		return fmt.Sprintf("accepted with %s: %s", count(r.Warnings, "warning"), objects)
	}
	return "accepted: " + objects
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// JSON writes the result as JSON.
func (r Result) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// SARIF writes the findings as SARIF 2.1.0, with every reason as a rule.
func (r Result) SARIF(w io.Writer, toolVersion string) error {
	run := sarif.NewRunWithInformationURI("wasmbed validate", "https://wasmbed.dev")
	run.Tool.Driver.WithVersion(toolVersion)
	run.WithColumnKind("unicodeCodePoints")
	for _, reason := range fleet.Reasons {
		run.AddRule(reason.Name).WithName(reason.Name).
			WithShortDescription(sarif.NewMultiformatMessageString().WithText(firstSentence(reason.Help))).
			WithHelp(sarif.NewMultiformatMessageString().WithText(reason.Help))
	}
	for _, f := range r.Findings {
		level := "error"
		if f.Severity == fleet.SeverityWarning {
			level = "warning"
		}
		result := run.CreateResultForRule(f.Reason).WithLevel(level).WithMessage(sarif.NewTextMessage(fleet.What(f)))
		result.AddLocation(location(f))
	}
	out := report.NewV210Report()
	out.AddRun(run)
	if err := out.PrettyWrite(w); err != nil {
		return fmt.Errorf("write SARIF: %w", err)
	}
	return nil
}

func firstSentence(s string) string {
	before, _, ok := strings.Cut(s, ". ")
	if ok {
		return before + "."
	}
	return s
}

func location(f v1alpha1.Finding) *sarif.Location {
	uri := (&url.URL{Path: f.File}).EscapedPath()
	if f.File == "" || f.File == "." {
		uri = "./"
	}
	physical := sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewArtifactLocation().WithURI(uri).WithURIBaseID("%SRCROOT%"))
	if f.Line > 0 {
		region := sarif.NewRegion().WithStartLine(int(f.Line))
		if f.Column > 0 {
			region.WithStartColumn(int(f.Column))
		}
		physical.WithRegion(region)
	}
	return sarif.NewLocation().WithPhysicalLocation(physical)
}
