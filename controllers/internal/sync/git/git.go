// SPDX-License-Identifier: Apache-2.0

// Package git keeps a persistent bare clone of a remote repository and brings one revision of it up to date.
//
// The remote is hostile. Every fetch has a deadline; a pack is bounded in bytes, in objects and in what they inflate to
// before it is indexed; credentials go to the remote's own origin only and never into an error. The clone is a cache:
// when it cannot be read or used it is thrown away and made anew.
package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

const (
	// objectCache is how many bytes of inflated objects a clone keeps in memory.
	objectCache = 8 << 20
	// maxHaves is how many commits a fetch tells the remote that it has.
	maxHaves = 64
	// maxBranches bounds the branches that are fetched to find a pinned commit that the remote does not give by name.
	maxBranches = 1000
)

// maxPacks is how many packs a clone collects, one a fetch, before it is made anew in one pack.
var maxPacks = 200

// Error is a failure with the reason that a Repository's Ready condition gives for it. Its message holds no credential.
type Error struct {
	Reason string
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func failf(reason, format string, args ...any) error {
	return &Error{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Reason is the reason of err, or ReasonStorageFailed when it carries none.
func Reason(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return api.ReasonStorageFailed
}

// Source says what to follow: exactly one of Branch, Tag and Commit is given.
type Source struct {
	URL                 string
	Branch, Tag, Commit string
	Credentials         Credentials
}

func (s Source) revision() string {
	switch {
	case s.Branch != "":
		return "branch " + s.Branch
	case s.Tag != "":
		return "tag " + s.Tag
	default:
		return "commit " + s.Commit
	}
}

// Clone is the bare clone in a directory. It is used by one goroutine at a time.
type Clone struct {
	dir     string
	storage *filesystem.Storage
}

// Open returns the clone in dir, which need not exist yet.
func Open(dir string) *Clone { return &Clone{dir: dir} }

// Close frees the clone's open files. It can be used again.
func (c *Clone) Close() error {
	if c.storage == nil {
		return nil
	}
	err := c.storage.Close()
	c.storage = nil
	return err
}

// Remove deletes the clone from the disk.
func (c *Clone) Remove() error {
	_ = c.Close()
	if err := os.RemoveAll(c.dir); err != nil {
		return failf(api.ReasonStorageFailed, "removing the clone: %w", err)
	}
	return nil
}

// Storage returns the clone's objects; nil before the first successful Fetch or Commit of a new Clone.
func (c *Clone) Storage() storer.EncodedObjectStorer {
	if c.storage == nil {
		return nil
	}
	return c.storage
}

// Commit returns a commit that the clone holds, without asking the remote.
func (c *Clone) Commit(hash string) (*object.Commit, error) {
	if c.storage == nil {
		if _, err := os.Stat(filepath.Join(c.dir, "objects")); err != nil {
			return nil, failf(api.ReasonStorageFailed, "commit %s: the clone is empty", hash)
		}
		if err := c.open(); err != nil {
			return nil, err
		}
	}
	commit, err := object.GetCommit(c.storage, plumbing.NewHash(hash))
	if err != nil {
		return nil, failf(api.ReasonStorageFailed, "reading commit %s from the clone: %w", hash, err)
	}
	if _, err := commit.Tree(); err != nil {
		return nil, failf(api.ReasonStorageFailed, "reading the tree of commit %s from the clone: %w", hash, err)
	}
	return commit, nil
}

// Resolve asks the remote what the source's revision is now, and fetches nothing. A pinned commit is its own answer.
func (c *Clone) Resolve(ctx context.Context, source Source) (string, error) {
	if source.Commit != "" {
		return source.Commit, nil
	}
	session, err := dial(ctx, source)
	if err != nil {
		return "", classify(ctx, source, err)
	}
	defer session.close()
	refs, err := session.refs(ctx)
	if err != nil {
		return "", classify(ctx, source, err)
	}
	hash, err := target(refs, source)
	if err != nil {
		return "", err
	}
	if peeled, ok := refs.Peeled["refs/tags/"+source.Tag]; ok && source.Tag != "" {
		hash = peeled
	}
	return hash.String(), nil
}

// Fetch brings the source's revision into the clone and returns its commit. When the clone has it already, only the
// remote's references are read. A clone that proves unusable is thrown away and made anew, once; one that only lacks
// room or open files is kept, since it holds the commit that is applied.
func (c *Clone) Fetch(ctx context.Context, source Source) (*object.Commit, error) {
	commit, err := c.fetch(ctx, source)
	if err == nil || Reason(err) != api.ReasonStorageFailed || ctx.Err() != nil || scarce(err) {
		return commit, err
	}
	if err := c.Remove(); err != nil {
		return nil, err
	}
	return c.fetch(ctx, source)
}

// scarce says whether the machine lacks something that it may have again later: the clone itself is sound.
func scarce(err error) bool {
	for _, lacking := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, lacking) {
			return true
		}
	}
	return false
}

func (c *Clone) fetch(ctx context.Context, source Source) (*object.Commit, error) {
	if err := c.open(); err != nil {
		return nil, err
	}
	if source.Commit != "" {
		if commit, err := c.Commit(source.Commit); err == nil {
			return commit, nil
		}
	}
	session, err := dial(ctx, source)
	if err != nil {
		return nil, classify(ctx, source, err)
	}
	defer session.close()
	refs, err := session.refs(ctx)
	if err != nil {
		return nil, classify(ctx, source, err)
	}
	wants, err := c.wants(refs, source)
	if err != nil {
		return nil, err
	}
	if len(wants) > 0 {
		if err := c.receive(ctx, session, refs, wants); err != nil {
			return nil, classify(ctx, source, err)
		}
	}
	if source.Commit != "" {
		commit, err := c.Commit(source.Commit)
		if err != nil {
			return nil, failf(api.ReasonRevisionNotFound, "commit %s is on no branch or tag of the remote", source.Commit)
		}
		return commit, nil
	}
	hash, err := target(refs, source)
	if err != nil {
		return nil, err
	}
	commit, err := c.peel(hash)
	if err != nil {
		return nil, err
	}
	return commit, c.remember(source, commit.Hash)
}

// target is the advertised hash of a branch or tag.
func target(refs *packp.AdvRefs, source Source) (plumbing.Hash, error) {
	name := "refs/heads/" + source.Branch
	if source.Tag != "" {
		name = "refs/tags/" + source.Tag
	}
	if hash, ok := refs.References[name]; ok {
		return hash, nil
	}
	return plumbing.ZeroHash, failf(api.ReasonRevisionNotFound, "%s does not exist at the remote: push it, or change the Repository's spec", source.revision())
}

// wants lists what must be fetched: nothing when the clone has it.
func (c *Clone) wants(refs *packp.AdvRefs, source Source) ([]plumbing.Hash, error) {
	var hashes []plumbing.Hash
	if source.Commit == "" {
		hash, err := target(refs, source)
		if err != nil {
			return nil, err
		}
		hashes = []plumbing.Hash{hash}
	} else {
		hashes = pinned(refs, plumbing.NewHash(source.Commit))
	}
	var wants []plumbing.Hash
	for _, hash := range hashes {
		if !c.complete(hash) {
			wants = append(wants, hash)
		}
	}
	return wants, nil
}

// pinned lists the references to fetch for a pinned commit: the one that points to it or else all branches and tags,
// because a server gives only what it advertises.
func pinned(refs *packp.AdvRefs, commit plumbing.Hash) []plumbing.Hash {
	var all []plumbing.Hash
	for name, hash := range refs.References {
		if hash == commit {
			return []plumbing.Hash{hash}
		}
		if (strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/")) && len(all) < maxBranches {
			all = append(all, hash)
		}
	}
	return all
}

// complete says whether the clone has a commit, or a tag's commit, and its tree. A pack is stored whole or not at all,
// so what the commit leads to is there too.
func (c *Clone) complete(hash plumbing.Hash) bool {
	_, err := c.peel(hash)
	return err == nil
}

// peel follows annotated tags to their commit.
func (c *Clone) peel(hash plumbing.Hash) (*object.Commit, error) {
	for range 8 {
		tag, err := object.GetTag(c.storage, hash)
		if err != nil {
			return c.Commit(hash.String())
		}
		hash = tag.Target
	}
	return nil, failf(api.ReasonRevisionNotFound, "tag leads through more than 8 tags")
}

// open opens the bare repository and makes it when it is not there.
func (c *Clone) open() error {
	if c.storage != nil {
		if packs, err := filepath.Glob(filepath.Join(c.dir, "objects", "pack", "*.pack")); err == nil && len(packs) <= maxPacks {
			return nil
		}
		if err := c.Remove(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "objects", "pack"), 0o700); err != nil {
		return failf(api.ReasonStorageFailed, "making the clone: %w", err)
	}
	if err := c.removeTemporary(); err != nil {
		return failf(api.ReasonStorageFailed, "cleaning the clone: %w", err)
	}
	storage := filesystem.NewStorageWithOptions(osfs.New(c.dir, osfs.WithBoundOS()), cache.NewObjectLRU(objectCache),
		filesystem.Options{ExclusiveAccess: true, MaxOpenDescriptors: 16})
	if err := storage.Init(); err != nil {
		return failf(api.ReasonStorageFailed, "making the clone: %w", err)
	}
	c.storage = storage
	return nil
}

func (c *Clone) removeTemporary() error {
	for _, pattern := range []string{"objects/pack/tmp_*", "incoming-*"} {
		left, err := filepath.Glob(filepath.Join(c.dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

const followed = plumbing.ReferenceName("refs/wasmbed/followed")

// remember notes the fetched commit, from which the next fetch tells the remote what the clone has.
func (c *Clone) remember(source Source, hash plumbing.Hash) error {
	if old, err := c.storage.Reference(followed); err == nil && old.Hash() == hash {
		return nil
	}
	if err := c.storage.SetReference(plumbing.NewHashReference(followed, hash)); err != nil {
		return failf(api.ReasonStorageFailed, "noting %s in the clone: %w", source.revision(), err)
	}
	return nil
}

// haves lists commits of the clone, newest first.
func (c *Clone) haves() []plumbing.Hash {
	ref, err := c.storage.Reference(followed)
	if err != nil {
		return nil
	}
	var haves []plumbing.Hash
	queue := []plumbing.Hash{ref.Hash()}
	seen := map[plumbing.Hash]bool{ref.Hash(): true}
	for len(queue) > 0 && len(haves) < maxHaves {
		commit, err := object.GetCommit(c.storage, queue[0])
		queue = queue[1:]
		if err != nil {
			continue
		}
		haves = append(haves, commit.Hash)
		for _, parent := range commit.ParentHashes {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return haves
}
