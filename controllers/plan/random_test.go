// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/placement"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
)

// randomDevice and randomApp are what a random fleet is made of.
type randomDevice struct {
	site, tier, board, gateway, override string
	off, quarantine                      bool
}

type randomApp struct {
	site, module, config, unavailable, permissions string
	memory                                         int
	suspend                                        bool
}

type randomFleet struct {
	devices map[string]randomDevice
	apps    map[string]randomApp
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func newDevice(r *rand.Rand) randomDevice {
	return randomDevice{
		site: pick(r, "hall", "yard", "roof"), tier: pick(r, "a", "b"), board: pick(r, "sim-m4", "mps2-an385"),
		gateway: pick(r, "", "", "main"), override: pick(r, "", "", "x"), off: r.IntN(5) == 0, quarantine: r.IntN(6) == 0,
	}
}

func newApp(r *rand.Rand) randomApp {
	return randomApp{
		site: pick(r, "", "hall", "yard", "roof"), module: pick(r, "blink", "report"), config: pick(r, "", "1", "2"),
		unavailable: pick(r, "25%", "10%", "100%", "1", "3"), permissions: pick(r, "[gpio, timer, log]", "[log, gpio, timer]", "[gpio, timer, log, sensor]"),
		memory: pick(r, 1024, 2048), suspend: r.IntN(4) == 0,
	}
}

func newRandomFleet(r *rand.Rand) randomFleet {
	f := randomFleet{map[string]randomDevice{}, map[string]randomApp{}}
	for i := range 4 + r.IntN(25) {
		f.devices[fmt.Sprintf("d%02d", i)] = newDevice(r)
	}
	for i := range 1 + r.IntN(3) {
		f.apps[fmt.Sprintf("app%d", i)] = newApp(r)
	}
	return f
}

// edit makes a few random changes.
func (f randomFleet) edit(r *rand.Rand) randomFleet {
	out := randomFleet{maps.Clone(f.devices), maps.Clone(f.apps)}
	for range 1 + r.IntN(14) {
		device, app := fmt.Sprintf("d%02d", r.IntN(30)), fmt.Sprintf("app%d", r.IntN(4))
		d, a := newDevice(r), newApp(r)
		if old, ok := out.devices[device]; ok {
			d.board = old.board
		}
		switch r.IntN(9) {
		case 0:
			out.devices[device] = d
		case 1:
			if len(out.devices) > 1 {
				delete(out.devices, device)
			}
		case 2:
			out.apps[app] = a
		case 3:
			delete(out.apps, app)
		default: // one thing of one that is there
			if old, ok := out.apps[app]; ok {
				switch r.IntN(7) {
				case 0:
					old.module = a.module
				case 1:
					old.site = a.site
				case 2:
					old.config = a.config
				case 3:
					old.unavailable = a.unavailable
				case 4:
					old.permissions = a.permissions
				case 5:
					old.suspend = !old.suspend
				case 6:
					old.memory = a.memory
				}
				out.apps[app] = old
			}
			if old, ok := out.devices[device]; ok {
				switch r.IntN(5) {
				case 0:
					old.site = d.site
				case 1:
					old.off = !old.off
				case 2:
					old.quarantine = !old.quarantine
				case 3:
					old.override = d.override
				case 4:
					old.gateway = d.gateway
				}
				out.devices[device] = old
			}
		}
	}
	return out
}

func (f randomFleet) tree() fleettest.Tree {
	t := fleettest.Base()
	t.Set("apps/report.wasm", fleettest.Module{Imports: []string{"wasmbed_log", "ocre_sleep"}}.Bytes())
	files := []string{"gateway.yaml"}
	for name, d := range f.devices {
		spec := []string{"board: " + d.board, "backend: Simulated"}
		if d.gateway != "" {
			spec = append(spec, "gateway: "+d.gateway)
		}
		if d.off {
			spec = append(spec, `power: "Off"`)
		}
		if d.quarantine {
			spec = append(spec, "quarantine: true")
		}
		if d.override != "" {
			spec = append(spec, "config: {app0: {k: "+d.override+"}}")
		}
		manifest := strings.Replace(fleettest.Device(name, spec...), "{site: hall}", "{site: "+d.site+", tier: "+d.tier+"}", 1)
		t.Set("devices/"+name+".yaml", manifest)
		files = append(files, name+".yaml")
	}
	slices.Sort(files)
	t.List("devices", files...)
	files = nil
	for name, a := range f.apps {
		spec := []string{"permissions: " + a.permissions, fmt.Sprintf("limits: {memory: %d, stack: 1024}", a.memory), fmt.Sprintf("suspend: %v", a.suspend),
			"rollout: {maxUnavailable: " + a.unavailable + "}"}
		if a.config != "" {
			spec = append(spec, `config: {c: "`+a.config+`"}`)
		}
		manifest := fleettest.App(name, "apps/"+a.module+".wasm", spec...)
		selector := "selector: {}"
		if a.site != "" {
			selector = "selector: {matchLabels: {site: " + a.site + "}}"
		}
		t.Set("apps/"+name+".yaml", strings.Replace(manifest, "selector: {matchLabels: {site: hall}}", selector, 1))
		files = append(files, name+".yaml")
	}
	slices.Sort(files)
	t.List("apps", files...)
	return t
}

// cluster steps placement over a whole fleet, as the controllers do: every Application at each step, with every
// Device, and every Instance that was there before.
type cluster struct {
	t         *testing.T
	now       time.Time
	apps      map[string]*v1alpha1.Application
	devices   []*v1alpha1.Device
	instances map[string]map[string]*v1alpha1.Instance // app → device
	waves     map[string]map[string]int                // app → device → wave of its last order
	updated   map[string]map[string]bool               // those that had an Instance at the time
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), apps: map[string]*v1alpha1.Application{},
		instances: map[string]map[string]*v1alpha1.Instance{}}
}

