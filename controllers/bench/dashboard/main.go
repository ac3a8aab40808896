// SPDX-License-Identifier: Apache-2.0

// Command dashboard measures the dashboard's server: its own process (bin/wasmbed dashboard) beside the embedded
// cluster, with a large fleet and many viewers. The objects are real; only no device stands behind them. It prints
// when the server is complete after its start, the first view, the way of a change from the write to the viewer, bytes
// a change on the wire, and processor time and memory of the server. Then the same fleet in chromium: the first useful
// picture of the views, the way of a change from the write to the pixel, and what the browser keeps in memory.
//
//	go run ./controllers/bench/dashboard -devices 10000 -viewers 50 -memory 10m
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/internal/testcluster"
)

const (
	token     = "the-token-of-the-measurement"
	namespace = "bench"
	window    = 60 // rows that a viewer's list shows
	apps      = 3  // instances a device
)

func main() {
	devices := flag.Int("devices", 10000, "devices of the fleet, with 3 instances each")
	viewers := flag.Int("viewers", 50, "viewers at once")
	rate := flag.Int("rate", 10, "changes a second")
	seconds := flag.Int("seconds", 20, "how long the changes go on")
	memory := flag.Duration("memory", time.Minute, "how long the browser's memory is watched while it stays in a view, and while it walks through all")
	program := flag.String("program", "bin/wasmbed", "the program to measure")
	flag.Parse()
	if err := run(*devices, *viewers, *rate, *seconds, *memory, *program); err != nil {
		fmt.Fprintln(os.Stderr, "bench/dashboard:", err)
		os.Exit(1)
	}
}

func run(devices, viewers, rate, seconds int, memory time.Duration, program string) error {
	dir, err := os.MkdirTemp("", "bench-dashboard")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := testcluster.New()
	if err != nil {
		return err
	}
	defer cluster.Remove()
	b := &bench{dir: dir, devices: devices, writes: map[string]time.Time{}}
	admin := cluster.Admin()
	admin.QPS, admin.Burst = -1, 0
	if b.kube, err = client.New(admin, client.Options{Scheme: testcluster.Scheme()}); err != nil {
		return err
	}
	if err := b.fill(); err != nil {
		return err
	}
	user, err := cluster.ForUser(api.UserDashboard)
	if err != nil {
		return err
	}
	if err := b.startServer(user, program); err != nil {
		return err
	}
	defer func() { _ = b.server.Process.Kill(); _ = b.server.Wait() }()
	if err := b.measure(viewers, rate, seconds); err != nil {
		return err
	}
	return b.browse(rate, seconds, memory)
}

type bench struct {
	dir     string
	devices int
	kube    client.Client
	server  *exec.Cmd
	address string

	mu     sync.Mutex
	writes map[string]time.Time // firmware → when it was written
	waits  []float64            // from write to viewer, milliseconds
	bytes  atomic.Int64
	deltas atomic.Int64
}

func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format, args...) }

func deviceName(i int) string { return fmt.Sprintf("device-%05d", i) }

