// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Session tickets are sealed with a key that changes each day and opened with those of the last ticketDays, the
// longest that TLS 1.3 lets a ticket live. The keys are derived from a secret in the cache directory, so that devices
// resume their sessions after a restart of the gateway.
const (
	ticketSecretFile = "ticket-secret"
	ticketDays       = 7
	ticketDay        = 24 * time.Hour
)

// ticketSecret reads the secret of dir, or makes it.
func ticketSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, ticketSecretFile)
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) == sha256.Size {
		return secret, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the secret of session tickets: %w", err)
	}
	secret = make([]byte, sha256.Size)
	rand.Read(secret)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("write the secret of session tickets: %w", err)
	}
	if err := os.WriteFile(path, secret, 0o600); err != nil {
		return nil, fmt.Errorf("write the secret of session tickets: %w", err)
	}
	return secret, nil
}

// ticketKeys are the keys for a moment, the one that seals first.
func ticketKeys(secret []byte, now time.Time) [][32]byte {
	day := uint64(now.Unix()) / uint64(ticketDay/time.Second)
	keys := make([][32]byte, ticketDays)
	for i := range keys {
		mac := hmac.New(sha256.New, secret)
		mac.Write(binary.BigEndian.AppendUint64([]byte("wasmbed session ticket "), day-uint64(i)))
		keys[i] = [32]byte(mac.Sum(nil))
	}
	return keys
}
