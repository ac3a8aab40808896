// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing/object"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/sync/gittest"
)

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func fetch(t *testing.T, c *Clone, source Source) *object.Commit {
	t.Helper()
	commit, err := c.Fetch(timeout(t), source)
	if err != nil {
		t.Fatalf("fetching: %v", err)
	}
	return commit
}

func content(t *testing.T, commit *object.Commit, name string) string {
	t.Helper()
	file, err := commit.File(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s, err := file.Contents()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantReason(t *testing.T, err error, reason string, parts ...string) {
	t.Helper()
	if err == nil || Reason(err) != reason {
		t.Fatalf("error %v, want reason %s", err, reason)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("message %q does not have %q", err, part)
		}
	}
}

func TestFollowBranch(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Commit("first", map[string]string{"a.txt": "1", "dir/b.txt": "2"})
	c, source := Open(t.TempDir()), Source{URL: repo.URL(), Branch: "main"}

	commit := fetch(t, c, source)
	if commit.Hash.String() != first || content(t, commit, "dir/b.txt") != "2" {
		t.Fatalf("commit %s, want %s", commit.Hash, first)
	}
	second := repo.Commit("second", map[string]string{"a.txt": "changed"})
	if got, err := c.Resolve(timeout(t), source); err != nil || got != second {
		t.Fatalf("Resolve = %s, %v, want %s", got, err, second)
	}
	if commit = fetch(t, c, source); content(t, commit, "a.txt") != "changed" || content(t, commit, "dir/b.txt") != "2" {
		t.Fatal("second commit is not there")
	}
}

func TestUnchangedRemoteCostsNoPack(t *testing.T) {
	repo := gittest.New(t)
	repo.Commit("first", map[string]string{"a.txt": "1"})
	dir := t.TempDir()
	source := Source{URL: repo.URL(), Branch: "main"}
	fetch(t, Open(dir), source)
	before := packs(t, dir)
	fetch(t, Open(dir), source)
	if after := packs(t, dir); before != 1 || after != 1 {
		t.Fatalf("packs: %d, then %d; want 1 and 1", before, after)
	}
}

func packs(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestForcePushIsFollowed(t *testing.T) {
	repo := gittest.New(t)
	repo.Commit("first", map[string]string{"a.txt": "1"})
	repo.Commit("second", map[string]string{"a.txt": "2"})
	c, source := Open(t.TempDir()), Source{URL: repo.URL(), Branch: "main"}
	fetch(t, c, source)
	repo.Git("reset", "-q", "--hard", "HEAD~1")
	other := repo.Commit("other", map[string]string{"a.txt": "3"}) // pushes with force
	commit := fetch(t, c, source)
	if commit.Hash.String() != other || content(t, commit, "a.txt") != "3" {
		t.Fatalf("commit %s, want %s", commit.Hash, other)
	}
}

func TestTagsAndPinnedCommits(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Commit("first", map[string]string{"a.txt": "1"})
	repo.Git("tag", "light")
	repo.Git("tag", "-a", "heavy", "-m", "annotated")
	repo.Commit("second", map[string]string{"a.txt": "2"})
	repo.Git("push", "-q", "--tags", "origin")
	for name, source := range map[string]Source{
		"lightweight tag": {Tag: "light"}, "annotated tag": {Tag: "heavy"}, "commit that no reference points to": {Commit: first},
	} {
		t.Run(name, func(t *testing.T) {
			source.URL = repo.URL()
			c := Open(t.TempDir())
			for range 2 {
				if commit := fetch(t, c, source); commit.Hash.String() != first {
					t.Fatalf("commit %s, want %s", commit.Hash, first)
				}
			}
			if got, err := c.Resolve(timeout(t), source); err != nil || got != first {
				t.Fatalf("Resolve = %s, %v", got, err)
			}
		})
	}
}

func TestPinnedCommitNeedsNoRemote(t *testing.T) {
	repo := gittest.New(t)
	first := repo.Commit("first", map[string]string{"a.txt": "1"})
	dir := t.TempDir()
	fetch(t, Open(dir), Source{URL: repo.URL(), Branch: "main"})
	repo.Delete()
	if commit := fetch(t, Open(dir), Source{URL: repo.URL(), Commit: first}); commit.Hash.String() != first {
		t.Fatal("not the pinned commit")
	}
}

func TestWhatIsNotThere(t *testing.T) {
	repo := gittest.New(t)
	_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: repo.URL(), Branch: "main"})
	wantReason(t, err, api.ReasonRevisionNotFound, "empty")
	repo.Commit("first", map[string]string{"a.txt": "1"})
	for name, source := range map[string]Source{
		"branch nosuch": {Branch: "nosuch"}, "tag nosuch": {Tag: "nosuch"}, "commit " + strings.Repeat("ab", 20): {Commit: strings.Repeat("ab", 20)},
	} {
		source.URL = repo.URL()
		_, err := Open(t.TempDir()).Fetch(timeout(t), source)
		wantReason(t, err, api.ReasonRevisionNotFound, name)
	}
	_, err = Open(t.TempDir()).Fetch(timeout(t), Source{URL: "file:///nonexistent/fleet.git", Branch: "main"})
	wantReason(t, err, api.ReasonRemoteUnreachable, "/nonexistent/fleet.git")
}

