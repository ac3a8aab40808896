// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
)

// identity is who a connection's device is, and how it proved that.
type identity struct {
	device types.NamespacedName
	// key is the pinned public key; empty when a certificate of the installation named the device.
	key string
}

// refusedError says that a certificate admits nobody.
type refusedError struct {
	key    string
	reason string
}

func (e *refusedError) Error() string { return "client certificate refused: " + e.reason }

// errNotReady: the gateway has no credentials yet.
var errNotReady = errors.New("gateway has no credentials")

// deviceTLS is what all connections of devices share. P-256 is the one group that is offered: every device has it,
// and with a single group no handshake takes a second round.
func (s *Server) deviceTLS() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.CurveP256},
		ClientAuth:       tls.RequireAnyClientCert, // verify judges
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if held := s.source.Get(); held != nil {
				return &held.Certificate, nil
			}
			return nil, errNotReady
		},
	}
}

// verifier is the configuration for one connection; it leaves in *who whom the handshake proved. It judges resumed
// sessions like new ones, by the certificate that the first handshake showed.
func (s *Server) verifier(ctx context.Context, who *identity) *tls.Config {
	config := s.tls.Clone()
	config.VerifyConnection = func(state tls.ConnectionState) (err error) {
		*who, err = s.identify(ctx, state)
		return err
	}
	return config
}

// identify takes a key that is pinned in a Device, or a certificate of the installation that names one.
func (s *Server) identify(ctx context.Context, state tls.ConnectionState) (identity, error) {
	if len(state.PeerCertificates) == 0 {
		return identity{}, pki.ErrNoCertificate
	}
	key := pki.PublicKey(state.PeerCertificates[0])
	if d := s.fleet.deviceByKey(ctx, key); d != nil {
		return identity{device: types.NamespacedName{Namespace: d.Namespace, Name: d.Name}, key: key}, nil
	}
	held := s.source.Get()
	if held == nil {
		return identity{}, errNotReady
	}
	id, err := held.Bundle.VerifyClient(state, time.Now(), pki.Device)
	if err != nil {
		return identity{}, &refusedError{key: key, reason: fmt.Sprintf("not the key of an assigned device, and %v", err)}
	}
	return identity{device: types.NamespacedName{Namespace: id.Namespace, Name: id.Name}}, nil
}

// proves reports whether an identity that was proved some time ago still admits to d.
func (id identity) proves(d *v1alpha1.Device) bool {
	if id.key == "" {
		return d.Spec.Backend != v1alpha1.BackendHardware
	}
	for _, key := range d.Spec.Keys {
		if key == id.key {
			return true
		}
	}
	return false
}

// rotateTickets gives the TLS configuration the keys of session tickets of the day until ctx ends.
func (s *Server) rotateTickets(ctx context.Context, secret []byte) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.tls.SetSessionTicketKeys(ticketKeys(secret, now))
		}
	}
}
