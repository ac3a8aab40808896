// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/devices/boards"
)

// maxDevices is on how many devices a change is tried at most.
const maxDevices = 12

// heartbeat is how often devices of a preview tell their figures, in seconds.
const heartbeat = 2

// gatewayName is the one gateway of a preview, which stands for all of the fleet's.
const gatewayName = "preview"

// reduced is what of a fleet is tried.
type reduced struct {
	devices []chosen
	// base and head are the files of two fleets that hold those devices only.
	base, head files
	notes      []string
}

// chosen is a device on which the change is tried.
type chosen struct {
	namespace, name, board string
	backend                v1alpha1.Backend
}

func (c chosen) key() string { return c.namespace + "/" + c.name }

// files of a fleet by path.
type files map[string][]byte

// reduce derives a small fleet from both sides of a change: of each board that the change touches one device, and more
// only when no single one runs all that changes there. emulated tells whether a board can be a virtual one here. The
// same change gives the same fleet.
func reduce(base, head *fleet.Fleet, report *plan.Report, emulated func(board string) bool) (*reduced, error) {
	r := &reduced{}
	touched := touchedBy(report)
	byKey := map[string]*v1alpha1.Device{}
	for _, f := range []*fleet.Fleet{base, head} { // what the head says of a device counts
		for _, d := range f.Devices {
			byKey[d.Namespace+"/"+d.Name] = d
		}
	}
	byBoard := map[string][]string{}
	for key := range touched {
		if d := byKey[key]; d != nil {
			byBoard[d.Spec.Board] = append(byBoard[d.Spec.Board], key)
		}
	}
	for _, board := range slices.Sorted(maps.Keys(byBoard)) {
		for _, key := range cover(byBoard[board], touched) {
			d := byKey[key]
			c := chosen{namespace: d.Namespace, name: d.Name, board: board, backend: v1alpha1.BackendSimulated}
			if b, ok := boards.Get(board); ok && b.Provides(boards.BackendQEMU) {
				if emulated(board) {
					c.backend = v1alpha1.BackendQEMU
				} else {
					r.note("Board %s is simulated: its firmware or qemu-system-arm is not on this machine.", board)
				}
			}
			r.devices = append(r.devices, c)
		}
	}
	if n := len(r.devices) - maxDevices; n > 0 {
		r.devices = r.devices[:maxDevices]
		r.note("The change was tried on %d devices; %d more would be needed to try all of it.", maxDevices, n)
	}
	if len(r.devices) == 0 {
		return r, nil
	}
	var err error
	if base.Refused() {
		r.note("The base commit is itself refused, so that there is nothing to compare with.")
		base = &fleet.Fleet{}
	}
	if r.base, err = r.files(base); err != nil {
		return nil, err
	}
	r.head, err = r.files(head)
	return r, err
}

func (r *reduced) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.notes, text) {
		r.notes = append(r.notes, text)
	}
}

// touchedBy is which applications start, restart or stop on which device: "namespace/name" → applications.
func touchedBy(report *plan.Report) map[string]map[string]bool {
	touched := map[string]map[string]bool{}
	for _, a := range report.Applications {
		add := func(device string) {
			key := a.Namespace + "/" + device
			if touched[key] == nil {
				touched[key] = map[string]bool{}
			}
			touched[key][a.Name] = true
		}
		for _, s := range slices.Concat(a.Gets, a.Restarts, a.MayGet) {
			add(s.Device)
		}
		for _, device := range a.Loses {
			add(device)
		}
	}
	return touched
}

