// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func shell(t *testing.T, name, script string) Part {
	dir := t.TempDir()
	return Part{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(dir, name+".log"), PIDFile: filepath.Join(dir, name+".pid")}
}

func TestAKilledProcessIsStartedAgain(t *testing.T) {
	s := New(testr.New(t))
	defer s.Close()
	part := shell(t, "a", "echo started; exec sleep 600")
	s.Start(part)
	started := func() int {
		text, _ := os.ReadFile(part.Log)
		return strings.Count(string(text), "started")
	}
	eventually(t, "first start", func() bool { return started() == 1 })
	first := s.Status()[0].PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "second start", func() bool { pid := s.Status()[0].PID; return pid != 0 && pid != first })
	status := s.Status()[0]
	if status.Restarts != 1 || !strings.Contains(status.LastExit, "killed") {
		t.Errorf("status %+v, want one restart after a kill", status)
	}
	eventually(t, "the pid file", func() bool {
		text, _ := os.ReadFile(part.PIDFile)
		return strings.TrimSpace(string(text)) == strconv.Itoa(status.PID)
	})
	eventually(t, "output of both runs in the log", func() bool { return started() == 2 })
}

// What a full disk does to the pid file of a process that starts on it.
func TestAPIDFileThatCannotBeWrittenIsWrittenLater(t *testing.T) {
	s := New(testr.New(t))
	defer s.Close()
	part := shell(t, "a", "exec sleep 600")
	part.PIDFile = filepath.Join(filepath.Dir(part.PIDFile), "later", "a.pid")
	s.Start(part)
	eventually(t, "start", func() bool { return s.Status()[0].PID != 0 })
	if err := os.Mkdir(filepath.Dir(part.PIDFile), 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pid file", func() bool {
		text, _ := os.ReadFile(part.PIDFile)
		return strings.TrimSpace(string(text)) == strconv.Itoa(s.Status()[0].PID)
	})
	s.Stop(part.Name)
	if _, err := os.Stat(part.PIDFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is left: %v", err)
	}
}

func TestStopAllEndsEveryProcessLastStartedFirst(t *testing.T) {
	s := New(testr.New(t))
	defer s.Close()
	order := filepath.Join(t.TempDir(), "order")
	for _, name := range []string{"one", "two", "three"} {
		s.Start(shell(t, name, "trap 'echo "+name+" >> "+order+"; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
	}
	eventually(t, "all up", func() bool {
		for _, r := range s.parts {
			if text, _ := os.ReadFile(r.part.Log); !bytes.Contains(text, []byte("up")) {
				return false
			}
		}
		return true
	})
	var pids []int
	for _, st := range s.Status() {
		pids = append(pids, st.PID)
	}
	s.StopAll()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	if text, _ := os.ReadFile(order); string(text) != "three\ntwo\none\n" {
		t.Errorf("order of ending %q", text)
	}
}

func TestAMissingProgramIsSaidInStatusAndLog(t *testing.T) {
	s := New(testr.New(t))
	defer s.Close()
	part := shell(t, "gone", "")
	part.Path = filepath.Join(t.TempDir(), "no-such-program")
	s.Start(part)
	eventually(t, "exit reason", func() bool { return strings.Contains(s.Status()[0].LastExit, "no such file") })
	eventually(t, "log", func() bool {
		text, _ := os.ReadFile(part.Log)
		return strings.Contains(string(text), "cannot start")
	})
}

func TestAFinalExitStatusIsNotTriedAgain(t *testing.T) {
	s := New(testr.New(t))
	defer s.Close()
	part := shell(t, "busy", "echo try; exit 4")
	part.Final = []int{3, 4}
	s.Start(part)
	eventually(t, "failure", func() bool { return s.Status()[0].Failed })
	s.Stop("busy")
	if text, _ := os.ReadFile(part.Log); strings.Count(string(text), "try") != 1 {
		t.Errorf("the log has %q, want one try", text)
	}
}

func TestLogFilesAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	log, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("x"), 1<<20)
	for range 40 {
		if _, err := log.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".1"} {
		if info, err := os.Stat(file); err != nil || info.Size() > logMost || info.Size() == 0 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

// A supervisor in a process of its own, for the test below.
func TestMain(m *testing.M) {
	if pidFile := os.Getenv("SUPERVISE_CHILD"); pidFile != "" {
		s := New(testr.New(&testing.T{}))
		s.Start(Part{Name: "child", Path: "/bin/sleep", Args: []string{"600"}, Log: os.DevNull, PIDFile: pidFile})
		select {}
	}
	os.Exit(m.Run())
}

func TestChildrenEndWhenTheirSupervisorIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells children of their parent's death")
	}
	pidFile := filepath.Join(t.TempDir(), "child.pid")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SUPERVISE_CHILD="+pidFile)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	eventually(t, "child's pid", func() bool {
		file, err := os.Open(pidFile)
		if errors.Is(err, os.ErrNotExist) {
			return false
		}
		defer func() { _ = file.Close() }()
		line, _ := bufio.NewReader(file).ReadString('\n')
		child, err = strconv.Atoi(strings.TrimSpace(line))
		return err == nil && alive(child)
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "child's end", func() bool { return !alive(child) || zombie(child) })
}

// zombie says whether a process has ended and only waits to be collected by whoever adopted it.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && bytes.Contains(text, []byte(") Z "))
}
