// SPDX-License-Identifier: Apache-2.0

package review

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
	"wasmbed.dev/controllers/plan"
)

// source is a repository and where the fleet lies in it.
type source struct {
	repository *git.Repository
	storage    *filesystem.Storage
	top        string // of the working tree, on this machine
	root       string // of the fleet, in the repository
}

// side is one side of the change.
type side struct {
	tree     fleet.Tree
	revision plan.Revision
	message  string
	close    func() error
}

// open finds the repository that a directory belongs to.
func open(dir string) (*source, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, err
	}
	found, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s is not in a git repository: a plan compares two of its revisions", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the git repository of %s: %w", dir, err)
	}
	worktree, err := found.Worktree()
	if err != nil {
		return nil, fmt.Errorf("open the working tree of %s: %w", dir, err)
	}
	stored, ok := found.Storer.(*filesystem.Storage)
	if !ok {
		return nil, fmt.Errorf("open the git repository of %s: it is of a kind that cannot be read", dir)
	}
	s := &source{top: worktree.Filesystem.Root()}
	// The same files with a cache and open packs: thousands of small objects are read.
	s.storage = filesystem.NewStorageWithOptions(stored.Filesystem(), cache.NewObjectLRU(32<<20),
		filesystem.Options{KeepDescriptors: true, AlternatesFS: osfs.New("/")})
	if s.repository, err = git.Open(s.storage, worktree.Filesystem); err != nil {
		return nil, fmt.Errorf("open the git repository of %s: %w", dir, err)
	}
	if s.root, err = rootIn(s.top, path); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *source) close() error { return s.storage.Close() }

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

// rootIn is the path of dir in the tree that begins at top.
func rootIn(top, dir string) (string, error) {
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

// sides finds what is compared. An empty head is the working tree; an empty base is where the head left the main
// branch.
func (s *source) sides(base, head string) (before, after *side, err error) {
	var headCommit *object.Commit
	if head == "" {
		after, err = s.workingTree()
		if err == nil {
			headCommit, err = s.headCommit()
		}
	} else if headCommit, err = s.commit(head); err == nil {
		after = s.sideOf(head, headCommit)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case base != "":
		var c *object.Commit
		if c, err = s.commit(base); err == nil {
			before = s.sideOf(base, c)
		}
	case headCommit == nil:
		before = &side{tree: emptyTree{}, revision: plan.Revision{Name: "nothing"}, close: nothing}
	default:
		before, err = s.fork(headCommit)
	}
	if err != nil {
		return nil, nil, errors.Join(err, after.close())
	}
	return before, after, nil
}

func nothing() error { return nil }

func (s *source) workingTree() (*side, error) {
	tree, err := fleet.OpenDirTree(s.top)
	if err != nil {
		return nil, err
	}
	return &side{tree: hashedTree{tree}, revision: plan.Revision{Name: "working tree"}, close: tree.Close}, nil
}

// headCommit is what is checked out; nil when there is no commit yet.
func (s *source) headCommit() (*object.Commit, error) {
	head, err := s.repository.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find what is checked out: %w", err)
	}
	return s.commitOf("HEAD", head.Hash())
}

func (s *source) commit(name string) (*object.Commit, error) {
	hash, err := s.repository.ResolveRevision(plumbing.Revision(name))
	if err != nil {
		return nil, fmt.Errorf("find revision %q: %w; fetch it, or correct the name", plan.Text(name), err)
	}
	return s.commitOf(name, *hash)
}

func (s *source) commitOf(name string, hash plumbing.Hash) (*object.Commit, error) {
	c, err := object.GetCommit(s.storage, hash)
	if err != nil {
		return nil, fmt.Errorf("read revision %q: %w", plan.Text(name), err)
	}
	return c, nil
}

func (s *source) sideOf(name string, c *object.Commit) *side {
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return &side{
		tree:     fleet.NewGitTree(sharedStorage{s.storage}, c.TreeHash),
		revision: plan.Revision{Name: name, Commit: c.Hash.String(), Subject: subject},
		message:  c.Message, close: nothing,
	}
}

// mainBranches are where the main branch is looked for, in order.
var mainBranches = []plumbing.ReferenceName{
	plumbing.NewRemoteHEADReferenceName("origin"),
	plumbing.NewRemoteReferenceName("origin", "main"), plumbing.NewRemoteReferenceName("origin", "master"),
	plumbing.NewBranchReferenceName("main"), plumbing.NewBranchReferenceName("master"),
}

// fork is the commit at which head left the main branch.
func (s *source) fork(head *object.Commit) (*side, error) {
	for _, name := range mainBranches {
		ref, err := s.repository.Reference(name, true)
		if err != nil {
			continue
		}
		main, err := s.commitOf(name.Short(), ref.Hash())
		if err != nil {
			return nil, err
		}
		bases, err := head.MergeBase(main)
		if err != nil || len(bases) == 0 {
			hint := ""
			if shallow, _ := s.storage.Shallow(); len(shallow) > 0 {
				hint = ", and this clone has only a part of the history: fetch all of it (git fetch --unshallow)"
			}
			return nil, fmt.Errorf("no commit is known from which %s and %s come%s; or name one with --base", head.Hash.String()[:7], name.Short(), hint)
		}
		return s.sideOf(name.Short(), bases[0]), nil
	}
	return nil, errors.New("there is no main branch (origin/HEAD, origin/main, origin/master, main, master): name a revision with --base")
}

// hasFleet tells whether the tree has a fleet at all: before its first commit it has none.
func (s *source) hasFleet(tree fleet.Tree) (bool, error) {
	entries, err := tree.ReadDir(s.root)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", s.root, err)
	}
	for _, e := range entries {
		switch e.Name {
		case "kustomization.yaml", "kustomization.yml", "Kustomization":
			return true, nil
		}
	}
	return false, nil
}
