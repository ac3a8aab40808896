// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	yaml3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Bounds of a kustomization that is built whole, chosen so that no patch or replacement can multiply into more than
// about a hundred megabytes.
const (
	maxPartBytes       = 4 << 20   // of manifests and of files for generators
	maxTransformBytes  = 256 << 10 // of kustomizations, patches and the like
	maxReplacementText = 16 << 10  // of one value, when there are replacements
	originAnnotation   = "config.kubernetes.io/origin"
)

// Where a part stands in the file system that kustomize sees.
const (
	partRoot = "/r"
	wrapper  = "/k"
)

// part is a kustomization that is built whole, with everything that it names.
type part struct {
	dir *directory
	fs  filesys.FileSystem
	// files are the manifests among its resources: where their documents stand.
	files map[string][]document

	visited        map[string]bool
	objects        int
	bytes          int64
	transformBytes int64
	longest        int
	longestFile    string
	replacements   bool
	secrets        bool
}

type pendingPart struct {
	part *part
	unit *unit
}

// whole collects what a kustomization names; when nothing is wrong with that, it will be built.
func (l *loader) whole(d *directory, k *kustomization) error {
	p := &part{dir: d, fs: filesys.MakeFsInMemory(), files: map[string][]document{}, visited: map[string]bool{}}
	if err := l.collect(p, k, 0); err != nil {
		return err
	}
	p.checkBounds(k)
	if len(d.findings) > 0 {
		return nil
	}
	u := &unit{}
	d.children = append(d.children, child{unit: u})
	l.parts = append(l.parts, pendingPart{p, u})
	return nil
}

func (p *part) checkBounds(k *kustomization) {
	refuse := func(format string, args ...any) {
		p.dir.refuse(v1alpha1.ReasonTooLarge, k.file, position{}, fmt.Sprintf(format, args...))
	}
	if p.objects > MaxPartObjects {
		refuse("this kustomization transforms %d objects, the limit is %d: split it into several directories, or list the objects as plain resources, which have no such limit", p.objects, MaxPartObjects)
	}
	if p.bytes > maxPartBytes {
		refuse("the files of this kustomization have %d bytes, the limit is %d: split it", p.bytes, maxPartBytes)
	}
	if p.transformBytes > maxTransformBytes {
		refuse("kustomizations and patches have %d bytes here, the limit is %d: split them", p.transformBytes, maxTransformBytes)
	}
	if p.replacements && p.longest > maxReplacementText {
		refuse("%s has a value of %d bytes; with replacements the limit is %d", p.longestFile, p.longest, maxReplacementText)
	}
}

// collect copies a kustomization and all that it names into the part's file system. Paths are rewritten to begin with
// "./" or "../" and to name what was copied, so that none of them can mean anything else.
func (l *loader) collect(p *part, k *kustomization, depth int) error {
	d := p.dir
	if len(k.bad) > 0 {
		d.findings = append(d.findings, k.bad...)
		return nil
	}
	if depth > MaxKustomizationDepth {
		d.refuse(v1alpha1.ReasonTooLarge, k.file, position{}, fmt.Sprintf("kustomizations refer to each other more than %d levels deep", MaxKustomizationDepth))
		return nil
	}
	p.visited[k.dir] = true
	p.transformBytes += int64(k.size)
	c := &collector{l: l, p: p, k: k, depth: depth}
	out := k.k
	out.Resources = c.resources()
	out.Components = c.directories("components", k.k.Components)
	out.Crds = c.transforms("crds", k.k.Crds)
	out.Configurations = c.transforms("configurations", k.k.Configurations)
	out.Patches = c.patches()
	out.PatchesJson6902, out.PatchesStrategicMerge = nil, nil
	out.Replacements = c.replacements()
	out.ConfigMapGenerator, out.SecretGenerator = c.generators()
	if labels := out.CommonLabels; len(labels) > 0 {
		out.Labels = append(append([]types.Label{}, out.Labels...), types.Label{Pairs: labels, IncludeSelectors: true})
		out.CommonLabels = nil
	}
	out.BuildMetadata = nil
	if c.err != nil {
		return c.err
	}
	content, err := yaml.Marshal(out)
	if err != nil {
		return fmt.Errorf("internal error: write kustomization: %w", err)
	}
	return p.fs.WriteFile(path.Join(partRoot, k.dir, kustomizationNames[0]), content)
}

