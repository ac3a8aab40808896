// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/gateway"
)

const (
	// look is how often the stack is looked at.
	look = 500 * time.Millisecond
	// calm is for how long nothing may be under way before a side counts as settled: time for an app to crash in.
	calm = 10 * time.Second
	// afterCrash is how long a side is watched after something went wrong, so that a crash loop comes to its end.
	afterCrash = 45 * time.Second
	// keptLines of each app on each device, shownLines of which are reported.
	keptLines, shownLines = 256, 10
)

// place is an application on a device; both are in one namespace.
type place struct{ namespace, device, app string }

// line of a log.
type line struct {
	at   time.Time
	text string
}

// figures of an app while it is watched.
type figures struct {
	generation    int64
	first, last   sample
	memory, stack uint32
	values        map[string]int64
}

// sample is how much fuel an app had used at a time since boot, in milliseconds.
type sample struct{ uptime, fuel uint64 }

// watcher gathers what one side of the change does on the preview's devices.
type watcher struct {
	objects  client.Client
	gateways *gatewayclient.Client
	devices  []chosen
	side     string

	instances map[place]v1alpha1.Instance
	figures   map[place]*figures
	metrics   map[string]map[string]uint64 // device → metric → value
	crashes   map[string]string            // device → newest crash of its firmware
	launches  map[string]int64
	problems  map[place]Problem
	wrongAt   time.Time

	logs *logs
}

func newWatcher(objects client.Client, gateways *gatewayclient.Client, devices []chosen, side string, logs *logs) *watcher {
	logs.reset()
	return &watcher{objects: objects, gateways: gateways, devices: devices, side: side, logs: logs,
		instances: map[place]v1alpha1.Instance{}, figures: map[place]*figures{}, metrics: map[string]map[string]uint64{},
		crashes: map[string]string{}, launches: map[string]int64{}, problems: map[place]Problem{}}
}

