// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/bench/measure"
	"wasmbed.dev/controllers/pki"
)

// quiet is how long nothing must be written until a stage is over.
const quiet = 4 * time.Second

// applications are all that devices run.
var applications = []string{"first", "second", "third"}

// gateways' addresses stay the same over restarts, since devices remember them.
var addressesOne, addressesTwo [2]string

// stretch is what happened between two moments.
type stretch struct {
	began    time.Time
	usage    map[string]time.Duration
	requests measure.Requests
}

func (b *bench) begin(ctx context.Context) (stretch, error) {
	requests, err := b.counter.Read(ctx)
	return stretch{time.Now(), b.usage(), requests}, err
}

// used says what processor time each process used since, and all of them together.
func (b *bench) used(s stretch) (string, time.Duration) {
	var parts []string
	var sum time.Duration
	now := b.usage()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		d := now[name] - s.usage[name]
		sum += d
		parts = append(parts, fmt.Sprintf("%s %.1f s", name, d.Seconds()))
	}
	return strings.Join(parts, ", "), sum
}

// clusterUsed is the processor time of the API server since.
func (b *bench) clusterUsed(s stretch) time.Duration {
	return measure.CPU(b.cluster.PID()) - s.usage["cluster"]
}

func (b *bench) firstSync(ctx context.Context) error {
	if err := b.start("controllers", v1alpha1.UserControllers, nil, "--store-dir", filepath.Join(b.dir, "store"),
		"--git-dir", filepath.Join(b.dir, "git"), "--store-listen", b.storeAddress()); err != nil {
		return err
	}
	if _, _, err := b.counter.Settle(ctx, quiet); err != nil {
		return err
	}
	if err := b.writeFleet(b.devices, []string{"one"}, nil); err != nil {
		return err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	commit, began, err := b.push(ctx, "The fleet")
	if err != nil {
		return err
	}
	if err := b.applied(ctx, commit); err != nil {
		return err
	}
	took, server := time.Since(began), b.clusterUsed(s)
	bare := plus(b.devices, b.bare.create)
	row("first sync → applied", "1.5× bare creates", "%s, %s the bare creates (%s); processor time of the API server %s, %s theirs, identities and first status of devices written meanwhile included",
		seconds(took), times(took, bare.wall), seconds(bare.wall), seconds(server), times(server, bare.server))
	requests, at, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	bare = plus(b.devices, b.bare.create, b.bare.create, b.bare.status) // with the identity and its assignment
	used, _ := b.used(s)
	row("… → every device has an identity and a gateway", "", "%s, %s the bare writes of devices, identities and status; API server %s, %s theirs; %s; controllers' peak %d MB",
		seconds(at.Sub(began)), times(at.Sub(began), bare.wall), seconds(b.clusterUsed(s)), times(b.clusterUsed(s), bare.server), used, megabytes(measure.Peak(b.parts["controllers"].pid())))
	row("… requests", "", "%s", requests.Since(s.requests))
	return nil
}

func (b *bench) oneChange(ctx context.Context) error {
	if err := b.write(filepath.Join("d000", deviceName(0)+".yaml"), deviceYAML(0, ", tier: low")); err != nil {
		return err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	commit, began, err := b.push(ctx, "One device")
	if err != nil {
		return err
	}
	if err := b.applied(ctx, commit); err != nil {
		return err
	}
	took := time.Since(began)
	requests, _, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	row("a commit that changes one device → applied", "1 s, one object", "%s; writes: %s", seconds(took), requests.Since(s.requests).Writes())
	return nil
}

func (b *bench) connectAll(ctx context.Context) error {
	if err := b.startGateway("one", &addressesOne); err != nil {
		return err
	}
	if err := b.awaitServing(ctx, "one"); err != nil {
		return err
	}
	if _, _, err := b.counter.Settle(ctx, quiet); err != nil {
		return err
	}
	time.Sleep(15 * time.Second) // what the start needed is given back
	empty := measure.Resident(b.parts["gateway-one"].pid())
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	if err := b.start("simulator", v1alpha1.UserSimulator, nil, "--no-modules", "--state-dir", filepath.Join(b.dir, "simulator")); err != nil {
		return err
	}
	if err := b.awaitConnected(ctx, "one", b.devices); err != nil {
		return err
	}
	requests, at, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	row("first connection of all devices", "", "%s; gateway %.2f ms of processor time each; writes: %s", seconds(at.Sub(s.began)),
		(measure.CPU(b.parts["gateway-one"].pid())-s.usage["gateway-one"]).Seconds()*1000/float64(b.devices), requests.Since(s.requests).Writes())
	time.Sleep(15 * time.Second)
	full := measure.Resident(b.parts["gateway-one"].pid())
	row("memory a connection at the gateway", "17 KB", "%.1f KB resident (%d MB without devices connected, %d MB with)", float64(full-empty)/1024/float64(b.devices), megabytes(empty), megabytes(full))
	return nil
}

// awaitServing waits until a Gateway is Ready.
func (b *bench) awaitServing(ctx context.Context, name string) error {
	return until(ctx, 3*time.Minute, "gateway "+name+" serves", func() (bool, string) {
		g := &v1alpha1.Gateway{}
		if err := b.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, g); err != nil {
			return false, err.Error()
		}
		return meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionReady), fmt.Sprint(g.Status.Conditions)
	})
}

