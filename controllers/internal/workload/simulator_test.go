// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway/protocol"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) { testcluster.Main(m, &cluster) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const patience = 30 * time.Second

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// site is a namespace with an authority and a user who may write.
type site struct {
	t         *testing.T
	client    client.Client
	namespace string
	authority *pki.Authority
	bundle    *pki.Bundle
	stateDir  string
}

func newSite(t *testing.T) *site {
	t.Helper()
	c, err := cluster.Client()
	check(t, err)
	authority, err := pki.NewAuthority("test", time.Hour, time.Now())
	check(t, err)
	bundle, err := pki.ParseBundle(authority.CertPEM)
	check(t, err)
	return &site{t, c, cluster.Namespace(t), authority, bundle, t.TempDir()}
}

func (s *site) issue(id pki.Identity) *pki.Pair {
	s.t.Helper()
	pair, err := s.authority.Issue(pki.Request{Identity: id, Validity: time.Hour, Serving: id.Kind == pki.Gateway}, time.Now())
	check(s.t, err)
	return pair
}

// run runs the simulator as its own user, so with its own rights, until the returned function is called.
func (s *site) run() (stop func()) {
	s.t.Helper()
	config, err := cluster.ForUser(v1alpha1.UserSimulator)
	check(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- RunSimulator(ctx, SimulatorOptions{Config: config, StateDir: s.stateDir, Firmware: "test", Log: testr.New(s.t)})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("the simulator ended with %v", err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// device makes a Device and does for it what the device controller would.
func (s *site) device(name, gateway string) *v1alpha1.Device {
	s.t.Helper()
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
	check(s.t, s.client.Create(s.t.Context(), d))
	s.identity(name)
	id := pki.DeviceIdentity(s.namespace, name)
	d.Status.Identity, d.Status.Gateway = pki.SecretName(id), gateway
	check(s.t, s.client.Status().Update(s.t.Context(), d))
	return d
}

// identity makes or renews the Secret of a device.
func (s *site) identity(name string) *pki.Pair {
	s.t.Helper()
	id := pki.DeviceIdentity(s.namespace, name)
	pair := s.issue(id)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.IdentityNamespace, Name: pki.SecretName(id), Labels: map[string]string{v1alpha1.LabelIdentity: v1alpha1.IdentityDevice, v1alpha1.LabelBackend: "simulated"}},
		Data: pki.SecretData(pair, s.bundle)}
	var old corev1.Secret
	if err := s.client.Get(s.t.Context(), client.ObjectKeyFromObject(secret), &old); err == nil {
		old.Data = secret.Data
		check(s.t, s.client.Update(s.t.Context(), &old))
		return pair
	}
	check(s.t, s.client.Create(s.t.Context(), secret))
	return pair
}

// front is a listener that welcomes the installation's devices and tells who is there.
type front struct {
	site     *site
	name     string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[string]*tls.Conn // by device
	hellos map[string]protocol.Hello
	count  map[string]int
}

// gateway makes a Gateway with a front.
func (s *site) gateway(name string) *front {
	s.t.Helper()
	pair := s.issue(pki.GatewayIdentity(s.namespace, name))
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	check(s.t, err)
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	check(s.t, err)
	f := &front{site: s, name: name, listener: listener, conns: map[string]*tls.Conn{}, hellos: map[string]protocol.Hello{}, count: map[string]int{}}
	f.wg.Go(f.accept)
	s.t.Cleanup(f.close)
	g := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	check(s.t, s.client.Create(s.t.Context(), g))
	f.publish(listener.Addr().String())
	return f
}

func (f *front) publish(endpoints ...string) {
	f.site.t.Helper()
	var g v1alpha1.Gateway
	check(f.site.t, f.site.client.Get(f.site.t.Context(), types.NamespacedName{Namespace: f.site.namespace, Name: f.name}, &g))
	g.Status.Endpoints = endpoints
	check(f.site.t, f.site.client.Status().Update(f.site.t.Context(), &g))
}

func (f *front) key() string { return v1alpha1.GatewayKey(f.site.namespace, f.name) }

func (f *front) close() {
	f.listener.Close()
	f.drop()
	f.wg.Wait()
}

func (f *front) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.NetConn().Close()
	}
}