// cover picks devices until each application that is touched on one of them is touched on a picked one: the device with
// most of those that are left first, then the one whose name comes first.
func cover(devices []string, touched map[string]map[string]bool) []string {
	left := map[string]bool{}
	name := func(device, app string) string {
		namespace, _, _ := strings.Cut(device, "/")
		return namespace + "/" + app
	}
	for _, d := range devices {
		for app := range touched[d] {
			left[name(d, app)] = true
		}
	}
	slices.Sort(devices)
	var picked []string
	for len(left) > 0 {
		best, most := "", 0
		for _, d := range devices {
			n := 0
			for app := range touched[d] {
				if left[name(d, app)] {
					n++
				}
			}
			if n > most {
				best, most = d, n
			}
		}
		picked = append(picked, best)
		for app := range touched[best] {
			delete(left, name(best, app))
		}
	}
	return picked
}

// files writes the fleet that has the chosen devices, their applications and nothing else: no Secret, no ConfigMap.
func (r *reduced) files(f *fleet.Fleet) (files, error) {
	out := files{}
	var manifests []any
	namespaces := []string{}
	var devices []*v1alpha1.Device
	for _, c := range r.devices {
		if !slices.Contains(namespaces, c.namespace) {
			namespaces = append(namespaces, c.namespace)
		}
		if o := f.Get(fleet.ID{Kind: "Device", Namespace: c.namespace, Name: c.name}); o != nil && o.Device != nil {
			devices = append(devices, o.Device)
			manifests = append(manifests, device(o.Device, c))
		}
	}
	slices.Sort(namespaces)
	for _, namespace := range namespaces {
		manifests = append(manifests, manifest("v1", "Namespace", "", namespace, nil, nil))
	}
	manifests = append(manifests, manifest(v1alpha1.GroupVersion.String(), "Gateway", namespaces[0], gatewayName, nil, v1alpha1.GatewaySpec{
		AllowedNamespaces: []string{"*"}, Limits: v1alpha1.GatewayLimits{HeartbeatSeconds: heartbeat},
	}))
	for _, a := range f.Applications {
		if !selects(a, devices) {
			continue
		}
		content, err := f.ReadModule(a.Spec.Module.Digest)
		if err != nil {
			return nil, err
		}
		spec := a.Spec.DeepCopy()
		spec.Module.Path = "apps/" + strings.TrimPrefix(spec.Module.Digest, "sha256:")[:16] + ".wasm"
		out[spec.Module.Path] = content
		manifests = append(manifests, manifest(v1alpha1.GroupVersion.String(), "Application", a.Namespace, a.Name, a.Labels, spec))
	}
	return out, out.list(manifests)
}

// list writes manifests, one a file, and the kustomization that names them.
func (f files) list(manifests []any) error {
	var root bytes.Buffer
	root.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for i, m := range manifests {
		text, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			return fmt.Errorf("write the preview's fleet: %w", err)
		}
		name := path.Join("devices", fmt.Sprintf("%03d.yaml", i))
		f[name] = append(text, '\n')
		fmt.Fprintf(&root, "  - %s\n", name)
	}
	f["kustomization.yaml"] = root.Bytes()
	return nil
}

// device is a manifest of a device as it is tried: run by the installation, switched on, at whichever gateway.
func device(d *v1alpha1.Device, c chosen) any {
	return manifest(v1alpha1.GroupVersion.String(), "Device", d.Namespace, d.Name, d.Labels, v1alpha1.DeviceSpec{
		Board: d.Spec.Board, Backend: c.backend, Power: v1alpha1.PowerOn, Config: d.Spec.Config,
	})
}

func manifest(version, kind, namespace, name string, labels map[string]string, spec any) any {
	metadata := map[string]any{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	out := map[string]any{"apiVersion": version, "kind": kind, "metadata": metadata}
	if spec != nil {
		out["spec"] = spec
	}
	return out
}

func selects(a *v1alpha1.Application, devices []*v1alpha1.Device) bool {
	selector, err := metav1.LabelSelectorAsSelector(&a.Spec.Selector)
	return err == nil && slices.ContainsFunc(devices, func(d *v1alpha1.Device) bool {
		return d.Namespace == a.Namespace && selector.Matches(labels.Set(d.Labels))
	})
}
