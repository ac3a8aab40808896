// SPDX-License-Identifier: Apache-2.0

// Package checkout opens a person's clone of a fleet's repository: the working tree as it is, or any of its commits.
package checkout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"wasmbed.dev/controllers/fleet"
)

// ErrNoRepository: the directory is in no git repository.
var ErrNoRepository = errors.New("it is not in a git repository")

// cacheBytes bounds the cache of git objects.
const cacheBytes = 32 << 20

// Checkout is a git repository and the directory in it that a fleet lies in.
type Checkout struct {
	// Repository as go-git knows it.
	Repository *git.Repository
	// Storage of Repository, with a cache and open packs: thousands of small objects are read.
	Storage *filesystem.Storage
	// Top is the top of the working tree on this machine, or the repository itself when it is bare.
	Top string
	// Root is the fleet's directory, relative to Top, with slashes.
	Root string
}

// Open finds the repository that a directory belongs to. The error is ErrNoRepository when it belongs to none.
func Open(dir string) (*Checkout, error) {
	path, err := directory(dir)
	if err != nil {
		return nil, err
	}
	found, err := find(path)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoRepository)
	}
	if err != nil {
		return nil, fmt.Errorf("open the git repository of %s: %w", dir, err)
	}
	c := &Checkout{Top: path}
	worktree, err := found.Worktree()
	switch {
	case err == nil:
		c.Top = worktree.Filesystem.Root()
	case !errors.Is(err, git.ErrIsBareRepository):
		return nil, fmt.Errorf("open the working tree of %s: %w", dir, err)
	}
	if c.Root, err = within(c.Top, path); err != nil {
		return nil, err
	}
	stored, ok := found.Storer.(*filesystem.Storage)
	if !ok {
		return nil, fmt.Errorf("open the git repository of %s: it is of a kind that cannot be read", dir)
	}
	c.Storage = filesystem.NewStorageWithOptions(stored.Filesystem(), cache.NewObjectLRU(cacheBytes),
		filesystem.Options{KeepDescriptors: true, AlternatesFS: osfs.New("/")})
	if worktree == nil {
		c.Repository, err = git.Open(c.Storage, nil)
	} else {
		c.Repository, err = git.Open(c.Storage, worktree.Filesystem)
	}
	if err != nil {
		return nil, fmt.Errorf("open the git repository of %s: %w", dir, errors.Join(err, c.Close()))
	}
	return c, nil
}

// directory is a directory's real path.
func directory(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil {
		return "", err
	} else if !info.IsDir() {
		return "", fmt.Errorf("%s is a file: name the directory of the root kustomization", dir)
	}
	return path, nil
}

func find(path string) (*git.Repository, error) {
	found, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return git.PlainOpen(path) // a bare one
	}
	return found, err
}

// within is the path of dir in the tree that begins at top.
func within(top, dir string) (string, error) {
	top, err := filepath.EvalSymlinks(top)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(top, dir)
	if err != nil {
		return "", err
	}
	if rel = filepath.ToSlash(rel); rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("%s is not in the working tree %s", dir, top)
	}
	return rel, nil
}

// Close lets go of the repository's files.
func (c *Checkout) Close() error { return c.Storage.Close() }

// WorkingTree is the working tree as it is, committed or not.
func (c *Checkout) WorkingTree() (*fleet.DirTree, error) { return fleet.OpenDirTree(c.Top) }

// Directory is the tree of a directory that is in no repository; its top is the directory itself.
func Directory(dir string) (*fleet.DirTree, error) {
	path, err := directory(dir)
	if err != nil {
		return nil, err
	}
	return fleet.OpenDirTree(path)
}

// Commit finds a revision: a commit, branch or tag.
func (c *Checkout) Commit(revision string) (*object.Commit, error) {
	hash, err := c.Repository.ResolveRevision(plumbing.Revision(revision))
	if err != nil {
		return nil, fmt.Errorf("find revision %q: %w; fetch it, or correct the name", revision, err)
	}
	commit, err := object.GetCommit(c.Storage, *hash)
	if err != nil {
		return nil, fmt.Errorf("read revision %q: %w", revision, err)
	}
	return commit, nil
}

// Tree is the tree of a commit.
func (c *Checkout) Tree(commit *object.Commit) *fleet.GitTree {
	return fleet.NewGitTree(sharedStorage{c.Storage}, commit.TreeHash)
}

// sharedStorage also knows the sizes of objects that a clone shares with another one, which go-git does not tell.
type sharedStorage struct{ *filesystem.Storage }

// EncodedObjectSize implements storer.EncodedObjectStorer.
func (s sharedStorage) EncodedObjectSize(hash plumbing.Hash) (int64, error) {
	size, err := s.Storage.EncodedObjectSize(hash)
	if !errors.Is(err, plumbing.ErrObjectNotFound) {
		return size, err
	}
	o, err := s.EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return 0, err
	}
	return o.Size(), nil
}
