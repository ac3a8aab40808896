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
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
}

func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
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
	s.saysNoMarker()
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

// saysNoMarker searches all that commands print and processes log for the forge's token and secret.
func (s *stack) saysNoMarker() {
	s.t.Helper()
	for _, args := range [][]string{
		{"status"}, {"status", "-o", "json"}, {"trace"}, {"logs", "-n", "100000"},
		{"plan", "--path", s.clone, "--base", "HEAD~1"}, {"plan", "--path", s.clone, "--live", "-o", "json"},
	} {
		if out, _ := s.wasmbed(args...); strings.Contains(out, "MARKER") || out == "" {
			s.t.Errorf("wasmbed %v says %q", args, out)
		}
	}
	if out := s.kubectl("get", "events,repositories,applications,instances", "-A", "-o", "yaml"); strings.Contains(out, "MARKER") {
		s.t.Error("a marker is in an object that is no Secret")
	}
	err := filepath.WalkDir(string(s.home), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".log" {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "MARKER") {
			s.t.Errorf("%s holds a marker", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
}
