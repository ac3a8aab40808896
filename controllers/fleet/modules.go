// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/hostapi"
	"wasmbed.dev/devices/wasmcheck"
)

// modules finds the module of each Application, checks both together, and fills in digest and size.
func (j *judgement) modules() error {
	byPath := map[string]*moduleResult{}
	for i, o := range j.objects {
		if o.object.Application == nil {
			continue
		}
		result, at, err := j.module(o, byPath)
		if err != nil {
			return err
		}
		if result == nil {
			continue
		}
		if result.module == nil {
			j.report(SeverityError, v1alpha1.ReasonModuleInvalid, o, "spec.module.path", "%s is not a module that a board accepts: %s", quote(at.path), result.bad)
			continue
		}
		p, ok := j.cache.apps[o]
		if !ok || p.module.Digest != result.digest {
			if p, err = j.pin(o, result.module, at); err != nil {
				return err
			}
			j.cache.apps[o] = p
		}
		j.findings = append(j.findings, p.findings...)
		pinnedApp := *o
		pinnedApp.object, pinnedApp.ram = p.object, p.ram
		j.objects[i] = &pinnedApp
		m := *result.module
		m.Path = at.path
		j.fleet.Modules[m.Digest] = &m
	}
	return j.ctx.Err()
}

// module looks a module up and checks it, at most once for each content. The result is nil when there is none, with
// a finding.
func (j *judgement) module(o *judged, byPath map[string]*moduleResult) (*moduleResult, place, error) {
	name := o.object.Application.Spec.Module.Path
	if path.IsAbs(name) || escapes(path.Clean(name)) {
		return nil, place{}, nil // a finding is there already
	}
	at, err := j.loader.view.lookup(name)
	if err == nil && at.mode != ModeFile {
		err = errNotFile
	}
	if err != nil {
		return nil, at, j.moduleProblem(o, name, err)
	}
	if r, ok := byPath[at.path]; ok {
		return r, at, nil
	}
	if r, ok := j.cache.modules[at.hash]; ok && at.hash != plumbing.ZeroHash {
		return r, at, nil
	}
	r, err := checkModule(j.ctx, j.loader.view.tree, at, j.checker)
	if err != nil {
		return nil, at, j.moduleProblem(o, name, err)
	}
	byPath[at.path] = r
	if at.hash != plumbing.ZeroHash {
		j.cache.modules[at.hash] = r
	}
	return r, at, nil
}

func (j *judgement) moduleProblem(o *judged, name string, err error) error {
	const field = "spec.module.path"
	var size *SizeError
	switch {
	case errors.As(err, &size):
		j.report(SeverityError, v1alpha1.ReasonTooLarge, o, field, "the module %s has %d bytes, the limit is %d: build it smaller (`wasmbed build` strips names and unused parts)", quote(name), size.Size, size.Limit)
	case errors.Is(err, errNotFile):
		j.report(SeverityError, v1alpha1.ReasonModuleNotFound, o, field, "%s is not a file: name the .wasm file", quote(name))
	case isNotExist(err):
		hint := "the path starts at the repository's root; `git add` the file"
		if beside := path.Join(path.Dir(o.object.File), name); !escapes(beside) {
			if p, err := j.loader.view.lookup(beside); err == nil && p.mode == ModeFile {
				hint = fmt.Sprintf("the path starts at the repository's root: write %s", quote(beside))
			}
		}
		j.report(SeverityError, v1alpha1.ReasonModuleNotFound, o, field, "there is no file %s in the commit: %s", quote(name), hint)
	case isPathProblem(err):
		j.report(SeverityError, v1alpha1.ReasonPathEscape, o, field, "%s %v: name a file of the repository", quote(name), err)
	default:
		return err
	}
	return nil
}

