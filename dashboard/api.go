// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"wasmbed.dev/dashboard/internal/access"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/terminal"
	"wasmbed.dev/dashboard/internal/views"
)

// route is one GET request of openapi.yaml that answers with a view.
type route struct {
	path string
	view string
}

// routes are the views; {names} of a path are parameters of the view.
var routes = []route{
	{"overview", "overview"}, {"problems", "problems"}, {"repositories", "repositories"},
	{"commits", "commits"}, {"commits/{commit}", "commit"},
	{"applications", "applications"}, {"applications/{namespace}/{name}", "application"},
	{"devices", "devices"}, {"devices/{namespace}/{name}", "device"}, {"devices/{namespace}/{name}/metrics", "metrics"},
	{"instances", "instances"}, {"gateways", "gateways"}, {"gateways/{namespace}/{name}", "gateway"},
	{"topology", "topology"}, {"facets", "facets"}, {"events", "events"}, {"system", "system"},
}

const apiPrefix = "/api/v1/"

// server answers requests.
type server struct {
	engine *views.Engine
	guard  *access.Guard
	hub    *stream.Hub
	page   http.Handler
	log    logr.Logger
	// past reads the lines that gateways keep; nil without an identity.
	past     func(context.Context, views.Params, fleet.Scope) (*views.Logs, error)
	terminal *terminal.Terminal
}

// listAnswer is a window of a list.
type listAnswer struct {
	Total  int         `json:"total"`
	All    int         `json:"all"`
	Offset int         `json:"offset"`
	Items  []fleet.Row `json:"items"`
}

type errorAnswer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type sessionAnswer struct {
	User       string    `json:"user"`
	Expires    time.Time `json:"expires"`
	Namespaces []string  `json:"namespaces,omitempty"`
}

// handler has every path that there is; only GET and HEAD are served.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		names := pathNames(r.path)
		mux.HandleFunc("GET "+apiPrefix+r.path, s.admitted(func(w http.ResponseWriter, q *http.Request, who *access.Viewer) {
			s.serveView(w, q, who, r.view, names)
		}))
	}
	mux.HandleFunc("GET "+apiPrefix+"logs", s.admitted(s.serveLogs))
	mux.HandleFunc("GET "+apiPrefix+"terminal", s.admitted(s.serveTerminal))
	mux.HandleFunc("GET "+apiPrefix+"session", s.admitted(s.serveSession))
	mux.HandleFunc("GET "+apiPrefix+"stream", s.admitted(func(w http.ResponseWriter, q *http.Request, who *access.Viewer) { s.hub.Serve(w, q, who) }))
	mux.HandleFunc(apiPrefix, s.admitted(func(w http.ResponseWriter, q *http.Request, _ *access.Viewer) {
		if onlyReads(w, q) {
			fail(w, http.StatusNotFound, "NotFound", "there is no such path: see dashboard/openapi.yaml")
		}
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if onlyReads(w, r) && !s.guard.Enter(w, r) {
			s.page.ServeHTTP(w, r)
		}
	})
	return careful(mux)
}

// onlyReads refuses every method but GET and HEAD.
func onlyReads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	fail(w, http.StatusMethodNotAllowed, "BadRequest", "the dashboard only reads: change the fleet in git")
	return false
}

var pathName = regexp.MustCompile(`\{(\w+)\}`)

func pathNames(path string) (names []string) {
	for _, m := range pathName.FindAllStringSubmatch(path, -1) {
		names = append(names, m[1])
	}
	return names
}

// careful tells browsers to be careful with every answer.
func careful(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// admitted serves viewers only.
func (s *server) admitted(next func(http.ResponseWriter, *http.Request, *access.Viewer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.guard.Identify(r)
		switch {
		case errors.Is(err, access.ErrTooMany):
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusTooManyRequests, "TooMany", err.Error())
		case errors.Is(err, access.ErrUnavailable):
			fail(w, http.StatusServiceUnavailable, "Unavailable", err.Error())
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "Unauthorized", err.Error())
		default:
			next(w, r, who)
		}
	}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errorAnswer{code, message})
}

