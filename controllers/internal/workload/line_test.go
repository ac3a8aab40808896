// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/gateway"
	"wasmbed.dev/gateway/protocol"
)

// line is the real thing from Instance to app: API server, module store, gateway, simulator.
type line struct {
	*site
	store     *store.Store
	key       string
	options   gateway.Options
	stop      func() // the gateway
	stopStore func()
}

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{site: newSite(t)}
	storeURL := l.serveStore()
	g := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: "edge"}, Spec: v1alpha1.GatewaySpec{Limits: v1alpha1.GatewayLimits{HeartbeatSeconds: 1}}}
	check(t, l.client.Create(t.Context(), g))
	l.key = v1alpha1.GatewayKey(l.namespace, "edge")
	id := pki.GatewayIdentity(l.namespace, "edge")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: pki.SecretName(id)}, Data: pki.SecretData(l.issue(id), l.bundle)}
	check(t, l.client.Create(t.Context(), secret))
	role, binding := config.GatewaySecretAccess(g, secret.Name)
	check(t, l.client.Create(t.Context(), role))
	check(t, l.client.Create(t.Context(), binding))
	user, err := cluster.ForUser(v1alpha1.UserGatewayPrefix+l.namespace+":edge", v1alpha1.GroupGateways)
	check(t, err)
	l.options = gateway.Options{Config: user, Namespace: l.namespace, Name: "edge", Listen: freeAddress(t), HTTPListen: freeAddress(t), StoreURL: storeURL,
		CacheDir: t.TempDir(), GracePeriod: 500 * time.Millisecond, Log: logr.Discard()}
	l.startGateway()
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *line) startGateway() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gateway.Run(ctx, l.options) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("the gateway ended with %v", err)
		}
	})
}

func (l *line) serveStore() string {
	l.t.Helper()
	var err error
	l.store, err = store.Open(l.t.TempDir())
	check(l.t, err)
	credentials, err := pki.ParseCredentials(pki.SecretData(l.issueServing(pki.ClientIdentity("controllers")), l.bundle))
	check(l.t, err)
	source := &pki.Source{}
	source.Set(credentials)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", source.ServerConfig(time.Now, pki.Gateway, pki.Client))
	check(l.t, err)
	server := &http.Server{Handler: l.store.Handler(), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	l.stopStore = func() { server.Close() }
	l.t.Cleanup(l.stopStore)
	return "https://" + listener.Addr().String()
}

func (l *line) issueServing(id pki.Identity) *pki.Pair {
	pair, err := l.authority.Issue(pki.Request{Identity: id, Validity: time.Hour, Serving: true}, time.Now())
	check(l.t, err)
	return pair
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// spec is a snapshot of an example application, as the application controller would make it.
func (l *line) spec(device, app, module string, values ...string) v1alpha1.InstanceSpec {
	l.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "..", "apps", module, module+".wasm"))
	check(l.t, err)
	_, err = l.store.Put(content)
	check(l.t, err)
	memory, stack := int32(4096), int32(2048)
	spec := v1alpha1.InstanceSpec{Device: device, Application: app, Digest: protocol.DigestOf(content).String(), Size: int64(len(content)),
		Permissions: []v1alpha1.Permission{"gpio", "log", "sensor", "timer"}, Limits: v1alpha1.AppLimits{Memory: &memory, Stack: &stack}, Config: v1alpha1.ConfigValues{}}
	for i := 0; i < len(values); i += 2 {
		spec.Config[values[i]] = v1alpha1.ConfigValue(values[i+1])
	}
	return spec
}

func (l *line) create(spec v1alpha1.InstanceSpec) {
	l.t.Helper()
	i := &v1alpha1.Instance{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: v1alpha1.InstanceName(spec.Application, spec.Device),
		Labels: map[string]string{v1alpha1.LabelDevice: spec.Device, v1alpha1.LabelApplication: spec.Application}}, Spec: spec}
	check(l.t, l.client.Create(l.t.Context(), i))
}

func (l *line) update(spec v1alpha1.InstanceSpec) {
	l.t.Helper()
	i := l.instance(spec.Application, spec.Device)
	i.Spec = spec
	check(l.t, l.client.Update(l.t.Context(), i))
}

func (l *line) instance(app, device string) *v1alpha1.Instance {
	l.t.Helper()
	var i v1alpha1.Instance
	check(l.t, l.client.Get(l.t.Context(), types.NamespacedName{Namespace: l.namespace, Name: v1alpha1.InstanceName(app, device)}, &i))
	return &i
}

// await waits until the Instance's present spec is in a phase.
func (l *line) await(app, device string, phase v1alpha1.InstancePhase) v1alpha1.InstanceStatus {
	l.t.Helper()
	var i *v1alpha1.Instance
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		i = l.instance(app, device)
		if i.Status.ObservedGeneration == i.Generation && i.Status.Phase == phase {
			return i.Status
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s on %s: waited in vain for %s of generation %d: %+v", app, device, phase, i.Generation, i.Status)
		}
	}
}

