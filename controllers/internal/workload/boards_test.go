// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/qemu"
	"wasmbed.dev/gateway/protocol"
)

var boardNames = []string{"mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505"}

// slow waits for what emulated boards do on a busy machine.
func slow(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// firmwareDir has BOARD.elf for each board.
func firmwareDir(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..", "..", "firmware")
	if out, err := exec.Command("make", "-s", "-C", root, "all").CombinedOutput(); err != nil {
		t.Fatalf("make -C firmware: %v\n%s", err, out)
	}
	dir := t.TempDir()
	for _, name := range boardNames {
		elf, err := filepath.Abs(filepath.Join(root, "build", name, "firmware.elf"))
		check(t, err)
		check(t, os.Symlink(elf, filepath.Join(dir, name+".elf")))
	}
	return dir
}

// runBoards runs virtual boards as their own user until the returned function is called.
func (s *site) runBoards(firmware string) (stop func()) {
	s.t.Helper()
	config, err := cluster.ForUser(v1alpha1.UserBoards)
	check(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- RunBoards(ctx, BoardsOptions{Config: config, StateDir: s.stateDir, FirmwareDir: firmware, Log: logr.Discard()})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the boards ended with %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// board makes a Device with a virtual board, named like it.
func (s *site) board(name, gateway string) {
	s.t.Helper()
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Spec: v1alpha1.DeviceSpec{Board: name, Backend: v1alpha1.BackendQEMU}}
	check(s.t, s.client.Create(s.t.Context(), d))
	s.boardIdentity(name, s.issue(pki.DeviceIdentity(s.namespace, name)), s.bundle)
	d.Status.Identity, d.Status.Gateway = pki.SecretName(pki.DeviceIdentity(s.namespace, name)), gateway
	check(s.t, s.client.Status().Update(s.t.Context(), d))
}

// boardIdentity makes or replaces the Secret of a board.
func (s *site) boardIdentity(name string, pair *pki.Pair, bundle *pki.Bundle) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.IdentityNamespace, Name: pki.SecretName(pki.DeviceIdentity(s.namespace, name)),
		Labels: map[string]string{v1alpha1.LabelIdentity: v1alpha1.IdentityDevice, v1alpha1.LabelBackend: strings.ToLower(string(v1alpha1.BackendQEMU))}}, Data: pki.SecretData(pair, bundle)}
	var old corev1.Secret
	if err := s.client.Get(s.t.Context(), client.ObjectKeyFromObject(secret), &old); err == nil {
		old.Data = secret.Data
		check(s.t, s.client.Update(s.t.Context(), &old))
		return
	}
	check(s.t, s.client.Create(s.t.Context(), secret))
}

func (s *site) backend(name string) v1alpha1.DeviceBackend {
	s.t.Helper()
	var d v1alpha1.Device
	check(s.t, s.client.Get(s.t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, &d))
	if d.Status.Backend == nil {
		return v1alpha1.DeviceBackend{}
	}
	return *d.Status.Backend
}

// process of a board, 0 when it has none.
func (s *site) process(name string) int {
	s.t.Helper()
	records, _ := filepath.Glob(filepath.Join(s.stateDir, s.namespace, name, "*", "process.json"))
	if len(records) != 1 {
		return 0
	}
	content, err := os.ReadFile(records[0])
	check(s.t, err)
	var record struct{ PID int }
	check(s.t, json.Unmarshal(content, &record))
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", record.PID)); err != nil {
		return 0
	}
	return record.PID
}

// wire is what lies between boards and their gateway: it can stall after so many bytes for a board, turn a bit of them
// over, and break.
type wire struct {
	listener net.Listener
	target   string
	limit    atomic.Int64 // bytes for the board after which a connection stalls; 0: none
	flip     atomic.Int64 // bytes after which a bit is turned over; 0: never
	flips    atomic.Int64 // how many connections still get that
	passed   atomic.Int64 // bytes for boards
	stalled  atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w := &wire{listener: listener, target: target, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		w.cut()
		serving.Wait()
	})
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

// cut breaks all connections without a word.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.conns {
		conn.Close()
	}
}

