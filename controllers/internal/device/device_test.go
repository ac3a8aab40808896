// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gateway"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/internal/loop/looptest"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testcluster.Main(m, &cluster)
}

// world is a namespace with the device and gateway controllers at work; the test plays the gateways' processes.
type world struct {
	client.Client
	t         *testing.T
	namespace string
	process   *looptest.Process
	move      time.Duration
	grace     time.Duration
	burst     *loop.Burst
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: kube, t: t, namespace: cluster.Namespace(t)}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.process = looptest.Start(w.t, asControllers(w.t), testcluster.Scheme(), func(mgr ctrl.Manager) error {
		keeper, err := identity.New(mgr, nil)
		if err != nil {
			return err
		}
		if err := gateway.Setup(mgr, gateway.Options{Identities: keeper}); err != nil {
			return err
		}
		return Setup(mgr, Options{Identities: keeper, Move: w.move, Grace: w.grace, Burst: w.burst})
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) patch(object client.Object, text string) {
	w.t.Helper()
	w.must(w.Patch(w.t.Context(), object.DeepCopyObject().(client.Object), client.RawPatch("application/merge-patch+json", []byte(text))))
}

// gateway makes a Gateway whose process renews a Lease of two seconds until stop is called.
func (w *world) gateway(name string, spec v1alpha1.GatewaySpec) (key string, stop func()) {
	w.t.Helper()
	object := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec}
	w.must(w.Create(w.t.Context(), object))
	w.must(w.Status().Patch(w.t.Context(), object, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"address":"127.0.0.1:1"}}`))))
	seconds := int32(2)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayLease(w.namespace, name)}}
	lease.Spec.LeaseDurationSeconds = &seconds
	w.must(w.Create(w.t.Context(), lease))
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
			if err := w.Patch(ctx, lease.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil && ctx.Err() == nil {
				w.t.Errorf("renew: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return v1alpha1.GatewayKey(w.namespace, name), stop
}

func (w *world) device(name string, spec v1alpha1.DeviceSpec) *v1alpha1.Device {
	w.t.Helper()
	if spec.Board == "" {
		spec.Board = "sim-m4"
	}
	if spec.Backend == "" {
		spec.Backend = v1alpha1.BackendSimulated
	}
	device := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Spec: spec}
	w.must(w.Create(w.t.Context(), device))
	return device
}

func (w *world) get(device *v1alpha1.Device) *v1alpha1.Device {
	w.t.Helper()
	out := &v1alpha1.Device{}
	w.must(w.Get(w.t.Context(), client.ObjectKeyFromObject(device), out))
	return out
}

// want waits for a device's "phase gateway apps Ready/reason Connected/reason InSync/reason".
func (w *world) want(device *v1alpha1.Device, want string) {
	w.t.Helper()
	looptest.Eventually(w.t, func() error {
		got := w.get(device)
		text := fmt.Sprintf("%s %s %s", got.Status.Phase, strings.TrimPrefix(got.Status.Gateway, w.namespace+"."), got.Status.Apps)
		for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionConnected, v1alpha1.ConditionInSync} {
			condition := meta.FindStatusCondition(got.Status.Conditions, kind)
			if condition == nil {
				return fmt.Errorf("no condition %s", kind)
			}
			text += fmt.Sprintf(" %s/%s", condition.Status, condition.Reason)
		}
		if text != want || got.Status.ObservedGeneration != got.Generation {
			return fmt.Errorf("%s: %s\nwant %s", got.Name, text, want)
		}
		return nil
	})
}

func (w *world) instance(app, device string) *v1alpha1.Instance {
	w.t.Helper()
	instance := &v1alpha1.Instance{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: v1alpha1.InstanceName(app, device)},
		Spec:       v1alpha1.InstanceSpec{Device: device, Application: app, Digest: "sha256:" + strings.Repeat("a", 64), Size: 1},
	}
	w.must(w.Create(w.t.Context(), instance))
	return instance
}

func TestTheLifeOfADevice(t *testing.T) {
	w := newWorld(t)
	device := w.device("sensor", v1alpha1.DeviceSpec{})
	w.want(device, "Pending  ?/0 False/NoGateway False/NeverSeen Unknown/NeverSeen")
	key, stop := w.gateway("edge", v1alpha1.GatewaySpec{})
	w.want(device, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")

	secret := &corev1.Secret{}
	looptest.Eventually(t, func() error {
		return w.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.IdentityNamespace, Name: "device-" + w.namespace + ".sensor-identity"}, secret)
	})
	credentials, err := pki.ParseCredentials(secret.Data)
	w.must(err)
	if credentials.Identity != pki.DeviceIdentity(w.namespace, "sensor") || secret.Labels[v1alpha1.LabelIdentity] != v1alpha1.IdentityDevice || secret.Labels[v1alpha1.LabelBackend] != "simulated" {
		t.Errorf("identity %v, labels %v", credentials.Identity, secret.Labels)
	}
	looptest.Eventually(t, func() error {
		if got := w.get(device).Status.Identity; got != secret.Name {
			return fmt.Errorf("status.identity is %q", got)
		}
		return nil
	})

	w.must(looptest.Connect(t.Context(), w, device, key, true))
	w.want(device, "Online edge 0/0 True/Online True/Connected True/InSync")
	one, two := w.instance("one", "sensor"), w.instance("two", "sensor")
	w.want(device, "Online edge 0/2 False/OutOfSync True/Connected False/OutOfSync")
	w.must(looptest.Report(t.Context(), w, one, v1alpha1.InstanceRunning, "", ""))
	w.must(looptest.Report(t.Context(), w, two, v1alpha1.InstanceFailed, "Trapped", "unreachable"))
	w.want(device, "Online edge 1/2 False/InstanceFailed True/Connected False/InstanceFailed")
	if message := meta.FindStatusCondition(w.get(device).Status.Conditions, v1alpha1.ConditionReady).Message; message != "two: Failed: Trapped: unreachable" {
		t.Errorf("message %q", message)
	}
	w.must(looptest.Report(t.Context(), w, two, v1alpha1.InstanceRunning, "", ""))
	w.want(device, "Online edge 2/2 True/Online True/Connected True/InSync")

	// Nothing is written when nothing changes, nor by a process that starts.
	w.process.Writes.Quiet(t, 2*time.Second)
	w.process.Stop()
	w.start()
	w.process.Writes.Quiet(t, 2*time.Second)
	if count := w.process.Writes.Count(w.namespace, ""); count != 0 {
		t.Errorf("a restart wrote: %s", w.process.Writes)
	}

	w.must(looptest.Connect(t.Context(), w, device, key, false))
	w.want(device, "Offline edge ?/2 False/Disconnected False/Disconnected Unknown/Disconnected")
	w.patch(device, `{"spec":{"power":"Off"}}`)
	w.want(device, "Off edge ?/2 True/PoweredOff False/Disconnected Unknown/Disconnected")
	w.patch(device, `{"spec":{"power":"On","quarantine":true}}`)
	w.want(device, "Quarantined edge ?/2 True/Quarantined False/Disconnected Unknown/Disconnected")
	w.must(looptest.Connect(t.Context(), w, device, key, true))
	w.want(device, "Quarantined edge 2/2 False/Quarantined True/Connected True/InSync")
	w.patch(device, `{"spec":{"quarantine":false}}`)
	w.want(device, "Online edge 2/2 True/Online True/Connected True/InSync")
	stop()
	w.want(device, "Unknown edge ?/2 Unknown/GatewayLost Unknown/GatewayLost Unknown/GatewayLost")
	if c := w.get(device).Status.Connection; c == nil || !c.Connected {
		t.Errorf("the gateway's part of the status was written: %+v", c)
	}

	w.must(w.Delete(t.Context(), device))
	looptest.Eventually(t, func() error {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(secret), &corev1.Secret{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the identity is still there: %w", err)
		}
		return nil
	})
}

// Apps that leave a device one after another cost one write of its status.
func TestAppsThatLeaveTogetherAreToldOnce(t *testing.T) {
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: kube, t: t, namespace: cluster.Namespace(t), grace: 8 * time.Second}
	w.start()
	edge, _ := w.gateway("edge", v1alpha1.GatewaySpec{})
	device := w.device("sensor", v1alpha1.DeviceSpec{})
	w.must(looptest.Connect(t.Context(), w, device, edge, true))
	apps := []*v1alpha1.Instance{w.instance("one", "sensor"), w.instance("two", "sensor"), w.instance("three", "sensor")}
	for _, app := range apps {
		w.must(looptest.Report(t.Context(), w, app, v1alpha1.InstanceRunning, "", ""))
	}
	w.want(device, "Online edge 3/3 True/Online True/Connected True/InSync")
	w.process.Writes.Quiet(t, 2*time.Second)
	before := w.process.Writes.Count(w.namespace, "PATCH devices/status")
	for _, app := range apps {
		w.must(w.Delete(t.Context(), app))
		time.Sleep(w.grace / 30) // long enough for a status of its own
	}
	w.want(device, "Online edge 0/0 True/Online True/Connected True/InSync")
	if wrote := w.process.Writes.Count(w.namespace, "PATCH devices/status") - before; wrote != 1 {
		t.Errorf("%d writes of the device's status when three apps left", wrote)
	}
}

// While very many objects are written, new devices and the identities of removed ones wait; those that are there do not.
func TestNewAndRemovedDevicesWaitForABurst(t *testing.T) {
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: kube, t: t, namespace: cluster.Namespace(t), burst: &loop.Burst{}}
	w.start()
	edge, _ := w.gateway("edge", v1alpha1.GatewaySpec{})
	old, gone := w.device("old", v1alpha1.DeviceSpec{}), w.device("gone", v1alpha1.DeviceSpec{})
	w.want(old, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
	w.want(gone, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
	secret := client.ObjectKey{Namespace: v1alpha1.IdentityNamespace, Name: "device-" + w.namespace + ".gone-identity"}
	end := w.burst.Begin(1000)
	created := w.device("new", v1alpha1.DeviceSpec{})
	w.must(w.Delete(t.Context(), gone))
	w.must(looptest.Connect(t.Context(), w, old, edge, true))
	w.want(old, "Online edge 0/0 True/Online True/Connected True/InSync")
	if status := w.get(created).Status; status.ObservedGeneration != 0 {
		t.Errorf("the new device was not held back: %+v", status)
	}
	w.must(w.Get(t.Context(), secret, &corev1.Secret{}))
	end()
	w.want(created, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
	looptest.Eventually(t, func() error {
		if err := w.Get(t.Context(), secret, &corev1.Secret{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the identity is still there: %w", err)
		}
		return nil
	})
}

func TestAnIdentityThatIsRemovedIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	device := w.device("sensor", v1alpha1.DeviceSpec{Backend: v1alpha1.BackendQEMU, Board: "mps2-an385"})
	hardware := w.device("board", v1alpha1.DeviceSpec{Backend: v1alpha1.BackendHardware, Keys: []string{key('a')}})
	secret := &corev1.Secret{}
	there := func() error {
		return w.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.IdentityNamespace, Name: "device-" + w.namespace + ".sensor-identity"}, secret)
	}
	looptest.Eventually(t, there)
	if holder, ok := identity.HolderOf(secret); !ok || holder != client.ObjectKeyFromObject(device) || secret.Labels[v1alpha1.LabelBackend] != "qemu" {
		t.Errorf("metadata %+v", secret.ObjectMeta)
	}
	uid := secret.UID
	w.must(w.Delete(t.Context(), secret))
	looptest.Eventually(t, func() error {
		if err := there(); err != nil {
			return err
		}
		if secret.UID == uid {
			return fmt.Errorf("still the old one")
		}
		return nil
	})
	w.want(hardware, "Pending  ?/0 False/NoGateway False/NeverSeen Unknown/NeverSeen")
	err := w.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.IdentityNamespace, Name: "device-" + w.namespace + ".board-identity"}, secret)
	if !apierrors.IsNotFound(err) {
		t.Errorf("hardware was given an identity: %v", err)
	}

	// Nobody sees the device go.
	w.process.Stop()
	w.must(w.Delete(t.Context(), device))
	w.start()
	looptest.Eventually(t, func() error {
		if err := there(); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the identity of a device that is gone: %w", err)
		}
		return nil
	})
}

// key is base64 of what has the length of a P-256 SubjectPublicKeyInfo.
func key(c byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(c), 91)))
}

func TestOneKeyOnTwoDevicesIsReportedOnBoth(t *testing.T) {
	w := newWorld(t)
	w.gateway("edge", v1alpha1.GatewaySpec{})
	one := w.device("one", v1alpha1.DeviceSpec{Backend: v1alpha1.BackendHardware, Keys: []string{key('a')}})
	w.want(one, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
	two := w.device("two", v1alpha1.DeviceSpec{Backend: v1alpha1.BackendHardware, Keys: []string{key('b'), key('a')}})
	w.want(one, "Pending edge ?/0 False/DuplicateKey False/NeverSeen Unknown/NeverSeen")
	w.want(two, "Pending edge ?/0 False/DuplicateKey False/NeverSeen Unknown/NeverSeen")
	if message := meta.FindStatusCondition(w.get(one).Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, w.namespace+"/two") {
		t.Errorf("message %q", message)
	}
	w.patch(two, fmt.Sprintf(`{"spec":{"keys":[%q]}}`, key('b')))
	w.want(one, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
	w.want(two, "Pending edge ?/0 False/NeverSeen False/NeverSeen Unknown/NeverSeen")
}

func TestDevicesMoveWhenTheirGatewayIsGone(t *testing.T) {
	w := newWorld(t)
	first, stopFirst := w.gateway("first", v1alpha1.GatewaySpec{})
	var devices []*v1alpha1.Device
	for i := range 20 {
		devices = append(devices, w.device(fmt.Sprintf("d%d", i), v1alpha1.DeviceSpec{}))
	}
	pinned := w.device("pinned", v1alpha1.DeviceSpec{Gateway: "first"})
	for _, device := range append(devices, pinned) {
		w.must(looptest.Connect(t.Context(), w, device, first, true))
		w.want(device, "Online first 0/0 True/Online True/Connected True/InSync")
	}
	second, _ := w.gateway("second", v1alpha1.GatewaySpec{})
	w.process.Writes.Quiet(t, 2*time.Second)
	if gateway := w.get(devices[0]).Status.Gateway; gateway != first {
		t.Errorf("a device moved to %s though its gateway lives", gateway)
	}
	before := w.process.Writes.Count(w.namespace, "PATCH devices/status")
	stopFirst()
	w.want(pinned, "Unknown first ?/0 Unknown/GatewayLost Unknown/GatewayLost Unknown/GatewayLost")
	w.process.Writes.Quiet(t, 2*time.Second)
	for _, device := range devices {
		w.want(device, "Online first 0/0 True/Online True/Connected True/InSync")
		w.must(looptest.Adopt(t.Context(), w, device, second))
	}
	for _, device := range devices {
		w.want(device, "Online second 0/0 True/Online True/Connected True/InSync")
	}
	w.process.Writes.Quiet(t, 2*time.Second)
	if count := w.process.Writes.Count(w.namespace, "PATCH devices/status"); count != before+1 {
		t.Errorf("%d writes of status for %d devices that were adopted and one that may not move: %s", count-before, len(devices), w.process.Writes)
	}
}

// TestHowLongADeviceMayMove has others come from the same gateway meanwhile.
func TestHowLongADeviceMayMove(t *testing.T) {
	now := time.Now()
	r := &reconciler{opts: Options{Move: 30 * time.Second, Now: func() time.Time { return now }}}
	gone := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "gone"}}
	gone.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLeaseExpired}}
	lives := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "lives"}}
	lives.Spec.Limits.Devices = 100
	gateways := []*v1alpha1.Gateway{gone, lives}
	at := func(name, gateway string) *v1alpha1.Device {
		d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}
		d.Status.Gateway, d.Status.Connection = gateway, &v1alpha1.DeviceConnection{Gateway: gateway, Connected: true}
		d.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConnected, Status: metav1.ConditionTrue}}
		return d
	}
	slow := &input{device: at("slow", "plant.gone"), lost: true}
	left := func(after time.Duration) time.Duration {
		now = now.Add(after)
		return r.moves(slow, gateways)
	}
	r.ledger.fill([]v1alpha1.Device{*slow.device, *at("quick", "plant.gone"), *at("steady", "plant.gone")})
	if l := left(0); l != 30*time.Second {
		t.Errorf("%s at first", l)
	}
	if l := left(20 * time.Second); l != 10*time.Second {
		t.Errorf("%s after 20 s", l)
	}
	r.ledger.choose(at("quick", "plant.lives"), gateways, now)
	if l := left(5 * time.Second); l != 25*time.Second {
		t.Errorf("%s, 5 s after another one was adopted", l)
	}
	if l := left(25 * time.Second); l > 0 {
		t.Errorf("%s when no other one has come for 30 s", l)
	}
	if a := r.ledger.choose(slow.device, gateways, now); a.gateway != "plant.lives" {
		t.Errorf("it is assigned to %q", a.gateway)
	}
	if l := left(0); l > 0 {
		t.Errorf("%s after it was assigned: this process's own assignments are no adoptions", l)
	}
	r.ledger.choose(at("steady", "plant.lives"), gateways, now.Add(time.Hour))
	if l := left(time.Hour); l > 0 {
		t.Errorf("%s after an hour in which others came", l)
	}
	lives.Spec.Limits.Devices = 3
	if r.moving.Clear(); left(0) != 0 {
		t.Error("it may move though the other gateway is full")
	}
}

// TestADeviceThatDoesNotMoveIsAway has a device that is expected at another gateway and never comes.
func TestADeviceThatDoesNotMoveIsAway(t *testing.T) {
	w := &world{t: t, namespace: cluster.Namespace(t), move: 3 * time.Second}
	var err error
	w.Client, err = cluster.Client()
	w.must(err)
	w.start()
	first, stopFirst := w.gateway("first", v1alpha1.GatewaySpec{})
	device := w.device("slow", v1alpha1.DeviceSpec{})
	w.must(looptest.Connect(t.Context(), w, device, first, true))
	w.want(device, "Online first 0/0 True/Online True/Connected True/InSync")
	second, _ := w.gateway("second", v1alpha1.GatewaySpec{})
	before := w.process.Writes.Count(w.namespace, "PATCH devices/status")
	stopFirst()
	w.want(device, "Unknown second ?/0 Unknown/GatewayLost Unknown/GatewayLost Unknown/GatewayLost")
	if count := w.process.Writes.Count(w.namespace, "PATCH devices/status"); count != before+1 {
		t.Errorf("%d writes of status", count-before)
	}
	w.must(looptest.Connect(t.Context(), w, device, second, true))
	w.want(device, "Online second 0/0 True/Online True/Connected True/InSync")
}

func TestManyDevicesArriveAtOnce(t *testing.T) {
	w := newWorld(t)
	w.gateway("a", v1alpha1.GatewaySpec{Limits: v1alpha1.GatewayLimits{Devices: 100}})
	w.gateway("b", v1alpha1.GatewaySpec{Limits: v1alpha1.GatewayLimits{Devices: 1000}})
	w.gateway("other-namespaces-only", v1alpha1.GatewaySpec{AllowedNamespaces: []string{"elsewhere"}})
	const count = 400
	started := time.Now()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range count {
		group.Go(func() error { w.device(fmt.Sprintf("d%d", i), v1alpha1.DeviceSpec{}); return nil })
	}
	w.must(group.Wait())
	looptest.Eventually(t, func() error {
		var devices v1alpha1.DeviceList
		w.must(w.List(t.Context(), &devices, client.InNamespace(w.namespace)))
		got := map[string]int{}
		for i := range devices.Items {
			got[strings.TrimPrefix(devices.Items[i].Status.Gateway, w.namespace+".")]++
		}
		if got["a"] != 100 || got["b"] != count-100 {
			return fmt.Errorf("assigned %v", got)
		}
		return nil
	})
	t.Logf("%d devices have identities and gateways after %s: %s", count, time.Since(started).Round(time.Millisecond), w.process.Writes)
	w.process.Writes.Quiet(t, 2*time.Second)
	if got := w.process.Writes.Count(w.namespace, "POST secrets"); got > count+3 {
		t.Errorf("%d secrets made for %d devices", got, count)
	}
	if got := w.process.Writes.Count(w.namespace, "PATCH devices/status"); got > 2*count {
		t.Errorf("%d status writes for %d devices", got, count)
	}
}

// asControllers is what the controllers' own role allows, no more.
func asControllers(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := cluster.ForUser(v1alpha1.UserControllers)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestASecretOfSomebodyElseIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.gateway("edge", v1alpha1.GatewaySpec{})
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.IdentityNamespace, Name: "device-" + w.namespace + ".sensor-identity"}, StringData: map[string]string{"mine": "yes"}}
	w.must(w.Create(t.Context(), foreign))
	device := w.device("sensor", v1alpha1.DeviceSpec{})
	w.want(device, "Pending edge ?/0 False/NoIdentity False/NeverSeen Unknown/NeverSeen")
	if message := meta.FindStatusCondition(w.get(device).Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(message, "remove it") {
		t.Errorf("message %q", message)
	}
	w.must(w.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	if string(foreign.Data["mine"]) != "yes" || len(foreign.Data) != 1 {
		t.Errorf("it was changed: %v", foreign.Data)
	}
}
