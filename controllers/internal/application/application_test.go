// SPDX-License-Identifier: Apache-2.0

package application

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/loop/looptest"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testcluster.Main(m, &cluster)
}

// world is a namespace with devices, which the test plays the gateway for.
type world struct {
	client.Client
	t         *testing.T
	namespace string
	process   *looptest.Process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: kube, t: t, namespace: cluster.Namespace(t)}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.process = looptest.Start(w.t, asControllers(w.t), testcluster.Scheme(), func(mgr ctrl.Manager) error { return Setup(mgr, Options{}) })
}

func (w *world) device(name string, labels map[string]string) *v1alpha1.Device {
	w.t.Helper()
	device := &v1alpha1.Device{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: labels},
		Spec:       v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated},
	}
	w.must(w.Create(w.t.Context(), device))
	w.must(w.Status().Patch(w.t.Context(), device, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"gateway":"x.gw"}}`))))
	w.must(looptest.Connect(w.t.Context(), w, device, "x.gw", true))
	return device
}

// devices makes many devices, several at once.
func (w *world) devices(count int) {
	w.t.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := range count {
		group.Go(func() error { w.device(fmt.Sprintf("d%04d", i), nil); return nil })
	}
	w.must(group.Wait())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func (w *world) application(name string, edit func(*v1alpha1.ApplicationSpec)) *v1alpha1.Application {
	w.t.Helper()
	unavailable := intstr.FromInt32(2)
	app := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Annotations: map[string]string{v1alpha1.AnnotationRevision: "r1"}},
		Spec: v1alpha1.ApplicationSpec{
			Module:  v1alpha1.Module{Path: "a.wasm", Digest: digest("a"), Size: 100},
			Rollout: v1alpha1.Rollout{MaxUnavailable: &unavailable},
		},
	}
	if edit != nil {
		edit(&app.Spec)
	}
	w.must(w.Create(w.t.Context(), app))
	return app
}

func (w *world) change(app *v1alpha1.Application, edit func(*v1alpha1.Application)) {
	w.t.Helper()
	before := w.get(app)
	after := before.DeepCopy()
	edit(after)
	w.must(w.Patch(w.t.Context(), after, client.MergeFrom(before)))
}

func (w *world) get(app *v1alpha1.Application) *v1alpha1.Application {
	w.t.Helper()
	out := &v1alpha1.Application{}
	w.must(w.Get(w.t.Context(), client.ObjectKeyFromObject(app), out))
	return out
}

func (w *world) instances(app *v1alpha1.Application) []v1alpha1.Instance {
	w.t.Helper()
	var list v1alpha1.InstanceList
	w.must(w.List(w.t.Context(), &list, client.InNamespace(w.namespace), client.MatchingLabels{v1alpha1.LabelApplication: app.Name}))
	return list.Items
}

// gateway answers for all devices as the function says, until the test ends. It outlives the API server.
func (w *world) gateway(answer func(*v1alpha1.Instance) v1alpha1.InstancePhase) {
	w.t.Helper()
	kube, err := client.NewWithWatch(cluster.Admin(), client.Options{Scheme: testcluster.Scheme()})
	w.must(err)
	ctx, cancel := context.WithCancel(w.t.Context())
	var group errgroup.Group
	group.SetLimit(9)
	group.Go(func() error {
		for ctx.Err() == nil {
			watch, err := kube.Watch(ctx, &v1alpha1.InstanceList{}, client.InNamespace(w.namespace))
			if err != nil {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			for event := range watch.ResultChan() { // begins with all that there are
				instance, ok := event.Object.(*v1alpha1.Instance)
				if !ok || event.Type == "DELETED" {
					continue
				}
				if phase := answer(instance); instance.Status.ObservedGeneration != instance.Generation || instance.Status.Phase != phase {
					group.Go(func() error {
						// What fails is answered again by the next watch, or the test waits in vain and says so.
						_ = looptest.Report(ctx, w, instance, phase, "Trapped", "unreachable at function 12")
						return nil
					})
				}
			}
		}
		return nil
	})
	w.t.Cleanup(func() { cancel(); _ = group.Wait() })
}

func run(*v1alpha1.Instance) v1alpha1.InstancePhase { return v1alpha1.InstanceRunning }

// ready waits for Ready with a reason, for the present generation, and counts "target updated running failed offline".
func (w *world) ready(app *v1alpha1.Application, reason, counts string) {
	w.t.Helper()
	looptest.Eventually(w.t, func() error {
		got := w.get(app)
		s := got.Status
		condition := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
		have := fmt.Sprint(s.Target, s.Updated, s.Running, s.Failed, s.Offline)
		if condition == nil || condition.Reason != reason || condition.ObservedGeneration != got.Generation || s.ObservedGeneration != got.Generation || have != counts {
			return fmt.Errorf("generation %d: counts %s (want %s), condition %+v (want %s)", got.Generation, have, counts, condition, reason)
		}
		return nil
	})
}

func TestAnApplicationRunsChangesAndGoes(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.device(name, map[string]string{"site": "one"})
	}
	w.device("other", nil)
	w.gateway(run)
	app := w.application("blink", func(spec *v1alpha1.ApplicationSpec) { spec.Selector.MatchLabels = map[string]string{"site": "one"} })
	w.ready(app, v1alpha1.ReasonRolledOut, "5 5 5 0 0")
	for _, instance := range w.instances(app) {
		if instance.Labels[v1alpha1.LabelDevice] != instance.Spec.Device ||
			instance.Annotations[v1alpha1.AnnotationRevision] != "r1" || instance.Annotations[v1alpha1.AnnotationIssuedAt] == "" ||
			len(instance.OwnerReferences) > 0 || instance.Generation != 1 {
			t.Errorf("metadata of %s: %+v", instance.Name, instance.ObjectMeta)
		}
	}

	// A change reaches every device once.
	w.change(app, func(a *v1alpha1.Application) {
		a.Spec.Config = v1alpha1.ConfigValues{"k": "v"}
		a.Annotations[v1alpha1.AnnotationRevision] = "r2"
	})
	w.ready(app, v1alpha1.ReasonRolledOut, "5 5 5 0 0")
	for _, instance := range w.instances(app) {
		if instance.Generation != 2 || instance.Spec.Config["k"] != "v" || instance.Annotations[v1alpha1.AnnotationRevision] != "r2" {
			t.Errorf("%s is at generation %d, %+v", instance.Name, instance.Generation, instance.Annotations)
		}
	}

	// Another gateway changes no Instance; a new label takes the app away, a removed device too.
	was := w.instances(app)
	move := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}}
	w.must(w.Status().Patch(t.Context(), move, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"gateway":"x.two"}}`))))
	leave := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "b"}}
	w.must(w.Patch(t.Context(), leave, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"site":"two"}}}`))))
	w.must(w.Delete(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "c"}}))
	w.ready(app, v1alpha1.ReasonRolledOut, "3 3 3 0 0")
	looptest.Eventually(t, func() error {
		instances := w.instances(app)
		if len(instances) != 3 {
			return fmt.Errorf("%d instances", len(instances))
		}
		for _, instance := range instances {
			if !slices.ContainsFunc(was, func(w v1alpha1.Instance) bool {
				return w.Name == instance.Name && w.ResourceVersion == instance.ResourceVersion
			}) {
				return fmt.Errorf("%s was written", instance.Name)
			}
		}
		return nil
	})

	// Nothing is written when nothing changes, nor by a process that starts.
	w.process.Writes.Quiet(t, 2*time.Second)
	w.process.Stop()
	w.start()
	w.process.Writes.Quiet(t, 2*time.Second)
	if count := w.process.Writes.Count(w.namespace, ""); count != 0 {
		t.Errorf("a restart wrote: %s", w.process.Writes)
	}

	w.must(w.Delete(t.Context(), app))
	looptest.Eventually(t, func() error {
		if left := len(w.instances(app)); left > 0 {
			return fmt.Errorf("%d instances are left", left)
		}
		return nil
	})
}

// TestInstancesGoInTheOrderOfDevices, as far as several are removed at a time.
func TestInstancesGoInTheOrderOfDevices(t *testing.T) {
	w := newWorld(t)
	const count = 80
	w.devices(count)
	w.gateway(run)
	app := w.application("blink", func(spec *v1alpha1.ApplicationSpec) {
		all := intstr.FromString("100%")
		spec.Rollout.MaxUnavailable = &all
	})
	w.ready(app, v1alpha1.ReasonRolledOut, fmt.Sprintf("%[1]d %[1]d %[1]d 0 0", count))
	watcher, err := client.NewWithWatch(cluster.Admin(), client.Options{Scheme: testcluster.Scheme()})
	w.must(err)
	events, err := watcher.Watch(t.Context(), &v1alpha1.InstanceList{}, client.InNamespace(w.namespace))
	w.must(err)
	defer events.Stop()
	w.must(w.Delete(t.Context(), app))
	var left []string
	for event := range events.ResultChan() {
		if event.Type == watch.Deleted {
			left = append(left, event.Object.(*v1alpha1.Instance).Spec.Device)
		}
		if len(left) == count {
			break
		}
	}
	for place, device := range slices.Sorted(slices.Values(left)) {
		if at := slices.Index(left, device); at < place-20 || at > place+20 {
			t.Errorf("%s left as number %d, and is number %d by name", device, at, place)
		}
	}
}

func TestARolloutStopsAtAFailingWaveAndGoesOnAfterAFix(t *testing.T) {
	w := newWorld(t)
	w.devices(7)
	w.gateway(func(instance *v1alpha1.Instance) v1alpha1.InstancePhase {
		if instance.Spec.Digest == digest("b") {
			return v1alpha1.InstanceFailed
		}
		return v1alpha1.InstanceRunning
	})
	app := w.application("blink", nil)
	w.ready(app, v1alpha1.ReasonRolledOut, "7 7 7 0 0")

	w.change(app, func(a *v1alpha1.Application) { a.Spec.Module.Digest = digest("b") })
	w.ready(app, v1alpha1.ReasonWaveFailed, "7 2 0 2 0")
	w.process.Writes.Quiet(t, time.Second)
	bad := 0
	for _, instance := range w.instances(app) {
		if instance.Spec.Digest == digest("b") {
			bad++
		}
	}
	if bad != 2 {
		t.Errorf("the bad module reached %d devices", bad)
	}
	condition := meta.FindStatusCondition(w.get(app).Status.Conditions, v1alpha1.ConditionReady)
	if want := "0/7 devices run sha256:bbbbbbbbbbbb…; wave 1 failed and the rollout has stopped; d0000 failed: Trapped: unreachable at function 12 (and 1 more)"; condition.Message != want {
		t.Errorf("message %q", condition.Message)
	}
	if !meta.IsStatusConditionTrue(w.get(app).Status.Conditions, v1alpha1.ConditionStalled) {
		t.Error("not stalled")
	}

	w.change(app, func(a *v1alpha1.Application) { a.Spec.Module.Digest = digest("c") })
	w.ready(app, v1alpha1.ReasonRolledOut, "7 7 7 0 0")
	w.process.Writes.Quiet(t, time.Second)
	for _, instance := range w.instances(app) {
		if want := map[bool]int64{true: 3, false: 2}[instance.Spec.Device <= "d0001"]; instance.Generation != want {
			t.Errorf("%s is at generation %d, want %d", instance.Name, instance.Generation, want)
		}
	}
}

func TestOfflineDevicesCatchUp(t *testing.T) {
	w := newWorld(t)
	w.devices(4)
	away := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "d0002"}}
	w.must(looptest.Connect(t.Context(), w, away, "x.gw", false))
	w.gateway(run)
	app := w.application("blink", nil)
	w.ready(app, v1alpha1.ReasonRolledOut, "4 3 3 0 1")
	w.must(looptest.Connect(t.Context(), w, away, "x.gw", true))
	w.ready(app, v1alpha1.ReasonRolledOut, "4 4 4 0 0")
}

func TestADeadlineFailsTheWaveWithoutAnEvent(t *testing.T) {
	w := newWorld(t)
	w.devices(3)
	app := w.application("blink", func(spec *v1alpha1.ApplicationSpec) {
		spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: 2 * time.Second}
	})
	w.ready(app, v1alpha1.ReasonProgressDeadlineExceeded, "3 2 0 2 0")
}

// A process that is killed in the middle of a rollout, again and again, issues nothing twice and loses nothing.
func TestRestartsDuringARollout(t *testing.T) {
	w := newWorld(t)
	w.devices(30)
	w.gateway(run)
	app := w.application("blink", nil)
	for range 4 {
		w.process.Stop()
		w.start()
	}
	w.ready(app, v1alpha1.ReasonRolledOut, "30 30 30 0 0")
	w.change(app, func(a *v1alpha1.Application) { a.Spec.Module.Digest = digest("b") })
	for range 4 {
		w.process.Stop()
		w.start()
	}
	w.ready(app, v1alpha1.ReasonRolledOut, "30 30 30 0 0")
	for _, instance := range w.instances(app) {
		if instance.Generation != 2 {
			t.Errorf("%s was issued %d times", instance.Name, instance.Generation)
		}
	}
}

func TestTheAPIServerDiesDuringARollout(t *testing.T) {
	w := newWorld(t)
	w.devices(30)
	w.gateway(run)
	app := w.application("blink", nil)
	w.ready(app, v1alpha1.ReasonRolledOut, "30 30 30 0 0")
	w.change(app, func(a *v1alpha1.Application) { a.Spec.Module.Digest = digest("b") })
	looptest.Eventually(t, func() error {
		if wave := w.get(app).Status.Wave; wave < 3 {
			return fmt.Errorf("wave %d", wave)
		}
		return nil
	})
	cluster.Kill()
	w.must(cluster.Start())
	w.ready(app, v1alpha1.ReasonRolledOut, "30 30 30 0 0")
	for _, instance := range w.instances(app) {
		if instance.Generation != 2 {
			t.Errorf("%s was issued %d times", instance.Name, instance.Generation)
		}
	}
}

// 1,000 devices; WASMBED_SCALE=10000 for more.
func TestManyDevices(t *testing.T) {
	count := 1000
	if text := os.Getenv("WASMBED_SCALE"); text != "" {
		if _, err := fmt.Sscan(text, &count); err != nil {
			t.Fatal(err)
		}
	}
	patience := looptest.Patience + time.Duration(count)*20*time.Millisecond
	w := newWorld(t)
	w.devices(count)
	w.process.Writes.Quiet(t, time.Second) // what other tests left behind is cleaned up
	created := w.process.Writes.Count(w.namespace, "POST instances")
	started := time.Now()
	app := w.application("blink", func(spec *v1alpha1.ApplicationSpec) { spec.Rollout.MaxUnavailable = nil })
	// The first wave is a quarter; then nobody answers.
	looptest.EventuallyWithin(t, patience, func() error {
		if got := w.process.Writes.Count(w.namespace, "POST instances") - created; got != count/4 {
			return fmt.Errorf("%d instances", got)
		}
		return nil
	})
	t.Logf("first wave of %d placed in %s: %s", count/4, time.Since(started).Round(time.Millisecond), w.process.Writes)
	w.gateway(run)
	looptest.EventuallyWithin(t, 10*patience, func() error {
		if s := w.get(app).Status; int(s.Running) != count || s.Wave != 0 {
			return fmt.Errorf("running %d, wave %d", s.Running, s.Wave)
		}
		return nil
	})
	t.Logf("all %d run after %s: %s", count, time.Since(started).Round(time.Millisecond), w.process.Writes)
	if got := w.process.Writes.Count(w.namespace, "POST instances") - created; got != count {
		t.Errorf("%d creations of %d instances", got, count)
	}
	if got := w.process.Writes.Count(w.namespace, "PUT instances"); got != 0 {
		t.Errorf("%d instances were written again", got)
	}
	if got := w.process.Writes.Count(w.namespace, "PATCH applications/status"); got > count/2 {
		t.Errorf("%d status writes for %d devices: they are not coalesced", got, count)
	}
	w.process.Writes.Quiet(t, time.Second)
	removed := w.process.Writes.Count(w.namespace, "DELETE instances")
	w.must(w.Delete(t.Context(), app))
	started = time.Now()
	looptest.EventuallyWithin(t, patience, func() error {
		// One is enough to know, and lists of ten thousand would cost more than what is measured.
		var left v1alpha1.InstanceList
		w.must(w.List(t.Context(), &left, client.InNamespace(w.namespace), client.Limit(1)))
		if len(left.Items) > 0 {
			return fmt.Errorf("instances are left, among them %s", left.Items[0].Name)
		}
		return nil
	})
	t.Logf("removed in %s", time.Since(started).Round(time.Millisecond))
	if got := w.process.Writes.Count(w.namespace, "DELETE instances") - removed; got > count {
		t.Errorf("%d removals of %d instances", got, count)
	}
}

// asControllers is what the controllers' own role allows, no more.
func asControllers(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := cluster.ForUser(v1alpha1.UserControllers)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