func (w *wire) carry(board net.Conn) {
	gateway, err := net.Dial("tcp", w.target)
	if err != nil {
		board.Close()
		return
	}
	for _, conn := range []net.Conn{board, gateway} {
		w.mu.Lock()
		w.conns[conn] = true
		w.mu.Unlock()
		defer func() {
			conn.Close()
			w.mu.Lock()
			delete(w.conns, conn)
			w.mu.Unlock()
		}()
	}
	gone := make(chan struct{})
	go func() { // the board's side
		defer close(gone)
		defer gateway.Close()
		buf := make([]byte, 2048)
		for {
			n, err := board.Read(buf)
			if err != nil {
				return
			}
			if _, err := gateway.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	w.toBoard(board, gateway, gone)
	board.Close()
	<-gone
}

func (w *wire) toBoard(board, gateway net.Conn, gone chan struct{}) {
	buf, here := make([]byte, 2048), int64(0)
	for {
		n, err := gateway.Read(buf)
		if err != nil {
			return
		}
		before := here
		here += int64(n)
		w.passed.Add(int64(n))
		if at := w.flip.Load(); at > 0 && before < at && here >= at && w.flips.Add(-1) >= 0 {
			buf[n/2] ^= 1
		}
		if limit := w.limit.Load(); limit > 0 && here >= limit {
			w.stalled.Add(1)
			<-gone
			w.stalled.Add(-1)
			return
		}
		if _, err := board.Write(buf[:n]); err != nil {
			return
		}
	}
}

// heavy is the blinking light with 100 KB of ballast.
func (l *line) heavy(device string) v1alpha1.InstanceSpec {
	spec := l.spec(device, "heavy", "blink")
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "apps", "blink", "blink.wasm"))
	check(l.t, err)
	content = append(content, 0, 0x80, 0xa0, 0x06, 1, 'x') // a custom section of 102,400 bytes
	ballast := make([]byte, 102398)
	for i := range ballast {
		ballast[i] = byte(i * i >> 3)
	}
	content = append(content, ballast...)
	_, err = l.store.Put(content)
	check(l.t, err)
	spec.Digest, spec.Size = protocol.DigestOf(content).String(), int64(len(content))
	return spec
}

func (l *line) boots(name string) int64 {
	if c := l.connection(name); c != nil {
		return c.Boots
	}
	return 0
}

// TestVirtualBoards drives one board of each type from its objects through the real gateway, and does to the line what
// happens to lines.
func TestVirtualBoards(t *testing.T) {
	firmware := firmwareDir(t)
	l := newLine(t)
	w, elsewhere := newWire(t, l.options.Listen), newWire(t, l.options.Listen)
	l.endpoints(w.address())
	l.runBoards(firmware)
	for _, name := range boardNames {
		l.board(name, l.key)
		l.create(l.spec(name, "blink", "blink"))
	}
	l.running("blink")
	step := func(name string, run func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, func(t *testing.T) {
				outer := l.t
				l.t = t
				defer func() { l.t = outer }()
				run(t)
			})
		}
	}
	step("faults in the middle of a fetch", func(t *testing.T) { l.faultsInAFetch(w) })
	step("renewed identities", func(t *testing.T) { l.renewsIdentities(w) })
	step("wrong certificates, both ways", func(t *testing.T) { l.refusesWrongCertificates(w) })
	step("the gateway moves while nobody reaches it", func(t *testing.T) {
		w.listener.Close()
		w.cut()
		slow(t, "all are seen to be away", func() bool { return l.connected() == 0 })
		l.endpoints(elsewhere.address())
		slow(t, "all have found it", func() bool { return l.connected() == len(boardNames) })
		l.nothingStartedAnew(2) // the power cut of the fetch was the last start
	})
	step("power and deletion", func(t *testing.T) { l.switchesAndDeletes() })
}

func (l *line) endpoints(addresses ...string) {
	l.t.Helper()
	var g v1alpha1.Gateway
	check(l.t, l.client.Get(l.t.Context(), types.NamespacedName{Namespace: l.namespace, Name: "edge"}, &g))
	before := g.DeepCopy()
	g.Spec.Endpoints = addresses
	check(l.t, l.client.Patch(l.t.Context(), &g, client.MergeFrom(before)))
	until(l.t, "the gateway tells its endpoints", func() bool {
		check(l.t, l.client.Get(l.t.Context(), client.ObjectKeyFromObject(&g), &g))
		return len(g.Status.Endpoints) == len(addresses) && g.Status.Endpoints[0] == addresses[0]
	})
}

// running waits until the app runs on every board.
func (l *line) running(app string) {
	l.t.Helper()
	for _, name := range boardNames {
		slow(l.t, app+" runs on "+name, func() bool {
			i := l.instance(app, name)
			return i.Status.ObservedGeneration == i.Generation && i.Status.Phase == v1alpha1.InstanceRunning
		})
	}
}