func (f *front) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() {
			defer conn.Close()
			if err := f.serve(conn.(*tls.Conn)); err != nil {
				f.site.t.Log("front: ", err)
			}
		})
	}
}

func (f *front) serve(conn *tls.Conn) error {
	body, err := protocol.ReadBody(conn, nil, protocol.MinMaxFrame)
	if err != nil {
		return err
	}
	frame, err := protocol.Decode(body)
	if err != nil {
		return err
	}
	hello, ok := frame.(*protocol.Hello)
	if !ok {
		return errors.New("no hello")
	}
	id, err := f.site.bundle.VerifyClient(conn.ConnectionState(), time.Now(), pki.Device)
	if err != nil {
		return err
	}
	welcome, err := protocol.AppendFrame(nil, &protocol.Welcome{Version: protocol.Version, MaxFrame: 1024, Epoch: 1, HeartbeatInterval: 10000, ReportInterval: 10}, protocol.MinMaxFrame)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.conns[id.Name], f.hellos[id.Name] = conn, *hello
	f.count[id.Name]++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.conns[id.Name] == conn {
			delete(f.conns, id.Name)
		}
	}()
	if _, err := conn.Write(welcome); err != nil {
		return err
	}
	for {
		if _, err := protocol.ReadBody(conn, nil, 1024); err != nil {
			return nil
		}
	}
}

// there tells whether the device is connected, and with which boot.
func (f *front) there(device string, boots uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns[device] != nil && f.hellos[device].Boots == boots
}

func (s *site) power(name string, power v1alpha1.Power) {
	s.t.Helper()
	var d v1alpha1.Device
	check(s.t, s.client.Get(s.t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, &d))
	d.Spec.Power = power
	check(s.t, s.client.Update(s.t.Context(), &d))
}

func TestDevicesFollowTheirObjects(t *testing.T) {
	s := newSite(t)
	gateway := s.gateway("first")
	stop := s.run()
	one := s.device("one", gateway.key())
	s.device("two", gateway.key())
	for _, name := range []string{"one", "two"} {
		until(t, name+" is connected", func() bool { return gateway.there(name, 1) })
	}
	if hello := gateway.hellos["one"]; hello.Board != "sim-m4" || hello.Firmware != "test" {
		t.Errorf("hello: %+v", hello)
	}

	s.power("one", v1alpha1.PowerOff)
	until(t, "one is off", func() bool { return !gateway.there("one", 1) })
	s.power("one", v1alpha1.PowerOn)
	until(t, "one has booted again", func() bool { return gateway.there("one", 2) })

	check(t, s.client.Delete(t.Context(), one))
	until(t, "one is gone, with its state", func() bool {
		left, _ := os.ReadDir(filepath.Join(s.stateDir, s.namespace))
		return !gateway.there("one", 2) && len(left) == 1
	})
	s.device("one", gateway.key())
	until(t, "the new one is as new", func() bool { return gateway.there("one", 1) })

	stop()
	until(t, "all are off", func() bool { gateway.mu.Lock(); defer gateway.mu.Unlock(); return len(gateway.conns) == 0 })
	s.run()
	until(t, "both have booted again", func() bool { return gateway.there("one", 2) && gateway.there("two", 2) })
}

func TestADeviceFollowsItsGateway(t *testing.T) {
	s := newSite(t)
	first, second := s.gateway("first"), s.gateway("second")
	s.run()
	d := s.device("one", first.key())
	until(t, "it is connected", func() bool { return first.there("one", 1) })

	// Another address of the same gateway.
	moved := s.gateway("moved")
	first.publish(moved.listener.Addr().String())
	first.drop()
	until(t, "it is at the new address", func() bool { return moved.there("one", 1) })

	// Another gateway.
	var now v1alpha1.Device
	check(t, s.client.Get(t.Context(), client.ObjectKeyFromObject(d), &now))
	now.Status.Gateway = second.key()
	check(t, s.client.Status().Update(t.Context(), &now))
	until(t, "it knows its new gateway", func() bool { moved.drop(); return second.there("one", 1) })
}

