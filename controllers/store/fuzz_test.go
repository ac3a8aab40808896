// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzBlobRequest asks for arbitrary blobs and ranges: nothing but what the store holds comes out.
func FuzzBlobRequest(f *testing.F) {
	const content = "module"
	digest := Digest([]byte(content))
	for _, path := range []string{digest, "sha256:..", "../../etc/passwd", strings.ToUpper(digest), digest + "/", "sha256:" + strings.Repeat("0", 64), "%2e%2e"} {
		for _, ranges := range []string{"", "bytes=0-2", "bytes=-1", "bytes=9-", "bytes=0-0,1-1,2-2", "x"} {
			f.Add(path, ranges)
		}
	}
	dir := f.TempDir()
	s, err := Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Put([]byte(content)); err != nil {
		f.Fatal(err)
	}
	handler := s.Handler()
	f.Fuzz(func(t *testing.T, path, ranges string) {
		for _, u := range []*url.URL{{Path: BlobPath + path}, {Path: BlobPath + path, RawPath: BlobPath + url.PathEscape(path)}} {
			r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"Range": {ranges}}, Host: "x", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			switch body := w.Body.String(); w.Code {
			case http.StatusOK:
				if body != content || path != digest {
					t.Errorf("%q gave %q", path, body)
				}
			case http.StatusPartialContent:
				if path != digest || !strings.Contains(w.Header().Get("Content-Type"), "multipart") && !strings.Contains(content, body) {
					t.Errorf("%q %q gave %q", path, ranges, body)
				}
			}
		}
	})
}
