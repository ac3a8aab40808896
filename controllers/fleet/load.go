// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/sync/errgroup"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// unit is what one file, or one kustomization that is built whole, yields.
type unit struct {
	objects  []*judged
	findings []v1alpha1.Finding // of the file itself
}

// directory is what a kustomization directory yields: units and other directories, in the order of its resources.
type directory struct {
	path     string
	file     string // the kustomization
	hash     plumbing.Hash
	outside  map[string]place // what it read outside of its own tree, or through links
	children []child
	findings []v1alpha1.Finding
}

type child struct {
	unit *unit
	dir  *directory
	pos  position // of the entry in the kustomization
}

// loader finds the units of a tree, from the cache or anew.
type loader struct {
	ctx   context.Context
	view  *view
	cache *Cache

	stack   []string // directories that are being looked at
	files   int
	pending []pendingFile
	parts   []pendingPart
	fresh   []string // directories put into the cache
	// units and dirs are those of this judgement, by real path.
	units map[string]*unit
	dirs  map[string]*directory
	read  atomic.Int64 // bytes of manifests
}

func newLoader(ctx context.Context, tree Tree, cache *Cache) *loader {
	return &loader{ctx: ctx, view: newView(tree), cache: cache, units: map[string]*unit{}, dirs: map[string]*directory{}}
}

type pendingFile struct {
	place place
	unit  *unit
}

// maxManifestTotal bounds what one judgement reads of manifests.
const maxManifestTotal = 256 << 20

// load walks from the root kustomization and judges every file that the cache does not know.
func (l *loader) load(root string) (*directory, error) {
	p, err := l.view.lookup(root)
	if err == nil && p.mode != ModeDir {
		err = errors.Join(errNotDir)
	}
	if err != nil {
		if !isPathProblem(err) && !errors.Is(err, errNotDir) {
			return nil, err
		}
		return &directory{findings: []v1alpha1.Finding{finding(SeverityError, v1alpha1.ReasonKustomizeFailed, root, position{}, "",
			"the directory of the fleet does not exist in the commit: add it, or correct the Repository's spec.path")}}, nil
	}
	d, err := l.directory(p)
	if err != nil {
		return nil, err
	}
	if err := l.judgeFiles(); err != nil {
		return nil, err
	}
	return d, l.judgeParts()
}

var errNotDir = errors.New("is not a directory")

// directory yields a directory from the cache, or looks at it.
func (l *loader) directory(p place) (*directory, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	if d, ok := l.dirs[p.path]; ok {
		return d, nil
	}
	if d, ok := l.cache.dirs[p.path]; ok && !p.hash.IsZero() && d.hash == p.hash && l.holds(d.outside) {
		return d, nil
	}
	d := &directory{path: p.path, hash: p.hash}
	l.dirs[p.path] = d
	k, err := l.kustomization(d)
	if err != nil {
		return nil, err
	}
	switch {
	case k == nil:
	case len(k.bad) > 0:
		d.findings = append(d.findings, k.bad...)
	case k.plain:
		l.stack = append(l.stack, p.path)
		err = l.split(d, k)
		l.stack = l.stack[:len(l.stack)-1]
	default:
		err = l.whole(d, k)
	}
	if err != nil {
		return nil, err
	}
	if !p.hash.IsZero() {
		l.cache.dirs[p.path] = d
		l.fresh = append(l.fresh, p.path)
	}
	return d, nil
}

// forget takes out of the cache what a judgement that was not finished put there.
func (l *loader) forget() {
	for _, dir := range l.fresh {
		delete(l.cache.dirs, dir)
	}
	for _, f := range l.pending {
		delete(l.cache.files, f.place.path)
	}
}

// holds reports whether paths still stand for what they did.
func (l *loader) holds(outside map[string]place) bool {
	for name, was := range outside {
		if p, err := l.view.lookup(name); err != nil || p != was {
			return false
		}
	}
	return true
}

// depend notes what a directory read outside of itself.
func (d *directory) depend(name string, p place) {
	if !p.linked && under(p.path, d.path) {
		return
	}
	if d.outside == nil {
		d.outside = map[string]place{}
	}
	d.outside[name] = p
}

// inherit notes what a child of a directory read.
func (d *directory) inherit(c *directory) {
	for name, p := range c.outside {
		d.depend(name, p)
	}
}

