// SPDX-License-Identifier: Apache-2.0

package review

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/checkout"
	"wasmbed.dev/controllers/plan"
)

// source is a clone of the fleet's repository.
type source struct{ *checkout.Checkout }

// side is one side of the change.
type side struct {
	tree     fleet.Tree
	revision plan.Revision
	message  string
	close    func() error
}

// open finds the repository that a directory belongs to.
func open(dir string) (*source, error) {
	c, err := checkout.Open(dir)
	if errors.Is(err, checkout.ErrNoRepository) {
		return nil, fmt.Errorf("%w: a plan compares two of its revisions", err)
	}
	if err != nil {
		return nil, err
	}
	return &source{c}, nil
}

// sides finds what is compared. An empty head is the working tree; an empty base is where the head left the main
// branch.
func (s *source) sides(base, head string) (before, after *side, err error) {
	var headCommit *object.Commit
	if head == "" {
		after, err = s.workingTree()
		if err == nil {
			headCommit, err = s.checkedOut()
		}
	} else if headCommit, err = s.Commit(head); err == nil {
		after = s.sideOf(head, headCommit)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case base != "":
		var c *object.Commit
		if c, err = s.Commit(base); err == nil {
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
	tree, err := s.WorkingTree()
	if err != nil {
		return nil, err
	}
	return &side{tree: hashedTree{tree}, revision: plan.Revision{Name: "working tree"}, close: tree.Close}, nil
}

// checkedOut is the commit of HEAD; nil when there is no commit yet.
func (s *source) checkedOut() (*object.Commit, error) {
	head, err := s.Repository.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find what is checked out: %w", err)
	}
	return s.Repository.CommitObject(head.Hash())
}

func (s *source) sideOf(name string, c *object.Commit) *side {
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return &side{
		tree:     s.Tree(c),
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
		ref, err := s.Repository.Reference(name, true)
		if err != nil {
			continue
		}
		main, err := s.Repository.CommitObject(ref.Hash())
		if err != nil {
			return nil, fmt.Errorf("read revision %s: %w", name.Short(), err)
		}
		bases, err := head.MergeBase(main)
		if err != nil || len(bases) == 0 {
			hint := ""
			if shallow, _ := s.Storage.Shallow(); len(shallow) > 0 {
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
	entries, err := tree.ReadDir(s.Root)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", s.Root, err)
	}
	for _, e := range entries {
		switch e.Name {
		case "kustomization.yaml", "kustomization.yml", "Kustomization":
			return true, nil
		}
	}
	return false, nil
}
