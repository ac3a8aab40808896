// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	etcdStartTimeout = 60 * time.Second
	// etcdQuota is where etcd refuses writes: 20 times what 30,000 objects need.
	etcdQuota = 8 << 30
)

// etcdServer is a running etcd that only its own user can reach.
type etcdServer struct {
	server   *embed.Etcd
	endpoint string
}

// startEtcd starts etcd on sockets in the runtime directory. etcd's start obeys
// no context and panics or exits on damaged files, so it runs apart, under a
// deadline, after a look at its database.
func startEtcd(ctx context.Context, dir *dataDir, logs *partLogs) (*etcdServer, error) {
	if err := checkDatabase(filepath.Join(dir.path(etcdDir), "member", "snap", "db")); err != nil {
		return nil, err
	}
	opened := new(atomic.Bool)
	config := etcdConfig(dir, etcdLogger(logs, opened))
	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		server, err := openEtcd(config)
		opened.Store(true)
		started <- result{server, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, etcdStartTimeout)
	defer cancel()
	select {
	case r := <-started:
		if r.err != nil {
			return nil, r.err
		}
		select {
		case <-r.server.Server.ReadyNotify():
			return &etcdServer{server: r.server, endpoint: config.ListenClientUrls[0].String()}, nil
		case err := <-r.server.Err():
			return nil, fmt.Errorf("start etcd: %w", err)
		case <-ctx.Done():
			return nil, fmt.Errorf("start etcd: not ready: %w", ctx.Err())
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("start etcd: %w", ctx.Err())
	}
}

func etcdConfig(dir *dataDir, logger *zap.Logger) *embed.Config {
	client := url.URL{Scheme: "unix", Path: filepath.Join(dir.runtime, "client.sock")}
	peer := url.URL{Scheme: "unix", Path: filepath.Join(dir.runtime, "peer.sock")}
	config := embed.NewConfig()
	config.Name = "wasmbed"
	config.Dir = dir.path(etcdDir)
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// The only member needs a peer address but nobody who listens there.
	config.ListenPeerUrls, config.AdvertisePeerUrls = nil, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.EnableGRPCGateway = false
	config.QuotaBackendBytes = etcdQuota
	// The only member waits up to one election timeout before it elects itself:
	// the shortest that etcd takes at this tick.
	config.TickMs, config.ElectionMs = 100, 500
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	return config
}

// openEtcd turns etcd's panics and exits while it reads its files into errors.
func openEtcd(config *embed.Config) (server *embed.Etcd, err error) {
	defer func() {
		if r := recover(); r != nil {
			server, err = nil, unreadable(config.Dir, r)
		}
	}()
	if server, err = embed.StartEtcd(config); err != nil {
		return nil, unreadable(config.Dir, err)
	}
	return server, nil
}

// unreadable is why etcd did not start on its files: an error, or what it panicked with. What the system refused, as on
// a full disk, is not the files' fault: the same files may do at the next start.
func unreadable(dir string, cause any) error {
	err, ok := cause.(error)
	if !ok {
		err = fmt.Errorf("%v", cause)
	}
	var system syscall.Errno
	if errors.As(err, &system) {
		return fmt.Errorf("start etcd: %w", err)
	}
	return fmt.Errorf("%w: etcd cannot read %s: %w", ErrDataDir, dir, err)
}

// etcdLogger passes errors on. etcd logs what it cannot survive and expects the
// logger to end the process, which lastWords does in one sentence.
func etcdLogger(logs *partLogs, opened *atomic.Bool) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(config), logs, zap.ErrorLevel)
	hook := lastWords{opened}
	return zap.New(core, zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}

// lastWords panics while etcd opens its files, for openEtcd to recover; later
// there is nobody to recover on etcd's own goroutines.
type lastWords struct{ opened *atomic.Bool }

func (w lastWords) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	last := errors.New(entry.Message)
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok {
			last = fmt.Errorf("%w: %w", last, err)
		}
	}
	if !w.opened.Load() {
		panic(last)
	}
	fmt.Fprintln(os.Stderr, "wasmbed-cluster: etcd cannot go on:", last)
	os.Exit(1)
}

// checkDatabase reads the database's pages as etcd will, which happens there on
// goroutines whose panic would end the process with a page of stacks.
func checkDatabase(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check etcd's database: %w", err)
	}
	// A file shorter than its pages say faults when it is read.
	debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(false)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: etcd's database %s is damaged: %v", ErrDataDir, path, r)
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	var system syscall.Errno
	if errors.As(err, &system) {
		return fmt.Errorf("check etcd's database: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: etcd's database %s is damaged: %w", ErrDataDir, path, err)
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: etcd's database %s is damaged: %d bytes long instead of %d", ErrDataDir, path, info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error {
			return bucket.ForEach(func([]byte, []byte) error { return nil })
		})
	})
}

// wait returns etcd's first error after its start.
func (e *etcdServer) wait() error {
	if err := <-e.server.Err(); err != nil {
		return fmt.Errorf("etcd failed: %w", err)
	}
	return nil
}

func (e *etcdServer) stop() { e.server.Close() }