func TestUnusableURLs(t *testing.T) {
	for _, url := range []string{"http://example.com/fleet.git", "ftp://example.com/x", "file://host/x", "https://user:secret@example.com/x", "ext::sh -c x", "://"} {
		_, err := Open(t.TempDir()).Fetch(timeout(t), Source{URL: url, Branch: "main"})
		wantReason(t, err, api.ReasonInvalidSpec)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("message %q tells the credential", err)
		}
	}
}

func TestCorruptedCloneIsMadeAnew(t *testing.T) {
	repo := gittest.New(t)
	repo.Commit("first", map[string]string{"a.txt": strings.Repeat("some text\n", 1000)})
	for name, damage := range map[string]func(dir string) error{
		"a pack is cut": func(dir string) error {
			found, _ := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
			if err := os.Chmod(found[0], 0o600); err != nil {
				return err
			}
			return os.Truncate(found[0], 20)
		},
		"an index is gone": func(dir string) error { return removeAll(dir, "objects/pack/*.idx") },
		"a pack is gone":   func(dir string) error { return removeAll(dir, "objects/pack/*.pack") },
		"the reference is junk": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, string(followed)), []byte("junk"), 0o600)
		},
		"HEAD is gone": func(dir string) error { return removeAll(dir, "HEAD") },
		"objects is a file": func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, "objects")); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "objects"), nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			source := Source{URL: repo.URL(), Branch: "main"}
			fetch(t, Open(dir), source)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			commit := fetch(t, Open(dir), source)
			if !strings.HasPrefix(content(t, commit, "a.txt"), "some text") {
				t.Fatal("content is not there")
			}
		})
	}
}

func removeAll(dir, pattern string) error {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	for _, path := range found {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func TestUnwritableDiskIsToldApart(t *testing.T) {
	repo := gittest.New(t)
	repo.Commit("first", map[string]string{"a.txt": "1"})
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(blocked, "clone")).Fetch(timeout(t), Source{URL: repo.URL(), Branch: "main"})
	wantReason(t, err, api.ReasonStorageFailed)
}

func TestPacksDoNotPileUp(t *testing.T) {
	defer func(n int) { maxPacks = n }(maxPacks)
	maxPacks = 4
	repo := gittest.New(t)
	dir := t.TempDir()
	c, source := Open(dir), Source{URL: repo.URL(), Branch: "main"}
	for i := range maxPacks + 5 {
		repo.Commit("more", map[string]string{"a.txt": strings.Repeat("x", i)})
		fetch(t, c, source)
	}
	if n := packs(t, dir); n > maxPacks+1 {
		t.Fatalf("%d packs", n)
	}
}

func TestPackLimits(t *testing.T) {
	repo := gittest.New(t)
	text := strings.Repeat("line of text that compresses well\n", 40_000)
	repo.Commit("first", map[string]string{"big.txt": text})
	repo.Commit("second", map[string]string{"big.txt": text + "more\n"})
	defer func(l limits) { fetchLimits = l }(fetchLimits)
	generous := fetchLimits
	for name, limit := range map[string]func(*limits){
		"bytes of the pack":    func(l *limits) { l.pack = 1000 },
		"count of objects":     func(l *limits) { l.objects = 3 },
		"one object inflated":  func(l *limits) { l.object = 1 << 20 },
		"what a delta makes":   func(l *limits) { l.object = int64(len(text)) + 2 },
		"all objects together": func(l *limits) { l.inflated = 2 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			fetchLimits = generous
			limit(&fetchLimits)
			dir := t.TempDir()
			_, err := Open(dir).Fetch(timeout(t), Source{URL: repo.URL(), Branch: "main"})
			wantReason(t, err, api.ReasonTooLarge, "more than this installation takes")
			if left, _ := filepath.Glob(filepath.Join(dir, "incoming-*")); len(left) > 0 || packs(t, dir) > 0 {
				t.Errorf("left on disk: %v, %d packs", left, packs(t, dir))
			}
		})
	}
}