func (d *directory) refuse(reason, file string, pos position, message string) {
	d.findings = append(d.findings, finding(SeverityError, reason, file, pos, "", message))
}

// kustomization reads the kustomization file of a directory; nil when there is none, with a finding.
func (l *loader) kustomization(d *directory) (*kustomization, error) {
	var found []string
	for _, name := range kustomizationNames {
		_, ok, err := l.view.entry(d.path, name)
		if err != nil && !isPathProblem(err) {
			return nil, err
		}
		if ok {
			found = append(found, path.Join(d.path, name))
		}
	}
	if len(found) != 1 {
		message := fmt.Sprintf("directory %s has no %s: add one that lists its files under `resources`", quote(d.path), kustomizationNames[0])
		if len(found) > 1 {
			message = fmt.Sprintf("directory %s has several kustomization files: keep one", quote(d.path))
		}
		d.refuse(v1alpha1.ReasonKustomizeFailed, path.Join(d.path, kustomizationNames[0]), position{}, message)
		return nil, nil
	}
	file := found[0]
	d.file = file
	p, err := l.view.lookup(file)
	if err == nil && p.mode != ModeFile {
		err = errNotFile
	}
	if err != nil {
		return nil, l.pathError(d, file, position{}, file, err)
	}
	d.depend(file, p)
	if c, ok := l.cache.kusts[file]; ok && !p.hash.IsZero() && c.hash == p.hash {
		return c.kust, nil
	}
	content, err := l.view.tree.ReadFile(p.path, MaxManifestBytes)
	if err != nil {
		return nil, l.pathError(d, file, position{}, file, err)
	}
	k := parseKustomization(file, d.path, content)
	if !p.hash.IsZero() {
		l.cache.kusts[file] = cachedKustomization{p.hash, k}
	}
	return k, nil
}

var errNotFile = errors.New("is not a file")

// pathError makes a finding of an error about a path, when it is the commit's fault.
func (l *loader) pathError(d *directory, file string, pos position, entry string, err error) error {
	var size *SizeError
	switch {
	case errors.As(err, &size):
		d.refuse(v1alpha1.ReasonTooLarge, size.Path, position{}, tooLarge(size))
	case errors.Is(err, errNotFile), errors.Is(err, errNotDir):
		d.refuse(v1alpha1.ReasonKustomizeFailed, file, pos, fmt.Sprintf("%s %v", quote(entry), err))
	case isPathProblem(err):
		reason, message := pathProblem(entry, err)
		d.refuse(reason, file, pos, message)
	default:
		return err
	}
	return nil
}

func tooLarge(e *SizeError) string {
	return fmt.Sprintf("the file has %d bytes, the limit is %d: split it, or keep it out of the repository", e.Size, e.Limit)
}

