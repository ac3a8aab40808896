// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway"
	"wasmbed.dev/gateway/internal/device"
	"wasmbed.dev/gateway/protocol"
)

// processEnv holds what a gateway needs that is a process of its own, in JSON: the test's binary started again.
const processEnv = "GATEWAY_TEST_PROCESS"

type processOptions struct {
	Host             string
	CA, Cert, Key    []byte
	Namespace, Name  string
	Listen, HTTP     string
	StoreURL, Caches string
}

// runProcess is the main function of that process.
func runProcess(encoded string) {
	var o processOptions
	if err := json.Unmarshal([]byte(encoded), &o); err != nil {
		panic(err)
	}
	err := gateway.Run(context.Background(), gateway.Options{
		Config:    &rest.Config{Host: o.Host, TLSClientConfig: rest.TLSClientConfig{CAData: o.CA, CertData: o.Cert, KeyData: o.Key}},
		Namespace: o.Namespace, Name: o.Name, Listen: o.Listen, HTTPListen: o.HTTP, StoreURL: o.StoreURL, CacheDir: o.Caches, GracePeriod: grace,
	})
	fmt.Fprintln(os.Stderr, "gateway ended:", err)
	os.Exit(1)
}

// startProcess runs the gateway as a process that can be killed.
func (g *running) startProcess() *exec.Cmd {
	g.t.Helper()
	c := g.opts.Config.TLSClientConfig
	encoded, err := json.Marshal(processOptions{g.opts.Config.Host, c.CAData, c.CertData, c.KeyData, g.namespace, g.name, g.opts.Listen, g.opts.HTTPListen, g.storeURL, g.opts.CacheDir})
	must(g.t, err)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), processEnv+"="+string(encoded))
	command.Stderr = os.Stderr
	must(g.t, command.Start())
	g.t.Cleanup(func() { command.Process.Kill(); command.Wait() })
	eventually(g.t, "the gateway's process is ready", func() string {
		if _, err := g.get("/readyz"); err != nil {
			return err.Error()
		}
		return ""
	})
	return command
}

func TestAGatewayIsKilledAndStartedAgain(t *testing.T) {
	g := install(t).gateway("gw")
	g.stop()
	_, digest := g.module(2000)
	d := g.device("one")
	process := g.startProcess()
	run(t, d)
	g.instance("a", "one", digest, 2000)
	awaitApps(t, d, "a")
	g.awaitPhase("a.one", v1alpha1.InstanceRunning)
	before := d.Snapshot()

	must(t, process.Process.Kill())
	process.Wait()
	// What happens while it is away: one more app, and another one changes.
	g.instance("b", "one", digest, 2000)
	g.startProcess()
	s := awaitApps(t, d, "a", "b")
	g.awaitPhase("b.one", v1alpha1.InstanceRunning)
	if s.Chunks != before.Chunks {
		t.Errorf("%d chunks were fetched again", s.Chunks-before.Chunks)
	}
	if s.Generation <= before.Generation || !s.DidResume {
		t.Errorf("generation went from %d to %d, TLS resumed: %t", before.Generation, s.Generation, s.DidResume)
	}
	if c := g.getDevice("one").Status.Connection; !c.Connected {
		t.Errorf("connection is %+v", c)
	}
}

func TestADeviceThatDoesNotComeBackAfterARestartIsRecordedAsAway(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	stop := run(t, d)
	g.awaitConnected("one", true)
	g.stop()
	stop()
	if !g.getDevice("one").Status.Connection.Connected {
		t.Error("a gateway that stops writes that its devices went")
	}
	g.start()
	g.awaitConnected("one", false)
}

func TestGracePeriod(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	stop := run(t, d)
	first := g.awaitConnected("one", true)
	begin := time.Now()
	stop()
	gone := g.awaitConnected("one", false)
	if took := time.Since(begin); took < grace {
		t.Errorf("written after %s, the grace period is %s", took, grace)
	}
	if gone.Epoch < first.Epoch || gone.Firmware != "test" {
		t.Errorf("connection is %+v", gone)
	}
	run(t, d)
	if again := g.awaitConnected("one", true); again.Epoch <= gone.Epoch {
		t.Errorf("epoch went from %d to %d", gone.Epoch, again.Epoch)
	}
}

