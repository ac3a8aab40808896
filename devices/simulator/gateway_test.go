// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{cert, key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) issue(t testing.TB, uri string, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(t, err)
	id, err := url.Parse(uri)
	check(t, err)
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id}, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testGateway speaks the protocol over real TLS and does as it is told.
type testGateway struct {
	t        testing.TB
	address  string
	listener net.Listener
	config   *tls.Config
	wg       sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at each change
	conns      map[*testConn]bool
	welcome    protocol.Welcome
	refuse     protocol.Frame // instead of welcome
	modules    map[protocol.Digest][]byte
	generation uint64
	apps       []protocol.App
	onChunk    func(*protocol.Chunk) (send bool) // may change the chunk; false: the connection breaks instead

	hellos   []protocol.Hello
	resumed  int
	states   map[string]protocol.State
	reports  int
	reportAt uint64 // generation
	beats    []protocol.Heartbeat
	logs     []protocol.Log
	fetches  []protocol.Fetch
	document []byte
	docSize  uint32
	errors   []error
}

type testConn struct {
	gateway *testGateway
	conn    *tls.Conn
	hello   protocol.Hello
	writing sync.Mutex
}

func newTestGateway(t testing.TB, ca *authority) *testGateway {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	g := &testGateway{t: t, listener: listener, address: listener.Addr().String(), changed: make(chan struct{}), conns: map[*testConn]bool{},
		modules: map[protocol.Digest][]byte{}, states: map[string]protocol.State{},
		welcome: protocol.Welcome{Version: protocol.Version, MaxFrame: 4096, Time: uint64(time.Now().UnixMilli()), Epoch: 1, HeartbeatInterval: 200, ReportInterval: 10},
		config: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue(t, "wasmbed://gateway/test/test", ServerName)},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}}
	g.wg.Go(g.accept)
	t.Cleanup(g.stop)
	return g
}

func (g *testGateway) stop() {
	g.listener.Close()
	g.drop()
	g.wg.Wait()
}

// drop breaks all connections.
func (g *testGateway) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.conn.NetConn().Close()
	}
}

func (g *testGateway) accept() {
	for {
		raw, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.wg.Go(func() { g.serve(raw) })
	}
}

func (g *testGateway) serve(raw net.Conn) {
	defer raw.Close()
	c := &testConn{gateway: g, conn: tls.Server(raw, g.config)}
	if err := c.conn.Handshake(); err != nil {
		return
	}
	f, err := c.read()
	if err != nil {
		return
	}
	hello, ok := f.(*protocol.Hello)
	if !ok {
		g.fail(errors.New("the first frame is " + f.Type().String()))
		return
	}
	c.hello = *hello
	c.writing.Lock() // until welcome is sent, which is the first frame
	g.mu.Lock()
	g.hellos = append(g.hellos, *hello)
	if c.conn.ConnectionState().DidResume {
		g.resumed++
	}
	refuse, welcome := g.refuse, g.welcome
	if refuse == nil {
		g.conns[c] = true
	}
	g.note()
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, c)
		g.note()
	}()
	var first protocol.Frame = &welcome
	if refuse != nil {
		first = refuse
	}
	frame, err := protocol.AppendFrame(nil, first, protocol.MinMaxFrame)
	if err == nil {
		_, err = c.conn.Write(frame)
	}
	c.writing.Unlock()
	if err != nil || refuse != nil {
		return
	}
	c.tell()
	for {
		f, err := c.read()
		if err != nil {
			return
		}
		c.handle(f)
	}
}

func (c *testConn) read() (protocol.Frame, error) {
	c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	body, err := protocol.ReadBody(c.conn, nil, int(c.gateway.welcome.MaxFrame))
	if err != nil {
		return nil, err
	}
	f, err := protocol.Decode(body)
	if err != nil {
		c.gateway.fail(err)
	}
	return f, err
}

