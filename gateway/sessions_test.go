// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway"
	"wasmbed.dev/gateway/internal/device"
	"wasmbed.dev/gateway/protocol"
)

// connect is a connection with the device's certificate whose frames the test sends itself.
func connect(t *testing.T, d *device.Device) *device.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := device.Dial(ctx, d.Address, d.TLS)
	must(t, err)
	t.Cleanup(c.Close)
	must(t, c.TLS.SetReadDeadline(time.Now().Add(patience)))
	return c
}

func hello(maxFrame uint32) *protocol.Hello {
	return &protocol.Hello{Version: 1, MaxFrame: maxFrame, Board: "sim-m4", Firmware: "test"}
}

// awaitFrame reads until a frame of the type comes.
func awaitFrame[F protocol.Frame](t *testing.T, c *device.Conn) F {
	t.Helper()
	for {
		f, err := c.Read()
		if err != nil {
			var want F
			t.Fatalf("waiting for %T: %v", want, err)
		}
		if f, ok := f.(F); ok {
			return f
		}
	}
}

// awaitDesired reads until a desired state of n apps comes.
func awaitDesired(t *testing.T, c *device.Conn, n int) *protocol.Desired {
	t.Helper()
	for {
		if d := awaitFrame[*protocol.Desired](t, c); len(d.Apps.List) == n {
			return d
		}
	}
}

// ended reads until the connection ends, which it must within the test's patience.
func ended(t *testing.T, c *device.Conn) error {
	t.Helper()
	for {
		if _, err := c.Read(); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal("the connection goes on")
			}
			return err
		}
	}
}

