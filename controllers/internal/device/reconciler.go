// SPDX-License-Identifier: Apache-2.0

// Package device keeps Devices: their identity (for those that the installation runs), the gateway that each is
// assigned to, and everything in their status but the connection, which their gateway writes.
//
// A device is looked at when it, one of its Instances, its gateway or its identity changes. Nothing is written while
// nothing changes.
package device

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/pki"
)

// Options of the reconciler.
type Options struct {
	// Identities is the installation's keeper of keys and certificates; required.
	Identities *identity.Keeper
	// Burst lets new and removed devices wait while very many are written; may be nil.
	Burst *loop.Burst
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Workers is how many devices are looked at at once; 8 when zero.
	Workers int
	// Grace is how long apps may be under way before the status says that the device is out of sync, and how long it may
	// count apps that have left; 1 s when zero. A change that is delivered at once is told by the Instances, and costs the
	// device no two writes.
	Grace time.Duration
	// Move is how long a device may take from a gateway that is gone to another one before it is assigned to one and its
	// status says that it is away, and how long after the last one that came from there; 30 s when zero.
	Move time.Duration
}

// Indexes of the manager's cache.
const (
	instanceByDevice = "device.instances"
	deviceByGateway  = "device.gateways" // assigned to it, or last connected to it; "" for those without
	deviceByKey      = "device.keys"
)

// backstop is when a device is looked at again that waits for a cache.
const backstop = time.Second

// +kubebuilder:rbac:groups=wasmbed.dev,resources=devices;gateways;instances,verbs=get;list;watch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=devices/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Setup registers the reconciler.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Identities == nil {
		return errors.New("internal error: device controller without a keeper of identities")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Workers == 0 {
		opts.Workers = 8
	}
	if opts.Grace == 0 {
		opts.Grace = time.Second
	}
	if opts.Move == 0 {
		opts.Move = 30 * time.Second
	}
	if err := index(mgr); err != nil {
		return err
	}
	r := &reconciler{Client: mgr.GetClient(), opts: opts, events: mgr.GetEventRecorder("device-controller")}
	err := ctrl.NewControllerManagedBy(mgr).Named("device").
		WithOptions(controller.Options{MaxConcurrentReconciles: opts.Workers}).
		Watches(&v1alpha1.Device{}, r.onDevice()).
		Watches(&v1alpha1.Instance{}, onInstance()).
		Watches(&v1alpha1.Gateway{}, r.onGateway()).
		WatchesRawSource(source.Kind(opts.Identities.Secrets(), identity.Metadata(), r.onSecret())).
		Complete(r)
	if err != nil {
		return fmt.Errorf("device controller: %w", err)
	}
	return nil
}

func index(mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	ctx := context.Background()
	return errors.Join(
		indexer.IndexField(ctx, &v1alpha1.Instance{}, instanceByDevice, func(object client.Object) []string {
			return []string{object.(*v1alpha1.Instance).Spec.Device}
		}),
		indexer.IndexField(ctx, &v1alpha1.Device{}, deviceByGateway, func(object client.Object) []string {
			status := &object.(*v1alpha1.Device).Status
			if c := status.Connection; c != nil && c.Gateway != status.Gateway {
				return []string{status.Gateway, c.Gateway}
			}
			return []string{status.Gateway}
		}),
		indexer.IndexField(ctx, &v1alpha1.Device{}, deviceByKey, func(object client.Object) []string {
			return object.(*v1alpha1.Device).Spec.Keys
		}),
	)
}

type reconciler struct {
	client.Client
	opts    Options
	events  recorder.EventRecorder
	ledger  ledger
	written loop.Written
	// held has since when a device's status waits to be written, by its key; moving since when the device is moving.
	held, moving sync.Map
}

// Reconcile brings one device's identity and status up to date.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	if err := r.fillLedger(ctx); err != nil {
		return ctrl.Result{}, err
	}
	device := &v1alpha1.Device{}
	if err := r.Get(ctx, request.NamespacedName, device); apierrors.IsNotFound(err) {
		r.ledger.drop(request.NamespacedName)
		r.held.Delete(request.NamespacedName)
		r.moving.Delete(request.NamespacedName)
		if wait := r.opts.Burst.Wait(); wait > 0 {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
		return ctrl.Result{}, r.opts.Identities.Remove(ctx, pki.DeviceIdentity(request.Namespace, request.Name))
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("read device: %w", err)
	}
	if device.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if wait := r.opts.Burst.Wait(); wait > 0 && device.Status.ObservedGeneration == 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if r.written.Behind(request.NamespacedName, device, r.opts.Now()) {
		return ctrl.Result{RequeueAfter: backstop}, nil
	}
	in, after, err := r.gather(ctx, device)
	if err != nil {
		return ctrl.Result{}, err
	}
	a := assess(in)
	if wait := r.hold(in, &a); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	return ctrl.Result{RequeueAfter: after}, r.report(ctx, in, &a)
}

