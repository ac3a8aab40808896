// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/pki"
)

// certificates are the ends of all certificates that the installation's authority issued, by where they lie; an error when
// one of them is not valid at the time.
func (w *watcher) certificates(ctx context.Context, now time.Time) (map[string]time.Time, error) {
	var secrets corev1.SecretList
	if err := w.objects.List(ctx, &secrets, client.HasLabels{v1alpha1.LabelIdentity}); err != nil {
		return nil, err
	}
	ends := map[string]time.Time{}
	var wrong []error
	look := func(name string, text []byte) {
		end, err := valid(text, now)
		if ends[name] = end; err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, s := range secrets.Items {
		if s.Name == pki.AuthoritySecret {
			w.sawAuthority(string(s.Data[pki.KeyCertificate]))
			continue
		}
		look("Secret "+s.Namespace+"/"+s.Name, s.Data[pki.KeyCertificate])
	}
	file := w.home.Data("dashboard", pki.KeyCertificate)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	look(file, text)
	return ends, errors.Join(wrong...)
}

func valid(text []byte, now time.Time) (end time.Time, err error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return end, errors.New("holds no certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return end, err
	}
	return certificate.NotAfter, validAt(certificate, now)
}

func validAt(certificate *x509.Certificate, now time.Time) error {
	if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
		return fmt.Errorf("the certificate is valid from %s to %s, and it is %s", certificate.NotBefore.UTC().Format(time.TimeOnly),
			certificate.NotAfter.UTC().Format(time.TimeOnly), now.UTC().Format(time.TimeOnly))
	}
	return nil
}

// sawAuthority notes the authority that signs now.
func (w *watcher) sawAuthority(certificate string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.authorities[certificate] = true
}

// signed is how many authorities did.
func (w *watcher) signed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.authorities)
}

// servers are where the installation's processes answer with their certificates.
func (i *installation) servers() map[string]string {
	ports := home.PortsFrom(i.base)
	return map[string]string{
		"the gateway, to devices": i.gatewayAddresses()[0], "the other gateway, to devices": i.gatewayAddresses()[1],
		"the first gateway, to clients": home.Loopback(ports.GatewayHTTP), "the module store": home.Loopback(ports.Store), "the API server": home.Loopback(ports.API),
	}
}

// served is an error when a process serves a certificate that is not valid now. One that does not answer serves none.
func (i *installation) served() map[string]error {
	all := map[string]error{}
	for name, address := range i.servers() {
		var leaf *x509.Certificate
		dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{MinVersion: tls.VersionTLS13, ServerName: pki.ServerName,
			InsecureSkipVerify: true, //nolint:gosec // it is looked at, not trusted
			VerifyConnection: func(state tls.ConnectionState) error {
				leaf = state.PeerCertificates[0]
				return errors.New("seen")
			}}}
		if conn, err := dialer.Dial("tcp", address); err == nil {
			_ = conn.Close()
		}
		if leaf != nil {
			if err := validAt(leaf, time.Now()); err != nil {
				all[name] = err
			}
		}
	}
	return all
}

// runCertificates looks at what is served until ctx ends.
func (w *watcher) runCertificates(ctx context.Context) {
	since := map[string]time.Time{}
	for pause(ctx, time.Second) == nil {
		w.checkServed(since, w.served(), time.Now())
	}
}

// checkServed takes a process for broken whose certificate has not been valid for too long.
func (w *watcher) checkServed(since map[string]time.Time, wrong map[string]error, now time.Time) {
	for name := range since {
		if wrong[name] == nil {
			delete(since, name)
		}
	}
	for name, err := range wrong {
		if since[name].IsZero() {
			since[name] = now
		}
		if late := now.Sub(since[name]); late > overdue {
			w.breach("%s, has served for %s what is not valid: %v", name, late.Round(time.Second), err)
			delete(since, name)
		}
	}
}
