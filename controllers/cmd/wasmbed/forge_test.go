// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
)

// Markers that no output may hold.
const (
	markerToken = "MARKER-token-7f3a"
	markerHook  = "MARKER-hook-c41d"
)

// heard is what a local GitHub was told of a commit: the last state and description by context.
type heard struct {
	mu     sync.Mutex
	last   map[string]map[string]string // by commit and context
	refuse []string
	hooks  []string // what a webhook out was sent
}

func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.URL.Path == "/hook" {
		body, _ := io.ReadAll(r.Body)
		h.hooks = append(h.hooks, string(body))
		return
	}
	if r.URL.Path == "/private.git/info/refs" { // a forge that tells all that it was sent
		http.Error(w, hostileText+r.Header.Get("Authorization")+r.URL.String(), http.StatusInternalServerError)
		return
	}
	commit, ok := strings.CutPrefix(r.URL.Path, "/repos/acme/fleet/statuses/")
	var body map[string]string
	err := json.NewDecoder(r.Body).Decode(&body)
	if !ok || err != nil || r.Method != http.MethodPost || r.Header.Get("Authorization") != "Bearer "+markerToken {
		h.refuse = append(h.refuse, r.Method+" "+r.URL.Path)
		http.Error(w, "no", http.StatusUnprocessableEntity)
		return
	}
	h.last[commit+" "+body["context"]] = body
	w.WriteHeader(http.StatusCreated)
}

func (h *heard) is(commit, state, sync, rollout string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.refuse) > 0 {
		return fmt.Errorf("refused: %v", h.refuse)
	}
	for name, want := range map[string]string{"wasmbed/sync": sync, "wasmbed/rollout": rollout} {
		if got := h.last[commit+" "+name]; want != "" && (got["state"] != state || !strings.Contains(got["description"], want)) {
			return fmt.Errorf("%s: %v, want %s with %q", name, got, state, want)
		}
	}
	return nil
}

// TestForge: a push to a running installation becomes statuses at a forge; a webhook of the forge becomes a fetch; and
// neither the token nor the webhooks' secret is in anything that the installation says.
func TestForge(t *testing.T) {
	s := startStack(t)
	forge := &heard{last: map[string]map[string]string{}}
	server := httptest.NewServer(forge)
	t.Cleanup(server.Close)
	s.connectForge(server.URL)

	s.edit("apps/blink/application.yaml", func(text string) string { return bumpConfig(text, "11") })
	pushed, _ := s.push("Blink at another pace")
	s.settled(pushed)
	eventually(t, "statuses of the push", func() error { return forge.is(pushed, "success", pushed[:7], " applications run") })

	s.write(map[string]string{"apps/blink/application.yaml": "kind: ["})
	broken, _ := s.push("Not YAML")
	eventually(t, "a status that says refused", func() error { return forge.is(broken, "failure", "apps/blink/application.yaml", "") })
	s.must(s.clone, "git", "checkout", "-q", pushed, "--", ".")

	s.must("", "git", "-C", s.home.FleetRepository(), "config", "core.hooksPath", filepath.Join(t.TempDir(), "none"))
	s.edit("apps/blink/application.yaml", func(text string) string { return bumpConfig(text, "12") })
	silent, _ := s.push("Pushed without a hook")
	if code := s.webhook(silent, "a guess"); code != http.StatusForbidden {
		t.Errorf("a webhook with a guessed secret: %d", code)
	}
	if fetched := s.repository().Status.Fetched; fetched.Commit == silent {
		t.Fatal("fetched before a webhook came")
	}
	if code := s.webhook(silent, markerHook); code != http.StatusAccepted {
		t.Fatalf("webhook: %d", code)
	}
	s.settled(silent)
	eventually(t, "statuses of the fetch", func() error { return forge.is(silent, "success", silent[:7], " applications run") })
	hidden := s.hostilePush()
	eventually(t, "statuses of the hostile push", func() error { return forge.is(hidden, "success", hidden[:7], " applications run") })
	s.followPrivate(server.URL)
	eventually(t, "webhooks out", forge.hooked)
	s.saysNothingHarmful(forge)
}

// connectForge tells the Repository of a forge and its webhooks.
func (s *stack) connectForge(url string) {
	s.t.Helper()
	c := s.client()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "forge"},
		StringData: map[string]string{"token": markerToken, "secret": markerHook}}
	if err := c.Create(s.t.Context(), secret); err != nil {
		s.t.Fatal(err)
	}
	repository := s.repository()
	before := repository.DeepCopy()
	repository.Spec.Interval = metav1.Duration{Duration: 60 * 60e9}
	repository.Spec.Forge = &v1alpha1.Forge{Provider: v1alpha1.ForgeGitHub, URL: url, Project: "acme/fleet", SecretRef: v1alpha1.LocalReference{Name: "forge"}}
	repository.Spec.Webhooks = []v1alpha1.Webhook{{URL: url + "/hook", SecretRef: &v1alpha1.LocalReference{Name: "forge"}}}
	repository.Spec.Receiver = &v1alpha1.Receiver{SecretRef: v1alpha1.LocalReference{Name: "forge"}}
	if err := c.Patch(s.t.Context(), repository, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
}