// TestDevicesOfAGatewayThatIsGoneTryTheOthers before anybody has assigned them anew, and share them.
func TestDevicesOfAGatewayThatIsGoneTryTheOthers(t *testing.T) {
	s := newSite(t)
	first, second, third, foreign := s.gateway("first"), s.gateway("second"), s.gateway("third"), s.gateway("foreign")
	change := func(f *front, change func(*v1alpha1.Gateway)) {
		var g v1alpha1.Gateway
		check(t, s.client.Get(t.Context(), types.NamespacedName{Namespace: s.namespace, Name: f.name}, &g))
		change(&g)
		status := g.Status
		check(t, s.client.Update(t.Context(), &g))
		g.Status = status
		check(t, s.client.Status().Update(t.Context(), &g))
	}
	change(foreign, func(g *v1alpha1.Gateway) { g.Spec.AllowedNamespaces = []string{"elsewhere"} })
	s.run()
	const devices = 20
	for i := range devices {
		s.device(fmt.Sprintf("d%d", i), first.key())
	}
	pinned := s.device("pinned", first.key())
	pinned.Spec.Gateway = "first"
	check(t, s.client.Update(t.Context(), pinned))
	at := func(f *front) int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.conns) }
	until(t, "all are connected", func() bool { return at(first) == devices+1 })
	change(first, func(g *v1alpha1.Gateway) {
		g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLeaseExpired, LastTransitionTime: metav1.Now()}}
	})
	first.close()
	until(t, "they are with the others", func() bool { return at(second)+at(third) == devices })
	if at(second) == 0 || at(third) == 0 || at(foreign) != 0 || second.there("pinned", 1) || third.there("pinned", 1) {
		t.Errorf("%d are with the second, %d with the third, %d with one that does not serve their namespace", at(second), at(third), at(foreign))
	}
}

func TestARenewedIdentityReachesTheDevice(t *testing.T) {
	s := newSite(t)
	gateway := s.gateway("first")
	s.run()
	s.device("one", gateway.key())
	until(t, "it is connected", func() bool { return gateway.there("one", 1) })
	pair := s.identity("one")
	until(t, "it uses the new certificate, without a boot", func() bool {
		gateway.mu.Lock()
		conn := gateway.conns["one"]
		gateway.mu.Unlock()
		if conn == nil {
			return false
		}
		if pki.PublicKey(conn.ConnectionState().PeerCertificates[0]) == pki.PublicKey(pair.Certificate) {
			return gateway.there("one", 1)
		}
		conn.NetConn().Close() // the next connection may have it
		return false
	})
}

func TestStateOfDevicesThatWentWhileNobodyLookedIsRemoved(t *testing.T) {
	s := newSite(t)
	gateway := s.gateway("first")
	stale := filepath.Join(s.stateDir, s.namespace, "ghost", "0000")
	check(t, os.MkdirAll(stale, 0o700))
	s.run()
	s.device("one", gateway.key())
	until(t, "one is connected", func() bool { return gateway.there("one", 1) })
	if _, err := os.Stat(filepath.Dir(stale)); !os.IsNotExist(err) {
		t.Error("the state of a device that is gone is still there")
	}
}

func TestDevicesOfOtherBackendsAreLeftAlone(t *testing.T) {
	s := newSite(t)
	gateway := s.gateway("first")
	s.run()
	other := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "board"}, Spec: v1alpha1.DeviceSpec{Board: "mps2-an385", Backend: v1alpha1.BackendQEMU}}
	check(t, s.client.Create(t.Context(), other))
	s.identity("board")
	other.Status.Identity, other.Status.Gateway = pki.SecretName(pki.DeviceIdentity(s.namespace, "board")), gateway.key()
	check(t, s.client.Status().Update(t.Context(), other))
	s.device("last", gateway.key())
	until(t, "the simulated one is connected", func() bool { return gateway.there("last", 1) })
	if _, err := os.Stat(filepath.Join(s.stateDir, s.namespace, "board")); err == nil {
		t.Error("a virtual board was simulated")
	}
}