// hold tells how long to wait with a write because all that is new is that apps are under way, or that some have left: when
// several leave, one write tells of all.
func (r *reconciler) hold(in *input, a *assessment) time.Duration {
	status, key, now := &in.device.Status, client.ObjectKeyFromObject(in.device), r.opts.Now()
	same := a.phase == status.Phase && in.assigned.gateway == status.Gateway && in.device.Generation == status.ObservedGeneration
	underWay := a.inSync.reason == v1alpha1.ReasonOutOfSync && meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionInSync)
	if !same || !underWay && !fewer(status, a) {
		r.held.Delete(key)
		return 0
	}
	since, _ := r.held.LoadOrStore(key, now)
	return since.(time.Time).Add(r.opts.Grace).Sub(now)
}

// fewer tells whether apps have left a device of which nothing else is new.
func fewer(status *v1alpha1.DeviceStatus, a *assessment) bool {
	for kind, f := range map[string]finding{v1alpha1.ConditionReady: a.ready, v1alpha1.ConditionConnected: a.connected, v1alpha1.ConditionInSync: a.inSync} {
		is := meta.FindStatusCondition(status.Conditions, kind)
		if is == nil || is.Status != f.status || is.Reason != f.reason {
			return false
		}
	}
	return wanted(a.apps) < wanted(status.Apps)
}

func (r *reconciler) fillLedger(ctx context.Context) error {
	if r.ledger.filled() {
		return nil
	}
	var all v1alpha1.DeviceList
	if err := r.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	r.ledger.fill(all.Items)
	return nil
}

// gather collects what the status depends on, with the identity and the assignment made on the way.
func (r *reconciler) gather(ctx context.Context, device *v1alpha1.Device) (*input, time.Duration, error) {
	in := &input{device: device}
	after, err := r.ensureIdentity(ctx, in)
	if err != nil {
		return nil, 0, err
	}
	var (
		instances v1alpha1.InstanceList
		gateways  v1alpha1.GatewayList
	)
	err = errors.Join(
		r.List(ctx, &instances, client.InNamespace(device.Namespace), client.MatchingFields{instanceByDevice: device.Name}, client.UnsafeDisableDeepCopy),
		r.List(ctx, &gateways, client.UnsafeDisableDeepCopy),
	)
	if err != nil {
		return nil, 0, fmt.Errorf("read from cache: %w", err)
	}
	for i := range instances.Items {
		in.instances = append(in.instances, &instances.Items[i])
	}
	all := make([]*v1alpha1.Gateway, len(gateways.Items))
	in.lost = true // unless its gateway is found below
	for i := range gateways.Items {
		all[i] = &gateways.Items[i]
		if c := device.Status.Connection; c != nil && c.Gateway == gatewayKey(all[i]) && !all[i].Gone() {
			in.lost = false
		}
	}
	if left := r.moves(in, all); left > 0 {
		in.moving, after = true, sooner(after, left)
	}
	if in.moving && device.Status.Gateway == device.Status.Connection.Gateway {
		in.assigned.gateway = device.Status.Gateway
	} else {
		in.assigned = r.ledger.choose(device, all, r.opts.Now())
	}
	in.sameKey, err = r.sameKey(ctx, device)
	return in, after, err
}

// longestMove bounds a move, in times of the Move option, when others keep coming.
const longestMove = 10