// apply is what the sync controller, the API server and the garbage collector do with a commit.
func (c *cluster) apply(f *fleet.Fleet) {
	c.waves, c.updated = map[string]map[string]int{}, map[string]map[string]bool{}
	apps := map[string]*v1alpha1.Application{}
	for _, a := range f.Applications {
		a = a.DeepCopy()
		a.Generation, a.CreationTimestamp = 1, metav1.NewTime(c.now)
		if old := c.apps[a.Name]; old != nil {
			a.Generation, a.CreationTimestamp, a.Status = old.Generation, old.CreationTimestamp, old.Status
			if !equality.Semantic.DeepEqual(old.Spec, a.Spec) {
				a.Generation++
			}
		}
		apps[a.Name] = a
	}
	for name := range c.instances {
		if apps[name] == nil {
			delete(c.instances, name)
		}
	}
	c.apps, c.devices = apps, nil
	for _, d := range f.Devices {
		d = d.DeepCopy()
		d.Status.Connection = &v1alpha1.DeviceConnection{Connected: d.Spec.Power != v1alpha1.PowerOff && !d.Spec.Quarantine}
		c.devices = append(c.devices, d)
	}
}

func (c *cluster) settle() {
	for step := 1; c.step(step); step++ {
		if step > 1000 {
			c.t.Fatal("placement does not settle")
		}
	}
}

func (c *cluster) step(wave int) bool {
	busy := false
	c.now = c.now.Add(10 * time.Second)
	for name, app := range c.apps {
		in := placement.Input{Application: app, Devices: c.devices, Now: c.now}
		for other, a := range c.apps {
			if other != name {
				in.Others = append(in.Others, a)
			}
		}
		for _, instance := range c.instances[name] {
			in.Instances = append(in.Instances, instance)
		}
		result := placement.Plan(in)
		app.Status = result.Status
		for _, instance := range result.Delete {
			delete(c.instances[name], instance.Spec.Device)
		}
		if len(result.Issue) > 0 && c.instances[name] == nil {
			c.instances[name] = map[string]*v1alpha1.Instance{}
		}
		for _, o := range result.Issue {
			busy = true
			c.write(app, o, wave)
		}
	}
	return busy
}

func (c *cluster) write(app *v1alpha1.Application, o placement.Order, wave int) {
	device := o.Device.Name
	instance := o.Instance
	if c.waves[app.Name] == nil {
		c.waves[app.Name], c.updated[app.Name] = map[string]int{}, map[string]bool{}
	}
	if instance == nil {
		instance = &v1alpha1.Instance{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.InstanceName(app.Name, device)}}
		c.instances[app.Name][device] = instance
	} else {
		c.updated[app.Name][device] = true
	}
	if _, twice := c.waves[app.Name][device]; twice {
		c.t.Errorf("%s is served twice on %s", app.Name, device)
	}
	c.waves[app.Name][device] = wave
	instance.Spec = o.Spec
	instance.Generation++
	instance.Annotations = map[string]string{v1alpha1.AnnotationIssuedAt: c.now.Format(time.RFC3339Nano)}
	ran := metav1.NewMicroTime(c.now.Add(time.Second))
	instance.Status = v1alpha1.InstanceStatus{ObservedGeneration: instance.Generation, Phase: v1alpha1.InstanceRunning, RunningAt: &ran, DeliveredAt: &ran}
}

func (c *cluster) runs() map[string][]string {
	out := map[string][]string{}
	for app, instances := range c.instances {
		out[app] = slices.Sorted(maps.Keys(instances))
	}
	return out
}

