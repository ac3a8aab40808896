// SPDX-License-Identifier: Apache-2.0

// Package gateways asks the gateways of the installation what only they know: live facts, histories and logs. It
// proves itself with the dashboard's client certificate, which somebody else puts into a directory: the dashboard
// reads no Secret.
package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/dashboard/internal/views"
)

const (
	askTimeout = 5 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 2 << 20
	// reloadEvery is how often the directory is looked at.
	reloadEvery = 2 * time.Second
)

// Client asks gateways. It implements views.Gateways.
type Client struct {
	dir    string
	log    logr.Logger
	source pki.Source
	loaded map[string][]byte // the identity in use, by file
	http   *http.Client
}

// New makes a client with the identity in dir: tls.crt, tls.key and ca.crt, as in a Secret. Follow must run for it to
// become and stay good.
func New(dir string, log logr.Logger) *Client {
	c := &Client{dir: dir, log: log}
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: c.source.ClientConfig(time.Now, pki.Gateway), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: askTimeout, ResponseHeaderTimeout: askTimeout, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
	}}
	c.reload()
	return c
}

// Source is the identity, for other clients of the installation's servers.
func (c *Client) Source() *pki.Source { return &c.source }

// Follow takes a renewed identity over until ctx ends.
func (c *Client) Follow(ctx context.Context) {
	ticker := time.NewTicker(reloadEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.reload()
		}
	}
}

func (c *Client) reload() {
	data := map[string][]byte{}
	for _, key := range []string{pki.KeyCertificate, pki.KeyPrivate, pki.KeyBundle} {
		var err error
		if data[key], err = os.ReadFile(filepath.Join(c.dir, key)); err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // half written: the next look finds the rest
				c.log.Error(err, "cannot read the identity")
			}
			return
		}
	}
	if maps.EqualFunc(data, c.loaded, bytes.Equal) {
		return
	}
	credentials, err := pki.ParseCredentials(data)
	if err != nil {
		c.log.V(1).Info("the identity cannot be used yet", "error", err.Error())
		return
	}
	c.source.Set(credentials)
	c.loaded = data
}

// open asks a gateway and returns the answer's body, which the caller closes.
func (c *Client) open(ctx context.Context, address, path string) (*http.Response, error) {
	if c.source.Get() == nil {
		return nil, fmt.Errorf("%w: the dashboard has no identity yet", views.ErrUnavailable)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the gateway's address cannot be used", views.ErrUnavailable)
	}
	response, err := c.http.Do(request)
	if err != nil {
		c.log.V(1).Info("a gateway does not answer", "address", address, "error", err.Error())
		return nil, fmt.Errorf("%w: the gateway at %s does not answer", views.ErrUnavailable, address)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		_ = response.Body.Close()
		if response.StatusCode == http.StatusNotFound {
			return nil, errNothing
		}
		return nil, fmt.Errorf("%w: the gateway answers %s: %.200s", views.ErrUnavailable, response.Status, strings.TrimSpace(string(text)))
	}
	return response, nil
}

// errNothing: the gateway knows nothing of what was asked for.
var errNothing = errors.New("the gateway knows nothing of it")

func (c *Client) ask(ctx context.Context, address, path string, into any) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	response, err := c.open(ctx, address, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(into); err != nil {
		return nil, fmt.Errorf("%w: the gateway's answer cannot be read", views.ErrUnavailable)
	}
	return response, nil
}

func devicePath(prefix, namespace, name string) string {
	return prefix + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

// history is what a gateway answers.
type history struct {
	views.History
	Crashes []views.Crash `json:"crashes"`
}

// Device implements views.Gateways.
func (c *Client) Device(ctx context.Context, address, namespace, name string) (*views.Live, []views.Crash, error) {
	var past history
	if _, err := c.ask(ctx, address, devicePath("/v1/history/", namespace, name), &past); err != nil && !errors.Is(err, errNothing) {
		return nil, nil, err
	}
	live := &views.Live{Apps: []views.LiveApp{}}
	if _, err := c.ask(ctx, address, devicePath("/v1/devices/", namespace, name), live); err != nil {
		if errors.Is(err, errNothing) {
			err = fmt.Errorf("%w: the gateway has no session with the device", views.ErrUnavailable)
		}
		return nil, past.Crashes, err
	}
	return live, past.Crashes, nil
}

// Metrics implements views.Gateways.
func (c *Client) Metrics(ctx context.Context, address, namespace, name string) (*views.History, error) {
	var past history
	if _, err := c.ask(ctx, address, devicePath("/v1/history/", namespace, name), &past); err != nil {
		if errors.Is(err, errNothing) {
			err = fmt.Errorf("%w: the gateway has heard no heartbeat of the device yet", views.ErrUnavailable)
		}
		return nil, err
	}
	return &past.History, nil
}

// Gateway implements views.Gateways.
func (c *Client) Gateway(ctx context.Context, address string) (*views.GatewayLive, error) {
	live := &views.GatewayLive{}
	var past history
	response, err := c.ask(ctx, address, "/v1/history", &past)
	if err != nil {
		return nil, err
	}
	live.History = &past.History
	if state := response.TLS; state != nil && len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		live.Certificate = &views.Certificate{Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC()}
	}
	if _, err := c.ask(ctx, address, "/v1/refused", &live.Refused); err != nil {
		return nil, err
	}
	const most = 50
	live.Refused = live.Refused[:min(len(live.Refused), most)]
	return live, nil
}
