// SPDX-License-Identifier: Apache-2.0

// Package dashboard shows a fleet and changes nothing. It reads the API server with an identity that has no verb that
// writes, keeps a small row for each object, and serves the page, GET requests and one websocket to whom the token, or
// the API server, admits. PROTOCOL.md and openapi.yaml are its contract.
package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/dashboard/internal/access"
	"wasmbed.dev/dashboard/internal/audit"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/gateways"
	"wasmbed.dev/dashboard/internal/machine"
	"wasmbed.dev/dashboard/internal/modules"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/terminal"
	"wasmbed.dev/dashboard/internal/views"
)

// Options of the dashboard's process.
type Options struct {
	// Config reaches the API server with the dashboard's identity.
	Config *rest.Config
	// Listen is the address for browsers.
	Listen string
	// TokenFile holds the token that opens the dashboard; empty: there is none.
	TokenFile string
	// IdentityDir holds the certificate by which gateways and the store know the dashboard: tls.crt, tls.key and ca.crt.
	// Empty: there is none, and what only they know is not shown.
	IdentityDir string
	// StoreURL is where modules come from; empty: what they import is not shown.
	StoreURL string
	// RunDir holds NAME.pid of the installation's processes on this machine; empty: they run elsewhere.
	RunDir string
	// AuditLog is the API server's audit log on this machine; empty: it is elsewhere.
	AuditLog string
	// Reviews lets in whom the API server knows by a bearer token, to see the namespaces that it may.
	Reviews bool
	Log     logr.Logger
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	token, err := readToken(o.TokenFile)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, background, err := newServer(ctx, o, token, listener.Addr().String())
	if err != nil {
		_ = listener.Close()
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, work := range background {
		running.Go(func() { work(ctx) })
	}
	o.Log.Info("dashboard serves", "address", listener.Addr().String())
	return s.serve(ctx, listener)
}

func readToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	token, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	if len(strings.TrimSpace(string(token))) < 16 {
		return "", fmt.Errorf("read token: %s holds less than 16 characters, which somebody could guess", file)
	}
	return strings.TrimSpace(string(token)), nil
}

// newServer puts the parts together; background is what has to run beside it.
func newServer(ctx context.Context, o Options, token, address string) (s *server, background []func(context.Context), err error) {
	reader, err := fleet.NewReader(o.Config)
	if err != nil {
		return nil, nil, err
	}
	rows := fleet.NewStore()
	var reviewer access.Reviewer
	if o.Reviews {
		if reviewer, err = access.NewReviewer(o.Config, func() []string { return namespacesOf(rows) }); err != nil {
			return nil, nil, err
		}
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, fmt.Errorf("address %s: %w", address, err)
	}
	guard, err := access.NewGuard(token, reviewer, port)
	if err != nil {
		return nil, nil, err
	}
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, nil, fmt.Errorf("read the page: %w", err)
	}
	built, err := newPage(files)
	if err != nil {
		return nil, nil, err
	}
	engine := &views.Engine{Store: rows, Objects: reader}
	consoles := &gateways.Consoles{Objects: reader, Store: rows}
	hub := &stream.Hub{Engine: engine, Guard: guard, Version: version(), Log: o.Log, Sources: map[string]stream.Source{"console": consoles.Tail}}
	s = &server{engine: engine, guard: guard, hub: hub, page: built, log: o.Log}
	background = append(s.measure(o), func(ctx context.Context) { rows.Watch(ctx, reader) }, rows.Derive)
	background = append(background, s.reachOut(o)...)
	s.terminal = &terminal.Terminal{Engine: engine, Past: s.past, Tail: hub.Sources["logs"], Log: o.Log}
	hub.Terminal = s.terminal
	hub.Start(ctx)
	return s, background, nil
}

// measure has the machine, where it is this one, and the dashboard itself told of in the system view.
func (s *server) measure(o Options) (background []func(context.Context)) {
	var watch *machine.Watch
	if o.RunDir != "" {
		watch = machine.New(o.RunDir)
		background = append(background, watch.Run)
	}
	s.engine.System = func(scope fleet.Scope) *views.System {
		now := time.Now()
		system := &views.System{Start: now.UTC().Truncate(time.Minute).Add(-179 * time.Minute), Step: 60, Cores: runtime.NumCPU(), Dashboard: s.hub.Figures()}
		if watch != nil && scope.All() {
			watch.Read(system, now)
		}
		return system
	}
	if o.AuditLog != "" {
		background = append(background, func(ctx context.Context) { audit.Follow(ctx, o.AuditLog, s.engine.Store) })
	}
	return background
}

// reachOut has gateways and the store asked, if the dashboard has an identity for that.
func (s *server) reachOut(o Options) (background []func(context.Context)) {
	if o.IdentityDir == "" {
		return nil
	}
	client := gateways.New(o.IdentityDir, o.Log)
	logs := &gateways.Logs{Client: client, Store: s.engine.Store}
	s.engine.Gateways, s.past = client, logs.Past
	s.hub.Sources["logs"] = logs.Tail
	if o.StoreURL != "" {
		s.engine.Modules = modules.NewReader(&store.Client{URL: o.StoreURL, TLS: client.Source().ClientConfig(time.Now, pki.Client)}).Facts
	}
	return []func(context.Context){client.Follow}
}

// namespacesOf are those that the fleet has objects in.
func namespacesOf(rows *fleet.Store) (names []string) {
	seen := map[string]bool{}
	for _, kind := range []fleet.Kind{fleet.Repositories, fleet.Gateways, fleet.Applications, fleet.Devices} {
		rows.Each(kind, fleet.Everything(), func(row fleet.Row) { seen[row.Space()] = true })
	}
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// serve answers until ctx ends.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	h := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = h.Shutdown(ctx)
	})
	defer stopped()
	if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// version of the program: the commit it was built from, when the build knows.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return setting.Value[:12]
		}
	}
	return info.Main.Version
}
