// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

const (
	// mostAhead is how far a clock jumps. By the clock of controllers that are a third of an authority's life ahead, it would
	// have expired before its successor signs.
	mostAhead = authorityLife / 4
	// overdue is how long a certificate may be served that is not valid: whoever renews it may be away for a while.
	overdue = time.Minute
	// longRun is how long a run takes at least that has the minutes in which an authority expires while nothing runs.
	longRun = 20 * time.Minute
)

// clocked are the processes whose clocks jump, and their commands or programs, which is how package clock knows them.
var clocked = []struct{ part, command string }{
	{parts[0], "controllers"}, {parts[1], "gateway"}, {parts[2], "simulator"}, {parts[4], "wasmbed-cluster"}, {"dashboard", "dashboard"}, {"up", "up"},
}

// clockJumps sets one process's clock forward or back while a commit is delivered, and right again. Now and then the process
// is killed meanwhile, and starts with a clock that is wrong.
func (c *chaos) clockJumps(ctx context.Context) error {
	if !clocksJump {
		c.log("  left out: only on linux/amd64")
		return nil
	}
	who := clocked[c.rand.IntN(len(clocked))]
	by, span := c.between(leafLife/8, mostAhead).Round(time.Second), c.between(2*time.Second, 12*time.Second)
	if c.rand.IntN(2) == 0 {
		by = -by
	}
	c.log("  that of %s by %s, for %s", who.part, by, span.Round(100*time.Millisecond))
	file := filepath.Join(c.clocks, who.command)
	if err := os.WriteFile(file, []byte(strconv.Itoa(int(by.Seconds()))), 0o600); err != nil {
		return err
	}
	err := errors.Join(c.ask(ctx, c.rand.IntN(2) == 0), c.push(ctx), pause(ctx, span/2))
	if err == nil && who.part != "up" && c.rand.IntN(3) == 0 {
		c.log("  kill -9 %s", who.part)
		_ = c.signal(who.part, syscall.SIGKILL)
	}
	return errors.Join(err, pause(ctx, span/2), os.Remove(file))
}

// offWhileCertificatesExpire stops the whole installation until all certificates that the authority issued have expired;
// in a long run now and then until the authority has, too.
func (c *chaos) offWhileCertificatesExpire(ctx context.Context) error {
	span, what := leafLife+c.between(time.Second, 5*time.Second), "certificates"
	if c.long && c.rand.IntN(3) == 0 {
		span, what = span+authorityLife, "certificates and their authority"
	}
	c.log("  %s, in %s", what, span.Round(time.Second))
	if _, err := c.run(ctx, "", c.program, "down"); err != nil {
		return err
	}
	if err := errors.Join(c.ask(ctx, true), c.push(ctx), pause(ctx, span)); err != nil {
		return err
	}
	// It does not become ready: the device that lies has never connected.
	if _, err := c.run(ctx, "", c.program, "up", "--detach", "--timeout", "1s", "--port-base", strconv.Itoa(c.base)); err != nil && !c.home.Running() {
		return err
	}
	return nil
}

// nothing happens for longer than a certificate lives. No device may come anew for that, and no app start again.
func (c *chaos) nothing(ctx context.Context) error {
	if err := c.calm(ctx); err != nil {
		return err
	}
	for accepted, since := c.proxy.accepted.Load(), time.Now(); time.Since(since) < 10*time.Second; {
		if now := c.proxy.accepted.Load(); now != accepted { // a connection that hung is given up only now
			accepted, since = now, time.Now()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	accepted := c.proxy.accepted.Load()
	restarts, err := c.watcher.restarts(ctx)
	if err != nil {
		return err
	}
	ends, err := c.watcher.certificates(ctx, time.Now())
	if err != nil {
		return err
	}
	if err := pause(ctx, leafLife); err != nil {
		return err
	}
	if n := c.proxy.accepted.Load() - accepted; n > 0 {
		c.watcher.breach("devices connected %d times while nothing happened but renewals", n)
	}
	now, err := c.watcher.restarts(ctx)
	if err != nil {
		return err
	}
	if now != restarts {
		c.watcher.breach("apps were started %d times while nothing happened but renewals", now-restarts)
	}
	renewed, err := c.watcher.certificates(ctx, time.Now())
	if err != nil {
		return err
	}
	for name, end := range ends {
		if !renewed[name].After(end) {
			c.watcher.breach("the certificate in %s was not renewed within its life", name)
		}
	}
	return nil
}

// restarts is how often all apps together were started anew.
func (w *watcher) restarts(ctx context.Context) (int64, error) {
	var instances v1alpha1.InstanceList
	if err := w.objects.List(ctx, &instances, client.InNamespace(namespace)); err != nil {
		return 0, err
	}
	total := int64(0)
	for i := range instances.Items {
		total += instances.Items[i].Status.Restarts
	}
	return total, nil
}