func TestIdleDevicesAndQuickReconnectsWriteNothing(t *testing.T) {
	g := install(t).gateway("gw")
	_, digest := g.module(100)
	d := g.device("one")
	run(t, d)
	g.instance("a", "one", digest, 100)
	g.awaitPhase("a.one", v1alpha1.InstanceRunning)
	g.awaitConnected("one", true)
	versions := func() string {
		return g.getDevice("one").ResourceVersion + " " + g.getInstance("a.one").ResourceVersion
	}
	// Until what was reported last has settled.
	last := versions()
	eventually(t, "the status settles", func() string {
		time.Sleep(300 * time.Millisecond)
		before := last
		if last = versions(); last != before {
			return "it still changes"
		}
		return ""
	})
	for range 3 {
		connections := d.Snapshot().Connections
		d.Disconnect()
		eventually(t, "the device is back", func() string {
			if d.Snapshot().Connections == connections {
				return "not yet"
			}
			return ""
		})
	}
	// A heartbeat or more, and twice the grace period.
	time.Sleep(2*grace + 3*time.Second)
	if now := versions(); now != last {
		t.Errorf("resource versions went from %s to %s: %+v", last, now, g.getDevice("one").Status)
	}
	if s := d.Snapshot(); s.Desired != 2 && s.Desired != 1 {
		t.Errorf("%d desired states were sent", s.Desired)
	}
}

