// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/protocol"
)

// chaos breaks an installation, and watches.
type chaos struct {
	*installation
	rand    *rand.Rand
	watcher *watcher
	log     func(format string, args ...any)
	commits int
	deck    []fault
	long    bool // the run takes longer than longRun
}

// fault is something that breaks. It returns when it is over.
type fault struct {
	name string
	do   func(c *chaos, ctx context.Context) error
}

// faults that happen.
var faults = []fault{
	{"a process is killed", (*chaos).kill},
	{"a process is killed in the middle of a delivery", (*chaos).killDuringDelivery},
	{"a process stands still", (*chaos).freeze},
	{"all processes but the API server are killed", (*chaos).killAll},
	{"a gateway is away for longer than its Lease", (*chaos).gatewayAway},
	{"bad weather between devices and gateway", (*chaos).weather},
	{"bad weather while a commit is delivered", (*chaos).weatherDuringDelivery},
	{"a hostile device", (*chaos).hostile},
	{"a commit", (*chaos).goodCommit},
	{"a bad commit", (*chaos).badCommit},
	{"a hundred commits", (*chaos).manyCommits},
	{"history is rewritten", (*chaos).forcePush},
	{"history is rewritten again and again", (*chaos).rewriteAgainAndAgain},
	{"the repository is away", (*chaos).repositoryAway},
	{"the repository hangs", (*chaos).repositoryHangs},
	{"the repository answers slowly", (*chaos).repositorySlow},
	{"the API server comes back from an older snapshot", (*chaos).oldSnapshot},
	{"a process cannot open files", (*chaos).noMoreFiles},
	{"the API server is slow", (*chaos).slowServer},
	{"the API server refuses", (*chaos).refusingServer},
	{"a disk is full", (*chaos).fullDisk},
	{"a clock jumps", (*chaos).clockJumps},
	{"everything is off until certificates have expired", (*chaos).offWhileCertificatesExpire},
	{"nothing", (*chaos).nothing},
}

// draw is the next fault: each comes once, in an order that the seed decides, before one comes again.
func (c *chaos) draw() fault {
	if len(c.deck) == 0 {
		c.deck = slices.Clone(faults)
		c.rand.Shuffle(len(c.deck), func(i, j int) { c.deck[i], c.deck[j] = c.deck[j], c.deck[i] })
	}
	next := c.deck[0]
	c.deck = c.deck[1:]
	return next
}

func (c *chaos) kill(ctx context.Context) error {
	part := parts[c.rand.IntN(len(parts))]
	c.log("  kill -9 %s", part)
	old, err := c.pid(part)
	if err != nil {
		return nil // between two lives
	}
	_ = syscall.Kill(old, syscall.SIGKILL)
	return pause(ctx, c.between(200*time.Millisecond, 3*time.Second))
}

func (c *chaos) killDuringDelivery(ctx context.Context) error {
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	if err := pause(ctx, c.between(0, 1500*time.Millisecond)); err != nil {
		return err
	}
	return c.kill(ctx)
}

func (c *chaos) killAll(ctx context.Context) error {
	for _, part := range parts[:len(parts)-1] {
		_ = c.signal(part, syscall.SIGKILL)
	}
	return pause(ctx, c.between(time.Second, 4*time.Second))
}

func (c *chaos) freeze(ctx context.Context) error {
	part := parts[c.rand.IntN(len(parts))]
	pid, err := c.pid(part)
	if err != nil {
		return nil
	}
	span := c.between(time.Second, 8*time.Second)
	c.log("  %s for %s", part, span.Round(100*time.Millisecond))
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	return pause(ctx, span)
}

// gatewayAway has one stand still until the other one has its devices and they run what was pushed meanwhile.
func (c *chaos) gatewayAway(ctx context.Context) error {
	if err := c.calm(ctx); err != nil {
		return err
	}
	device := &v1alpha1.Device{}
	if err := c.objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "device-0"}, device); err != nil {
		return err
	}
	part := "gateway-" + device.Status.Gateway
	pid, err := c.pid(part)
	if err != nil {
		return nil
	}
	last := syscall.SIGCONT
	if c.rand.IntN(2) == 0 {
		last = syscall.SIGKILL
	}
	c.log("  %s, %s afterwards", part, last)
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(pid, last) }()
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	return c.calm(ctx)
}

func (c *chaos) weather(ctx context.Context) error {
	w := weathers[c.rand.IntN(len(weathers))]
	span := c.between(2*time.Second, 8*time.Second)
	c.log("  %s for %s", w, span.Round(100*time.Millisecond))
	c.proxy.set(w)
	defer c.proxy.set(clear)
	return pause(ctx, span)
}