func (b *bench) idleSystem(ctx context.Context) error {
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	commit, began, err := b.push(ctx, "Nothing")
	if err != nil {
		return err
	}
	if err := b.applied(ctx, commit); err != nil {
		return err
	}
	took := time.Since(began)
	requests, _, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	row("a commit that changes nothing", "the Repository's status only", "%s; writes: %s", seconds(took), requests.Since(s.requests).Writes())
	if s, err = b.begin(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(b.idle):
	}
	after, err := b.counter.Read(ctx)
	if err != nil {
		return err
	}
	used, sum := b.used(s)
	ours := sum - b.clusterUsed(s) - (b.usage()["simulator"] - s.usage["simulator"])
	row("the idle system", "Leases and the Repository's status only; 5 % of a core", "in %s: writes beside Leases: %d %s; controllers and gateway %.1f %% of a core, all processes %.1f %% (%s)",
		b.idle, after.Since(s.requests).Writes().Total(), after.Since(s.requests).Writes(), 100*ours.Seconds()/b.idle.Seconds(), 100*sum.Seconds()/b.idle.Seconds(), used)
	return nil
}

// deploy adds an application and waits until it runs everywhere.
func (b *bench) deploy(ctx context.Context, all []string, name string) (stretch, time.Duration, error) {
	if err := b.writeFleet(b.devices, []string{"one"}, all); err != nil {
		return stretch{}, 0, err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return s, 0, err
	}
	_, began, err := b.push(ctx, "An application")
	if err != nil {
		return s, 0, err
	}
	if err := b.awaitRunning(ctx, name, b.devices); err != nil {
		return s, 0, err
	}
	return s, time.Since(began), nil
}

func (b *bench) runEverywhere(ctx context.Context) error {
	s, took, err := b.deploy(ctx, applications[:1], applications[0])
	if err != nil {
		return err
	}
	requests, _, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	server := b.clusterUsed(s)
	bare := plus(b.devices, b.bare.create, b.bare.status, b.bare.status)
	used, _ := b.used(s)
	row("an Application → running on all, maxUnavailable 100 %", "1.5× the bare writes", "%s, %s bare writes of an Instance, its status and its device's (%s); API server %s, %s theirs; %s",
		seconds(took), times(took, bare.wall), seconds(bare.wall), seconds(server), times(server, bare.server), used)
	row("… writes", "", "%s", requests.Since(s.requests).Writes())
	return nil
}