func TestHostileFrames(t *testing.T) {
	g := install(t).gateway("gw", func(object *v1alpha1.Gateway, _ *gateway.Options) { object.Spec.Limits.HeartbeatSeconds = 1 })
	d := g.device("one")
	header := func(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
	for name, c := range map[string]struct {
		afterHello bool
		bytes      []byte
		code       protocol.ErrorCode
	}{
		"a first frame longer than 512":     {false, header(511), protocol.CodeTooLarge},
		"a frame longer than the gateway's": {true, header(4095), protocol.CodeTooLarge},
		"the longest frame":                 {true, header(65535), protocol.CodeTooLarge},
		"garbage":                           {true, append(header(4), 0xde, 0xad, 0xbe, 0xef), protocol.CodeProtocol},
		"an empty frame":                    {true, header(0), protocol.CodeProtocol},
		"garbage instead of hello":          {false, append(header(1), 0xff), protocol.CodeProtocol},
	} {
		conn := connect(t, d)
		if c.afterHello {
			must(t, conn.Send(hello(1024)))
			awaitFrame[*protocol.Welcome](t, conn)
		}
		if _, err := conn.TLS.Write(c.bytes); err != nil {
			t.Fatal(err)
		}
		if e := awaitFrame[*protocol.Error](t, conn); e.Code != c.code {
			t.Errorf("%s: %s %q", name, e.Code, e.Text)
		}
		ended(t, conn)
	}

	t.Run("a torn frame", func(t *testing.T) {
		conn := connect(t, d)
		must(t, conn.Send(hello(1024)))
		awaitFrame[*protocol.Welcome](t, conn)
		_, err := conn.TLS.Write(append(header(100), 0x82))
		must(t, err)
		conn.Close()
	})
	t.Run("silence", func(t *testing.T) {
		conn := connect(t, d)
		must(t, conn.Send(hello(1024)))
		awaitFrame[*protocol.Welcome](t, conn)
		begin := time.Now()
		ended(t, conn)
		if took := time.Since(begin); took < 2*time.Second || took > 6*time.Second {
			t.Errorf("with a heartbeat of 1 s it ended after %s", took)
		}
	})
	stop := run(t, d)
	awaitApps(t, d)
	stop()
	metrics, err := g.get("/metrics")
	must(t, err)
	for _, want := range []string{`wasmbed_gateway_sessions_total{reason="torn"} 1`, `wasmbed_gateway_sessions_total{reason="silent"} 1`,
		`wasmbed_gateway_errors_total{code="too-large",direction="out"} 3`} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestHandshakesThatAreHeldOpenKeepNobodyOut(t *testing.T) {
	g := install(t).gateway("gw", func(object *v1alpha1.Gateway, _ *gateway.Options) { object.Spec.Limits.Handshakes = 4 })
	d := g.device("one")
	for range 20 {
		raw, err := net.Dial("tcp", g.opts.Listen)
		must(t, err)
		defer raw.Close()
	}
	begin := time.Now()
	run(t, d)
	awaitApps(t, d)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("with 20 handshakes held open, a device needed %s", took)
	}
}

func TestWhoIsAdmitted(t *testing.T) {
	g := install(t).gateway("gw")
	simulated := g.device("simulated")

	pinned, key := selfSigned(t)
	hardware := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "mps2-an385", Backend: v1alpha1.BackendHardware, Keys: []string{key}}}
	hardware.Namespace, hardware.Name = g.namespace, "hardware"
	must(t, g.kube.Create(t.Context(), hardware))
	g.assign("hardware")

	t.Run("a certificate of the installation", func(t *testing.T) { run(t, simulated); awaitApps(t, simulated) })
	t.Run("a pinned key", func(t *testing.T) {
		d := g.deviceSide(pinned)
		run(t, d)
		awaitApps(t, d)
		g.awaitConnected("hardware", true)
	})
	stranger, strangersKey := selfSigned(t)
	foreign := install(t)
	for name, certificate := range map[string]tls.Certificate{
		"an unknown key":              stranger,
		"a certificate of another CA": foreign.credentials(pki.DeviceIdentity(g.namespace, "simulated")).Certificate,
		"a gateway's certificate":     g.credentials(pki.GatewayIdentity(g.namespace, "gw")).Certificate,
		"a client's certificate":      g.credentials(pki.ClientIdentity("admin")).Certificate,
	} {
		t.Run(name, func(t *testing.T) {
			d := g.deviceSide(certificate)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := d.Run(ctx); ctx.Err() != nil || d.Snapshot().Welcome != nil {
				t.Errorf("was admitted: %v", err)
			}
		})
	}
	t.Run("refused keys are listed", func(t *testing.T) {
		again := g.deviceSide(stranger)
		_ = again.Run(t.Context())
		eventually(t, "the key is listed", func() string {
			var list []gateway.Refused
			g.getJSON("/v1/refused", &list)
			for _, r := range list {
				if r.Key == strangersKey && r.Count == 2 && !r.First.After(r.Last) && strings.HasPrefix(r.Remote, "127.0.0.1:") {
					return ""
				}
			}
			return fmt.Sprintf("%+v", list)
		})
	})
	for name, c := range map[string]struct {
		certificate tls.Certificate
		prepare     func()
	}{
		"a Device that does not exist":                     {g.credentials(pki.DeviceIdentity(g.namespace, "nobody")).Certificate, func() {}},
		"a certificate instead of a hardware device's key": {g.credentials(pki.DeviceIdentity(g.namespace, "hardware")).Certificate, func() {}},
	} {
		t.Run(name, func(t *testing.T) {
			c.prepare()
			d := g.deviceSide(c.certificate)
			if err := d.Run(t.Context()); !errors.Is(err, device.ErrRefused) || d.Snapshot().Error.Code != protocol.CodeNotAssigned {
				t.Errorf("%v, %+v", err, d.Snapshot().Error)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		config := g.clientTLS(tls.Certificate{})
		config.Certificates = nil
		d := &device.Device{Address: g.opts.Listen, TLS: config}
		if err := d.Run(t.Context()); d.Snapshot().Welcome != nil {
			t.Errorf("was admitted: %v", err)
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		config := simulated.TLS.Clone()
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if _, err := device.Dial(t.Context(), g.opts.Listen, config); err == nil {
			t.Error("was taken")
		}
	})
}

func TestKeysRotateAndAreWithdrawn(t *testing.T) {
	g := install(t).gateway("gw")
	old, oldKey := selfSigned(t)
	next, nextKey := selfSigned(t)
	object := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "mps2-an385", Backend: v1alpha1.BackendHardware, Keys: []string{oldKey}}}
	object.Namespace, object.Name = g.namespace, "hardware"
	must(t, g.kube.Create(t.Context(), object))
	g.assign("hardware")

	first := g.deviceSide(old)
	stop := run(t, first)
	awaitApps(t, first)
	stop()
	stop = run(t, first)
	eventually(t, "TLS resumes the session", func() string {
		if s := first.Snapshot(); s.Connections < 2 || !s.DidResume {
			return fmt.Sprintf("%d connections, resumed %t", s.Connections, s.DidResume)
		}
		return ""
	})

	g.changeDevice("hardware", func(d *v1alpha1.Device) { d.Spec.Keys = []string{oldKey, nextKey} })
	second := g.deviceSide(next)
	run(t, second)
	awaitApps(t, second)
	eventually(t, "the older connection was superseded", func() string {
		if e := first.Snapshot().Error; e == nil || e.Code != protocol.CodeSuperseded {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
	stop()

	g.changeDevice("hardware", func(d *v1alpha1.Device) { d.Spec.Keys = []string{nextKey} })
	connections := first.Snapshot().Connections
	eventually(t, "the old key is refused, though its session could be resumed", func() string {
		if err := first.Run(t.Context()); errors.Is(err, device.ErrRefused) {
			return fmt.Sprintf("it still got as far as %v", err)
		}
		if first.Snapshot().Connections != connections {
			connections = first.Snapshot().Connections
			return "it was admitted"
		}
		return ""
	})

	g.changeDevice("hardware", func(d *v1alpha1.Device) { d.Spec.Keys = []string{oldKey} })
	eventually(t, "a connection with a withdrawn key ends", func() string {
		if e := second.Snapshot().Error; e == nil || e.Code != protocol.CodeNotAssigned {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
}

func TestSessionsAreResumedAfterARestart(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	run(t, d)
	awaitApps(t, d)
	info, err := os.Stat(filepath.Join(g.opts.CacheDir, "ticket-secret"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the secret of tickets has mode %s", info.Mode())
	}
	g.stop()
	g.start()
	eventually(t, "the session is resumed", func() string {
		if s := d.Snapshot(); s.Connections < 2 || !s.DidResume {
			return fmt.Sprintf("%d connections, resumed %t", s.Connections, s.DidResume)
		}
		return ""
	})
	metrics, err := g.get("/metrics")
	must(t, err)
	if !strings.Contains(string(metrics), `wasmbed_gateway_handshakes_total{result="resumed"} 1`) {
		t.Error("metrics do not count a resumed handshake")
	}
}

func TestANewConnectionSupersedesTheOldOne(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	var last *device.Conn
	for n := range 3 {
		c := connect(t, d)
		must(t, c.Send(hello(1024)))
		awaitFrame[*protocol.Welcome](t, c)
		if last != nil {
			if e := awaitFrame[*protocol.Error](t, last); e.Code != protocol.CodeSuperseded {
				t.Errorf("connection %d: %+v", n, e)
			}
			ended(t, last)
		}
		last = c
	}
	awaitFrame[*protocol.Desired](t, last)
	must(t, last.Send(&protocol.Heartbeat{}))
	awaitFrame[*protocol.Heartbeat](t, last)
	var facts gateway.DeviceFacts
	g.getJSON("/v1/devices/"+g.namespace+"/one", &facts)
	if !facts.Connected || facts.Remote != last.TLS.LocalAddr().String() {
		t.Errorf("facts are %+v", facts)
	}
}

func TestASlowReaderIsCutOffAndDisturbsNobody(t *testing.T) {
	g := install(t).gateway("gw")
	content, digest := g.module(400 << 10)
	slow, other := g.device("slow"), g.device("other")
	g.instance("app", "slow", digest, len(content))
	c := connect(t, slow)
	must(t, c.TLS.NetConn().(*net.TCPConn).SetReadBuffer(4096))
	h := hello(60000)
	must(t, c.Send(h))
	c.MaxFrame = 60000
	awaitDesired(t, c, 1)
	// It asks and asks and never reads.
	failed := make(chan error, 1)
	go func() {
		for {
			if err := c.Send(&protocol.Fetch{Digest: digest, Length: 60000}); err != nil {
				failed <- err
				return
			}
		}
	}()
	g.instance("app", "other", digest, len(content))
	run(t, other)
	awaitApps(t, other, "app")
	select {
	case <-failed:
	case <-time.After(patience):
		t.Error("the gateway still takes fetches from a device that does not read")
	}
	eventually(t, "it is counted", func() string {
		metrics, err := g.get("/metrics")
		if err != nil || !strings.Contains(string(metrics), `wasmbed_gateway_sessions_total{reason="slow-reader"} 1`) {
			return fmt.Sprint("not in the metrics ", err)
		}
		return ""
	})
}

func TestFramesAndRecordsFitTheDevice(t *testing.T) {
	g := install(t).gateway("gw")
	content, digest := g.module(100 << 10)
	d := g.device("one")
	g.instance("app", "one", digest, len(content))
	records := &recordSizes{}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	raw, err := net.Dial("tcp", g.opts.Listen)
	must(t, err)
	conn := tls.Client(&recordConn{Conn: raw, sizes: records}, d.TLS)
	must(t, conn.HandshakeContext(ctx))
	records.after() // of the handshake
	c := &device.Conn{TLS: conn, MaxFrame: 512}
	defer c.Close()
	must(t, c.Send(hello(512)))
	awaitDesired(t, c, 1)
	for offset := 0; offset < len(content); {
		must(t, c.Send(&protocol.Fetch{Digest: digest, Offset: uint32(offset), Length: 1 << 20}))
		offset += len(awaitFrame[*protocol.Chunk](t, c).Bytes)
	}
	// A record holds its content, one byte of type and 16 of authentication.
	if largest := records.largest(); largest > 512+17 {
		t.Errorf("a TLS record of %d bytes for a device with frames of 512", largest)
	}
}
