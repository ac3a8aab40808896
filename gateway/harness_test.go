// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/gateway"
	"wasmbed.dev/gateway/internal/device"
	"wasmbed.dev/gateway/protocol"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if encoded := os.Getenv(processEnv); encoded != "" {
		runProcess(encoded)
	}
	testcluster.Main(m, &cluster)
}

// patience is how long a test waits for what must happen; grace is the gateways' grace period.
const (
	patience = 20 * time.Second
	grace    = 700 * time.Millisecond
)

// installation is what a gateway needs around it: certificates, a module store, a namespace.
type installation struct {
	t         *testing.T
	kube      client.Client
	namespace string
	authority *pki.Authority
	bundle    *pki.Bundle
	store     *store.Store
	storeURL  string
}

func install(t *testing.T) *installation {
	t.Helper()
	kube, err := cluster.Client()
	must(t, err)
	authority, err := pki.NewAuthority("test", time.Hour, time.Now())
	must(t, err)
	bundle, err := pki.ParseBundle(authority.CertPEM)
	must(t, err)
	i := &installation{t: t, kube: kube, namespace: cluster.Namespace(t), authority: authority, bundle: bundle}
	i.serveStore()
	return i
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until check is content; it says what is wrong until then.
func eventually(t testing.TB, what string, check func() string) {
	t.Helper()
	var wrong string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if wrong = check(); wrong == "" {
			return
		}
	}
	t.Fatalf("%s: after %s still: %s", what, patience, wrong)
}

func (i *installation) credentials(id pki.Identity) *pki.Credentials {
	i.t.Helper()
	pair, err := i.authority.Issue(pki.Request{Identity: id, Serving: id.Kind != pki.Device}, time.Now())
	must(i.t, err)
	credentials, err := pki.ParseCredentials(pki.SecretData(pair, i.bundle))
	must(i.t, err)
	return credentials
}

func (i *installation) serveStore() {
	i.t.Helper()
	var err error
	i.store, err = store.Open(i.t.TempDir())
	must(i.t, err)
	source := &pki.Source{}
	source.Set(i.credentials(pki.ClientIdentity("controllers")))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", source.ServerConfig(time.Now, pki.Gateway, pki.Client))
	must(i.t, err)
	server := &http.Server{Handler: i.store.Handler()}
	go server.Serve(listener)
	i.t.Cleanup(func() { server.Close() })
	i.storeURL = "https://" + listener.Addr().String()
}

// module puts size bytes into the store.
func (i *installation) module(size int) ([]byte, protocol.Digest) {
	i.t.Helper()
	content := make([]byte, size)
	rand.Read(content)
	_, err := i.store.Put(content)
	must(i.t, err)
	return content, protocol.DigestOf(content)
}

