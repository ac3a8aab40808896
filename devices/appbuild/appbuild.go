// SPDX-License-Identifier: Apache-2.0

// Package appbuild compiles the source of an application to the small WebAssembly module that is committed beside
// it, and proves that a committed module is what its source gives.
//
// An application is a folder with sources of one language: C, Rust, or WebAssembly text. The folder's name is the
// application's, and the name of its module:
//
//	apps/blink/blink.wat   apps/blink/blink.wasm   apps/blink/build.yaml
//
// The same compiler gives the same bytes on every machine; different versions of one often do not. So build.yaml
// records which compiler made the module, and the compiler that is recorded is preferred when there are several.
package appbuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// RecordFile is the name of the record beside a module.
const RecordFile = "build.yaml"

// maxSource bounds the files that are read.
const maxSource = 4 << 20

// ErrStale means that a committed module is not what its source gives.
var ErrStale = errors.New("module is not what its source gives")

// App is an application's folder.
type App struct {
	Name     string
	Dir      string
	Language Language
	// Sources are the files to compile, in ascending order.
	Sources []string
	// Include is a folder of headers for all apps, beside the apps' folders; may not exist.
	Include string
}

// ModulePath is where the module lies.
func (a App) ModulePath() string { return filepath.Join(a.Dir, a.Name+".wasm") }

// Record says what made a module.
type Record struct {
	// Compiler and its version, for example "clang 14.0.6".
	Compiler string `json:"compiler"`
	// Sources is the SHA-256 over the names and contents of the files compiled and of the headers for all apps.
	Sources string `json:"sources"`
	// Module is the SHA-256 of the module.
	Module string `json:"module"`
	// Names tells that the module has its functions' names, which traps then tell.
	Names bool `json:"names,omitempty"`
}

// Result is a compiled application.
type Result struct {
	App     App
	Module  []byte
	Info    Info
	Trimmed Trimmed
	Record  Record
}

// Names says whether a module gets its functions' names.
type Names int

// Names.
const (
	NamesAsRecorded Names = iota // as in the record; without one they are dropped
	NamesDropped
	NamesKept
)

// Open reads what an application's folder holds.
func Open(dir string) (App, error) {
	dir = filepath.Clean(dir)
	abs, err := filepath.Abs(dir)
	if err != nil {
		return App{}, fmt.Errorf("open app: %w", err)
	}
	if base := filepath.Base(dir); base == "." || base == ".." {
		dir = abs // its name is needed below
	}
	app := App{Name: filepath.Base(abs), Dir: dir, Include: filepath.Join(filepath.Dir(dir), "include")}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return App{}, fmt.Errorf("open app: %w", err)
	}
	for _, e := range entries {
		lang, ok := languageOf(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		if app.Language != "" && app.Language != lang {
			return App{}, fmt.Errorf("app %s: sources in %s and in %s; one folder holds one language", app.Name, app.Language, lang)
		}
		app.Language = lang
		app.Sources = append(app.Sources, filepath.Join(dir, e.Name()))
	}
	if app.Language == "" {
		return App{}, fmt.Errorf("app %s: %w: no .c, .rs or .wat file in %s", app.Name, os.ErrNotExist, dir)
	}
	slices.Sort(app.Sources)
	if len(app.Sources) > 1 && app.Language != LanguageC {
		return App{}, fmt.Errorf("app %s: %d files in %s; keep one, named %s", app.Name, len(app.Sources), app.Language, app.Name)
	}
	return app, nil
}

