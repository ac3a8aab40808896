// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/local"
)

// A remote that answers slowly sends a piece, and waits.
const (
	slowPiece = 8
	slowWait  = 40 * time.Millisecond
)

// repositoryAway moves the repository out of the way for a while.
func (c *chaos) repositoryAway(ctx context.Context) error {
	path := c.home.FleetRepository()
	if err := os.Rename(path, path+".away"); err != nil {
		return err
	}
	_ = pause(ctx, c.between(time.Second, 5*time.Second))
	return os.Rename(path+".away", path)
}

// repositoryHangs lets everybody who reads the repository wait: its HEAD is a pipe that nobody writes to.
func (c *chaos) repositoryHangs(ctx context.Context) error {
	head := filepath.Join(c.home.FleetRepository(), "HEAD")
	if err := os.Rename(head, head+".away"); err != nil {
		return err
	}
	if err := syscall.Mkfifo(head, 0o600); err != nil {
		return err
	}
	_ = pause(ctx, c.between(2*time.Second, 10*time.Second))
	// Whoever waits goes on, with nothing read.
	if writer, err := os.OpenFile(head, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		_ = writer.Close()
	}
	return os.Rename(head+".away", head)
}

// rewriteAgainAndAgain forces one history after the other, so that some come in the middle of a fetch.
func (c *chaos) rewriteAgainAndAgain(ctx context.Context) error {
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	for range 12 {
		if err := c.git(ctx, "reset", "-q", "--hard", "HEAD~1"); err != nil {
			return err
		}
		if err := c.ask(ctx, false); err != nil {
			return err
		}
		if err := c.push(ctx, "--force"); err != nil {
			return err
		}
		if err := pause(ctx, c.between(0, 150*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// repositorySlow lets the installation follow its repository by way of a server whose answers trickle, while a commit with a
// new module is delivered.
func (c *chaos) repositorySlow(ctx context.Context) error {
	programs, err := c.run(ctx, "", "git", "--exec-path")
	if err != nil {
		return err
	}
	path := c.home.FleetRepository()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var over atomic.Bool
	var sent atomic.Int64
	backend := &cgi.Handler{Path: filepath.Join(programs, "git-http-backend"), Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(path), "GIT_HTTP_EXPORT_ALL=1"}}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		backend.ServeHTTP(&trickle{w, &over, &sent}, r)
	})}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	span := c.between(4*time.Second, 12*time.Second)
	if err := c.follow(ctx, "http://"+listener.Addr().String()+"/"+filepath.Base(path)); err != nil {
		return err
	}
	err = errors.Join(c.ask(ctx, true), c.push(ctx), pause(ctx, span))
	over.Store(true)
	c.log("  for %s: %d bytes", span.Round(100*time.Millisecond), sent.Load())
	return errors.Join(err, c.follow(context.WithoutCancel(ctx), "file://"+path))
}

// follow gives the Repository another URL, as soon as the API server lets it.
func (c *chaos) follow(ctx context.Context, url string) error {
	for began := time.Now(); ; {
		repository := &v1alpha1.Repository{}
		err := c.objects.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: local.RepositoryName}, repository)
		if err == nil {
			before := repository.DeepCopy()
			repository.Spec.URL = url
			err = c.objects.Patch(ctx, repository, client.MergeFrom(before))
		}
		if err == nil {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("let the Repository follow %s: %w", url, err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// trickle writes an answer piece by piece, until that is over.
type trickle struct {
	http.ResponseWriter
	over *atomic.Bool
	sent *atomic.Int64
}

func (t *trickle) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		piece := b[written:]
		if !t.over.Load() {
			time.Sleep(slowWait)
			piece = piece[:min(len(piece), slowPiece)]
		}
		n, err := t.ResponseWriter.Write(piece)
		written += n
		t.sent.Add(int64(n))
		if err != nil {
			return written, err
		}
		if err := http.NewResponseController(t.ResponseWriter).Flush(); err != nil {
			return written, err
		}
	}
	return written, nil
}
