// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) { testcluster.Main(m, &cluster) }

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	token  = "MARKERtoken5Xy"
)

// forgeServer takes statuses as its forge documents, and refuses everything else.
type forgeServer struct {
	*httptest.Server
	mu     sync.Mutex
	got    []map[string]string
	bad    []string
	breaks func(w http.ResponseWriter) bool
}

func newForge(t *testing.T, provider api.ForgeProvider) *forgeServer {
	t.Helper()
	f := &forgeServer{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.breaks != nil && f.breaks(w) {
			return
		}
		if problem := documented(provider, r); problem != "" {
			f.bad = append(f.bad, problem)
			http.Error(w, problem, http.StatusUnprocessableEntity)
			return
		}
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			f.bad = append(f.bad, err.Error())
		}
		f.got = append(f.got, body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(f.Close)
	return f
}

// documented says what is wrong with a request, by the forge's documentation.
func documented(provider api.ForgeProvider, r *http.Request) string {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") == "" {
		return "not a POST of JSON by a named client"
	}
	path, header, value := "", "", ""
	switch provider {
	case api.ForgeGitHub:
		path, header, value = "/repos/acme/fleet/statuses/"+commit, "Authorization", "Bearer "+token
		if r.Header.Get("Accept") != "application/vnd.github+json" || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28" {
			return "no version of the API"
		}
	case api.ForgeGitea:
		path, header, value = "/repos/acme/fleet/statuses/"+commit, "Authorization", "token "+token
	case api.ForgeGitLab:
		path, header, value = "/projects/acme%2Ffleet/statuses/"+commit, "Private-Token", token
	}
	if r.URL.EscapedPath() != path {
		return "path is " + r.URL.EscapedPath() + ", not " + path
	}
	if r.Header.Get(header) != value {
		return "not authenticated"
	}
	return ""
}

func (f *forgeServer) statuses() []map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]map[string]string{}, f.got...)
}

func target0(f *forgeServer, provider api.ForgeProvider) *target {
	return &target{provider: provider, base: f.URL, project: "acme/fleet", token: token}
}

// TestEachForgeTakesAStatus: path, headers and fields as documented, and the words of each forge for a state.
func TestEachForgeTakesAStatus(t *testing.T) {
	states := map[api.ForgeProvider]map[string]string{
		api.ForgeGitHub: {StatePending: "pending", StateSuccess: "success", StateFailure: "failure"},
		api.ForgeGitea:  {StatePending: "pending", StateSuccess: "success", StateFailure: "failure"},
		api.ForgeGitLab: {StatePending: "running", StateSuccess: "success", StateFailure: "failed"},
	}
	for provider, words := range states {
		f := newForge(t, provider)
		for state, word := range words {
			if err := target0(f, provider).report(t.Context(), Status{commit, ContextRollout, state, strings.Repeat("ä", 300)}); err != nil {
				t.Fatalf("%s: %v, %v", provider, err, f.bad)
			}
			got := f.statuses()[len(f.statuses())-1]
			name := "context"
			if provider == api.ForgeGitLab {
				name = "name"
			}
			if got["state"] != word || got[name] != ContextRollout || len([]rune(got["description"])) > 140 {
				t.Errorf("%s: %v", provider, got)
			}
		}
	}
	f := newForge(t, api.ForgeGitLab)
	f.breaks = func(w http.ResponseWriter) bool {
		http.Error(w, `{"message":"Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}`, http.StatusBadRequest)
		return true
	}
	if err := target0(f, api.ForgeGitLab).report(t.Context(), Status{commit, ContextSync, StatePending, ""}); err != nil {
		t.Errorf("GitLab has the state already: %v", err)
	}
}

func TestWhatAForgeAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		code   int
		header map[string]string
		is     func(error) bool
	}{
		"a wrong token":        {401, nil, isRefusal},
		"no such project":      {404, nil, isRefusal},
		"a redirect":           {307, map[string]string{"Location": "http://evil.example/"}, isRefusal},
		"an internal error":    {500, nil, isLater(0)},
		"too many requests":    {429, map[string]string{"Retry-After": "7"}, isLater(7 * time.Second)},
		"a day's wait":         {429, map[string]string{"Retry-After": "86400"}, isLater(maxRetryAfter)},
		"GitHub's second rate": {403, map[string]string{"Retry-After": "60"}, isLater(time.Minute)},
	} {
		f := newForge(t, api.ForgeGitHub)
		f.breaks = func(w http.ResponseWriter) bool {
			for key, value := range test.header {
				w.Header().Set(key, value)
			}
			http.Error(w, "no\x1b[31m <b>way</b>", test.code)
			return true
		}
		err := target0(f, api.ForgeGitHub).report(t.Context(), Status{commit, ContextSync, StateSuccess, ""})
		if !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: the error shows too much: %q", name, err)
		}
	}
}

func isRefusal(err error) bool { var r refusal; return errors.As(err, &r) }

func isLater(wait time.Duration) func(error) bool {
	return func(err error) bool { var l later; return errors.As(err, &l) && l.wait == wait }
}

