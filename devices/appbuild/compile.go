// SPDX-License-Identifier: Apache-2.0

package appbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Language of an application's source.
type Language string

// Languages.
const (
	LanguageC    Language = "C"
	LanguageRust Language = "Rust"
	LanguageWAT  Language = "WebAssembly text"
)

func languageOf(file string) (Language, bool) {
	switch filepath.Ext(file) {
	case ".c":
		return LanguageC, true
	case ".rs":
		return LanguageRust, true
	case ".wat":
		return LanguageWAT, true
	}
	return "", false
}

func (l Language) headerExtension() string {
	if l == LanguageRust {
		return ".rs"
	}
	return ".h"
}

// linkStack is the stack in linear memory that C and Rust spill to; it lies first, so that an overflow leaves the
// memory and traps instead of writing over data.
const linkStack = 1024

// compileTimeout bounds one run of a compiler.
const compileTimeout = 2 * time.Minute

// toolchain says how a language's compiler is found.
type toolchain struct {
	title      string // as in a record
	candidates []string
	linkers    []string // beside the compiler, when it needs one
	packages   string   // of Debian, that install it
	target     string   // that the compiler must have, if any
}

var toolchains = map[Language]toolchain{
	LanguageC:    {title: "clang", candidates: []string{"clang-14", "clang"}, linkers: []string{"wasm-ld-14", "wasm-ld"}, packages: "clang-14 lld-14"},
	LanguageRust: {title: "rustc", candidates: []string{"/usr/bin/rustc", "rustc"}, linkers: []string{"wasm-ld-14", "wasm-ld"}, packages: "rustc libstd-rust-dev-wasm32 lld-14", target: "wasm32-unknown-unknown"},
	LanguageWAT:  {title: "wat2wasm", candidates: []string{"wat2wasm"}, packages: "wabt"},
}

// tool is a compiler that was found.
type tool struct {
	title, path, version, linker string
}

func (t tool) name() string { return t.title + " " + t.version }

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

// findTool returns the compiler that the record names when this machine has it, and otherwise the first usable one.
func findTool(ctx context.Context, lang Language, recorded string) (tool, error) {
	chain := toolchains[lang]
	missing := fmt.Errorf("no compiler for %s: install the Debian packages %s", lang, chain.packages)
	linker := ""
	if len(chain.linkers) > 0 {
		if linker = firstInPath(chain.linkers); linker == "" {
			return tool{}, fmt.Errorf("%w (the linker %s is missing)", missing, chain.linkers[0])
		}
	}
	var found []tool
	for _, c := range chain.candidates {
		path, err := exec.LookPath(c)
		if err != nil || !hasTarget(ctx, path, chain.target) {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if version := versionNumber.Find(out); err == nil && version != nil {
			found = append(found, tool{title: chain.title, path: path, version: string(version), linker: linker})
		}
	}
	if len(found) == 0 {
		return tool{}, missing
	}
	if i := slices.IndexFunc(found, func(t tool) bool { return t.name() == recorded }); i >= 0 {
		return found[i], nil
	}
	return found[0], nil
}

func firstInPath(names []string) string {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	return ""
}

// hasTarget tells whether a Rust compiler has the standard library of the target.
func hasTarget(ctx context.Context, rustc, target string) bool {
	if target == "" {
		return true
	}
	out, err := exec.CommandContext(ctx, rustc, "--print", "target-libdir", "--target", target).Output()
	if err != nil {
		return false
	}
	libs, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "libcore-*.rlib"))
	return err == nil && len(libs) > 0
}

// compile runs the compiler in the folder above the app's, with relative paths and a bare environment, so that
// neither reaches the module.
func compile(ctx context.Context, app App, t tool, names bool) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "wasmbed-build-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	out := filepath.Join(tmp, app.Name+".wasm")
	args := map[Language]func(App, tool, string, bool) []string{LanguageC: clangArgs, LanguageRust: rustcArgs, LanguageWAT: watArgs}[app.Language](app, t, out, names)

	ctx, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.path, args...)
	cmd.Dir = filepath.Dir(app.Dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TMPDIR=" + tmp, "SOURCE_DATE_EPOCH=0"}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s did not end within %s", t.name(), compileTimeout)
		}
		return nil, fmt.Errorf("%s: %w\n%s", t.name(), err, bytes.TrimSpace(said.Bytes()))
	}
	module, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("%s wrote no module: %w", t.name(), err)
	}
	return module, nil
}

// relative names the app's files from the folder above its own.
func relative(app App) []string {
	out := make([]string, len(app.Sources))
	for i, s := range app.Sources {
		out[i] = filepath.Join(filepath.Base(app.Dir), filepath.Base(s))
	}
	return out
}

// include names the folder of headers for all apps, likewise.
func include(app App) string {
	rel, err := filepath.Rel(filepath.Dir(app.Dir), app.Include)
	if err != nil {
		return app.Include
	}
	return rel
}

// linkArgs are the same for every linker of wasm32: one page, no more, and the place where the heap would begin, by
// which one can tell how much of the page is used.
func linkArgs(names bool) []string {
	strip := "--strip-all"
	if names {
		strip = "--strip-debug"
	}
	return []string{"--no-entry", strip, "--gc-sections", "--stack-first", "-zstack-size=" + strconv.Itoa(linkStack),
		"--initial-memory=65536", "--max-memory=65536", "--export=__heap_base"}
}

func clangArgs(app App, t tool, out string, names bool) []string {
	args := []string{"--target=wasm32", "-std=c11", "-Oz", "-flto", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin",
		"-nostdlib", "-I", include(app), "-I", filepath.Base(app.Dir), "-fuse-ld=" + t.linker}
	for _, l := range linkArgs(names) {
		args = append(args, "-Wl,"+l)
	}
	return append(append(args, "-o", out), relative(app)...)
}

func rustcArgs(app App, t tool, out string, names bool) []string {
	strip := "symbols"
	if names {
		strip = "debuginfo"
	}
	args := []string{"--target", "wasm32-unknown-unknown", "--edition", "2021", "--crate-type", "cdylib", "--crate-name", strings.ReplaceAll(app.Name, "-", "_"),
		"-D", "warnings", "-C", "opt-level=z", "-C", "panic=abort", "-C", "lto=fat", "-C", "codegen-units=1", "-C", "strip=" + strip,
		"-C", "linker=" + t.linker, "-C", "linker-flavor=wasm-ld"}
	for _, l := range linkArgs(names) {
		args = append(args, "-C", "link-arg="+l)
	}
	return append(append(args, "-o", out), relative(app)...)
}

func watArgs(app App, _ tool, out string, names bool) []string {
	args := []string{"-o", out}
	if names {
		args = append(args, "--debug-names")
	}
	return append(args, relative(app)...)
}