// settle watches until the commit runs and nothing has been under way for a while, or something is wrong for good, or
// the time is over.
func (w *watcher) settle(ctx context.Context, commit string, within time.Duration, waiting func(string)) error {
	deadline := time.Now().Add(within)
	var quiet time.Time // since when nothing is under way
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		report, err := status.Gather(ctx, w.objects)
		if err != nil {
			return err
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		now := time.Now()
		busy := underWay(report, commit)
		switch {
		case busy != "":
			quiet = time.Time{}
		case quiet.IsZero():
			quiet = now
		}
		waiting(cmp.Or(busy, "watched for a while"))
		if !quiet.IsZero() && now.Sub(quiet) >= calm || !w.wrongAt.IsZero() && now.Sub(w.wrongAt) >= afterCrash {
			w.conclude(report)
			return nil
		}
		if now.After(deadline) {
			w.late(busy, within)
			w.conclude(report)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// underWay says what is not done yet, or nothing.
func underWay(report *status.Report, commit string) string {
	for _, r := range report.Repositories {
		if r.Applied == nil || r.Applied.Commit != commit {
			return "the commit is not applied yet: " + report.Waiting()
		}
	}
	for _, p := range report.Problems {
		if p.Working || p.Reason == v1alpha1.ReasonNeverSeen || p.Reason == v1alpha1.ReasonDeviceOffline || p.Reason == v1alpha1.ReasonStarting {
			return p.Object + ": " + p.Reason + ": " + p.Message
		}
	}
	return ""
}

// look reads what there is to know now.
func (w *watcher) look(ctx context.Context) error {
	var list v1alpha1.InstanceList
	if err := w.objects.List(ctx, &list); err != nil {
		return fmt.Errorf("read instances: %w", err)
	}
	w.instances = map[place]v1alpha1.Instance{}
	for _, i := range list.Items {
		p := place{i.Namespace, i.Spec.Device, i.Spec.Application}
		w.instances[p] = i
		w.failed(p, &i)
	}
	for _, d := range w.devices {
		if err := w.lookAt(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// failed notes how an app ended, the newest end in place of those before.
func (w *watcher) failed(p place, i *v1alpha1.Instance) {
	s := &i.Status
	if s.ObservedGeneration != i.Generation {
		return
	}
	switch s.Phase {
	case v1alpha1.InstanceFailed, v1alpha1.InstanceRolledBack, v1alpha1.InstanceRejected:
	default:
		return
	}
	what := map[v1alpha1.InstancePhase]string{
		v1alpha1.InstanceFailed: "failed", v1alpha1.InstanceRolledBack: "went back to the former version", v1alpha1.InstanceRejected: "was rejected by the device",
	}[s.Phase]
	if s.Message != "" {
		what += ": " + s.Message
	}
	w.problem(p, cmp.Or(s.Reason, string(s.Phase)), what)
}

func (w *watcher) problem(p place, reason, message string) {
	if w.wrongAt.IsZero() {
		w.wrongAt = time.Now()
	}
	found := Problem{Side: w.side, Application: plan.Text(p.app), Reason: plan.Text(reason), Message: plan.Message(message)}
	if p.device != "" {
		found.Device, found.Board = p.namespace+"/"+p.device, w.board(p.namespace, p.device)
	}
	w.problems[p] = found
}

func (w *watcher) board(namespace, device string) string {
	for _, d := range w.devices {
		if d.namespace == namespace && d.name == device {
			return d.board
		}
	}
	return ""
}

// lookAt asks a device's gateway for its newest figures; one that is not connected has none.
func (w *watcher) lookAt(ctx context.Context, d chosen) error {
	object := &v1alpha1.Device{}
	if err := w.objects.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: d.name}, object); err != nil {
		return client.IgnoreNotFound(err)
	}
	if b := object.Status.Backend; b != nil {
		w.launches[d.key()] = b.Launches
	}
	facts, err := w.gateways.Facts(ctx, d.namespace, d.name)
	if err != nil {
		return ctx.Err() // it is not there yet, or away
	}
	w.metrics[d.key()] = facts.Metrics
	if facts.LastCrash != "" {
		w.crashes[d.key()] = facts.LastCrash
	}
	for _, a := range facts.Apps {
		p := place{d.namespace, d.name, a.Name}
		generation := w.instances[p].Generation
		f := w.figures[p]
		if f == nil || f.generation != generation || a.Fuel < f.last.fuel {
			f = &figures{generation: generation, first: sample{facts.Uptime, a.Fuel}, memory: 0}
			w.figures[p] = f
		}
		f.last = sample{facts.Uptime, a.Fuel}
		f.memory, f.stack, f.values = max(f.memory, a.Memory), max(f.stack, a.Stack), a.Values
	}
	return nil
}

// conclude adds what only the objects tell: applications and devices that did not become ready, for which no app's end
// is known.
func (w *watcher) conclude(report *status.Report) {
	for _, p := range report.Problems {
		if p.Working {
			continue
		}
		kind, name, _ := strings.Cut(p.Object, " ")
		namespace, name, _ := strings.Cut(name, "/")
		told := slices.ContainsFunc(slices.Collect(maps.Keys(w.problems)), func(known place) bool {
			return known.namespace == namespace && (kind == "Application" && known.app == name || kind == "Device" && known.device == name)
		})
		if told || p.Reason == v1alpha1.ReasonSuspended || kind == "Device" && p.Reason == v1alpha1.ReasonInstanceFails {
			continue
		}
		switch kind {
		case "Device":
			w.problem(place{namespace: namespace, device: name}, p.Reason, p.Message)
		case "Application":
			w.problem(place{namespace: namespace, app: name}, p.Reason, p.Message)
		default:
			w.problem(place{namespace: namespace, app: ""}, p.Reason, p.Object+": "+p.Message)
		}
	}
	for p, i := range w.instances {
		if _, told := w.problems[p]; !told && i.Status.ObservedGeneration == i.Generation && i.Status.Restarts > 0 {
			w.problem(p, "Restarted", fmt.Sprintf("was started %d times anew", i.Status.Restarts))
		}
	}
	for device, crash := range w.crashes {
		namespace, name, _ := strings.Cut(device, "/")
		w.problem(place{namespace: namespace, device: name}, "FirmwareCrashed", "the firmware crashed: "+crash)
	}
	for device, n := range w.launches {
		if namespace, name, _ := strings.Cut(device, "/"); n > 1 {
			w.problem(place{namespace: namespace, device: name}, "BoardRestarted", fmt.Sprintf("the virtual board was started %d times", n))
		}
	}
}

// late notes that the time was over.
func (w *watcher) late(busy string, within time.Duration) {
	if len(w.problems) == 0 {
		w.problem(place{}, "NotInTime", fmt.Sprintf("not settled within %s: %s", within, cmp.Or(busy, "something has just changed")))
	}
}

// places are all that ran, in order.
func (w *watcher) places() []place {
	return slices.SortedFunc(maps.Keys(w.instances), comparePlaces)
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.device, b.device), cmp.Compare(a.app, b.app))
}

// run tells how an app ran.
func (w *watcher) run(p place) Run {
	r := Run{StartMilliseconds: -1, Values: []Metric{}, Log: []string{}}
	i, ok := w.instances[p]
	if !ok {
		return r
	}
	s := &i.Status
	r.Phase, r.Reason, r.Message = plan.Text(string(s.Phase)), plan.Text(s.Reason), plan.Message(s.Message)
	r.Restarts = s.Restarts
	if s.StartMilliseconds != nil {
		r.StartMilliseconds = *s.StartMilliseconds
	}
	if f := w.figures[p]; f != nil {
		r.Fuel, r.Memory, r.Stack = int64(f.last.fuel), int64(f.memory), int64(f.stack)
		if span := f.last.uptime - f.first.uptime; f.last.uptime > f.first.uptime {
			r.FuelPerSecond = int64((f.last.fuel - f.first.fuel) * 1000 / span)
		}
		for _, name := range slices.Sorted(maps.Keys(f.values)) {
			r.Values = append(r.Values, Metric{plan.Text(name), f.values[name]})
		}
	}
	var since time.Time
	if s.DeliveredAt != nil {
		since = s.DeliveredAt.Time
	}
	r.Log = append(r.Log, w.logs.first(p, since)...)
	return r
}

// metricsOf are a device's own.
func (w *watcher) metricsOf(d chosen) []Metric {
	out := []Metric{}
	m := w.metrics[d.key()]
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Metric{plan.Text(name), int64(m[name])})
	}
	return out
}