func TestADeviceMovesToAnotherGateway(t *testing.T) {
	i := install(t)
	a, b := i.gateway("a"), i.gateway("b")
	_, digest := i.module(2000)
	d := a.device("one")
	run(t, d)
	a.instance("x", "one", digest, 2000)
	a.instance("y", "one", digest, 2000)
	before := awaitApps(t, d, "x", "y")
	a.awaitPhase("y.one", v1alpha1.InstanceRunning)

	b.assign("one")
	eventually(t, "the device is with the other gateway", func() string {
		c := i.getDevice("one").Status.Connection
		if c == nil || c.Gateway != b.key() || !c.Connected {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	if r := d.Snapshot().Release; r == nil || r.Endpoint != b.opts.Listen {
		t.Errorf("released with %+v", r)
	}
	if s := d.Snapshot(); s.Generation != before.Generation || len(s.Apps) != 2 {
		t.Errorf("moving, the device was told to run %+v", s.Apps)
	}
	i.changeInstance("y.one", func(o *v1alpha1.Instance) { o.Spec.Config = v1alpha1.ConfigValues{"k": "v"} })
	eventually(t, "the other gateway delivers", func() string {
		if s := d.Snapshot(); len(s.Apps) != 2 || s.Apps[1].Config["k"] != "v" {
			return fmt.Sprintf("%+v", s.Apps)
		}
		return ""
	})
	i.awaitPhase("y.one", v1alpha1.InstanceRunning)
	must(t, i.kube.Delete(t.Context(), i.getInstance("x.one")))
	awaitApps(t, d, "y")
	// The old gateway has nothing to say any more.
	time.Sleep(2 * grace)
	if c := i.getDevice("one").Status.Connection; c.Gateway != b.key() || !c.Connected {
		t.Errorf("connection is %+v", c)
	}
	if _, err := a.get("/v1/devices/" + i.namespace + "/one"); err == nil {
		t.Error("the old gateway still has a session")
	}
}

// lives says of a gateway what the gateway controller says: that its process lives, or that its Lease has expired.
func (g *running) lives(yes bool) {
	g.t.Helper()
	before := &v1alpha1.Gateway{}
	must(g.t, g.kube.Get(g.t.Context(), types.NamespacedName{Namespace: g.namespace, Name: g.name}, before))
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLeaseExpired}
	if yes {
		ready.Status, ready.Reason = metav1.ConditionTrue, "Serving"
	}
	after := before.DeepCopy()
	meta.SetStatusCondition(&after.Status.Conditions, ready)
	must(g.t, g.kube.Status().Patch(g.t.Context(), after, client.MergeFrom(before)))
}

// TestDevicesOfAGatewayThatIsGoneAreAdopted by another one, that has room for two more, and only those that it may have.
func TestDevicesOfAGatewayThatIsGoneAreAdopted(t *testing.T) {
	i := install(t)
	a := i.gateway("a")
	b := i.gateway("b", func(g *v1alpha1.Gateway, _ *gateway.Options) { g.Spec.Limits.Devices = 3 })
	b.device("own")
	_, digest := i.module(2000)
	one, pinned, late := a.device("one"), a.device("pinned"), a.device("late")
	i.changeDevice("pinned", func(d *v1alpha1.Device) { d.Spec.Gateway = "a" })
	certificate, key := selfSigned(t)
	hardware := &v1alpha1.Device{Spec: v1alpha1.DeviceSpec{Board: "mps2-an385", Backend: v1alpha1.BackendHardware, Keys: []string{key}}}
	hardware.Namespace, hardware.Name = i.namespace, "hardware"
	must(t, i.kube.Create(t.Context(), hardware))
	a.assign("hardware")
	a.instance("x", "one", digest, 2000)
	stop := run(t, one)
	before := awaitApps(t, one, "x")
	a.awaitPhase("x.one", v1alpha1.InstanceRunning)
	stop()
	a.stop()

	for _, d := range []*device.Device{one, pinned, late} {
		d.Address = b.opts.Listen
	}
	sent := func(name string, d *device.Device) {
		t.Helper()
		if err := d.Run(t.Context()); !errors.Is(err, device.ErrReleased) || d.Snapshot().Release.Endpoint != a.opts.Listen {
			t.Errorf("%s is not sent to its gateway: %v, %+v", name, err, d.Snapshot().Release)
		}
	}
	sent("a device whose gateway is not given up yet", one)
	a.lives(false)
	served := func(name string, d *device.Device) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				_ = d.Run(ctx) // as long as the other gateway sends it to its own one, too
				time.Sleep(50 * time.Millisecond)
			}
		}()
		t.Cleanup(func() { cancel(); <-done })
		eventually(t, name+" is with the other gateway", func() string {
			if s := i.getDevice(name).Status; s.Gateway != b.key() || s.Connection == nil || s.Connection.Gateway != b.key() || !s.Connection.Connected {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	}
	served("one", one)
	if s := one.Snapshot(); s.Generation != before.Generation || len(s.Apps) != 1 {
		t.Errorf("moving, the device was told to run %+v", s.Apps)
	}
	served("hardware", b.deviceSide(certificate))
	sent("a device that belongs to its gateway", pinned)
	sent("a device that there is no room for", late)
	i.changeInstance("x.one", func(o *v1alpha1.Instance) { o.Spec.Config = v1alpha1.ConfigValues{"k": "v"} })
	i.awaitPhase("x.one", v1alpha1.InstanceRunning)
	if s := one.Snapshot(); s.Apps[0].Config["k"] != "v" {
		t.Errorf("it was told to run %+v", s.Apps)
	}

	// The other gateway comes back: what was adopted stays, and no more is.
	a.start()
	a.lives(true)
	must(t, i.kube.Delete(t.Context(), i.getDevice("own")))
	sent("a device whose gateway is back", late)
	time.Sleep(2 * grace)
	if s := i.getDevice("one").Status; s.Gateway != b.key() || !s.Connection.Connected {
		t.Errorf("%+v", s)
	}
}

func TestADeviceConnectsToTheWrongGateway(t *testing.T) {
	i := install(t)
	a, b := i.gateway("a"), i.gateway("b")
	d := b.device("one")
	d.Address = a.opts.Listen
	run(t, d)
	awaitApps(t, d)
	if r := d.Snapshot().Release; r == nil || r.Endpoint != b.opts.Listen {
		t.Errorf("released with %+v", r)
	}
}

func TestDevicesThatMayNotStay(t *testing.T) {
	g := install(t).gateway("gw")
	for name, c := range map[string]struct {
		change func(*v1alpha1.Device)
		heal   func(*v1alpha1.Device)
		told   func(device.State) bool
	}{
		"quarantined": {
			func(d *v1alpha1.Device) { d.Spec.Quarantine = true }, func(d *v1alpha1.Device) { d.Spec.Quarantine = false },
			func(s device.State) bool { return s.Error != nil && s.Error.Code == protocol.CodeQuarantined },
		},
		"off": {
			func(d *v1alpha1.Device) { d.Spec.Power = v1alpha1.PowerOff }, nil,
			func(s device.State) bool { return s.Release != nil && s.Release.HoldOff >= 60000 },
		},
		"unassigned": {
			func(d *v1alpha1.Device) { d.Status.Gateway = "" }, nil,
			func(s device.State) bool { return s.Release != nil && s.Release.Endpoint == "" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := g.device(name)
			run(t, d)
			awaitApps(t, d)
			g.awaitConnected(name, true)
			g.changeDevice(name, c.change)
			eventually(t, "the device is sent away", func() string {
				if s := d.Snapshot(); !c.told(s) {
					return fmt.Sprintf("release %+v, error %+v", s.Release, s.Error)
				}
				return ""
			})
			g.awaitConnected(name, false)
			if c.heal != nil {
				g.changeDevice(name, c.heal)
				g.awaitConnected(name, true)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		d := g.device("deleted")
		run(t, d)
		awaitApps(t, d)
		must(t, g.kube.Delete(t.Context(), g.getDevice("deleted")))
		eventually(t, "the device is sent away", func() string {
			if e := d.Snapshot().Error; e == nil || e.Code != protocol.CodeNotAssigned {
				return fmt.Sprintf("%+v", e)
			}
			return ""
		})
	})
}

// TestTheAPIServerIsAway restarts the cluster that the package's tests share; they do not run at the same time.
func TestTheAPIServerIsAway(t *testing.T) {
	g := install(t).gateway("gw")
	_, digest := g.module(1000)
	d := g.device("one")
	run(t, d)
	g.instance("a", "one", digest, 1000)
	g.awaitPhase("a.one", v1alpha1.InstanceRunning)
	before := d.Snapshot()

	cluster.Kill()
	// Devices stay, come back, and report meanwhile.
	d.Disconnect()
	eventually(t, "the device is back though the API server is away", func() string {
		if d.Snapshot().Connections == before.Connections {
			return "not yet"
		}
		return ""
	})
	eventually(t, "the device reports", func() string {
		if err := d.Report(func(states []protocol.State) {
			states[0].Phase, states[0].Reason, states[0].Message = protocol.PhaseFailed, protocol.ReasonTrapped, "unreachable"
		}); err != nil {
			return err.Error()
		}
		return ""
	})
	time.Sleep(1500 * time.Millisecond)
	if s := d.Snapshot(); len(s.Apps) != 1 || s.Generation != before.Generation {
		t.Errorf("the device was told to run %+v", s.Apps)
	}
	must(t, cluster.Start())
	i := g.awaitPhase("a.one", v1alpha1.InstanceFailed)
	if i.Status.Reason != "Trapped" || i.Status.Message != "unreachable" {
		t.Errorf("status is %+v", i.Status)
	}
	g.instance("b", "one", digest, 1000)
	awaitApps(t, d, "a", "b")
}

func TestTheStoreIsAway(t *testing.T) {
	i := install(t)
	g := i.gateway("gw", func(_ *v1alpha1.Gateway, o *gateway.Options) { o.StoreURL = "https://" + freeAddress(t) })
	_, digest := i.module(1000)
	d := g.device("one")
	run(t, d)
	g.instance("a", "one", digest, 1000)
	eventually(t, "the device is told to try later", func() string {
		if e := d.Snapshot().Error; e == nil || e.Code != protocol.CodeBusy {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
	g.awaitPhase("a.one", v1alpha1.InstanceDelivering)
	g.stop()
	g.opts.StoreURL = i.storeURL
	g.start()
	awaitApps(t, d, "a")
	missing := protocol.DigestOf([]byte("nowhere"))
	g.instance("b", "one", missing, 1000)
	eventually(t, "the device is told that there is no such module", func() string {
		if e := d.Snapshot().Error; e == nil || e.Code != protocol.CodeNotFound || *e.Fetch != missing {
			return fmt.Sprintf("%+v", e)
		}
		return ""
	})
}

func TestDocuments(t *testing.T) {
	g := install(t).gateway("gw")
	_, digest := g.module(100)
	d := g.device("one")
	d.MaxFrame = 512
	d.ReportDocuments = true
	stop := run(t, d)
	awaitApps(t, d)
	var names []string
	for n := range 10 {
		name := string(rune('a' + n))
		names = append(names, name)
		g.instance(name, "one", digest, 100)
	}
	s := awaitApps(t, d, names...)
	for _, name := range names {
		g.awaitPhase(name+".one", v1alpha1.InstanceRunning)
	}
	if s.Documents == 0 {
		t.Error("no desired state came as a document")
	}
	// Its hello tells its states as a document too.
	stop()
	connections, desired := d.Snapshot().Connections, d.Snapshot().Desired
	run(t, d)
	eventually(t, "the gateway knows the states again", func() string {
		var facts gateway.DeviceFacts
		body, err := g.get("/v1/devices/" + g.namespace + "/one")
		if err != nil {
			return err.Error()
		}
		must(t, json.Unmarshal(body, &facts))
		if d.Snapshot().Connections == connections || !facts.Connected || len(facts.Apps) != 10 || !facts.InSync {
			return fmt.Sprintf("%+v", facts)
		}
		return ""
	})
	if s := d.Snapshot(); s.Desired != desired {
		t.Errorf("%d desired states were sent to a device that holds the newest", s.Desired-desired)
	}
}

func TestAFetchGoesOnWhereItStopped(t *testing.T) {
	g := install(t).gateway("gw")
	content, digest := g.module(20000)
	d := g.device("one")
	d.FetchLimit = 10
	run(t, d)
	g.instance("a", "one", digest, len(content))
	s := awaitApps(t, d, "a")
	least := (len(content) + 1024 - protocol.ChunkOverhead - 1) / (1024 - protocol.ChunkOverhead)
	if !bytes.Equal(s.Modules[digest], content) || s.Connections < 2 || s.Chunks > least+1 {
		t.Errorf("%d connections, %d chunks where %d are needed", s.Connections, s.Chunks, least)
	}
}

func TestWhatDevicesReport(t *testing.T) {
	g := install(t).gateway("gw")
	_, digest := g.module(100)
	d := g.device("one")
	run(t, d)
	g.instance("a", "one", digest, 100)
	g.awaitPhase("a.one", v1alpha1.InstanceRunning)
	for _, c := range []struct {
		state  protocol.State
		phase  v1alpha1.InstancePhase
		ready  string
		reason string
	}{
		{protocol.State{Phase: protocol.PhaseFailed, Reason: protocol.ReasonTrapped, Message: "unreachable", Restarts: 3}, v1alpha1.InstanceFailed, "False", v1alpha1.ReasonFailed},
		{protocol.State{Phase: protocol.PhaseRolledBack, Reason: protocol.ReasonCrashLoop}, v1alpha1.InstanceRolledBack, "False", v1alpha1.ReasonRolledBack},
		{protocol.State{Phase: protocol.PhaseRejected, Reason: protocol.ReasonNoMemory}, v1alpha1.InstanceRejected, "False", v1alpha1.ReasonFailed},
		{protocol.State{Phase: protocol.PhaseCompleted}, v1alpha1.InstanceCompleted, "True", v1alpha1.ReasonCompleted},
	} {
		must(t, d.Report(func(states []protocol.State) {
			c.state.Name, c.state.Spec = states[0].Name, states[0].Spec
			states[0] = c.state
		}))
		i := g.awaitPhase("a.one", c.phase)
		if s := i.Status; s.Reason != c.state.Reason.String() || s.Message != c.state.Message || s.Restarts != int64(c.state.Restarts) ||
			string(s.Conditions[0].Status) != c.ready || s.Conditions[0].Reason != c.reason || s.RunningAt == nil {
			t.Errorf("%s: status is %+v", c.phase, s)
		}
	}
	must(t, d.Send(&protocol.Crash{Code: protocol.CrashMemoryFault, PC: 0x1234, App: "a"}))
	eventually(t, "the crash is recorded", func() string {
		if c := g.getDevice("one").Status.Connection; c.LastCrash != "memory fault at 0x00001234 (a)" {
			return c.LastCrash
		}
		return ""
	})
}

func TestADeviceThatReportsAllTheTimeIsWrittenSeldom(t *testing.T) {
	g := install(t).gateway("gw")
	_, digest := g.module(100)
	d := g.device("one")
	run(t, d)
	g.instance("a", "one", digest, 100)
	g.awaitPhase("a.one", v1alpha1.InstanceRunning)
	for n := range uint32(300) {
		must(t, d.Report(func(states []protocol.State) { states[0].Restarts = n + 1 }))
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "the last report is written", func() string {
		if s := g.getInstance("a.one").Status; s.Restarts != 300 {
			return fmt.Sprintf("%d restarts", s.Restarts)
		}
		return ""
	})
	metrics, err := g.get("/metrics")
	must(t, err)
	for line := range strings.Lines(string(metrics)) {
		var writes int
		if n, _ := fmt.Sscanf(line, `wasmbed_gateway_status_writes_total{kind="instance",result="ok"} %d`, &writes); n == 1 {
			if writes > 60 {
				t.Errorf("%d status writes for 300 reports", writes)
			}
			return
		}
	}
	t.Error("metrics do not count status writes")
}

func TestLogs(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	run(t, d)
	awaitApps(t, d)
	must(t, d.Send(&protocol.Log{Level: protocol.LogInfo, Text: "first", Uptime: 5}))
	name := g.namespace + "/one"
	eventually(t, "the line is there", func() string {
		body, err := g.get("/v1/logs?device=" + name)
		if err != nil || !strings.Contains(string(body), `"text":"first"`) {
			return fmt.Sprintf("%s %v", body, err)
		}
		return ""
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+g.opts.HTTPListen+"/v1/logs?follow=1&device="+name, nil)
	must(t, err)
	response, err := g.clients.Do(request)
	must(t, err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() (l gateway.LogLine) {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		must(t, json.Unmarshal(lines.Bytes(), &l))
		return l
	}
	if l := next(); l.Text != "first" || l.Level != "info" || l.Device != name || l.Uptime != 5 || l.Time.IsZero() {
		t.Errorf("line is %+v", l)
	}
	must(t, d.Send(&protocol.Log{Level: protocol.LogError, Text: "second", App: "a", Dropped: 3}))
	if l := next(); l.Text != "second" || l.App != "a" || l.Dropped != 3 {
		t.Errorf("line is %+v", l)
	}
}

func TestHTTPIsForTheInstallationOnly(t *testing.T) {
	g := install(t).gateway("gw")
	for name, certificate := range map[string]*pki.Credentials{
		"a device":                      g.credentials(pki.DeviceIdentity(g.namespace, "one")),
		"another installation's client": install(t).credentials(pki.ClientIdentity("admin")),
	} {
		source := &pki.Source{}
		source.Set(&pki.Credentials{Identity: certificate.Identity, Certificate: certificate.Certificate, Bundle: g.bundle})
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: source.ClientConfig(time.Now, pki.Gateway)}}
		if response, err := c.Get("https://" + g.opts.HTTPListen + "/healthz"); err == nil {
			response.Body.Close()
			t.Errorf("%s was let in: %s", name, response.Status)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/refused", "/v1/logs"} {
		if _, err := g.get(path); err != nil {
			t.Error(err)
		}
	}
}

func TestGatewayStatusAndLease(t *testing.T) {
	g := install(t).gateway("gw", func(object *v1alpha1.Gateway, _ *gateway.Options) {
		object.Spec.Endpoints = []string{"gateway.example:1"}
	})
	eventually(t, "the status is written", func() string {
		o := &v1alpha1.Gateway{}
		must(t, g.kube.Get(t.Context(), types.NamespacedName{Namespace: g.namespace, Name: "gw"}, o))
		if s := o.Status; s.Address != g.opts.Listen || s.HTTPAddress != g.opts.HTTPListen || fmt.Sprint(s.Endpoints) != "[gateway.example:1]" || s.Version == "" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	lease := &coordinationv1.Lease{}
	renewedAfter := func(first time.Time) func() string {
		return func() string {
			if err := g.kube.Get(t.Context(), types.NamespacedName{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayLease(g.namespace, "gw")}, lease); err != nil {
				return err.Error()
			}
			if !lease.Spec.RenewTime.After(first) {
				return "not yet"
			}
			return ""
		}
	}
	eventually(t, "there is a lease", renewedAfter(time.Time{}))
	if *lease.Spec.LeaseDurationSeconds != 15 || *lease.Spec.HolderIdentity == "" {
		t.Errorf("lease is %+v", lease.Spec)
	}
	eventually(t, "the lease is renewed", renewedAfter(lease.Spec.RenewTime.Time))
	d := g.device("one")
	run(t, d)
	awaitApps(t, d)
	if w := d.Snapshot().Welcome; fmt.Sprint(w.Endpoints) != "[gateway.example:1]" {
		t.Errorf("devices are told %v", w.Endpoints)
	}
}

func TestDrain(t *testing.T) {
	g := install(t).gateway("gw")
	polite, rude := g.device("polite"), g.device("rude")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- polite.Run(ctx) }()
	awaitApps(t, polite)
	c := connect(t, rude)
	must(t, c.Send(hello(1024)))
	awaitFrame[*protocol.Welcome](t, c)
	if took := g.stop(); took > 12*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := <-done; polite.Snapshot().Release == nil || polite.Snapshot().Release.HoldOff < 500 {
		t.Errorf("ended with %v, release %+v", err, polite.Snapshot().Release)
	}
	awaitFrame[*protocol.Release](t, c)
	ended(t, c)
}

func TestNothingLeaks(t *testing.T) {
	g := install(t).gateway("gw")
	d := g.device("one")
	cycle := func(n int) {
		for range n {
			c := connect(t, d)
			must(t, c.Send(hello(1024)))
			awaitFrame[*protocol.Desired](t, c)
			c.Close()
		}
	}
	settled := func() int {
		var n int
		eventually(t, "connections are gone", func() string {
			metrics, err := g.get("/metrics")
			if err != nil || !strings.Contains(string(metrics), "wasmbed_gateway_connections 0\n") {
				return fmt.Sprint("some are left ", err)
			}
			return ""
		})
		time.Sleep(2 * grace)
		runtime.GC()
		n = runtime.NumGoroutine()
		return n
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	cycle(20)
	goroutines, memory := settled(), heap()
	cycle(300)
	if now := settled(); now > goroutines+10 {
		t.Errorf("goroutines went from %d to %d", goroutines, now)
	}
	if now := heap(); now > memory+2<<20 {
		t.Errorf("the heap went from %d to %d bytes over 300 connections", memory, now)
	}
	g.stop()
	eventually(t, "the gateway's goroutines are gone", func() string {
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		if n := strings.Count(stacks, "gateway/internal/server."); n > 0 {
			return fmt.Sprintf("%d frames of the gateway are left:\n%.3000s", n, stacks)
		}
		return ""
	})
}
