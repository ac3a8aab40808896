// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Keys of the data of a Secret that holds an identity or an authority.
const (
	// KeyCertificate is the holder's certificate.
	KeyCertificate = "tls.crt"
	// KeyPrivate is its private key.
	KeyPrivate = "tls.key"
	// KeyBundle is the bundle of authorities that the holder trusts.
	KeyBundle = "ca.crt"
	// KeyNextCertificate and KeyNextPrivate, in the authority's Secret only, are the authority that takes over once
	// every holder trusts it.
	KeyNextCertificate = "next.crt"
	KeyNextPrivate     = "next.key"
)

// AuthoritySecret is the name of the Secret with the installation's authority, in the system namespace.
const AuthoritySecret = "wasmbed-ca"

// Annotations of a Secret that holds an identity.
const (
	// AnnotationValidFrom is when the certificate begins, RFC 3339.
	AnnotationValidFrom = "wasmbed.dev/valid-from"
	// AnnotationExpires is when the certificate ends, RFC 3339.
	AnnotationExpires = "wasmbed.dev/expires"
	// AnnotationRenewAt is when the certificate is due for renewal, RFC 3339.
	AnnotationRenewAt = "wasmbed.dev/renew-at"
	// AnnotationIssuer identifies the authority that signed the certificate.
	AnnotationIssuer = "wasmbed.dev/issuer"
	// AnnotationBundle identifies the bundle of authorities in the Secret.
	AnnotationBundle = "wasmbed.dev/bundle"
	// AnnotationHolder is "NAMESPACE/NAME UID" of the object whose identity it is.
	AnnotationHolder = "wasmbed.dev/holder"
)

// SecretName is the name of the Secret with the credentials of an identity: for gateways in the identity's namespace,
// for clients in the system namespace, for devices in a namespace where there is nothing else.
func SecretName(id Identity) string {
	switch id.Kind {
	case Client:
		return "client-" + id.Name + "-identity"
	case Device:
		return "device-" + id.Namespace + "." + id.Name + "-identity"
	}
	return string(id.Kind) + "-" + id.Name + "-identity"
}

// Credentials are what one party holds: who it is, how it proves that, and whom it trusts.
type Credentials struct {
	Identity    Identity
	Certificate tls.Certificate
	Bundle      *Bundle
}

// ParseCredentials reads the data of an identity's Secret.
func ParseCredentials(data map[string][]byte) (*Credentials, error) {
	for _, key := range []string{KeyCertificate, KeyPrivate, KeyBundle} {
		if len(data[key]) == 0 {
			return nil, fmt.Errorf("credentials: key %s is missing", key)
		}
	}
	pair, err := tls.X509KeyPair(data[KeyCertificate], data[KeyPrivate])
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
	}
	id, err := ParseIdentity(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	bundle, err := ParseBundle(data[KeyBundle])
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return &Credentials{Identity: id, Certificate: pair, Bundle: bundle}, nil
}

// Valid is an error when the certificate is not valid at that time.
func (c *Credentials) Valid(now time.Time) error {
	if leaf := c.Certificate.Leaf; now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate of %s is valid from %s to %s only", c.Identity, leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// SecretData is the inverse of ParseCredentials.
func SecretData(pair *Pair, bundle *Bundle) map[string][]byte {
	return map[string][]byte{KeyCertificate: pair.CertPEM, KeyPrivate: pair.KeyPEM, KeyBundle: bundle.PEM()}
}

// Source holds the present credentials of a process. New ones take effect with the next handshake; connections that
// stand are left alone. It is safe for concurrent use; the zero value holds none yet.
type Source struct {
	current atomic.Pointer[Credentials]
}

// ErrNoCredentials: a Source was used before its first Set.
var ErrNoCredentials = errors.New("no credentials yet")

// Set replaces the credentials.
func (s *Source) Set(credentials *Credentials) { s.current.Store(credentials) }

// Get returns the credentials, nil before the first Set.
func (s *Source) Get() *Credentials { return s.current.Load() }

// ServerConfig serves mutual TLS 1.3 to identities of the given kinds. now is the clock.
func (s *Source) ServerConfig(now func() time.Time, kinds ...Kind) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       now,
		ClientAuth: tls.RequireAnyClientCert, // VerifyConnection judges; see Bundle.VerifyClient
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if held := s.Get(); held != nil {
				return &held.Certificate, nil
			}
			return nil, ErrNoCredentials
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			held := s.Get()
			if held == nil {
				return ErrNoCredentials
			}
			_, err := held.Bundle.VerifyClient(state, now(), kinds...)
			return err
		},
	}
}

// ClientConfig dials mutual TLS 1.3 to a server whose identity is of one of the given kinds, under ServerName whatever
// address is dialled.
func (s *Source) ClientConfig(now func() time.Time, kinds ...Kind) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Time:               now,
		ServerName:         ServerName,
		InsecureSkipVerify: true, // VerifyConnection judges, by the bundle of the moment
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if held := s.Get(); held != nil {
				return &held.Certificate, nil
			}
			return nil, ErrNoCredentials
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			held := s.Get()
			if held == nil {
				return ErrNoCredentials
			}
			_, err := held.Bundle.VerifyServer(state, ServerName, now(), kinds...)
			return err
		},
	}
}
