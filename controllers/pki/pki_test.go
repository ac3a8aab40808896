// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newAuthority(t *testing.T, name string) *Authority {
	t.Helper()
	authority, err := NewAuthority(name, AuthorityValidity, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func bundleOf(t *testing.T, authorities ...*Authority) *Bundle {
	t.Helper()
	var content []byte
	for _, authority := range authorities {
		content = append(content, authority.CertPEM...)
	}
	bundle, err := ParseBundle(content)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func issue(t *testing.T, authority *Authority, request Request, now time.Time) *Pair {
	t.Helper()
	pair, err := authority.Issue(request, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func credentials(t *testing.T, authority *Authority, bundle *Bundle, request Request) *Credentials {
	t.Helper()
	held, err := ParseCredentials(SecretData(issue(t, authority, request, epoch), bundle))
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func stateOf(certs ...*x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: certs}
}

func TestURIs(t *testing.T) {
	label := strings.Repeat("a", 63)
	for uri, want := range map[string]Identity{
		"wasmbed://device/default/sensor-3":          DeviceIdentity("default", "sensor-3"),
		"wasmbed://gateway/edge/g1":                  GatewayIdentity("edge", "g1"),
		"wasmbed://client/controllers":               ClientIdentity("controllers"),
		"wasmbed://device/" + label + "/" + label:    DeviceIdentity(label, label),
		"wasmbed://device/default/sensor-3/":         {},
		"wasmbed://device/default//sensor-3":         {},
		"wasmbed://device//sensor-3":                 {},
		"wasmbed://device/default":                   {},
		"wasmbed://device/default/../admin":          {},
		"wasmbed://device/default/a%2Fb":             {},
		"wasmbed://device/default/sensor-3?x=1":      {},
		"wasmbed://device/default/sensor-3#x":        {},
		"wasmbed://user@device/default/sensor-3":     {},
		"wasmbed://device:443/default/sensor-3":      {},
		"wasmbed://DEVICE/default/sensor-3":          {},
		"WASMBED://device/default/sensor-3":          {},
		"wasmbed:device/default/sensor-3":            {},
		"https://device/default/sensor-3":            {},
		"wasmbed://device/default/Sensor":            {},
		"wasmbed://device/default/-a":                {},
		"wasmbed://device/default/a.b":               {},
		"wasmbed://device/default/a\x00":             {},
		"wasmbed://device/" + label + "a/x":          {},
		"wasmbed://root/default/x":                   {},
		"wasmbed://client/default/x":                 {},
		"wasmbed://gateway/x":                        {},
		"wasmbed://":                                 {},
		"":                                           {},
		"wasmbed://" + strings.Repeat("a/", 100_000): {},
	} {
		got, err := ParseURI(uri)
		if got != want {
			t.Errorf("ParseURI(%.80q) = %+v, want %+v", uri, got, want)
		}
		if (err != nil) != (want == Identity{}) || err != nil && !errors.Is(err, ErrNoIdentity) {
			t.Errorf("ParseURI(%.80q): error %v", uri, err)
		}
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("error of %d bytes repeats what the peer sent", len(err.Error()))
		}
		if err == nil && got.URI() != uri {
			t.Errorf("%+v.URI() = %q, want %q", got, got.URI(), uri)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("wasmbed://device/default/sensor-3")
	f.Add("wasmbed://client/x")
	f.Fuzz(func(t *testing.T, uri string) {
		if id, err := ParseURI(uri); err == nil && id.URI() != uri {
			t.Errorf("%q reads as %q", uri, id.URI())
		}
	})
}

func TestIssueRefusesNamesThatWouldNotReadBack(t *testing.T) {
	authority := newAuthority(t, "a")
	for _, id := range []Identity{
		{}, {Device, "", "x"}, {Device, "a", ""}, {Device, "a/b", "c"}, {Client, "ns", "x"}, {"root", "a", "b"},
		{Device, "a", "b?c"}, {Device, "a", strings.Repeat("b", 64)},
	} {
		if _, err := authority.Issue(Request{Identity: id}, epoch); !errors.Is(err, ErrNoIdentity) {
			t.Errorf("Issue(%+v): %v", id, err)
		}
	}
}

// Certificates of one genuine authority, checked by what they may be used for.
func TestVerification(t *testing.T) {
	ours, theirs := newAuthority(t, "same name"), newAuthority(t, "same name")
	bundle := bundleOf(t, ours)
	device := Request{Identity: DeviceIdentity("default", "d")}
	gateway := Request{Identity: GatewayIdentity("default", "g"), Serving: true}

	type check func(cert *x509.Certificate, now time.Time) (Identity, error)
	asClient := func(kinds ...Kind) check {
		return func(cert *x509.Certificate, now time.Time) (Identity, error) {
			return bundle.VerifyClient(stateOf(cert), now, kinds...)
		}
	}
	asServer := func(name string) check {
		return func(cert *x509.Certificate, now time.Time) (Identity, error) {
			return bundle.VerifyServer(stateOf(cert), name, now, Gateway)
		}
	}
	for name, test := range map[string]struct {
		cert  *x509.Certificate
		check check
		at    time.Time
		want  error
	}{
		"a device is a client":               {issue(t, ours, device, epoch).Certificate, asClient(Device), epoch, nil},
		"a gateway is a client too":          {issue(t, ours, gateway, epoch).Certificate, asClient(Gateway, Client), epoch, nil},
		"a gateway serves":                   {issue(t, ours, gateway, epoch).Certificate, asServer(ServerName), epoch, nil},
		"a gateway serves emulated boards":   {issue(t, ours, gateway, epoch).Certificate, asServer("10.0.2.2"), epoch, nil},
		"another server name is refused":     {issue(t, ours, gateway, epoch).Certificate, asServer("example.org"), epoch, ErrUntrusted},
		"a device may not serve":             {issue(t, ours, device, epoch).Certificate, asServer(ServerName), epoch, ErrUntrusted},
		"a device is no gateway":             {issue(t, ours, device, epoch).Certificate, asClient(Gateway, Client), epoch, ErrWrongKind},
		"a clock that is behind a little":    {issue(t, ours, device, epoch).Certificate, asClient(Device), epoch.Add(-30 * time.Minute), nil},
		"not valid yet":                      {issue(t, ours, device, epoch).Certificate, asClient(Device), epoch.Add(-2 * Backdate), ErrUntrusted},
		"the last second":                    {issue(t, ours, device, epoch).Certificate, asClient(Device), epoch.Add(LeafValidity), nil},
		"expired":                            {issue(t, ours, device, epoch).Certificate, asClient(Device), epoch.Add(LeafValidity + time.Second), ErrUntrusted},
		"another authority of the same name": {issue(t, theirs, device, epoch).Certificate, asClient(Device), epoch, ErrUntrusted},
		"the authority itself":               {ours.Certificate, asClient(Device), epoch, ErrUntrusted},
		"an authority that signed itself":    {theirs.Certificate, asClient(Device), epoch, ErrUntrusted},
		"no URI":                             {hostile(t, ours), asClient(Device), epoch, ErrNoIdentity},
		"two URIs":                           {hostile(t, ours, "wasmbed://device/a/b", "wasmbed://device/a/c"), asClient(Device), epoch, ErrNoIdentity},
		"the same URI twice":                 {hostile(t, ours, "wasmbed://device/a/b", "wasmbed://device/a/b"), asClient(Device), epoch, ErrNoIdentity},
		"an escaped slash":                   {hostile(t, ours, "wasmbed://device/a/b%2Fc"), asClient(Device), epoch, ErrNoIdentity},
		"an escaped letter":                  {hostile(t, ours, "wasmbed://device/a/%62"), asClient(Device), epoch, ErrNoIdentity},
		"a user in the URI":                  {hostile(t, ours, "wasmbed://x@device/a/b"), asClient(Device), epoch, ErrNoIdentity},
		"an opaque URI":                      {hostile(t, ours, "wasmbed:device/a/b"), asClient(Device), epoch, ErrNoIdentity},
		"an empty query":                     {hostile(t, ours, "wasmbed://device/a/b?"), asClient(Device), epoch, ErrNoIdentity},
		"a web address":                      {hostile(t, ours, "https://device/a/b"), asClient(Device), epoch, ErrNoIdentity},
		"a leaf that poses as an authority":  {signedBy(t, issue(t, ours, device, epoch)), asClient(Device), epoch, ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := test.check(test.cert, test.at)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, %v; want error %v", id, err, test.want)
			}
			if (err == nil) != (id != Identity{}) {
				t.Errorf("identity %v beside error %v", id, err)
			}
		})
	}
	if _, err := bundle.VerifyClient(tls.ConnectionState{}, epoch, Device); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("no certificate: %v", err)
	}
}

// hostile is a certificate that the authority signed with URIs that Issue would never write.
func hostile(t *testing.T, authority *Authority, uris ...string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		NotBefore: epoch, NotAfter: epoch.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, uri := range uris {
		parsed, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	pair, err := authority.issue(template, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Certificate
}

// signedBy is a certificate for another device, signed with a device's own key.
func signedBy(t *testing.T, leaf *Pair) *x509.Certificate {
	t.Helper()
	key, err := parseKey(leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse(DeviceURI("default", "other"))
	template := &x509.Certificate{
		NotBefore: epoch, NotAfter: epoch.Add(time.Hour), URIs: []*url.URL{uri},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	pair, _, err := sign(template, leaf.Certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Certificate
}

func TestAuthoritiesOverlap(t *testing.T) {
	older := newAuthority(t, "older")
	later := epoch.Add(AuthorityValidity * 3 / 4)
	newer, err := NewAuthority("newer", AuthorityValidity, later)
	if err != nil {
		t.Fatal(err)
	}
	both := bundleOf(t, older).With(newer.Certificate, later)
	again, err := ParseBundle(both.PEM())
	if err != nil || len(again.Authorities()) != 2 || !bytes.Equal(again.PEM(), both.PEM()) {
		t.Fatalf("the bundle reads back as %d authorities: %v", len(again.Authorities()), err)
	}
	request := Request{Identity: DeviceIdentity("default", "d")}
	for _, authority := range []*Authority{older, newer} {
		leaf := issue(t, authority, request, later)
		if _, err := again.VerifyClient(stateOf(leaf.Certificate), later, Device); err != nil {
			t.Errorf("signed by %s: %v", authority.Certificate.Subject.CommonName, err)
		}
	}
	end := older.Certificate.NotAfter.Add(time.Second)
	after := both.With(newer.Certificate, end)
	if len(after.Authorities()) != 1 || !after.Authorities()[0].Equal(newer.Certificate) {
		t.Errorf("after the older authority's end the bundle has %d authorities", len(after.Authorities()))
	}
	lateLeaf := issue(t, older, request, older.Certificate.NotAfter.Add(-time.Minute))
	if lateLeaf.Certificate.NotAfter.After(older.Certificate.NotAfter) {
		t.Errorf("a leaf outlives its authority")
	}
	if _, err := older.Issue(request, end); err == nil {
		t.Errorf("an expired authority still signs")
	}
}

func TestBundlesAreBounded(t *testing.T) {
	authority := newAuthority(t, "a")
	leaf := issue(t, authority, Request{Identity: ClientIdentity("x")}, epoch)
	var many []byte
	for range maxAuthorities + 1 {
		many = append(many, newAuthority(t, "many").CertPEM...)
	}
	for name, content := range map[string][]byte{
		"empty":          nil,
		"no PEM":         []byte("hello"),
		"a leaf":         leaf.CertPEM,
		"a private key":  append(slices.Clone(authority.CertPEM), authority.KeyPEM...),
		"a broken block": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"too many":       many,
		"too large":      bytes.Repeat([]byte("\n"), maxBundleBytes+1),
	} {
		if _, err := ParseBundle(content); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	twice := bundleOf(t, authority, authority)
	if len(twice.Authorities()) != 1 {
		t.Errorf("an authority given twice counts %d times", len(twice.Authorities()))
	}
}

func TestCredentialsReadBack(t *testing.T) {
	authority := newAuthority(t, "a")
	bundle := bundleOf(t, authority)
	request := Request{Identity: GatewayIdentity("edge", "g"), Serving: true}
	data := SecretData(issue(t, authority, request, epoch), bundle)
	held, err := ParseCredentials(data)
	if err != nil || held.Identity != request.Identity {
		t.Fatalf("ParseCredentials: %+v, %v", held, err)
	}
	again, err := ParseAuthority(authority.CertPEM, authority.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	other := issue(t, again, request, epoch)
	for key, value := range map[string][]byte{
		KeyCertificate: nil, KeyPrivate: other.KeyPEM, KeyBundle: []byte("x"),
	} {
		broken := map[string][]byte{}
		for k, v := range data {
			broken[k] = v
		}
		broken[key] = value
		if _, err := ParseCredentials(broken); err == nil {
			t.Errorf("%s = %.10q: accepted", key, value)
		}
	}
	if _, err := ParseAuthority(other.CertPEM, other.KeyPEM); err == nil {
		t.Errorf("a leaf is accepted as an authority")
	}
	if _, err := ParseAuthority(authority.CertPEM, other.KeyPEM); err == nil {
		t.Errorf("a foreign key is accepted")
	}
}

func TestRenewalIsSpreadOverTheLastThird(t *testing.T) {
	authority := newAuthority(t, "a")
	var seen []time.Time
	for range 64 {
		cert := issue(t, authority, Request{Identity: ClientIdentity("x")}, epoch).Certificate
		at := RenewAt(cert)
		life := cert.NotAfter.Sub(cert.NotBefore)
		if left := cert.NotAfter.Sub(at); left > life/3 || left < life/4 {
			t.Errorf("renewed when %s of %s is left", left, life)
		}
		if !RenewAt(cert).Equal(at) {
			t.Errorf("the moment is not stable")
		}
		seen = append(seen, at)
	}
	first, last := slices.MinFunc(seen, time.Time.Compare), slices.MaxFunc(seen, time.Time.Compare)
	if last.Sub(first) < LeafValidity/24 {
		t.Errorf("64 certificates are all renewed within %s", last.Sub(first))
	}
}

// connect makes one TLS connection and returns what the client saw of the server, and both sides' errors.
func connect(t *testing.T, client, server *tls.Config) (resumed bool, clientErr, serverErr error) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(conn, "x")
		done <- err
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	// The byte carries the session ticket before it, and a refusal by the server, which TLS 1.3 tells late.
	_, clientErr = io.ReadFull(conn, make([]byte, 1))
	if clientErr != nil {
		raw.Close()
	}
	return conn.ConnectionState().DidResume, clientErr, <-done
}

func TestResumedSessionsAreJudgedAgain(t *testing.T) {
	authority, successor := newAuthority(t, "a"), newAuthority(t, "b")
	bundle := bundleOf(t, authority)
	clock := atomic.Pointer[time.Time]{}
	clock.Store(&epoch)
	now := func() time.Time { return *clock.Load() }

	var gateway, device Source
	gateway.Set(credentials(t, authority, bundle, Request{Identity: GatewayIdentity("default", "g"), Serving: true}))
	device.Set(credentials(t, authority, bundle, Request{Identity: DeviceIdentity("default", "d")}))
	server := gateway.ServerConfig(now, Device)
	client := device.ClientConfig(now, Gateway)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)

	if resumed, clientErr, serverErr := connect(t, client, server); resumed || clientErr != nil || serverErr != nil {
		t.Fatalf("first connection: resumed %v, %v, %v", resumed, clientErr, serverErr)
	}
	if resumed, clientErr, serverErr := connect(t, client, server); !resumed || clientErr != nil || serverErr != nil {
		t.Fatalf("second connection: resumed %v, %v, %v", resumed, clientErr, serverErr)
	}
	// The gateway no longer trusts the authority that vouched for the device.
	gateway.Set(credentials(t, authority, bundleOf(t, successor), Request{Identity: GatewayIdentity("default", "g"), Serving: true}))
	if _, clientErr, serverErr := connect(t, client, server); clientErr == nil || !errors.Is(serverErr, ErrUntrusted) {
		t.Fatalf("authority withdrawn: %v, %v", clientErr, serverErr)
	}
	gateway.Set(credentials(t, authority, bundle, Request{Identity: GatewayIdentity("default", "g"), Serving: true}))
	end := epoch.Add(LeafValidity + time.Hour)
	clock.Store(&end)
	if _, clientErr, _ := connect(t, client, server); clientErr == nil {
		t.Fatalf("a session outlives its certificate")
	}
}

func TestConfigsRefuseEachOthersKinds(t *testing.T) {
	authority := newAuthority(t, "a")
	bundle := bundleOf(t, authority)
	now := func() time.Time { return epoch }
	source := func(request Request) *Source {
		var s Source
		s.Set(credentials(t, authority, bundle, request))
		return &s
	}
	gateway := source(Request{Identity: GatewayIdentity("default", "g"), Serving: true})
	controllers := source(Request{Identity: ClientIdentity("controllers"), Serving: true})
	device := source(Request{Identity: DeviceIdentity("default", "d")})
	for name, test := range map[string]struct {
		client, server   *tls.Config
		clientOK, served bool
	}{
		"a gateway fetches from the store":       {gateway.ClientConfig(now, Client), controllers.ServerConfig(now, Gateway, Client), true, true},
		"a device may not fetch from the store":  {device.ClientConfig(now, Client), controllers.ServerConfig(now, Gateway, Client), false, false},
		"the store is no gateway":                {device.ClientConfig(now, Gateway), controllers.ServerConfig(now, Device), false, false},
		"no credentials yet on the client's end": {(&Source{}).ClientConfig(now, Client), controllers.ServerConfig(now, Gateway), false, false},
		"no credentials yet on the server's end": {gateway.ClientConfig(now, Client), (&Source{}).ServerConfig(now, Gateway), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, clientErr, serverErr := connect(t, test.client, test.server)
			if (clientErr == nil) != test.clientOK || (serverErr == nil) != test.served {
				t.Errorf("client: %v, server: %v", clientErr, serverErr)
			}
		})
	}
}

func TestKubeClientReadsBack(t *testing.T) {
	authority := newAuthority(t, "cluster")
	certPEM, keyPEM, err := kubeClient(authority.CertPEM, authority.KeyPEM, "wasmbed:gateway:default:g",
		[]string{"wasmbed:gateways", "x"}, 24*time.Hour, epoch)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	cert := pair.Leaf
	if cert.Subject.CommonName != "wasmbed:gateway:default:g" {
		t.Errorf("user %q", cert.Subject.CommonName)
	}
	groups := slices.Clone(cert.Subject.Organization)
	slices.Sort(groups)
	if !slices.Equal(groups, []string{"wasmbed:gateways", "x"}) {
		t.Errorf("groups %q", groups)
	}
	if want := epoch.Add(24 * time.Hour); !cert.NotAfter.Equal(want) {
		t.Errorf("ends %s, want %s", cert.NotAfter, want)
	}
	// What the API server does with a client certificate.
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: bundleOf(t, authority).pool, CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		t.Error(err)
	}
	if _, err := ParseIdentity(cert); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("a cluster certificate passes for an identity of the installation: %v", err)
	}
	if _, _, err := kubeClient(authority.CertPEM, authority.KeyPEM, "", nil, time.Hour, epoch); err == nil {
		t.Errorf("no user: accepted")
	}
	if _, _, err := kubeClient(certPEM, keyPEM, "u", nil, time.Hour, epoch); err == nil {
		t.Errorf("signed with a certificate that may not sign")
	}
}

func TestPublicKeyIsWhatOpensslPrints(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "board"}, NotBefore: epoch, NotAfter: epoch.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := PublicKey(cert), base64.StdEncoding.EncodeToString(spki); got != want {
		t.Errorf("PublicKey = %s, want %s", got, want)
	}
}
