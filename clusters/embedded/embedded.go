// SPDX-License-Identifier: Apache-2.0

// Package embedded runs the upstream Kubernetes API server, its etcd and the
// few controllers that custom resources need in one process.
//
// Order of a start: lock of the data directory, port, identities, etcd, API
// server, controllers. A stop goes the other way. Upstream registers names and
// metrics globally, so a process can start a cluster once: a restart is a new
// process.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// Errors that a supervisor tells apart: starting again helps against none.
var (
	// ErrUsage reports options that cannot work.
	ErrUsage = errors.New("usage")
	// ErrLocked reports that another instance runs on the data directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrPortBusy reports that the port of the API is taken.
	ErrPortBusy = errors.New("port is in use")
	// ErrDataDir reports a data directory that is damaged, foreign or newer.
	ErrDataDir = errors.New("data directory cannot be used")
)

const (
	readyTimeout = 90 * time.Second
	stopTimeout  = 10 * time.Second
	// renewalInterval is how often certificates are looked at: the clock may be set right at any time.
	renewalInterval = time.Minute
)

// Options say where a cluster keeps its state and where it listens.
type Options struct {
	DataDir string
	Port    int
	// Bind is the IP address to listen on.
	Bind string
	Log  *slog.Logger
}

// Ready describes a cluster that serves.
type Ready struct {
	// Seconds from the call of Run until the API server was ready.
	Seconds float64
	URL     string
}

// Run starts a cluster, calls ready once when it serves, and returns after ctx
// is done and all is stopped, or with an error as soon as a part fails.
func Run(ctx context.Context, options Options, ready func(Ready)) error {
	started := time.Now()
	bind, err := options.validate()
	if err != nil {
		return err
	}
	go fitCollector(ctx)

	dir, err := openDataDir(options.DataDir)
	if err != nil {
		return err
	}
	defer dir.close()
	listener, err := listen(bind, options.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	ids := newIdentities(dir, bind, options.Port)
	if err := ids.ensure(time.Now()); err != nil {
		return err
	}
	c := &cluster{dir: dir, ids: ids, log: options.Log, parts: newPartLogs(), failed: make(chan error, 3)}
	defer c.stop()
	go c.renew(ctx, renewalInterval)
	if err := c.start(ctx, listener); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop while starting
		}
		c.parts.show(true)
		return err
	}
	c.parts.show(false)
	ready(Ready{Seconds: float64(time.Since(started).Milliseconds()) / 1000, URL: ids.url()})
	return c.watch(ctx)
}

func (o Options) validate() (net.IP, error) {
	if o.DataDir == "" {
		return nil, fmt.Errorf("%w: --data-dir is missing", ErrUsage)
	}
	if o.Port < 1 || o.Port > 65535 {
		return nil, fmt.Errorf("%w: --port must be between 1 and 65535, not %d", ErrUsage, o.Port)
	}
	bind := net.ParseIP(o.Bind)
	if bind == nil {
		return nil, fmt.Errorf("%w: --bind must be an IP address, not %q", ErrUsage, o.Bind)
	}
	return bind, nil
}

func listen(bind net.IP, port int) (net.Listener, error) {
	address := net.JoinHostPort(bind.String(), strconv.Itoa(port))
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w: another process listens on %s; stop it or choose another --port", ErrPortBusy, address)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}

// cluster is what runs; stops holds how to end it, in the order of the start.
type cluster struct {
	dir    *dataDir
	ids    *identities
	log    *slog.Logger
	parts  *partLogs
	failed chan error
	stops  []func()
}

func (c *cluster) start(ctx context.Context, listener net.Listener) error {
	etcd, err := startEtcd(ctx, c.dir, c.parts)
	if err != nil {
		return err
	}
	c.stops = append(c.stops, etcd.stop)
	go func() { c.failed <- etcd.wait() }()

	config, err := c.ids.clientConfig(adminUser, adminGroup)
	if err != nil {
		return err
	}
	apiErr := c.run(func(ctx context.Context) error { return runAPIServer(ctx, c.dir, listener, etcd.endpoint) })
	if err := waitReady(ctx, config, apiErr); err != nil {
		return err
	}
	controllersErr := c.run(func(ctx context.Context) error { return runControllers(ctx, c.dir, c.ids) })
	go func() { c.failed <- <-apiErr }()
	go func() { c.failed <- <-controllersErr }()
	return nil
}

// run starts a part with a context of its own and registers its stop. The
// result is sent once and stays readable for the stop, which waits for it.
func (c *cluster) run(part func(context.Context) error) <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		result <- part(ctx)
	}()
	c.stops = append(c.stops, func() {
		cancel()
		select {
		case <-done:
		case <-time.After(stopTimeout):
		}
	})
	return result
}

// watch waits for the end.
func (c *cluster) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.failed:
		if err == nil {
			err = errors.New("a part of the cluster stopped by itself")
		}
		return err
	}
}

// renew replaces, until ctx ends, certificates that come close to their end, or are not valid because the clock was wrong.
func (c *cluster) renew(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := c.ids.ensure(time.Now()); err != nil {
				c.log.Error("cannot renew certificates", "error", err)
			}
		}
	}
}

func (c *cluster) stop() {
	c.parts.drop()
	for i := len(c.stops) - 1; i >= 0; i-- {
		c.stops[i]()
	}
}

// waitReady polls /readyz until it passes, the API server fails or time is up.
func waitReady(ctx context.Context, config *rest.Config, apiErr <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client, err := rest.UnversionedRESTClientFor(unversioned(config))
	if err != nil {
		return fmt.Errorf("make readiness client: %w", err)
	}
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		body, err := client.Get().AbsPath("/readyz").Do(ctx).Raw()
		if err == nil {
			return nil
		}
		select {
		case err := <-apiErr:
			if err == nil {
				err = errors.New("it stopped by itself")
			}
			return fmt.Errorf("API server does not start: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("API server is not ready after %s: %w: %s", readyTimeout, err, body)
		case <-poll.C:
		}
	}
}
