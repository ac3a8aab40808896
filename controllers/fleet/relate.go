// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
)

// relate judges what objects say of each other.
func (j *judgement) relate() error {
	r := &relation{judgement: j, spaces: map[string]*space{}, declared: map[string]bool{}, exists: map[ID]bool{}}
	r.partial = slices.ContainsFunc(j.findings, func(f v1alpha1.Finding) bool {
		return f.Severity == SeverityError && f.Object == ""
	})
	r.collect()
	if !r.partial {
		r.namespaces()
	}
	r.deviceKeys()
	for _, name := range r.order {
		s := r.spaces[name]
		r.references(s)
		s.applied = make([][]int32, len(s.devices))
		for i, app := range s.apps {
			if err := j.ctx.Err(); err != nil {
				return err
			}
			r.selects(s, i, app)
		}
		r.fit(s)
	}
	return nil
}

// Bounds of what selectors may ask for.
const (
	// maxPairs is how many pairs of an Application and a Device are compared.
	maxPairs = 20_000_000
	// maxNoted is how many Applications of one device are counted; no board runs nearly as many.
	maxNoted = 64
)

type relation struct {
	*judgement
	// partial: files could not be read, so that what seems to be missing may stand there.
	partial  bool
	exists   map[ID]bool // Gateways and Applications, good or bad
	pairs    int
	spaces   map[string]*space
	order    []string
	declared map[string]bool // namespaces
	gateways map[string]*v1alpha1.Gateway
}

// space is what belongs together: Devices and Applications of one namespace.
type space struct {
	name    string
	devices []*judged
	apps    []*judged
	first   *judged
	bad     bool                          // Devices of it could not be read
	index   map[string]map[string][]int32 // label → value → devices
	applied [][]int32                     // device → indices of apps
}

func (r *relation) collect() {
	r.gateways = map[string]*v1alpha1.Gateway{}
	for _, o := range r.objects {
		id := o.object.ID
		if id.Kind == kindNamespace {
			r.declared[id.Name] = true
			continue
		}
		s := r.spaces[id.Namespace]
		if s == nil {
			s = &space{name: id.Namespace, first: o, index: map[string]map[string][]int32{}}
			r.spaces[id.Namespace] = s
			r.order = append(r.order, id.Namespace)
		}
		if id.Kind == kindGateway || id.Kind == kindApplication {
			r.exists[id] = true
		}
		switch {
		case id.Kind == kindDevice && o.object.Device == nil:
			s.bad = true
		case o.object.Device != nil:
			s.devices = append(s.devices, o)
		case o.object.Application != nil:
			s.apps = append(s.apps, o)
		case o.object.Gateway != nil:
			r.gateways[id.Namespace+"/"+id.Name] = o.object.Gateway
		}
	}
	slices.Sort(r.order)
}

func (r *relation) namespaces() {
	for _, name := range r.order {
		if name != "" && name != "default" && !r.declared[name] {
			r.report(SeverityWarning, v1alpha1.ReasonUnknownReference, r.spaces[name].first, "", "namespace %s is not in the commit, so it must exist already: add a Namespace object", quote(name))
		}
	}
}

func (r *relation) deviceKeys() {
	seen := map[string]*judged{}
	for _, name := range r.order {
		for _, d := range r.spaces[name].devices {
			for _, key := range d.keys {
				other, ok := seen[key.spki]
				if !ok {
					seen[key.spki] = d
					continue
				}
				o := d.object
				r.findings = append(r.findings, finding(SeverityError, v1alpha1.ReasonDuplicateKey, o.File, key.pos, o.ID.String(),
					fmt.Sprintf("%s at %s has the same public key: give each device its own", other.object.ID, other.object.Source())))
			}
		}
	}
}

// references checks what Devices name.
func (r *relation) references(s *space) {
	for _, d := range s.devices {
		spec := &d.object.Device.Spec
		if spec.Gateway != "" {
			r.gateway(s, d, spec.Gateway)
		}
		for app := range spec.Config {
			if !r.partial && !r.exists[ID{kindApplication, s.name, app}] {
				r.report(SeverityWarning, v1alpha1.ReasonUnknownReference, d, "spec.config["+app+"]", "there is no Application %s in namespace %s, so this config is not used", quote(app), quote(s.name))
			}
		}
	}
}

