// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/placement"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/review"
)

// A fleet that changes at random: a hundred simulated devices, and applications of which each does something.
type changingFleet struct {
	devices map[string]*changingDevice
	apps    map[string]*changingApp
}

type changingDevice struct {
	site, override  string
	off, quarantine bool
}

type changingApp struct {
	module, site, config, permissions, unavailable, restart string
	stack                                                   int
	suspend                                                 bool
}

func newChangingFleet(devices int) *changingFleet {
	f := &changingFleet{devices: map[string]*changingDevice{}, apps: map[string]*changingApp{}}
	sites := []string{"hall", "yard", "roof"}
	for i := range devices {
		f.devices[fmt.Sprintf("d%03d", i)] = &changingDevice{site: sites[i%3]}
	}
	f.apps["light"] = &changingApp{module: "blink", permissions: "gpio, timer, log", unavailable: "50%", stack: 1024, restart: "Always"}
	f.apps["count"] = &changingApp{module: "counter", site: "hall", permissions: "log", config: "1", unavailable: "100%", stack: 2048, restart: "Always"}
	return f
}

// kindsOfChange are all kinds; each returns what it did.
var kindsOfChange = []func(f *changingFleet, r *rand.Rand) string{
	func(f *changingFleet, r *rand.Rand) string {
		f.app(r).config = strconv.Itoa(r.IntN(1000))
		return "config"
	},
	func(f *changingFleet, r *rand.Rand) string {
		a := f.app(r)
		a.permissions = map[bool]string{true: "gpio, timer, log", false: "gpio, timer, log, sensor"}[strings.Contains(a.permissions, "sensor")]
		return "permissions"
	},
	func(f *changingFleet, r *rand.Rand) string {
		f.app(r).site = []string{"", "hall", "yard", "roof"}[r.IntN(4)]
		return "selector"
	},
	func(f *changingFleet, r *rand.Rand) string {
		a := f.app(r)
		a.module, a.permissions = map[string]string{"blink": "counter", "counter": "blink"}[a.module], "gpio, timer, log"
		return "module"
	},
	func(f *changingFleet, r *rand.Rand) string { f.app(r).stack = 1024 + 512*r.IntN(4); return "limits" },
	func(f *changingFleet, r *rand.Rand) string {
		f.app(r).restart = []string{"Always", "OnFailure"}[r.IntN(2)]
		return "restart policy"
	},
	func(f *changingFleet, r *rand.Rand) string {
		f.app(r).unavailable = []string{"34%", "100%", "40"}[r.IntN(3)]
		return "rollout"
	},
	func(f *changingFleet, r *rand.Rand) string {
		a := f.app(r)
		a.suspend = !a.suspend
		return "suspension"
	},
	func(f *changingFleet, r *rand.Rand) string {
		name := fmt.Sprintf("more%d", r.IntN(2))
		if f.apps[name] != nil {
			delete(f.apps, name)
			return "application removed"
		}
		f.apps[name] = &changingApp{module: "counter", site: "roof", permissions: "log", unavailable: "100%", stack: 2048, restart: "Always"}
		return "application added"
	},
	func(f *changingFleet, r *rand.Rand) string {
		f.device(r).site = []string{"hall", "yard", "roof"}[r.IntN(3)]
		return "label"
	},
	func(f *changingFleet, r *rand.Rand) string {
		f.device(r).override = strconv.Itoa(r.IntN(100))
		return "override"
	},
	func(f *changingFleet, r *rand.Rand) string { d := f.device(r); d.off = !d.off; return "power" },
	func(f *changingFleet, r *rand.Rand) string {
		d := f.device(r)
		d.quarantine = !d.quarantine
		return "quarantine"
	},
	func(f *changingFleet, r *rand.Rand) string {
		names := slices.Sorted(maps.Keys(f.devices))
		delete(f.devices, names[r.IntN(len(names))])
		return "device removed"
	},
	func(f *changingFleet, r *rand.Rand) string {
		f.devices[fmt.Sprintf("n%03d", r.IntN(1000))] = &changingDevice{site: "hall"}
		return "device added"
	},
}

func (f *changingFleet) app(r *rand.Rand) *changingApp {
	names := slices.Sorted(maps.Keys(f.apps))
	return f.apps[names[r.IntN(len(names))]]
}

func (f *changingFleet) device(r *rand.Rand) *changingDevice {
	names := slices.Sorted(maps.Keys(f.devices))
	return f.devices[names[r.IntN(len(names))]]
}

