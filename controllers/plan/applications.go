// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/placement"
)

// riskyApp keeps what the rules look at beside the report.
type riskyApp struct {
	report      *Application
	base, head  *v1alpha1.Application // either may be nil
	specChanged bool
}

// applications plays each Application of a namespace.
func (c *computation) applications(s *space) error {
	base := map[string]*v1alpha1.Application{}
	for _, a := range s.baseApps {
		base[a.Name] = a
	}
	head := map[string]*v1alpha1.Application{}
	for _, a := range s.headApps {
		head[a.Name] = a
	}
	names := slices.Collect(maps.Keys(base))
	for name := range head {
		if base[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.application(s, base[name], head[name])
	}
	return nil
}

func (c *computation) application(s *space, base, head *v1alpha1.Application) {
	changed := base == nil || head == nil || !equality.Semantic.DeepEqual(base.Spec, head.Spec)
	if !changed && !c.in.Base.Refused() && !s.reaches(c.in.Live, base, head) {
		return
	}
	out := newApplication(base, head, changed)
	switch {
	case head == nil:
		s.removed(c.in.Live, out, base)
	case base == nil:
		s.play(c, out, nil, head, true)
	default:
		s.play(c, out, base, head, changed)
	}
	if !changed && out.quiet() {
		return
	}
	c.report.Applications = append(c.report.Applications, *out)
	c.note(s, out)
	c.risky = append(c.risky, riskyApp{report: out, base: base, head: head, specChanged: changed})
}

func newApplication(base, head *v1alpha1.Application, changed bool) *Application {
	app := head
	out := &Application{
		Change: Unchanged, Gets: []Step{}, Restarts: []Step{}, MayGet: []Step{}, Loses: []string{}, Leaves: []string{},
		Why: []string{}, Rollout: Rollout{Sizes: []WaveSize{}}, PermissionsGained: []string{}, PermissionsLost: []string{},
	}
	var had, has []v1alpha1.Permission
	switch {
	case head == nil:
		app, out.Change, had = base, Removed, base.Spec.Permissions
	case base == nil:
		out.Change, has = Added, head.Spec.Permissions
	default:
		had, has = base.Spec.Permissions, head.Spec.Permissions
		if changed {
			out.Change = Changed
		}
	}
	out.Namespace, out.Name = Text(app.Namespace), Text(app.Name)
	for _, p := range lacking(has, had) {
		out.PermissionsGained = append(out.PermissionsGained, Text(string(p)))
	}
	for _, p := range lacking(had, has) {
		out.PermissionsLost = append(out.PermissionsLost, Text(string(p)))
	}
	slices.Sort(out.PermissionsGained)
	slices.Sort(out.PermissionsLost)
	return out
}

func (a *Application) quiet() bool {
	return len(a.Gets)+len(a.Restarts)+len(a.Loses)+len(a.Leaves)+len(a.MayGet)+a.Held == 0 && a.Devices == a.Before
}

// reaches tells whether anything happens to an Application that did not change itself, by playing it with only those
// devices that did.
func (s *space) reaches(live *Live, base, head *v1alpha1.Application) bool {
	if len(s.changed) == 0 {
		return false
	}
	var before, after []*v1alpha1.Device
	for _, name := range s.changed {
		if d := s.baseByName[name]; d != nil {
			before = append(before, d)
		}
		if d := s.headByName[name]; d != nil {
			after = append(after, d)
		}
	}
	p, first := live.deployed(base, others(s.baseApps, base), selected(base, before))
	c := p.follow(head, false, others(s.headApps, head), selected(head, after))
	return len(c.orders)+len(c.deleted) > 0 || c.status.Target != first.status.Target
}

// selected are the devices that an Application's selector matches; the others are nothing to it.
func selected(app *v1alpha1.Application, devices []*v1alpha1.Device) []*v1alpha1.Device {
	selector, err := metav1.LabelSelectorAsSelector(&app.Spec.Selector)
	if err != nil {
		return nil // the schema admits none such
	}
	out := make([]*v1alpha1.Device, 0, len(devices))
	for _, d := range devices {
		if selector.Matches(labels.Set(d.Labels)) {
			out = append(out, d)
		}
	}
	return out
}

func others(apps []*v1alpha1.Application, app *v1alpha1.Application) []*v1alpha1.Application {
	out := make([]*v1alpha1.Application, 0, len(apps))
	for _, a := range apps {
		if a.Name != app.Name {
			out = append(out, a)
		}
	}
	return out
}

// removed: everything that runs it loses it, without waves.
func (s *space) removed(live *Live, out *Application, base *v1alpha1.Application) {
	p, first := live.deployed(base, others(s.baseApps, base), selected(base, s.baseDevices))
	out.Before = int(first.status.Target)
	s.gone(out, slices.Collect(maps.Keys(p.instances)))
}

// gone sorts devices that lose an application by whether they stay in the fleet.
func (s *space) gone(out *Application, devices []string) {
	slices.Sort(devices)
	for _, name := range devices {
		if s.headByName[name] == nil {
			out.Leaves = append(out.Leaves, name)
		} else {
			out.Loses = append(out.Loses, name)
		}
	}
}

// play has placement say what happens, and sorts it.
func (s *space) play(c *computation, out *Application, base, head *v1alpha1.Application, changed bool) {
	var p *play
	if base != nil {
		var first course
		p, first = c.in.Live.deployed(base, others(s.baseApps, base), selected(base, s.baseDevices))
		out.Before = int(first.status.Target)
	} else {
		p = &play{instances: map[string]*v1alpha1.Instance{}, now: epoch, budget: stepBudget, app: &v1alpha1.Application{}}
	}
	otherApps, devices := others(s.headApps, head), selected(head, s.headDevices)
	resumed := c.in.Live == nil && base != nil && base.Spec.Suspend && !head.Spec.Suspend
	result := p.follow(s.aged(head, base), changed, otherApps, devices)
	s.gone(out, result.deleted)
	if resumed {
		p = &play{instances: map[string]*v1alpha1.Instance{}, now: epoch, budget: stepBudget, app: &v1alpha1.Application{}}
		result = p.follow(s.aged(head, base), true, otherApps, devices)
	}
	out.Devices, out.Waiting, out.Excluded = int(result.status.Target), int(result.status.Offline), int(result.status.Excluded)
	out.Suspended = head.Spec.Suspend
	if out.Suspended {
		out.Held = int(result.status.Target - result.status.Offline - result.status.Updated)
	}
	why := map[string]bool{}
	for i := range result.orders {
		o := &result.orders[i]
		step := Step{Device: o.device, Wave: o.wave}
		switch {
		case resumed || c.in.Live == nil && o.before == nil && s.wasAway(o.device):
			out.MayGet = append(out.MayGet, step)
		case o.before == nil:
			out.Gets = append(out.Gets, step)
		default:
			out.Restarts = append(out.Restarts, step)
			reasons(why, o.before, &o.after)
		}
		out.Bytes += c.delivered(s, o, resumed)
	}
	for _, list := range [][]Step{out.Gets, out.Restarts, out.MayGet} {
		slices.SortFunc(list, func(a, b Step) int { return compareText(a.Device, b.Device) })
	}
	out.Why = append(out.Why, slices.Sorted(maps.Keys(why))...)
	out.Rollout = rollout(head, result.waves)
}

// aged makes a new Application younger than those that are there already, which then have the right of way.
func (s *space) aged(head, base *v1alpha1.Application) *v1alpha1.Application {
	if base != nil {
		return head
	}
	out := *head
	out.CreationTimestamp = metav1.NewTime(epoch.Add(time.Second))
	return &out
}

// wasAway tells whether a device was off or quarantined in the base commit.
func (s *space) wasAway(name string) bool {
	d := s.baseByName[name]
	return d != nil && !placement.Online(d)
}

// reasons says in what two specs of an Instance differ.
func reasons(why map[string]bool, a, b *v1alpha1.InstanceSpec) {
	note := func(differs bool, what string) {
		if differs {
			why[what] = true
		}
	}
	note(a.Digest != b.Digest, "module")
	note(!maps.Equal(a.Config, b.Config), "config")
	note(!equality.Semantic.DeepEqual(a.Limits, b.Limits), "limits")
	note(!slices.Equal(a.Permissions, b.Permissions), "permissions")
	note(a.RestartPolicy != b.RestartPolicy, "restartPolicy")
}

func rollout(app *v1alpha1.Application, waves []int) Rollout {
	out := Rollout{Waves: len(waves), Sizes: []WaveSize{}, MaxUnavailable: "25%", DeadlineSeconds: 120}
	if m := app.Spec.Rollout.MaxUnavailable; m != nil {
		out.MaxUnavailable = Text(m.String())
	}
	if d := app.Spec.Rollout.ProgressDeadline; d != nil {
		out.DeadlineSeconds = int64(d.Seconds())
	}
	out.LongestSeconds = int64(out.Waves) * out.DeadlineSeconds
	for _, n := range waves {
		if last := len(out.Sizes) - 1; last >= 0 && out.Sizes[last].Devices == n {
			out.Sizes[last].Times++
			continue
		}
		out.Sizes = append(out.Sizes, WaveSize{Devices: n, Times: 1})
	}
	return out
}

// delivery is a module on a device.
type delivery struct{ device, digest string }

// delivered is how many bytes an order sends: a device fetches a module that it does not hold, once.
func (c *computation) delivered(s *space, o *order, resumed bool) int64 {
	if o.before != nil && o.before.Digest == o.after.Digest && !resumed {
		return 0
	}
	key := delivery{deviceName(s.name, o.device), o.after.Digest}
	if c.gave[key] || s.holds(o.device, o.after.Digest, o.after.Application) {
		return 0
	}
	c.gave[key] = true
	return o.after.Size
}

// holds tells whether another application brought a module to a device in the base commit.
func (s *space) holds(device, digest, except string) bool {
	d := s.baseByName[device]
	if d == nil || !placement.Online(d) {
		return false
	}
	return slices.ContainsFunc(s.baseApps, func(a *v1alpha1.Application) bool {
		return a.Name != except && a.Spec.Module.Digest == digest && !a.Spec.Suspend && len(selected(a, []*v1alpha1.Device{d})) == 1
	})
}

// note counts the devices that an application's change touches.
func (c *computation) note(s *space, a *Application) {
	steps := func(list []Step, in map[string]bool) {
		for _, step := range list {
			name := deviceName(s.name, step.Device)
			in[name], c.touched.any[name] = true, true
		}
	}
	for _, step := range a.MayGet {
		c.touched.mayGet[deviceName(s.name, step.Device)] = true
	}
	steps(a.Gets, c.touched.gets)
	steps(a.Restarts, c.touched.restarts)
	for _, device := range a.Loses {
		name := deviceName(s.name, device)
		c.touched.loses[name], c.touched.any[name] = true, true
	}
}
