// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"wasmbed.dev/controllers/pki"
)

// A new authority joins the bundle long before it signs the dashboard's own certificate, and gateways may have theirs from it
// by then.
func TestANewBundleIsTakenOverThoughTheCertificateIsTheSame(t *testing.T) {
	now := time.Now()
	first, err := pki.NewAuthority("first", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pki.NewAuthority("second", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := first.Issue(pki.Request{Identity: pki.ClientIdentity("dashboard")}, now)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.ParseBundle(first.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range pki.SecretData(pair, bundle) {
		write(name, content)
	}
	c := New(dir, logr.Discard())
	if held := c.Source().Get(); held == nil || len(held.Bundle.Authorities()) != 1 {
		t.Fatalf("the identity is not taken: %v", held)
	}
	write(pki.KeyBundle, bundle.With(second.Certificate, now).PEM())
	c.reload()
	if n := len(c.Source().Get().Bundle.Authorities()); n != 2 {
		t.Errorf("%d authorities are trusted, want both", n)
	}
}
