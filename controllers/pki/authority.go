// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

const (
	// AuthorityValidity is how long an authority lives; its successor is made when a third of it is left.
	AuthorityValidity = 10 * 365 * 24 * time.Hour
	// LeafValidity is how long a device's, gateway's or client's certificate lives.
	LeafValidity = 365 * 24 * time.Hour
	// Backdate is how far before its issue a certificate is valid already, for clocks that differ.
	Backdate = time.Hour

	// ServerName is what devices and clients expect a server's certificate to be for, whatever address they dial.
	ServerName = "gateway.wasmbed.dev"
)

// servingAddresses are those at which a server of a local installation is reached; 10.0.2.2 is the host as an
// emulated board sees it.
var servingAddresses = []net.IP{
	net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback, net.IPv4(10, 0, 2, 2).To4(),
}

// Pair is a certificate and its private key, PEM (PKCS #8).
type Pair struct {
	CertPEM []byte
	KeyPEM  []byte
	// Certificate is CertPEM parsed.
	Certificate *x509.Certificate
}

// Authority signs the certificates of an installation.
type Authority struct {
	Pair
	key crypto.Signer
}

// NewAuthority makes an authority that signs itself.
func NewAuthority(name string, validity time.Duration, now time.Time) (*Authority, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	pair, key, err := sign(template, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make authority %s: %w", name, err)
	}
	return &Authority{Pair: *pair, key: key}, nil
}

// ParseAuthority reads an authority that NewAuthority made, or the cluster's.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("authority's certificate: %w", err)
	}
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, errors.New("authority's certificate may not sign others")
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("authority's key: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("authority's certificate and key do not belong together")
	}
	return &Authority{Pair: Pair{CertPEM: certPEM, KeyPEM: keyPEM, Certificate: cert}, key: key}, nil
}

// Request says what to issue.
type Request struct {
	Identity Identity
	// Validity of the certificate; it never outlives the authority. Zero: LeafValidity.
	Validity time.Duration
	// Serving lets the holder be a server too, under ServerName, localhost and the loopback addresses.
	Serving bool
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(request Request, now time.Time) (*Pair, error) {
	if err := request.Identity.validate(); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	uri, err := url.Parse(request.Identity.URI())
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s: %w", request.Identity, err)
	}
	if request.Validity == 0 {
		request.Validity = LeafValidity
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: request.Identity.Name},
		NotBefore:   now.Add(-Backdate),
		NotAfter:    now.Add(request.Validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{uri},
	}
	if request.Serving {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = []string{ServerName, "localhost"}
		template.IPAddresses = servingAddresses
	}
	pair, err := a.issue(template, now)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s: %w", request.Identity, err)
	}
	return pair, nil
}

func (a *Authority) issue(template *x509.Certificate, now time.Time) (*Pair, error) {
	if !now.Before(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("the authority expired at %s", a.Certificate.NotAfter.Format(time.RFC3339))
	}
	if template.NotAfter.After(a.Certificate.NotAfter) {
		template.NotAfter = a.Certificate.NotAfter
	}
	pair, _, err := sign(template, a.Certificate, a.key)
	return pair, err
}

// KubeClient issues a certificate by which the Kubernetes API server knows a component as user, in groups. caCert and
// caKey are the cluster's authority as PEM. The certificate begins now, by the machine's clock.
func KubeClient(caCert, caKey []byte, user string, groups []string, validity time.Duration) (certPEM, keyPEM []byte, err error) {
	return kubeClient(caCert, caKey, user, groups, validity, time.Now())
}

func kubeClient(caCert, caKey []byte, user string, groups []string, validity time.Duration, now time.Time) (certPEM, keyPEM []byte, err error) {
	if user == "" {
		return nil, nil, errors.New("issue Kubernetes client certificate: no user given")
	}
	authority, err := ParseAuthority(caCert, caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("issue Kubernetes client certificate of %s: %w", user, err)
	}
	pair, err := authority.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		NotBefore:   now.Add(-Backdate),
		NotAfter:    now.Add(validity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now)
	if err != nil {
		return nil, nil, fmt.Errorf("issue Kubernetes client certificate of %s: %w", user, err)
	}
	return pair.CertPEM, pair.KeyPEM, nil
}

// RenewAt is when a certificate is due for renewal: when a third of its life is left, and up to a twelfth of its life
// later, so that those issued together are not renewed together. The serial number, which is random, decides.
func RenewAt(cert *x509.Certificate) time.Time {
	life := cert.NotAfter.Sub(cert.NotBefore)
	low := new(big.Int).And(cert.SerialNumber, big.NewInt(0xffff)).Int64()
	return cert.NotAfter.Add(-life / 3).Add(life / 12 / 0x10000 * time.Duration(low))
}

// sign makes a key, and a certificate for it that parent signs, or that signs itself when there is no parent.
func sign(template, parent *x509.Certificate, parentKey crypto.Signer) (*Pair, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, fmt.Errorf("make serial number: %w", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read signed certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return &Pair{
		CertPEM:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		Certificate: cert,
	}, key, nil
}

func parseCertificate(content []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM block CERTIFICATE")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(content []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM block PRIVATE KEY")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, errors.New("not a P-256 key")
	}
	return ec, nil
}
