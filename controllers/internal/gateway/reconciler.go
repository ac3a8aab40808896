// SPDX-License-Identifier: Apache-2.0

// Package gateway keeps Gateways: their identity, whether their process lives (by its Lease), and how many devices are
// assigned to and connected to each. It also keeps the installation's certificate authority and the identities of its
// clients.
//
// Counts are written at most every two seconds, however many devices come and go.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/pki"
)

// Options of the reconciler.
type Options struct {
	// Identities is the installation's keeper of keys and certificates; required.
	Identities *identity.Keeper
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

const (
	// deviceByGateway is an index of Devices by the gateway that they are assigned to.
	deviceByGateway = "gateway.devices"
	// countInterval is the least time between two writes of counts.
	countInterval = 2 * time.Second
	backstop      = time.Second
)

// +kubebuilder:rbac:groups=wasmbed.dev,resources=gateways;devices,verbs=get;list;watch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=gateways/status,verbs=patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Setup registers the reconcilers of gateways and of the installation's authority and clients.
func Setup(mgr ctrl.Manager, opts Options) error {
	if opts.Identities == nil {
		return errors.New("internal error: gateway controller without a keeper of identities")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.Device{}, deviceByGateway,
		func(object client.Object) []string { return []string{object.(*v1alpha1.Device).Status.Gateway} })
	if err != nil {
		return fmt.Errorf("index devices by gateway: %w", err)
	}
	leases, err := leaseCache(mgr)
	if err != nil {
		return err
	}
	r := &reconciler{
		Client: mgr.GetClient(), direct: mgr.GetAPIReader(), leases: leases, opts: opts,
		events: mgr.GetEventRecorder("gateway-controller"), counted: map[client.ObjectKey]time.Time{},
	}
	err = ctrl.NewControllerManagedBy(mgr).Named("gateway").
		Watches(&v1alpha1.Gateway{}, onGateway()).
		Watches(&v1alpha1.Device{}, onDevice()).
		WatchesRawSource(source.Kind(leases, &coordinationv1.Lease{}, r.onLease())).
		WatchesRawSource(source.Kind(opts.Identities.Secrets(), identity.Metadata(), r.onSecret())).
		Complete(r)
	if err != nil {
		return fmt.Errorf("gateway controller: %w", err)
	}
	return setupInstallation(mgr, opts)
}

// leaseCache holds the Leases of the system namespace only.
func leaseCache(mgr ctrl.Manager) (cache.Cache, error) {
	leases, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultNamespaces: map[string]cache.Config{v1alpha1.SystemNamespace: {}},
	})
	if err == nil {
		err = mgr.Add(leases)
	}
	if err != nil {
		return nil, fmt.Errorf("cache of leases: %w", err)
	}
	return leases, nil
}

type reconciler struct {
	client.Client
	direct  client.Reader
	leases  client.Reader
	opts    Options
	events  recorder.EventRecorder
	pulse   pulse
	written loop.Written

	access sync.Map // UIDs of gateways whose access is known to be there

	mu      sync.Mutex
	counted map[client.ObjectKey]time.Time // when counts were last written
}

// Reconcile brings one gateway's identity and status up to date.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	gateway := &v1alpha1.Gateway{}
	if err := r.Get(ctx, request.NamespacedName, gateway); apierrors.IsNotFound(err) {
		r.pulse.forget(request.NamespacedName)
		r.mu.Lock()
		delete(r.counted, request.NamespacedName)
		r.mu.Unlock()
		return ctrl.Result{}, r.opts.Identities.Remove(ctx, pki.GatewayIdentity(request.Namespace, request.Name))
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("read gateway: %w", err)
	}
	if gateway.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if r.written.Behind(request.NamespacedName, gateway, r.opts.Now()) {
		return ctrl.Result{RequeueAfter: backstop}, nil
	}
	in := &input{gateway: gateway}
	var err error
	renew := r.ensureIdentity(ctx, in)
	if err = r.ensureAccess(ctx, gateway); err != nil {
		return ctrl.Result{}, err
	}
	var beat, count time.Duration
	if in.life, beat, err = r.feel(ctx, request.NamespacedName); err != nil {
		return ctrl.Result{}, err
	}
	if err = r.count(ctx, in); err != nil {
		return ctrl.Result{}, err
	}
	count, err = r.report(ctx, in)
	return ctrl.Result{RequeueAfter: soonest(renew, beat, count)}, err
}

