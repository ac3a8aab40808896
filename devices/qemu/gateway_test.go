// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// eventually waits until check has nothing to complain about.
func eventually(t testing.TB, what string, check func() string) {
	t.Helper()
	var wrong string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if wrong = check(); wrong == "" {
			return
		}
	}
	t.Fatalf("%s: after %s still: %s", what, patience, wrong)
}

const serverName = "gateway.test"

// authority signs the certificates of one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	return a
}

func (a *authority) issue(name string, change ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	for _, c := range change {
		c(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// identity of a device that trusts this authority and connects to the address.
func (a *authority) identity(device tls.Certificate, endpoints ...string) Identity {
	a.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(device.PrivateKey)
	must(a.t, err)
	return Identity{Key: key, Certificates: device.Certificate, CAs: [][]byte{a.cert.Raw}, ServerName: serverName, Endpoints: endpoints}
}

// testGateway speaks the device protocol as a gateway does: one device at a time, in memory.
type testGateway struct {
	t        testing.TB
	listener net.Listener
	config   *tls.Config

	mu        sync.Mutex
	blobs     map[protocol.Digest][]byte
	desired   *protocol.Desired
	conn      *tls.Conn
	out       chan protocol.Frame
	sessions  int
	resumed   int
	hellos    []*protocol.Hello
	states    map[string]protocol.State
	history   []protocol.State // every state that was reported, in order
	beat      *protocol.Heartbeat
	logs      []*protocol.Log
	crashes   []*protocol.Crash
	failures  []string // why connections ended
	fetches   int
	interval  uint32                          // of heartbeats, in milliseconds
	pace      uint32                          // of reports, in milliseconds at least
	endpoints []string                        // of the welcome
	renewed   atomic.Pointer[tls.Certificate] // in the place of the first certificate
	ahead     time.Duration                   // of the time that the welcome tells
	// chunk may change what is sent; nil sends nothing more.
	chunk func(*protocol.Fetch, *protocol.Chunk) protocol.Frame
}

func newTestGateway(t testing.TB, a *authority) *testGateway {
	t.Helper()
	g := &testGateway{t: t, interval: 500, pace: 50, blobs: map[protocol.Digest][]byte{}, states: map[string]protocol.State{}}
	g.config = &tls.Config{Certificates: []tls.Certificate{a.issue(serverName)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool(),
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	g.config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return g.renewed.Load(), nil }
	var err error
	g.listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serving.Add(1)
	go func() {
		defer serving.Done()
		for {
			conn, err := g.listener.Accept()
			if err != nil {
				return
			}
			serving.Add(1)
			go func() {
				defer serving.Done()
				g.serve(tls.Server(conn, g.config))
			}()
		}
	}()
	t.Cleanup(func() {
		g.listener.Close()
		g.hangUp()
		serving.Wait()
	})
	return g
}

func (g *testGateway) address() string { return g.listener.Addr().String() }

// hangUp cuts the connection without a word.
func (g *testGateway) hangUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn != nil {
		g.conn.NetConn().Close()
	}
}

func (g *testGateway) serve(conn *tls.Conn) {
	defer conn.NetConn().Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		g.failed(err)
		return
	}
	out := make(chan protocol.Frame, 64)
	defer close(out)
	g.mu.Lock()
	if g.conn != nil {
		g.conn.NetConn().Close()
	}
	g.conn, g.out = conn, out
	if conn.ConnectionState().DidResume {
		g.resumed++
	}
	g.mu.Unlock()
	go g.write(conn, out)
	maxFrame := protocol.MinMaxFrame
	for {
		conn.SetReadDeadline(time.Now().Add(patience))
		body, err := protocol.ReadBody(conn, nil, maxFrame)
		if err != nil {
			g.failed(err)
			return
		}
		frame, err := protocol.Decode(body)
		if err != nil {
			g.failed(err)
			g.t.Errorf("the device sent %x: %v", body, err)
			return
		}
		maxFrame = 4096
		g.handle(frame, out)
	}
}

func (g *testGateway) write(conn *tls.Conn, out chan protocol.Frame) {
	for f := range out {
		limit := 1024
		if _, ok := f.(*protocol.Welcome); ok {
			limit = protocol.MinMaxFrame
		}
		b, err := protocol.AppendFrame(nil, f, limit)
		if err != nil {
			g.t.Errorf("test gateway: %v", err)
			return
		}
		conn.SetWriteDeadline(time.Now().Add(patience))
		conn.Write(b)
		if limit == protocol.MinMaxFrame { // what a test sends from now on comes after the welcome
			g.mu.Lock()
			g.sessions++
			g.mu.Unlock()
		}
	}
}

func (g *testGateway) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = append(g.failures, err.Error())
}

func (g *testGateway) handle(frame protocol.Frame, out chan protocol.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch f := frame.(type) {
	case *protocol.Hello:
		g.hellos = append(g.hellos, f)
		out <- &protocol.Welcome{Version: 1, MaxFrame: 4096, Time: uint64(time.Now().Add(g.ahead).UnixMilli()), Epoch: uint64(len(g.hellos)), HeartbeatInterval: g.interval, ReportInterval: g.pace, Endpoints: g.endpoints}
		if g.desired != nil && (f.Generation < g.desired.Generation) {
			out <- g.desired
		}
	case *protocol.Fetch:
		g.fetches++
		out <- g.answer(f)
	case *protocol.Report:
		if f.States.Document != nil {
			out <- &protocol.Fetch{Digest: f.States.Document.Digest, Length: 4000}
			return
		}
		g.took(f.States.List)
	case *protocol.Chunk:
		states, err := protocol.DecodeStates(f.Bytes)
		if err != nil {
			g.t.Errorf("document of states: %v", err)
		}
		g.took(states)
	case *protocol.Heartbeat:
		g.beat = f
		out <- &protocol.Heartbeat{}
	case *protocol.Log:
		g.logs = append(g.logs, f)
	case *protocol.Crash:
		g.crashes = append(g.crashes, f)
	case *protocol.Error:
		g.failures = append(g.failures, f.Text)
	}
}

func (g *testGateway) took(states []protocol.State) {
	g.states = map[string]protocol.State{}
	for _, s := range states {
		g.states[s.Name] = s
		g.history = append(g.history, s)
	}
}

func (g *testGateway) answer(f *protocol.Fetch) protocol.Frame {
	blob, ok := g.blobs[f.Digest]
	if !ok || f.Offset > uint32(len(blob)) {
		return &protocol.Error{Code: protocol.CodeNotFound, Fetch: &f.Digest}
	}
	n := min(f.Length, uint32(len(blob))-f.Offset, 1024-protocol.ChunkOverhead)
	c := &protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: blob[f.Offset : f.Offset+n], Size: uint32(len(blob))}
	if g.chunk != nil {
		return g.chunk(f, c)
	}
	return c
}

