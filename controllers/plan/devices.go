// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

func deviceName(namespace, name string) string { return namespace + "/" + name }

// devices tells what happens to devices, whatever runs on them.
func (c *computation) devices() {
	out := &c.report.Devices
	for _, o := range c.changes.Added {
		if o.Device != nil {
			out.Added = append(out.Added, deviceName(o.ID.Namespace, o.ID.Name))
		}
	}
	for _, o := range c.changes.Removed {
		if o.Device != nil {
			out.Removed = append(out.Removed, deviceName(o.ID.Namespace, o.ID.Name))
		}
	}
	for _, o := range c.changes.Changed {
		if o.Device == nil {
			continue
		}
		if older := c.in.Base.Get(o.ID); older != nil && older.Device != nil {
			out.compare(older.Device, o.Device)
		}
	}
}

func (d *Devices) compare(before, after *v1alpha1.Device) {
	name := deviceName(after.Namespace, after.Name)
	note := func(list *[]string, happens bool) {
		if happens {
			*list = append(*list, name)
		}
	}
	wasOff, isOff := before.Spec.Power == v1alpha1.PowerOff, after.Spec.Power == v1alpha1.PowerOff
	note(&d.Off, !wasOff && isOff)
	note(&d.On, wasOff && !isOff)
	note(&d.Quarantined, !before.Spec.Quarantine && after.Spec.Quarantine)
	note(&d.Released, before.Spec.Quarantine && !after.Spec.Quarantine)
	note(&d.KeysChanged, !sameSet(before.Spec.Keys, after.Spec.Keys))
	from, to := pin(before), pin(after)
	if from != to {
		d.Moves = append(d.Moves, Move{Device: name, From: from, To: to})
	}
}

// pin is the gateway that a device's spec names, "namespace/name".
func pin(d *v1alpha1.Device) string {
	gateway := d.Spec.Gateway
	if gateway == "" || strings.Contains(gateway, "/") {
		return gateway
	}
	return deviceName(d.Namespace, gateway)
}

func sameSet[T comparable](a, b []T) bool {
	return len(lacking(a, b)) == 0 && len(lacking(b, a)) == 0
}

// lacking lists what of a is not in b.
func lacking[T comparable](a, b []T) []T {
	var out []T
	for _, v := range a {
		if !slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}
