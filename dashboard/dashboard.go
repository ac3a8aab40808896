// SPDX-License-Identifier: Apache-2.0

// Package dashboard shows a fleet and changes nothing: it reads the API server through caches, with an identity that
// has no write verbs, and answers GET requests of whoever knows the token.
package dashboard

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Options of the dashboard's process.
type Options struct {
	// Config reaches the API server with the dashboard's identity.
	Config *rest.Config
	// Listen is the address for browsers.
	Listen string
	// TokenFile holds the token that opens the dashboard.
	TokenFile string
	Log       logr.Logger
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	token, err := os.ReadFile(o.TokenFile)
	if err != nil {
		return fmt.Errorf("read token: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register kinds: %w", err)
	}
	objects, err := cache.New(o.Config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return fmt.Errorf("watch the API server: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if err := objects.Start(ctx); err != nil {
			o.Log.Error(err, "the API server is no longer watched")
			cancel()
		}
	}()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           Handler(objects, strings.TrimSpace(string(token))),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	o.Log.Info("dashboard serves", "address", listener.Addr().String())
	stopped := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	})
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Handler answers GET requests that carry the token, as a bearer token or in the query.
func Handler(objects client.Reader, token string) http.Handler {
	mux := http.NewServeMux()
	for plural, newList := range kinds {
		mux.HandleFunc("GET /api/v1/"+plural, func(w http.ResponseWriter, r *http.Request) { serveList(w, r, objects, newList()) })
	}
	mux.HandleFunc("GET /{$}", serveIndex)
	return secure(token, mux)
}

var kinds = map[string]func() client.ObjectList{
	"repositories": func() client.ObjectList { return &v1alpha1.RepositoryList{} },
	"gateways":     func() client.ObjectList { return &v1alpha1.GatewayList{} },
	"devices":      func() client.ObjectList { return &v1alpha1.DeviceList{} },
	"applications": func() client.ObjectList { return &v1alpha1.ApplicationList{} },
	"instances":    func() client.ObjectList { return &v1alpha1.InstanceList{} },
}

// secure refuses whoever does not know the token, and tells browsers to be careful with the answer.
func secure(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			given = r.URL.Query().Get("token")
		}
		got := sha256.Sum256([]byte(given))
		if token == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			h.Set("WWW-Authenticate", "Bearer")
			http.Error(w, "this page needs the token that `wasmbed up` prints: ?token=… or a bearer token", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveList writes all objects of a kind, as {"items": […]}.
func serveList(w http.ResponseWriter, r *http.Request, objects client.Reader, list client.ObjectList) {
	var options []client.ListOption
	if namespace := r.URL.Query().Get("namespace"); namespace != "" {
		options = append(options, client.InNamespace(namespace))
	}
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	if err := objects.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		http.Error(w, "the API server cannot be read now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// serveIndex lists what there is to read.
func serveIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "Wasmbed, read-only. There is:")
	for _, plural := range slices.Sorted(maps.Keys(kinds)) {
		_, _ = fmt.Fprintln(w, "  GET /api/v1/"+plural+"?namespace=…")
	}
}
