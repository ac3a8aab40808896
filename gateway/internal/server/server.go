// SPDX-License-Identifier: Apache-2.0

// Package server is the gateway's process: the sockets, the connections of devices with a [session.Session] each, the
// delivery of what Instances say, the writing of what devices report, and the HTTP side for the installation.
//
// What flows where:
//
//   - A connection ([conn]) reads frames into its session and carries out what the session answers.
//   - [fleet] holds the Devices, Instances, Gateway and Secret that the API server tells about.
//   - A change of either, a device that comes or goes, and a report put the device into one queue; [Server.reconcile]
//     takes it from there, sends the desired state if it differs and writes status if that differs. So status writes
//     are coalesced for each device, devices take turns, and failures are retried.
//   - [modules] is the cache of modules on disk that fetches are answered from.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/gateway/internal/session"
)

// Server is a running gateway.
type Server struct {
	opts    Options
	log     logr.Logger
	grace   time.Duration
	started time.Time
	m       *metrics

	// ctx ends when the gateway has said goodbye to its devices; group is every goroutine that a connection needs.
	ctx   context.Context
	group sync.WaitGroup

	fleet  *fleet
	source *pki.Source
	tls    *tls.Config

	handshakes *handshakes
	acceptRate *rate.Limiter
	conns      *conns
	devices    *devices
	lastEpoch  atomic.Int64
	refused    *refusals
	logs       *logs
	histories  *histories
	own        ownHistory
	modules    *modules

	queue   workqueue.TypedRateLimitingInterface[types.NamespacedName]
	writes  *rate.Limiter // status writes of all devices
	locates *rate.Limiter // look-ups of devices that are not in the cache

	settings       atomic.Pointer[settings]
	gatewayChanged chan struct{}
	address        string // for devices
	httpAddress    string
	ready          atomic.Bool
}

// settings are what the Gateway object says.
type settings struct {
	session   session.Config
	endpoints []string
}

// Run serves devices until ctx ends; then it releases them and returns. It returns an error when it cannot serve.
func Run(ctx context.Context, opts Options) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s, err := newServer(run, opts)
	if err != nil {
		return err
	}
	if err := s.awaitFleet(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	devices, installation, err := s.listen()
	if err != nil {
		return err
	}
	s.applySettings()
	return s.serve(ctx, cancel, devices, installation)
}

func newServer(ctx context.Context, opts Options) (*Server, error) {
	s := &Server{
		opts: opts, log: opts.Log, grace: opts.GracePeriod, started: time.Now(), m: newMetrics(), ctx: ctx,
		source: &pki.Source{}, handshakes: newHandshakes(), acceptRate: newAcceptRate(), conns: newConns(),
		refused: newRefusals(), logs: newLogs(), histories: newHistories(), gatewayChanged: make(chan struct{}, 1),
		writes: rate.NewLimiter(writesPerSecond, writesPerSecond), locates: rate.NewLimiter(locateRate, locateRate),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](100*time.Millisecond, 10*time.Second)),
	}
	if s.grace == 0 {
		s.grace = defaultGrace
	}
	s.devices = newDevices(s.grace, s.queue.AddAfter)
	var err error
	if s.fleet, err = newFleet(opts.Config, opts.Namespace, opts.Name, opts.Log); err != nil {
		return nil, err
	}
	source := &store.Client{URL: opts.StoreURL, TLS: s.source.ClientConfig(time.Now, pki.Client)}
	if s.modules, err = openModules(filepath.Join(opts.CacheDir, "modules"), moduleCacheBytes, source, s.m); err != nil {
		return nil, err
	}
	secret, err := ticketSecret(opts.CacheDir)
	if err != nil {
		return nil, err
	}
	s.tls = s.deviceTLS()
	s.tls.SetSessionTicketKeys(ticketKeys(secret, s.started))
	go s.rotateTickets(ctx, secret)
	go s.followOwn(ctx)
	s.m.gauge("devices", "Devices with a session.", func() float64 { return float64(s.devices.len()) })
	s.m.gauge("handshakes_pending", "TLS handshakes under way.", func() float64 { return float64(s.handshakes.len()) })
	s.m.gauge("queue_depth", "Devices that wait to be brought up to date.", func() float64 { return float64(s.queue.Len()) })
	s.m.gauge("module_cache_bytes", "Bytes of modules on disk.", func() float64 { return float64(s.modules.bytes()) })
	s.m.gauge("log_lines", "Lines of devices' logs in memory.", func() float64 { return float64(s.logs.len()) })
	return s, nil
}