// collector copies what one kustomization names.
type collector struct {
	l     *loader
	p     *part
	k     *kustomization
	depth int
	err   error
}

func (c *collector) refuse(reason string, pos position, message string) {
	c.p.dir.refuse(reason, c.k.file, pos, message)
}

// find looks an entry up. It reports and returns false when it is not there.
func (c *collector) find(entry string, pos position) (string, place, bool) {
	name, reason, message := c.k.entryPath(entry)
	if reason != "" {
		c.refuse(reason, pos, message)
		return "", place{}, false
	}
	at, err := c.l.view.lookup(name)
	if err != nil {
		c.fail(c.l.pathError(c.p.dir, c.k.file, pos, entry, err))
		return "", place{}, false
	}
	c.p.dir.depend(name, at)
	return name, at, true
}

func (c *collector) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// resources are files and directories.
func (c *collector) resources() []string {
	var out []string
	for i, entry := range c.k.k.Resources {
		pos := c.k.resourcePosition(i)
		name, at, ok := c.find(entry, pos)
		switch {
		case !ok:
		case at.mode == ModeDir:
			out = c.directory(out, at, pos)
		default:
			if rel, ok := c.file(name, at, entry, pos, c.manifest); ok {
				out = append(out, rel)
				c.p.files[name] = c.p.files[at.path]
			}
		}
	}
	return out
}

func (c *collector) directories(field string, entries []string) []string {
	var out []string
	for i, entry := range entries {
		pos := c.k.entryPosition(field, i)
		_, at, ok := c.find(entry, pos)
		switch {
		case !ok:
		case at.mode != ModeDir:
			c.refuse(v1alpha1.ReasonKustomizeFailed, pos, fmt.Sprintf("%s is not a directory", quote(entry)))
		default:
			out = c.directory(out, at, pos)
		}
	}
	return out
}

// directory copies another kustomization. That they refer to each other in a circle is for kustomize to say.
func (c *collector) directory(out []string, at place, pos position) []string {
	if !c.p.visited[at.path] {
		d := &directory{path: at.path}
		k, err := c.l.kustomization(d)
		c.p.dir.findings = append(c.p.dir.findings, d.findings...)
		c.p.dir.inherit(d)
		if err != nil || k == nil {
			c.fail(err)
			return out
		}
		c.p.dir.depend(at.path, at)
		c.fail(c.l.collect(c.p, k, c.depth+1))
	}
	rel, err := filepath.Rel(c.k.dir, at.path)
	if err != nil {
		c.refuse(v1alpha1.ReasonKustomizeFailed, pos, err.Error())
		return out
	}
	return append(out, dotted(rel))
}

// dotted makes a path that cannot be taken for an address.
func dotted(rel string) string {
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return rel
	}
	return "./" + rel
}

// file copies one file after check has seen it, and returns its path for the kustomization.
func (c *collector) file(name string, at place, entry string, pos position, check func(name string, content []byte) bool) (string, bool) {
	switch {
	case at.mode != ModeFile:
		c.refuse(v1alpha1.ReasonKustomizeFailed, pos, quote(entry)+" is not a file")
		return "", false
	case !under(name, c.k.dir):
		c.refuse(v1alpha1.ReasonKustomizeFailed, pos, fmt.Sprintf("%s is a file outside of the kustomization's own directory, which kustomize does not accept: move it, or name a directory with a kustomization of its own", quote(entry)))
		return "", false
	}
	content, err := c.l.view.tree.ReadFile(at.path, MaxManifestBytes)
	if err != nil {
		c.fail(c.l.pathError(c.p.dir, c.k.file, pos, entry, err))
		return "", false
	}
	if c.p.bytes += int64(len(content)); c.p.bytes > maxPartBytes || !check(at.path, content) {
		return "", false
	}
	c.fail(c.p.fs.WriteFile(path.Join(partRoot, name), content))
	rel, err := filepath.Rel(c.k.dir, name)
	c.fail(err)
	return dotted(rel), true
}

