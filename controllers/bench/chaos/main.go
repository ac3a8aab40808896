// SPDX-License-Identifier: Apache-2.0

// Command chaos runs a whole installation and breaks it at random, under a seed: processes are killed and frozen, the
// network between devices and gateway delays, hangs, resets and tears, hostile devices connect, the repository goes away
// and is rewritten, commits come by the hundred. Meanwhile it watches the flash of the devices and the objects of the
// API server for what must always be so, and after each round for what must become so.
//
//	go run ./controllers/bench/chaos -seed 7 -for 1h
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Faults of a round, and how long after the last one all must be well. That is long because backoffs of devices and of
// processes that died again and again have to pass.
const (
	faultsARound = 6
	worthTelling = 15 * time.Second
	patience     = 2 * time.Minute
)

func main() {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "what decides on the faults")
	span := flag.Duration("for", time.Hour, "how long to go on")
	bin := flag.String("bin", "bin", "directory of the built programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *bin, *seed, *span, func(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// run goes through rounds of faults until span has passed, at least one.
func run(ctx context.Context, bin string, seed uint64, span time.Duration, log func(format string, args ...any)) (err error) {
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return err
	}
	log("seed %d in %s", seed, dir)
	i, err := start(ctx, bin, dir, seed)
	defer func() {
		if i != nil {
			if err != nil { // the logs lie on a disk that goes with the installation
				_, copied := i.run(context.WithoutCancel(ctx), "", "cp", "-a", i.home.LogDir(), filepath.Join(dir, "log"))
				err = errors.Join(err, copied)
			}
			err = errors.Join(err, i.stop())
		}
		if err == nil {
			err = os.RemoveAll(dir)
		}
	}()
	if err != nil {
		return err
	}
	w := newWatcher(i)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go w.run(watching)
	go w.runCertificates(watching)
	c := &chaos{installation: i, long: span >= longRun, rand: rand.New(rand.NewPCG(seed, 1)), watcher: w, log: log}
	if err := c.admitLiar(ctx); err != nil {
		return err
	}
	if err := c.calm(ctx); err != nil {
		return err
	}
	first := w.footprints()
	began := time.Now()
	for round := 1; round == 1 || time.Since(began) < span; round++ {
		if err := c.round(ctx, round, began.Add(span)); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		w.grown(first)
		w.panics()
		if err := w.err(); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	signed := w.signed()
	log("%d authorities signed", signed)
	if signed < 2 && time.Since(began) > authorityLife {
		return fmt.Errorf("the authority was not replaced within its life, %s", authorityLife)
	}
	return nil
}

// admitLiar lets the hostile device into the fleet, as hardware is.
func (c *chaos) admitLiar(ctx context.Context) error {
	text, err := os.ReadFile(c.clone + "/kustomization.yaml")
	if err != nil {
		return err
	}
	err = writeFiles(c.clone, map[string]string{
		"kustomization.yaml": string(text) + "- devices/liar.yaml\n",
		"devices/liar.yaml":  header("Device", "liar") + "spec: {board: mps2-an385, backend: Hardware, gateway: edge, keys: [\"" + c.liar.key + "\"]}\n",
	})
	if err != nil {
		return err
	}
	if err := c.git(ctx, "add", "-A"); err != nil {
		return err
	}
	if err := c.git(ctx, "commit", "-qm", "A device"); err != nil {
		return err
	}
	return c.push(ctx)
}

// round does faults until there were enough or the run is over, at least one, and waits until all is well.
func (c *chaos) round(ctx context.Context, number int, end time.Time) error {
	for n := range faultsARound {
		if n > 0 && time.Now().After(end) {
			break
		}
		fault := c.draw()
		c.log("round %d: %s", number, fault.name)
		if err := fault.do(c, ctx); err != nil {
			return fmt.Errorf("%s: %w", fault.name, err)
		}
	}
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	return c.calm(ctx)
}

// calm waits until all is well.
func (c *chaos) calm(ctx context.Context) error {
	newest, err := c.run(ctx, c.clone, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	began := time.Now()
	var last error // what was missing before all was well
	for {
		err := c.watcher.converged(ctx, newest)
		if err == nil {
			c.log("all is well after %s", time.Since(began).Round(100*time.Millisecond))
			if last != nil && time.Since(began) > worthTelling {
				c.log("  last was: %.300s", last)
			}
			return nil
		}
		last = err
		if breach := c.watcher.err(); breach != nil {
			return breach
		}
		if time.Since(began) > patience {
			return fmt.Errorf("not well %s after the last fault: %w", patience, err)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