// webhook sends a push as GitHub does, signed with a secret, and returns the status of the answer.
func (s *stack) webhook(commit, secret string) int {
	s.t.Helper()
	body := `{"ref":"refs/heads/main","after":"` + commit + `"}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	address := "http://" + home.Loopback(home.PortsFrom(s.base).Hooks) + "/hooks/" + v1alpha1.SystemNamespace + "/" + local.RepositoryName
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("X-GitHub-Event", "push")
	request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func (h *heard) hooked() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.hooks) == 0 {
		return errors.New("none came")
	}
	return nil
}

// hostilePush pushes a Secret with markers, in a commit whose subject and author try to break out, and returns the commit.
func (s *stack) hostilePush() string {
	s.t.Helper()
	s.write(map[string]string{"apps/hidden.yaml": markedSecret("")})
	s.addResource("apps/kustomization.yaml", "hidden.yaml")
	s.edit("apps/blink/application.yaml", func(text string) string { return bumpConfig(text, "13") })
	s.must(s.clone, "git", "add", "-A")
	s.must(s.clone, "git", "commit", "-q", "-m", hostileText, "--author", strings.NewReplacer("<", "", ">", "", "\r", "", "\n", "").Replace(hostileText)+" <a@example.org>")
	s.must(s.clone, "git", "push", "-f", "origin", "HEAD:main")
	commit := strings.TrimSpace(s.must(s.clone, "git", "rev-parse", "HEAD"))
	s.kubectl("-n", v1alpha1.SystemNamespace, "annotate", "--overwrite", "repository", local.RepositoryName, v1alpha1.AnnotationReconcileAt+"=hostile")
	s.settled(commit)
	return commit
}

// followPrivate follows repositories with credentials that fail, at a server that repeats what it was sent.
func (s *stack) followPrivate(url string) {
	s.t.Helper()
	for name, c := range map[string]struct {
		url  string
		data map[string]string
	}{
		"over-http": {url + "/private.git", map[string]string{"username": secretMarkers[5], "password": secretMarkers[6]}},
		"over-ssh":  {"ssh://git@127.0.0.1:1/fleet.git", map[string]string{"identity": secretMarkers[7], "known_hosts": secretMarkers[7]}},
	} {
		meta := metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name}
		repository := &v1alpha1.Repository{ObjectMeta: meta, Spec: v1alpha1.RepositorySpec{URL: c.url, Branch: "main", SecretRef: &v1alpha1.LocalReference{Name: name}}}
		for _, object := range []client.Object{&corev1.Secret{ObjectMeta: meta, StringData: c.data}, repository} {
			if err := s.client().Create(s.t.Context(), object); err != nil {
				s.t.Fatal(err)
			}
		}
		eventually(s.t, name+" fails", func() error {
			if err := s.client().Get(s.t.Context(), client.ObjectKeyFromObject(repository), repository); err != nil {
				return err
			}
			if ready := apimeta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionFalse {
				return fmt.Errorf("Ready is %+v", ready)
			}
			return nil
		})
	}
}

// saysNothingHarmful looks at all that commands print, processes log and forges are told.
func (s *stack) saysNothingHarmful(forge *heard) {
	s.t.Helper()
	for _, c := range []struct{ format, command string }{
		{"text", "status"}, {"json", "status --json"}, {"text", "trace"}, {"json", "trace --json"}, {"logs", "logs -n 100000"},
		{"logs", "logs plant/lab-m3"}, {"text", "plan --base HEAD~1"}, {"text", "plan --live"}, {"markdown", "plan --live -o markdown"}, {"json", "plan --live -o json"},
	} {
		out, _ := s.run(s.clone, program(s.t, "wasmbed"), strings.Fields(c.command)...)
		harmless(s.t, c.command, c.format, out)
		if len(out) < 20 || strings.Contains(out, "wasmbed: unknown") {
			s.t.Errorf("wasmbed %s says %q", c.command, out)
		}
		if shows := strings.HasPrefix(c.command, "status") || strings.HasPrefix(c.command, "trace"); shows && !strings.Contains(out, "http:evil") {
			s.t.Errorf("wasmbed %s does not show the commit's subject: the test looks at nothing: %s", c.command, out)
		}
	}
	for _, what := range []string{"events", "repositories,gateways,devices,applications,instances"} {
		showsNoMarker(s.t, what, s.kubectl("get", what, "-A", "-o", "yaml"))
	}
	forge.mu.Lock()
	defer forge.mu.Unlock()
	for what, body := range forge.last {
		harmless(s.t, "status "+what, "text", body["description"]+body["context"]+body["state"])
	}
	for _, body := range forge.hooks {
		showsNoMarker(s.t, "a webhook", body)
		if !json.Valid([]byte(body)) {
			s.t.Errorf("a webhook sends %q", body)
		}
	}
	logs, err := filepath.Glob(filepath.Join(s.home.LogDir(), "*"))
	if err != nil || len(logs) < 4 {
		s.t.Errorf("logs %v: %v", logs, err)
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			s.t.Error(err)
		}
		showsNoMarker(s.t, path, string(text))
	}
}