// yaml checks YAML within the bounds before kustomize reads it.
func (c *collector) yaml(file string, content []byte, at position) ([]document, bool) {
	docs, bad := parseYAML(content)
	if bad == nil {
		return docs, true
	}
	pos := position{bad.line, bad.column}
	if at.line > 0 { // text inside of another file
		pos = at
	}
	c.p.dir.refuse(v1alpha1.ReasonInvalidYAML, file, pos, bad.message)
	return nil, false
}

// manifest counts the objects of a file.
func (c *collector) manifest(file string, content []byte) bool {
	docs, ok := c.yaml(file, content, position{})
	for _, doc := range docs {
		c.p.objects++
		m, _ := doc.value.(map[string]any)
		ok = c.textsOnly(file, doc, m) && ok
		if items, ok := m["items"].([]any); ok {
			c.p.objects += len(items)
		}
		if kind, _ := m["kind"].(string); kind == kindSecret {
			c.p.secrets = true
		}
		if n := longestText(doc.value); n > c.p.longest {
			c.p.longest, c.p.longestFile = n, file
		}
	}
	c.p.files[file] = docs
	return ok
}

// textsOnly refuses labels and annotations that are not texts, which kustomize drops silently.
func (c *collector) textsOnly(file string, doc document, object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		texts, ok := metadata[field].(map[string]any)
		ok = ok || metadata[field] == nil
		for _, v := range texts {
			if _, isText := v.(string); !isText {
				ok = false
			}
		}
		if !ok {
			pos, _, _ := locate(doc.node, "metadata."+field)
			c.p.dir.refuse(v1alpha1.ReasonSchemaInvalid, file, pos, fmt.Sprintf("metadata.%s must be a map of texts: put the values in quotes", field))
			return false
		}
	}
	return true
}

func longestText(v any) int {
	longest := 0
	switch v := v.(type) {
	case string:
		return len(v)
	case map[string]any:
		for _, child := range v {
			longest = max(longest, longestText(child))
		}
	case []any:
		for _, child := range v {
			longest = max(longest, longestText(child))
		}
	}
	return longest
}

// transform counts the bytes of what is applied to many objects, and refuses operations that multiply.
func (c *collector) transform(file string, content []byte, at position) bool {
	c.p.transformBytes += int64(len(content))
	docs, ok := c.yaml(file, content, at)
	for _, doc := range docs {
		ops, _ := doc.value.([]any)
		for _, op := range ops {
			m, _ := op.(map[string]any)
			for k, v := range m {
				if name, _ := v.(string); strings.EqualFold(k, "op") && strings.EqualFold(name, "copy") {
					pos := at
					if at.line == 0 {
						pos = positionOf(doc.node)
					}
					c.p.dir.refuse(v1alpha1.ReasonKustomizeFailed, file, pos, "the patch operation copy is not accepted: use replacements, or write the value out")
					return false
				}
			}
		}
	}
	return ok
}

func (c *collector) transformFile(name string, content []byte) bool {
	return c.transform(name, content, position{})
}

func (c *collector) transforms(field string, entries []string) []string {
	var out []string
	for i, entry := range entries {
		pos := c.k.entryPosition(field, i)
		if rel, ok := c.transformPath(entry, pos); ok {
			out = append(out, rel)
		}
	}
	return out
}

func (c *collector) transformPath(entry string, pos position) (string, bool) {
	name, at, ok := c.find(entry, pos)
	if !ok {
		return "", false
	}
	return c.file(name, at, entry, pos, c.transformFile)
}

