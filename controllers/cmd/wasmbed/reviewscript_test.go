// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"wasmbed.dev/controllers/internal/home"
)

const reviewToken = "MARKER-review-91ab"

// talk is the comments of a pull or merge request, at a local server that takes what the forge documents and nothing else.
type talk struct {
	forge    string
	mu       sync.Mutex
	comments []comment
	requests []string
	refused  []string
}

type comment struct {
	ID     int               `json:"id"`
	Body   string            `json:"body"`
	User   map[string]string `json:"user,omitempty"`
	Author map[string]string `json:"author,omitempty"`
}

func (c *talk) by(who, body string) comment {
	made := comment{ID: 100 + len(c.comments), Body: body}
	if c.forge == "gitlab" {
		made.Author = map[string]string{"username": who}
	} else {
		made.User = map[string]string{"login": who}
	}
	return made
}

// bot is who the token belongs to, and paths are where comments are listed and changed.
func (c *talk) bot() string {
	return map[string]string{"github": "github-actions[bot]", "gitea": "reviewer", "gitlab": "project_5_bot"}[c.forge]
}

func (c *talk) paths() (list, each, update string) {
	if c.forge == "gitlab" {
		list = "/projects/5/merge_requests/7/notes"
		return list, list + "/", http.MethodPut
	}
	return "/repos/acme/fleet/issues/7/comments", "/repos/acme/fleet/issues/comments/", http.MethodPatch
}

func (c *talk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	header, value := "Authorization", "Bearer "+reviewToken
	if c.forge == "gitlab" {
		header, value = "Private-Token", reviewToken
	}
	list, each, update := c.paths()
	body, _ := io.ReadAll(r.Body)
	var sent struct{ Body string }
	switch {
	case r.Header.Get(header) != value:
		c.refused = append(c.refused, "no token: "+r.URL.Path)
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet && r.URL.Path == "/user" && c.forge == "github":
		w.WriteHeader(http.StatusForbidden) // as for the token of a workflow
	case r.Method == http.MethodGet && r.URL.Path == "/user":
		_ = json.NewEncoder(w).Encode(map[string]string{"login": c.bot(), "username": c.bot()})
	case r.Method == http.MethodGet && r.URL.Path == list:
		c.page(w, r)
	case json.Unmarshal(body, &sent) != nil || sent.Body == "" || r.Header.Get("Content-Type") != "application/json":
		c.refused = append(c.refused, r.Method+" "+r.URL.Path+" without a body")
		w.WriteHeader(http.StatusUnprocessableEntity)
	case r.Method == http.MethodPost && r.URL.Path == list:
		c.requests = append(c.requests, "made")
		c.comments = append(c.comments, c.by(c.bot(), sent.Body))
		w.WriteHeader(http.StatusCreated)
	case r.Method == update && strings.HasPrefix(r.URL.Path, each):
		id, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, each))
		i := slices.IndexFunc(c.comments, func(o comment) bool { return o.ID == id })
		if i < 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		c.requests = append(c.requests, "updated")
		c.comments[i].Body = sent.Body
	default:
		c.refused = append(c.refused, r.Method+" "+r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
	}
}

// page gives three comments at once, so that the script has to turn pages.
func (c *talk) page(w http.ResponseWriter, r *http.Request) {
	page, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || page < 1 {
		c.refused = append(c.refused, "no page")
	}
	from := min((page-1)*3, len(c.comments))
	_ = json.NewEncoder(w).Encode(append([]comment{}, c.comments[from:min(from+3, len(c.comments))]...))
}

// reviewed is a fleet that init made, in a bare repository, and a clone in which a change is reviewed as a runner does.
type reviewed struct {
	*stack
	forge *talk
	env   []string
}

func newReviewed(t *testing.T, forge string) *reviewed {
	t.Helper()
	dir := t.TempDir()
	s := &stack{t: t, home: home.Dir(filepath.Join(dir, "home")), clone: filepath.Join(dir, "clone")}
	fleet, bare := filepath.Join(dir, "fleet"), filepath.Join(dir, "fleet.git")
	s.must("", program(t, "wasmbed"), "init", "--name", "meadow", "--board", "sim-m4", "--language", "wat", fleet)
	s.must(fleet, "git", "init", "-q", "-b", "main")
	s.must(fleet, "git", "add", "-A")
	s.must(fleet, "git", "commit", "-q", "-m", "A new fleet")
	s.must(dir, "git", "clone", "-q", "--bare", fleet, bare)
	s.must(dir, "git", "clone", "-q", bare, s.clone)
	s.must(s.clone, "git", "checkout", "-q", "-b", "change")
	r := &reviewed{stack: s, forge: &talk{forge: forge}}
	server := httptest.NewServer(r.forge)
	t.Cleanup(server.Close)
	r.env = []string{"WASMBED_TOKEN=" + reviewToken, "WASMBED_CHANGE=7"}
	if forge == "gitlab" {
		r.env = append(r.env, "CI_API_V4_URL="+server.URL, "CI_PROJECT_ID=5")
	} else {
		r.env = append(r.env, "GITHUB_API_URL="+server.URL, "GITHUB_REPOSITORY=acme/fleet")
	}
	for i := range 3 {
		r.forge.comments = append(r.forge.comments, r.forge.by("somebody", fmt.Sprintf("remark %d", i)))
	}
	r.forge.comments = append(r.forge.comments, r.forge.by("somebody", "<!-- wasmbed-plan . -->\nnot the bot's"))
	return r
}

