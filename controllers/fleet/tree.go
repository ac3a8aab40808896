// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/go-git/go-git/v5/plumbing"
)

// Mode says what an Entry of a Tree is.
type Mode uint8

// Modes.
const (
	ModeFile Mode = iota + 1
	ModeDir
	ModeSymlink
	// ModeSubmodule is a commit of another repository, which is never looked into.
	ModeSubmodule
	// ModeOther is a device, socket or the like in a directory.
	ModeOther
)

// Entry is what a directory of a Tree holds.
type Entry struct {
	Name string
	Mode Mode
	// Hash is git's name of the file's or directory's content; zero when it is not known, as in a working tree.
	Hash plumbing.Hash
}

// Tree is the tree of a commit: directories and files, read-only. Paths are relative to its root, separated by
// slashes, and clean; the root itself is ".". A Tree follows no symbolic link: Judge resolves them.
//
// What is not there is reported as fs.ErrNotExist, a file beyond the limit as a *SizeError.
type Tree interface {
	// ReadDir returns the entries of a directory in the order of their names. The caller must not change them.
	ReadDir(dir string) ([]Entry, error)
	// ReadFile returns the content of a file, or the target of a symbolic link, of at most limit bytes.
	ReadFile(name string, limit int64) ([]byte, error)
}

// SizeError says that a file or directory is larger than its limit.
type SizeError struct {
	Path  string
	Size  int64
	Limit int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, the limit is %d", e.Path, e.Size, e.Limit)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