func (b *bench) threeApps(ctx context.Context) error {
	for n := 2; n <= len(applications); n++ {
		if _, _, err := b.deploy(ctx, applications[:n], applications[n-1]); err != nil {
			return err
		}
	}
	if err := b.start("dashboard", v1alpha1.UserDashboard, nil, "--listen", "127.0.0.1:0", "--token-file", filepath.Join(b.dir, "bare-ca.crt")); err != nil {
		return err
	}
	if _, _, err := b.counter.Settle(ctx, quiet); err != nil {
		return err
	}
	time.Sleep(15 * time.Second)
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(b.parts)) {
		parts = append(parts, fmt.Sprintf("%s %d MB", name, megabytes(measure.Resident(b.parts[name].pid()))))
	}
	row("memory with three apps on each", "in the table", "%s, cluster %d MB", strings.Join(parts, ", "), megabytes(measure.Resident(b.cluster.PID())))
	b.end("dashboard", syscall.SIGTERM)
	return nil
}

// storm kills the gateway and starts it again. The devices are held while it starts, so that what it costs to come up
// and what it costs to take all of them can be told apart; then all come at once.
func (b *bench) storm(ctx context.Context) error {
	simulator := b.parts["simulator"].command.Process
	before, err := b.begin(ctx)
	if err != nil {
		return err
	}
	b.end("gateway-one", syscall.SIGKILL)
	if err := simulator.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err = b.startGateway("one", &addressesOne)
	if err == nil {
		err = until(ctx, 2*time.Minute, "the gateway listens again", func() (bool, string) {
			_, err := b.gatewayMetrics(ctx, "one")
			return err == nil, fmt.Sprint(err)
		})
	}
	pid := 0
	if err == nil {
		pid = b.parts["gateway-one"].pid()
	}
	started := measure.CPU(pid)
	began := time.Now()
	if failed := simulator.Signal(syscall.SIGCONT); failed != nil || err != nil {
		return fmt.Errorf("storm: %w, %w", err, failed)
	}
	if err := b.awaitSessions(ctx, "one", b.devices); err != nil {
		return err
	}
	took := time.Since(began)
	requests, _, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	metrics, err := b.gatewayMetrics(ctx, "one")
	if err != nil {
		return err
	}
	cpu, bare := measure.CPU(pid)-started, plus(b.devices, b.bare.handshake)
	row("reconnect storm", "1.5× the bare handshakes' processor time; resumption; writes for what changed only",
		"all back after %s; gateway %s, %s the bare handshakes that resume (%s); its start %s; handshakes: %.0f resumed, %.0f full; writes: %d %s", seconds(took), seconds(cpu), times(cpu, bare.server),
		seconds(bare.server), seconds(started), metrics[`wasmbed_gateway_handshakes_total{result="resumed"}`], metrics[`wasmbed_gateway_handshakes_total{result="full"}`],
		requests.Since(before.requests).Writes().Total(), requests.Since(before.requests).Writes())
	return nil
}

// awaitSessions waits until a gateway's process has sessions with n devices.
func (b *bench) awaitSessions(ctx context.Context, gateway string, n int) error {
	return until(ctx, 20*time.Minute, "devices come back", func() (bool, string) {
		metrics, err := b.gatewayMetrics(ctx, gateway)
		if err != nil {
			return false, err.Error()
		}
		return int(metrics["wasmbed_gateway_devices"]) == n, fmt.Sprintf("%.0f are back", metrics["wasmbed_gateway_devices"])
	})
}

// gatewayMetrics reads what a gateway's process says of itself.
func (b *bench) gatewayMetrics(ctx context.Context, name string) (map[string]float64, error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: pki.SecretName(pki.ClientIdentity("admin"))}
	if err := b.kube.Get(ctx, key, secret); err != nil {
		return nil, err
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		return nil, err
	}
	source := &pki.Source{}
	source.Set(credentials)
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: source.ClientConfig(time.Now, pki.Gateway), DisableKeepAlives: true}}
	address := addressesOne[1]
	if name == "two" {
		address = addressesTwo[1]
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := web.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	values := map[string]float64{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		metric, text, _ := strings.Cut(lines.Text(), " ")
		var value float64
		if _, err := fmt.Sscan(text, &value); err == nil && strings.HasPrefix(metric, "wasmbed_") {
			values[metric] = value
		}
	}
	return values, nil
}

