// SPDX-License-Identifier: Apache-2.0

package review_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/review"
)

// repository is a git repository for a test, driven by the real git.
type repository struct {
	t   testing.TB
	dir string
}

func newRepository(t testing.TB) repository {
	t.Helper()
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repository) write(tree fleettest.Tree) {
	r.t.Helper()
	if err := tree.Write(r.dir); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

func (r repository) set(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) report(o review.Options) *plan.Report {
	r.t.Helper()
	o.Dir = filepath.Join(r.dir, o.Dir)
	report, err := review.Report(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

func blinkWith(spec ...string) string {
	return fleettest.App("blink", "apps/blink.wasm", append([]string{"permissions: [gpio, timer]", "limits: {memory: 0}"}, spec...)...)
}

func changed(r *plan.Report) string {
	var out []string
	for _, o := range r.Objects.Added {
		out = append(out, "+"+o.Name)
	}
	for _, o := range r.Objects.Changed {
		out = append(out, "~"+o.Name)
	}
	for _, o := range r.Objects.Removed {
		out = append(out, "-"+o.Name)
	}
	return strings.Join(out, " ")
}

// TestRevisions is about which revisions are compared.
func TestRevisions(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	first := r.report(review.Options{})
	if first.Base.Name != "nothing" || first.Head.Name != "working tree" || len(first.Objects.Added) != 7 || first.Outcome != plan.OutcomeChanges {
		t.Errorf("before the first commit: %+v %s", first.Base, changed(first))
	}
	start := r.commit("Start")
	if got := r.report(review.Options{}); got.Outcome != plan.OutcomeNoChange || got.Base.Commit != start || got.Base.Subject != "Start" {
		t.Errorf("a clean working tree: %+v", got)
	}

	r.set("apps/blink.yaml", blinkWith("config: {a: x}"))
	if got := r.report(review.Options{}); changed(got) != "~blink" || got.Head.Commit != "" {
		t.Errorf("an edited file: %s", changed(got))
	}
	r.git("checkout", "-q", "-b", "feature")
	feature := r.commit("Change blink")

	r.git("checkout", "-q", "main")
	r.set("devices/a.yaml", fleettest.Device("a", "board: sim-m4", "backend: Simulated", "gateway: main"))
	onMain := r.commit("Pin a\n\nWith a body.")

	r.git("checkout", "-q", "feature")
	for _, o := range []review.Options{{}, {Head: "feature"}, {Head: "HEAD"}, {Head: feature[:10]}, {Base: start, Head: "feature"}, {Base: "main~1"}} {
		if got := r.report(o); changed(got) != "~blink" || got.Base.Commit != start {
			t.Errorf("%+v: what main did meanwhile is no part of the change: %s from %s", o, changed(got), got.Base.Name)
		}
	}
	if got := r.report(review.Options{Base: "main", Head: "feature"}); changed(got) != "~a ~blink" || got.Base.Commit != onMain || got.Base.Subject != "Pin a" {
		t.Errorf("from one revision to another: %s %+v", changed(got), got.Base)
	}

	// The main branch of the remote comes before a local one, which may be behind.
	r.git("update-ref", "refs/remotes/origin/trunk", feature)
	r.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
	if got := r.report(review.Options{}); got.Outcome != plan.OutcomeNoChange || got.Base.Commit != feature {
		t.Errorf("origin/HEAD: %+v", got.Base)
	}

	// Packed, from a linked working tree, with an object store that is shared.
	r.git("gc", "-q")
	linked := filepath.Join(t.TempDir(), "linked")
	r.git("worktree", "add", "-q", linked, "feature~1", "--detach")
	got, err := review.Report(t.Context(), review.Options{Dir: linked, Base: "main", Head: "feature"})
	if err != nil || changed(got) != "~a ~blink" {
		t.Errorf("in a linked working tree: %v", err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	r.git("clone", "-q", "--shared", r.dir, clone)
	if got, err = review.Report(t.Context(), review.Options{Dir: clone, Base: start, Head: "HEAD"}); err != nil || changed(got) != "~blink" {
		t.Errorf("in a clone that shares objects: %v", err)
	}
}

// TestAFleetInADirectory: the fleet need not be the whole repository, and policy.yaml lies with it.
func TestAFleetInADirectory(t *testing.T) {
	r := newRepository(t)
	tree := fleettest.Tree{}
	for name, f := range fleettest.Base() {
		f.Content = strings.ReplaceAll(f.Content, "apps/blink.wasm", "fleet/apps/blink.wasm")
		f.Content = strings.ReplaceAll(f.Content, "apps/report.wasm", "fleet/apps/report.wasm")
		tree["fleet/"+name] = f
	}
	tree.Set("fleet/policy.yaml", "rules: {permissions-gained: deny}\n")
	r.write(tree)
	r.commit("Start")
	r.set("fleet/apps/report.yaml", fleettest.App("report", "fleet/apps/report.wasm", "permissions: [log, gpio]", "limits: {memory: 65536}"))
	got := r.report(review.Options{Dir: "fleet"})
	if got.Path != "fleet" || got.Outcome != plan.OutcomeDenied || changed(got) != "~report" {
		t.Errorf("got %s %s %s %+v", got.Path, got.Outcome, changed(got), got.Findings)
	}
}

// TestPolicies is about which policy counts.
func TestPolicies(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	r.set("policy.yaml", "rules: {permissions-gained: deny}\n")
	r.commit("Start")
	r.set("apps/report.yaml", fleettest.App("report", "apps/report.wasm", "permissions: [log, gpio]", "limits: {memory: 65536}"))
	r.set("policy.yaml", "rules: {permissions-gained: off}\n")
	if got := r.report(review.Options{}); got.Outcome != plan.OutcomeDenied {
		t.Errorf("a change relaxed its own policy: %+v", got.Risks)
	}
	r.set("policy.yaml", "rules: [\n")
	if _, err := review.Report(t.Context(), review.Options{Dir: r.dir}); err == nil || !strings.Contains(err.Error(), "policy.yaml") {
		t.Errorf("a broken policy: %v", err)
	}
	r.commit("Break it")
	r.set("policy.yaml", "rules: {}\n")
	if got := r.report(review.Options{}); len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "policy") {
		t.Errorf("a policy that is mended: %+v", got.Notes)
	}
	if err := os.Remove(filepath.Join(r.dir, "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(r.dir, "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := review.Report(t.Context(), review.Options{Dir: r.dir}); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("a link: %v", err)
	}
}

// TestTrailer: the brake reads the message of the head commit.
func TestTrailer(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	r.commit("Start")
	r.git("checkout", "-q", "-b", "feature")
	tree := fleettest.Base()
	tree.List("devices", "a.yaml", "b.yaml")
	tree.Set("devices/b.yaml", fleettest.Device("b", "board: sim-m4", "backend: Simulated"))
	r.write(tree)
	if got := r.report(review.Options{}); !got.Prune.Needed || !got.Prune.Blocked || got.Prune.Trailer != "Wasmbed-Allow-Prune: 2" {
		t.Errorf("a working tree has no message: %+v", got.Prune)
	}
	r.commit("Remove the gateway")
	if got := r.report(review.Options{Head: "HEAD"}); !got.Prune.Blocked {
		t.Errorf("without the trailer: %+v", got.Prune)
	}
	r.git("commit", "-q", "--amend", "-m", "Remove the gateway\n\nWasmbed-Allow-Prune: 2")
	if got := r.report(review.Options{Head: "HEAD"}); got.Prune.Blocked || !got.Prune.Needed {
		t.Errorf("with the trailer: %+v", got.Prune)
	}
}

func TestWhatCannotBePlanned(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	r.commit("Start")
	r.commit("More")
	r.git("branch", "-m", "elsewhere")
	r.git("commit-tree", "HEAD^{tree}", "-m", "Alone")
	shallow := filepath.Join(t.TempDir(), "shallow")
	r.git("clone", "-q", "--depth=1", "file://"+r.dir, shallow)
	exec.Command("git", "-C", shallow, "update-ref", "refs/heads/main", r.git("commit-tree", "HEAD^{tree}", "-m", "Alone")).Run() //nolint:errcheck // the object is not there, which is the case
	for name, test := range map[string]struct {
		o    review.Options
		want string
	}{
		"no repository":      {review.Options{Dir: t.TempDir(), Format: "text"}, "not in a git repository"},
		"no directory":       {review.Options{Dir: filepath.Join(r.dir, "nowhere"), Format: "text"}, "no such file"},
		"no such base":       {review.Options{Dir: r.dir, Base: "nowhere", Format: "text"}, `find revision "nowhere"`},
		"no such head":       {review.Options{Dir: r.dir, Head: "\x1b[31mnowhere", Format: "text"}, `find revision "\x1b[31mnowhere"`},
		"no main branch":     {review.Options{Dir: r.dir, Format: "text"}, "name a revision with --base"},
		"no such format":     {review.Options{Dir: r.dir, Format: "html"}, "use text, markdown or json"},
		"an unknown history": {review.Options{Dir: shallow, Base: "HEAD~1", Format: "text"}, "find revision"},
	} {
		var out bytes.Buffer
		if _, err := review.Run(t.Context(), &out, test.o); err == nil || !strings.Contains(err.Error(), test.want) || out.Len() > 0 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestAShallowCloneSaysWhatToDo: pipelines clone so by default.
func TestAShallowCloneSaysWhatToDo(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	r.commit("Start")
	r.git("checkout", "-q", "-b", "feature")
	r.commit("One")
	r.git("checkout", "-q", "main")
	r.commit("Two")
	dir := filepath.Join(t.TempDir(), "shallow")
	r.git("clone", "-q", "--depth=1", "--no-single-branch", "-b", "feature", "file://"+r.dir, dir)
	_, err := review.Report(t.Context(), review.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "--unshallow") {
		t.Errorf("got %v", err)
	}
}

// TestFormats: what Run writes and returns.
func TestFormats(t *testing.T) {
	r := newRepository(t)
	r.write(fleettest.Base())
	r.commit("Start")
	r.set("apps/blink.yaml", blinkWith("config: {a: x}"))
	for format, want := range map[string]string{"text": "3 devices restart", "markdown": "<!-- wasmbed-plan . -->\n", "json": `"outcome": "Changes"`} {
		var out bytes.Buffer
		outcome, err := review.Run(t.Context(), &out, review.Options{Dir: r.dir, Format: format})
		if err != nil || outcome != plan.OutcomeChanges || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s %v\n%s", format, outcome, err, out.String())
		}
	}
}