func failWith(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, views.ErrBadRequest):
		fail(w, http.StatusBadRequest, "BadRequest", views.Plain(err))
	case errors.Is(err, views.ErrNotFound):
		fail(w, http.StatusNotFound, "NotFound", views.Plain(err))
	default:
		fail(w, http.StatusServiceUnavailable, "Unavailable", views.Plain(err))
	}
}

// paramsOf are the query's and the path's parameters together.
func paramsOf(r *http.Request, names []string) (views.Params, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errors.Join(views.ErrBadRequest, errors.New("the query string cannot be read"))
	}
	p, err := views.ParamsOfURL(values)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		p[name] = r.PathValue(name)
	}
	return p, nil
}

func (s *server) serveView(w http.ResponseWriter, r *http.Request, who *access.Viewer, view string, names []string) {
	p, err := paramsOf(r, names)
	if err != nil {
		failWith(w, err)
		return
	}
	list, err := s.engine.OpenList(view, p, who.Scope)
	if err != nil {
		failWith(w, err)
		return
	}
	if list != nil {
		defer list.Close()
		rows, total, all := list.Rows()
		answer(w, r, listAnswer{Total: total, All: all, Offset: list.Window.Offset, Items: rows})
		return
	}
	value, err := s.engine.Compute(r.Context(), view, p, who.Scope)
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, r, value)
}

func (s *server) serveLogs(w http.ResponseWriter, r *http.Request, who *access.Viewer) {
	p, err := paramsOf(r, nil)
	switch {
	case err != nil:
		failWith(w, err)
	case s.past == nil:
		fail(w, http.StatusServiceUnavailable, "Unavailable", "the dashboard has no identity to ask gateways with")
	default:
		lines, err := s.past(r.Context(), p, who.Scope)
		if err != nil {
			failWith(w, err)
			return
		}
		answer(w, r, lines)
	}
}

// terminalOutput is a part of what a command says.
type terminalOutput struct {
	Columns []string   `json:"columns,omitempty"`
	Rows    [][]string `json:"rows,omitempty"`
	Text    string     `json:"text,omitempty"`
}

type terminalAnswer struct {
	Output []terminalOutput `json:"output"`
}

// serveTerminal runs one command to its end; one that follows is refused.
func (s *server) serveTerminal(w http.ResponseWriter, r *http.Request, who *access.Viewer) {
	p, err := paramsOf(r, nil)
	if err == nil {
		err = p.Only("line")
	}
	if err != nil {
		failWith(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	a := terminalAnswer{Output: []terminalOutput{}}
	err = s.terminal.RunOnce(ctx, who.User, p["line"], who.Scope, func(c stream.Chunk) {
		a.Output = append(a.Output, terminalOutput{c.Columns, c.Rows, c.Text})
	})
	if err != nil {
		failWith(w, err)
		return
	}
	answer(w, r, a)
}

// serveSession says who one is. A bearer gets the cookie that makes a browser the bearer of the same token.
func (s *server) serveSession(w http.ResponseWriter, r *http.Request, who *access.Viewer) {
	if r.Header.Get("Authorization") != "" && access.SameOrigin(r) {
		http.SetCookie(w, s.guard.Cookie(who, r.TLS != nil))
	}
	a := sessionAnswer{User: who.User, Expires: who.Expires}
	if !who.Scope.All() {
		a.Namespaces = who.Scope.List()
	}
	answer(w, r, a)
}

var zippers = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return z
}}

// zipFrom is from how many bytes on an answer is compressed.
const zipFrom = 1024

// answer writes JSON.
func answer(w http.ResponseWriter, r *http.Request, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, "Unavailable", "internal error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if len(body) < zipFrom || !acceptsGzip(r) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Vary", "Accept-Encoding")
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	z.Reset(w)
	_, _ = z.Write(body)
	_ = z.Close()
}

func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" && strings.TrimSpace(quality) != "q=0" {
			return true
		}
	}
	return false
}