func (l *line) connected() (n int) {
	for _, name := range boardNames {
		if c := l.connection(name); c != nil && c.Connected {
			n++
		}
	}
	return n
}

// nothingStartedAnew: every board has booted that often, and blink was not restarted.
func (l *line) nothingStartedAnew(boots int64) {
	l.t.Helper()
	for _, name := range boardNames {
		if got := l.boots(name); got != boots || l.instance("blink", name).Status.Restarts != 0 {
			l.t.Errorf("%s: %d boots, want %d; blink %+v", name, got, boots, l.instance("blink", name).Status)
		}
	}
}

func (l *line) faultsInAFetch(w *wire) {
	all := func() bool { return w.stalled.Load() == int64(len(boardNames)) }
	w.limit.Store(40000)
	w.cut() // counts from new connections on
	for _, name := range boardNames {
		l.create(l.heavy(name))
	}
	slow(l.t, "the fetch of all stalls", all)

	w.limit.Store(30000)
	w.cut() // as when the gateway is killed
	l.stop()
	l.startGateway()
	slow(l.t, "the fetch of all stalls again", all)

	// The power fails, and nobody serves modules any more but the gateway.
	l.stopStore()
	pids := map[string]int{}
	for _, name := range boardNames {
		pids[name] = l.process(name)
		check(l.t, killProcess(pids[name]))
	}
	w.cut()
	w.limit.Store(0)
	w.flip.Store(20000)
	w.flips.Store(int64(len(boardNames)))
	w.passed.Store(0)
	l.running("heavy")
	if each := w.passed.Load() / int64(len(boardNames)); each > 80000 {
		l.t.Errorf("%d bytes went to each board after 60 KB had arrived and the power failed: it did not go on", each)
	}
	if w.flips.Load() > 0 {
		l.t.Errorf("%d boards got no corrupted byte", w.flips.Load())
	}
	for _, name := range boardNames {
		if pid := l.process(name); pid == 0 || pid == pids[name] {
			l.t.Errorf("%s: process %d after %d was killed", name, pid, pids[name])
		}
	}
	l.nothingStartedAnew(2)
}

// renewsIdentities: boards take them over for the next connection, and nothing starts anew.
func (l *line) renewsIdentities(w *wire) {
	launches, sessions := map[string]int64{}, map[string]int{}
	for _, name := range boardNames {
		launches[name] = l.backend(name).Launches
		l.boardIdentity(name, l.issue(pki.DeviceIdentity(l.namespace, name)), l.bundle)
	}
	for _, name := range boardNames {
		slow(l.t, name+" has taken its identity over", func() bool {
			if !strings.Contains(l.console(name), "identity renewed") {
				w.cut() // it looks when it has to connect
				time.Sleep(time.Second)
				return false
			}
			sessions[name] = strings.Count(l.console(name), "session with")
			return true
		})
	}
	w.cut()
	for _, name := range boardNames {
		slow(l.t, name+" is back", func() bool { return strings.Count(l.console(name), "session with") > sessions[name] })
		if got := l.backend(name).Launches; got != launches[name] {
			l.t.Errorf("%s was launched %d times, before %d", name, got, launches[name])
		}
	}
	l.nothingStartedAnew(2)
}

// refusesWrongCertificates: devices of a strange authority, and devices that trust one only.
func (l *line) refusesWrongCertificates(w *wire) {
	strange, err := pki.NewAuthority("strange", time.Hour, time.Now())
	check(l.t, err)
	bundle, err := pki.ParseBundle(strange.CertPEM)
	check(l.t, err)
	good := map[string]*pki.Pair{}
	for k, name := range boardNames {
		id := pki.DeviceIdentity(l.namespace, name)
		good[name] = l.issue(id)
		foreign, err := strange.Issue(pki.Request{Identity: id, Validity: time.Hour}, time.Now())
		check(l.t, err)
		if k%2 == 0 {
			l.boardIdentity(name, foreign, l.bundle)
		} else {
			l.boardIdentity(name, good[name], bundle)
		}
	}
	slow(l.t, "none is let in", func() bool { w.cut(); time.Sleep(time.Second); return l.connected() == 0 })
	for k, name := range boardNames { // the other way round
		id := pki.DeviceIdentity(l.namespace, name)
		foreign, err := strange.Issue(pki.Request{Identity: id, Validity: time.Hour}, time.Now())
		check(l.t, err)
		if k%2 == 1 {
			l.boardIdentity(name, foreign, l.bundle)
		} else {
			l.boardIdentity(name, good[name], bundle)
		}
	}
	for _, name := range boardNames {
		says := "its certificate is not trusted"
		slow(l.t, name+" refuses the gateway", func() bool { return strings.Contains(l.console(name), says) })
	}
	slow(l.t, "none is let in", func() bool { return l.connected() == 0 })
	for _, name := range boardNames {
		l.boardIdentity(name, good[name], l.bundle)
	}
	slow(l.t, "all are back", func() bool { return l.connected() == len(boardNames) })
	l.nothingStartedAnew(2)
}

