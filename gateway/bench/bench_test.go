// SPDX-License-Identifier: Apache-2.0

// Package bench measures a gateway that is a process of its own, with the real API server behind it:
//
//	go test ./gateway/bench -bench . -benchtime 1x -timeout 30m -connections 2000
//
// It does nothing without -bench.
package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway"
	"wasmbed.dev/gateway/internal/device"
	"wasmbed.dev/gateway/protocol"
	"wasmbed.dev/internal/testcluster"
)

var (
	connections = flag.Int("connections", 2000, "idle connections to hold")
	cluster     *testcluster.Cluster
)

const processEnv = "GATEWAY_BENCH_PROCESS"

// dialers is how many devices connect at once.
const dialers = 16

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	if encoded := os.Getenv(processEnv); encoded != "" {
		runGateway(encoded)
	}
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run())
	}
	testcluster.Main(m, &cluster)
}

type options struct {
	Host                    string
	CA, Cert, Key           []byte
	Namespace, Listen, HTTP string
	Caches                  string
}

func runGateway(encoded string) {
	var o options
	if err := json.Unmarshal([]byte(encoded), &o); err != nil {
		panic(err)
	}
	err := gateway.Run(context.Background(), gateway.Options{
		Config:    &rest.Config{Host: o.Host, TLSClientConfig: rest.TLSClientConfig{CAData: o.CA, CertData: o.Cert, KeyData: o.Key}},
		Namespace: o.Namespace, Name: "gw", Listen: o.Listen, HTTPListen: o.HTTP, StoreURL: "https://127.0.0.1:1", CacheDir: o.Caches,
		GracePeriod: time.Hour,
	})
	fmt.Fprintln(os.Stderr, "gateway ended:", err)
	os.Exit(1)
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// bench is a gateway's process and its devices.
type bench struct {
	b         *testing.B
	kube      client.Client
	namespace string
	authority *pki.Authority
	bundle    *pki.Bundle
	address   string
	pid       int
	devices   []*tls.Config
}

func setUp(b *testing.B, n int) *bench {
	b.Helper()
	kube, err := cluster.Client()
	must(b, err)
	s := &bench{b: b, kube: kube, namespace: cluster.Namespace(b), address: freeAddress(b)}
	s.authority, err = pki.NewAuthority("bench", time.Hour, time.Now())
	must(b, err)
	s.bundle, err = pki.ParseBundle(s.authority.CertPEM)
	must(b, err)
	s.makeDevices(n)
	s.startGateway()
	return s
}

func freeAddress(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	defer listener.Close()
	return listener.Addr().String()
}

// each calls do for 0 … n-1, some at once.
func each(n int, do func(i int) error) error {
	var wait sync.WaitGroup
	next := make(chan int)
	failed := make(chan error, n)
	for range dialers {
		wait.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					failed <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	close(failed)
	return <-failed
}

func (s *bench) makeDevices(n int) {
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.Certificate)
	s.devices = make([]*tls.Config, n)
	must(s.b, each(n, func(i int) error {
		d := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
		d.Namespace, d.Name = s.namespace, fmt.Sprint("d", i)
		if err := s.kube.Create(s.b.Context(), d); err != nil {
			return err
		}
		before := d.DeepCopy()
		d.Status.Gateway = v1alpha1.GatewayKey(s.namespace, "gw")
		if err := s.kube.Status().Patch(s.b.Context(), d, client.MergeFrom(before)); err != nil {
			return err
		}
		pair, err := s.authority.Issue(pki.Request{Identity: pki.DeviceIdentity(s.namespace, d.Name)}, time.Now())
		if err != nil {
			return err
		}
		certificate, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
		s.devices[i] = &tls.Config{
			MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, ServerName: pki.ServerName, RootCAs: pool,
			Certificates: []tls.Certificate{certificate}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		return err
	}))
}

func (s *bench) startGateway() {
	object := &v1alpha1.Gateway{Spec: v1alpha1.GatewaySpec{Limits: v1alpha1.GatewayLimits{HeartbeatSeconds: 3600, AcceptRate: 100000}}}
	object.Namespace, object.Name = s.namespace, "gw"
	must(s.b, s.kube.Create(s.b.Context(), object))
	pair, err := s.authority.Issue(pki.Request{Identity: pki.GatewayIdentity(s.namespace, "gw"), Serving: true}, time.Now())
	must(s.b, err)
	secret := &corev1.Secret{Data: pki.SecretData(pair, s.bundle)}
	secret.Namespace, secret.Name = s.namespace, pki.SecretName(pki.GatewayIdentity(s.namespace, "gw"))
	must(s.b, s.kube.Create(s.b.Context(), secret))
	role, binding := config.GatewaySecretAccess(object, secret.Name)
	must(s.b, s.kube.Create(s.b.Context(), role))
	must(s.b, s.kube.Create(s.b.Context(), binding))
	user, err := cluster.ForUser(v1alpha1.UserGatewayPrefix+s.namespace+":gw", v1alpha1.GroupGateways)
	must(s.b, err)
	c := user.TLSClientConfig
	encoded, err := json.Marshal(options{user.Host, c.CAData, c.CertData, c.KeyData, s.namespace, s.address, freeAddress(s.b), s.b.TempDir()})
	must(s.b, err)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), processEnv+"="+string(encoded))
	command.Stderr = os.Stderr
	must(s.b, command.Start())
	s.pid = command.Process.Pid
	s.b.Cleanup(func() { command.Process.Kill(); command.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		raw, err := net.Dial("tcp", s.address)
		if err == nil {
			raw.Close()
			return
		}
		if time.Now().After(deadline) {
			s.b.Fatal("the gateway does not listen")
		}
	}
}

// connect connects all devices, says hello and waits for the empty desired state, or only for the welcome when the
// device holds that.
func (s *bench) connect(resume bool, held bool) []*device.Conn {
	s.b.Helper()
	conns := make([]*device.Conn, len(s.devices))
	encoded, err := protocol.EncodeApps(nil)
	must(s.b, err)
	digest := protocol.DigestOf(encoded)
	must(s.b, each(len(conns), func(i int) error {
		config := s.devices[i]
		if !resume {
			config = config.Clone()
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			s.devices[i] = config
		}
		c, err := device.Dial(s.b.Context(), s.address, config)
		if err != nil {
			return err
		}
		conns[i] = c
		if c.TLS.ConnectionState().DidResume != resume {
			return fmt.Errorf("resumed is %t, wanted %t", !resume, resume)
		}
		h := &protocol.Hello{Version: 1, MaxFrame: 1024, Board: "sim-m4", Firmware: "bench"}
		if held {
			h.Generation, h.Apps = 1, &digest
		}
		if err := c.Send(h); err != nil {
			return err
		}
		c.MaxFrame = 1024
		wanted := protocol.TypeWelcome
		if !held {
			wanted = protocol.TypeDesired
		}
		for {
			f, err := c.Read()
			if err != nil {
				return err
			}
			if f.Type() == wanted {
				return nil
			}
		}
	}))
	return conns
}

// cpu is the time that the gateway's process has used.
func (s *bench) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	must(s.b, err)
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resident is the gateway's memory in KB when it has settled.
func (s *bench) resident() float64 {
	last := 0.0
	for same := 0; same < 5; time.Sleep(2 * time.Second) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
		must(s.b, err)
		for line := range strings.Lines(string(b)) {
			var kb float64
			if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kb); n == 1 {
				if same++; kb < last*0.99 || kb > last*1.01 {
					same = 0
				}
				last = kb
			}
		}
	}
	return last
}

