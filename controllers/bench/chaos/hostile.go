// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"time"

	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway/protocol"
)

// liar is a device of the fleet whose key its Device pins, and which nobody should trust for that.
type liar struct {
	certificate tls.Certificate
	key         string // as Device.spec.keys has it
}

func newLiar() (*liar, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(crand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &liar{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, pki.PublicKey(leaf)}, nil
}

// dial connects as the liar does: it does not care who the gateway is.
func (l *liar) dial(address string) (*tls.Conn, error) {
	raw, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, InsecureSkipVerify: true, //nolint:gosec // a hostile device
		ServerName: pki.ServerName, Certificates: []tls.Certificate{l.certificate}})
	if err := conn.Handshake(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// session is a connection on which the liar said hello.
func (l *liar) session(address string, generation uint64) (*tls.Conn, error) {
	conn, err := l.dial(address)
	if err != nil {
		return nil, err
	}
	digest := protocol.DigestOf([]byte("nothing"))
	hello := &protocol.Hello{Version: protocol.Version, MaxFrame: 1024, Board: "sim-m4", Firmware: "liar", Generation: generation, Boots: 1}
	if generation > 0 {
		hello.Apps = &digest
	}
	if err := send(conn, hello); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func send(conn net.Conn, f protocol.Frame) error {
	b, err := protocol.AppendFrame(nil, f, protocol.MaxFrame)
	if err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

// tricks are what hostile devices do to a gateway. None of them needs to succeed.
var tricks = []struct {
	name string
	do   func(l *liar, address string)
}{
	{"reports what nobody asked for", func(l *liar, address string) {
		l.with(address, 1<<40, func(conn *tls.Conn) {
			digest := protocol.DigestOf([]byte("ghost"))
			for _, app := range []string{"ghost", "first", "second"} {
				for generation := range uint64(4) {
					_ = send(conn, &protocol.Report{Generation: generation, States: protocol.StateSet{List: []protocol.State{
						{Name: app, Phase: protocol.PhaseRunning, Spec: 1 << 20, Digest: &digest},
					}}})
				}
			}
			time.Sleep(500 * time.Millisecond)
		})
	}},
	{"sends a huge frame", func(l *liar, address string) {
		l.with(address, 0, func(conn *tls.Conn) {
			_, _ = conn.Write([]byte{0xff, 0xff, 0x82, 1})
			time.Sleep(200 * time.Millisecond)
		})
	}},
	{"tears a frame", func(l *liar, address string) {
		l.with(address, 0, func(conn *tls.Conn) { _, _ = conn.Write([]byte{0, 90, 0x82}) })
	}},
	{"stalls in a frame", func(l *liar, address string) {
		l.with(address, 0, func(conn *tls.Conn) { _, _ = conn.Write([]byte{0}); time.Sleep(4 * time.Second) })
	}},
	{"sends nonsense", func(l *liar, address string) {
		l.with(address, 0, func(conn *tls.Conn) { _, _ = conn.Write([]byte("\x00\x08\xff\xff\xff\xff\xff\xff\xff\xff")) })
	}},
	{"floods", func(l *liar, address string) {
		l.with(address, 0, func(conn *tls.Conn) {
			for range 2000 {
				if send(conn, &protocol.Log{App: "x", Text: "flood"}) != nil {
					return
				}
			}
		})
	}},
	{"reconnects in a loop", func(l *liar, address string) {
		for range 30 {
			if conn, err := l.session(address, 0); err == nil {
				_ = conn.NetConn().Close()
			}
		}
	}},
	{"holds handshakes", func(_ *liar, address string) {
		for range 50 {
			if raw, err := net.DialTimeout("tcp", address, time.Second); err == nil {
				time.AfterFunc(3*time.Second, func() { _ = raw.Close() })
			}
		}
	}},
	{"does not speak TLS", func(_ *liar, address string) {
		if raw, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_, _ = raw.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			_ = raw.Close()
		}
	}},
	{"has a key that nobody knows", func(_ *liar, address string) {
		if stranger, err := newLiar(); err == nil {
			stranger.with(address, 0, func(*tls.Conn) {})
		}
	}},
}

// with does something on a new session and closes it.
func (l *liar) with(address string, generation uint64, do func(conn *tls.Conn)) {
	conn, err := l.session(address, generation)
	if err != nil {
		return
	}
	defer func() { _ = conn.NetConn().Close() }()
	do(conn)
}