// awaitFleet returns when the caches are complete, and the gateway has its object and credentials.
func (s *Server) awaitFleet(ctx context.Context) error {
	// The caches outlive ctx: a stopping gateway still writes status. They end with s.ctx.
	started := make(chan error, 1)
	secretChanged := make(chan struct{}, 1)
	go func() {
		started <- s.fleet.start(s.ctx, handlers{
			device:  s.queue.Add,
			left:    func(key types.NamespacedName) { s.queue.AddAfter(key, laggingInterval) },
			gateway: func() { notify(s.gatewayChanged) },
			secret:  func() { s.loadCredentials(); notify(secretChanged) },
		})
	}()
	s.log.Info("waiting for the API server", "gateway", s.fleet.own.String())
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	for s.source.Get() == nil || s.fleet.gateway(ctx) == nil {
		s.log.Info("waiting for the gateway's object and credentials", "secret", s.fleet.secret.String())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-secretChanged:
		case <-s.gatewayChanged:
		}
		s.loadCredentials()
	}
	return nil
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loadCredentials takes new credentials over; connections that stand are left alone.
func (s *Server) loadCredentials() {
	credentials, err := s.fleet.credentials(s.ctx)
	if err != nil {
		s.log.V(1).Info("credentials cannot be used", "error", err.Error())
		return
	}
	s.source.Set(credentials)
}

// listen opens both listeners.
func (s *Server) listen() (devices, installation net.Listener, err error) {
	if devices, err = net.Listen("tcp", s.opts.Listen); err != nil {
		return nil, nil, fmt.Errorf("listen for devices: %w", err)
	}
	if installation, err = net.Listen("tcp", s.opts.HTTPListen); err != nil {
		_ = devices.Close()
		return nil, nil, fmt.Errorf("listen for the installation: %w", err)
	}
	s.address, s.httpAddress = devices.Addr().String(), installation.Addr().String()
	return devices, installation, nil
}

// applySettings takes over what the Gateway object says; sessions that stand keep what they were told.
func (s *Server) applySettings() {
	g := s.fleet.gateway(s.ctx)
	if g == nil {
		return
	}
	endpoints := g.Spec.Endpoints
	if len(endpoints) == 0 {
		endpoints = []string{s.address}
	}
	s.handshakes.setLimit(int(g.Spec.Limits.Handshakes))
	s.setAcceptRate(int(g.Spec.Limits.AcceptRate))
	s.settings.Store(&settings{
		endpoints: endpoints,
		session: session.Config{
			MaxFrame: maxFrame, HandshakeTimeout: helloTimeout, ReportInterval: reportInterval, LogLinesPerMinute: logLinesPerMinute,
			HeartbeatInterval: heartbeatInterval(g),
			Endpoints:         endpoints,
		},
	})
}

// heartbeatInterval is what the Gateway says, and up to a minute for a gateway with very many devices: each heartbeat costs
// it an eighth of a millisecond, and histories hold a point a minute.
func heartbeatInterval(g *v1alpha1.Gateway) time.Duration {
	told := time.Duration(max(1, g.Spec.Limits.HeartbeatSeconds)) * time.Second
	spread := time.Duration(g.Status.AssignedDevices) * time.Second / mostHeartbeatsPerSecond
	return max(told, min(spread, time.Minute))
}

