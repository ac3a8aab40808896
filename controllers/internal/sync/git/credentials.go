// SPDX-License-Identifier: Apache-2.0

package git

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// Credentials are what a Repository's Secret holds. They are never part of an error or a log line.
type Credentials struct {
	// Username and Password, or a token as Password, for https.
	Username, Password string
	// CA is a bundle in PEM that the server's certificate must come from; empty: the system's.
	CA []byte
	// Identity is a private key, and KnownHosts the server's keys in the format of ssh's file, for ssh.
	Identity, KnownHosts []byte
}

// ParseCredentials reads a Secret's data for a URL. Keys: username, password, ca.crt, identity, known_hosts.
func ParseCredentials(rawURL string, data map[string][]byte) (Credentials, error) {
	c := Credentials{
		Username: strings.TrimSpace(string(data["username"])),
		Password: strings.TrimSpace(string(data["password"])),
		CA:       data["ca.crt"],
		Identity: data["identity"], KnownHosts: data["known_hosts"],
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return Credentials{}, failf(api.ReasonInvalidSpec, "the url cannot be used")
	}
	switch {
	case u.Scheme == "ssh" && (len(c.Identity) == 0 || len(c.KnownHosts) == 0):
		return Credentials{}, failf(api.ReasonInvalidSecret, "ssh needs the keys identity (a private key) and known_hosts in the Secret")
	case strings.HasPrefix(u.Scheme, "http") && c.Username != "" && c.Password == "":
		return Credentials{}, failf(api.ReasonInvalidSecret, "the Secret has the key username but no password")
	case strings.HasPrefix(u.Scheme, "http") && c.Password == "" && len(c.CA) == 0:
		return Credentials{}, failf(api.ReasonInvalidSecret, "https needs the key password (a token), ca.crt or both in the Secret")
	}
	if c.Password != "" && c.Username == "" {
		c.Username = "git"
	}
	return c, nil
}

func (c Credentials) clientConfig(user, address string) (*ssh.ClientConfig, error) {
	if len(c.Identity) == 0 || len(c.KnownHosts) == 0 {
		return nil, failf(api.ReasonInvalidSecret, "ssh needs a Secret with the keys identity (a private key) and known_hosts")
	}
	signer, err := ssh.ParsePrivateKey(c.Identity)
	if err != nil {
		return nil, failf(api.ReasonInvalidSecret, "key identity of the Secret is no private key without a passphrase")
	}
	check, err := hostKeyCallback(c.KnownHosts)
	if err != nil {
		return nil, failf(api.ReasonInvalidSecret, "key known_hosts of the Secret cannot be read: give lines as ssh-keyscan prints them")
	}
	if user == "" {
		user = "git"
	}
	return &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   check,
		HostKeyAlgorithms: knownAlgorithms(check, address),
		Timeout:           30 * time.Second,
	}, nil
}

// hostKeyCallback reads known hosts; the library takes a file only.
func hostKeyCallback(knownHosts []byte) (ssh.HostKeyCallback, error) {
	file, err := os.CreateTemp("", "known-hosts-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err := file.Write(knownHosts); err != nil {
		_ = file.Close()
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return knownhosts.New(file.Name())
}

// knownAlgorithms lists the key types known for a host, so that the server is asked for one of them. The callback tells
// them when it is shown a key that nobody has.
func knownAlgorithms(check ssh.HostKeyCallback, address string) []string {
	var mismatch *knownhosts.KeyError
	if !errors.As(check(address, &net.TCPAddr{IP: net.IPv4zero}, nobodysKey{}), &mismatch) {
		return nil
	}
	var algorithms []string
	for _, known := range mismatch.Want {
		if known.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, known.Key.Type())
	}
	return algorithms
}

type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "nobody" }
func (nobodysKey) Marshal() []byte                     { return []byte("nobody") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return fmt.Errorf("internal error: no key") }