// soonest is the smallest duration that is not zero.
func soonest(durations ...time.Duration) time.Duration {
	var out time.Duration
	for _, d := range durations {
		if d > 0 && (out == 0 || d < out) {
			out = d
		}
	}
	return out
}

func (r *reconciler) ensureIdentity(ctx context.Context, in *input) time.Duration {
	gateway := in.gateway
	_, after, err := r.opts.Identities.Ensure(ctx, identity.Holder{
		Identity: pki.GatewayIdentity(gateway.Namespace, gateway.Name), Owner: gateway, OwnerKind: "Gateway", Serving: true,
	})
	if err == nil {
		return after
	}
	in.identityProblem = err.Error()
	return backstop
}

// ensureAccess lets the gateway read the Secret with its identity, and no other.
func (r *reconciler) ensureAccess(ctx context.Context, gateway *v1alpha1.Gateway) error {
	if _, done := r.access.Load(gateway.UID); done {
		return nil
	}
	role, binding := config.GatewaySecretAccess(gateway, pki.SecretName(pki.GatewayIdentity(gateway.Namespace, gateway.Name)))
	for _, wanted := range []client.Object{role, binding} {
		present := wanted.DeepCopyObject().(client.Object)
		err := r.direct.Get(ctx, client.ObjectKeyFromObject(wanted), present)
		if apierrors.IsNotFound(err) {
			err = client.IgnoreAlreadyExists(r.Create(ctx, wanted))
		}
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // the gateway goes too
		}
		if err != nil {
			return fmt.Errorf("access of gateway %s/%s to its identity: %w", gateway.Namespace, gateway.Name, err)
		}
	}
	r.access.Store(gateway.UID, true)
	return nil
}

// feel tells whether the gateway's process lives, and when to look again.
func (r *reconciler) feel(ctx context.Context, key client.ObjectKey) (life, time.Duration, error) {
	leaseKey := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayLease(key.Namespace, key.Name)}
	lease, err := readLease(ctx, r.leases, leaseKey)
	if err != nil {
		return unknown, 0, fmt.Errorf("read lease from cache: %w", err)
	}
	state, after, confirm := r.pulse.observe(key, lease, false, r.opts.Now())
	if !confirm {
		return state, after, nil
	}
	if lease, err = readLease(ctx, r.direct, leaseKey); err != nil {
		r.pulse.unreadable(key, r.opts.Now())
		return state, defaultLease, nil
	}
	state, after, _ = r.pulse.observe(key, lease, true, r.opts.Now())
	return state, after, nil
}

// readLease returns nil when there is no such Lease.
func readLease(ctx context.Context, reader client.Reader, key client.ObjectKey) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := reader.Get(ctx, key, lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return lease, err
}

