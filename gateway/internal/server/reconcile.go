// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/protocol"
)

// work is what one pass over a device found out: when to look again.
type work struct{ again time.Duration }

func (w *work) lookAgain(after time.Duration) {
	after = max(after, time.Millisecond)
	if w.again == 0 || after < w.again {
		w.again = after
	}
}

// How long to wait before another look at what the API server has not brought up to date yet.
const laggingInterval = 500 * time.Millisecond

// worker takes devices from the queue. One device is never with two workers, and one that fails waits longer each
// time; all devices wait in one line, so that none that changes all the time keeps others waiting.
func (s *Server) worker() {
	for {
		key, shutdown := s.queue.Get()
		if shutdown {
			return
		}
		again, err := s.reconcile(s.ctx, key)
		switch {
		case err != nil && s.ctx.Err() == nil:
			if !apierrors.IsConflict(err) {
				s.log.Error(err, "cannot bring a device up to date; will be retried", "device", key.String())
			}
			s.queue.AddRateLimited(key)
		case again > 0:
			s.queue.Forget(key)
			s.queue.AddAfter(key, again)
		default:
			s.queue.Forget(key)
		}
		s.queue.Done(key)
	}
}

// reconcile makes one device's session be as its Device and Instances say, and their status as its session says.
func (s *Server) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	entry := s.devices.get(key)
	d := s.fleet.device(ctx, key)
	if d == nil {
		if entry.conn == nil {
			return 0, nil
		}
		return s.dismiss(ctx, key, entry)
	}
	instances, err := s.fleet.instances.of(ctx, key)
	if errors.Is(err, errIncomplete) {
		return laggingInterval, nil
	}
	if err != nil {
		return 0, err
	}
	var w work
	var failed error
	if entry.conn != nil && !entry.gone && entry.conn.apply(judge(d, entry.conn.who)) {
		failed = s.deliver(ctx, &w, entry.conn, key, instances)
	}
	if err := s.writeConnection(ctx, &w, d, entry); err != nil {
		return 0, errors.Join(failed, err)
	}
	if entry.conn != nil {
		failed = errors.Join(failed, s.writeInstances(ctx, &w, entry, instances))
	}
	if failed == nil && w.again == 0 && entry.gone {
		s.devices.forget(key, entry.conn)
	}
	return w.again, failed
}

// deliver sends the device its desired state. What a device comes with may be newer than what the cache shows: before an
// app that it came with is taken away from it, the API server is asked whether its Instance is gone.
func (s *Server) deliver(ctx context.Context, w *work, c *conn, key types.NamespacedName, instances []*v1alpha1.Instance) error {
	apps, err := desiredApps(instances)
	var encoded []byte
	if err == nil {
		encoded, err = protocol.EncodeApps(apps)
	}
	if err == nil {
		came, known := c.came(encoded)
		if !known {
			w.lookAgain(laggingInterval)
			return nil
		}
		for _, name := range came {
			if slices.ContainsFunc(apps, func(a protocol.App) bool { return a.Name == name }) {
				continue
			}
			removed, err := s.fleet.removed(ctx, key, name)
			if err != nil {
				return err
			}
			if !removed {
				w.lookAgain(laggingInterval)
				return nil
			}
		}
		err = c.deliver(apps, instances)
	}
	if err != nil {
		// Nothing changes by trying again; a changed Instance brings the device back here.
		s.log.Error(err, "a device's instances cannot be told to it", "device", key.String())
	}
	return nil
}

func (s *Server) writeInstances(ctx context.Context, w *work, entry deviceEntry, instances []*v1alpha1.Instance) error {
	_, known := entry.conn.facts()
	now := time.Now()
	var failed error
	for i := range instances {
		present := instances[i]
		want := instanceStatus(present, &known)
		if equality.Semantic.DeepEqual(want, present.Status) {
			continue
		}
		if want.Phase == v1alpha1.InstanceDelivering && want.DeliveredAt != nil && !entry.gone {
			if early := deliveringDelay - now.Sub(want.DeliveredAt.Time); early > 0 {
				w.lookAgain(early)
				continue
			}
		}
		if !entry.writes.Allow() {
			w.lookAgain(time.Second / deviceWriteRate)
			continue
		}
		next := present.DeepCopy()
		next.Status = want
		failed = errors.Join(failed, s.patchStatus(ctx, "instance", present, next))
	}
	return failed
}