func (c *testConn) send(f protocol.Frame) {
	frame, err := protocol.AppendFrame(nil, f, int(c.hello.MaxFrame))
	if err != nil {
		c.gateway.fail(err)
		return
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.Write(frame)
}

// tell sends the desired state when the device holds another one.
func (c *testConn) tell() {
	g := c.gateway
	g.mu.Lock()
	generation, apps := g.generation, g.apps
	encoded, err := protocol.EncodeApps(apps)
	if err != nil {
		g.mu.Unlock()
		g.fail(err)
		return
	}
	digest := protocol.DigestOf(encoded)
	g.modules[digest] = encoded
	g.mu.Unlock()
	if generation == 0 || c.hello.Apps != nil && *c.hello.Apps == digest && c.hello.Generation == generation {
		return
	}
	f := &protocol.Desired{Generation: generation, Apps: protocol.AppSet{List: apps}}
	if _, err := protocol.AppendFrame(nil, f, int(c.hello.MaxFrame)); err != nil {
		doc := protocol.DocumentOf(encoded)
		f.Apps = protocol.AppSet{Document: &doc}
	}
	c.send(f)
}

func (c *testConn) handle(f protocol.Frame) {
	g := c.gateway
	switch f := f.(type) {
	case *protocol.Fetch:
		c.chunk(f)
	case *protocol.Report:
		g.mu.Lock()
		g.reportAt = f.Generation
		if f.States.Document != nil {
			g.document, g.docSize = nil, f.States.Document.Size
			g.mu.Unlock()
			c.send(&protocol.Fetch{Digest: f.States.Document.Digest, Length: 300})
			return
		}
		g.take(f.States.List)
		g.mu.Unlock()
	case *protocol.Chunk:
		g.mu.Lock()
		g.document = append(g.document, f.Bytes...)
		have := uint32(len(g.document))
		if have == g.docSize {
			if states, err := protocol.DecodeStates(g.document); err == nil {
				g.take(states)
			}
		}
		g.mu.Unlock()
		if have < f.Size {
			c.send(&protocol.Fetch{Digest: f.Digest, Offset: have, Length: 300})
		}
	case *protocol.Heartbeat:
		g.mu.Lock()
		g.beats = append(g.beats, *f)
		g.note()
		g.mu.Unlock()
		c.send(&protocol.Heartbeat{})
	case *protocol.Log:
		g.mu.Lock()
		g.logs = append(g.logs, *f)
		g.note()
		g.mu.Unlock()
	}
}

// take stores reported states. The caller holds mu.
func (g *testGateway) take(states []protocol.State) {
	g.states = map[string]protocol.State{}
	for _, s := range states {
		g.states[s.Name] = s
	}
	g.reports++
	g.note()
}

func (c *testConn) chunk(f *protocol.Fetch) {
	g := c.gateway
	g.mu.Lock()
	g.fetches = append(g.fetches, *f)
	module, ok := g.modules[f.Digest]
	onChunk := g.onChunk
	g.mu.Unlock()
	if !ok {
		c.send(&protocol.Error{Code: protocol.CodeNotFound, Fetch: &f.Digest})
		return
	}
	end := min(len(module), int(f.Offset)+int(f.Length))
	chunk := &protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: append([]byte{}, module[f.Offset:end]...), Size: uint32(len(module))}
	if onChunk != nil && !onChunk(chunk) {
		c.conn.NetConn().Close()
		return
	}
	c.send(chunk)
}

// desire makes a new generation and tells every device that is connected.
func (g *testGateway) desire(apps ...protocol.App) {
	g.mu.Lock()
	g.generation++
	g.apps = apps
	var conns []*testConn
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.tell()
	}
}

func (g *testGateway) broadcast(f protocol.Frame) {
	g.mu.Lock()
	var conns []*testConn
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.send(f)
	}
}

// note wakes those who wait. The caller holds mu.
func (g *testGateway) note() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *testGateway) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errors = append(g.errors, err)
	g.note()
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// wait polls ok, with mu held, at every change.
func (g *testGateway) wait(what string, ok func() bool) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		g.mu.Lock()
		done, changed, errs := ok(), g.changed, g.errors
		g.mu.Unlock()
		if len(errs) > 0 {
			g.t.Fatalf("the device sent what the protocol does not allow: %v", errs)
		}
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			g.mu.Lock()
			defer g.mu.Unlock()
			g.t.Fatalf("waited in vain until %s; states %+v, %d hellos, logs %v", what, g.states, len(g.hellos), g.logs)
		}
	}
}

// phase waits until an app is reported so.
func (g *testGateway) phase(name string, phase protocol.Phase) protocol.State {
	g.t.Helper()
	var state protocol.State
	g.wait(name+" is "+phase.String(), func() bool {
		s, ok := g.states[name]
		state = s
		return ok && s.Phase == phase && g.reportAt == g.generation
	})
	return state
}