// manifests of the fleet by path.
func (f *changingFleet) manifests() map[string]string {
	head := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
	var devices, apps strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.devices)) {
		d := f.devices[name]
		fmt.Fprintf(&devices, "---\napiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata: {name: %s, namespace: plant, labels: {site: %s}}\nspec:\n  board: sim-m4\n  backend: Simulated\n", name, d.site)
		if d.off {
			devices.WriteString("  power: \"Off\"\n")
		}
		if d.quarantine {
			devices.WriteString("  quarantine: true\n")
		}
		if d.override != "" {
			fmt.Fprintf(&devices, "  config: {light: {own: %q}}\n", d.override)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.apps)) {
		a := f.apps[name]
		selector := "{}"
		if a.site != "" {
			selector = "{matchLabels: {site: " + a.site + "}}"
		}
		fmt.Fprintf(&apps, "---\napiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata: {name: %s, namespace: plant}\nspec:\n  module: {path: apps/%s.wasm}\n  selector: %s\n"+
			"  config: {value: %q}\n  permissions: [%s]\n  limits: {memory: 4096, stack: %d, fuel: 100000}\n  restartPolicy: %s\n  rollout: {maxUnavailable: %s}\n  suspend: %v\n",
			name, a.module, selector, a.config, a.permissions, a.stack, a.restart, a.unavailable, a.suspend)
	}
	return map[string]string{
		"kustomization.yaml":          head + "  - clusters\n  - devices\n  - apps\n",
		"clusters/kustomization.yaml": head + "  - gateway.yaml\n",
		"clusters/gateway.yaml":       "apiVersion: v1\nkind: Namespace\nmetadata: {name: plant}\n---\napiVersion: wasmbed.dev/v1alpha1\nkind: Gateway\nmetadata: {name: edge, namespace: plant}\n",
		"devices/kustomization.yaml":  head + "  - all.yaml\n", "devices/all.yaml": devices.String(),
		"apps/kustomization.yaml": head + "  - all.yaml\n", "apps/all.yaml": apps.String(),
	}
}

// whatHappened to an application's devices.
type whatHappened struct{ Gets, Restarts, Loses, Leaves []string }

// calm waits until the commit is applied, every device that should be there is, and everything that was ordered runs.
func (s *stack) calm(c client.Client, commit string) {
	s.t.Helper()
	quiet := 0
	eventually(s.t, "the fleet calms down", func() error {
		err := calmNow(c, commit)
		if quiet++; err != nil {
			quiet = 0
		} else if quiet < 4 {
			err = fmt.Errorf("only just")
		}
		return err
	})
}

func calmNow(c client.Client, commit string) error {
	ctx := context.Background()
	report, err := status.Gather(ctx, c)
	if err != nil {
		return err
	}
	if applied := report.Repositories[0].Applied; applied == nil || applied.Commit != commit {
		return fmt.Errorf("%s is not applied: %s", commit, report.Waiting())
	}
	for _, p := range report.Problems {
		if p.Working {
			return fmt.Errorf("%+v", p)
		}
	}
	var devices v1alpha1.DeviceList
	var instances v1alpha1.InstanceList
	if err := c.List(ctx, &devices); err != nil {
		return err
	}
	if err := c.List(ctx, &instances); err != nil {
		return err
	}
	online := map[string]bool{}
	for i := range devices.Items {
		d := &devices.Items[i]
		online[d.Name] = placement.Online(d)
		if d.Spec.Power != v1alpha1.PowerOff && !d.Spec.Quarantine && !online[d.Name] {
			return fmt.Errorf("device %s is not there", d.Name)
		}
		if d.Status.ObservedGeneration != d.Generation {
			return fmt.Errorf("device %s is not looked at", d.Name)
		}
	}
	for _, i := range instances.Items {
		if online[i.Spec.Device] && (i.Status.ObservedGeneration != i.Generation || i.Status.Phase != v1alpha1.InstanceRunning) {
			return fmt.Errorf("instance %s is %s", i.Name, i.Status.Phase)
		}
	}
	return nil
}