// Find opens all folders directly in dir that hold an application, ascending by name.
func Find(dir string) ([]App, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("find apps: %w", err)
	}
	var apps []App
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "include" {
			continue
		}
		app, err := Open(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// Build compiles the application. It writes nothing beside a temporary folder; Write keeps the result.
func Build(ctx context.Context, app App, names Names) (Result, error) {
	recorded, _ := readRecord(app) // an absent or broken record only means that no compiler is preferred
	tool, err := findTool(ctx, app.Language, recorded.Compiler)
	if err != nil {
		return Result{}, fmt.Errorf("app %s: %w", app.Name, err)
	}
	keep := names == NamesKept || names == NamesAsRecorded && recorded.Names
	sources, heap, err := readSources(app)
	if err != nil {
		return Result{}, fmt.Errorf("app %s: %w", app.Name, err)
	}
	module, err := compile(ctx, app, tool, keep)
	if err != nil {
		return Result{}, fmt.Errorf("app %s: %w", app.Name, err)
	}
	module, trimmed, err := trimModule(ctx, module, keep, heap)
	if err != nil {
		return Result{}, fmt.Errorf("app %s: what %s wrote: %w", app.Name, tool.name(), err)
	}
	info, err := Inspect(ctx, module)
	if err != nil {
		return Result{}, fmt.Errorf("app %s: %w", app.Name, err)
	}
	return Result{App: app, Module: module, Info: info, Trimmed: trimmed,
		Record: Record{Compiler: tool.name(), Sources: sources, Module: digest(module), Names: keep}}, nil
}

// Check compiles the application and compares the outcome with the committed module, byte by byte. The error is
// ErrStale, with what to do, when they differ.
func Check(ctx context.Context, app App) (Result, error) {
	res, err := Build(ctx, app, NamesAsRecorded)
	if err != nil {
		return res, err
	}
	committed, err := os.ReadFile(app.ModulePath())
	if errors.Is(err, os.ErrNotExist) {
		return res, fmt.Errorf("app %s: %w: there is no %s; run `wasmbed build %s` and commit it", app.Name, ErrStale, app.ModulePath(), app.Name)
	} else if err != nil {
		return res, fmt.Errorf("app %s: %w", app.Name, err)
	}
	if bytes.Equal(committed, res.Module) {
		return res, nil
	}
	return res, fmt.Errorf("app %s: %s: %w: %s", app.Name, app.ModulePath(), ErrStale, difference(app, committed, res))
}

// difference says why a module may differ, as far as the record tells.
func difference(app App, committed []byte, res Result) string {
	rec, err := readRecord(app)
	again := fmt.Sprintf("run `wasmbed build %s` and commit the result", app.Name)
	switch {
	case err != nil:
		return fmt.Sprintf("there is no record of what made it (%v); %s", err, again)
	case rec.Module != digest(committed):
		return fmt.Sprintf("it was changed since %s was written, which tells of another module; %s", RecordFile, again)
	case rec.Compiler != res.Record.Compiler:
		return fmt.Sprintf("it was made by %s and this machine has %s, so nothing is proved; install %s, or %s", rec.Compiler, res.Record.Compiler, rec.Compiler, again)
	case rec.Sources != res.Record.Sources:
		return "the source was changed since; " + again
	}
	return fmt.Sprintf("the same source and %s gave %d bytes and now give %d; %s", rec.Compiler, len(committed), len(res.Module), again)
}

// Write puts the module and its record into the application's folder.
func (r Result) Write() error {
	if err := replaceFile(r.App.ModulePath(), r.Module); err != nil {
		return fmt.Errorf("app %s: %w", r.App.Name, err)
	}
	text, err := yaml.Marshal(r.Record)
	if err != nil {
		return fmt.Errorf("app %s: write record: %w", r.App.Name, err)
	}
	const head = "# Written by `wasmbed build`: what made the module beside this file.\n"
	if err := replaceFile(filepath.Join(r.App.Dir, RecordFile), append([]byte(head), text...)); err != nil {
		return fmt.Errorf("app %s: %w", r.App.Name, err)
	}
	return nil
}

// replaceFile leaves an equal file alone and otherwise replaces it as a whole.
func replaceFile(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func readRecord(app App) (Record, error) {
	var rec Record
	text, err := os.ReadFile(filepath.Join(app.Dir, RecordFile))
	if err != nil {
		return rec, err
	}
	if err := yaml.UnmarshalStrict(text, &rec); err != nil {
		return Record{}, fmt.Errorf("%s: %w", RecordFile, err)
	}
	return rec, nil
}

// readSources makes a digest of the names and contents of everything that goes into the module. With heap, the app uses
// the memory behind what the linker lays out.
func readSources(app App) (digest string, heap bool, err error) {
	files := slices.Clone(app.Sources)
	if app.Language != LanguageWAT {
		headers, err := filepath.Glob(filepath.Join(app.Include, "*"+app.Language.headerExtension()))
		if err != nil {
			return "", false, err
		}
		own, err := filepath.Glob(filepath.Join(app.Dir, "*.h"))
		if err != nil {
			return "", false, err
		}
		files = append(append(files, headers...), own...)
	}
	h := sha256.New()
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return "", false, err
		}
		if len(content) > maxSource {
			return "", false, fmt.Errorf("%s: %d bytes; a source has at most %d", f, len(content), maxSource)
		}
		head := fmt.Sprintf("%s/%s %d\n", filepath.Base(filepath.Dir(f)), filepath.Base(f), len(content))
		h.Write([]byte(head))
		h.Write(content)
		heap = heap || bytes.Contains(content, []byte("__heap_base"))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), heap, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
