// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// snapshotAge is the least age of the copy: meanwhile a gateway's Lease changes and every process asks about it.
const snapshotAge = 10 * time.Second

// oldSnapshot takes a copy of the API server's data as a power cut would leave it, lets commits be delivered, and brings
// the API server back from the copy: everything that was written meanwhile is forgotten there, and nowhere else.
func (c *chaos) oldSnapshot(ctx context.Context) error {
	copied := string(c.home) + ".snapshot"
	defer func() { _ = os.RemoveAll(copied) }()
	if taken, err := c.copyCluster(ctx, copied); !taken || err != nil {
		return err
	}
	old := time.Now().Add(snapshotAge)
	for range 1 + c.rand.IntN(3) {
		if err := c.goodCommit(ctx); err != nil {
			return err
		}
		if err := pause(ctx, c.between(500*time.Millisecond, 3*time.Second)); err != nil {
			return err
		}
	}
	if err := pause(ctx, time.Until(old)); err != nil {
		return err
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
	// The directory itself stays: it may be a file system of its own.
	if _, err := c.run(ctx, "", "find", c.home.Cluster(), "-mindepth", "1", "-delete"); err != nil {
		return err
	}
	_, err = c.run(ctx, "", "cp", "-a", "--sparse=always", from+"/.", c.home.Cluster())
	return err
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

// slowServer lets the API server and its database run for a tenth of the time only, while a commit is delivered.
func (c *chaos) slowServer(ctx context.Context) error {
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	pid, err := c.pid("cluster")
	if err != nil {
		return nil //nolint:nilerr // between two lives
	}
	span := c.between(2*time.Second, 10*time.Second)
	c.log("  for %s", span.Round(100*time.Millisecond))
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	for end := time.Now().Add(span); time.Now().Before(end); {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		if err := pause(ctx, 90*time.Millisecond); err != nil {
			return err
		}
		_ = syscall.Kill(pid, syscall.SIGCONT)
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// refusingServer takes what it may do from one of the installation's processes, while a commit is delivered.
func (c *chaos) refusingServer(ctx context.Context) error {
	if err := c.goodCommit(ctx); err != nil {
		return err
	}
	var all rbacv1.ClusterRoleBindingList
	if err := c.objects.List(ctx, &all); err != nil {
		return nil //nolint:nilerr // the API server is still on its way back
	}
	ours := slices.DeleteFunc(all.Items, func(b rbacv1.ClusterRoleBinding) bool { return !strings.HasPrefix(b.Name, "wasmbed") })
	if len(ours) == 0 {
		return errors.New("the installation has no bindings of roles")
	}
	binding := &ours[c.rand.IntN(len(ours))]
	span := c.between(time.Second, 6*time.Second)
	c.log("  %s for %s", binding.Name, span.Round(100*time.Millisecond))
	if err := c.objects.Delete(ctx, binding); err != nil {
		return nil //nolint:nilerr // as above
	}
	paused := pause(ctx, span)
	again := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: binding.Name, Labels: binding.Labels, Annotations: binding.Annotations},
		Subjects: binding.Subjects, RoleRef: binding.RoleRef}
	if err := c.objects.Create(context.WithoutCancel(ctx), again); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("give back what was taken: %w", err)
	}
	return paused
}
