// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxLinks is how many symbolic links one path may lead through.
const maxLinks = 16

var (
	errEscape    = errors.New("leads out of the repository")
	errLinkLoop  = errors.New("leads through too many symbolic links")
	errSubmodule = errors.New("is a git submodule, whose content is not part of the commit")
)

// place is what a path of the tree stands for, symbolic links followed.
type place struct {
	path   string
	mode   Mode
	hash   plumbing.Hash // zero when it is not known
	linked bool          // a symbolic link was followed
}

// view looks up paths in a tree for one judgement; it remembers directories. It serves one goroutine.
type view struct {
	tree Tree
	root plumbing.Hash
	dirs map[string]place   // by the path as it was asked for
	list map[string][]Entry // by real path
}

func newView(tree Tree) *view {
	v := &view{tree: tree, dirs: map[string]place{}, list: map[string][]Entry{}}
	if t, ok := tree.(interface{ Hash() plumbing.Hash }); ok {
		v.root = t.Hash()
	}
	return v
}

// lookup finds a path. The error is errEscape, errLinkLoop, errSubmodule or fs.ErrNotExist, or that of the tree.
func (v *view) lookup(name string) (place, error) { return v.follow(name, 0) }

func (v *view) follow(name string, hops int) (place, error) {
	name = path.Clean(name)
	switch {
	case hops > maxLinks:
		return place{}, errLinkLoop
	case escapes(name):
		return place{}, errEscape
	case name == ".":
		return place{path: ".", mode: ModeDir, hash: v.root}, nil
	}
	parent, err := v.dir(path.Dir(name), hops)
	if err != nil {
		return place{}, err
	}
	e, ok, err := v.entry(parent.path, path.Base(name))
	if err != nil {
		return place{}, err
	}
	if !ok {
		return place{}, fs.ErrNotExist
	}
	p := place{path: path.Join(parent.path, e.Name), mode: e.Mode, hash: e.Hash, linked: parent.linked}
	switch e.Mode {
	case ModeSymlink:
		return v.followLink(p, hops)
	case ModeSubmodule:
		return place{}, errSubmodule
	case ModeDir:
		if e.Hash.IsZero() { // a working tree, where a submodule is a directory that is a checkout of its own
			if _, ok, err := v.entry(p.path, ".git"); ok || err != nil {
				return place{}, cmp.Or(err, errSubmodule)
			}
		}
	}
	return p, nil
}

func (v *view) followLink(link place, hops int) (place, error) {
	target, err := v.tree.ReadFile(link.path, 4096)
	if err != nil {
		return place{}, err
	}
	if path.IsAbs(string(target)) {
		return place{}, errEscape
	}
	p, err := v.follow(path.Join(path.Dir(link.path), string(target)), hops+1)
	p.linked = true
	return p, err
}

func (v *view) dir(name string, hops int) (place, error) {
	if p, ok := v.dirs[name]; ok {
		return p, nil
	}
	p, err := v.follow(name, hops)
	if err != nil {
		return place{}, err
	}
	if p.mode != ModeDir {
		return place{}, fs.ErrNotExist
	}
	v.dirs[name] = p
	return p, nil
}

// entry finds a name in a directory that is given by its real path.
func (v *view) entry(dir, name string) (Entry, bool, error) {
	list, ok := v.list[dir]
	if !ok {
		var err error
		if list, err = v.tree.ReadDir(dir); err != nil {
			return Entry{}, false, err
		}
		v.list[dir] = list
	}
	i := sort.Search(len(list), func(i int) bool { return list[i].Name >= name })
	if i == len(list) || list[i].Name != name {
		return Entry{}, false, nil
	}
	return list[i], true, nil
}

// escapes reports whether a clean path leads out of the tree.
func escapes(name string) bool {
	return name == ".." || strings.HasPrefix(name, "../") || path.IsAbs(name)
}

// under reports whether a clean path is dir or below it.
func under(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// isPathProblem reports whether an error of lookup is the commit's fault and not that of the tree's storage.
func isPathProblem(err error) bool {
	var size *SizeError
	return errors.Is(err, errEscape) || errors.Is(err, errLinkLoop) || errors.Is(err, errSubmodule) ||
		isNotExist(err) || errors.As(err, &size)
}
