// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of a bundle, which may come from a Secret that a person edited.
const (
	maxBundleBytes = 64 << 10
	maxAuthorities = 16
)

// Bundle is the set of authorities that are trusted now; while one replaces another it holds both. It is immutable
// and safe for concurrent use.
type Bundle struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// ParseBundle reads PEM certificates of authorities; there is at least one.
func ParseBundle(content []byte) (*Bundle, error) {
	if len(content) > maxBundleBytes {
		return nil, fmt.Errorf("bundle of authorities has %d bytes, more than %d", len(content), maxBundleBytes)
	}
	bundle := &Bundle{pool: x509.NewCertPool()}
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("bundle of authorities holds a PEM block %q", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("bundle of authorities: %w", err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("bundle of authorities holds %q, which is none", cert.Subject.CommonName)
		}
		bundle.add(cert)
	}
	if len(bundle.certs) == 0 {
		return nil, errors.New("bundle of authorities is empty")
	}
	if len(bundle.certs) > maxAuthorities {
		return nil, fmt.Errorf("bundle has %d authorities, more than %d", len(bundle.certs), maxAuthorities)
	}
	return bundle, nil
}

func (b *Bundle) add(cert *x509.Certificate) {
	if !slices.ContainsFunc(b.certs, cert.Equal) {
		b.certs = append(b.certs, cert)
		b.pool.AddCert(cert)
	}
}

// Authorities are the certificates, in the order of the file. The slice is not to be changed.
func (b *Bundle) Authorities() []*x509.Certificate { return b.certs }

// PEM is the bundle as ParseBundle reads it.
func (b *Bundle) PEM() []byte {
	var out bytes.Buffer
	for _, cert := range b.certs {
		// A write to a bytes.Buffer does not fail.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return out.Bytes()
}

// With returns the bundle with an authority more, and without those that expired.
func (b *Bundle) With(cert *x509.Certificate, now time.Time) *Bundle {
	next := &Bundle{pool: x509.NewCertPool()}
	for _, old := range b.certs {
		if now.Before(old.NotAfter) {
			next.add(old)
		}
	}
	next.add(cert)
	return next
}

// VerifyClient checks the client of a TLS connection and says who it is: one of the given kinds. It is meant for
// tls.Config.VerifyConnection of a server with ClientAuth RequireAnyClientCert, where it also runs for resumed
// sessions, so that an authority that was withdrawn ends those too.
func (b *Bundle) VerifyClient(state tls.ConnectionState, now time.Time, kinds ...Kind) (Identity, error) {
	return b.verify(state, x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, now, kinds)
}

// VerifyServer checks the server of a TLS connection in the same way; serverName is usually ServerName.
func (b *Bundle) VerifyServer(state tls.ConnectionState, serverName string, now time.Time, kinds ...Kind) (Identity, error) {
	options := x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSName: serverName}
	return b.verify(state, options, now, kinds)
}

// verify trusts only what an authority signed directly: certificates that the peer sends along are ignored.
func (b *Bundle) verify(state tls.ConnectionState, options x509.VerifyOptions, now time.Time, kinds []Kind) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, ErrNoCertificate
	}
	cert := state.PeerCertificates[0]
	options.Roots = b.pool
	options.CurrentTime = now
	if cert.IsCA {
		return Identity{}, fmt.Errorf("%w: it is an authority's own", ErrUntrusted)
	}
	if _, err := cert.Verify(options); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	id, err := ParseIdentity(cert)
	if err != nil {
		return Identity{}, err
	}
	if !slices.Contains(kinds, id.Kind) {
		return Identity{}, fmt.Errorf("%w: %s, wanted %v", ErrWrongKind, id, kinds)
	}
	return id, nil
}
