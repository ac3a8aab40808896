// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/placement"
)

// Live is what runs now, as the API server tells it: the play begins with it instead of with what the base commit would
// come to. Maps are by "namespace/name".
type Live struct {
	// Repository that the fleet follows, and Commit that is applied.
	Repository, Commit string
	Now                time.Time
	Devices            map[string]*v1alpha1.Device
	Applications       map[string]*v1alpha1.Application
	Gateways           map[string]*v1alpha1.Gateway
	// Instances of each Application.
	Instances map[string][]*v1alpha1.Instance
}

// withStatus returns a device with what is known of it: what the API server says, or that it is there.
func (l *Live) withStatus(d *v1alpha1.Device) *v1alpha1.Device {
	out := withStatus(d)
	if l == nil {
		return out
	}
	live := l.Devices[deviceName(d.Namespace, d.Name)]
	if live == nil {
		return out
	}
	out.CreationTimestamp = live.CreationTimestamp
	if live.Spec.Power != v1alpha1.PowerOff && !live.Spec.Quarantine { // else it comes when it may
		out.Status = live.Status
	}
	return out
}

// deployed is the fleet as a change finds it: as it runs, or as the base commit leaves it.
func (l *Live) deployed(app *v1alpha1.Application, others []*v1alpha1.Application, devices []*v1alpha1.Device) (*play, course) {
	key := deviceName(app.Namespace, app.Name)
	if l == nil || l.Applications[key] == nil {
		return deployed(app, others, devices)
	}
	live := l.Applications[key]
	p := &play{others: others, devices: devices, instances: map[string]*v1alpha1.Instance{}, now: l.Now, budget: stepBudget}
	p.app = shallow(app)
	p.app.Generation, p.app.CreationTimestamp, p.app.Status, p.app.UID = live.Generation, live.CreationTimestamp, live.Status, live.UID
	for _, instance := range l.Instances[key] {
		p.instances[instance.Spec.Device] = l.arrived(instance)
	}
	return p, course{status: placement.Plan(p.input(p.app)).Status}
}

// arrived is an Instance as it will be when what is on its way to a device that is there has got to it.
func (l *Live) arrived(instance *v1alpha1.Instance) *v1alpha1.Instance {
	out := instance.DeepCopy()
	device := l.Devices[deviceName(instance.Namespace, instance.Spec.Device)]
	s := &out.Status
	underWay := s.ObservedGeneration != out.Generation || s.Phase == v1alpha1.InstancePending || s.Phase == v1alpha1.InstanceDelivering || s.Phase == ""
	if device != nil && placement.Online(device) && underWay {
		now := metav1.NewMicroTime(l.Now)
		*s = v1alpha1.InstanceStatus{ObservedGeneration: out.Generation, Phase: v1alpha1.InstanceRunning, Digest: out.Spec.Digest, DeliveredAt: &now, RunningAt: &now}
	}
	return out
}

// live tells how what runs differs from the base commit, and who is away.
func (c *computation) live() error {
	l, out := c.in.Live, &c.report.Live
	out.Asked, out.Repository = true, Text(l.Repository)
	for _, d := range c.in.Base.Devices {
		live := l.Devices[deviceName(d.Namespace, d.Name)]
		if live != nil && d.Spec.Power != v1alpha1.PowerOff && !d.Spec.Quarantine && !placement.Online(live) {
			out.Offline = append(out.Offline, deviceName(d.Namespace, d.Name))
		}
	}
	known := map[fleet.ID]bool{}
	for _, o := range c.in.Base.Objects {
		var there client.Object
		key := deviceName(o.ID.Namespace, o.ID.Name)
		switch {
		case o.Device != nil:
			there = object0(l.Devices[key])
		case o.Application != nil:
			there = object0(l.Applications[key])
		case o.Gateway != nil:
			there = object0(l.Gateways[key])
		default:
			continue // Secrets are not read, and core kinds are put back at once
		}
		known[o.ID] = true
		drift, err := driftOf(o, there)
		if err != nil {
			return err
		}
		if drift != nil {
			out.Drift = append(out.Drift, *drift)
		}
	}
	extra := func(kind string, names []string) {
		for _, name := range names {
			namespace, name, _ := strings.Cut(name, "/")
			if id := (fleet.ID{Kind: kind, Namespace: namespace, Name: name}); !known[id] {
				out.Drift = append(out.Drift, Object{Kind: kind, Namespace: Text(namespace), Name: Text(name),
					Fields: []Field{{Path: "metadata.name", Change: Added, After: Text(name)}}})
			}
		}
	}
	extra("Device", slices.Sorted(maps.Keys(l.Devices)))
	extra("Application", slices.Sorted(maps.Keys(l.Applications)))
	extra("Gateway", slices.Sorted(maps.Keys(l.Gateways)))
	return nil
}

// object0 is nil for a pointer that is nil.
func object0[T any, P interface {
	*T
	client.Object
}](p P) client.Object {
	if p == nil {
		return nil
	}
	return p
}

// driftOf compares what git says of an object with the live one; nil: they mean the same.
func driftOf(o *fleet.Object, there client.Object) (*Object, error) {
	out := object(o)
	if there == nil {
		out.Fields = []Field{{Path: "metadata.name", Change: Removed, Before: Text(o.ID.Name)}}
		return &out, nil
	}
	want, err := content(o)
	if err != nil {
		return nil, err
	}
	have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(there)
	if err != nil {
		return nil, err
	}
	d := differ{fields: out.Fields}
	d.compare("spec", want["spec"], have["spec"])
	d.compare("metadata.labels", gitLabels(want), gitLabels(have))
	if len(d.fields) == 0 {
		return nil, nil
	}
	out.Fields, out.MoreFields = d.fields, d.more
	return &out, nil
}

// gitLabels are the labels of an object without the system's.
func gitLabels(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	all, _ := metadata["labels"].(map[string]any)
	out := map[string]any{}
	for key, value := range all {
		if prefix, _, _ := strings.Cut(key, "/"); prefix != v1alpha1.Group {
			out[key] = value
		}
	}
	return out
}
