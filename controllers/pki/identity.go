// SPDX-License-Identifier: Apache-2.0

// Package pki makes and checks the certificates of an installation.
//
// There are two authorities and they never meet. The installation's authority, made here, vouches for devices,
// gateways and clients (the controllers, the dashboard, a person's tool) when they talk to one another: Authority
// issues, Bundle checks, Credentials are what one party holds. The cluster's authority belongs to the Kubernetes API
// server; KubeClient issues what that server accepts from a component.
//
// Every installation certificate names its holder in exactly one URI, wasmbed://device/NAMESPACE/NAME,
// wasmbed://gateway/NAMESPACE/NAME or wasmbed://client/NAME; the subject is for people and never read. Leaves are
// issued by an authority directly: there are no intermediates.
//
// The package reads no clock: the caller passes the time. Keys are P-256; their randomness is the operating system's.
package pki

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Kind is what a certificate's holder is.
type Kind string

// Kinds.
const (
	Device  Kind = "device"
	Gateway Kind = "gateway"
	Client  Kind = "client"
)

const (
	scheme = "wasmbed://"
	// maxLabel is how long a namespace's or object's name may be.
	maxLabel = 63
)

// Errors that callers tell apart.
var (
	// ErrNoIdentity: the certificate does not name a holder in the way that this package issues them.
	ErrNoIdentity = errors.New("certificate names no identity of this installation")
	// ErrWrongKind: the holder is genuine and of a kind that has no business here.
	ErrWrongKind = errors.New("identity of the wrong kind")
	// ErrUntrusted: no authority in the bundle vouches for the certificate now.
	ErrUntrusted = errors.New("certificate is not trusted")
	// ErrNoCertificate: the other side presented none.
	ErrNoCertificate = errors.New("no certificate presented")
)

// Identity is who a certificate speaks for. Namespace is empty for clients.
type Identity struct {
	Kind      Kind
	Namespace string
	Name      string
}

// DeviceIdentity is the identity of the Device namespace/name.
func DeviceIdentity(namespace, name string) Identity { return Identity{Device, namespace, name} }

// GatewayIdentity is the identity of the Gateway namespace/name.
func GatewayIdentity(namespace, name string) Identity { return Identity{Gateway, namespace, name} }

// ClientIdentity is the identity of a client such as "controllers".
func ClientIdentity(name string) Identity { return Identity{Client, "", name} }

// DeviceURI is the URI in the certificate of the Device namespace/name.
func DeviceURI(namespace, name string) string { return DeviceIdentity(namespace, name).URI() }

// URI is how a certificate names the identity.
func (id Identity) URI() string {
	if id.Kind == Client {
		return scheme + string(Client) + "/" + id.Name
	}
	return scheme + string(id.Kind) + "/" + id.Namespace + "/" + id.Name
}

// String is the identity for people: "device default/sensor-3".
func (id Identity) String() string {
	if id.Kind == Client {
		return string(Client) + " " + id.Name
	}
	return string(id.Kind) + " " + id.Namespace + "/" + id.Name
}

func (id Identity) validate() error {
	parsed, err := ParseURI(id.URI())
	if err != nil {
		return err
	}
	if parsed != id {
		return fmt.Errorf("%w: %q", ErrNoIdentity, id.URI())
	}
	return nil
}

// ParseURI is the inverse of Identity.URI. Nothing but the exact form is accepted: no escapes, upper case, user,
// port, query or fragment, and names are DNS labels.
func ParseURI(uri string) (Identity, error) {
	refused := fmt.Errorf("%w: %.200q", ErrNoIdentity, uri)
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok || len(rest) > 2*maxLabel+16 {
		return Identity{}, refused
	}
	parts := strings.Split(rest, "/")
	for _, part := range parts {
		if !isLabel(part) {
			return Identity{}, refused
		}
	}
	switch kind := Kind(parts[0]); {
	case kind == Client && len(parts) == 2:
		return ClientIdentity(parts[1]), nil
	case (kind == Device || kind == Gateway) && len(parts) == 3:
		return Identity{kind, parts[1], parts[2]}, nil
	}
	return Identity{}, refused
}

// isLabel reports whether s is an RFC 1123 label.
func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// ParseIdentity reads whom a certificate names. It does not check who signed it: see Bundle.
func ParseIdentity(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: it has %d URIs instead of one", ErrNoIdentity, len(cert.URIs))
	}
	return ParseURI(cert.URIs[0].String())
}

// PublicKey is a certificate's public key as Device.spec.keys spells it: base64 of the DER SubjectPublicKeyInfo.
func PublicKey(cert *x509.Certificate) string {
	return base64.StdEncoding.EncodeToString(cert.RawSubjectPublicKeyInfo)
}
