// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string) string {
	t.Helper()
	digest, err := s.Put([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPutThenGet(t *testing.T) {
	s := open(t)
	digest := put(t, s, "module")
	if want := Digest([]byte("module")); digest != want || !ValidDigest(digest) || !s.Has(digest) {
		t.Fatalf("digest %s, want %s, in the store", digest, want)
	}
	if again := put(t, s, "module"); again != digest {
		t.Fatalf("second Put gives %s, want %s", again, digest)
	}
	content, err := s.Get(digest)
	if err != nil || string(content) != "module" {
		t.Fatalf("Get = %q, %v", content, err)
	}
	r, size, err := s.Open(digest)
	if err != nil || size != 6 {
		t.Fatalf("Open: size %d, %v", size, err)
	}
	defer r.Close()
	if all, _ := io.ReadAll(r); string(all) != "module" {
		t.Fatalf("Open reads %q", all)
	}
}

func TestPutFromManyAtOnce(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := s.Put([]byte("the same")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left, _ := os.ReadDir(s.temporary()); len(left) != 0 {
		t.Fatalf("temporary files left: %v", left)
	}
}

func TestWantedErrors(t *testing.T) {
	s := open(t)
	absent := Digest([]byte("absent"))
	if _, err := s.Get(absent); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent blob: %v", err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:../../etc/passwd", "sha512:" + absent[7:], absent + "0", "sha256:" + string(bytes.Repeat([]byte("G"), 64))} {
		if _, _, err := s.Open(bad); !errors.Is(err, ErrInvalidDigest) {
			t.Errorf("digest %q: %v", bad, err)
		}
	}
	if _, err := s.Put(make([]byte, MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("blob over the limit: %v", err)
	}
}

func TestCorruptBlobIsNoticedAndHealed(t *testing.T) {
	s := open(t)
	digest := put(t, s, "module")
	path, _ := s.path(digest)
	if err := os.WriteFile(path, []byte("modulE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(digest); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Get of a corrupt blob: %v", err)
	}
	put(t, s, "module")
	if _, err := s.Get(digest); err != nil {
		t.Fatalf("Get after the next Put: %v", err)
	}
}

func TestOpenRemovesWhatAnInterruptedPutLeft(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.temporary(), "put-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.temporary()); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}

func TestGCKeepsWhatIsWantedOrYoung(t *testing.T) {
	s := open(t)
	wanted, young, old := put(t, s, "wanted"), put(t, s, "young"), put(t, s, "old")
	past := time.Now().Add(-time.Hour)
	for _, digest := range []string{wanted, old} {
		path, _ := s.path(digest)
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := s.GC(func(digest string) bool { return digest == wanted }, time.Now().Add(-time.Minute))
	if err != nil || removed != 1 {
		t.Fatalf("removed %d, %v", removed, err)
	}
	if !s.Has(wanted) || !s.Has(young) || s.Has(old) {
		t.Fatalf("wanted %t, young %t, old %t", s.Has(wanted), s.Has(young), s.Has(old))
	}
	if s.Touch(old) || !s.Touch(wanted) {
		t.Fatal("Touch does not tell what the store holds")
	}
	if removed, err := s.GC(func(string) bool { return false }, time.Now().Add(-time.Minute)); err != nil || removed != 0 {
		t.Fatalf("removed %d touched blobs, %v", removed, err)
	}
}

// authority signs certificates for the tests of the server.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func serve(t *testing.T, s *Store, a authority) string {
	t.Helper()
	server := httptest.NewUnstartedServer(s.Handler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue(t, "store")}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.pool()}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestClientFetches(t *testing.T) {
	s, a := open(t), newAuthority(t)
	digest := put(t, s, "module")
	url := serve(t, s, a)
	client := func(certs ...tls.Certificate) *Client {
		return &Client{URL: url, TLS: &tls.Config{Certificates: certs, RootCAs: a.pool(), ServerName: "localhost"}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	gateway := client(a.issue(t, "gateway"))
	if content, err := gateway.Fetch(ctx, digest); err != nil || string(content) != "module" {
		t.Fatalf("Fetch = %q, %v", content, err)
	}
	if _, err := gateway.Fetch(ctx, Digest([]byte("absent"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent blob: %v", err)
	}
	if _, err := client().Fetch(ctx, digest); err == nil {
		t.Error("no certificate: fetched")
	}
	if _, err := client(newAuthority(t).issue(t, "gateway")).Fetch(ctx, digest); err == nil {
		t.Error("certificate of another authority: fetched")
	}
	path, _ := s.path(digest)
	if err := os.WriteFile(path, []byte("modulE"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Fetch(ctx, digest); !errors.Is(err, ErrCorrupt) {
		t.Errorf("corrupt blob: %v", err)
	}
}

func TestServerServesRanges(t *testing.T) {
	s, a := open(t), newAuthority(t)
	digest := put(t, s, "0123456789")
	url := serve(t, s, a)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{a.issue(t, "gateway")}, RootCAs: a.pool(), ServerName: "localhost"}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequest(http.MethodGet, url+BlobPath+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Range", "bytes=3-5")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusPartialContent || string(body) != "345" {
		t.Fatalf("%s: %q", response.Status, body)
	}
}
