// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// dist is the page as `make` builds it from page/. A fresh clone has only .keep there.
//
//go:embed all:dist
var dist embed.FS

// noncePlaceholder in index.html is replaced by the nonce of the answer.
const noncePlaceholder = "__CSP_NONCE__"

const notBuilt = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Wasmbed</title></head>
<body><h1>The page is not built</h1>
<p>This program was built without the dashboard's page. Build it with <code>make build</code> (it needs Node), and start the dashboard again.</p>
<p>What the page shows is there as JSON under <code>/api/v1/</code>: see <code>dashboard/openapi.yaml</code>.</p></body></html>
`

// asset is one file of the page.
type asset struct {
	content, zipped []byte
	kind            string
	immutable       bool
}

// page serves the built page: its files, and index.html for every other path, since the page has routes of its own.
type page struct {
	assets map[string]asset
	index  string
	built  bool
}

// newPage reads the page's files and compresses them once.
func newPage(files fs.FS) (*page, error) {
	p := &page{assets: map[string]asset{}, index: notBuilt}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Base(name) == ".keep" {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			p.index, p.built = string(content), true
			return nil
		}
		p.assets["/"+name] = newAsset(name, content)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	return p, nil
}

func newAsset(name string, content []byte) asset {
	a := asset{content: content, kind: mime.TypeByExtension(path.Ext(name)), immutable: strings.HasPrefix(name, "assets/")}
	switch path.Ext(name) { // not what the machine's tables say
	case ".js":
		a.kind = "text/javascript; charset=utf-8"
	case ".css":
		a.kind = "text/css; charset=utf-8"
	case ".svg":
		a.kind = "image/svg+xml"
	case ".woff2":
		a.kind = "font/woff2"
	}
	if a.kind == "" {
		a.kind = "application/octet-stream"
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(content)
	if z.Close() == nil && zipped.Len() < len(content)*9/10 {
		a.zipped = zipped.Bytes()
	}
	return a
}

// ServeHTTP implements http.Handler. The page holds nothing of the fleet: it needs no token.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a, ok := p.assets[r.URL.Path]; ok {
		a.serve(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/assets/") {
		fail(w, http.StatusNotFound, "NotFound", "the page has no such file")
		return
	}
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "+
		"manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	if !p.built {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(strings.ReplaceAll(p.index, noncePlaceholder, nonce)))
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	if a.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	body := a.content
	if a.zipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = a.zipped
		}
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
