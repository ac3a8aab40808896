// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/wasmcheck"
)

// judgement is one run of Judge.
type judgement struct {
	ctx      context.Context
	opts     Options
	cache    *Cache
	checker  *wasmcheck.Checker
	loader   *loader
	findings []v1alpha1.Finding
	objects  []*judged // in the order of Fleet.Objects, without duplicates
	fleet    *Fleet
}

func newJudgement(ctx context.Context, tree Tree, opts Options) (*judgement, error) {
	if opts.Cache == nil {
		opts.Cache = NewCache()
	}
	checker, err := runtimeChecker()
	if err != nil {
		return nil, err
	}
	opts.Root = path.Clean(opts.Root)
	if escapes(opts.Root) {
		return nil, fmt.Errorf("the fleet's directory %q leads out of the repository", opts.Root)
	}
	opts.Cache.mu.Lock()
	j := &judgement{
		ctx: ctx, opts: opts, cache: opts.Cache, checker: checker,
		loader: newLoader(ctx, tree, opts.Cache),
		fleet:  &Fleet{tree: tree, Modules: map[string]*Module{}},
	}
	return j, nil
}

func (j *judgement) close() { j.cache.mu.Unlock() }

func (j *judgement) run() (*Fleet, error) {
	root, err := j.loader.load(j.opts.Root)
	if err != nil {
		j.loader.forget()
		return nil, err
	}
	all := &flat{dirs: map[*directory]bool{}, seen: map[*unit]bool{}}
	all.flatten(root)
	j.findings = all.findings
	if err := j.gather(all.units); err != nil {
		return nil, err
	}
	for _, step := range []func() error{j.unchangeable, j.modules, j.relate} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	j.publish()
	j.cache.trim(len(all.units)+len(all.dirs), len(j.fleet.Modules), len(j.fleet.Applications))
	return j.fleet, nil
}

func (j *judgement) report(severity, reason string, o *judged, fieldPath, format string, args ...any) {
	pos := position{line: o.object.Line}
	if fieldPath != "" {
		pos = o.field(fieldPath)
	}
	j.findings = append(j.findings, finding(severity, reason, o.object.File, pos, o.object.ID.String(), fmt.Sprintf(format, args...)))
}

// gather sorts the objects of all units and finds those that are there twice.
func (j *judgement) gather(units []*unit) error {
	n := 0
	for _, u := range units {
		n += len(u.objects)
	}
	all := make([]*judged, 0, n)
	for _, u := range units {
		j.findings = append(j.findings, u.findings...)
		all = append(all, u.objects...)
	}
	if len(all) > MaxObjects {
		j.findings = append(j.findings, finding(SeverityError, v1alpha1.ReasonTooLarge, j.opts.Root, position{}, "",
			fmt.Sprintf("the commit has %d objects, the limit is %d: divide the fleet into several repositories", len(all), MaxObjects)))
		return nil
	}
	slices.SortStableFunc(all, func(a, b *judged) int {
		if a.order != b.order {
			return a.order - b.order
		}
		if c := strings.Compare(a.object.ID.Namespace, b.object.ID.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.object.ID.Name, b.object.ID.Name)
	})
	j.objects = all[:0]
	for i, o := range all {
		if i > 0 && o.object.ID == j.objects[len(j.objects)-1].object.ID {
			first := j.objects[len(j.objects)-1].object
			j.report(SeverityError, v1alpha1.ReasonDuplicateObject, o, "", "the object stands at %s too: remove one of them", first.Source())
			continue
		}
		j.objects = append(j.objects, o)
	}
	if len(all) == 0 && !hasError(j.findings) {
		j.findings = append(j.findings, finding(SeverityError, v1alpha1.ReasonEmptyBuild, j.opts.Root, position{}, "",
			"the commit yields no object at all, which would remove the whole fleet: list files under `resources` in the root kustomization"))
	}
	return j.ctx.Err()
}

func hasError(findings []v1alpha1.Finding) bool {
	return slices.ContainsFunc(findings, func(f v1alpha1.Finding) bool { return f.Severity == SeverityError })
}

// publish fills in the Fleet.
func (j *judgement) publish() {
	f := j.fleet
	f.Objects = make([]*Object, len(j.objects))
	f.byID = make(map[ID]*Object, len(j.objects))
	for i, o := range j.objects {
		object := o.object
		f.Objects[i], f.byID[object.ID] = object, object
		switch {
		case object.Device != nil:
			f.Devices = append(f.Devices, object.Device)
		case object.Gateway != nil:
			f.Gateways = append(f.Gateways, object.Gateway)
		case object.Application != nil:
			f.Applications = append(f.Applications, object.Application)
		}
	}
	f.Findings, f.MoreFindings = finish(j.findings)
}

// unchangeable compares objects with what they would replace.
func (j *judgement) unchangeable() error {
	if j.opts.Previous == nil {
		return nil
	}
	schemas, err := schemas()
	if err != nil {
		return err
	}
	for _, o := range j.objects {
		old := j.opts.Previous.Get(o.object.ID)
		if o.bad || old == nil || old == o.object || old.Digest == o.object.Digest {
			continue
		}
		if s := schemas[o.object.ID.Kind]; s != nil {
			err = j.transition(s, o, old)
		} else {
			err = j.frozen(o, old)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transition evaluates the rules that compare an object with its former self.
func (j *judgement) transition(s *kindSchema, o *judged, old *Object) error {
	before, err := old.Unstructured()
	if err != nil {
		return err
	}
	after, err := o.object.Unstructured()
	if err != nil {
		return err
	}
	s.prepare(before.Object)
	s.prepare(after.Object)
	for _, e := range s.checkRules(j.ctx, after.Object, before.Object) {
		j.report(SeverityError, v1alpha1.ReasonImmutableChanged, o, "", "%s", describe(e, false))
	}
	return j.ctx.Err()
}

// frozen refuses what the API server would refuse of a ConfigMap or Secret.
func (j *judgement) frozen(o *judged, old *Object) error {
	before, err := old.Unstructured()
	if err != nil {
		return err
	}
	after, err := o.object.Unstructured()
	if err != nil {
		return err
	}
	if immutable, _ := before.Object["immutable"].(bool); immutable {
		for _, field := range []string{"data", "binaryData", "immutable"} {
			a, _ := canonical(before.Object[field])
			b, _ := canonical(after.Object[field])
			if string(a) != string(b) {
				j.report(SeverityError, v1alpha1.ReasonImmutableChanged, o, "", "the %s is immutable and its %s changed: give the new content another name", o.object.ID.Kind, field)
				return nil
			}
		}
	}
	if o.object.ID.Kind == kindSecret && before.Object["type"] != after.Object["type"] {
		j.report(SeverityError, v1alpha1.ReasonImmutableChanged, o, "", "the type of a Secret cannot change: give the new one another name")
	}
	return nil
}