// serve runs until ctx ends, and then says goodbye: release, flush, stop.
func (s *Server) serve(ctx context.Context, stop context.CancelFunc, devices, installation net.Listener) error {
	web := s.httpServer()
	failed := make(chan error, 2)
	go func() {
		if err := web.Serve(tls.NewListener(installation, web.TLSConfig)); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve the installation: %w", err)
		}
	}()
	accepting, stopAccepting := context.WithCancel(ctx)
	defer stopAccepting()
	var accepted sync.WaitGroup
	accepted.Go(func() {
		if err := s.accept(accepting, devices); err != nil {
			failed <- err
		}
	})
	var workers, background sync.WaitGroup
	for range statusWorkers {
		workers.Go(s.worker)
	}
	background.Go(func() { s.keepLease(ctx) })
	background.Go(func() { keepSmall(ctx) })
	background.Go(func() { s.followGateway(ctx) })
	background.Go(func() { s.fleet.sweep(ctx) })
	s.ready.Store(true)
	s.log.Info("serving", "gateway", s.fleet.own.String(), "devices", s.address, "http", s.httpAddress)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.ready.Store(false)
	stopAccepting()
	_ = devices.Close()
	accepted.Wait()
	s.sayGoodbye()
	s.flush(&workers)
	stop()
	workers.Wait()
	s.group.Wait()
	_ = web.Close()
	if ctx.Err() != nil {
		background.Wait()
	}
	return err
}

// sayGoodbye sends all devices away, spread over as long as their return will take.
func (s *Server) sayGoodbye() {
	all := s.conns.close()
	if len(all) == 0 {
		return
	}
	s.log.Info("releasing devices", "connections", len(all))
	spread := max(time.Second, time.Duration(len(all))*time.Second/500)
	for _, c := range all {
		c.release(500*time.Millisecond+rand.N(spread), "", "the gateway stops")
	}
	select {
	case <-s.conns.empty:
		return
	case <-time.After(releaseTimeout):
	}
	for _, c := range all {
		c.stop(errStopped)
	}
	select {
	case <-s.conns.empty:
	case <-time.After(2 * lingerTimeout):
		for _, c := range all {
			_ = c.tls.NetConn().Close()
		}
	}
}

// flush lets the workers empty the queue, for a while.
func (s *Server) flush(workers *sync.WaitGroup) {
	s.queue.ShutDown()
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(flushTimeout):
		s.log.Info("stopping before all status was written", "devices", s.queue.Len())
	}
}

// followGateway keeps settings and the Gateway's own part of its status up to date.
func (s *Server) followGateway(ctx context.Context) {
	for delay := time.Duration(0); ; {
		s.applySettings()
		err := errors.Join(s.writeOwnStatus(ctx), s.fleet.followOrphans(s.ctx))
		var retry <-chan time.Time
		if err != nil && ctx.Err() == nil {
			delay = min(max(200*time.Millisecond, 2*delay), 10*time.Second)
			retry = time.After(delay)
			s.log.Error(err, "cannot bring the gateway up to date; will be retried")
		} else {
			delay = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-s.gatewayChanged:
		case <-retry:
		}
	}
}

func (s *Server) writeOwnStatus(ctx context.Context) error {
	present := s.fleet.gateway(ctx)
	if present == nil {
		return nil
	}
	next := present.DeepCopy()
	next.Status.Address, next.Status.HTTPAddress, next.Status.Version = s.address, s.httpAddress, version()
	next.Status.Endpoints = slices.Clone(s.settings.Load().endpoints)
	if next.Status.Address == present.Status.Address && next.Status.HTTPAddress == present.Status.HTTPAddress &&
		next.Status.Version == present.Status.Version && slices.Equal(next.Status.Endpoints, present.Status.Endpoints) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.fleet.live.Status().Patch(ctx, next, client.MergeFrom(present)); client.IgnoreNotFound(err) != nil {
		s.m.statusWrites.WithLabelValues("gateway", "error").Inc()
		return fmt.Errorf("status of gateway %s: %w", s.fleet.own, err)
	}
	s.m.statusWrites.WithLabelValues("gateway", "ok").Inc()
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
