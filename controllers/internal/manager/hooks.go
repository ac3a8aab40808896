// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/forge"
)

// hookServer takes webhooks of forges, without TLS: what is in front of it has that, and each body is authenticated.
type hookServer struct {
	listen  string
	handler http.Handler
	log     logr.Logger
}

// newHookServer turns a webhook into the annotation that asks the sync controller for a fetch.
func newHookServer(mgr ctrl.Manager, options Options) *hookServer {
	log := options.Log.WithName("hooks")
	fetch := func(key types.NamespacedName) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		changed := repository.DeepCopy()
		changed.Annotations = map[string]string{v1alpha1.AnnotationReconcileAt: time.Now().UTC().Format(time.RFC3339Nano)}
		err := mgr.GetClient().Patch(ctx, changed, client.MergeFrom(repository))
		if err != nil {
			log.Error(err, "cannot ask for a fetch", "repository", key.String())
		}
		return err
	}
	receiver := &forge.Receiver{Reader: mgr.GetAPIReader(), Fetch: fetch}
	return &hookServer{listen: options.HookListen, handler: receiver.Handler(), log: log}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (s *hookServer) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (s *hookServer) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("the webhooks' server: %w", err)
	}
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: quiet(s.log),
	}
	context.AfterFunc(ctx, func() {
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(within)
	})
	s.log.Info("taking webhooks", "address", listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the webhooks' server: %w", err)
	}
	return nil
}