// moves tells how long a device that lost its gateway still has to come to another one. Meanwhile nothing is written of
// it: the gateway that it comes to adopts it and says so, and a second write for each of ten thousand would hold up those
// who wait.
func (r *reconciler) moves(in *input, gateways []*v1alpha1.Gateway) time.Duration {
	key, now := client.ObjectKeyFromObject(in.device), r.opts.Now()
	c := in.device.Status.Connection
	if in.lost && c != nil && c.Connected && meta.IsStatusConditionTrue(in.device.Status.Conditions, v1alpha1.ConditionConnected) {
		if next, adopted := r.ledger.look(in.device, gateways, c.Gateway); next.gateway != "" && next.gateway != c.Gateway {
			first, _ := r.moving.LoadOrStore(key, now)
			since := first.(time.Time)
			if longest := since.Add((longestMove - 1) * r.opts.Move); adopted.After(longest) {
				since = longest
			} else if adopted.After(since) {
				since = adopted
			}
			return since.Add(r.opts.Move).Sub(now)
		}
	}
	r.moving.Delete(key)
	return 0
}

// sooner is the earlier of two times to look again; zero is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// ensureIdentity makes or renews the identity of a device that the installation runs.
func (r *reconciler) ensureIdentity(ctx context.Context, in *input) (time.Duration, error) {
	device := in.device
	if device.Spec.Backend == v1alpha1.BackendHardware || device.Spec.Backend == "" {
		return 0, nil
	}
	_, after, err := r.opts.Identities.Ensure(ctx, identity.Holder{
		Identity: pki.DeviceIdentity(device.Namespace, device.Name), Owner: device, OwnerKind: "Device",
		Labels: map[string]string{v1alpha1.LabelBackend: strings.ToLower(string(device.Spec.Backend))},
	})
	switch {
	case errors.Is(err, identity.ErrNoAuthority):
		in.identityProblem = err.Error()
		return backstop, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return 0, nil // the device goes too
	case apierrors.IsConflict(err):
		return backstop, nil
	case err != nil:
		in.identityProblem = err.Error()
		return time.Minute, nil
	}
	return after, nil
}

// sameKey names the first other device that has a key in common.
func (r *reconciler) sameKey(ctx context.Context, device *v1alpha1.Device) (string, error) {
	found := ""
	for _, key := range device.Spec.Keys {
		var others v1alpha1.DeviceList
		if err := r.List(ctx, &others, client.MatchingFields{deviceByKey: key}, client.UnsafeDisableDeepCopy); err != nil {
			return "", fmt.Errorf("read devices by key: %w", err)
		}
		for i := range others.Items {
			name := others.Items[i].Namespace + "/" + others.Items[i].Name
			if others.Items[i].UID != device.UID && (found == "" || name < found) {
				found = name
			}
		}
	}
	return found, nil
}

// report writes the status when it changed.
func (r *reconciler) report(ctx context.Context, in *input, a *assessment) error {
	now, device := r.opts.Now(), in.device
	after := device.DeepCopy()
	status := &after.Status
	status.ObservedGeneration = device.Generation
	status.Gateway, status.Phase, status.Apps, status.Identity = in.assigned.gateway, a.phase, a.apps, ""
	if device.Spec.Backend != v1alpha1.BackendHardware && device.Spec.Backend != "" && in.identityProblem == "" {
		status.Identity = pki.SecretName(pki.DeviceIdentity(device.Namespace, device.Name))
	}
	set := func(kind string, f finding) {
		loop.Set(&status.Conditions, device.Generation, kind, f.status, f.reason, f.message, now)
	}
	set(v1alpha1.ConditionReady, a.ready)
	set(v1alpha1.ConditionConnected, a.connected)
	set(v1alpha1.ConditionInSync, a.inSync)
	loop.SetProgress(&status.Conditions, device.Generation, a.reconciling, a.stalled, a.ready.reason, a.ready.message, now)
	wrote, err := loop.PatchStatus(ctx, r.Client, device, after)
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("device %s/%s: %w", device.Namespace, device.Name, err)
	}
	if wrote {
		r.written.Note(after, now)
		r.tell(device, a)
	}
	return nil
}

// tell emits an event when a person is needed; comings and goings of devices are in the status only, since thousands
// may come and go at once.
func (r *reconciler) tell(device *v1alpha1.Device, a *assessment) {
	was := meta.FindStatusCondition(device.Status.Conditions, v1alpha1.ConditionReady)
	needed := a.stalled || a.ready.reason == v1alpha1.ReasonNoGateway
	if needed && a.ready.is(metav1.ConditionFalse) && (was == nil || was.Reason != a.ready.reason) {
		r.events.Eventf(device, nil, "Warning", a.ready.reason, "Reconcile", "%s", a.ready.message)
	}
}