func (r *relation) gateway(s *space, d *judged, name string) {
	namespace := s.name
	if before, after, ok := strings.Cut(name, "/"); ok {
		namespace, name = before, after
	}
	g := r.gateways[namespace+"/"+name]
	switch {
	case g == nil && (r.partial || r.exists[ID{kindGateway, namespace, name}]):
	case g == nil:
		r.report(SeverityError, v1alpha1.ReasonUnknownReference, d, "spec.gateway", "there is no Gateway %s in the commit: correct spec.gateway, or leave it out to have one assigned", quote(namespace+"/"+name))
	case !serves(g, s.name):
		r.report(SeverityError, v1alpha1.ReasonUnknownReference, d, "spec.gateway", "Gateway %s does not take devices of namespace %s: add it to the Gateway's spec.allowedNamespaces", quote(namespace+"/"+name), quote(s.name))
	}
}

// serves reports whether a gateway takes devices of a namespace.
func serves(g *v1alpha1.Gateway, namespace string) bool {
	allowed := g.Spec.AllowedNamespaces
	if len(allowed) == 0 {
		return g.Namespace == namespace
	}
	return slices.Contains(allowed, "*") || slices.Contains(allowed, namespace)
}

// selects finds the devices of an Application.
func (r *relation) selects(s *space, i int, app *judged) {
	if app.selector == nil {
		return
	}
	found := false
	candidates := s.candidates(app.selector)
	if r.pairs += len(candidates); r.pairs > maxPairs {
		r.report(SeverityError, v1alpha1.ReasonTooLarge, app, "spec.selector", "the selectors of this commit are too many and too wide to be compared with its devices: select by matchLabels, or divide the fleet into namespaces")
		return
	}
	for _, d := range candidates {
		device := s.devices[d]
		if !app.selector.Matches(labels.Set(device.object.Device.Labels)) {
			continue
		}
		found = true
		if len(s.applied[d]) < maxNoted {
			s.applied[d] = append(s.applied[d], int32(i))
		}
		r.mergedConfig(app, device)
	}
	if !found && !s.bad && !r.partial {
		r.report(SeverityWarning, v1alpha1.ReasonSelectsNothing, app, "spec.selector", "the selector %s matches no device of namespace %s, so nothing will run: check the devices' labels", quote(app.selector.String()), quote(s.name))
	}
}

// candidates are the devices that can match a selector: those with the value of its narrowest requirement.
func (s *space) candidates(selector labels.Selector) []int32 {
	requirements, _ := selector.Requirements()
	var best []int32
	narrowed := false
	for _, q := range requirements {
		switch q.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
		default:
			continue
		}
		var devices []int32
		for value := range q.Values() {
			devices = append(devices, s.labelled(q.Key())[value]...)
		}
		if !narrowed || len(devices) < len(best) {
			best, narrowed = devices, true
		}
	}
	if narrowed {
		return best
	}
	all := make([]int32, len(s.devices))
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// labelled is the index of a label, made when it is first asked for.
func (s *space) labelled(key string) map[string][]int32 {
	index, ok := s.index[key]
	if !ok {
		index = map[string][]int32{}
		for i, d := range s.devices {
			if value, ok := d.object.Device.Labels[key]; ok {
				index[value] = append(index[value], int32(i))
			}
		}
		s.index[key] = index
	}
	return index
}

// mergedConfig checks the config that an app reads on a device.
func (r *relation) mergedConfig(app, device *judged) {
	name := app.object.ID.Name
	overrides := device.object.Device.Spec.Config[name]
	if len(overrides) == 0 {
		return
	}
	n := configBytes(overrides)
	for k, v := range app.object.Application.Spec.Config {
		if _, ok := overrides[k]; !ok {
			n += len(k) + len(v)
		}
	}
	if n > maxConfigBytes {
		r.report(SeverityError, v1alpha1.ReasonSchemaInvalid, device, "spec.config["+name+"]", "with the config of Application %s these are %d bytes of keys and values, the limit is %d: shorten one of them", quote(name), n, maxConfigBytes)
	}
}

// need is what an Application takes of a device's memory for apps, before it is rounded up to the board's blocks: its
// limits, as placement counts, or what the runtime counts when that is more.
func (o *judged) need() int64 {
	limits := o.object.Application.Spec.Limits
	return max(int64(*limits.Memory)+int64(*limits.Stack), o.ram)
}

// load is a set of Applications on devices of one board.
type boardLoad struct {
	board *boards.Board
	apps  []int32
	count int
	first *judged // device
}

