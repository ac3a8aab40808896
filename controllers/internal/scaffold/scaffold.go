// SPDX-License-Identifier: Apache-2.0

// Package scaffold makes a new fleet repository: manifests of first devices, a gateway and an application with its
// source, a policy, pipelines for reviews, and schemas for editors. What it makes is a fleet that runs.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"wasmbed.dev/controllers/internal/schemas"
	"wasmbed.dev/devices/boards"
)

//go:generate go run ./generate

// Files that are copied: apps with their modules are those of the example fleet, written here by go generate.
//
//go:embed all:template
var source embed.FS

// App is an application that a new fleet can begin with.
type App struct {
	// Language that it is written in, as a person names it.
	Language string
	// Name of the application and its folder.
	Name string
	// Permissions and the like of its manifest.
	Permissions   string
	Config        string
	Memory, Stack int
}

// Apps are one for each language.
var Apps = []App{
	{Language: "c", Name: "thermostat", Permissions: "gpio, log, sensor, timer", Config: `{ target: "21000", band: "1000", period: "1000" }`, Memory: 4096, Stack: 2048},
	{Language: "rust", Name: "counter", Permissions: "log", Config: `{ step: "1", interval: "1000" }`, Memory: 4096, Stack: 2048},
	{Language: "wat", Name: "blink", Permissions: "gpio, timer", Memory: 0, Stack: 1024},
}

// Languages names the languages.
func Languages() []string {
	out := make([]string, len(Apps))
	for i := range Apps {
		out[i] = Apps[i].Language
	}
	return out
}

// Options of Write.
type Options struct {
	// Name of the fleet and of its namespace.
	Name string
	// Boards, of each of which there is a first device.
	Boards []string
	// Language of the first app.
	Language string
}

// ErrThere means that files would be overwritten.
var ErrThere = errors.New("nothing is written, since it would overwrite what is there")

var fleetName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)

// Check says what is wrong with the options.
func (o *Options) Check() error {
	switch {
	case !fleetName.MatchString(o.Name):
		return fmt.Errorf("the name %q must be 1 to 40 lower-case letters, digits and dashes, and begin with a letter", o.Name)
	case o.Name == "default" || strings.HasPrefix(o.Name, "kube-") || strings.HasPrefix(o.Name, "wasmbed-"):
		return fmt.Errorf("the name %q belongs to the system: choose another", o.Name)
	case len(o.Boards) == 0:
		return fmt.Errorf("name at least one board: %s", strings.Join(boards.Names(), ", "))
	case !slices.Contains(Languages(), o.Language):
		return fmt.Errorf("there is no app in %q: choose %s", o.Language, strings.Join(Languages(), ", "))
	}
	for i, name := range o.Boards {
		if _, ok := boards.Get(name); !ok {
			return fmt.Errorf("there is no board %q: there are %s", name, strings.Join(boards.Names(), ", "))
		}
		if slices.Contains(o.Boards[:i], name) {
			return fmt.Errorf("board %s is named twice", name)
		}
	}
	return nil
}

// device of the new fleet.
type device struct{ Name, Board, Backend, Title string }

// values are what the templates see.
type values struct {
	Name    string
	App     App
	Devices []device
}

// Files makes the new fleet's files by path, without writing them.
func Files(o Options) (map[string][]byte, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	v := values{Name: o.Name, App: Apps[slices.Index(Languages(), o.Language)]}
	for _, name := range o.Boards {
		board, _ := boards.Get(name)
		d := device{Name: name + "-1", Board: name, Backend: boards.BackendSimulated, Title: board.Title}
		if board.Provides(boards.BackendQEMU) {
			d.Backend = boards.BackendQEMU
		}
		v.Devices = append(v.Devices, d)
	}
	out, err := v.files()
	if err != nil {
		return nil, err
	}
	all, err := schemas.All()
	for name, schema := range all {
		out[path.Join(schemas.Dir, name)] = schema
	}
	return out, err
}

// files fills in the templates and copies the chosen app.
func (v *values) files() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := fs.WalkDir(source, "template", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := source.ReadFile(name)
		if err != nil {
			return err
		}
		to := strings.TrimPrefix(name, "template/")
		if rest, ok := strings.CutPrefix(to, "apps/"); ok {
			folder, _, _ := strings.Cut(rest, "/")
			if folder == v.App.Name || folder == "include" {
				out[to] = content
			}
			return nil
		}
		text, isTemplate := strings.CutSuffix(to, ".tmpl")
		if !isTemplate {
			out[to] = content
			return nil
		}
		filled, err := v.fill(name, string(content))
		if rest, ok := strings.CutPrefix(text, "app/"); ok { // manifests of the chosen app
			text = "apps/" + strings.ReplaceAll(rest, "APP", v.App.Name)
		}
		out[text] = filled
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return out, nil
}

func (v *values) fill(name, text string) ([]byte, error) {
	t, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

// Write makes a new fleet in a directory, which may hold other files, and returns the paths that it wrote. It writes
// nothing when one of them is there.
func Write(dir string, o Options) ([]string, error) {
	files, err := Files(o)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(files))
	var there []string
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name))); !errors.Is(err, fs.ErrNotExist) {
			there = append(there, name)
		}
	}
	if n := len(there); n > 0 {
		more := ""
		if n > 3 {
			more = fmt.Sprintf(" and %d more", n-3)
		}
		return nil, fmt.Errorf("%w in %s: %s%s", ErrThere, dir, strings.Join(there[:min(n, 3)], ", "), more)
	}
	for _, name := range names {
		to := filepath.Join(dir, filepath.FromSlash(name))
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "ci/") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, fmt.Errorf("write the fleet: %w", err)
		}
		if err := writeNew(to, files[name], mode); err != nil {
			return nil, fmt.Errorf("write the fleet: %w", err)
		}
	}
	return names, nil
}

// writeNew makes a file that is not there.
func writeNew(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
