// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"wasmbed.dev/controllers/pki"
)

// FuzzHTTP asks the gateway arbitrary questions: it answers, and with well-formed lines.
func FuzzHTTP(f *testing.F) {
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/devices/a/b", "/v1/logs", "/v1/refused", "/v1/devices/../../x", "//"} {
		for _, query := range []string{"", "device=a/b", "device=%zz", "follow=0&device=", "a;b", "device=a&device=b"} {
			f.Add(path, query)
		}
	}
	s := &Server{
		m: newMetrics(), logs: newLogs(), refused: newRefusals(), source: &pki.Source{},
		devices: newDevices(time.Second, nil),
	}
	s.logs.add(LogLine{Device: "a/b", Text: "hello"})
	handler := s.httpServer().Handler
	f.Fuzz(func(t *testing.T, path, query string) {
		asked := &url.URL{Path: path, RawQuery: query}
		if asked.Query().Get("follow") == "1" {
			return // goes on until it is ended
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: asked, Host: "x", Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1})
		if w.Code != http.StatusOK || path != "/v1/logs" {
			return
		}
		for line := range bytes.Lines(w.Body.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("a line of the log: %q", line)
			}
		}
	})
}