// review commits what is in the clone and runs the fleet's own script.
func (r *reviewed) review(env ...string) (exit int, out string) {
	r.t.Helper()
	r.must(r.clone, "git", "add", "-A")
	r.must(r.clone, "git", "commit", "-q", "--allow-empty", "-m", "Change [x](http://evil.example) <!-- @everyone")
	cmd := exec.CommandContext(r.t.Context(), filepath.Join(r.clone, "ci/wasmbed-review"))
	cmd.Dir = r.clone
	for _, e := range os.Environ() { // a runner of our own may be one of these forges'
		if !strings.HasPrefix(e, "GITHUB_") && !strings.HasPrefix(e, "CI_") && !strings.HasPrefix(e, "WASMBED_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(program(r.t, "wasmbed"))+":"+os.Getenv("PATH"))
	cmd.Env = append(append(cmd.Env, r.env...), env...)
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		r.t.Fatal(err)
	}
	harmless(r.t, "the script", "markdown", string(text))
	return cmd.ProcessState.ExitCode(), string(text)
}

// ours is the one comment that the script keeps; everybody else's are as they were.
func (r *reviewed) ours(requests ...string) string {
	r.t.Helper()
	c := r.forge
	if !slices.Equal(c.requests, requests) || len(c.refused) > 0 || len(c.comments) != 5 || !strings.HasSuffix(c.comments[3].Body, "not the bot's") {
		r.t.Fatalf("requests %v, refused %v, %d comments", c.requests, c.refused, len(c.comments))
	}
	body := c.comments[4].Body
	harmless(r.t, "the comment", "markdown", body)
	return body
}

// TestReviewScript runs the script of a new fleet as the runners of each forge do: one comment, made by the first change
// and updated by those that follow; it fails when a change is denied or refused, and says so in the comment.
func TestReviewScript(t *testing.T) {
	for _, forge := range []string{"github", "gitea", "gitlab"} {
		t.Run(forge, func(t *testing.T) {
			r := newReviewed(t, forge)
			r.write(map[string]string{"notes.txt": "nothing that the fleet sees"})
			if exit, out := r.review("WASMBED_PREVIEW=no"); exit != 0 {
				t.Fatalf("exit %d\n%s", exit, out)
			}
			if body := r.ours("made"); !strings.HasPrefix(body, "<!-- wasmbed-plan . -->\n### Wasmbed plan: ") || !strings.Contains(body, "`Change [x](http://evil.example) <!-- @everyone`") {
				t.Errorf("first comment:\n%s", body)
			}
			r.edit("apps/blink/application.yaml", func(text string) string { return bumpConfig(text, "7") })
			r.write(map[string]string{"devices/hidden.yaml": strings.Replace(markedSecret(""), "namespace: plant", "namespace: meadow", 1)})
			r.addResource("devices/kustomization.yaml", "hidden.yaml")
			if exit, out := r.review("WASMBED_PREVIEW=no"); exit != 0 {
				t.Fatalf("exit %d\n%s", exit, out)
			}
			if body := r.ours("made", "updated"); !strings.Contains(body, "hidden") || !strings.Contains(body, "1 device restarts") {
				t.Errorf("second comment:\n%s", body)
			}
			r.write(map[string]string{"apps/blink/application.yaml": "kind: ["})
			if exit, out := r.review("WASMBED_PREVIEW=no"); exit != 1 {
				t.Errorf("a broken change: exit %d\n%s", exit, out)
			}
			if body := r.ours("made", "updated", "updated"); !strings.Contains(body, "application.yaml") {
				t.Errorf("third comment:\n%s", body)
			}
			if exit, out := r.review("WASMBED_PREVIEW=no", "WASMBED_TOKEN="); exit != 1 || !strings.Contains(out, "no comment is written") {
				t.Errorf("without a token: exit %d\n%s", exit, out)
			}
			r.ours("made", "updated", "updated")
		})
	}
}

// TestReviewScriptPreviews: the comment holds the preview beside the plan.
func TestReviewScriptPreviews(t *testing.T) {
	r := newReviewed(t, "github")
	r.edit("apps/blink/application.yaml", func(text string) string { return bumpConfig(text, "7") })
	exit, out := r.review()
	if body := r.ours("made"); exit != 0 || !strings.Contains(body, "### Wasmbed plan: ") || !strings.Contains(body, "### Wasmbed preview: ") {
		t.Errorf("exit %d\n%s\n%s", exit, body, out)
	}
}