func (c *chaos) weatherDuringDelivery(ctx context.Context) error {
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	return c.weather(ctx)
}

func (c *chaos) hostile(context.Context) error {
	trick := tricks[c.rand.IntN(len(tricks))]
	c.log("  it %s", trick.name)
	trick.do(c.liar, c.gatewayAddresses()[0])
	return nil
}

// change writes the next value of one application into the clone, and a module that nobody has yet.
func (c *chaos) change(module bool) (application, value string, err error) {
	c.commits++
	application, value = applications[c.rand.IntN(len(applications))], fmt.Sprint(c.commits)
	files := map[string]string{"apps/" + application + ".yaml": applicationYAML(application, value)}
	if module {
		files["apps/"+application+".wasm"] = string(namedModule(c.module, value))
	}
	return application, value, writeFiles(c.clone, files)
}

// namedModule is a module with a custom section that changes nothing but its digest.
func namedModule(module []byte, name string) []byte {
	content := append([]byte{byte(len("chaos"))}, "chaos"+name...)
	return append(append(slices.Clone(module), 0, byte(len(content))), content...)
}

func (c *chaos) git(ctx context.Context, args ...string) error {
	_, err := c.run(ctx, c.clone, "git", args...)
	return err
}

// ask commits a change. What it asks for counts as asked before anybody can have seen it.
func (c *chaos) ask(ctx context.Context, module bool) error {
	application, value, err := c.change(module)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(c.clone, "apps", application+".wasm"))
	if err != nil {
		return err
	}
	c.watcher.asked(application, value, protocol.DigestOf(text))
	return c.git(ctx, "commit", "-qam", application+" "+value)
}

func (c *chaos) push(ctx context.Context, args ...string) error {
	return c.git(ctx, append([]string{"push", "-q", "origin", "main"}, args...)...)
}

func (c *chaos) goodCommit(ctx context.Context) error {
	if err := c.ask(ctx, c.rand.IntN(4) == 0); err != nil {
		return err
	}
	return c.push(ctx)
}

// badCommit pushes something that must never reach a device, and takes it back.
func (c *chaos) badCommit(ctx context.Context) error {
	application, value, err := c.change(false)
	if err != nil {
		return err
	}
	path := filepath.Join(c.clone, "apps", application+".yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bad := strings.Replace(string(text), "permissions: [gpio, timer]", "permissions: [gpio]", 1)
	if c.rand.IntN(2) == 0 {
		bad = string(text) + "}}\n"
	}
	if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
		return err
	}
	if err := c.git(ctx, "commit", "-qam", "bad "+value); err != nil {
		return err
	}
	if err := c.push(ctx); err != nil {
		return err
	}
	if err := pause(ctx, c.between(0, 3*time.Second)); err != nil {
		return err
	}
	if err := c.git(ctx, "revert", "--no-edit", "HEAD"); err != nil {
		return err
	}
	return c.push(ctx)
}

func (c *chaos) manyCommits(ctx context.Context) error {
	for range 100 {
		if err := c.goodCommit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *chaos) forcePush(ctx context.Context) error {
	if _, err := c.run(ctx, c.clone, "git", "rev-parse", "-q", "--verify", "HEAD~3"); err == nil {
		if err := c.goodCommit(ctx); err != nil {
			return err
		}
		if err := c.git(ctx, "reset", "-q", "--hard", "HEAD~2"); err != nil {
			return err
		}
		subject, err := c.run(ctx, c.clone, "git", "log", "-1", "--format=%s")
		if err != nil {
			return err
		}
		if strings.HasPrefix(subject, "bad ") { // and not what took it back
			if err := c.git(ctx, "reset", "-q", "--hard", "HEAD~1"); err != nil {
				return err
			}
		}
	}
	if err := c.ask(ctx, c.rand.IntN(4) == 0); err != nil {
		return err
	}
	return c.push(ctx, "--force")
}

// noMoreFiles keeps a process from opening files and connections for a while.
func (c *chaos) noMoreFiles(ctx context.Context) error {
	part := parts[c.rand.IntN(len(parts)-1)] // the database's own reaction to it is to end, which is another fault
	pid, err := c.pid(part)
	if err != nil {
		return nil
	}
	span := c.between(time.Second, 6*time.Second)
	c.log("  %s for %s", part, span.Round(100*time.Millisecond))
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return nil //nolint:nilerr // it has ended meanwhile
	}
	if part == "simulator" {
		c.watcher.allowUnsaved(span)
	}
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: before.Max}, nil)
	defer func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }()
	return pause(ctx, span)
}

func (c *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rand.Int64N(int64(most-least)))
}

func pause(ctx context.Context, span time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(span):
		return nil
	}
}
