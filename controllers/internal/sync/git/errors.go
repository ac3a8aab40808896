// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// classify turns a failure into an Error. The message is made of words of its own and of causes that hold no secret
// and stay equal from one attempt to the next, so that a lasting failure is written to the status once.
func classify(ctx context.Context, source Source, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	host := hostOf(source.URL)
	var (
		storage    *storageError
		keyError   *knownhosts.KeyError
		revoked    *knownhosts.RevokedError
		unknownCA  x509.UnknownAuthorityError
		badCert    *tls.CertificateVerificationError
		sshDenied  *ssh.ServerAuthError
		noGit      *exec.Error
		dnsFailure *net.DNSError
		netFailure *net.OpError
	)
	switch {
	case errors.As(err, &storage):
		return &Error{api.ReasonStorageFailed, err}
	case errors.As(err, &noGit):
		return failf(api.ReasonStorageFailed, "file:// needs the program git: %w", err)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return failf(api.ReasonAuthenticationFailed, "%s wants credentials or refuses these: check spec.secretRef", host)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return failf(api.ReasonAuthenticationFailed, "%s refuses these credentials: check what they may read", host)
	case errors.As(err, &keyError) && len(keyError.Want) > 0:
		return failf(api.ReasonAuthenticationFailed, "%s shows another host key than known_hosts of the Secret has", host)
	case errors.As(err, &keyError):
		return failf(api.ReasonAuthenticationFailed, "%s is not in known_hosts of the Secret: add what ssh-keyscan prints, after checking it", host)
	case errors.As(err, &revoked):
		return failf(api.ReasonAuthenticationFailed, "%s shows a host key that known_hosts of the Secret revokes", host)
	case errors.As(err, &sshDenied) || strings.Contains(err.Error(), "ssh: unable to authenticate"):
		return failf(api.ReasonAuthenticationFailed, "%s refuses the key of the Secret: let it read the repository", host)
	case errors.As(err, &unknownCA), errors.As(err, &badCert):
		return failf(api.ReasonAuthenticationFailed, "the certificate of %s is not trusted: give its authority as ca.crt in the Secret", host)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return failf(api.ReasonRemoteUnreachable, "%s has no such repository, or hides it from these credentials", host)
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return failf(api.ReasonRevisionNotFound, "%s does not exist, the remote is empty: push a first commit", source.revision())
	case errors.Is(err, errLimit):
		return &Error{api.ReasonTooLarge, err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return failf(api.ReasonRemoteUnreachable, "%s does not answer in time (spec.timeout)", host)
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{api.ReasonRemoteUnreachable, context.Canceled}
	case errors.Is(err, syscall.ECONNREFUSED):
		return failf(api.ReasonRemoteUnreachable, "%s refuses connections", host)
	case errors.As(err, &dnsFailure):
		return failf(api.ReasonRemoteUnreachable, "the name of %s cannot be resolved", host)
	case errors.As(err, &netFailure):
		return failf(api.ReasonRemoteUnreachable, "the connection to %s failed: %w", host, netFailure.Err)
	case errors.Is(err, errNoAnswer):
		return &Error{api.ReasonRemoteUnreachable, err}
	}
	return failf(api.ReasonRemoteUnreachable, "fetching from %s: %s", host, redact(err.Error(), source))
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "the remote"
	}
	if u.Scheme == "file" {
		return u.Path
	}
	return u.Host
}

// redact takes every credential out of a message of a library.
func redact(message string, source Source) string {
	for _, secret := range []string{source.Credentials.Password, source.Credentials.Username, string(source.Credentials.Identity)} {
		if secret != "" {
			message = strings.ReplaceAll(message, secret, "…")
			message = strings.ReplaceAll(message, url.QueryEscape(secret), "…")
		}
	}
	if len(message) > 512 {
		message = message[:512]
	}
	return fmt.Sprintf("%q", message)
}

// tail keeps the first line or so of what a remote says on standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 256 - len(t.buf); room > 0 {
		t.buf = append(t.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.buf)), "�")
}

// execPath is where programs of the system are; git needs nothing else of the environment.
func execPath() string {
	if path := os.Getenv("PATH"); path != "" {
		return path
	}
	return "/usr/local/bin:/usr/bin:/bin"
}
