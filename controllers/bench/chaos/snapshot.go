// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oldSnapshot takes a copy of the API server's data as a power cut would leave it, lets commits be delivered, and brings
// the API server back from the copy: everything that was written meanwhile is forgotten there, and nowhere else.
func (c *chaos) oldSnapshot(ctx context.Context) error {
	copied := string(c.home) + ".snapshot"
	defer func() { _ = os.RemoveAll(copied) }()
	if taken, err := c.copyCluster(ctx, copied); !taken || err != nil {
		return err
	}
	for range 1 + c.rand.IntN(3) {
		if err := c.goodCommit(ctx); err != nil {
			return err
		}
		if err := pause(ctx, c.between(500*time.Millisecond, 3*time.Second)); err != nil {
			return err
		}
	}
	return c.restoreCluster(ctx, copied)
}

// copyCluster copies the API server's data while its process stands still. It does not when there is none now.
func (c *chaos) copyCluster(ctx context.Context, to string) (taken bool, err error) {
	pid, err := c.pid("cluster")
	if err != nil {
		return false, nil // between two lives
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	_, err = c.run(ctx, "", "cp", "-a", "--sparse=always", c.home.Cluster(), to)
	return err == nil, err
}

// restoreCluster kills the API server and puts the copy in the place of its data, while nobody can start it again.
func (c *chaos) restoreCluster(ctx context.Context, from string) error {
	state, err := c.home.ReadState()
	if err != nil {
		return err
	}
	_ = syscall.Kill(state.PID, syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(state.PID, syscall.SIGCONT) }()
	if pid, err := c.pid("cluster"); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for !ended(pid) {
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(c.home.Cluster()); err != nil {
		return err
	}
	return os.Rename(from, c.home.Cluster())
}

// ended says whether a process is gone, or waits only for its parent.
func ended(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, tail, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(tail, "Z")
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
		if err := c.ask(ctx); err != nil {
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

// noMoreFiles keeps a process from opening files and connections for a while.
func (c *chaos) noMoreFiles(ctx context.Context) error {
	part := parts[c.rand.IntN(3)] // the database's own reaction to it is to end, which is another fault
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
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: before.Max}, nil)
	defer func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }()
	return pause(ctx, span)
}