func (b *bench) removeApplications(ctx context.Context) error {
	if err := b.writeFleet(b.devices, []string{"one", "two"}, nil); err != nil {
		return err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	if _, _, err := b.push(ctx, "No applications\n\nWasmbed-Allow-Prune: 3"); err != nil {
		return err
	}
	if err := until(ctx, 20*time.Minute, "no Instance is left", func() (bool, string) {
		var list v1alpha1.InstanceList
		err := b.kube.List(ctx, &list, client.InNamespace(namespace), client.Limit(1))
		return err == nil && len(list.Items) == 0, fmt.Sprint(err)
	}); err != nil {
		return err
	}
	took := time.Since(s.began)
	requests, _, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	bare := plus(3*b.devices, b.bare.remove)
	row("removing three Applications everywhere", "2× the bare deletes", "%s, %s the bare deletes of their Instances (%s); API server %s, %s theirs; writes: %s", seconds(took),
		times(took, bare.wall), seconds(bare.wall), seconds(b.clusterUsed(s)), times(b.clusterUsed(s), bare.server), requests.Since(s.requests).Writes())
	return nil
}

// anotherGateway kills the gateway that holds all devices while another one is there.
func (b *bench) anotherGateway(ctx context.Context) error {
	if err := b.writeFleet(b.devices, []string{"one", "two"}, applications); err != nil {
		return err
	}
	commit, _, err := b.push(ctx, "Another gateway")
	if err != nil {
		return err
	}
	if err := b.applied(ctx, commit); err != nil {
		return err
	}
	if err := b.startGateway("two", &addressesTwo); err != nil {
		return err
	}
	if err := b.awaitServing(ctx, "two"); err != nil {
		return err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	b.end("gateway-one", syscall.SIGKILL)
	if err := b.awaitSessions(ctx, "two", b.devices); err != nil {
		return err
	}
	took := time.Since(s.began)
	requests, at, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	row("a gateway dies, another takes its devices with three apps each", "the Lease's 15 s and the storm's time", "all on the other after %s, all is written after %s; writes: %s", seconds(took), seconds(at.Sub(s.began)), requests.Since(s.requests).Writes())
	return nil
}

func (b *bench) removeDevices(ctx context.Context) error {
	remove := b.devices / 2
	if _, err := b.git("rm", "-rq", "."); err != nil {
		return err
	}
	if err := b.writeFleet(b.devices-remove, []string{"one", "two"}, nil); err != nil {
		return err
	}
	s, err := b.begin(ctx)
	if err != nil {
		return err
	}
	commit, began, err := b.push(ctx, fmt.Sprintf("Half of the fleet\n\nWasmbed-Allow-Prune: %d", remove))
	if err != nil {
		return err
	}
	if err := b.applied(ctx, commit); err != nil {
		return err
	}
	took := time.Since(began)
	requests, at, err := b.counter.Settle(ctx, quiet)
	if err != nil {
		return err
	}
	bare := plus(remove, b.bare.remove, b.bare.remove)
	row(fmt.Sprintf("removing %d devices with the trailer", remove), "2× the bare deletes", "applied after %s, all quiet after %s, %s the bare deletes of devices and identities (%s); API server %s, %s theirs; writes: %s",
		seconds(took), seconds(at.Sub(began)), times(at.Sub(began), bare.wall), seconds(bare.wall), seconds(b.clusterUsed(s)), times(b.clusterUsed(s), bare.server), requests.Since(s.requests).Writes())
	return nil
}