// settleCPU waits until the gateway does nothing.
func (s *bench) settleCPU() time.Duration {
	last := s.cpu()
	for quiet := 0; quiet < 3; {
		time.Sleep(time.Second)
		now := s.cpu()
		if quiet++; now-last > 30*time.Millisecond {
			quiet = 0
		}
		last = now
	}
	return last
}

// BenchmarkConnections reports memory for each idle connection, and CPU time of the gateway for each connect: the
// first one, which is recorded in the Device, and reconnects within the grace period, full and resumed.
func BenchmarkConnections(b *testing.B) {
	n := *connections
	s := setUp(b, n)
	for b.Loop() {
		before := s.resident()
		report := func(what string, connect func() []*device.Conn) []*device.Conn {
			used, begin := s.settleCPU(), time.Now()
			conns := connect()
			b.ReportMetric(float64(n)/time.Since(begin).Seconds(), what+"/s")
			b.ReportMetric(float64((s.settleCPU()-used).Microseconds())/float64(n)/1000, what+"-cpu-ms")
			return conns
		}
		close := func(conns []*device.Conn) {
			for _, c := range conns {
				c.Close()
			}
		}
		conns := report("first", func() []*device.Conn { return s.connect(false, false) })
		b.ReportMetric(before/1024, "empty-MB")
		b.ReportMetric((s.resident()-before)/float64(n), "KB/connection")
		close(conns)
		conns = report("full", func() []*device.Conn { return s.connect(false, true) })
		close(conns)
		conns = report("resumed", func() []*device.Conn { return s.connect(true, true) })
		b.ReportMetric((s.resident()-before)/float64(n), "KB/connection-after-reconnects")
		close(conns)
	}
}