// pin makes the Application that is applied, and judges it with its module.
func (j *judgement) pin(o *judged, m *Module, at place) (pinned, error) {
	c := &appCheck{o: o, app: o.object.Application, module: m}
	c.check()
	ram, err := j.ram(c, at)
	if err != nil {
		return pinned{}, err
	}
	object, err := withModule(o.object, m)
	if err != nil {
		return pinned{}, fmt.Errorf("internal error: %s: %w", o.object.ID, err)
	}
	return pinned{module: m, object: object, ram: ram, findings: c.findings}, nil
}

// ram asks the runtime what the app takes of a device. It is 0 when the module cannot be started, for which there is
// a finding.
func (j *judgement) ram(c *appCheck, at place) (int64, error) {
	if len(c.findings) > 0 {
		return 0, nil
	}
	content, err := j.loader.view.tree.ReadFile(at.path, MaxModuleBytes)
	if err != nil {
		return 0, fmt.Errorf("read module %s: %w", at.path, err)
	}
	ram, err := trial(j.ctx, j.checker, content, c.app.Spec.Limits)
	var refused *wasmcheck.Error
	switch {
	case errors.As(err, &refused) && refused.Code == wasmcheck.ErrSegment:
		c.report(v1alpha1.ReasonMemoryExceeded, "spec.limits.memory", "the module's data does not lie within spec.limits.memory of %d bytes: raise the limit (`wasmbed build` says what the module uses)", *c.app.Spec.Limits.Memory)
	case errors.As(err, &refused):
		c.report(v1alpha1.ReasonMemoryExceeded, "spec.limits", "the module cannot be started within spec.limits: %v", refused)
	case err != nil:
		return 0, fmt.Errorf("check module %s: %w", at.path, err)
	}
	return ram, nil
}

// withModule returns the Application with its module's digest and size.
func withModule(o *Object, m *Module) (*Object, error) {
	value, err := o.Unstructured()
	if err != nil {
		return nil, err
	}
	for field, v := range map[string]any{"digest": m.Digest, "size": m.Size} {
		if err := unstructured.SetNestedField(value.Object, v, "spec", "module", field); err != nil {
			return nil, err
		}
	}
	content, err := canonical(value.Object)
	if err != nil {
		return nil, err
	}
	pinned := *o
	pinned.JSON, pinned.Digest = content, hexDigest(content)
	pinned.Application = o.Application.DeepCopy()
	pinned.Application.Spec.Module.Digest, pinned.Application.Spec.Module.Size = m.Digest, m.Size
	return &pinned, nil
}

// appCheck judges an Application with its module, whatever the boards.
type appCheck struct {
	o        *judged
	app      *v1alpha1.Application
	module   *Module
	findings []v1alpha1.Finding
}

func (c *appCheck) report(reason, fieldPath, format string, args ...any) {
	c.findings = append(c.findings, finding(SeverityError, reason, c.o.object.File, c.o.field(fieldPath), c.o.object.ID.String(), fmt.Sprintf(format, args...)))
}

func (c *appCheck) check() {
	spec, info := &c.app.Spec, &c.module.Info
	if spec.Module.Digest != "" && spec.Module.Digest != c.module.Digest {
		c.report(v1alpha1.ReasonDigestMismatch, "spec.module.digest", "spec.module.digest is not that of the file, which is %s: correct it, or leave it out", c.module.Digest)
	}
	if spec.Module.Size != 0 && spec.Module.Size != c.module.Size {
		c.report(v1alpha1.ReasonDigestMismatch, "spec.module.digest", "spec.module.size is not that of the file, which is %d: leave it out", c.module.Size)
	}
	c.imports()
	c.entries()
	if limit := uint64(*spec.Limits.Memory); limit < leastMemory(info) {
		c.report(v1alpha1.ReasonMemoryExceeded, "spec.limits.memory", "the module needs at least %d bytes of linear memory and spec.limits.memory is %d: raise the limit, or build the module with less", leastMemory(info), limit)
	}
}