// changeOf says what became of an app on a device from one side to the other.
func changeOf(p place, base, head *watcher) string {
	before, had := base.instances[p]
	after, has := head.instances[p]
	switch {
	case !had:
		return plan.Added
	case !has:
		return plan.Removed
	case reflect.DeepEqual(before.Spec, after.Spec):
		return plan.Unchanged
	}
	return plan.Changed
}

// logs keeps the first lines of each app since the last reset, read from a gateway as they come.
type logs struct {
	mu    sync.Mutex
	lines map[place][]line
}

func (l *logs) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = map[place][]line{}
}

func (l *logs) add(entry *gateway.LogLine) {
	namespace, device, _ := strings.Cut(entry.Device, "/")
	p := place{namespace, device, entry.App}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines[p]) < keptLines {
		l.lines[p] = append(l.lines[p], line{entry.Time, plan.Text(entry.Level + ": " + entry.Text)})
	}
}

// first are the first lines that an app wrote after a time; one that is repeated is told once, with how often.
func (l *logs) first(p place, since time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	times := 1
	for _, entry := range l.lines[p] {
		last := len(out) - 1
		switch {
		case entry.at.Before(since):
		case last >= 0 && (out[last] == entry.text || times > 1 && out[last] == repeated(entry.text, times)):
			times++
			out[last] = repeated(entry.text, times)
		case len(out) == shownLines:
			return out
		default:
			out, times = append(out, entry.text), 1
		}
	}
	return out
}

func repeated(text string, times int) string { return fmt.Sprintf("%s (%d times)", text, times) }

// follow reads lines until the stream ends.
func (l *logs) follow(body io.ReadCloser) {
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		entry := &gateway.LogLine{}
		if json.Unmarshal(lines.Bytes(), entry) == nil {
			l.add(entry)
		}
	}
}
