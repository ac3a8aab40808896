// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"wasmbed.dev/devices/boards"
)

func (b *testBoard) awaitStatus(t testing.TB, what string, check func(Status) bool) Status {
	t.Helper()
	var s Status
	eventually(t, what, func() string {
		if s = b.Status(); !check(s) {
			return fmt.Sprintf("status %+v, problem %v", s, s.Problem)
		}
		return ""
	})
	return s
}

func running(s Status) bool { return s.Phase == PhaseRunning }

func alive(pid int) bool {
	_, err := startTime(pid)
	return err == nil
}

// What lies on the disk and on the command line of a running board.
func TestSecretsStayPrivate(t *testing.T) {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	id := a.identity(a.issue("device"), g.address())
	b := startBoard(t, boardOptions(t, "mps2-an385", filepath.Join(t.TempDir(), "board"), id))
	g.until("a session", func() bool { return g.sessions == 1 })
	s := b.awaitStatus(t, "it runs", running)
	if _, err := os.Stat(filepath.Join(b.dir, blobFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the provisioning blob is still there: %v", err)
	}
	entries, err := os.ReadDir(b.dir)
	must(t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if e.Type().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(b.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	keys := func() int {
		content, err := os.ReadFile(filepath.Join(b.dir, nvFile))
		must(t, err)
		return bytes.Count(content, id.Key)
	}
	b.Renew()
	eventually(t, "the renewed identity is in the mailbox", func() string {
		if keys() == 0 {
			return "it is not"
		}
		return ""
	})
	defer func() {
		if b.stop(); keys() != 0 {
			t.Error("the keys of a board that is off are still there")
		}
	}()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID))
	must(t, err)
	if bytes.Contains(line, id.Key) || bytes.Contains(line, []byte(g.address())) {
		t.Errorf("the command line is %q", line)
	}
}

// Each launch has entropy of its own.
func TestFreshEntropy(t *testing.T) {
	a := newAuthority(t)
	id := a.identity(a.issue("device"), "127.0.0.1:1")
	one, err := encodeProvision("a/b", id, time.Unix(1, 0))
	must(t, err)
	two, err := encodeProvision("a/b", id, time.Unix(1, 0))
	must(t, err)
	if bytes.Equal(one, two) || len(one) != len(two) || !bytes.Equal(one[:15], two[:15]) {
		t.Errorf("two launches got %x and %x", one[:64], two[:64])
	}
	for _, broken := range []Identity{
		{},
		func(i Identity) Identity { i.Endpoints = nil; return i }(id),
		func(i Identity) Identity { i.Endpoints = []string{"a:1", "b:1", "c:1", "d:1", "e:1"}; return i }(id),
		func(i Identity) Identity { i.Endpoints = []string{strings.Repeat("a", 200)}; return i }(id),
		func(i Identity) Identity { i.Key = make([]byte, 5000); return i }(id),
		func(i Identity) Identity { i.CAs = make([][]byte, 5); return i }(id),
	} {
		if _, err := encodeProvision("a/b", broken, time.Now()); err == nil {
			t.Errorf("an identity like %.200v was encoded", broken)
		}
	}
}

func TestStartsAgainWhenItEnds(t *testing.T) {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	b := startBoard(t, boardOptions(t, "mps2-an385", t.TempDir(), a.identity(a.issue("device"), g.address())))
	first := b.awaitStatus(t, "it runs", running)
	b.says(t, "start 1,", 1)
	process, err := os.FindProcess(first.PID)
	must(t, err)
	must(t, process.Kill())
	s := b.awaitStatus(t, "it waits", func(s Status) bool { return s.Phase == PhaseWaiting })
	if s.Problem == nil || s.Problem.Reason != ReasonLaunchFailed || s.LastExit == nil || !strings.Contains(s.LastExit.Reason, "killed") || s.RetryAt.Before(time.Now()) {
		t.Errorf("the status is %+v, %v", s, s.Problem)
	}
	s = b.awaitStatus(t, "it runs again", func(s Status) bool { return running(s) && s.PID != first.PID })
	if s.Launches != 2 || s.Problem != nil {
		t.Errorf("the status is %+v", s)
	}
	b.says(t, "start 2", 1)
	must(t, b.Reset())
	b.says(t, "start 3", 1)
	b.stop()
	if s := b.Status(); s.Phase != PhaseStopped || alive(s.PID) {
		t.Errorf("stopped, the status is %+v", s)
	}
	if err := b.Reset(); err == nil {
		t.Error("a stopped board can be reset")
	}
}

func TestConsoleGoesBothWays(t *testing.T) {
	a := newAuthority(t)
	g := newTestGateway(t, a)
	b := startBoard(t, boardOptions(t, "mps2-an505", t.TempDir(), a.identity(a.issue("device"), g.address())))
	g.until("a session that both sides know of", func() bool { return g.beat != nil })
	for range 2 {
		conn, err := net.Dial("tcp", b.Status().Console)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = conn.Write([]byte("status\r"))
		must(t, err)
		var got []byte
		buf := make([]byte, 512)
		for !bytes.Contains(got, []byte("session up")) {
			n, err := conn.Read(buf)
			must(t, err)
			got = append(got, buf[:n]...)
		}
		if !bytes.Contains(got, []byte("firmware")) {
			t.Errorf("a new client does not see what was said before: %q", got)
		}
		conn.Close()
	}
}

func TestConsoleLogIsBounded(t *testing.T) {
	f := boundedFile{path: filepath.Join(t.TempDir(), "console.log")}
	line := []byte(strings.Repeat("x", 1000))
	for range 3 * maxConsoleLog / len(line) {
		f.append(line)
	}
	f.close()
	for _, path := range []string{f.path, f.path + ".1"} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Size() > maxConsoleLog || info.Size() == 0 {
			t.Errorf("%s has %d bytes", filepath.Base(path), info.Size())
		}
	}
}