func TestFromInstanceToAppAndBack(t *testing.T) {
	l := newLine(t)
	l.run()
	for _, d := range []string{"one", "two"} {
		l.device(d, l.key)
		l.create(l.spec(d, "blink", "blink"))
		l.create(l.spec(d, "thermostat", "thermostat", "target", "21000"))
	}
	for _, d := range []string{"one", "two"} {
		s := l.await("blink", d, v1alpha1.InstanceRunning)
		if s.StartMilliseconds == nil || s.Digest != l.instance("blink", d).Spec.Digest || s.Restarts != 0 {
			t.Errorf("blink on %s: %+v", d, s)
		}
		l.await("thermostat", d, v1alpha1.InstanceRunning)
	}

	// A change of config.
	l.update(l.spec("one", "thermostat", "thermostat", "target", "18000"))
	l.await("thermostat", "one", v1alpha1.InstanceRunning)

	// A version that crashes: the device goes back to the former one and says so.
	former := l.instance("blink", "two").Spec.Digest
	l.update(l.spec("two", "blink", "misbehaves", "mode", "memory"))
	if s := l.await("blink", "two", v1alpha1.InstanceRolledBack); s.Digest != former || s.Reason != "CrashLoop" || !strings.Contains(s.Message, "out of bounds") {
		t.Errorf("after the rollback: %+v", s)
	}
	l.update(l.spec("two", "blink", "blink"))
	l.await("blink", "two", v1alpha1.InstanceRunning)

	// An app that traps, beside the good ones.
	l.create(l.spec("one", "bad", "misbehaves", "mode", "memory"))
	if s := l.await("bad", "one", v1alpha1.InstanceFailed); s.Reason != "Trapped" {
		t.Errorf("the app that traps: %+v", s)
	}
	check(t, l.client.Delete(t.Context(), l.instance("bad", "one")))

	// The gateway goes and comes back; devices find it again and nothing is started anew.
	l.stop()
	l.startGateway()
	l.create(l.spec("one", "counter", "counter"))
	l.await("counter", "one", v1alpha1.InstanceRunning)
	if s := l.await("blink", "one", v1alpha1.InstanceRunning); s.Restarts != 0 {
		t.Errorf("blink was started anew: %+v", s)
	}
}

func TestADeviceThatWasOffCatchesUp(t *testing.T) {
	l := newLine(t)
	stop := l.run()
	l.device("one", l.key)
	l.create(l.spec("one", "blink", "blink"))
	l.await("blink", "one", v1alpha1.InstanceRunning)
	stop()
	l.create(l.spec("one", "thermostat", "thermostat"))
	check(t, l.client.Delete(t.Context(), l.instance("blink", "one")))
	until(t, "the device is seen to be away", func() bool { c := l.connection("one"); return c != nil && !c.Connected })
	l.run()
	l.await("thermostat", "one", v1alpha1.InstanceRunning)
	if c := l.connection("one"); c.Boots != 2 {
		t.Errorf("connection: %+v", c)
	}
	left, err := filepath.Glob(filepath.Join(l.stateDir, l.namespace, "one", "*", "modules", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("modules in flash: %v (%v), want the thermostat's only", left, err)
	}
}

func (l *line) connection(name string) *v1alpha1.DeviceConnection {
	var d v1alpha1.Device
	check(l.t, l.client.Get(l.t.Context(), types.NamespacedName{Namespace: l.namespace, Name: name}, &d))
	return d.Status.Connection
}

func TestAQuarantinedDeviceIsRefused(t *testing.T) {
	l := newLine(t)
	l.run()
	l.device("one", l.key)
	until(t, "it is connected", func() bool { c := l.connection("one"); return c != nil && c.Connected })
	l.quarantine("one", true)
	until(t, "it is refused", func() bool { return !l.connection("one").Connected })
	l.quarantine("one", false)
	until(t, "it is back", func() bool { return l.connection("one").Connected })
}

func (l *line) quarantine(name string, on bool) {
	var d v1alpha1.Device
	check(l.t, l.client.Get(l.t.Context(), types.NamespacedName{Namespace: l.namespace, Name: name}, &d))
	before := d.DeepCopy()
	d.Spec.Quarantine = on
	check(l.t, l.client.Patch(l.t.Context(), &d, client.MergeFrom(before)))
}

func TestManyDevicesStart(t *testing.T) {
	l := newLine(t)
	const n = 60
	for i := range n {
		name := fmt.Sprintf("d%02d", i)
		l.device(name, l.key)
		l.create(l.spec(name, "blink", "blink"))
	}
	l.run()
	for i := range n {
		l.await("blink", fmt.Sprintf("d%02d", i), v1alpha1.InstanceRunning)
	}
}