// running is a gateway.
type running struct {
	*installation
	name    string
	opts    gateway.Options
	clients *http.Client
	cancel  context.CancelFunc
	done    chan error
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// gateway makes a Gateway with its identity and starts it.
func (i *installation) gateway(name string, change ...func(*v1alpha1.Gateway, *gateway.Options)) *running {
	i.t.Helper()
	object := &v1alpha1.Gateway{Spec: v1alpha1.GatewaySpec{Limits: v1alpha1.GatewayLimits{HeartbeatSeconds: 3}}}
	object.Namespace, object.Name = i.namespace, name
	g := &running{installation: i, name: name, opts: gateway.Options{
		Namespace: i.namespace, Name: name, Listen: freeAddress(i.t), HTTPListen: freeAddress(i.t), StoreURL: i.storeURL,
		CacheDir: i.t.TempDir(), GracePeriod: grace, Log: logger(i.t, name),
	}}
	for _, c := range change {
		c(object, &g.opts)
	}
	must(i.t, i.kube.Create(i.t.Context(), object))
	id := pki.GatewayIdentity(i.namespace, name)
	pair, err := i.authority.Issue(pki.Request{Identity: id, Serving: true}, time.Now())
	must(i.t, err)
	secret := &corev1.Secret{Data: pki.SecretData(pair, i.bundle)}
	secret.Namespace, secret.Name = i.namespace, pki.SecretName(id)
	must(i.t, i.kube.Create(i.t.Context(), secret))
	role, binding := config.GatewaySecretAccess(object, secret.Name)
	must(i.t, i.kube.Create(i.t.Context(), role))
	must(i.t, i.kube.Create(i.t.Context(), binding))
	if g.opts.Config == nil {
		g.opts.Config = i.user(name)
	}
	admin := &pki.Source{}
	admin.Set(i.credentials(pki.ClientIdentity("admin")))
	g.clients = &http.Client{Transport: &http.Transport{TLSClientConfig: admin.ClientConfig(time.Now, pki.Gateway), DisableKeepAlives: true}}
	g.start()
	i.t.Cleanup(func() {
		if g.cancel != nil {
			g.stop()
		}
	})
	return g
}

// user is what the gateway's own certificate lets it do.
func (i *installation) user(name string) *rest.Config {
	i.t.Helper()
	user, err := cluster.ForUser(v1alpha1.UserGatewayPrefix+i.namespace+":"+name, v1alpha1.GroupGateways)
	must(i.t, err)
	return user
}

func logger(t *testing.T, name string) logr.Logger {
	if os.Getenv("GATEWAY_TEST_LOG") == "" {
		return logr.Discard()
	}
	return funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, t.Name(), name, prefix, args) }, funcr.Options{Verbosity: 1, LogTimestamp: true})
}