// send sends a frame over the present connection.
func (g *testGateway) send(f protocol.Frame) {
	g.t.Helper()
	b, err := protocol.AppendFrame(nil, f, 1024)
	must(g.t, err)
	g.sendRaw(b)
}

func (g *testGateway) sendRaw(b []byte) {
	g.t.Helper()
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := conn.Write(b)
	must(g.t, err)
}

// module puts a module into what can be fetched.
func (g *testGateway) module(b []byte) protocol.Digest {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := protocol.DigestOf(b)
	g.blobs[d] = b
	return d
}

// want makes the apps the desired state of the next generation.
func (g *testGateway) want(apps ...protocol.App) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortFunc(apps, func(a, b protocol.App) int { return strings.Compare(a.Name, b.Name) })
	d := &protocol.Desired{Generation: 1, Apps: protocol.AppSet{List: apps}}
	if g.desired != nil {
		d.Generation = g.desired.Generation + 1
	}
	if _, err := protocol.AppendFrame(nil, d, 1024); errors.Is(err, protocol.ErrTooLarge) {
		b, err := protocol.EncodeApps(apps)
		must(g.t, err)
		document := protocol.DocumentOf(b)
		g.blobs[document.Digest] = b
		d.Apps = protocol.AppSet{Document: &document}
	}
	g.desired = d
	if g.out != nil && g.sessions > 0 {
		defer func() { _ = recover() }() // the connection has just ended: the next hello gets it
		g.out <- d
	}
}

// app of a module.
func (g *testGateway) app(name string, spec uint64, module []byte, permissions ...string) protocol.App {
	d := g.module(module)
	memory, stack := uint32(16384), uint32(4096)
	return protocol.App{Name: name, Digest: d, Artifact: protocol.Artifact{Digest: d, Size: uint32(len(module))}, Spec: spec, Permissions: permissions,
		Limits: &protocol.AppLimits{Memory: &memory, Stack: &stack}}
}

// waitFor waits until the app's reported state is as wanted.
func (g *testGateway) waitFor(name string, spec uint64, phase protocol.Phase) protocol.State {
	g.t.Helper()
	var state protocol.State
	eventually(g.t, name+" is "+phase.String(), func() string {
		g.mu.Lock()
		defer g.mu.Unlock()
		s, ok := g.states[name]
		if !ok {
			return "it is not reported"
		}
		if s.Spec != spec || s.Phase != phase {
			return "it is " + s.Phase.String() + ": " + s.Reason.String() + ": " + s.Message
		}
		state = s
		return ""
	})
	return state
}

// logged waits for a line that contains text.
func (g *testGateway) until(what string, check func() bool) {
	g.t.Helper()
	eventually(g.t, what, func() string {
		g.mu.Lock()
		defer g.mu.Unlock()
		if check() {
			return ""
		}
		return "not yet"
	})
}
