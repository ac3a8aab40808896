// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// childVariable makes this test binary behave as the program itself, so that
// the tests see real processes, signals and exit statuses.
const childVariable = "WASMBED_CLUSTER_CHILD"

// deadline bounds every wait of a test; it is far above what any should take.
const deadline = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a wasmbed-cluster that a test has started.
type process struct {
	cmd    *exec.Cmd
	dir    string
	stdout *bufio.Reader
	stderr *bytes.Buffer // read it after exit only
	done   chan struct{}
}

func spawn(t *testing.T, dir string, port int, environment ...string) *process {
	t.Helper()
	p := &process{dir: dir, stderr: new(bytes.Buffer), done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], "--data-dir", dir, "--port", strconv.Itoa(port))
	p.cmd.Env = append(append(os.Environ(), childVariable+"=1"), environment...)
	p.cmd.Stderr = p.stderr
	stdout, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = writer
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		stdout.Close()
		if t.Failed() {
			t.Logf("stderr of process %d:\n%s", p.cmd.Process.Pid, p.stderr)
		}
	})
	return p
}

// start spawns a cluster and waits until it says that it is ready.
func start(t *testing.T, dir string, port int, environment ...string) *process {
	t.Helper()
	p := spawn(t, dir, port, environment...)
	timer := time.AfterFunc(deadline, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		<-p.done
		t.Fatalf("no ready line (%v); stderr:\n%s", err, p.stderr)
	}
	var ready struct {
		Ready   bool
		Seconds float64
		URL     string
	}
	if err := json.Unmarshal([]byte(line), &ready); err != nil || !ready.Ready || ready.Seconds <= 0 {
		t.Fatalf("ready line %q: %v", line, err)
	}
	if want := "https://127.0.0.1:" + strconv.Itoa(port); ready.URL != want {
		t.Fatalf("ready line tells %s instead of %s", ready.URL, want)
	}
	return p
}

// exit waits for the end of the process and returns its status, what it still
// wrote to stdout, and its last line on stderr.
func (p *process) exit(t *testing.T) (status int, stdout, sentence string) {
	t.Helper()
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(p.stdout)
		rest <- string(text)
	}()
	select {
	case <-p.done:
	case <-time.After(deadline):
		t.Fatal("the process does not end")
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	return p.cmd.ProcessState.ExitCode(), <-rest, lines[len(lines)-1]
}

// stop sends what a terminal and then a supervisor send, and expects a clean end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	if status, stdout, _ := p.exit(t); status != 0 || stdout != "" {
		t.Fatalf("after the signals: status %d, more on stdout: %q", status, stdout)
	}
}

func (p *process) config(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// eventually polls until check returns nil and fails with its last error.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

var errNotYet = errors.New("not yet")
