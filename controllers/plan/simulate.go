// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/placement"
)

// epoch is when the played fleet was there; the play takes a minute for each wave. Nothing of it is in a report.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// stepBudget is how many times a device is looked at while one Application is played. Waves beyond it are of the last
// one's size: a rollout one by one over thousands of devices would take minutes to play and tells nothing new.
const stepBudget = 1_000_000

// play is one Application and the fleet around it while placement steps through it.
type play struct {
	app       *v1alpha1.Application
	others    []*v1alpha1.Application
	devices   []*v1alpha1.Device
	instances map[string]*v1alpha1.Instance // by device
	list      []*v1alpha1.Instance
	stale     bool // list is not what instances holds
	now       time.Time
	budget    int
}

// order is what placement asked for a device.
type order struct {
	device string
	wave   int
	before *v1alpha1.InstanceSpec // nil: it had none
	after  v1alpha1.InstanceSpec
}

// course is what a play came to.
type course struct {
	orders  []order
	deleted []string // devices
	waves   []int    // how many devices each has
	status  v1alpha1.ApplicationStatus
}

// withStatus returns a device as a fleet that runs knows it: there, and connected when it should be.
func withStatus(d *v1alpha1.Device) *v1alpha1.Device {
	out := *d
	out.CreationTimestamp = metav1.NewTime(epoch)
	out.Status = v1alpha1.DeviceStatus{Phase: v1alpha1.DeviceOnline, Connection: connected}
	return &out
}

var connected = &v1alpha1.DeviceConnection{Connected: true, Epoch: 1}

// deployed plays an Application's first deployment, all at once, and returns the fleet as it is then.
func deployed(app *v1alpha1.Application, others []*v1alpha1.Application, devices []*v1alpha1.Device) (*play, course) {
	p := &play{others: others, devices: devices, instances: map[string]*v1alpha1.Instance{}, now: epoch, budget: stepBudget}
	p.app = shallow(app)
	p.app.Generation, p.app.Spec.Suspend, p.app.Status = 1, false, v1alpha1.ApplicationStatus{}
	all := intstr.FromString("100%")
	p.app.Spec.Rollout.MaxUnavailable = &all
	return p, p.run()
}

// shallow copies what a play changes of an Application.
func shallow(app *v1alpha1.Application) *v1alpha1.Application {
	out := *app
	if out.CreationTimestamp.IsZero() {
		out.CreationTimestamp = metav1.NewTime(epoch)
	}
	return &out
}

// follow plays on with what the head commit says of the Application and the devices.
func (p *play) follow(app *v1alpha1.Application, changed bool, others []*v1alpha1.Application, devices []*v1alpha1.Device) course {
	generation, status := p.app.Generation, p.app.Status
	p.app = shallow(app)
	p.app.Generation, p.app.Status = generation, status
	if changed {
		p.app.Generation++
	}
	p.others, p.devices = others, devices
	p.now = p.now.Add(time.Hour)
	return p.run()
}

// run steps until nothing is left to do.
func (p *play) run() course {
	var c course
	steps := max(p.budget/max(len(p.devices), 1), 2)
	for {
		result := placement.Plan(p.input(p.app))
		c.status = result.Status
		p.app.Status = result.Status
		for _, instance := range result.Delete {
			c.deleted = append(c.deleted, instance.Spec.Device)
			delete(p.instances, instance.Spec.Device)
			p.stale = true
		}
		if len(result.Issue) == 0 {
			return c
		}
		p.carryOut(&c, result.Issue)
		if steps--; steps == 0 {
			p.extrapolate(&c)
			return c
		}
	}
}

func (p *play) input(app *v1alpha1.Application) placement.Input {
	if p.stale || p.list == nil {
		p.list = make([]*v1alpha1.Instance, 0, len(p.instances))
		for _, d := range p.devices {
			if instance := p.instances[d.Name]; instance != nil {
				p.list = append(p.list, instance)
			}
		}
		p.list = append(p.list, p.orphans()...)
		p.stale = false
	}
	return placement.Input{Application: app, Others: p.others, Devices: p.devices, Instances: p.list, Now: p.now}
}

// orphans are instances whose device is not among the devices.
func (p *play) orphans() []*v1alpha1.Instance {
	if len(p.list) == len(p.instances) {
		return nil
	}
	there := make(map[string]bool, len(p.devices))
	for _, d := range p.devices {
		there[d.Name] = true
	}
	var out []*v1alpha1.Instance
	for name, instance := range p.instances {
		if !there[name] {
			out = append(out, instance)
		}
	}
	return out
}

// carryOut does what one wave asks for, and every device answers that it runs.
func (p *play) carryOut(c *course, issue []placement.Order) {
	c.waves = append(c.waves, len(issue))
	p.write(c, issue, len(c.waves))
	p.now = p.now.Add(time.Minute)
}

func (p *play) write(c *course, issue []placement.Order, wave int) {
	annotations := map[string]string{v1alpha1.AnnotationIssuedAt: p.now.Format(time.RFC3339Nano)}
	runs := metav1.NewMicroTime(p.now)
	for _, o := range issue {
		step := order{device: o.Device.Name, wave: wave, after: o.Spec}
		instance := o.Instance
		if instance == nil {
			instance = &v1alpha1.Instance{}
			instance.Name, instance.Namespace = v1alpha1.InstanceName(p.app.Name, o.Device.Name), p.app.Namespace
			p.instances[o.Device.Name] = instance
			p.stale = true
		} else {
			before := instance.Spec
			step.before = &before
		}
		instance.Spec, instance.Annotations = o.Spec, annotations
		instance.Generation++
		instance.Status = v1alpha1.InstanceStatus{
			ObservedGeneration: instance.Generation, Phase: v1alpha1.InstanceRunning, Digest: o.Spec.Digest,
			DeliveredAt: &runs, RunningAt: &runs,
		}
		c.orders = append(c.orders, step)
	}
}

// extrapolate has placement name everybody who still waits, in its order, and divides them into waves of the size of
// the last one.
func (p *play) extrapolate(c *course) {
	everybody := *p.app
	all := intstr.FromString("100%")
	everybody.Spec.Rollout.MaxUnavailable = &all
	rest := placement.Plan(p.input(&everybody)).Issue
	size := c.waves[len(c.waves)-1]
	for wave := range slices.Chunk(rest, size) {
		c.waves = append(c.waves, len(wave))
		p.write(c, wave, len(c.waves))
	}
	settled := placement.Plan(p.input(p.app))
	c.status = settled.Status
}
