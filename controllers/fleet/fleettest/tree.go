// SPDX-License-Identifier: Apache-2.0

// Package fleettest makes fleets for tests: good ones of any size, and bad commits of every kind, each with the
// finding that it must yield. The judgement, `wasmbed validate`, the sync controller and the end-to-end tests are
// driven by the same table.
package fleettest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// File is a file of a Tree: text, a symbolic link to a target, or a submodule.
type File struct {
	Content   string
	Link      string
	Submodule bool
}

// Tree is the files of a commit by path.
type Tree map[string]File

// Set puts a file with this content.
func (t Tree) Set(name, content string) { t[name] = File{Content: content} }

// Replace replaces a text that a file must have.
func (t Tree) Replace(name, old, new string) {
	f, ok := t[name]
	if !ok || !strings.Contains(f.Content, old) {
		panic(fmt.Sprintf("%s has no %q", name, old))
	}
	f.Content = strings.Replace(f.Content, old, new, 1)
	t[name] = f
}

// Write writes the files below a directory, as a working tree has them.
func (t Tree) Write(dir string) error {
	for name, f := range t {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		var err error
		switch {
		case f.Submodule:
			if err = os.MkdirAll(to, 0o755); err == nil {
				err = os.WriteFile(filepath.Join(to, ".git"), []byte("gitdir: ../.git/modules/x\n"), 0o644)
			}
		case f.Link != "":
			err = os.Symlink(f.Link, to)
		default:
			err = os.WriteFile(to, []byte(f.Content), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Store writes the files into a git object store and returns the tree.
func (t Tree) Store(store storer.EncodedObjectStorer) (plumbing.Hash, error) {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	return storeDir(store, t, "", names)
}

// storeDir writes the directory with the given prefix, whose files are names, in order.
func storeDir(store storer.EncodedObjectStorer, t Tree, prefix string, names []string) (plumbing.Hash, error) {
	var tree object.Tree
	for len(names) > 0 {
		first, _, isDir := strings.Cut(names[0][len(prefix):], "/")
		n := 1
		entry := object.TreeEntry{Name: first}
		var err error
		if isDir {
			below := prefix + first + "/"
			for n < len(names) && strings.HasPrefix(names[n], below) {
				n++
			}
			entry.Mode = filemode.Dir
			entry.Hash, err = storeDir(store, t, below, names[:n])
		} else {
			entry.Mode, entry.Hash, err = storeFile(store, t[names[0]])
		}
		if err != nil {
			return plumbing.ZeroHash, err
		}
		tree.Entries = append(tree.Entries, entry)
		names = names[n:]
	}
	slices.SortFunc(tree.Entries, func(a, b object.TreeEntry) int { return strings.Compare(treeName(a), treeName(b)) })
	obj := store.NewEncodedObject()
	if err := tree.Encode(obj); err != nil {
		return plumbing.ZeroHash, err
	}
	return store.SetEncodedObject(obj)
}

// treeName is what git sorts by.
func treeName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func storeFile(store storer.EncodedObjectStorer, f File) (filemode.FileMode, plumbing.Hash, error) {
	mode, content := filemode.Regular, f.Content
	switch {
	case f.Submodule:
		return filemode.Submodule, plumbing.NewHash("1111111111111111111111111111111111111111"), nil
	case f.Link != "":
		mode, content = filemode.Symlink, f.Link
	}
	obj := store.NewEncodedObject()
	obj.SetType(plumbing.BlobObject)
	w, err := obj.Writer()
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return mode, plumbing.ZeroHash, err
	}
	hash, err := store.SetEncodedObject(obj)
	return mode, hash, err
}

// Commit writes the files and a commit of them, and returns the commit.
func (t Tree) Commit(store storer.EncodedObjectStorer, message string, parents ...plumbing.Hash) (plumbing.Hash, error) {
	tree, err := t.Store(store)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	who := object.Signature{Name: "Test", Email: "test@example.com", When: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	c := object.Commit{Author: who, Committer: who, Message: message, TreeHash: tree, ParentHashes: parents}
	obj := store.NewEncodedObject()
	if err := c.Encode(obj); err != nil {
		return plumbing.ZeroHash, err
	}
	return store.SetEncodedObject(obj)
}

// List adds a kustomization to a directory that names these entries.
func (t Tree) List(dir string, entries ...string) {
	var b strings.Builder
	b.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "- %s\n", e)
	}
	t.Set(path.Join(dir, "kustomization.yaml"), b.String())
}