// orphan launches a board by a supervisor of its own, a test process that is then killed.
func orphan(t *testing.T, dir, address string) (pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOrphanHelper$")
	cmd.Env = append(os.Environ(), "QEMU_ORPHAN_DIR="+dir, "QEMU_ORPHAN_GATEWAY="+address)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 100)
	n, err := out.Read(line)
	must(t, err)
	must(t, cmd.Process.Kill())
	cmd.Wait()
	pid, err = strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatalf("the supervisor said %q", line[:n])
	}
	return pid
}

// TestOrphanHelper is the supervisor that is killed; it does nothing in a run of the tests.
func TestOrphanHelper(t *testing.T) {
	dir := os.Getenv("QEMU_ORPHAN_DIR")
	if dir == "" {
		t.Skip("runs as a process of TestTakesOrphansOver only")
	}
	a := newAuthority(t)
	b, err := New(boardOptions(t, "mps2-an385", dir, a.identity(a.issue("device"), os.Getenv("QEMU_ORPHAN_GATEWAY"))))
	must(t, err)
	go b.Run(context.Background())
	for !running(b.Status()) {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(b.Status().PID)
	select {}
}

func TestTakesOrphansOver(t *testing.T) {
	firmware(t, "mps2-an385")
	a := newAuthority(t)
	dir := t.TempDir()
	pid := orphan(t, dir, "127.0.0.1:1")
	if !alive(pid) {
		t.Fatal("the board ended with its supervisor")
	}
	opts := boardOptions(t, "mps2-an385", dir, a.identity(a.issue("device"), "127.0.0.1:1"))
	b := startBoard(t, opts)
	s := b.awaitStatus(t, "it runs", running)
	if s.PID != pid || !s.Adopted || s.Launches != 0 {
		t.Errorf("the status is %+v, the orphan is %d", s, pid)
	}
	must(t, b.Reset())
	b.says(t, "start", 1)
	b.stop()
	if alive(pid) {
		t.Error("stopped, the adopted process goes on")
	}

	// One that was launched for another board is ended.
	pid = orphan(t, dir, "127.0.0.1:1")
	other := boardOptions(t, "mps2-an386", dir, a.identity(a.issue("device"), "127.0.0.1:1"))
	b = startBoard(t, other)
	s = b.awaitStatus(t, "it runs", running)
	if s.PID == pid || s.Adopted || alive(pid) {
		t.Errorf("the status is %+v, the orphan is %d", s, pid)
	}
	b.stop()

	// And one whose device is gone.
	pid = orphan(t, dir, "127.0.0.1:1")
	must(t, Clean(dir))
	if _, err := os.Stat(dir); alive(pid) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cleaned up, process alive %t, directory %v", alive(pid), err)
	}
}

func TestProblems(t *testing.T) {
	a := newAuthority(t)
	id := a.identity(a.issue("device"), "127.0.0.1:1")
	script := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
		return path
	}
	good := boardOptions(t, "mps2-an385", t.TempDir(), id)
	simulated, _ := boards.Get(boards.DefaultSimulated)
	for name, c := range map[string]struct {
		change func(*Options)
		reason string
		says   string
	}{
		"no QEMU":         {func(o *Options) { o.Program = "no-such-emulator" }, ReasonQEMUMissing, "install"},
		"old QEMU":        {func(o *Options) { o.Program = script("old", "echo QEMU emulator version 4.2.1") }, ReasonQEMUTooOld, "4.2"},
		"unknown machine": {func(o *Options) { o.Board.QEMUMachine = "mps9" }, ReasonMachineUnknown, "mps9"},
		"no such board":   {func(o *Options) { o.Board = simulated }, ReasonMachineUnknown, "emulated"},
		"no firmware":     {func(o *Options) { o.Firmware = "/nowhere.elf" }, ReasonFirmwareMissing, "make -C firmware"},
		"no identity": {func(o *Options) {
			o.Identity = func(context.Context) (Identity, error) { return Identity{}, errors.New("no Secret yet") }
		}, ReasonIdentityMissing, "no Secret yet"},
		"QEMU ends at once": {func(o *Options) {
			o.Program = script("qemu", `case "$1" in --version) exec qemu-system-arm --version;; -M) [ "$2" = help ] && exec qemu-system-arm -M help;; esac; echo no luck >&2; exit 3`)
		}, ReasonLaunchFailed, "no luck"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := good
			opts.Dir = t.TempDir()
			c.change(&opts)
			b := startBoard(t, opts)
			s := b.awaitStatus(t, "a problem", func(s Status) bool { return s.Problem != nil })
			if s.Problem.Reason != c.reason || !strings.Contains(s.Problem.Message, c.says) || s.Phase != PhaseWaiting {
				t.Errorf("%s: %s", s.Problem.Reason, s.Problem.Message)
			}
		})
	}
	t.Run("console busy", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		opts := good
		opts.Console, opts.Log = l.Addr().String(), logr.Discard()
		var p *Problem
		if _, err := New(opts); !errors.As(err, &p) || p.Reason != ReasonConsoleBusy || !strings.Contains(p.Message, l.Addr().String()) {
			t.Errorf("the error is %v", err)
		}
		opts.Console = "0.0.0.0:0"
		if _, err := New(opts); err == nil {
			t.Error("a console for everybody was opened")
		}
	})
}