func TestAddressesOfForges(t *testing.T) {
	for name, test := range map[string]struct {
		url   string
		forge api.Forge
		want  string // base and project, or a part of the error
	}{
		"GitHub":                 {"https://github.com/acme/fleet.git", api.Forge{Provider: api.ForgeGitHub}, "https://api.github.com acme/fleet"},
		"GitHub over ssh":        {"ssh://git@github.com/acme/fleet", api.Forge{Provider: api.ForgeGitHub}, "https://api.github.com acme/fleet"},
		"GitHub at home":         {"https://git.example.org/acme/fleet", api.Forge{Provider: api.ForgeGitHub}, "https://git.example.org/api/v3 acme/fleet"},
		"GitLab with groups":     {"https://gitlab.com/acme/farm/fleet.git", api.Forge{Provider: api.ForgeGitLab}, "https://gitlab.com/api/v4 acme/farm/fleet"},
		"Forgejo":                {"https://codeberg.org/acme/fleet", api.Forge{Provider: api.ForgeGitea}, "https://codeberg.org/api/v1 acme/fleet"},
		"a project of its own":   {"file:///srv/fleet.git", api.Forge{Provider: api.ForgeGitea, URL: "http://127.0.0.1:3000/api/v1/", Project: "a/b"}, "http://127.0.0.1:3000/api/v1 a/b"},
		"a file without address": {"file:///srv/fleet.git", api.Forge{Provider: api.ForgeGitea}, "names no host"},
		"plain http":             {"https://x.example/a/b", api.Forge{Provider: api.ForgeGitea, URL: "http://x.example/api/v1"}, "only https"},
		"with credentials":       {"https://x.example/a/b", api.Forge{Provider: api.ForgeGitea, URL: "https://u:p@x.example/api/v1"}, "credentials"},
		"no project":             {"https://x.example/fleet", api.Forge{Provider: api.ForgeGitea}, "is no project"},
		"out of the API":         {"https://x.example/a/../../b", api.Forge{Provider: api.ForgeGitea}, "is no project"},
	} {
		got := ""
		if target, err := newTarget(&api.RepositorySpec{URL: test.url, Forge: &test.forge}, token); err != nil {
			got = err.Error()
		} else {
			got = target.base + " " + target.project
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func repositoryAt(applied string, ready metav1.ConditionStatus, reason string) *api.Repository {
	r := &api.Repository{Spec: api.RepositorySpec{Branch: "main"}}
	r.Status.Fetched = &api.Revision{Commit: commit}
	if applied != "" {
		r.Status.Applied = &api.Revision{Commit: applied}
	}
	r.Status.Conditions = []metav1.Condition{{Type: api.ConditionReady, Status: ready, Reason: reason, Message: "it is\nso"}}
	return r
}

func app(name string, running, target int32, ready metav1.ConditionStatus, reason string, stalled bool) *api.Application {
	a := &api.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}
	a.Status.Running, a.Status.Target = running, target
	a.Status.Conditions = []metav1.Condition{{Type: api.ConditionReady, Status: ready, Reason: reason, Message: "lab-1 failed: Trapped"}}
	if stalled {
		a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{Type: api.ConditionStalled, Status: metav1.ConditionTrue})
	}
	return a
}

func TestWhatIsSaidOfACommit(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	refusedOne := repositoryAt("other", no, api.ReasonUnknownBoard)
	refusedOne.Status.History = []api.HistoryEntry{{Revision: api.Revision{Commit: commit}, Outcome: "Refused"}}
	for name, test := range map[string]struct {
		repository  *api.Repository
		state, text string
	}{
		"applied":     {repositoryAt(commit, yes, api.ReasonReconciled), StateSuccess, "it is so"},
		"under way":   {repositoryAt("other", no, api.ReasonProgressing), StatePending, "it is so"},
		"unreachable": {repositoryAt(commit, no, api.ReasonRemoteUnreachable), StatePending, "it is so"},
		"refused":     {refusedOne, StateFailure, "it is so"},
	} {
		if s := syncStatus(test.repository); s.State != test.state || s.Description != test.text || s.Commit != commit || s.Context != ContextSync {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for name, test := range map[string]struct {
		apps        []*api.Application
		state, text string
	}{
		"none":                {nil, StateSuccess, "no application"},
		"one under way":       {[]*api.Application{app("a", 7, 10, no, api.ReasonRollingOut, false)}, StatePending, "7/10 devices"},
		"one done":            {[]*api.Application{app("a", 10, 10, yes, api.ReasonRolledOut, false)}, StateSuccess, "10/10 devices"},
		"one stopped":         {[]*api.Application{app("a", 7, 10, no, api.ReasonWaveFailed, true)}, StateFailure, "7/10 devices: lab-1 failed: Trapped"},
		"two, one under way":  {[]*api.Application{app("b", 7, 10, no, api.ReasonRollingOut, false), app("a", 3, 3, yes, api.ReasonRolledOut, false)}, StatePending, "7/10 devices run plant/b; 1/2 applications are rolled out"},
		"two, one failed":     {[]*api.Application{app("b", 7, 10, no, api.ReasonRollingOut, false), app("a", 0, 3, no, api.ReasonFailed, false)}, StateFailure, "0/3 devices run plant/a; 0/2 applications are rolled out: lab-1 failed: Trapped"},
		"two, done":           {[]*api.Application{app("b", 10, 10, yes, api.ReasonRolledOut, false), app("a", 3, 3, yes, api.ReasonRolledOut, false)}, StateSuccess, "13/13 instances of 2 applications run"},
		"one that is stopped": {[]*api.Application{app("a", 7, 10, no, api.ReasonSuspended, true)}, StateSuccess, "7/10 devices"},
	} {
		if s := rolloutStatus(test.apps); s.State != test.state || s.Description != test.text {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// world is the real API server with a Repository, its Secrets and an application.
type world struct {
	t    *testing.T
	kube client.Client
	ns   string
	r    *reconciler
	now  time.Time
}

func newWorld(t *testing.T, spec api.RepositorySpec) *world {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kube: kube, ns: cluster.Namespace(t), now: time.Unix(1000, 0)}
	spec.URL, spec.Branch = "file:///srv/fleet.git", "main"
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "forge"}, StringData: map[string]string{SecretToken: token, SecretHook: "hook secret"}})
	w.create(&api.Repository{ObjectMeta: metav1.ObjectMeta{Name: "fleet"}, Spec: spec})
	w.create(&api.Application{ObjectMeta: metav1.ObjectMeta{Name: "blink", Labels: map[string]string{api.LabelRepositoryName: "fleet", api.LabelRepositoryNamespace: w.ns}},
		Spec: api.ApplicationSpec{Module: api.Module{Path: "a.wasm"}}})
	w.r = &reconciler{client: kube, reader: kube, events: events.NewFakeRecorder(100), now: func() time.Time { return w.now }, sent: map[sentKey]sent{}}
	w.status(7, metav1.ConditionFalse, api.ReasonRollingOut)
	return w
}

func (w *world) create(o client.Object) {
	w.t.Helper()
	o.SetNamespace(w.ns)
	if err := w.kube.Create(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// status sets how far the application is; the commit is applied.
func (w *world) status(running int32, ready metav1.ConditionStatus, reason string) {
	w.t.Helper()
	r := &api.Repository{}
	a := &api.Application{}
	for name, o := range map[string]client.Object{"fleet": r, "blink": a} {
		if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, o); err != nil {
			w.t.Fatal(err)
		}
	}
	at := metav1.NewTime(time.Unix(1, 0))
	r.Status = repositoryAt(commit, metav1.ConditionTrue, api.ReasonReconciled).Status
	r.Status.Conditions[0].LastTransitionTime = at
	a.Status = app("blink", running, 10, ready, reason, false).Status
	a.Status.ObservedGeneration = a.Generation
	a.Status.Conditions[0].LastTransitionTime = at
	for _, o := range []client.Object{r, a} {
		if err := w.kube.Status().Update(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) reconcile() (ctrl.Result, error) {
	return w.r.Reconcile(context.Background(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: w.ns, Name: "fleet"}})
}

func (w *world) must() ctrl.Result {
	w.t.Helper()
	result, err := w.reconcile()
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// TestReportsFollowChange: each status once, the same state at a pace, another state at once, and an error until it works.
func TestReportsFollowChange(t *testing.T) {
	f := newForge(t, api.ForgeGitHub)
	w := newWorld(t, api.RepositorySpec{Forge: &api.Forge{Provider: api.ForgeGitHub, URL: f.URL, Project: "acme/fleet", SecretRef: api.LocalReference{Name: "forge"}}})
	w.must()
	w.must()
	if got := f.statuses(); len(got) != 2 || len(f.bad) > 0 || got[0]["context"] != ContextSync || got[1]["description"] != "7/10 devices" {
		t.Fatalf("%v %v", got, f.bad)
	}
	w.status(8, metav1.ConditionFalse, api.ReasonRollingOut)
	w.now = w.now.Add(pace / 2)
	if result := w.must(); result.RequeueAfter != pace/2 || len(f.statuses()) != 2 {
		t.Errorf("the same state in other words: %+v, %d", result, len(f.statuses()))
	}
	w.status(10, metav1.ConditionTrue, api.ReasonRolledOut)
	f.mu.Lock()
	f.breaks = func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusBadGateway); return true }
	f.mu.Unlock()
	if _, err := w.reconcile(); err == nil {
		t.Error("an error is not tried again")
	}
	f.mu.Lock()
	f.breaks = nil
	f.mu.Unlock()
	w.must()
	if got := f.statuses(); len(got) != 3 || got[2]["state"] != StateSuccess || got[2]["description"] != "10/10 devices" {
		t.Errorf("another state: %v", got)
	}
}

// TestARefusedReportIsLeftForAWhile: a wrong token is no reason to knock again and again, and an event says so.
func TestARefusedReportIsLeftForAWhile(t *testing.T) {
	f := newForge(t, api.ForgeGitea)
	w := newWorld(t, api.RepositorySpec{Forge: &api.Forge{Provider: api.ForgeGitea, URL: f.URL, Project: "acme/other", SecretRef: api.LocalReference{Name: "forge"}}})
	w.must()
	if result := w.must(); result.RequeueAfter != refusedWait || len(f.bad) != 2 {
		t.Errorf("%+v, %d requests", result, len(f.bad))
	}
	said := <-w.r.events.(*events.FakeRecorder).Events
	if !strings.Contains(said, "ReportRefused") || strings.Contains(said, token) {
		t.Errorf("the event says %q", said)
	}
	w.now = w.now.Add(refusedWait)
	w.must()
	if len(f.bad) != 4 {
		t.Errorf("%d requests after a while", len(f.bad))
	}
}

// TestWebhooksOut: signed with the Secret, one for each status.
func TestWebhooksOut(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Wasmbed-Signature-256") != "sha256="+hex.EncodeToString(sign([]byte("hook secret"), body)) {
			http.Error(w, "not signed", http.StatusForbidden)
			return
		}
		got = append(got, string(body))
	}))
	defer server.Close()
	w := newWorld(t, api.RepositorySpec{Webhooks: []api.Webhook{{URL: server.URL, SecretRef: &api.LocalReference{Name: "forge"}}}})
	w.must()
	w.must()
	if len(got) != 2 || !strings.Contains(got[0], `"version":"wasmbed.dev/event/v1"`) || !strings.Contains(got[1], `"description":"7/10 devices"`) || !strings.Contains(got[1], commit) {
		t.Errorf("%q", got)
	}
}