// fill creates the fleet.
func (b *bench) fill() error {
	ctx := context.Background()
	if err := b.kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range b.devices {
		group.Go(func() error { return b.fillOne(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	say("%-44s %8.1f s\n", fmt.Sprintf("%d devices with %d instances written in", b.devices, apps*b.devices), time.Since(began).Seconds())
	return nil
}

func (b *bench) fillOne(ctx context.Context, i int) error {
	d := &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deviceName(i), Labels: map[string]string{"site": fmt.Sprintf("hall-%d", i%40), "tier": "stable"}},
		Spec: api.DeviceSpec{Board: "sim-m4", Backend: api.BackendSimulated}}
	if err := b.kube.Create(ctx, d); err != nil {
		return err
	}
	now := metav1.Now()
	d.Status = api.DeviceStatus{ObservedGeneration: d.Generation, Phase: api.DeviceOnline, Gateway: namespace + ".edge", Apps: "3/3",
		Connection: &api.DeviceConnection{Gateway: namespace + ".edge", Connected: true, Epoch: 1, Since: &now, Firmware: "1.0", Board: "sim-m4"},
		Conditions: []metav1.Condition{{Type: api.ConditionReady, Status: metav1.ConditionTrue, Reason: api.ReasonOnline, Message: "connected, and all apps run", LastTransitionTime: now}}}
	if err := b.kube.Status().Update(ctx, d); err != nil {
		return err
	}
	for n := range apps {
		app := fmt.Sprintf("app-%d", n)
		instance := &api.Instance{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: api.InstanceName(app, d.Name),
			Annotations: map[string]string{api.AnnotationRevision: strings.Repeat("a", 40), api.AnnotationIssuedAt: now.Format(time.RFC3339Nano)},
			Labels:      map[string]string{api.LabelDevice: d.Name, api.LabelApplication: app}},
			Spec: api.InstanceSpec{Device: d.Name, Application: app, Digest: "sha256:" + strings.Repeat(strconv.Itoa(n), 64), Size: 1000}}
		if err := b.kube.Create(ctx, instance); err != nil {
			return err
		}
	}
	return nil
}

// startServer starts the dashboard and waits until it is complete.
func (b *bench) startServer(user *rest.Config, program string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: user.Host, CertificateAuthorityData: user.CAData, CertificateAuthority: user.CAFile}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: user.CertData, ClientKeyData: user.KeyData}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	kubeconfig, tokenFile := filepath.Join(b.dir, "kubeconfig"), filepath.Join(b.dir, "token")
	if err := errors.Join(clientcmd.WriteToFile(*config, kubeconfig), os.WriteFile(tokenFile, []byte(token), 0o600)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.address = listener.Addr().String()
	_ = listener.Close()
	b.server = exec.Command(program, "dashboard", "--kubeconfig", kubeconfig, "--listen", b.address, "--token-file", tokenFile)
	began := time.Now()
	if err := b.server.Start(); err != nil {
		return fmt.Errorf("start %s (make build makes it): %w", program, err)
	}
	for time.Since(began) < 2*time.Minute {
		if total, _ := b.total("devices"); total == b.devices {
			if total, _ := b.total("instances"); total == apps*b.devices {
				say("%-44s %8.1f s\n", "server complete after its start", time.Since(began).Seconds())
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the server did not become complete")
}

func (b *bench) total(kind string) (int, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+b.address+"/api/v1/"+kind+"?limit=1", nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var list struct{ Total int }
	return list.Total, json.NewDecoder(response.Body).Decode(&list)
}

// view is what one viewer looks at.
func view(i int) string {
	switch i % 5 {
	case 0:
		return `"view":"devices","query":{"limit":60}`
	case 1:
		return `"view":"devices","query":{"limit":60,"sort":"-since"}`
	case 2:
		return fmt.Sprintf(`"view":"devices","query":{"limit":60,"label":"site=hall-%d"}`, i)
	case 3:
		return `"view":"overview"`
	default:
		return `"view":"topology"`
	}
}

func (b *bench) measure(viewers, rate, seconds int) error {
	if err := b.sayMemory("memory without viewers"); err != nil {
		return err
	}
	firsts := make([]float64, viewers)
	var listening sync.WaitGroup
	for i := range viewers {
		connection, took, err := b.look(i)
		if err != nil {
			return err
		}
		defer func() { _ = connection.Close() }()
		firsts[i] = took
		listening.Go(func() { b.listen(connection, i%5 < 3) })
	}
	say("%-44s %8.1f ms p50 %8.1f ms p95\n", "first view, from dialling", quantile(firsts, 50), quantile(firsts, 95))
	before := cpu(b.server.Process.Pid)
	began := time.Now()
	if err := b.change(rate, seconds); err != nil {
		return err
	}
	time.Sleep(time.Second)
	took := time.Since(began)
	used := cpu(b.server.Process.Pid) - before
	b.mu.Lock()
	defer b.mu.Unlock()
	say("%-44s %8.1f ms p50 %8.1f ms p95 (%d seen)\n", "write → viewer, in windows that show it", quantile(b.waits, 50), quantile(b.waits, 95), len(b.waits))
	say("%-44s %8.0f\n", "bytes a delta of a list", float64(b.bytes.Load())/float64(max(1, b.deltas.Load())))
	say("%-44s %8.1f %% of a core\n", fmt.Sprintf("server, %d changes/s, %d viewers", rate, viewers), 100*used/took.Seconds())
	return b.sayMemory(fmt.Sprintf("memory with %d viewers", viewers))
}

func (b *bench) sayMemory(when string) error {
	now, most, err := memory(b.server.Process.Pid)
	if err != nil {
		return err
	}
	say("%-44s %8.0f MB, until now at most %.0f MB\n", when, now, most)
	return nil
}

// look opens one viewer's view, and returns after how many milliseconds it was there.
func (b *bench) look(i int) (*websocket.Conn, float64, error) {
	began := time.Now()
	connection, response, err := websocket.DefaultDialer.Dial("ws://"+b.address+"/api/v1/stream", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		return nil, 0, err
	}
	_ = response.Body.Close()
	if err := connection.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","id":1,`+view(i)+`}`)); err != nil {
		return nil, 0, err
	}
	for {
		_, body, err := connection.ReadMessage()
		if err != nil {
			return nil, 0, err
		}
		if strings.HasPrefix(string(body), `{"type":"snapshot"`) {
			return connection, time.Since(began).Seconds() * 1000, nil
		}
	}
}

// listen notes what comes.
func (b *bench) listen(connection *websocket.Conn, list bool) {
	for {
		_, body, err := connection.ReadMessage()
		if err != nil {
			return
		}
		if !list {
			continue
		}
		var m struct {
			Type    string
			Changed []struct{ Firmware string }
		}
		if json.Unmarshal(body, &m) != nil || m.Type != "delta" {
			continue
		}
		now := time.Now()
		b.bytes.Add(int64(len(body)))
		b.deltas.Add(1)
		b.mu.Lock()
		for _, row := range m.Changed {
			if at, ok := b.writes[row.Firmware]; ok {
				b.waits = append(b.waits, now.Sub(at).Seconds()*1000)
			}
		}
		b.mu.Unlock()
	}
}

// change writes the status of devices, every second one among those that windows show.
func (b *bench) change(rate, seconds int) error {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for n := range rate * seconds {
		<-ticker.C
		i := (n * 37) % b.devices
		if n%2 == 0 {
			i = n % window
		}
		firmware := fmt.Sprintf("1.%d", n)
		phase := []api.DevicePhase{api.DeviceOnline, api.DeviceOffline}[n/window%2]
		patch := fmt.Sprintf(`{"status":{"phase":%q,"connection":{"firmware":%q}}}`, phase, firmware)
		b.mu.Lock()
		b.writes[firmware] = time.Now()
		b.mu.Unlock()
		d := &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deviceName(i)}}
		if err := b.kube.Status().Patch(context.Background(), d, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			return err
		}
	}
	return nil
}

func quantile(values []float64, percent int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// memory is a process's resident memory in MB: now, and the most since its start.
func memory(pid int) (now, most float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kilobytes); err == nil {
			most = kilobytes * 1024 / 1e6
		} else if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			now = kilobytes * 1024 / 1e6
		}
	}
	return now, most, nil
}

// cpu is the processor time that a process has used, in seconds.
func cpu(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
