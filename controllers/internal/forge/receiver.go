// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

const (
	// maxHook is the largest body that a webhook may have.
	maxHook = 1 << 20
	// maxHooks are read at once.
	maxHooks = 16
)

// Receiver answers POST /hooks/NAMESPACE/NAME: a forge that knows the Repository's secret says that something was pushed.
// Nothing of a body is looked at before the secret is checked, and all that a webhook can cause is a fetch.
type Receiver struct {
	// Reader reads Repositories and Secrets.
	Reader client.Reader
	// Fetch asks for a fetch of the Repository now. The forge is told of its failure, not why it failed.
	Fetch func(repository types.NamespacedName) error

	slots chan struct{}
}

// Handler serves webhooks.
func (r *Receiver) Handler() http.Handler {
	r.slots = make(chan struct{}, maxHooks)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hooks/{namespace}/{name}", r.receive)
	return mux
}

func (r *Receiver) receive(w http.ResponseWriter, request *http.Request) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		http.Error(w, "too many webhooks at once", http.StatusTooManyRequests)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxHook))
	if err != nil {
		http.Error(w, "the body is too large or did not come", http.StatusRequestEntityTooLarge)
		return
	}
	key := types.NamespacedName{Namespace: request.PathValue("namespace"), Name: request.PathValue("name")}
	repository, secret := r.secretOf(request.Context(), key)
	// One that is not there is refused after the same work and with the same words as a wrong secret.
	if !authentic(request.Header, body, secret) || repository == nil {
		http.Error(w, "the webhook is not signed with this Repository's secret, or there is no such Repository", http.StatusForbidden)
		return
	}
	if !concerns(repository, body) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "another branch: nothing to do\n")
		return
	}
	if r.Fetch(key) != nil {
		http.Error(w, "the fetch could not be asked for", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, "it is fetched\n")
}

// secretOf returns the Repository and what its webhooks are signed with; a secret that nobody knows when there is none.
func (r *Receiver) secretOf(ctx context.Context, key types.NamespacedName) (*api.Repository, []byte) {
	nobody := []byte(rand.Text())
	repository := &api.Repository{}
	if r.Reader.Get(ctx, key, repository) != nil || repository.Spec.Receiver == nil {
		return nil, nobody
	}
	secret, err := readSecret(ctx, r.Reader, client.ObjectKey{Namespace: key.Namespace, Name: repository.Spec.Receiver.SecretRef.Name}, SecretHook)
	if err != nil {
		return nil, nobody
	}
	return repository, secret
}

// authentic checks a webhook in constant time: a signature of the body by HMAC-SHA-256 (GitHub and Gitea with a prefix,
// Gitea and Forgejo without), or the secret itself (GitLab).
func authentic(header http.Header, body, secret []byte) bool {
	if token := header.Get("X-Gitlab-Token"); token != "" {
		a, b := sha256.Sum256([]byte(token)), sha256.Sum256(secret)
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1
	}
	for _, name := range []string{"X-Hub-Signature-256", "X-Forgejo-Signature", "X-Gitea-Signature"} {
		if given := header.Get(name); given != "" {
			signature, err := hex.DecodeString(strings.TrimPrefix(given, "sha256="))
			return err == nil && hmac.Equal(signature, sign(secret, body))
		}
	}
	return false
}

// concerns says whether a push may be one to what the Repository follows. What cannot be told is fetched.
func concerns(repository *api.Repository, body []byte) bool {
	var push struct {
		Ref string `json:"ref"`
	}
	if json.Unmarshal(body, &push) != nil || push.Ref == "" {
		return true
	}
	spec := &repository.Spec
	switch {
	case spec.Branch != "":
		return push.Ref == "refs/heads/"+spec.Branch
	case spec.Tag != "":
		return push.Ref == "refs/tags/"+spec.Tag
	}
	return true
}
