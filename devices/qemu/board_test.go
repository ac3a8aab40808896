// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"

	"wasmbed.dev/devices/boards"
)

var boardNames = []string{"mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505"}

var build struct {
	once sync.Once
	err  error
	out  []byte
}

// firmware builds the boards once for all tests and returns one's ELF file.
func firmware(t testing.TB, board string) string {
	t.Helper()
	for _, tool := range []string{Program, "arm-none-eabi-gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run make -C firmware tools", tool)
		}
	}
	build.once.Do(func() {
		build.out, build.err = exec.Command("make", "-s", "-j2", "-C", "../../firmware", "all").CombinedOutput()
	})
	if build.err != nil {
		t.Fatalf("make -C firmware: %v\n%s", build.err, build.out)
	}
	return filepath.Join("..", "..", "firmware", "build", board, "firmware.elf")
}

// testBoard is a board under supervision for one test.
type testBoard struct {
	*Board
	dir  string
	stop func()
}

func boardOptions(t testing.TB, name, dir string, id Identity) Options {
	t.Helper()
	board, ok := boards.Get(name)
	if !ok {
		t.Fatalf("no board %s", name)
	}
	return Options{Device: "test/" + name, Board: board, Firmware: firmware(t, name), Dir: dir,
		Identity: func(context.Context) (Identity, error) { return id, nil }, Log: logr.Discard()}
}

func startBoard(t testing.TB, opts Options) *testBoard {
	t.Helper()
	b, err := New(opts)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	tb := &testBoard{Board: b, dir: opts.Dir, stop: sync.OnceFunc(func() {
		cancel()
		<-done
	})}
	t.Cleanup(func() {
		tb.stop()
		if t.Failed() || os.Getenv("QEMU_TEST_CONSOLE") != "" {
			t.Logf("status %+v\nconsole:\n%s", b.Status(), tb.consoleText())
		}
	})
	return tb
}

func (b *testBoard) consoleText() string {
	old, _ := os.ReadFile(filepath.Join(b.dir, "console.log.1"))
	text, _ := os.ReadFile(filepath.Join(b.dir, "console.log"))
	return string(old) + string(text)
}

// says waits until the console has said the text at least n times.
func (b *testBoard) says(t testing.TB, text string, n int) {
	t.Helper()
	eventually(t, "the console says "+text, func() string {
		if got := strings.Count(b.consoleText(), text); got < n {
			return "it has said: " + b.consoleText()
		}
		return ""
	})
}

func everyBoard(t *testing.T, run func(t *testing.T, name string)) {
	for _, name := range boardNames {
		t.Run(name, func(t *testing.T) { run(t, name) })
	}
}

// A board boots, completes mutual TLS 1.3 with crypto/tls, is welcomed, and resumes its session when it was cut off.
func TestConnects(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		a := newAuthority(t)
		g := newTestGateway(t, a)
		startBoard(t, boardOptions(t, name, t.TempDir(), a.identity(a.issue("device"), g.address())))
		g.until("a session and a heartbeat", func() bool { return g.sessions == 1 && g.beat != nil })
		g.mu.Lock()
		hello := g.hellos[0]
		g.mu.Unlock()
		if hello.Board != name || hello.MaxFrame != 1024 || hello.Generation != 0 || hello.Boots != 1 || !strings.HasPrefix(hello.Firmware, "0.") {
			t.Errorf("hello is %+v", hello)
		}
		if board, _ := boards.Get(name); hello.Memory == nil || int64(hello.Memory.RAM) != board.AppMemoryBytes || int64(hello.Memory.Storage) < board.ModuleStorageBytes {
			t.Errorf("memory is %+v", hello.Memory)
		}
		g.hangUp()
		g.until("a resumed session", func() bool { return g.sessions == 2 && g.resumed == 1 })
	})
}

func dialConsole(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must(t, err)
	return conn
}