// fit checks each set of Applications that devices of a board share, once.
func (r *relation) fit(s *space) {
	var loads []*boardLoad
	byKey := map[string]*boardLoad{}
	var key []byte
	for i, d := range s.devices {
		board := catalogue[d.object.Device.Spec.Board]
		if board == nil || len(s.applied[i]) == 0 {
			continue
		}
		key = append(key[:0], board.Name...)
		for _, app := range s.applied[i] {
			key = binary.BigEndian.AppendUint32(key, uint32(app))
		}
		l, ok := byKey[string(key)]
		if !ok {
			l = &boardLoad{board: board, apps: s.applied[i], first: d}
			byKey[string(key)] = l
			loads = append(loads, l)
		}
		l.count++
	}
	alone := map[aloneKey]bool{}
	for _, l := range loads {
		if r.fitAlone(s, l, alone) {
			r.fitTogether(s, l)
		}
	}
}

type aloneKey struct {
	board *boards.Board
	app   int32
}

// where names the devices of a load.
func (l *boardLoad) where() string {
	id := l.first.object.ID
	if l.count == 1 {
		return fmt.Sprintf("Device %s/%s (board %s)", id.Namespace, id.Name, l.board.Name)
	}
	return fmt.Sprintf("%d devices of board %s, Device %s/%s among them", l.count, l.board.Name, id.Namespace, id.Name)
}

// fitAlone checks each app of a load by itself, once for each board. It reports whether all fit.
func (r *relation) fitAlone(s *space, l *boardLoad, done map[aloneKey]bool) bool {
	all := true
	for _, i := range l.apps {
		key := aloneKey{l.board, i}
		fits, ok := done[key]
		if !ok {
			before := len(r.findings)
			r.appOnBoard(s.apps[i], l)
			fits = len(r.findings) == before
			done[key] = fits
		}
		all = all && fits
	}
	return all
}

func (r *relation) appOnBoard(app *judged, l *boardLoad) {
	a, b := app.object.Application, l.board
	if need := app.need(); b.Blocks(need) > b.AppMemoryBytes {
		r.report(SeverityError, v1alpha1.ReasonMemoryExceeded, app, "spec.limits.memory", "memory, stack and what the runtime keeps, %d bytes, do not fit %s, which has %d bytes for apps: lower spec.limits, or select other devices", need, l.where(), b.AppMemoryBytes)
	}
	m := r.fleet.Modules[a.Spec.Module.Digest]
	if m == nil {
		return
	}
	if m.Size > b.MaxModuleBytes {
		r.report(SeverityError, v1alpha1.ReasonTooLarge, app, "spec.module.path", "the module %s has %d bytes and does not fit %s, where the limit is %d: build it smaller, or select other devices", quote(m.Path), m.Size, l.where(), b.MaxModuleBytes)
	}
	lacking := map[hostapi.Permission]bool{}
	for _, f := range m.Info.Imports {
		if host, ok := hostapi.Lookup(f.Module, f.Name); ok && host.Permission != hostapi.PermissionNone && !b.Has(string(host.Permission)) && !lacking[host.Permission] {
			lacking[host.Permission] = true
			r.report(SeverityError, v1alpha1.ReasonImportForbidden, app, "spec.module.path", "the module imports %s, and %s offers nothing of %s: select other devices", f.Name, l.where(), host.Permission)
		}
	}
}

// fitTogether checks the apps of a load together. The finding stands at the one that takes most.
func (r *relation) fitTogether(s *space, l *boardLoad) {
	b := l.board
	var memory, storage, most int64
	var names []string
	largest := s.apps[l.apps[0]]
	stored := map[string]bool{}
	for _, i := range l.apps {
		app := s.apps[i]
		need := b.Blocks(app.need())
		if need > most {
			most, largest = need, app
		}
		memory += need
		names = append(names, app.object.ID.Name)
		if m := r.fleet.Modules[app.object.Application.Spec.Module.Digest]; m != nil && !stored[m.Digest] {
			stored[m.Digest] = true
			storage += m.Size
		}
	}
	switch {
	case len(l.apps) > b.MaxApps:
		r.report(SeverityError, v1alpha1.ReasonMemoryExceeded, largest, "spec.selector", "%d Applications (%s) select %s, which runs at most %d: narrow a selector", len(l.apps), few(names), l.where(), b.MaxApps)
	case memory > b.AppMemoryBytes:
		r.report(SeverityError, v1alpha1.ReasonMemoryExceeded, largest, "spec.limits.memory", "the Applications %s need %d bytes together on %s, which has %d (each takes whole blocks of %d): lower spec.limits, or narrow a selector", few(names), memory, l.where(), b.AppMemoryBytes, b.AppMemoryBlock)
	case storage > b.ModuleStorageBytes:
		r.report(SeverityError, v1alpha1.ReasonMemoryExceeded, largest, "spec.module.path", "the modules of the Applications %s have %d bytes together, and %s stores %d: build them smaller, or narrow a selector", few(names), storage, l.where(), b.ModuleStorageBytes)
	}
}