func (l *line) console(name string) string {
	logs, _ := filepath.Glob(filepath.Join(l.stateDir, l.namespace, name, "*", "console.log*"))
	var text strings.Builder
	for _, log := range logs {
		content, _ := os.ReadFile(log)
		text.Write(content)
	}
	return text.String()
}

func (l *line) switchesAndDeletes() {
	pids := map[string]int{}
	for _, name := range boardNames {
		pids[name] = l.process(name)
		l.power(name, v1alpha1.PowerOff)
	}
	for _, name := range boardNames {
		slow(l.t, name+" is off", func() bool { return l.backend(name).Phase == string(qemu.PhaseStopped) && !exists(pids[name]) })
	}
	slow(l.t, "all are seen to be away", func() bool { return l.connected() == 0 })
	for _, name := range boardNames {
		l.power(name, v1alpha1.PowerOn)
	}
	for _, name := range boardNames {
		slow(l.t, name+" has booted again", func() bool { return l.boots(name) == 3 && l.connected() == len(boardNames) })
		pids[name] = l.process(name)
	}
	l.running("blink")
	for _, name := range boardNames {
		check(l.t, l.client.Delete(l.t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: name}}))
	}
	slow(l.t, "nothing is left of them", func() bool {
		left, err := filepath.Glob(filepath.Join(l.stateDir, l.namespace, "*"))
		check(l.t, err)
		for _, pid := range pids {
			if exists(pid) {
				return false
			}
		}
		return len(left) == 0
	})
}

func exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

func killProcess(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil || pid <= 1 {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return p.Kill()
}

// What keeps a board from running is in its Device's status, in words that say what to do.
func TestWhatABoardLacksIsTold(t *testing.T) {
	s := newSite(t)
	gateway := s.gateway("first")
	script := func(text string) string {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, qemu.Program), []byte("#!/bin/sh\n"+text), 0o700))
		return dir
	}
	elves := t.TempDir()
	check(t, os.WriteFile(filepath.Join(elves, "mps2-an386.elf"), []byte("\x7fELF"), 0o600))
	for i, c := range []struct {
		path, firmware string
		reason, says   string
	}{
		{t.TempDir(), elves, qemu.ReasonQEMUMissing, "install"},
		{script("echo QEMU emulator version 4.2.1"), elves, qemu.ReasonQEMUTooOld, "4.2"},
		{script(`case "$1" in --version) echo QEMU emulator version 7.2.0;; *) echo none is supported;; esac`), elves, qemu.ReasonMachineUnknown, "mps2-an386"},
		{os.Getenv("PATH"), t.TempDir(), qemu.ReasonFirmwareMissing, "make -C firmware"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			s.t = t
			t.Setenv("PATH", c.path)
			stop := s.runBoards(c.firmware)
			name := fmt.Sprintf("board-%d", i)
			d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Spec: v1alpha1.DeviceSpec{Board: "mps2-an386", Backend: v1alpha1.BackendQEMU}}
			check(t, s.client.Create(t.Context(), d))
			s.boardIdentity(name, s.issue(pki.DeviceIdentity(s.namespace, name)), s.bundle)
			d.Status.Identity, d.Status.Gateway = pki.SecretName(pki.DeviceIdentity(s.namespace, name)), gateway.key()
			check(t, s.client.Status().Update(t.Context(), d))
			until(t, "its status says "+c.reason, func() bool { return s.backend(name).Reason == c.reason })
			if b := s.backend(name); !strings.Contains(b.Message, c.says) || b.Phase != string(qemu.PhaseWaiting) {
				t.Errorf("the status is %+v", b)
			}
			stop()
			check(t, s.client.Delete(context.Background(), d))
		})
	}
}