// split takes the entries of a plain kustomization one by one.
func (l *loader) split(d *directory, k *kustomization) error {
	for i, entry := range k.k.Resources {
		if l.files++; l.files > MaxFiles {
			d.refuse(v1alpha1.ReasonTooLarge, k.file, k.resourcePosition(i), fmt.Sprintf("the kustomizations name more than %d files and directories: put several objects into one file", MaxFiles))
			return nil
		}
		if err := l.entry(d, k, i, entry); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) entry(d *directory, k *kustomization, i int, entry string) error {
	name, reason, message := k.entryPath(entry)
	if reason != "" {
		d.refuse(reason, k.file, k.resourcePosition(i), message)
		return nil
	}
	p, err := l.view.lookup(name)
	if err != nil {
		return l.pathError(d, k.file, k.resourcePosition(i), entry, err)
	}
	d.depend(name, p)
	switch {
	case p.mode == ModeDir:
		return l.subdirectory(d, k, i, p)
	case p.mode != ModeFile:
		d.refuse(v1alpha1.ReasonKustomizeFailed, k.file, k.resourcePosition(i), quote(entry)+" is neither a file nor a directory")
	case !under(name, k.dir):
		d.refuse(v1alpha1.ReasonKustomizeFailed, k.file, k.resourcePosition(i), fmt.Sprintf("%s is a file outside of the kustomization's own directory, which kustomize does not accept: name its directory, with a kustomization of its own", quote(entry)))
	default:
		d.children = append(d.children, child{unit: l.file(p), pos: k.resourcePosition(i)})
	}
	return nil
}

func (l *loader) subdirectory(d *directory, k *kustomization, i int, p place) error {
	for _, above := range l.stack {
		if above == p.path {
			d.refuse(v1alpha1.ReasonKustomizeFailed, k.file, k.resourcePosition(i), fmt.Sprintf("the kustomizations refer to each other in a circle: %s is reached from itself", quote(p.path)))
			return nil
		}
	}
	if len(l.stack) >= MaxKustomizationDepth {
		d.refuse(v1alpha1.ReasonTooLarge, k.file, k.resourcePosition(i), fmt.Sprintf("kustomizations refer to each other more than %d levels deep", MaxKustomizationDepth))
		return nil
	}
	sub, err := l.directory(p)
	if err != nil {
		return err
	}
	d.inherit(sub)
	d.children = append(d.children, child{dir: sub, pos: k.resourcePosition(i)})
	return nil
}

// file yields a plain file from the cache, or puts it on the list of those to be read.
func (l *loader) file(p place) *unit {
	if u, ok := l.units[p.path]; ok {
		return u
	}
	if c, ok := l.cache.files[p.path]; ok && !p.hash.IsZero() && c.hash == p.hash {
		return c.unit
	}
	u := &unit{}
	l.units[p.path] = u
	l.pending = append(l.pending, pendingFile{p, u})
	if !p.hash.IsZero() {
		l.cache.files[p.path] = cachedFile{p.hash, u}
	}
	return u
}

// judgeFiles reads and judges the files of the list, on all processors.
func (l *loader) judgeFiles() error {
	group, ctx := errgroup.WithContext(l.ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range l.pending {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return l.judgeFile(ctx, f)
		})
	}
	return group.Wait()
}

func (l *loader) judgeFile(ctx context.Context, f pendingFile) error {
	content, err := l.view.tree.ReadFile(f.place.path, MaxManifestBytes)
	var size *SizeError
	switch {
	case errors.As(err, &size):
		f.unit.refuse(v1alpha1.ReasonTooLarge, f.place.path, position{}, tooLarge(size))
		return nil
	case err != nil:
		return err
	}
	if l.read.Add(int64(len(content))) > maxManifestTotal {
		f.unit.refuse(v1alpha1.ReasonTooLarge, f.place.path, position{}, fmt.Sprintf("the manifests of the commit have more than %d bytes in all", maxManifestTotal))
		return nil
	}
	docs, bad := parseYAML(content)
	if bad != nil {
		f.unit.refuse(v1alpha1.ReasonInvalidYAML, f.place.path, position{bad.line, bad.column}, bad.message)
	}
	for _, doc := range docs {
		if err := f.unit.judge(ctx, source{file: f.place.path, node: doc.node, exact: true}, doc.value); err != nil {
			return err
		}
	}
	return nil
}

func (u *unit) refuse(reason, file string, pos position, message string) {
	u.findings = append(u.findings, finding(SeverityError, reason, file, pos, "", message))
}

// judge judges one document and keeps the result.
func (u *unit) judge(ctx context.Context, src source, value any) error {
	o, err := judgeObject(ctx, src, value)
	if err != nil || o == nil {
		return err
	}
	u.findings = append(u.findings, o.findings...)
	o.bad, o.findings = hasError(o.findings), nil
	if o.object != nil {
		u.objects = append(u.objects, o)
	}
	return nil
}

// flat is everything that a root directory yields, each directory and file once.
type flat struct {
	units    []*unit
	findings []v1alpha1.Finding
	dirs     map[*directory]bool
	seen     map[*unit]bool
}

// flatten collects what is below a directory, in the order of the kustomizations.
func (f *flat) flatten(d *directory) {
	f.dirs[d] = true
	f.findings = append(f.findings, d.findings...)
	for _, c := range d.children {
		switch {
		case c.dir != nil && !f.dirs[c.dir]:
			f.flatten(c.dir)
		case c.unit != nil && !f.seen[c.unit]:
			f.seen[c.unit] = true
			f.units = append(f.units, c.unit)
		default:
			f.findings = append(f.findings, finding(SeverityError, v1alpha1.ReasonDuplicateObject, d.file, c.pos, "",
				"this file or directory is named twice by the kustomizations: remove one entry"))
		}
	}
}
