// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
)

// DirTree is a directory, as a working tree. It is opened once and nothing outside of it can be reached, whatever
// links it has. A `.git` in its root is not shown.
type DirTree struct {
	root *os.Root
}

// OpenDirTree opens a directory.
func OpenDirTree(dir string) (*DirTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &DirTree{root: root}, nil
}

// Close closes the directory.
func (t *DirTree) Close() error { return t.root.Close() }

// ReadDir implements Tree.
func (t *DirTree) ReadDir(dir string) ([]Entry, error) {
	if err := t.isReal(dir, fs.ModeDir); err != nil {
		return nil, err
	}
	f, err := t.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	entries := make([]Entry, 0, len(list))
	for _, e := range list {
		if dir == "." && e.Name() == ".git" {
			continue
		}
		entries = append(entries, Entry{Name: e.Name(), Mode: dirMode(e.Type())})
	}
	sort.Slice(entries, func(i, k int) bool { return entries[i].Name < entries[k].Name })
	return entries, nil
}

// ReadFile implements Tree.
func (t *DirTree) ReadFile(name string, limit int64) ([]byte, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := t.root.Readlink(name)
		return []byte(target), err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() > limit {
		return nil, &SizeError{Path: name, Size: info.Size(), Limit: limit}
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, &SizeError{Path: name, Size: int64(len(content)), Limit: limit}
	}
	return content, nil
}

// isReal refuses what is reached through a symbolic link as its last element.
func (t *DirTree) isReal(name string, mode fs.FileMode) error {
	info, err := t.root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode().Type() != mode {
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return nil
}

func dirMode(m fs.FileMode) Mode {
	switch m.Type() {
	case 0:
		return ModeFile
	case fs.ModeDir:
		return ModeDir
	case fs.ModeSymlink:
		return ModeSymlink
	}
	return ModeOther
}
