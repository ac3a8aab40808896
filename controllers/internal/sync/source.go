// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/internal/sync/git"
)

// commit is what is read of a commit.
type commit struct {
	hash, tree plumbing.Hash
	revision   api.Revision
	message    string
}

// Texts of a Revision are at most this long.
const maxRevisionText = 200

// maxMessage is how much of a commit's message is read for trailers.
const maxMessage = 64 << 10

// readCommit reads what is needed of a commit; what comes from the remote is bounded.
func readCommit(c *object.Commit) *commit {
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	at := metav1.NewTime(c.Committer.When.UTC().Truncate(time.Second))
	message := c.Message
	if len(message) > maxMessage {
		message = message[len(message)-maxMessage:]
	}
	return &commit{
		hash: c.Hash, tree: c.TreeHash, message: message,
		revision: api.Revision{
			Commit:      c.Hash.String(),
			Author:      shorten(printable(fmt.Sprintf("%s <%s>", c.Author.Name, c.Author.Email)), maxRevisionText),
			Subject:     shorten(printable(subject), maxRevisionText),
			CommittedAt: &at,
		},
	}
}

// printable makes one line of a text that a commit brought.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// shorten cuts a text to at most n characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

func microTime(t time.Time) metav1.MicroTime {
	return metav1.NewMicroTime(t.UTC().Truncate(time.Microsecond))
}

func (t *turn) source(credentials git.Credentials) git.Source {
	spec := t.repository.Spec
	return git.Source{URL: spec.URL, Branch: spec.Branch, Tag: spec.Tag, Commit: spec.Commit, Credentials: credentials}
}

// credentials reads the Secret that the spec names.
func (t *turn) credentials(ctx context.Context) (git.Credentials, error) {
	reference := t.repository.Spec.SecretRef
	if reference == nil {
		return git.Credentials{}, nil
	}
	secret := &corev1.Secret{}
	err := t.reader.Get(ctx, client.ObjectKey{Namespace: t.key.Namespace, Name: reference.Name}, secret)
	if apierrors.IsNotFound(err) {
		return git.Credentials{}, &git.Error{Reason: api.ReasonInvalidSecret, Err: fmt.Errorf("there is no Secret %s/%s: make it, or change spec.secretRef", t.key.Namespace, reference.Name)}
	}
	if err != nil {
		return git.Credentials{}, &git.Error{Reason: api.ReasonInvalidSecret, Err: fmt.Errorf("reading Secret %s/%s failed", t.key.Namespace, reference.Name)}
	}
	return git.ParseCredentials(t.repository.Spec.URL, secret.Data)
}

// fetched notes the newest commit and says whether it is a new one.
func (t *turn) fetched(c *commit) bool {
	status := &t.repository.Status
	if status.Fetched != nil && status.Fetched.Commit == c.hash.String() {
		return false
	}
	now := microTime(t.now())
	revision := c.revision
	revision.FetchedAt = &now
	revision.PushedAt = t.pushedAt(revision.Commit)
	status.Fetched = &revision
	return true
}

// pushedAt is when the hook announced a commit, or nil.
func (t *turn) pushedAt(commit string) *metav1.MicroTime {
	pushed, at, ok := strings.Cut(t.repository.Annotations[api.AnnotationPushed], " ")
	if !ok || pushed != commit {
		return nil
	}
	when, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return nil
	}
	stamp := microTime(when)
	return &stamp
}

// notePush fills in the time of a push that was announced after its commit had been fetched.
func (t *turn) notePush() {
	status := &t.repository.Status
	revisions := []*api.Revision{status.Fetched, status.Applied}
	if len(status.History) > 0 {
		revisions = append(revisions, &status.History[0].Revision)
	}
	for _, revision := range revisions {
		if revision != nil && revision.PushedAt == nil {
			revision.PushedAt = t.pushedAt(revision.Commit)
		}
	}
}

// judge judges a commit, or returns the judgement that there is already.
func (t *turn) judge(ctx context.Context, c *commit) (*judged, error) {
	if err := t.recall(ctx, c); err != nil {
		return nil, err
	}
	for _, known := range []*judged{t.judged, t.target, t.applied} {
		if known != nil && known.commit == c.hash.String() && known.root == t.repository.Spec.Path {
			return known, nil
		}
	}
	previous := cmp.Or(t.applied, t.previous)
	if previous == nil {
		return t.judgeTree(ctx, c, nil)
	}
	return t.judgeTree(ctx, c, previous.fleet)
}

func (t *turn) judgeTree(ctx context.Context, c *commit, previous *fleet.Fleet) (*judged, error) {
	storage := t.clone.Storage()
	if storage == nil {
		return nil, errors.New("internal error: the clone is not open")
	}
	options := fleet.Options{Root: t.repository.Spec.Path, Cache: t.cache, Previous: previous}
	judgement, err := fleet.Judge(ctx, fleet.NewGitTree(storage, c.tree), options)
	if err != nil {
		return nil, err
	}
	return &judged{commit: c.hash.String(), root: t.repository.Spec.Path, message: c.message, fleet: judgement, revision: c.revision}, nil
}

// recall judges the commit that the status says is applied, once after a start, so that drift can be put back while the
// newest commit is refused or, with nil, cannot be had. When the clone no longer has it, the newest is all there is.
func (t *turn) recall(ctx context.Context, newest *commit) error {
	applied := t.repository.Status.Applied
	if t.applied != nil || t.previous != nil || applied == nil || newest != nil && applied.Commit == newest.hash.String() {
		return nil
	}
	found, err := t.clone.Commit(applied.Commit)
	if err != nil {
		return nil
	}
	j, err := t.judgeTree(ctx, readCommit(found), nil)
	if err != nil {
		return err
	}
	if j.fleet.Refused() {
		return nil
	}
	live, err := t.live(ctx, t.state)
	if err != nil {
		return err
	}
	for _, o := range j.fleet.Objects {
		if _, ok := live[o.ID]; !ok { // what was removed while nobody watched shows in no event
			t.mark(o.ID, 0)
		}
	}
	t.applied = j
	return nil
}
