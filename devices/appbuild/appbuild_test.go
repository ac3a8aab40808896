// SPDX-License-Identifier: Apache-2.0

package appbuild

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const fleetApps = "../../apps"

// copyApps copies the example applications, so that a test can change them.
func copyApps(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.CopyFS(dir, os.DirFS(fleetApps)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string) App {
	t.Helper()
	app, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCommittedModulesAreWhatTheirSourcesGive also builds in another place, so it fails when a path gets into a module.
func TestCommittedModulesAreWhatTheirSourcesGive(t *testing.T) {
	t.Setenv("LANG", "de_DE.UTF-8")
	apps, err := Find(copyApps(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(apps) < 4 {
		t.Fatalf("only %d example applications", len(apps))
	}
	for _, app := range apps {
		res, err := Check(t.Context(), app)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(res.Info.Unknown) > 0 {
			t.Errorf("%s imports what no device offers: %v", app.Name, res.Info.Unknown)
		}
		if recorded, err := readRecord(app); err != nil || recorded != res.Record {
			t.Errorf("%s: record %+v (%v), built %+v", app.Name, recorded, err, res.Record)
		}
	}
}

// TestTheSimulatorsModulesAreWhatTheirSourcesGive covers the modules that its tests run.
func TestTheSimulatorsModulesAreWhatTheirSourcesGive(t *testing.T) {
	for _, name := range []string{"probe", "start"} {
		app := open(t, filepath.Join("../simulator/testdata", name))
		app.Include = filepath.Join(fleetApps, "include")
		if _, err := Check(t.Context(), app); err != nil {
			t.Error(err)
		}
	}
}

func TestInfo(t *testing.T) {
	for name, want := range map[string]struct {
		permissions []string
		memory      bool
	}{
		"blink":      {[]string{"gpio", "timer"}, false},
		"thermostat": {[]string{"gpio", "log", "sensor", "timer"}, true},
	} {
		module, err := os.ReadFile(filepath.Join(fleetApps, name, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := Inspect(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(info.Permissions, want.permissions) || (info.MemoryUsed > linkStack) != want.memory || (info.MemoryDeclared > 0) != want.memory {
			t.Errorf("%s: %+v", name, info)
		}
	}
}

func TestCheckSaysWhyAModuleDiffers(t *testing.T) {
	for sentence, change := range map[string]func(t *testing.T, app App){
		"the source was changed since":                func(t *testing.T, app App) { edit(t, app.Sources[0], "i32.const 500", "i32.const 501") },
		"it was changed since":                        func(t *testing.T, app App) { edit(t, app.ModulePath(), "timer_callback", "timer_callbacc") },
		"there is no record":                          func(t *testing.T, app App) { remove(t, filepath.Join(app.Dir, RecordFile)); damage(t, app) },
		"there is no ":                                func(t *testing.T, app App) { remove(t, app.ModulePath()) },
		"was made by wat2wasm 0.0.1":                  func(t *testing.T, app App) { madeByAnother(t, app) },
		"module does not export the function \"run\"": func(t *testing.T, app App) { edit(t, app.Sources[0], `"run"`, `"walk"`) },
	} {
		t.Run(sentence, func(t *testing.T) {
			app := open(t, filepath.Join(copyApps(t), "blink"))
			change(t, app)
			_, err := Check(t.Context(), app)
			if err == nil || !strings.Contains(err.Error(), sentence) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(sentence, "export") && !errors.Is(err, ErrStale) {
				t.Errorf("not ErrStale: %v", err)
			}
		})
	}
}

func edit(t *testing.T, path, from, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte(from)) {
		t.Fatalf("%s does not hold %q (%v)", path, from, err)
	}
	write(t, path, strings.Replace(string(b), from, to, 1))
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func damage(t *testing.T, app App) { edit(t, app.ModulePath(), "timer_callback", "timer_callbacc") }

// madeByAnother leaves a module and a record that agree, of a compiler that this machine has not.
func madeByAnother(t *testing.T, app App) {
	damage(t, app)
	b, err := os.ReadFile(app.ModulePath())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(app.Dir, RecordFile), "compiler: wat2wasm 0.0.1\nmodule: "+digest(b)+"\nsources: sha256:00\n")
}

func TestBuildWritesModuleAndRecord(t *testing.T) {
	app := open(t, filepath.Join(copyApps(t), "blink"))
	want, err := os.ReadFile(app.ModulePath())
	if err != nil {
		t.Fatal(err)
	}
	remove(t, app.ModulePath())
	remove(t, filepath.Join(app.Dir, RecordFile))
	res, err := Build(t.Context(), app, NamesAsRecorded)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Write(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(app.ModulePath()); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the module differs (%v)", err)
	}
	if _, err := Check(t.Context(), app); err != nil {
		t.Fatal(err)
	}
}

func TestFoldersThatAreNoApplication(t *testing.T) {
	for sentence, files := range map[string]map[string]string{
		"no .c, .rs or .wat file":              {"notes.txt": ""},
		"one folder holds one":                 {"a.c": "", "b.rs": ""},
		"2 files in WebAssembly":               {"a.wat": "", "b.wat": ""},
		"error: expected ':'":                  {"a.c": "int run(void) { return 1 ? 2; }"},
		"a.c:1:":                               {"a.c": "int run(void) { return 1 ? 2; }"},
		"does not export the function \"run\"": {"a.c": "int walk(void) { return 1; }"},
		"unexpected token \"run\"":             {"a.wat": "(run)"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			for name, content := range files {
				write(t, filepath.Join(dir, name), content)
			}
			app, err := Open(dir)
			if err == nil {
				_, err = Build(t.Context(), app, NamesAsRecorded)
			}
			if err == nil || !strings.Contains(err.Error(), sentence) {
				t.Fatalf("error %v", err)
			}
		})
	}
}

func TestAMissingCompilerNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for app, packages := range map[string]string{"blink": "wabt", "thermostat": "clang-14 lld-14", "counter": "rustc libstd-rust-dev-wasm32 lld-14"} {
		_, err := Build(t.Context(), open(t, filepath.Join(fleetApps, app)), NamesAsRecorded)
		if err == nil || !strings.Contains(err.Error(), "install the Debian packages "+packages) {
			t.Errorf("%s: error %v", app, err)
		}
	}
}

func TestBrokenModulesAreRefused(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(fleetApps, "thermostat", "thermostat.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), good[:len(good)-1]); err == nil {
		t.Error("a module without its last byte was accepted")
	}
	if _, _, err := trimModule(t.Context(), []byte("#!/bin/sh"), false, false); err == nil {
		t.Error("a script passed as a module")
	}
}

func TestAMemoryThatIsNotExportedCounts(t *testing.T) {
	module, err := os.ReadFile("../simulator/testdata/start/start.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := Inspect(t.Context(), module); err != nil || info.MemoryDeclared != 65536 || info.MemoryUsed != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestWhatIsTrimmed: a small module whose memory ends where the linker's layout does, unless the app has a heap there.
func TestWhatIsTrimmed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	build := func(source string, names Names) Result {
		t.Helper()
		write(t, filepath.Join(dir, "a.c"), "#define E(n) __attribute__((export_name(#n)))\nstatic volatile int v = 1;\n"+source)
		res, err := Build(t.Context(), open(t, dir), names)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	const run = "E(run) int run(void) { return v - 1; }"
	plain := build(run, NamesAsRecorded)
	if !plain.Trimmed.Memory || plain.Info.MemoryDeclared != plain.Info.MemoryUsed || plain.Info.MemoryUsed < linkStack || plain.Info.MemoryUsed > linkStack+16 {
		t.Errorf("memory: %+v %+v", plain.Info, plain.Trimmed)
	}
	if plain.Trimmed.Exports == 0 || bytes.Contains(plain.Module, []byte("__heap_base")) {
		t.Errorf("%+v", plain.Trimmed)
	}
	heap := build("extern char __heap_base; E(run) int run(void) { return (&__heap_base)[v]; }", NamesAsRecorded)
	grows := build("E(run) int run(void) { return __builtin_wasm_memory_grow(0, v); }", NamesAsRecorded)
	for _, res := range []Result{heap, grows} {
		if res.Trimmed.Memory || res.Trimmed.Pages == "" || res.Info.MemoryDeclared != 65536 {
			t.Errorf("memory: %+v %+v", res.Info, res.Trimmed)
		}
	}

	named := build(run, NamesKept)
	if err := named.Write(); err != nil {
		t.Fatal(err)
	}
	again := build(run, NamesAsRecorded)
	judge, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	info, err := judge.Inspect(t.Context(), again.Module)
	if err != nil || info.FunctionNames[0] != "run" || !bytes.Equal(named.Module, again.Module) {
		t.Errorf("names: %v %v", info.FunctionNames, err)
	}
	if dropped := build(run, NamesDropped); !bytes.Equal(dropped.Module, plain.Module) {
		t.Error("the module without names is another one")
	}
}
