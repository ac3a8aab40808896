// SPDX-License-Identifier: Apache-2.0

package review

import (
	"errors"
	"io/fs"
	"path"

	"github.com/go-git/go-git/v5/plumbing"

	"wasmbed.dev/controllers/fleet"
)

// hashedTree is a working tree that names files as git does, so that what was judged of the base commit is known of
// those that are the same.
type hashedTree struct{ fleet.Tree }

// ReadDir implements fleet.Tree. What cannot be hashed has no name, and is read when it is asked for.
func (t hashedTree) ReadDir(dir string) ([]fleet.Entry, error) {
	entries, err := t.Tree.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Mode != fleet.ModeFile {
			continue
		}
		if content, err := t.ReadFile(path.Join(dir, e.Name), fleet.MaxManifestBytes); err == nil {
			e.Hash = plumbing.ComputeHash(plumbing.BlobObject, content)
		}
	}
	return entries, nil
}

// emptyTree is the tree before the first commit.
type emptyTree struct{}

func (emptyTree) ReadDir(dir string) ([]fleet.Entry, error) {
	if dir == "." {
		return nil, nil
	}
	return nil, fs.ErrNotExist
}

func (emptyTree) ReadFile(string, int64) ([]byte, error) { return nil, fs.ErrNotExist }

// readPolicy reads the policy's file; nil: there is none.
func readPolicy(tree fleet.Tree, root, name string, limit int64) ([]byte, error) {
	entries, err := tree.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		if e.Mode != fleet.ModeFile {
			return nil, errors.New(name + " is not a file")
		}
		return tree.ReadFile(path.Join(root, name), limit)
	}
	return nil, nil
}
