// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// renewable is a board whose identity can be replaced while it runs.
type renewable struct {
	*rig
	id atomic.Pointer[Identity]
}

func newRenewable(t *testing.T, name, dir string) *renewable {
	a := newAuthority(t)
	r := &renewable{rig: &rig{g: newTestGateway(t, a), a: a}}
	first := a.identity(a.issue("first"), r.g.address())
	r.id.Store(&first)
	opts := boardOptions(t, name, dir, first)
	opts.Identity = func(context.Context) (Identity, error) { return *r.id.Load(), nil }
	r.testBoard = startBoard(t, opts)
	return r
}

func (r *renewable) renewTo(id Identity) {
	r.id.Store(&id)
	r.Renew()
}

// peer is the name in the certificate of the present connection.
func (g *testGateway) peer() string {
	if g.conn == nil || len(g.conn.ConnectionState().PeerCertificates) == 0 {
		return ""
	}
	return g.conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// await waits until the board has made another session, with this certificate.
func (r *renewable) await(g *testGateway, sessions int, peer string) {
	g.t.Helper()
	g.until("a session of "+peer, func() bool { return g.sessions >= sessions && g.peer() == peer })
}

// A renewed certificate is in the next handshake, and nothing on the board has started anew.
func TestRenewedIdentityReachesARunningBoard(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel()
		r := newRenewable(t, name, t.TempDir())
		r.g.want(r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		r.g.waitFor("blink", 1, protocol.PhaseRunning)
		r.g.until("a heartbeat", func() bool { return r.g.appMetricsLocked("blink").Fuel > 0 })
		fuel := r.g.appMetrics("blink").Fuel
		r.renewTo(r.a.identity(r.a.issue("second"), r.g.address()))
		eventually(t, "it is in the mailbox", func() string { return mailboxHolds(t, r.dir, r.id.Load().Key) })
		r.g.mu.Lock()
		sessions, peer := r.g.sessions, r.g.peer()
		r.g.mu.Unlock()
		if sessions != 1 || peer != "first" {
			t.Errorf("%d sessions, the last of %q: a renewal alone needs no new one", sessions, peer)
		}
		r.g.hangUp()
		r.await(r.g, 2, "second")
		r.g.waitFor("blink", 1, protocol.PhaseRunning)
		r.g.mu.Lock()
		boots, resumed := r.g.hellos[1].Boots, r.g.resumed
		r.g.beat = nil
		r.g.mu.Unlock()
		if boots != 1 || resumed != 0 {
			t.Errorf("boots %d, %d sessions resumed", boots, resumed)
		}
		r.g.until("a heartbeat", func() bool { return r.g.beat != nil })
		if now := r.g.appMetrics("blink").Fuel; now < fuel {
			t.Errorf("the app's fuel went from %d to %d: it was started anew", fuel, now)
		}
		// What resets the board by itself does not take the newer identity away.
		must(t, r.Reset())
		r.await(r.g, 3, "second")
	})
}

func mailboxHolds(t *testing.T, dir string, key []byte) string {
	content, err := os.ReadFile(filepath.Join(dir, nvFile))
	must(t, err)
	if len(content) != nvSize || !bytes.Contains(content[mailboxOffset:mailboxOffset+mailboxSize], key) {
		return "it is not"
	}
	return ""
}

// A gateway that has moved while the board could not reach any is found without a launch, and a new authority is
// trusted.
func TestMovedEndpointReachesARunningBoard(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel()
		r := newRenewable(t, name, t.TempDir())
		r.g.until("a session", func() bool { return r.g.sessions == 1 && r.g.beat != nil })
		r.g.listener.Close()
		r.g.hangUp()
		r.says(t, "cannot be reached", 3) // it has begun to wait longer
		other := newAuthority(t)
		moved := newTestGateway(t, other)
		begin := time.Now()
		r.renewTo(other.identity(other.issue("second"), moved.address()))
		r.await(moved, 1, "second")
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
		if s := r.Status(); s.Launches != 1 || moved.hellos[0].Boots != 1 {
			t.Errorf("launches %d, boots %d", s.Launches, moved.hellos[0].Boots)
		}
	})
}

// A record that is torn, or that cannot be used, is not taken; the next good one is.
func TestTornMailboxIsIgnored(t *testing.T) {
	r := newRenewable(t, "mps2-an385", t.TempDir())
	r.g.until("a session", func() bool { return r.g.sessions == 1 })
	torn := func(change func(slot []byte)) {
		slot := make([]byte, 2000)
		for i := range slot {
			slot[i] = byte(i)
		}
		change(slot)
		f, err := os.OpenFile(filepath.Join(r.dir, nvFile), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt(slot, mailboxOffset+slotSize)
		must(t, err)
	}
	for i, change := range []func([]byte){
		func(s []byte) { copy(s, "\x01\x00\x00\x00\x00\x04\x00\x00") },                   // wrong digest
		func(s []byte) { copy(s, "\x02\x00\x00\x00\xff\xff\xff\xff") },                   // longer than the mailbox
		func(s []byte) { copy(s, "\x03\x00\x00\x00\x00\x00\x00\x00") },                   // nothing
		func(s []byte) { copy(s, "\xff\xff\xff\x7f\x00\x10\x00\x00WBP1\x00\x10abcdef") }, // the longest that fits
	} {
		torn(change)
		r.g.hangUp()
		r.await(r.g, i+2, "first")
	}
	// Whole, but not an identity: back to the one of the launch.
	must(t, deliver(r.dir, []byte("WBP1 of nobody")))
	r.g.hangUp()
	r.await(r.g, 6, "first")
	for i := range 12 { // many renewals leave no memory behind
		name := string(rune('a' + i))
		r.renewTo(r.a.identity(r.a.issue(name), r.g.address()))
		eventually(t, "it is in the mailbox", func() string { return mailboxHolds(t, r.dir, r.id.Load().Key) })
		r.g.hangUp()
		r.await(r.g, 7+i, name)
	}
}

// A supervisor that takes a running board over hands it what was renewed meanwhile.
func TestAdoptedBoardGetsTheRenewedIdentity(t *testing.T) {
	firmware(t, "mps2-an385")
	a, dir := newAuthority(t), t.TempDir()
	pid := orphan(t, dir, "127.0.0.1:1")
	g := newTestGateway(t, a)
	g.config.ClientAuth = tls.RequireAnyClientCert
	b := startBoard(t, boardOptions(t, "mps2-an385", dir, a.identity(a.issue("renewed"), g.address())))
	g.until("a session", func() bool { return g.sessions == 1 })
	if s := b.Status(); s.PID != pid || !s.Adopted {
		t.Errorf("the status is %+v, the orphan was %d", s, pid)
	}
}
