// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	adminUser  = "wasmbed:admin"
	adminGroup = "system:masters"

	caValidity   = 20 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour
	// renewBefore is how much of its validity a certificate must have left.
	renewBefore = 30 * 24 * time.Hour
	// backdate tolerates clocks that step back a little between restarts.
	backdate = 5 * time.Minute

	kubeconfigEntry = "wasmbed"
)

// identities makes and keeps the keys of a cluster: one CA that signs the
// serving certificate and all client certificates, the key of service account
// tokens, and the administrator's kubeconfig.
type identities struct {
	dir  *dataDir
	bind net.IP
	port int

	mu    sync.Mutex
	ca    *x509.Certificate
	caPEM []byte
	key   crypto.Signer
}

func newIdentities(dir *dataDir, bind net.IP, port int) *identities {
	return &identities{dir: dir, bind: bind, port: port}
}

// host is the address for clients on this machine.
func (i *identities) host() string {
	if i.bind.IsUnspecified() {
		return "127.0.0.1"
	}
	return i.bind.String()
}

func (i *identities) url() string {
	return "https://" + net.JoinHostPort(i.host(), strconv.Itoa(i.port))
}

// caCertificates returns the CA in PEM.
func (i *identities) caCertificates() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.caPEM
}

// ensure makes what is missing and renews what ends soon; it leaves the rest
// alone. The API server reads a renewed serving certificate by itself.
func (i *identities) ensure(now time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, step := range []func(time.Time) error{i.ensureCA, i.ensureTokenKey, i.ensureServing, i.ensureKubeconfig} {
		if err := step(now); err != nil {
			return err
		}
	}
	return nil
}

// ensureCA never replaces a CA: certificates that others hold come from it.
func (i *identities) ensureCA(now time.Time) error {
	key, err := i.readKey(caKey)
	if errors.Is(err, fs.ErrNotExist) {
		if i.dir.exists(caCertificate) || i.dir.exists(etcdDir) {
			return fmt.Errorf("%w: %s is missing beside the data that it belongs to; restore it, or remove the directory to start anew", ErrDataDir, i.dir.path(caKey))
		}
		key, err = i.makeKey(caKey)
	}
	if err != nil {
		return err
	}
	certPEM, err := os.ReadFile(i.dir.path(caCertificate))
	if errors.Is(err, fs.ErrNotExist) && !i.dir.exists(etcdDir) {
		certPEM, err = selfSign(key, now)
		if err == nil {
			err = writeFile(i.dir.path(caCertificate), certPEM, 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: CA certificate: %w", ErrDataDir, err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDataDir, i.dir.path(caCertificate), err)
	}
	if !key.Public().(*ecdsa.PublicKey).Equal(cert.PublicKey) {
		return fmt.Errorf("%w: %s and %s do not belong together", ErrDataDir, i.dir.path(caCertificate), caKey)
	}
	i.ca, i.caPEM, i.key = cert, certPEM, key
	return nil
}

func (i *identities) ensureTokenKey(time.Time) error {
	key, err := i.readKey(tokenKey)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = i.makeKey(tokenKey)
	}
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode public key of tokens: %w", err)
	}
	return writeChanged(i.dir.path(tokenPublicKey), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

func (i *identities) ensureServing(now time.Time) error {
	pair, err := tls.LoadX509KeyPair(i.dir.path(servingCert), i.dir.path(servingKey))
	if err == nil && i.usable(pair, now, x509.ExtKeyUsageServerAuth, i.host()) {
		return nil
	}
	certPEM, keyPEM, err := i.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "wasmbed-cluster"},
		NotAfter:    now.Add(leafValidity),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, i.bind},
	}, now)
	if err != nil {
		return fmt.Errorf("issue serving certificate: %w", err)
	}
	// Key first: a crash in between leaves a pair that does not match, which
	// the next start replaces.
	if err := writeFile(i.dir.path(servingKey), keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(i.dir.path(servingCert), certPEM, 0o644)
}

