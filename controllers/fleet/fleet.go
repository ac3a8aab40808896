// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/wasmcheck"
)

// Bounds of what is read from a commit.
const (
	// MaxManifestBytes is the largest manifest, kustomization or patch.
	MaxManifestBytes = 1 << 20
	// MaxModuleBytes is the largest module of any board.
	MaxModuleBytes = 1 << 20
	// MaxPartObjects is how many objects a kustomization that is built whole may have.
	MaxPartObjects = 500
	// MaxObjects is how many objects a commit may have.
	MaxObjects = 50_000
	// MaxFiles is how many files the kustomizations of a commit may name.
	MaxFiles = 60_000
	// MaxYAMLDepth is how deep a manifest may nest.
	MaxYAMLDepth = 64
	// MaxYAMLNodes is how many values a manifest may have with its aliases written out.
	MaxYAMLNodes = 1_000_000
	// MaxKustomizationDepth is how deep kustomizations may refer to each other.
	MaxKustomizationDepth = 32
	// MaxFindings is how many findings are kept; Fleet.MoreFindings counts the rest.
	MaxFindings = 1_000
)

// Severities of findings.
const (
	SeverityError   = "Error"
	SeverityWarning = "Warning"
)

// Options of Judge.
type Options struct {
	// Root is the directory of the root kustomization, as Repository.spec.path; empty means ".".
	Root string
	// Cache of earlier judgements of the same repository; may be nil.
	Cache *Cache
	// Previous is the fleet that the commit would replace: fields that cannot change are compared with it. It may be
	// nil.
	Previous *Fleet
}

// ID names an object.
type ID struct {
	Kind      string
	Namespace string // empty for a Namespace
	Name      string
}

// String returns "Kind namespace/name".
func (id ID) String() string {
	if id.Namespace == "" {
		return id.Kind + " " + id.Name
	}
	return id.Kind + " " + id.Namespace + "/" + id.Name
}

// GroupVersionKind returns the kind with its group and version.
func (id ID) GroupVersionKind() schema.GroupVersionKind {
	if k := kindByName(id.Kind); k != nil {
		return k.gvk
	}
	return schema.GroupVersionKind{Kind: id.Kind}
}

// Object is one object of a commit. It is shared between judgements and must not be changed.
type Object struct {
	ID ID
	// JSON is the object as git says it, keys in order, without defaults, an Application with its module's digest
	// and size.
	JSON []byte
	// Digest is the SHA-256 of JSON in hexadecimal.
	Digest string
	// File and Line are where the object stands.
	File string
	Line int

	// Device, Application and Gateway are the object with defaults applied; one of them is set when the kind is so
	// and the object has the right shape.
	Device      *v1alpha1.Device
	Application *v1alpha1.Application
	Gateway     *v1alpha1.Gateway
}

// Unstructured returns a new copy of the object, as to be applied.
func (o *Object) Unstructured() (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(o.JSON); err != nil {
		return nil, fmt.Errorf("internal error: %s: %w", o.ID, err)
	}
	return u, nil
}

// Source returns "file:line".
func (o *Object) Source() string { return fmt.Sprintf("%s:%d", o.File, o.Line) }

// Module is a WebAssembly module that an Application of the commit names.
type Module struct {
	Path   string
	Digest string // "sha256:" and hexadecimal digits
	Size   int64
	Info   wasmcheck.Info
}

// Fleet is what a commit says, and what is wrong with it. It is not changed after Judge returned it.
type Fleet struct {
	// Objects in the order in which they are applied: Namespaces first, then by kind, namespace and name.
	Objects []*Object
	// Modules by digest: those that the Applications name and that are valid.
	Modules map[string]*Module
	// Findings: errors first, then by file and line.
	Findings []v1alpha1.Finding
	// MoreFindings is how many there were beyond MaxFindings.
	MoreFindings int

	// Devices, Applications and Gateways are the typed views of Objects, in the same order.
	Devices      []*v1alpha1.Device
	Applications []*v1alpha1.Application
	Gateways     []*v1alpha1.Gateway

	byID map[ID]*Object
	tree Tree
}

// Get returns an object by name, or nil.
func (f *Fleet) Get(id ID) *Object { return f.byID[id] }

// IDs names all objects, in the order of Objects.
func (f *Fleet) IDs() []ID {
	ids := make([]ID, len(f.Objects))
	for i, o := range f.Objects {
		ids[i] = o.ID
	}
	return ids
}

// Counts counts the objects by kind.
func (f *Fleet) Counts() v1alpha1.ObjectCounts {
	var c v1alpha1.ObjectCounts
	for _, o := range f.Objects {
		switch o.ID.Kind {
		case kindDevice:
			c.Devices++
		case kindGateway:
			c.Gateways++
		case kindApplication:
			c.Applications++
		default:
			c.Others++
		}
	}
	return c
}

// Refused reports whether a finding is an error, so that nothing of the commit may be applied.
func (f *Fleet) Refused() bool {
	return len(f.Findings) > 0 && f.Findings[0].Severity == SeverityError
}

// ReadModule returns the bytes of a module, checked against its digest.
func (f *Fleet) ReadModule(digest string) ([]byte, error) {
	m, ok := f.Modules[digest]
	if !ok {
		return nil, fmt.Errorf("module %s is not in this commit", digest)
	}
	content, err := f.tree.ReadFile(m.Path, MaxModuleBytes)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.Path, err)
	}
	if got := digestOf(content); got != digest {
		return nil, fmt.Errorf("read module %s: it changed to %s while it was judged", m.Path, got)
	}
	return content, nil
}

// Judge reads the commit in tree and judges it whole. What is wrong with the commit is in the findings; an error
// means that it could not be judged: the tree could not be read, or ctx ended.
func Judge(ctx context.Context, tree Tree, opts Options) (*Fleet, error) {
	j, err := newJudgement(ctx, tree, opts)
	if err != nil {
		return nil, err
	}
	defer j.close()
	return j.run()
}

func canonical(v any) ([]byte, error) { return json.Marshal(v) }