// patches are those of all three fields, in the order in which kustomize applies them.
func (c *collector) patches() []types.Patch {
	var out []types.Patch
	for i, entry := range c.k.k.PatchesStrategicMerge {
		out = c.patch(out, c.strategic(string(entry)), c.k.entryPosition("patchesStrategicMerge", i))
	}
	for i, p := range c.k.k.Patches {
		out = c.patch(out, p, c.k.entryPosition("patches", i))
	}
	for i, p := range c.k.k.PatchesJson6902 {
		out = c.patch(out, p, c.k.entryPosition("patchesJson6902", i))
	}
	return out
}

// strategic tells a path from a patch in the old field that takes either.
func (c *collector) strategic(entry string) types.Patch {
	if docs, bad := parseYAML([]byte(entry)); bad == nil && len(docs) > 0 {
		if _, ok := docs[0].value.(map[string]any); ok {
			return types.Patch{Patch: entry}
		}
	}
	return types.Patch{Path: entry}
}

func (c *collector) patch(out []types.Patch, p types.Patch, pos position) []types.Patch {
	if p.Patch != "" && !c.transform(c.k.file, []byte(p.Patch), pos) {
		return out
	}
	if p.Path != "" {
		rel, ok := c.transformPath(p.Path, pos)
		if !ok {
			return out
		}
		p.Path = rel
	}
	return append(out, p)
}

func (c *collector) replacements() []types.ReplacementField {
	var out []types.ReplacementField
	for i, r := range c.k.k.Replacements {
		c.p.replacements = true
		if r.Path != "" {
			rel, ok := c.transformPath(r.Path, c.k.entryPosition("replacements", i))
			if !ok {
				continue
			}
			r.Path = rel
		}
		out = append(out, r)
	}
	return out
}

func (c *collector) generators() ([]types.ConfigMapArgs, []types.SecretArgs) {
	var maps []types.ConfigMapArgs
	for i, g := range c.k.k.ConfigMapGenerator {
		g.KvPairSources = c.sources(g.KvPairSources, c.k.entryPosition("configMapGenerator", i))
		maps = append(maps, g)
	}
	var secrets []types.SecretArgs
	for i, g := range c.k.k.SecretGenerator {
		c.p.secrets = true
		g.KvPairSources = c.sources(g.KvPairSources, c.k.entryPosition("secretGenerator", i))
		secrets = append(secrets, g)
	}
	c.p.objects += len(maps) + len(secrets)
	return maps, secrets
}

// sources copies the files of a generator; they may hold anything.
func (c *collector) sources(kv types.KvPairSources, pos position) types.KvPairSources {
	kv.EnvSource = ""
	copyFile := func(entry string) (string, bool) {
		name, at, ok := c.find(entry, pos)
		if !ok {
			return "", false
		}
		return c.file(name, at, entry, pos, func(string, []byte) bool { return true })
	}
	var files, envs []string
	for _, f := range kv.FileSources {
		key, entry, ok := strings.Cut(f, "=")
		if !ok {
			key, entry = path.Base(f), f
		}
		if rel, ok := copyFile(entry); ok {
			files = append(files, key+"="+rel)
		}
	}
	for _, e := range kv.EnvSources {
		if rel, ok := copyFile(e); ok {
			envs = append(envs, rel)
		}
	}
	kv.FileSources, kv.EnvSources = files, envs
	for _, literal := range kv.LiteralSources {
		if len(literal) > c.p.longest {
			c.p.longest, c.p.longestFile = len(literal), c.k.file
		}
	}
	return kv
}

// judgeParts builds the parts of the list and judges their objects.
func (l *loader) judgeParts() error {
	for _, p := range l.parts {
		if err := p.part.build(l.ctx, p.unit); err != nil {
			return err
		}
	}
	return nil
}

// building admits one build at a time: kustomize keeps schemas in variables of the process.
var building = make(chan struct{}, 1)

type built struct {
	resources []*resource.Resource
	err       error
}

// build runs kustomize. A build cannot be interrupted; when ctx ends it goes on alone, and the next one waits for it.
func (p *part) build(ctx context.Context, u *unit) error {
	select {
	case building <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan built, 1)
	go func() {
		defer func() { <-building }()
		done <- p.run()
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case b := <-done:
		if b.err != nil {
			u.refuse(v1alpha1.ReasonKustomizeFailed, p.dir.file, position{}, p.buildError(b.err))
			return nil
		}
		return p.judge(ctx, u, b.resources)
	}
}