// ensureKubeconfig keeps the certificate in the file while it is good, and
// rewrites the file when certificate or address changed.
func (i *identities) ensureKubeconfig(now time.Time) error {
	path := i.dir.path(adminKubeconfig)
	var certPEM, keyPEM []byte
	if old, err := clientcmd.LoadFromFile(path); err == nil && old.AuthInfos[kubeconfigEntry] != nil {
		auth := old.AuthInfos[kubeconfigEntry]
		pair, err := tls.X509KeyPair(auth.ClientCertificateData, auth.ClientKeyData)
		if err == nil && i.usable(pair, now, x509.ExtKeyUsageClientAuth, "") {
			certPEM, keyPEM = auth.ClientCertificateData, auth.ClientKeyData
		}
	}
	if certPEM == nil {
		var err error
		if certPEM, keyPEM, err = i.issueClient(adminUser, adminGroup, now, leafValidity); err != nil {
			return fmt.Errorf("issue administrator's certificate: %w", err)
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[kubeconfigEntry] = &clientcmdapi.Cluster{Server: i.url(), CertificateAuthorityData: i.caPEM}
	config.AuthInfos[kubeconfigEntry] = &clientcmdapi.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM}
	config.Contexts[kubeconfigEntry] = &clientcmdapi.Context{Cluster: kubeconfigEntry, AuthInfo: kubeconfigEntry}
	config.CurrentContext = kubeconfigEntry
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write administrator's kubeconfig: %w", err)
	}
	return writeChanged(path, content, 0o600)
}

// writeChanged leaves a file alone that holds the content already.
func writeChanged(path string, content []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return writeFile(path, content, mode)
}

// clientConfig returns a client of this cluster for one of its own parts. The
// certificate never leaves the process and is valid whenever the CA is.
func (i *identities) clientConfig(user string, groups ...string) (*rest.Config, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	template := clientTemplate(user, groups, i.ca.NotAfter)
	template.NotBefore = i.ca.NotBefore
	certPEM, keyPEM, err := i.issue(template, time.Now())
	if err != nil {
		return nil, fmt.Errorf("issue certificate of %s: %w", user, err)
	}
	return &rest.Config{
		Host:            i.url(),
		TLSClientConfig: rest.TLSClientConfig{CAData: i.caPEM, CertData: certPEM, KeyData: keyPEM},
		ContentConfig: rest.ContentConfig{
			AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
			ContentType:        "application/vnd.kubernetes.protobuf",
		},
	}, nil
}

func clientTemplate(user string, groups []string, notAfter time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		NotAfter:    notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func (i *identities) issueClient(user, group string, now time.Time, validity time.Duration) (certPEM, keyPEM []byte, err error) {
	return i.issue(clientTemplate(user, []string{group}, now.Add(validity)), now)
}

// issue signs a certificate for a new key; the template says who, until when, and from when on if that is not now.
func (i *identities) issue(template *x509.Certificate, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = now.Add(-backdate)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.ca, key.Public(), i.key)
	if err != nil {
		return nil, nil, err
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// usable reports whether the CA vouches for a certificate, for this host if one
// is given, and still does so after renewBefore.
func (i *identities) usable(pair tls.Certificate, now time.Time, usage x509.ExtKeyUsage, host string) bool {
	roots := x509.NewCertPool()
	roots.AddCert(i.ca)
	options := x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now.Add(renewBefore)}
	_, err := pair.Leaf.Verify(options)
	// One that is not valid yet was issued while the clock was ahead.
	return err == nil && !now.Before(pair.Leaf.NotBefore)
}

func selfSign(key crypto.Signer, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "wasmbed-cluster-ca"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func (i *identities) makeKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	content, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(i.dir.path(name), content, 0o600)
}

func (i *identities) readKey(name string) (crypto.Signer, error) {
	path := i.dir.path(name)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%w: %s holds no PEM block", ErrDataDir, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDataDir, path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not an ECDSA key", ErrDataDir, path)
	}
	return ec, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseCertificate(content []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}
