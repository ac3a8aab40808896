// SPDX-License-Identifier: Apache-2.0

// Package manager is the controllers process: one controller-runtime manager with the reconcilers of Repositories,
// Applications, Devices and Gateways, and the HTTPS server of the module store. It is wiring.
package manager

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/application"
	"wasmbed.dev/controllers/internal/device"
	"wasmbed.dev/controllers/internal/forge"
	"wasmbed.dev/controllers/internal/gateway"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/internal/sync"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
)

// Options of Run.
type Options struct {
	// Kubeconfig of the API server; empty: what the environment gives (in-cluster).
	Kubeconfig string
	// Config of the API server in place of Kubeconfig.
	Config *rest.Config
	// StoreDir keeps modules, and GitDir the clones of repositories.
	StoreDir, GitDir string
	// StoreListen is where gateways fetch modules.
	StoreListen string
	// HookListen is where forges say that something was pushed, on loopback; empty: nowhere.
	HookListen string
	// HealthListen is where /healthz and /readyz are served, on loopback; empty: nowhere.
	HealthListen string
	Log          logr.Logger
}

// Run runs the controllers until ctx ends.
func Run(ctx context.Context, options Options) error {
	ctrl.SetLogger(options.Log)
	mgr, err := newManager(options)
	if err != nil {
		return err
	}
	modules, err := store.Open(options.StoreDir)
	if err != nil {
		return err
	}
	if err := setup(mgr, modules, options); err != nil {
		return err
	}
	server := &storeServer{
		listen: options.StoreListen, store: modules, secrets: mgr.GetAPIReader(),
		log: options.Log.WithName("store"),
	}
	if err := mgr.Add(server); err != nil {
		return fmt.Errorf("adding the store's server: %w", err)
	}
	if options.HookListen != "" {
		if err := mgr.Add(newHookServer(mgr, options)); err != nil {
			return fmt.Errorf("adding the webhooks' server: %w", err)
		}
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}
	return nil
}

func setup(mgr ctrl.Manager, modules *store.Store, options Options) error {
	identities, err := identity.New(mgr, nil)
	if err != nil {
		return err
	}
	burst := &loop.Burst{}
	return errors.Join(
		sync.Setup(mgr, sync.Options{GitDir: options.GitDir, Store: modules, Burst: burst}),
		forge.Setup(mgr),
		application.Setup(mgr, application.Options{}),
		device.Setup(mgr, device.Options{Identities: identities, Burst: burst}),
		gateway.Setup(mgr, gateway.Options{Identities: identities}),
	)
}

func newManager(options Options) (ctrl.Manager, error) {
	config := options.Config
	if config == nil {
		var err error
		if config, err = clientcmd.BuildConfigFromFlags("", options.Kubeconfig); err != nil {
			return nil, fmt.Errorf("reading the kubeconfig: %w", err)
		}
	}
	config = rest.CopyConfig(config)
	// The API server's priority and fairness is the limit, not this client.
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	shutdown := 10 * time.Second
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Logger: options.Log, GracefulShutdownTimeout: &shutdown,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: options.HealthListen,
		Cache:                  cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		Client: client.Options{Cache: &client.CacheOptions{
			// Secrets are read one by one where they are needed; this process keeps none of all the cluster's.
			DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if options.HealthListen == "" {
		return mgr, nil
	}
	synced := func(r *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(r.Context()) {
			return errors.New("caches are not synced")
		}
		return nil
	}
	return mgr, errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", synced))
}

// storeServer serves modules to gateways and clients of the installation. Its identity is the Secret of client
// "controllers", which the gateway controller makes and renews.
type storeServer struct {
	listen  string
	store   *store.Store
	secrets client.Reader
	log     logr.Logger
	source  pki.Source
}

// identityInterval is how often the server looks for a renewed identity; until it has one that is valid it asks every second.
const identityInterval = 10 * time.Minute

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (s *storeServer) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (s *storeServer) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("the store's server: %w", err)
	}
	go s.keepIdentity(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: pki.SecretName(pki.ClientIdentity("controllers"))})
	server := &http.Server{
		Handler:           s.store.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          quiet(s.log),
	}
	context.AfterFunc(ctx, func() {
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(within)
	})
	s.log.Info("serving modules", "address", listener.Addr().String())
	config := s.source.ServerConfig(time.Now, pki.Gateway, pki.Client)
	config.NextProtos = []string{"h2", "http/1.1"}
	if err := server.Serve(tls.NewListener(listener, config)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the store's server: %w", err)
	}
	return nil
}

// keepIdentity reads the server's own certificate, and reads it again from time to time.
func (s *storeServer) keepIdentity(ctx context.Context, key client.ObjectKey) {
	for {
		wait := identityInterval
		err := s.readIdentity(ctx, key)
		if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.log.Error(err, "cannot read the store's identity", "secret", key.String())
		}
		if held := s.source.Get(); held == nil || held.Valid(time.Now()) != nil { // as after a time when everything was off
			wait = time.Second
		} else if err != nil {
			wait = time.Minute
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (s *storeServer) readIdentity(ctx context.Context, key client.ObjectKey) error {
	secret := &corev1.Secret{}
	if err := s.secrets.Get(ctx, key, secret); err != nil {
		return err
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		return err
	}
	s.source.Set(credentials)
	return nil
}
