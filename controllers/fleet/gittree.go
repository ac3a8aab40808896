// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxTreeBytes is the largest tree object that is read: a directory of about 200,000 entries.
const maxTreeBytes = 16 << 20

// GitTree is the tree of a commit in a git object store. Each directory is read once. It may be used by several
// goroutines; the object store is used by one at a time.
type GitTree struct {
	mu    sync.Mutex
	store storer.EncodedObjectStorer
	root  plumbing.Hash
	dirs  map[string]gitDir
}

type gitDir []Entry

func (d gitDir) find(name string) (Entry, bool) {
	i := sort.Search(len(d), func(i int) bool { return d[i].Name >= name })
	if i == len(d) || d[i].Name != name {
		return Entry{}, false
	}
	return d[i], true
}

// NewGitTree returns the tree with the given hash. For speed the store should keep its pack files open
// (filesystem.Options.KeepDescriptors) and have a cache of objects.
func NewGitTree(store storer.EncodedObjectStorer, tree plumbing.Hash) *GitTree {
	return &GitTree{store: store, root: tree, dirs: map[string]gitDir{}}
}

// ReadDir implements Tree.
func (t *GitTree) ReadDir(dir string) ([]Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.dir(dir)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Hash returns the name of the tree object.
func (t *GitTree) Hash() plumbing.Hash { return t.root }

// ReadFile implements Tree.
func (t *GitTree) ReadFile(name string, limit int64) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d, err := t.dir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	e, ok := d.find(path.Base(name))
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if e.Mode != ModeFile && e.Mode != ModeSymlink {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	return t.blob(name, e.Hash, limit)
}

func (t *GitTree) blob(name string, hash plumbing.Hash, limit int64) ([]byte, error) {
	size, err := t.store.EncodedObjectSize(hash)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if size > limit {
		return nil, &SizeError{Path: name, Size: size, Limit: limit}
	}
	obj, err := t.store.EncodedObject(plumbing.BlobObject, hash)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer r.Close()
	content := make([]byte, size)
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return content, nil
}

// dir returns a directory, reading it and those above it once.
func (t *GitTree) dir(name string) (gitDir, error) {
	if d, ok := t.dirs[name]; ok {
		return d, nil
	}
	hash := t.root
	if name != "." {
		parent, err := t.dir(path.Dir(name))
		if err != nil {
			return nil, err
		}
		e, ok := parent.find(path.Base(name))
		if !ok || e.Mode != ModeDir {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		hash = e.Hash
	}
	d, err := t.readTree(name, hash)
	if err != nil {
		return nil, err
	}
	t.dirs[name] = d
	return d, nil
}

func (t *GitTree) readTree(name string, hash plumbing.Hash) (gitDir, error) {
	size, err := t.store.EncodedObjectSize(hash)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", name, err)
	}
	if size > maxTreeBytes {
		return nil, &SizeError{Path: name, Size: size, Limit: maxTreeBytes}
	}
	tree, err := object.GetTree(t.store, hash)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", name, err)
	}
	d := make(gitDir, 0, len(tree.Entries))
	for _, e := range tree.Entries {
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/") {
			continue // no checkout can have such a name
		}
		d = append(d, Entry{Name: e.Name, Mode: gitMode(e.Mode), Hash: e.Hash})
	}
	sort.Slice(d, func(i, k int) bool { return d[i].Name < d[k].Name })
	return d, nil
}

func gitMode(m filemode.FileMode) Mode {
	switch m {
	case filemode.Dir:
		return ModeDir
	case filemode.Symlink:
		return ModeSymlink
	case filemode.Submodule:
		return ModeSubmodule
	case filemode.Regular, filemode.Deprecated, filemode.Executable:
		return ModeFile
	}
	return ModeOther
}
