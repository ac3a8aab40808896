// SPDX-License-Identifier: Apache-2.0

package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/util"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"

	"wasmbed.dev/controllers/internal/home"
)

// fleetBranch is the branch that the installation's own Repository follows.
const fleetBranch = "main"

// fleetKinds are the endings of files that belong to a fleet: manifests, modules, sources of apps, documents.
var fleetKinds = []string{".yaml", ".yml", ".json", ".wasm", ".wat", ".c", ".h", ".rs", ".md", ".txt", ".toml"}

// fleetFolders are where the fleet lies in the tree of a program.
var fleetFolders = []string{"apps", "devices", "clusters"}

// notOfAFleet are directories that tools leave in a fleet's.
var notOfAFleet = []string{".git", ".wasmbed", "node_modules", "target"}

// makeFleetRepository makes the bare repository that people push to, with what dir holds of a fleet as its first
// commit, unless the repository is there. It says what it did.
func makeFleetRepository(dir home.Dir, source string) (string, error) {
	path := dir.FleetRepository()
	if _, err := os.Stat(filepath.Join(path, "HEAD")); err == nil {
		return "kept", nil
	}
	temp := path + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return "", fmt.Errorf("make fleet repository: %w", err)
	}
	repository, err := git.PlainInitWithOptions(temp, &git.PlainInitOptions{Bare: true, InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(fleetBranch)}})
	if err != nil {
		return "", fmt.Errorf("make fleet repository: %w", err)
	}
	files, err := fleetFiles(source)
	if err != nil {
		return "", err
	}
	if len(files) > 0 {
		if err := firstCommit(repository, source, files); err != nil {
			return "", fmt.Errorf("make the fleet's first commit: %w", err)
		}
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("make fleet repository: %w", err)
	}
	if len(files) == 0 {
		return fmt.Sprintf("new and empty: %s has no kustomization.yaml", source), nil
	}
	return fmt.Sprintf("new, %d files from %s", len(files), source), nil
}

// fleetURL is how a Repository names the fleet repository.
func fleetURL(dir home.Dir) string { return "file://" + dir.FleetRepository() }

// newestCommit of a branch, or nothing where there is no such branch.
func newestCommit(path, branch string) string {
	repository, err := git.PlainOpen(path)
	if err != nil {
		return ""
	}
	reference, err := repository.Reference(plumbing.NewBranchReferenceName(branch), true)
	if err != nil {
		return ""
	}
	return reference.Hash().String()
}

// withoutCommits tells whether a repository is there and no branch of it holds a commit.
func withoutCommits(path string) bool {
	repository, err := git.PlainOpen(path)
	if err != nil {
		return false
	}
	branches, err := repository.Branches()
	if err != nil {
		return false
	}
	defer branches.Close()
	_, err = branches.Next()
	return errors.Is(err, io.EOF)
}

// fleetFiles lists the files of a fleet below dir, relative and sorted: all of them, or what looks like a fleet where
// dir is the tree of a program. There are none when dir has no kustomization.
func fleetFiles(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "kustomization.yaml")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var files []string
	var err error
	if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing != nil {
		files, err = filesBelow(dir, ".", skipTools, func(string) bool { return true })
	} else {
		files = []string{"kustomization.yaml"}
		for _, folder := range fleetFolders {
			var found []string
			if found, err = filesBelow(dir, folder, skipForeign, isFleetKind); err != nil {
				break
			}
			files = append(files, found...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the fleet in %s: %w", dir, err)
	}
	slices.Sort(files)
	return files, nil
}

func isFleetKind(path string) bool { return slices.Contains(fleetKinds, filepath.Ext(path)) }

// filesBelow lists the regular files in a folder of dir, relative to dir, but for directories that skip leaves out.
func filesBelow(dir, folder string, skip func(string, fs.DirEntry) error, wanted func(string) bool) ([]string, error) {
	var files []string
	top := filepath.Join(dir, folder)
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if path == top {
				return nil
			}
			return skip(path, entry)
		}
		relative, err := filepath.Rel(dir, path)
		if err == nil && entry.Type().IsRegular() && wanted(path) {
			files = append(files, filepath.ToSlash(relative))
		}
		return err
	})
	return files, err
}

func skipTools(_ string, entry fs.DirEntry) error {
	if slices.Contains(notOfAFleet, entry.Name()) {
		return filepath.SkipDir
	}
	return nil
}

// skipForeign leaves out directories that hold no part of a fleet: programs in Go and what is hidden.
func skipForeign(path string, entry fs.DirEntry) error {
	if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" {
		return filepath.SkipDir
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "go.mod" || filepath.Ext(e.Name()) == ".go" {
			return filepath.SkipDir
		}
	}
	return nil
}

// firstCommit commits files of dir to the bare repository, through a work tree in memory.
func firstCommit(repository *git.Repository, dir string, files []string) error {
	work := memfs.New()
	open, err := git.Open(repository.Storer, work)
	if err != nil {
		return err
	}
	tree, err := open.Worktree()
	if err != nil {
		return err
	}
	for _, name := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := util.WriteFile(work, name, content, info.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return err
	}
	who := &object.Signature{Name: "Wasmbed", Email: "wasmbed@localhost", When: time.Now()}
	if _, err := tree.Commit("The first state of the fleet\n", &git.CommitOptions{Author: who}); err != nil {
		return err
	}
	return repository.Storer.SetIndex(&index.Index{Version: 2})
}
