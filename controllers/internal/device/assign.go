// SPDX-License-Identifier: Apache-2.0

package device

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func gatewayKey(gateway *v1alpha1.Gateway) string {
	return v1alpha1.GatewayKey(gateway.Namespace, gateway.Name)
}

// assignment is the gateway of a device, or why it has none.
type assignment struct {
	gateway string
	problem string
}

// assign chooses the gateway of a device. load is how many devices each gateway has, this one included. A device
// stays where it is as long as it may: it moves when its gateway is gone and another one may take it.
func assign(device *v1alpha1.Device, gateways []*v1alpha1.Gateway, load map[string]int) assignment {
	if device.Spec.Gateway != "" {
		return pinned(device, gateways, load)
	}
	current := device.Status.Gateway
	var best *v1alpha1.Gateway
	allowed, full := 0, 0
	for _, gateway := range gateways {
		if !gateway.Allows(device.Namespace) {
			continue
		}
		allowed++
		key := gatewayKey(gateway)
		if key == current && !gateway.Gone() {
			return assignment{gateway: current}
		}
		if key != current && load[key] >= int(gateway.Spec.Limits.Devices) {
			full++
			continue
		}
		if best == nil || better(gateway, best, current, load) {
			best = gateway
		}
	}
	switch {
	case best != nil:
		return assignment{gateway: gatewayKey(best)}
	case allowed == 0:
		return assignment{problem: fmt.Sprintf("no gateway serves namespace %s: add a Gateway there, or one with the namespace in allowedNamespaces", device.Namespace)}
	}
	return assignment{problem: fmt.Sprintf("all %d gateways that serve namespace %s are full: raise limits.devices or add a Gateway", full, device.Namespace)}
}

// better orders candidates: those that are not gone, then the device's own, then the one with fewer devices, then by
// name.
func better(a, b *v1alpha1.Gateway, current string, load map[string]int) bool {
	if goneA, goneB := a.Gone(), b.Gone(); goneA != goneB {
		return goneB
	}
	keyA, keyB := gatewayKey(a), gatewayKey(b)
	if (keyA == current) != (keyB == current) {
		return keyA == current
	}
	if load[keyA] != load[keyB] {
		return load[keyA] < load[keyB]
	}
	return keyA < keyB
}

// pinned is the gateway that the spec names; nothing else will do.
func pinned(device *v1alpha1.Device, gateways []*v1alpha1.Gateway, load map[string]int) assignment {
	namespace, name, found := strings.Cut(device.Spec.Gateway, "/")
	if !found {
		namespace, name = device.Namespace, device.Spec.Gateway
	}
	at := slices.IndexFunc(gateways, func(g *v1alpha1.Gateway) bool { return g.Namespace == namespace && g.Name == name })
	if at < 0 {
		return assignment{problem: fmt.Sprintf("gateway %s/%s, which spec.gateway names, does not exist", namespace, name)}
	}
	gateway := gateways[at]
	key := gatewayKey(gateway)
	switch {
	case !gateway.Allows(device.Namespace):
		return assignment{problem: fmt.Sprintf("gateway %s/%s, which spec.gateway names, does not have namespace %s in allowedNamespaces", namespace, name, device.Namespace)}
	case key != device.Status.Gateway && load[key] >= int(gateway.Spec.Limits.Devices):
		return assignment{problem: fmt.Sprintf("gateway %s/%s, which spec.gateway names, has %d devices already: raise its limits.devices", namespace, name, load[key])}
	}
	return assignment{gateway: key}
}

// ledger counts the devices of each gateway as this process has assigned them: the cache would show too late that a
// gateway is full when thousands of devices arrive at once.
type ledger struct {
	mu      sync.Mutex
	of      map[client.ObjectKey]string
	devices map[string]int
	adopted map[string]time.Time // when another gateway was seen to have adopted a gateway's device, the last time
}

// fill takes over what the cache shows, once.
func (l *ledger) fill(devices []v1alpha1.Device) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of != nil {
		return
	}
	l.of, l.devices, l.adopted = make(map[client.ObjectKey]string, len(devices)), map[string]int{}, map[string]time.Time{}
	for i := range devices {
		l.put(client.ObjectKeyFromObject(&devices[i]), devices[i].Status.Gateway)
	}
}

func (l *ledger) filled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of != nil
}

// choose assigns a device and books it, in one step.
func (l *ledger) choose(device *v1alpha1.Device, gateways []*v1alpha1.Gateway, now time.Time) assignment {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := client.ObjectKeyFromObject(device)
	chosen := assign(device, gateways, l.devices)
	if was := l.of[key]; was != "" && was != chosen.gateway && device.Status.Gateway == chosen.gateway {
		l.adopted[was] = now
	}
	l.put(key, chosen.gateway)
	return chosen
}

// look is where a device would be assigned, and when another gateway was last seen to have adopted a device of from.
func (l *ledger) look(device *v1alpha1.Device, gateways []*v1alpha1.Gateway, from string) (assignment, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return assign(device, gateways, l.devices), l.adopted[from]
}

// drop forgets a device.
func (l *ledger) drop(key client.ObjectKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(key, "")
}

func (l *ledger) put(key client.ObjectKey, gateway string) {
	if old := l.of[key]; old != "" {
		l.devices[old]--
	}
	if gateway == "" {
		delete(l.of, key)
		return
	}
	l.of[key] = gateway
	l.devices[gateway]++
}
