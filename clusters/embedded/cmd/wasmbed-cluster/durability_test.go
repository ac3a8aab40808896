// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var identityFiles = []string{"ca.crt", "ca.key", "serving.crt", "serving.key", "service-account.key", "admin.kubeconfig"}

// TestKill kills a cluster under writes and expects every acknowledged one and
// all identities after the next start. Its path is too long for a socket.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30), "data")
	runtime, port := t.TempDir(), freePort(t)
	environment := "XDG_RUNTIME_DIR=" + runtime
	p := start(t, dir, port, environment)
	c := connect(t, p.config(t))
	c.defineProbes(t)
	identities := readAll(t, dir, identityFiles)

	const enough = 200
	var names []string
	var mu sync.Mutex
	var writers sync.WaitGroup
	var killed atomic.Bool
	for writer := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("probe-%d-%d", writer, i)
				_, err := c.objects.Resource(probes).Namespace("default").Create(t.Context(), probe(name), metav1.CreateOptions{})
				if err != nil {
					if !killed.Load() {
						t.Errorf("a write failed before the kill: %v", err)
					}
					return
				}
				mu.Lock()
				names = append(names, name)
				if len(names) == enough {
					killed.Store(true)
					p.cmd.Process.Kill()
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	<-p.done
	if len(names) < enough {
		t.Fatalf("only %d writes were acknowledged", len(names))
	}

	p = start(t, dir, port, environment)
	// The clients of before still work: same address, same identities.
	for _, name := range names {
		if _, err := c.objects.Resource(probes).Namespace("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("acknowledged write is gone: %v", err)
		}
	}
	if got := readAll(t, dir, identityFiles); got != identities {
		t.Error("identities have changed with the restart")
	}
	p.stop(t)
	if left, err := os.ReadDir(runtime); err != nil || len(left) > 0 {
		t.Errorf("runtime directory is left behind: %v (%v)", left, err)
	}
}

func readAll(t *testing.T, dir string, names []string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

// TestDamage starts on directories that cannot be used: each must say what is
// wrong in its last line, quickly, and leave the files as they are.
func TestDamage(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	p := start(t, good, freePort(t))
	connect(t, p.config(t)).defineProbes(t)
	p.stop(t)

	const database, log = "etcd/member/snap/db", "etcd/member/wal/0000000000000000-0000000000000000.wal"
	for name, test := range map[string]struct {
		damage func(dir string) error
		words  []string
	}{
		"newer format":        {overwrite("format", 0, []byte("99\n")), []string{"newer", "format 99"}},
		"format is no number": {overwrite("format", 0, []byte("x\n")), []string{"format", "version"}},
		"no format":           {remove("format"), []string{"format"}},
		"no CA key":           {remove("ca.key"), []string{"ca.key is missing"}},
		"CA key is no key":    {overwrite("ca.key", 0, []byte("garbage")), []string{"ca.key"}},
		"database truncated":  {truncate(database, 20<<10), []string{"etcd's database", "damaged"}},
		"database emptied":    {overwrite(database, 0, make([]byte, 16<<10)), []string{"etcd's database", "damaged"}},
		"database holes":      {overwrite(database, 40<<10, make([]byte, 160<<10)), []string{"etcd's database", "damaged"}},
		"log overwritten":     {overwrite(log, 4<<10, []byte(strings.Repeat("garbage ", 4<<10))), []string{"etcd cannot read"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(dir); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			status, stdout, sentence := spawn(t, dir, freePort(t)).exit(t)
			if status != exitDataDir || stdout != "" {
				t.Errorf("status %d, stdout %q, last line %q", status, stdout, sentence)
			}
			for _, word := range append(test.words, "wasmbed-cluster: data directory cannot be used") {
				if !strings.Contains(sentence, word) {
					t.Errorf("%q does not say %q", sentence, word)
				}
			}
			if contents(t, dir) != before {
				t.Error("files have changed")
			}
		})
	}
}

func overwrite(name string, offset int64, content []byte) func(string) error {
	return func(dir string) error {
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteAt(content, offset)
		return err
	}
}

func remove(name string) func(string) error {
	return func(dir string) error { return os.Remove(filepath.Join(dir, name)) }
}

func truncate(name string, size int64) func(string) error {
	return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
}

// contents lists the files that hold state, with their sizes.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && entry.Name() != "lock" {
			fmt.Fprintln(&list, path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// TestUsage refuses options that cannot work, and says which.
func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		port int
		dir  string
		word string
	}{
		"no directory": {port: 1, word: "--data-dir"},
		"no port":      {dir: "data", word: "--port"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.dir != "" {
				test.dir = filepath.Join(t.TempDir(), test.dir)
			}
			status, _, sentence := spawn(t, test.dir, test.port).exit(t)
			if status != exitUsage || !strings.Contains(sentence, test.word) {
				t.Errorf("status %d, %q", status, sentence)
			}
		})
	}
}