// leastMemory is the least linear memory that the module can mean. What it declares is rounded up to whole pages, and
// boards give it only as much as the limit says.
func leastMemory(info *wasmcheck.Info) uint64 {
	if !info.HasMemory || info.MemoryMin == 0 {
		return 0
	}
	return info.MemoryMin - uint64(info.PageSize) + 1
}

// maxNamed is how many imports one message names.
const maxNamed = 4

// maxImports is how many imports of one module get findings of their own.
const maxImports = 16

func (c *appCheck) imports() {
	missing := map[hostapi.Permission][]string{}
	for _, f := range c.module.Info.Imports {
		host, ok := hostapi.Lookup(f.Module, f.Name)
		switch {
		case f.Kind != wasmcheck.Function:
			c.report(v1alpha1.ReasonImportForbidden, "spec.module.path", "the module imports the %s %s, and only functions can be imported: define it in the module", f.Kind, quote(f.Module+"."+f.Name))
		case !ok:
			c.report(v1alpha1.ReasonImportForbidden, "spec.module.path", "the module imports the function %s, which no board offers%s", quote(f.Module+"."+f.Name), nearImport(f))
		case plain(f.Signature) != plain(host.Signature()):
			c.report(v1alpha1.ReasonImportForbidden, "spec.module.path", "the module imports %s as %s, and boards offer it as %s: build the module against the headers of this version", f.Name, f.Signature, host.Signature())
		case host.Permission != hostapi.PermissionNone && !slices.Contains(c.app.Spec.Permissions, v1alpha1.Permission(host.Permission)):
			missing[host.Permission] = append(missing[host.Permission], f.Name)
		}
	}
	if n := len(c.findings) - maxImports; n > 1 {
		c.findings = c.findings[:maxImports]
		c.report(v1alpha1.ReasonImportForbidden, "spec.module.path", "the module has %d more imports that are refused: `wasmbed build` lists what a module imports", n)
	}
	for _, p := range hostapi.Permissions() {
		if names := missing[p]; len(names) > 0 {
			c.report(v1alpha1.ReasonPermissionMissing, "spec.permissions", "the module imports %s, which needs permission %s: add it to spec.permissions", few(names), p)
		}
	}
}

// few names some of a list.
func few(names []string) string {
	if n := len(names); n > maxNamed {
		names = append(slices.Clone(names[:maxNamed]), fmt.Sprintf("%d more", n-maxNamed))
	}
	return strings.Join(names, ", ")
}

func nearImport(f wasmcheck.Import) string {
	if f.Module != hostapi.Module {
		return fmt.Sprintf(": host functions are imported from module %s", quote(hostapi.Module))
	}
	best, distance := "", 4
	for _, host := range hostapi.Functions() {
		if d := editDistance(f.Name, host.Name); d < distance {
			best, distance = host.Name, d
		}
	}
	if best == "" {
		return ": `wasmbed build` lists what a module imports"
	}
	return fmt.Sprintf(": did you mean %s?", best)
}

// plain is a signature without spaces, which is written in several ways.
func plain(signature string) string {
	return strings.TrimSuffix(strings.ReplaceAll(signature, " ", ""), "->()")
}

// entries checks the exports that a device calls.
func (c *appCheck) entries() {
	for _, want := range []struct {
		name       string
		required   bool
		signatures []string
	}{
		{hostapi.EntryInitialize, false, []string{"()"}},
		{hostapi.EntryRun, true, []string{"()", "()->i32"}},
	} {
		f, ok := c.module.Info.Export(want.name)
		switch {
		case !ok && want.required:
			c.report(v1alpha1.ReasonModuleInvalid, "spec.module.path", "the module exports no function %q, with which a device starts an app: export one", want.name)
		case !ok:
		case f.Kind != wasmcheck.Function || !slices.Contains(want.signatures, plain(f.Signature)):
			c.report(v1alpha1.ReasonModuleInvalid, "spec.module.path", "the module exports %q as %s %s, and a device calls it as a function %s", want.name, f.Kind, f.Signature, strings.Join(want.signatures, " or "))
		}
	}
}
