// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a directory of the home on a small file system of its own, so that it can be full while others are not.
type disk struct {
	name, path, part string // part writes there
	size             int64
}

// disks are what the installation's processes write to. The fleet's repository is none: who pushes to a full disk is told so.
func (i *installation) allDisks() []disk {
	return []disk{
		{"the API server's data", i.home.Cluster(), "cluster", 1 << 30},
		{"the clones of repositories", i.home.Data("git"), "controllers", 64 << 20},
		{"the module store", i.home.Data("store"), "controllers", 64 << 20},
		{"the gateway's modules", i.home.Data("gateway"), parts[1], 64 << 20},
		{"the devices' flash", i.home.Data("simulator"), "simulator", 64 << 20},
		{"the logs", i.home.LogDir(), parts[1], 256 << 20},
		{"the pid files", i.home.Run(), "simulator", 16 << 20},
	}
}

// mountDisks gives each of them its file system. Where this user may not mount there are none.
func (i *installation) mountDisks() error {
	if err := i.home.Create(); err != nil {
		return err
	}
	for _, d := range i.allDisks() {
		if err := os.MkdirAll(d.path, 0o700); err != nil {
			return err
		}
		err := unix.Mount("tmpfs", d.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=700", d.size))
		if len(i.disks) == 0 && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", d.path, err)
		}
		i.disks = append(i.disks, d)
	}
	return nil
}

func (i *installation) unmountDisks() error {
	var all []error
	for _, d := range i.disks {
		if err := unix.Unmount(d.path, unix.MNT_DETACH); err != nil {
			all = append(all, fmt.Errorf("unmount %s: %w", d.path, err))
		}
	}
	return errors.Join(all...)
}

// fill leaves no more room than a few pages, so that a write ends somewhere in its middle.
func (d disk) fill(pages int64) error {
	var err error
	for range 10 { // what is in use grows meanwhile
		var now unix.Statfs_t
		if err = unix.Statfs(d.path, &now); err != nil {
			break
		}
		used := int64(now.Blocks-now.Bfree) + pages
		if err = d.resize(max(used, 1) * now.Bsize); err == nil {
			return nil
		}
	}
	return fmt.Errorf("fill %s: %w", d.path, err)
}

func (d disk) resize(size int64) error {
	return unix.Mount("", d.path, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d,mode=700", size))
}

// fullDisk fills one of the disks, or all of them, while a commit with a new module is delivered. Half of the time the
// process that writes there is killed meanwhile, and has to start on a full disk.
func (c *chaos) fullDisk(ctx context.Context) error {
	if len(c.disks) == 0 {
		c.log("  left out: who runs this may not mount file systems; root may")
		return nil
	}
	full := c.disks
	if n := c.rand.IntN(len(c.disks) + 1); n < len(c.disks) {
		full = c.disks[n : n+1]
	}
	span := c.between(2*time.Second, 8*time.Second)
	names := make([]string, len(full))
	for n, d := range full {
		names[n] = d.name
	}
	c.log("  %s, for %s", strings.Join(names, ", "), span.Round(100*time.Millisecond))
	c.watcher.allowUnsaved(span)
	defer func() {
		for _, d := range full {
			if err := d.resize(d.size); err != nil {
				c.watcher.breach("make room in %s again: %v", d.path, err)
			}
		}
	}()
	for _, d := range full {
		if err := d.fill(c.rand.Int64N(8)); err != nil {
			return err
		}
	}
	if err := c.ask(ctx, true); err != nil {
		return err
	}
	if err := c.push(ctx); err != nil {
		return err
	}
	if err := pause(ctx, span/2); err != nil {
		return err
	}
	if c.rand.IntN(2) == 0 {
		part := full[c.rand.IntN(len(full))].part
		c.log("  kill -9 %s", part)
		_ = c.signal(part, syscall.SIGKILL)
	}
	return pause(ctx, span/2)
}
