// SPDX-License-Identifier: Apache-2.0

// Package gittest makes git repositories for tests, and serves them over HTTPS and SSH with the real git behind.
package gittest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Repo is a bare repository and a working copy that pushes to it.
type Repo struct {
	t    testing.TB
	root string
}

// New makes an empty bare repository, fleet.git, and a working copy on branch main.
func New(t testing.TB) *Repo {
	t.Helper()
	r := &Repo{t: t, root: t.TempDir()}
	r.run(r.root, "init", "-q", "--bare", "-b", "main", "fleet.git")
	r.run(r.root, "init", "-q", "-b", "main", "work")
	r.Git("remote", "add", "origin", r.Bare())
	return r
}

// Bare is the path of the bare repository, and Work that of the working copy.
func (r *Repo) Bare() string { return filepath.Join(r.root, "fleet.git") }

// Work is the path of the working copy.
func (r *Repo) Work() string { return filepath.Join(r.root, "work") }

// URL is the file:// URL of the bare repository.
func (r *Repo) URL() string { return "file://" + r.Bare() }

// Git runs git in the working copy.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	return r.run(r.Work(), args...)
}

func (r *Repo) run(dir string, args ...string) string {
	r.t.Helper()
	command := exec.Command("git", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := command.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Write puts files into the working copy; an empty content removes the file.
func (r *Repo) Write(files map[string]string) {
	r.t.Helper()
	for name, content := range files {
		path := filepath.Join(r.Work(), name)
		if content == "" {
			if err := os.RemoveAll(path); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Commit writes files, commits everything and pushes with force. It returns the commit.
func (r *Repo) Commit(message string, files map[string]string) string {
	r.t.Helper()
	r.Write(files)
	r.Git("add", "-A")
	r.Git("commit", "-q", "--allow-empty", "-m", message)
	r.Git("push", "-q", "--force", "origin", "HEAD")
	return r.Git("rev-parse", "HEAD")
}

// Delete removes the bare repository.
func (r *Repo) Delete() {
	r.t.Helper()
	if err := os.RemoveAll(r.Bare()); err != nil {
		r.t.Fatal(err)
	}
}

// DeleteBranch removes a branch from the bare repository.
func (r *Repo) DeleteBranch(name string) {
	r.t.Helper()
	r.run(r.Bare(), "update-ref", "-d", "refs/heads/"+name)
}

// HTTPS is a server of git's smart protocol behind basic authentication.
type HTTPS struct {
	URL string
	// CA is the certificate to trust, in PEM.
	CA []byte
}

// ServeHTTPS serves the repository at URL with git-http-backend.
func ServeHTTPS(t testing.TB, r *Repo, username, password string) HTTPS {
	t.Helper()
	backend := filepath.Join(r.run(r.root, "--exec-path"), "git-http-backend")
	handler := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + r.root, "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		user, pass, ok := request.BasicAuth()
		if !ok || user != username || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return HTTPS{URL: server.URL + "/fleet.git", CA: ca}
}

// SSH is a server that runs git-upload-pack for one client key.
type SSH struct {
	URL string
	// ClientKey is the private key that it lets in.
	ClientKey []byte
	// KnownHosts names its key; OtherHost names another host only, OtherKey the right host with another key.
	KnownHosts, OtherHost, OtherKey []byte
}

// NewSSHKey returns a new private key as ssh-keygen writes it.
func NewSSHKey(t testing.TB) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "test")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func signer(t testing.TB, key []byte) ssh.Signer {
	t.Helper()
	s, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ServeSSH serves the repository at URL.
func ServeSSH(t testing.TB, r *Repo) SSH {
	t.Helper()
	clientKey := NewSSHKey(t)
	host, other := signer(t, NewSSHKey(t)), signer(t, NewSSHKey(t))
	allowed := string(signer(t, clientKey).PublicKey().Marshal())
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != allowed {
			return nil, fmt.Errorf("key is not allowed")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSSHConn(conn, config)
		}
	}()
	address := listener.Addr().String()
	line := func(address string, key ssh.PublicKey) []byte {
		return []byte(knownhosts.Line([]string{knownhosts.Normalize(address)}, key) + "\n")
	}
	return SSH{
		URL: "ssh://git@" + address + r.Bare(), ClientKey: clientKey,
		KnownHosts: line(address, host.PublicKey()), OtherHost: line("example.com:22", host.PublicKey()), OtherKey: line(address, other.PublicKey()),
	}
}

func serveSSHConn(conn net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go serveSSHChannel(channel, requests)
	}
}

// serveSSHChannel runs the one command that a client of git asks for: git-upload-pack 'PATH'.
func serveSSHChannel(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	for request := range requests {
		var payload struct{ Command string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &payload) != nil {
			_ = request.Reply(false, nil)
			continue
		}
		path, ok := strings.CutPrefix(payload.Command, "git-upload-pack '")
		_ = request.Reply(ok, nil)
		if !ok {
			return
		}
		command := exec.Command("git", "upload-pack", strings.TrimSuffix(path, "'"))
		command.Stdout, command.Stderr = channel, channel.Stderr()
		in, err := command.StdinPipe()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = in.Close() }()
			buf := make([]byte, 32<<10)
			for {
				n, err := channel.Read(buf)
				if n > 0 {
					if _, werr := in.Write(buf[:n]); werr != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		}()
		status := uint32(0)
		if err := command.Run(); err != nil {
			status = 128
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}
