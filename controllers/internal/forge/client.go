// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// States of a commit, in GitHub's and Gitea's words.
const (
	StatePending = "pending"
	StateSuccess = "success"
	StateFailure = "failure"
)

// Contexts of the two statuses.
const (
	ContextSync    = "wasmbed/sync"
	ContextRollout = "wasmbed/rollout"
)

const (
	// requestTimeout bounds one request.
	requestTimeout = 20 * time.Second
	// maxDescription is the longest description that every forge takes.
	maxDescription = 140
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// maxRetryAfter is the longest wait that a forge may ask for.
	maxRetryAfter = time.Hour
)

// Status is what is reported about a commit.
type Status struct {
	Commit      string
	Context     string
	State       string
	Description string
}

// refusal is an answer that another try will not change.
type refusal struct{ error }

// later is an answer that asks for patience.
type later struct {
	error
	wait time.Duration
}

// client follows no redirect, which could take the token elsewhere.
var httpClient = &http.Client{
	Timeout:       requestTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// target is a project of a forge.
type target struct {
	provider api.ForgeProvider
	base     string // of the API
	project  string // "owner/name"
	token    string
}

// newTarget finds API and project, which the repository's own URL tells unless the spec does.
func newTarget(spec *api.RepositorySpec, token string) (*target, error) {
	t := &target{provider: spec.Forge.Provider, base: strings.TrimSuffix(spec.Forge.URL, "/"), project: spec.Forge.Project, token: token}
	remote, err := url.Parse(spec.URL)
	if err != nil {
		return nil, refusal{errors.New("spec.url is no URL")}
	}
	if t.project == "" {
		t.project = strings.TrimSuffix(strings.Trim(remote.Path, "/"), ".git")
	}
	if t.base == "" {
		if remote.Hostname() == "" {
			return nil, refusal{errors.New("spec.url names no host: give spec.forge.url and spec.forge.project")}
		}
		t.base = "https://" + remote.Hostname() + map[api.ForgeProvider]string{api.ForgeGitHub: "/api/v3", api.ForgeGitLab: "/api/v4", api.ForgeGitea: "/api/v1"}[t.provider]
		if t.provider == api.ForgeGitHub && remote.Hostname() == "github.com" {
			t.base = "https://api.github.com"
		}
	}
	if strings.Count(t.project, "/") < 1 || strings.Contains(t.project, "..") {
		return nil, refusal{fmt.Errorf("%q is no project: give spec.forge.project as owner/name", t.project)}
	}
	return t, safe(t.base)
}

// safe refuses an address where a token could be read on its way.
func safe(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return refusal{errors.New("the forge's address is no URL, or holds credentials")}
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return refusal{fmt.Errorf("%s: only https is used, and http to this machine", u.Redacted())}
	}
	return nil
}

// report sets a commit's status, as each forge documents it.
func (t *target) report(ctx context.Context, s Status) error {
	body := map[string]string{"state": s.State, "context": s.Context, "description": shorten(s.Description)}
	segments := strings.Split(t.project, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	path := "/repos/" + strings.Join(segments, "/") + "/statuses/" + url.PathEscape(s.Commit)
	header := http.Header{}
	switch t.provider {
	case api.ForgeGitHub:
		header.Set("Authorization", "Bearer "+t.token)
		header.Set("Accept", "application/vnd.github+json")
		header.Set("X-GitHub-Api-Version", "2022-11-28")
	case api.ForgeGitea:
		header.Set("Authorization", "token "+t.token)
	case api.ForgeGitLab:
		header.Set("PRIVATE-TOKEN", t.token)
		path = "/projects/" + url.PathEscape(t.project) + "/statuses/" + url.PathEscape(s.Commit)
		body["name"] = s.Context
		delete(body, "context")
		if s.State == StateFailure {
			body["state"] = "failed"
		}
		if s.State == StatePending {
			body["state"] = "running"
		}
	default:
		return refusal{fmt.Errorf("there is no provider %q", t.provider)}
	}
	err := post(ctx, t.base+path, header, body)
	var r refusal
	if t.provider == api.ForgeGitLab && errors.As(err, &r) && strings.Contains(err.Error(), "Cannot transition status") {
		return nil // it has this state already
	}
	return err
}

// event is what a webhook is sent.
type event struct {
	Version     string `json:"version"`
	Repository  string `json:"repository"`
	Commit      string `json:"commit"`
	Context     string `json:"context"`
	State       string `json:"state"`
	Description string `json:"description"`
}

// send posts a status to a webhook; with a secret the body is signed.
func send(ctx context.Context, address, repository string, secret []byte, s Status) error {
	if err := safe(address); err != nil {
		return err
	}
	e := event{"wasmbed.dev/event/v1", repository, s.Commit, s.Context, s.State, s.Description}
	header := http.Header{}
	if len(secret) > 0 {
		body, err := json.Marshal(e)
		if err != nil {
			return err
		}
		header.Set("X-Wasmbed-Signature-256", "sha256="+hex.EncodeToString(sign(secret, body)))
	}
	return post(ctx, address, header, e)
}

func sign(secret, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return mac.Sum(nil)
}

// post sends JSON. Its errors name the host and what it answered, never a header that was sent.
func post(ctx context.Context, address string, header http.Header, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return refusal{errors.New("the address is no URL")}
	}
	for key, values := range header {
		request.Header[key] = values
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "wasmbed")
	response, err := httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("reach %s: %w", request.URL.Host, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("%s answers %s: %s", request.URL.Host, response.Status, shorten(printable(string(answer))))
	wait := retryAfter(response.Header)
	switch {
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode == http.StatusForbidden && wait > 0:
		return later{err, max(wait, time.Second)}
	case response.StatusCode >= 500, response.StatusCode == http.StatusRequestTimeout:
		return later{err, wait}
	}
	return refusal{err}
}

// retryAfter is how long a forge asks to wait: Retry-After in seconds, or until GitHub's limit is reset.
func retryAfter(h http.Header) time.Duration {
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if h.Get("X-RateLimit-Remaining") == "0" {
		if at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
			return min(max(time.Until(time.Unix(at, 0)), time.Second), maxRetryAfter)
		}
	}
	return 0
}

// shorten cuts a text to what every forge takes.
func shorten(s string) string {
	if runes := []rune(s); len(runes) > maxDescription {
		return string(runes[:maxDescription-1]) + "…"
	}
	return s
}

// printable makes one line of a text.
func printable(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))), " ")
}