// count counts the gateway's devices.
func (r *reconciler) count(ctx context.Context, in *input) error {
	key := v1alpha1.GatewayKey(in.gateway.Namespace, in.gateway.Name)
	var devices v1alpha1.DeviceList
	if err := r.List(ctx, &devices, client.MatchingFields{deviceByGateway: key}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	in.assigned = int32(len(devices.Items))
	for i := range devices.Items {
		if c := devices.Items[i].Status.Connection; c != nil && c.Connected && c.Gateway == key {
			in.connected++
		}
	}
	return nil
}

// report writes the status when it changed. When only counts did and others were written just now, it returns how long
// to wait.
func (r *reconciler) report(ctx context.Context, in *input) (time.Duration, error) {
	now, gateway := r.opts.Now(), in.gateway
	key := client.ObjectKeyFromObject(gateway)
	a := assess(in)
	after := gateway.DeepCopy()
	after.Status.ObservedGeneration = gateway.Generation
	loop.Set(&after.Status.Conditions, gateway.Generation, v1alpha1.ConditionReady, a.status, a.reason, a.message, now)
	loop.SetProgress(&after.Status.Conditions, gateway.Generation, a.reconciling, false, a.reason, a.message, now)
	r.mu.Lock()
	wait := r.counted[key].Add(countInterval).Sub(now)
	r.mu.Unlock()
	late := wait > 0 && (a.assigned != gateway.Status.AssignedDevices || a.connected != gateway.Status.ConnectedDevices)
	if !late {
		wait = 0
		after.Status.AssignedDevices, after.Status.ConnectedDevices = a.assigned, a.connected
	}
	wrote, err := loop.PatchStatus(ctx, r.Client, gateway, after)
	if apierrors.IsNotFound(err) {
		return 0, nil // deleted meanwhile
	}
	if err != nil {
		return 0, fmt.Errorf("gateway %s: %w", key, err)
	}
	if wrote {
		r.written.Note(after, now)
		if !late {
			r.mu.Lock()
			r.counted[key] = now
			r.mu.Unlock()
		}
		r.tell(gateway, &a)
	}
	return wait, nil
}

// tell emits an event when the gateway comes or goes.
func (r *reconciler) tell(gateway *v1alpha1.Gateway, a *assessment) {
	was := meta.FindStatusCondition(gateway.Status.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Status == a.status && was.Reason == a.reason {
		return
	}
	switch a.reason {
	case v1alpha1.ReasonServing:
		r.events.Eventf(gateway, nil, "Normal", a.reason, "Watch", "%s", a.message)
	case v1alpha1.ReasonLeaseExpired:
		r.events.Eventf(gateway, nil, "Warning", a.reason, "Watch", "%s; %d devices are assigned to it", a.message, a.assigned)
	}
}

// input is all that the status of a gateway depends on.
type input struct {
	gateway             *v1alpha1.Gateway
	life                life
	assigned, connected int32
	identityProblem     string
}

type assessment struct {
	status              metav1.ConditionStatus
	reason, message     string
	reconciling         bool
	assigned, connected int32
}

// assess judges a gateway. Before its Lease was watched for long enough, what was known before stays.
func assess(in *input) assessment {
	a := assessment{status: metav1.ConditionFalse, assigned: in.assigned, connected: in.connected}
	was := meta.FindStatusCondition(in.gateway.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case in.life == expired:
		a.reason, a.message = v1alpha1.ReasonLeaseExpired, "the gateway's process does not renew its Lease: it has ended or cannot reach the API server"
		a.connected = 0
	case in.identityProblem != "":
		a.reason, a.message, a.reconciling = v1alpha1.ReasonNoIdentity, in.identityProblem, true
	case in.life == alive && in.gateway.Status.Address != "":
		a.status, a.reason, a.message = metav1.ConditionTrue, v1alpha1.ReasonServing, "devices connect at "+in.gateway.Status.Address
	case in.life == alive:
		a.reason, a.message, a.reconciling = v1alpha1.ReasonStarting, "the gateway's process runs and does not listen yet", true
	case was != nil && (was.Reason == v1alpha1.ReasonServing || was.Reason == v1alpha1.ReasonLeaseExpired):
		a.status, a.reason, a.message = was.Status, was.Reason, was.Message
		a.connected = map[bool]int32{true: 0, false: in.connected}[was.Reason == v1alpha1.ReasonLeaseExpired]
	default:
		a.reason, a.message, a.reconciling = v1alpha1.ReasonStarting, "waiting for the gateway's process", true
	}
	return a
}