// TestPlanIsWhatHappened pushes random changes of all kinds to a running system of a hundred devices and holds what
// happened to each device against what the plan had said.
func TestPlanIsWhatHappened(t *testing.T) {
	const seed, rounds, most = 20, 12, 45 * time.Second
	r := rand.New(rand.NewPCG(seed, 5))
	f := newChangingFleet(100)
	first := t.TempDir()
	s := &stack{t: t, home: home.Dir(filepath.Join(t.TempDir(), "home")), base: freePortBase(t), clone: first}
	s.write(f.manifests())
	for _, app := range []string{"blink", "counter"} {
		module, err := os.ReadFile(filepath.Join(root, "apps", app, app+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		s.write(map[string]string{"apps/" + app + ".wasm": string(module)})
	}
	t.Cleanup(func() {
		if out, err := s.wasmbed("--home", string(s.home), "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	s.must("", program(t, "wasmbed"), "--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base), "--fleet", first)
	s.clone = filepath.Join(t.TempDir(), "clone")
	s.must("", "git", "clone", "-q", s.home.FleetRepository(), s.clone)
	c := s.client()
	s.calm(c, strings.TrimSpace(s.must(s.clone, "git", "rev-parse", "HEAD")))
	kinds := map[string]bool{}
	order := r.Perm(len(kindsOfChange))
	began, round, happened := time.Now(), 0, 0
	for ; round < rounds && (len(kinds) < len(kindsOfChange) || time.Since(began) < most); round++ {
		var did []string
		for range 3 {
			what := kindsOfChange[order[0]](f, r)
			order = append(order[1:], order[0])
			did, kinds[what] = append(did, what), true
		}
		s.write(f.manifests())
		live, err := liveFleet(t.Context(), c, v1alpha1.SystemNamespace+"/fleet")
		if err != nil {
			t.Fatal(err)
		}
		said, err := review.Report(t.Context(), review.Options{Dir: s.clone, Live: live})
		if err != nil {
			t.Fatal(err)
		}
		if said.Refused || len(said.Live.Drift) > 0 || len(said.Live.Offline) > 0 {
			t.Fatalf("%v: %+v, %+v", did, said.Findings, said.Live)
		}
		commit, _ := s.push("Change " + strings.Join(did, ", "))
		s.calm(c, commit)
		now, err := liveFleet(t.Context(), c, v1alpha1.SystemNamespace+"/fleet")
		if err != nil {
			t.Fatal(err)
		}
		want, got := saidOf(said), happenedTo(live, now)
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("round %d, %v:\nsaid     %+v\nhappened %+v", round, did, want, got)
		}
		for _, what := range got {
			happened += len(what.Gets) + len(what.Restarts) + len(what.Loses) + len(what.Leaves)
		}
	}
	t.Logf("%d rounds, %d kinds of change, %d applications on devices changed", round, len(kinds), happened)
	if len(kinds) < len(kindsOfChange) || happened < 50 {
		t.Errorf("only %d kinds of %d, %d consequences: the test was too tame", len(kinds), len(kindsOfChange), happened)
	}
}

func saidOf(r *plan.Report) map[string]whatHappened {
	out := map[string]whatHappened{}
	steps := func(lists ...[]plan.Step) (names []string) {
		for _, list := range lists {
			for _, s := range list {
				names = append(names, s.Device)
			}
		}
		slices.Sort(names)
		return names
	}
	sorted := func(list []string) []string {
		if len(list) == 0 {
			return nil
		}
		return slices.Sorted(slices.Values(list))
	}
	for _, a := range r.Applications {
		h := whatHappened{steps(a.Gets, a.MayGet), steps(a.Restarts), sorted(a.Loses), sorted(a.Leaves)}
		if !reflect.DeepEqual(h, whatHappened{}) {
			out[a.Name] = h
		}
	}
	return out
}

func happenedTo(before, after *plan.Live) map[string]whatHappened {
	out := map[string]whatHappened{}
	index := func(l *plan.Live, app string) map[string]*v1alpha1.Instance {
		byDevice := map[string]*v1alpha1.Instance{}
		for _, i := range l.Instances[app] {
			byDevice[i.Spec.Device] = i
		}
		return byDevice
	}
	apps := slices.Concat(slices.Collect(maps.Keys(before.Instances)), slices.Collect(maps.Keys(after.Instances)))
	slices.Sort(apps)
	for _, app := range slices.Compact(apps) {
		var h whatHappened
		was, is := index(before, app), index(after, app)
		for _, device := range slices.Sorted(maps.Keys(is)) {
			switch old := was[device]; {
			case old == nil || old.UID != is[device].UID:
				h.Gets = append(h.Gets, device)
			case old.Generation != is[device].Generation:
				h.Restarts = append(h.Restarts, device)
			}
		}
		for _, device := range slices.Sorted(maps.Keys(was)) {
			switch {
			case is[device] != nil:
			case after.Devices["plant/"+device] == nil:
				h.Leaves = append(h.Leaves, device)
			default:
				h.Loses = append(h.Loses, device)
			}
		}
		if !reflect.DeepEqual(h, whatHappened{}) {
			_, name, _ := strings.Cut(app, "/")
			out[name] = h
		}
	}
	return out
}
