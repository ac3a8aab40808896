// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// SeedSize is how many bytes of entropy a launch gets: the emulated boards have no generator of their own.
const SeedSize = 48

// maxBlob is the room that the boards keep for the blob.
const maxBlob = 4096

// Limits of the blob, as in firmware/agent/provision.h.
const (
	maxCertificates = 4
	// MaxEndpoints of a board's provisioning.
	MaxEndpoints     = 4
	maxEndpointBytes = 128
)

// Tags of the records in the blob, as in firmware/agent/provision.h.
const (
	tagSeed = iota + 1
	tagTime
	tagName
	tagKey
	tagCertificate
	tagCA
	tagEndpoint
	tagServerName
	tagHost
)

// Identity is who a device is and whom it trusts. Keys and certificates are DER.
type Identity struct {
	// Key is the device's private P-256 key, SEC 1 or PKCS #8.
	Key []byte
	// Certificates is the device's chain, its own certificate first; at most 4.
	Certificates [][]byte
	// CAs that the gateway's certificate may come from; at most 4, so that two can overlap.
	CAs [][]byte
	// ServerName that the gateway's certificate must carry.
	ServerName string
	// Endpoints of gateways as host:port, in order; at most 4. Those on a loopback address mean the machine that
	// runs the emulator.
	Endpoints []string
}

// guestHost is the address under which QEMU's user network shows the machine that runs it.
var guestHost = netip.AddrFrom4([4]byte{10, 0, 2, 2})

// encodeProvision writes the blob of one launch: the identity, the wall time and fresh entropy. The layout is
// described in firmware/DESIGN.md.
func encodeProvision(device string, id Identity, now time.Time) ([]byte, error) {
	if len(id.Certificates) > maxCertificates || len(id.CAs) > maxCertificates {
		return nil, fmt.Errorf("more than %d certificates", maxCertificates)
	}
	if len(id.Endpoints) > MaxEndpoints {
		return nil, fmt.Errorf("%d endpoints, at most %d are possible", len(id.Endpoints), MaxEndpoints)
	}
	if len(id.Key) == 0 || len(id.Certificates) == 0 || len(id.CAs) == 0 || len(id.Endpoints) == 0 || id.ServerName == "" {
		return nil, errors.New("identity is not complete: key, certificate, CA, server name and endpoint are needed")
	}
	b := []byte("WBP1\x00\x00")
	name := sha256.Sum256([]byte(device))
	b = append(b, name[0]&0xfc|2, name[1], name[2], name[3], name[4], name[5])
	add := func(tag byte, value []byte) {
		b = append(b, tag)
		b = binary.LittleEndian.AppendUint16(b, uint16(min(len(value), maxBlob)))
		b = append(b, value...)
	}
	seed := make([]byte, SeedSize)
	rand.Read(seed)
	add(tagSeed, seed)
	add(tagTime, binary.LittleEndian.AppendUint64(nil, uint64(now.UnixMilli())))
	add(tagName, []byte(device))
	add(tagKey, id.Key)
	for _, c := range id.Certificates {
		add(tagCertificate, c)
	}
	for _, c := range id.CAs {
		add(tagCA, c)
	}
	for _, e := range id.Endpoints {
		if len(e) < 3 || len(e) > maxEndpointBytes {
			return nil, fmt.Errorf("endpoint %.140q must have 3 to %d bytes", e, maxEndpointBytes)
		}
		add(tagEndpoint, []byte(e))
	}
	add(tagServerName, []byte(id.ServerName))
	add(tagHost, []byte(guestHost.String()))
	if len(b) > maxBlob {
		return nil, fmt.Errorf("provisioning blob has %d bytes, the boards have room for %d", len(b), maxBlob)
	}
	binary.LittleEndian.PutUint16(b[4:], uint16(len(b)))
	return b, nil
}
