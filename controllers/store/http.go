// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// BlobPath is the path of a blob on the server; the digest follows it.
const BlobPath = "/v1/blobs/"

// Handler serves blobs at GET and HEAD /v1/blobs/sha256:HEX, ranges included. It must stand behind TLS whose handshake
// lets in only those who may read (pki.Source.ServerConfig).
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+BlobPath+"{digest}", func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "a client certificate of this installation is required", http.StatusUnauthorized)
			return
		}
		s.serveBlob(w, r, r.PathValue("digest"))
	})
	return mux
}

func (s *Store) serveBlob(w http.ResponseWriter, r *http.Request, digest string) {
	content, _, err := s.Open(digest)
	switch {
	case errors.Is(err, ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case errors.Is(err, ErrInvalidDigest):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		http.Error(w, "the store cannot read the blob", http.StatusInternalServerError)
		return
	}
	defer func() { _ = content.Close() }()
	w.Header().Set("Content-Type", "application/wasm")
	w.Header().Set("ETag", `"`+digest+`"`)
	w.Header().Set("Cache-Control", "private, immutable")
	http.ServeContent(w, r, "", time.Time{}, content)
}

// Client fetches blobs from a store's server.
type Client struct {
	// URL of the server, without a path: https://host:port.
	URL string
	// TLS carries the client's certificate and the authorities that the server must come from.
	TLS *tls.Config

	once sync.Once
	http *http.Client
}

// Fetch returns the blob with the given digest, checked against it. ErrNotFound means that the server does not hold it.
func (c *Client) Fetch(ctx context.Context, digest string) ([]byte, error) {
	if !ValidDigest(digest) {
		return nil, fmt.Errorf("%w %q", ErrInvalidDigest, digest)
	}
	c.once.Do(func() {
		c.http = &http.Client{Transport: &http.Transport{
			TLSClientConfig:       c.TLS,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   2,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
		}}
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+BlobPath+digest, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", digest, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", digest, err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetching %s: %w", digest, err)
	case response.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("fetching: %w: %s", ErrNotFound, digest)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetching %s: server answers %s", digest, response.Status)
	case len(content) > MaxSize:
		return nil, fmt.Errorf("fetching %s: %w", digest, ErrTooLarge)
	case Digest(content) != digest:
		return nil, fmt.Errorf("fetching %s: %w", digest, ErrCorrupt)
	}
	return content, nil
}