// TestWebhooksIn: who knows the secret causes a fetch, whichever forge it is; nobody else causes anything.
func TestWebhooksIn(t *testing.T) {
	w := newWorld(t, api.RepositorySpec{Receiver: &api.Receiver{SecretRef: api.LocalReference{Name: "forge"}}})
	fetched := 0
	var broken error
	receiver := &Receiver{Reader: w.kube, Fetch: func(key types.NamespacedName) error {
		if key.Namespace != w.ns || key.Name != "fleet" {
			t.Errorf("fetch of %s", key)
		}
		fetched++
		return broken
	}}
	server := httptest.NewServer(receiver.Handler())
	defer server.Close()
	main := `{"ref":"refs/heads/main"}`
	signed := func(body, secret string) string { return hex.EncodeToString(sign([]byte(secret), []byte(body))) }
	for name, test := range map[string]struct {
		path, body string
		header     map[string]string
		code       int
		fetches    bool
	}{
		"GitHub":             {"", main, map[string]string{"X-Hub-Signature-256": "sha256=" + signed(main, "hook secret")}, 202, true},
		"Gitea":              {"", main, map[string]string{"X-Gitea-Signature": signed(main, "hook secret")}, 202, true},
		"Forgejo":            {"", main, map[string]string{"X-Forgejo-Signature": signed(main, "hook secret")}, 202, true},
		"GitLab":             {"", main, map[string]string{"X-Gitlab-Token": "hook secret"}, 202, true},
		"something else":     {"", "hello", map[string]string{"X-Gitlab-Token": "hook secret"}, 202, true},
		"another branch":     {"", `{"ref":"refs/heads/x"}`, map[string]string{"X-Gitlab-Token": "hook secret"}, 202, false},
		"no signature":       {"", main, nil, 403, false},
		"a wrong signature":  {"", main, map[string]string{"X-Hub-Signature-256": "sha256=" + signed(main, "guess")}, 403, false},
		"a short signature":  {"", main, map[string]string{"X-Hub-Signature-256": "sha256="}, 403, false},
		"no hexadecimal":     {"", main, map[string]string{"X-Hub-Signature-256": "sha256=zz"}, 403, false},
		"a wrong token":      {"", main, map[string]string{"X-Gitlab-Token": "guess"}, 403, false},
		"another body":       {"", main + " ", map[string]string{"X-Hub-Signature-256": "sha256=" + signed(main, "hook secret")}, 403, false},
		"another Repository": {"/hooks/" + w.ns + "/other", main, map[string]string{"X-Gitlab-Token": "hook secret"}, 403, false},
		"too large":          {"", strings.Repeat("x", maxHook+1), map[string]string{"X-Gitlab-Token": "hook secret"}, 413, false},
	} {
		before := fetched
		path := test.path
		if path == "" {
			path = "/hooks/" + w.ns + "/fleet"
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range test.header {
			request.Header.Set(key, value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != test.code || fetched-before != map[bool]int{true: 1}[test.fetches] || strings.Contains(string(answer), "hook secret") {
			t.Errorf("%s: %d %q, %d fetches", name, response.StatusCode, answer, fetched-before)
		}
	}
	broken = errors.New("MARKER of the inside")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/hooks/"+w.ns+"/fleet", strings.NewReader(main))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Gitlab-Token", "hook secret")
	if response, err := http.DefaultClient.Do(request); err != nil {
		t.Error(err)
	} else {
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusInternalServerError || strings.Contains(string(answer), "MARKER") {
			t.Errorf("a fetch that fails: %d %s", response.StatusCode, answer)
		}
	}
	if response, err := http.Get(server.URL + "/hooks/" + w.ns + "/fleet"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v", err)
	} else {
		_ = response.Body.Close()
	}
}

// TestPaceOfReports: a state that flaps and a rollout that lasts for hours stay below what a forge takes.
func TestPaceOfReports(t *testing.T) {
	pending, success := Status{commit, ContextRollout, StatePending, "1/2 devices"}, Status{commit, ContextRollout, StateSuccess, "2/2 devices"}
	for name, test := range map[string]struct {
		last sent
		next Status
		want time.Duration
	}{
		"other words":         {sent{status: pending, reports: 1}, Status{commit, ContextRollout, StatePending, "0/2 devices"}, pace},
		"another state":       {sent{status: pending, reports: 1}, success, flapPace},
		"many already":        {sent{status: pending, reports: manyReports}, pending, slowPace},
		"many, another state": {sent{status: pending, reports: manyReports}, success, slowPace},
	} {
		if got := test.last.pace(test.next); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	f := newForge(t, api.ForgeGitHub)
	w := newWorld(t, api.RepositorySpec{Forge: &api.Forge{Provider: api.ForgeGitHub, URL: f.URL, Project: "acme/fleet", SecretRef: api.LocalReference{Name: "forge"}}})
	w.must()
	for i := range 20 { // ready and not ready, every half second
		w.now = w.now.Add(500 * time.Millisecond)
		if i%2 == 0 {
			w.status(10, metav1.ConditionTrue, api.ReasonRolledOut)
		} else {
			w.status(7, metav1.ConditionFalse, api.ReasonRollingOut)
		}
		w.must()
	}
	if n := len(f.statuses()); n < 3 || n > 2+10/2 {
		t.Errorf("%d statuses in ten seconds", n)
	}
}

// FuzzWebhook: no body and no header makes a webhook authentic but the secret or a signature with it, and none panics.
func FuzzWebhook(f *testing.F) {
	secret := []byte("hook secret")
	body := []byte(`{"ref":"refs/heads/main"}`)
	f.Add("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sign(secret, body)), body)
	f.Add("X-Gitea-Signature", "zz", []byte(`{"ref":1}`))
	f.Add("X-Gitlab-Token", "hook secret", []byte(`{"ref":{"ref":[[[[`))
	f.Add("X-Gitlab-Token", "", []byte{0xff})
	repository := &api.Repository{Spec: api.RepositorySpec{Branch: "main"}}
	f.Fuzz(func(t *testing.T, name, value string, body []byte) {
		header := http.Header{}
		header.Set(name, value)
		if authentic(header, body, secret) {
			signature := hex.EncodeToString(sign(secret, body))
			if value != string(secret) && !strings.EqualFold(strings.TrimPrefix(value, "sha256="), signature) {
				t.Errorf("%s: %q is taken for authentic", name, value)
			}
		}
		if !concerns(repository, body) && !json.Valid(body) {
			t.Errorf("what cannot be read is not fetched: %q", body)
		}
	})
}