var errPanicked = errors.New("kustomize gave up on this input")

func (p *part) run() (b built) {
	defer func() {
		if r := recover(); r != nil {
			b = built{err: errPanicked}
		}
	}()
	content, err := yaml.Marshal(types.Kustomization{
		Resources:     []string{".." + path.Join(partRoot, p.dir.path)},
		BuildMetadata: []string{types.OriginAnnotations},
	})
	if err == nil {
		err = p.fs.WriteFile(path.Join(wrapper, kustomizationNames[0]), content)
	}
	if err != nil {
		return built{err: err}
	}
	var m resmap.ResMap
	m, err = krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(p.fs, wrapper)
	if err != nil {
		return built{err: err}
	}
	return built{resources: m.Resources()}
}

// noise ends what kustomize says of how it came to the place that it means.
const noise = "must resolve to a file': "

func (p *part) buildError(err error) string {
	dir := p.dir.path
	if p.secrets {
		return fmt.Sprintf("kustomize cannot build this, and its message is withheld because the input holds Secrets: run `kustomize build %s`", dir)
	}
	text := err.Error()
	if i := strings.LastIndex(text, noise); i >= 0 {
		text = text[i+len(noise):]
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "'"+partRoot+"/", "'"), partRoot+"/", "")
	return fmt.Sprintf("kustomize cannot build this: %s (`kustomize build %s` shows the same)", text, dir)
}

func (p *part) judge(ctx context.Context, u *unit, resources []*resource.Resource) error {
	if len(resources) > MaxPartObjects {
		u.refuse(v1alpha1.ReasonTooLarge, p.dir.file, position{}, fmt.Sprintf("this kustomization yields %d objects, the limit is %d: split it", len(resources), MaxPartObjects))
		return nil
	}
	for _, r := range resources {
		content, err := r.MarshalJSON()
		var value map[string]any
		if err == nil {
			err = utiljson.Unmarshal(content, &value)
		}
		if err != nil {
			u.refuse(v1alpha1.ReasonKustomizeFailed, p.dir.file, position{}, "kustomize yields an object that is not JSON")
			continue
		}
		if err := u.judge(ctx, p.source(value), value); err != nil {
			return err
		}
	}
	return nil
}

// source finds where an object of the build came from, and takes the annotation that says so off it.
func (p *part) source(value map[string]any) source {
	src := source{file: p.dir.file, pos: position{line: 1}}
	metadata, _ := value["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	text, _ := annotations[originAnnotation].(string)
	delete(annotations, originAnnotation)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	var origin struct {
		Path         string `json:"path"`
		ConfiguredIn string `json:"configuredIn"`
	}
	if yaml.Unmarshal([]byte(text), &origin) != nil {
		return src
	}
	local := func(name string) string { return strings.TrimPrefix(name, ".."+partRoot+"/") }
	if origin.ConfiguredIn != "" {
		src.file = local(origin.ConfiguredIn)
		return src
	}
	docs, ok := p.files[local(origin.Path)]
	if !ok {
		return src
	}
	src.file = local(origin.Path)
	src.node = nearestDocument(docs, value)
	return src
}

// nearestDocument finds the document that an object was made of: of its kind, and of its name as far as prefixes and
// suffixes leave it.
func nearestDocument(docs []document, value map[string]any) (best *yaml3.Node) {
	name, _ := valueAt(value, "metadata.name").(string)
	kind, _ := value["kind"].(string)
	score := -1
	for _, doc := range docs {
		m, _ := doc.value.(map[string]any)
		n, _ := valueAt(m, "metadata.name").(string)
		s := 0
		switch k, _ := m["kind"].(string); {
		case k != kind:
		case n == name:
			s = 1 << 20
		case n != "" && strings.Contains(name, n):
			s = 1 + len(n)
		}
		if s > score {
			best, score = doc.node, s
		}
	}
	return best
}
