// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"golang.org/x/crypto/ssh"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// maxRefs bounds the bytes of a remote's list of references.
const maxRefs = 16 << 20

// session is one conversation with a remote's upload-pack: its references, then at most one pack.
type session interface {
	refs(ctx context.Context) (*packp.AdvRefs, error)
	pack(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error)
	close()
}

func dial(ctx context.Context, source Source) (session, error) {
	u, err := url.Parse(source.URL)
	if err != nil || u.User != nil && u.Scheme != "ssh" {
		return nil, failf(api.ReasonInvalidSpec, "the url cannot be used: give scheme://host/path without credentials")
	}
	switch u.Scheme {
	case "file":
		return dialFile(ctx, u)
	case "ssh":
		return dialSSH(ctx, u, source.Credentials)
	case "http":
		if !loopback(u.Hostname()) {
			return nil, failf(api.ReasonInvalidSpec, "http:// is for loopback addresses only: use https://")
		}
		return dialHTTP(u, source.Credentials)
	case "https":
		return dialHTTP(u, source.Credentials)
	default:
		return nil, failf(api.ReasonInvalidSpec, "scheme %q cannot be used: give https://, ssh:// or file:///", u.Scheme)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// httpSession speaks the smart protocol over HTTP. go-git keeps the credentials to the origin of the URL when a server
// redirects.
type httpSession struct {
	transport.UploadPackSession
	client *http.Transport
}

func dialHTTP(u *url.URL, credentials Credentials) (session, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(credentials.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(credentials.CA) {
			return nil, failf(api.ReasonInvalidSecret, "key ca.crt of the Secret holds no certificate")
		}
	}
	client := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	endpoint, err := transport.NewEndpoint(u.String())
	if err != nil {
		return nil, failf(api.ReasonInvalidSpec, "the url cannot be used: %w", err)
	}
	var auth transport.AuthMethod
	if credentials.Password != "" {
		auth = &githttp.BasicAuth{Username: credentials.Username, Password: credentials.Password}
	}
	s, err := githttp.NewClient(&http.Client{Transport: boundedRefs{client}}).NewUploadPackSession(endpoint, auth)
	if err != nil {
		return nil, err
	}
	return &httpSession{s, client}, nil
}

func (s *httpSession) refs(ctx context.Context) (*packp.AdvRefs, error) {
	return s.AdvertisedReferencesContext(ctx)
}

func (s *httpSession) pack(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	return s.UploadPack(ctx, request)
}

func (s *httpSession) close() { s.client.CloseIdleConnections() }

// boundedRefs cuts off a list of references that is too long.
type boundedRefs struct{ http.RoundTripper }

func (t boundedRefs) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err == nil && request.Method == http.MethodGet {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxRefs), response.Body}
	}
	return response, err
}

// streamSession speaks with an upload-pack at the other end of a pipe: a local process or an SSH channel.
type streamSession struct {
	in     io.WriteCloser
	out    *bufio.Reader
	errors *tail
	// wait returns when the other end is done, so that errors is whole.
	wait func()
	// end frees the process or connection.
	end func()
}

func (s *streamSession) refs(context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	bounded := &io.LimitedReader{R: s.out, N: maxRefs}
	err := refs.Decode(bounded)
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, transport.ErrEmptyRemoteRepository
	case errors.Is(err, packp.ErrEmptyInput):
		s.wait()
		return nil, fmt.Errorf("%w: %s", errNoAnswer, s.errors)
	case err != nil:
		return nil, err
	case refs.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// errNoAnswer: the remote's upload-pack ended without a list of references; what it said on standard error follows.
var errNoAnswer = errors.New("the remote gives no references")

func (s *streamSession) pack(_ context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	if err := request.Validate(); err != nil {
		return nil, err
	}
	var message bytes.Buffer
	if err := request.UploadRequest.Encode(&message); err != nil {
		return nil, err
	}
	if err := request.UploadHaves.Encode(&message, false); err != nil {
		return nil, err
	}
	if err := pktline.NewEncoder(&message).EncodeString("done\n"); err != nil {
		return nil, err
	}
	if _, err := s.in.Write(message.Bytes()); err != nil {
		return nil, err
	}
	if err := s.in.Close(); err != nil {
		return nil, err
	}
	response := packp.NewUploadPackResponse(request)
	if err := response.Decode(io.NopCloser(s.out)); err != nil {
		s.wait()
		return nil, fmt.Errorf("%w: %s", err, s.errors)
	}
	return response, nil
}

func (s *streamSession) close() {
	// A flush tells an upload-pack that still waits for a request that none comes.
	_, _ = s.in.Write(pktline.FlushPkt)
	_ = s.in.Close()
	s.end()
}

func dialFile(ctx context.Context, u *url.URL) (session, error) {
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return nil, failf(api.ReasonInvalidSpec, "the url cannot be used: give file:///absolute/path")
	}
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, "git", "upload-pack", "--timeout=600", u.Path)
	// The environment of this process must not choose another repository or protocol.
	command.Env = []string{"PATH=" + execPath(), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=" + u.Path}
	command.WaitDelay = time.Second
	stderr := &tail{}
	command.Stderr = stderr
	in, err := command.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := command.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("starting git upload-pack: %w", err)
	}
	wait := sync.OnceFunc(func() { _ = command.Wait() })
	end := func() {
		_ = out.Close()
		cancel()
		wait()
	}
	return &streamSession{in: in, out: bufio.NewReaderSize(out, 64<<10), errors: stderr, wait: wait, end: end}, nil
}

func dialSSH(ctx context.Context, u *url.URL, credentials Credentials) (session, error) {
	port := 22
	if p := u.Port(); p != "" {
		var err error
		if port, err = strconv.Atoi(p); err != nil {
			return nil, failf(api.ReasonInvalidSpec, "the url cannot be used: port %q", p)
		}
	}
	address := net.JoinHostPort(u.Hostname(), strconv.Itoa(port))
	config, err := credentials.clientConfig(u.User.Username(), address)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	client, err := sshClient(conn, address, config)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	end := func() {
		stop()
		_ = client.Close()
	}
	s, err := sshUploadPack(client, u.Path)
	if err != nil {
		end()
		return nil, err
	}
	s.end = end
	return s, nil
}

func sshClient(conn net.Conn, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

func sshUploadPack(client *ssh.Client, path string) (*streamSession, error) {
	channel, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	stderr := &tail{}
	channel.Stderr = stderr
	in, err := channel.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := channel.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := channel.Start("git-upload-pack '" + strings.ReplaceAll(path, "'", `'\''`) + "'"); err != nil {
		return nil, err
	}
	wait := sync.OnceFunc(func() { _ = channel.Wait() })
	return &streamSession{in: in, out: bufio.NewReaderSize(out, 64<<10), errors: stderr, wait: wait}, nil
}

// request asks for a pack that leads from the haves to the wants.
func request(refs *packp.AdvRefs, wants, haves []plumbing.Hash) (*packp.UploadPackRequest, error) {
	r := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	if refs.Capabilities.Supports(capability.NoProgress) {
		if err := r.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, err
		}
	}
	r.Wants, r.Haves = wants, haves
	return r, nil
}
