// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xeipuuv/gojsonschema"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

const marker = "MARKERsecret7Qx"

// plant is a fleet with two boards, a Secret, and devices that no preview may take as they are.
func plant() fleettest.Tree {
	t := fleettest.Base()
	files := []string{"gateway.yaml", "secret.yaml"}
	for _, d := range []struct{ name, site, board, more string }{
		{"hall-1", "hall", "sim-m4", ""}, {"hall-2", "hall", "sim-m4", ""}, {"yard-1", "yard", "sim-m4", ""},
		{"lab-1", "hall", "mps2-an385", "config: {report: {k: v}}"}, {"lab-2", "hall", "mps2-an385", `power: "Off"`},
	} {
		spec := []string{"board: " + d.board, "backend: Simulated"}
		if d.more != "" {
			spec = append(spec, d.more)
		}
		t.Set("devices/"+d.name+".yaml", strings.Replace(fleettest.Device(d.name, spec...), "{site: hall}", "{site: "+d.site+"}", 1))
		files = append(files, d.name+".yaml")
	}
	t.Set("devices/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant, labels: {a: "+marker+"}}\nstringData: {password: "+marker+"}\n")
	t.List("devices", files...)
	return t
}

func reduced0(t *testing.T, c plantest.Change, emulated bool) *reduced {
	t.Helper()
	base, head := c.Judge(t)
	if head.Refused() {
		t.Fatalf("%+v", head.Findings)
	}
	report, err := plan.Compute(t.Context(), plan.Input{Base: base, Head: head})
	if err != nil {
		t.Fatal(err)
	}
	r, err := reduce(base, head, report, func(string) bool { return emulated })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(r *reduced) (out []string) {
	for _, d := range r.devices {
		out = append(out, d.key()+" "+d.board+" "+string(d.backend))
	}
	return out
}

func TestOneDeviceOfEachBoardThatTheChangeTouches(t *testing.T) {
	for _, test := range []struct {
		name     string
		edit     func(fleettest.Tree)
		emulated bool
		want     []string
	}{
		{"an app on both boards", func(f fleettest.Tree) { f.Replace("apps/report.yaml", "[log]", "[log, sensor]") }, true,
			[]string{"plant/lab-1 mps2-an385 QEMU", "plant/hall-1 sim-m4 Simulated"}},
		{"without an emulator", func(f fleettest.Tree) { f.Replace("apps/report.yaml", "[log]", "[log, sensor]") }, false,
			[]string{"plant/lab-1 mps2-an385 Simulated", "plant/hall-1 sim-m4 Simulated"}},
		{"apps on different devices of one board", func(f fleettest.Tree) {
			f.Replace("apps/report.yaml", "[log]", "[log, sensor]")
			third := fleettest.App("third", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0}")
			f.Set("apps/third.yaml", strings.Replace(third, "site: hall", "site: yard", 1))
			f.List("apps", "blink.yaml", "report.yaml", "third.yaml")
		}, true, []string{"plant/lab-1 mps2-an385 QEMU", "plant/hall-1 sim-m4 Simulated", "plant/yard-1 sim-m4 Simulated"}},
		{"a device's label", func(f fleettest.Tree) { f.Replace("devices/yard-1.yaml", "site: yard", "site: hall") }, true,
			[]string{"plant/yard-1 sim-m4 Simulated"}},
		{"nothing that a device notices", func(f fleettest.Tree) { f.Replace("devices/secret.yaml", "password", "token") }, true, nil},
	} {
		r := reduced0(t, plantest.Changed(plant(), test.edit), test.emulated)
		if got := names(r); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// TestWhatIsTriedIsAGoodFleet: both sides are accepted as they are, hold no Secret, and are the same each time.
func TestWhatIsTriedIsAGoodFleet(t *testing.T) {
	change := plantest.Changed(plant(), func(f fleettest.Tree) {
		f.Replace("apps/report.yaml", "[log]", "[log, sensor]")
		f.Replace("devices/secret.yaml", "password", "token")
	})
	r := reduced0(t, change, true)
	if again := reduced0(t, change, true); !reflect.DeepEqual(r.base, again.base) || !reflect.DeepEqual(r.head, again.head) {
		t.Error("the same change gives another fleet")
	}
	for side, f := range map[string]files{"base": r.base, "head": r.head} {
		dir := t.TempDir()
		if err := f.write(dir); err != nil {
			t.Fatal(err)
		}
		tree, err := fleet.OpenDirTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		judged, err := fleet.Judge(t.Context(), tree, fleet.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(judged.Findings) > 0 || len(judged.Devices) != 2 || len(judged.Applications) != 2 || len(judged.Gateways) != 1 {
			t.Errorf("%s: %+v, %d devices, %d applications", side, judged.Findings, len(judged.Devices), len(judged.Applications))
		}
		for name, content := range f {
			if strings.Contains(string(content), marker) {
				t.Errorf("%s: %s shows the Secret", side, name)
			}
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	if string(r.base["kustomization.yaml"]) == "" || reflect.DeepEqual(r.base, r.head) {
		t.Error("base and head are the same")
	}
}

func sample1() *Report {
	r := newReport(".", plan.Revision{Name: "main", Commit: strings.Repeat("1", 40), Subject: "Base"}, plan.Revision{Name: "change", Commit: strings.Repeat("2", 40), Subject: "Change"})
	r.Devices = []Device{
		{Device: "plant/lab-m3", Board: "mps2-an385", Backend: "QEMU", Before: []Metric{{"heap_high_water", 13860}}, After: []Metric{{"heap_high_water", 14020}}},
		{Device: "plant/hall-a-01", Board: "sim-m4", Backend: "Simulated", Before: []Metric{}, After: []Metric{}},
	}
	ran := Run{Phase: "Running", StartMilliseconds: 38, Fuel: 12000, FuelPerSecond: 278, Memory: 4096, Stack: 76,
		Values: []Metric{{"temperature_milli", 21000}}, Log: []string{"info: thermostat started"}}
	more := ran
	more.FuelPerSecond, more.Memory = 533, 8192
	none := Run{StartMilliseconds: -1, Values: []Metric{}, Log: []string{}}
	crashed := Run{Phase: "Failed", Reason: "CrashLoop", Message: "unreachable in function 3 at byte 417", StartMilliseconds: 17, Restarts: 5,
		Values: []Metric{}, Log: []string{"warning: about to misbehave (5 times)"}}
	r.Applications = []Application{
		{Device: "plant/hall-a-01", Board: "sim-m4", Name: "thermostat", Change: plan.Changed, Before: ran, After: more},
		{Device: "plant/lab-m3", Board: "mps2-an385", Name: "misbehaves", Change: plan.Added, Before: none, After: crashed},
		{Device: "plant/lab-m3", Board: "mps2-an385", Name: "thermostat", Change: plan.Unchanged, Before: ran, After: ran},
	}
	r.Problems = []Problem{{Side: sideHead, Device: "plant/lab-m3", Board: "mps2-an385", Application: "misbehaves", Reason: "CrashLoop",
		Message: "failed: unreachable in function 3 at byte 417"}}
	r.Notes = []string{"The change was tried on 12 devices; 3 more would be needed to try all of it."}
	r.judge()
	return r
}

func TestGolden(t *testing.T) {
	healthy := sample1()
	healthy.Problems, healthy.Applications = []Problem{}, healthy.Applications[:1]
	healthy.judge()
	refused := newReport(".", plan.Revision{Name: "main", Commit: strings.Repeat("1", 40)}, plan.Revision{Name: "working tree"})
	refused.Outcome = OutcomeRefused
	refused.Findings = []plan.Finding{{Severity: "Error", Reason: "UnknownBoard", Message: "there is no board sim-m9", File: "devices/a.yaml", Line: 8, Object: "Device plant/a"}}
	for name, r := range map[string]*Report{"crash": sample1(), "healthy": healthy, "refused": refused} {
		for ending, write := range map[string]func(*bytes.Buffer) error{
			"txt": func(b *bytes.Buffer) error { return Text(b, r) }, "md": func(b *bytes.Buffer) error { return Markdown(b, r) },
			"json": func(b *bytes.Buffer) error { return JSON(b, r) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/"+name+"."+ending, b.String())
			if ending != "json" {
				continue
			}
			result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(Schema), gojsonschema.NewBytesLoader(b.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range result.Errors() {
				t.Errorf("%s: %s", name, e)
			}
		}
	}
}

func TestSchema(t *testing.T) {
	golden(t, "preview.schema.json", plantest.Schema(t, reflect.TypeFor[Report](), "report.go", "Preview of a change of a Wasmbed fleet, version "+Version))
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what is written now (go test -update writes it):\n%s", path, got)
	}
}

// TestOutcome: what the change did not bring does not count, unless the change touches it.
func TestOutcome(t *testing.T) {
	r := sample1()
	r.Problems = []Problem{
		{Side: sideBase, Device: "plant/lab-m3", Application: "thermostat", Reason: "Trapped"},
		{Side: sideHead, Device: "plant/lab-m3", Application: "thermostat", Reason: "Trapped"},
	}
	if r.judge(); r.Outcome != OutcomeHealthy || r.Problems[0].Side != sideHead || !r.Problems[0].Known {
		t.Errorf("a known problem of an app that is left alone: %s, %+v", r.Outcome, r.Problems)
	}
	r.Problems[0].Reason = "Watchdog"
	if r.judge(); r.Outcome != OutcomeUnhealthy {
		t.Error("another problem of an app that is left alone is overlooked")
	}
	r.Problems[0].Reason, r.Applications[2].Change = "Trapped", plan.Changed
	if r.judge(); r.Outcome != OutcomeUnhealthy {
		t.Error("a problem of an app that is changed is overlooked")
	}
}

// TestHostileTexts: what devices, apps and commits say neither steers a terminal nor breaks a comment.
func TestHostileTexts(t *testing.T) {
	payloads := []string{
		"a | b |\n|---|", "`code` ```", "](https://evil.example) ![i](http://evil.example/i.png)", "<script>alert(1)</script>",
		"--><!-- wasmbed-plan other -->", "</details></summary><details open>", "@everyone owner/repo#1 GH-1", "\n/close\n# heading\n",
		"\x1b[31mred\x1b[0m\x07\u009b31m", "\u202eright to left\u202c", "bad \xff\xfe", strings.Repeat("x", 5000) + "|`<",
	}
	ownTags := regexp.MustCompile(`^<!-- wasmbed-preview [^<> ]* -->|</?details>|</?summary>|<code>[A-Za-z0-9 ._/&#;-]*</code>`)
	for shift := range payloads {
		next, r := shift, &Report{}
		fill(reflect.ValueOf(r).Elem(), payloads, &next)
		var text, comment, document bytes.Buffer
		for _, err := range []error{Text(&text, r), Markdown(&comment, r), JSON(&document, r)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range text.String() {
			if c != '\n' && (c < ' ' || c >= 0x7f && c < 0xa0 || c >= 0x202a && c <= 0x202e) {
				t.Fatalf("the terminal gets %q", c)
			}
		}
		if comment.Len() > MaxComment {
			t.Errorf("the comment has %d bytes", comment.Len())
		}
		// Line by line, since a code span ends with its line; then what this package writes itself, and references.
		outside := regexp.MustCompile("`[^`\n]*`").ReplaceAllString(comment.String(), "")
		outside = regexp.MustCompile(`&#[0-9]+;`).ReplaceAllString(ownTags.ReplaceAllString(outside, ""), "")
		for _, bad := range []string{"<", "](", "@everyone", "#1", "GH-1", "\x1b", "\x07", "\n/close", "\n# "} {
			if strings.Contains(outside, bad) {
				t.Fatalf("payloads from %d: %q outside of a code span:\n%s", shift, bad, comment.String())
			}
		}
	}
}

// fill puts payloads into every text of a report and two entries into every list.
func fill(v reflect.Value, payloads []string, next *int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(payloads[*next%len(payloads)])
		*next++
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(2)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), payloads, next)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), payloads, next)
		}
	default:
		panic(fmt.Sprint(v.Kind()))
	}
}

func TestRepeatedLinesAreToldOnce(t *testing.T) {
	l := &logs{lines: map[place][]line{}}
	p := place{"plant", "a", "app"}
	start := time.Unix(100, 0)
	for i, text := range []string{"old", "a", "b", "b", "b", "c"} {
		l.lines[p] = append(l.lines[p], line{start.Add(time.Duration(i-1) * time.Second), text})
	}
	if got := l.first(p, start); !slices.Equal(got, []string{"a", "b (3 times)", "c"}) {
		t.Errorf("%q", got)
	}
}