func (g *running) start() {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel, g.done = cancel, make(chan error, 1)
	go func() { g.done <- gateway.Run(ctx, g.opts) }()
	eventually(g.t, "gateway is ready", func() string {
		select {
		case err := <-g.done:
			g.t.Fatalf("gateway ended: %v", err)
		default:
		}
		if _, err := g.get("/readyz"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// stop ends the gateway as SIGTERM does, and returns how long that took.
func (g *running) stop() time.Duration {
	g.t.Helper()
	begin := time.Now()
	g.cancel()
	g.cancel = nil
	select {
	case err := <-g.done:
		if err != nil {
			g.t.Errorf("gateway ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		g.t.Error("gateway did not end")
	}
	return time.Since(begin)
}

func (g *running) get(path string) ([]byte, error) {
	response, err := g.clients.Get("https://" + g.opts.HTTPListen + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return body, err
}

func (g *running) getJSON(path string, v any) {
	g.t.Helper()
	body, err := g.get(path)
	must(g.t, err)
	must(g.t, json.Unmarshal(body, v))
}

func (g *running) key() string { return v1alpha1.GatewayKey(g.namespace, g.name) }

// device makes a Device that is assigned to the gateway, and the device's side with a certificate of the installation.
func (g *running) device(name string) *device.Device {
	g.t.Helper()
	object := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
	object.Namespace, object.Name = g.namespace, name
	must(g.t, g.kube.Create(g.t.Context(), object))
	g.assign(name)
	return g.deviceSide(g.credentials(pki.DeviceIdentity(g.namespace, name)).Certificate)
}

func (g *running) deviceSide(certificate tls.Certificate) *device.Device {
	return &device.Device{Address: g.opts.Listen, TLS: g.clientTLS(certificate)}
}

func (i *installation) clientTLS(certificate tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(i.authority.Certificate)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, ServerName: pki.ServerName, RootCAs: pool,
		Certificates: []tls.Certificate{certificate}, ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
}

// assign does what the device controller does.
func (g *running) assign(name string) {
	g.t.Helper()
	g.changeDevice(name, func(d *v1alpha1.Device) { d.Status.Gateway = g.key() })
}

// changeDevice changes spec and status.
func (i *installation) changeDevice(name string, change func(*v1alpha1.Device)) {
	i.t.Helper()
	before := i.getDevice(name)
	after := before.DeepCopy()
	change(after)
	must(i.t, i.kube.Status().Patch(i.t.Context(), after.DeepCopy(), client.MergeFrom(before)))
	must(i.t, i.kube.Patch(i.t.Context(), after.DeepCopy(), client.MergeFrom(before)))
}

func (i *installation) getDevice(name string) *v1alpha1.Device {
	i.t.Helper()
	d := &v1alpha1.Device{}
	must(i.t, i.kube.Get(i.t.Context(), types.NamespacedName{Namespace: i.namespace, Name: name}, d))
	return d
}

// instance does what the application controller does.
func (g *running) instance(app, device string, digest protocol.Digest, size int) *v1alpha1.Instance {
	g.t.Helper()
	o := &v1alpha1.Instance{Spec: v1alpha1.InstanceSpec{Application: app, Device: device, Digest: digest.String(), Size: int64(size)}}
	o.Namespace, o.Name = g.namespace, v1alpha1.InstanceName(app, device)
	o.Labels = map[string]string{v1alpha1.LabelApplication: app, v1alpha1.LabelDevice: device}
	must(g.t, g.kube.Create(g.t.Context(), o))
	return o
}

func (i *installation) changeInstance(name string, change func(*v1alpha1.Instance)) {
	i.t.Helper()
	before := i.getInstance(name)
	after := before.DeepCopy()
	change(after)
	must(i.t, i.kube.Patch(i.t.Context(), after, client.MergeFrom(before)))
}

func (i *installation) getInstance(name string) *v1alpha1.Instance {
	i.t.Helper()
	o := &v1alpha1.Instance{}
	if err := i.kube.Get(i.t.Context(), types.NamespacedName{Namespace: i.namespace, Name: name}, o); err != nil && !apierrors.IsNotFound(err) {
		i.t.Fatal(err)
	}
	return o
}

// awaitPhase waits until an Instance's status answers to its present spec in a phase.
func (i *installation) awaitPhase(name string, phase v1alpha1.InstancePhase) *v1alpha1.Instance {
	i.t.Helper()
	var o *v1alpha1.Instance
	eventually(i.t, fmt.Sprintf("instance %s is %s", name, phase), func() string {
		o = i.getInstance(name)
		if o.Status.Phase != phase || o.Status.ObservedGeneration != o.Generation {
			return fmt.Sprintf("generation %d: %+v", o.Generation, o.Status)
		}
		return ""
	})
	return o
}

func (i *installation) awaitConnected(name string, connected bool) *v1alpha1.DeviceConnection {
	i.t.Helper()
	var c *v1alpha1.DeviceConnection
	eventually(i.t, fmt.Sprintf("device %s has connected=%t", name, connected), func() string {
		c = i.getDevice(name).Status.Connection
		if c == nil || c.Connected != connected {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	return c
}

// run keeps a device connected until the test ends, or the returned function is called.
func run(t testing.TB, d *device.Device) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); d.RunAgain(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// awaitApps waits until a device runs exactly these apps.
func awaitApps(t testing.TB, d *device.Device, names ...string) device.State {
	t.Helper()
	var s device.State
	eventually(t, fmt.Sprintf("device runs %v", names), func() string {
		s = d.Snapshot()
		var have []string
		for _, app := range s.Apps {
			have = append(have, app.Name)
		}
		if fmt.Sprint(have) != fmt.Sprint(names) || s.Generation == 0 {
			return fmt.Sprintf("generation %d: %v (release %+v, error %+v)", s.Generation, have, s.Release, s.Error)
		}
		return ""
	})
	return s
}

// selfSigned is the certificate of a hardware device, and its key as a Device pins it.
func selfSigned(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(50, 0, 0), NotAfter: time.Now().AddDate(90, 0, 0)} // its clock is off
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, pki.PublicKey(leaf)
}