// writeConnection records that the device came or went, and that one is this gateway's now that was adopted.
func (s *Server) writeConnection(ctx context.Context, w *work, d *v1alpha1.Device, entry deviceEntry) error {
	present := d.Status.Connection
	var p presence
	if entry.conn != nil {
		facts, _ := entry.conn.facts()
		p = presence{connected: !entry.gone, since: entry.since, epoch: entry.conn.epoch(), facts: facts}
	} else {
		// The device was here before this process was.
		if present == nil || present.Gateway != s.fleet.key || !present.Connected {
			return nil
		}
		p = presence{since: s.started, epoch: present.Epoch}
	}
	if !p.connected {
		if early := s.grace - time.Since(p.since); early > 0 {
			w.lookAgain(early)
			return nil
		}
		if d.Status.Gateway != s.fleet.key {
			s.fleet.orphans.disown(client.ObjectKeyFromObject(d))
			return nil
		}
	}
	want, write := deviceConnection(present, s.fleet.key, p)
	if !write && (want == nil || d.Status.Gateway == s.fleet.key) {
		return nil
	}
	if entry.writes != nil && !entry.writes.Allow() {
		w.lookAgain(time.Second / deviceWriteRate)
		return nil
	}
	next := d.DeepCopy()
	next.Status.Gateway, next.Status.Connection = s.fleet.key, want
	return s.patchStatus(ctx, "device", d, next)
}

// patchStatus writes what changed between two versions of an object's status, unless the object has changed since.
func (s *Server) patchStatus(ctx context.Context, kind string, from, to client.Object) error {
	if err := s.writes.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	patch := client.MergeFromWithOptions(from, client.MergeFromWithOptimisticLock{})
	err := s.fleet.live.Status().Patch(ctx, to, patch)
	result := "ok"
	switch {
	case apierrors.IsNotFound(err):
		result, err = "gone", nil
	case apierrors.IsConflict(err):
		result = "conflict"
	case err != nil:
		result = "error"
	}
	s.m.statusWrites.WithLabelValues(kind, result).Inc()
	return err
}

// dismiss sends away a device that is not assigned to this gateway any more, and records that it went.
func (s *Server) dismiss(ctx context.Context, key types.NamespacedName, entry deviceEntry) (time.Duration, error) {
	at, err := s.fleet.locate(ctx, key)
	if err != nil {
		return 0, err
	}
	if at.device != nil && at.device.Status.Gateway == s.fleet.key {
		return laggingInterval, nil // the cache will have it in a moment
	}
	if !entry.gone {
		entry.conn.apply(elsewhere(at, entry.conn.who))
		return releaseTimeout, nil
	}
	if at.device != nil {
		if c := at.device.Status.Connection; c != nil && c.Gateway == s.fleet.key && c.Connected {
			want, write := deviceConnection(c, s.fleet.key, presence{since: entry.since, epoch: entry.conn.epoch()})
			if write {
				next := at.device.DeepCopy()
				next.Status.Connection = want
				if err := s.patchStatus(ctx, "device", at.device, next); err != nil {
					return 0, err
				}
			}
		}
	}
	s.devices.forget(key, entry.conn)
	return 0, nil
}

// elsewhere is what to tell a device that is not assigned to this gateway.
func elsewhere(at whereabouts, who identity) verdict {
	switch {
	case at.device == nil:
		return verdict{code: protocol.CodeNotAssigned, text: "there is no such device"}
	case !who.proves(at.device):
		return verdict{code: protocol.CodeNotAssigned, text: "this key is not the device's"}
	case at.endpoint != "":
		return verdict{release: true, endpoint: at.endpoint, text: "the device is assigned to gateway " + at.device.Status.Gateway}
	}
	return verdict{release: true, holdOff: jittered(unassignedHoldOff), text: "the device is not assigned to a gateway that serves"}
}

// How long a device stays away that has no gateway yet, how often a second the API server is asked for such devices,
// and how long one that is to be served here is waited for until a cache has it.
const (
	unassignedHoldOff = 3 * time.Second
	locateRate        = 50
	cacheLag          = 2 * time.Second
)

// turnAway answers a connection of a genuine device that is not among this gateway's.
func (s *Server) turnAway(ctx context.Context, c *conn) {
	key := c.who.device
	s.fleet.orphans.await(ctx) // when a gateway is gone, its devices are here sooner than what the API server says of them
	for deadline := time.Now().Add(cacheLag); ctx.Err() == nil && time.Now().Before(deadline); {
		if d := s.fleet.adopt(ctx, key); d != nil {
			c.apply(judge(d, c.who))
			return
		}
		if !s.locates.Allow() {
			break
		}
		at, err := s.fleet.locate(ctx, key)
		if err != nil {
			s.log.Error(err, "cannot tell where a device belongs", "device", key.String())
			break
		}
		if at.device == nil || at.device.Status.Gateway != s.fleet.key && !(at.gone && s.fleet.room(ctx, at.device) > 0) {
			c.apply(elsewhere(at, c.who))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(cacheLag / 10):
		}
	}
	c.release(jittered(unassignedHoldOff), "", "it is not known yet where the device belongs")
}