// TestWhatIsSaidIsWhatHappens holds reports of random changes against placement stepped over the whole fleet.
func TestWhatIsSaidIsWhatHappens(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 11))
	compared := 0
	seen := map[string]int{} // what the changes were about
	for round := range 150 {
		before := newRandomFleet(r)
		after := before.edit(r)
		base, head := plantest.Change{Base: before.tree(), Head: after.tree()}.Judge(t)
		if base.Refused() || head.Refused() {
			continue
		}
		compared++
		report, err := plan.Compute(t.Context(), plan.Input{Base: base, Head: head})
		if err != nil {
			t.Fatal(err)
		}
		happened := happen(t, base, head)
		said := map[string]outcome{}
		for _, a := range report.Applications {
			seen["gets"] += len(a.Gets)
			seen["restarts"] += len(a.Restarts)
			seen["loses"] += len(a.Loses)
			seen["leaves"] += len(a.Leaves)
			seen["may get"] += len(a.MayGet)
			seen["held"] += a.Held
			seen["further waves"] += max(a.Rollout.Waves-1, 0)
			if o := saidOf(a); !o.empty() {
				said[a.Name] = o
			}
		}
		if !reflect.DeepEqual(said, happened) {
			t.Fatalf("round %d\nbefore %+v\nafter %+v\nsaid     %+v\nhappened %+v", round, before, after, said, happened)
		}
	}
	if compared < 130 {
		t.Errorf("only %d changes could be compared", compared)
	}
	for _, what := range []string{"gets", "restarts", "loses", "leaves", "may get", "held", "further waves"} {
		if seen[what] < 20 {
			t.Errorf("the changes were too tame: %s %d times", what, seen[what])
		}
	}
}

// outcome is what happens to an Application's devices.
type outcome struct {
	serves, restarts map[string]int // device → wave; serves are those that had none
	gone             []string
}

func (o outcome) empty() bool { return len(o.serves)+len(o.restarts)+len(o.gone) == 0 }

func saidOf(a plan.Application) outcome {
	o := outcome{serves: map[string]int{}, restarts: map[string]int{}}
	for _, s := range slices.Concat(a.Gets, a.MayGet) {
		o.serves[s.Device] = s.Wave
	}
	for _, s := range a.Restarts {
		o.restarts[s.Device] = s.Wave
	}
	o.gone = slices.Concat(a.Loses, a.Leaves)
	slices.Sort(o.gone)
	return o
}

// happen settles the base commit, applies the head commit and settles again. What was suspended in the base commit ran
// before, unless the head commit resumes it: then it never ran, which is the most that the report may speak of.
func happen(t *testing.T, base, head *fleet.Fleet) map[string]outcome {
	resumes := func(a *v1alpha1.Application) bool {
		o := head.Get(fleet.ID{Kind: "Application", Namespace: a.Namespace, Name: a.Name})
		return o != nil && !o.Application.Spec.Suspend
	}
	c := newCluster(t)
	first := *base
	first.Applications = nil
	for _, a := range base.Applications {
		a = a.DeepCopy()
		a.Spec.Suspend = a.Spec.Suspend && resumes(a)
		first.Applications = append(first.Applications, a)
	}
	c.apply(&first)
	c.settle()
	c.apply(base)
	c.settle()
	ran := c.runs()
	c.apply(head)
	c.settle()
	runs := c.runs()
	out := map[string]outcome{}
	for _, a := range slices.Concat(base.Applications, head.Applications) {
		o := outcome{serves: map[string]int{}, restarts: map[string]int{}}
		for device, wave := range c.waves[a.Name] {
			if c.updated[a.Name][device] {
				o.restarts[device] = wave
			} else {
				o.serves[device] = wave
			}
		}
		for _, device := range ran[a.Name] {
			if !slices.Contains(runs[a.Name], device) {
				o.gone = append(o.gone, device)
			}
		}
		if was := base.Get(fleet.ID{Kind: "Application", Namespace: a.Namespace, Name: a.Name}); was != nil && was.Application.Spec.Suspend && resumes(a) {
			o.gone = wouldLose(was.Application, base, head)
		}
		if !o.empty() {
			out[a.Name] = o
		}
	}
	return out
}

// wouldLose are the devices that a suspended Application ran on, had it been rolled out, and that it leaves.
func wouldLose(was *v1alpha1.Application, base, head *fleet.Fleet) []string {
	now := head.Get(fleet.ID{Kind: "Application", Namespace: was.Namespace, Name: was.Name}).Application
	matches := func(a *v1alpha1.Application, d *v1alpha1.Device) bool {
		selector, err := metav1.LabelSelectorAsSelector(&a.Spec.Selector)
		return err == nil && selector.Matches(labelsOf(d))
	}
	var out []string
	for _, d := range base.Devices {
		if d.Spec.Power == v1alpha1.PowerOff || d.Spec.Quarantine || !matches(was, d) {
			continue
		}
		after := head.Get(fleet.ID{Kind: "Device", Namespace: d.Namespace, Name: d.Name})
		if after == nil || !matches(now, after.Device) {
			out = append(out, d.Name)
		}
	}
	return out
}

type labelSet map[string]string

func (l labelSet) Has(key string) bool              { _, ok := l[key]; return ok }
func (l labelSet) Get(key string) string            { return l[key] }
func (l labelSet) Lookup(key string) (string, bool) { v, ok := l[key]; return v, ok }
func labelsOf(d *v1alpha1.Device) labelSet          { return labelSet(d.Labels) }
