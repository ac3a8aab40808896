// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"
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
