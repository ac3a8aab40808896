// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// source is where an object stands.
type source struct {
	file string
	node *yaml.Node // nil when no file holds it as it is, as with generated objects
	// exact: the node is the object. Otherwise a kustomization changed it on the way, and only fields that are still
	// as the node says have a position of their own.
	exact bool
	pos   position // of the object, when node is nil
}

func (s source) start() position {
	if s.node == nil {
		return s.pos
	}
	return positionOf(s.node)
}

// at returns the position of a field of the object.
func (s source) at(object map[string]any, fieldPath string) position {
	if s.node == nil {
		return s.pos
	}
	pos, n, found := locate(s.node, fieldPath)
	if s.exact {
		return pos
	}
	if !found || n.Kind != yaml.ScalarNode {
		return s.start()
	}
	if v, _ := convertScalar(n); v != valueAt(object, fieldPath) {
		return s.start()
	}
	return pos
}

// valueAt returns the scalar that a field path names, or nil.
func valueAt(v any, fieldPath string) any {
	for fieldPath != "" {
		switch container := v.(type) {
		case map[string]any:
			best, rest, ok := "", "", false
			for k := range container {
				if r, has := cutKey(fieldPath, k); has && (!ok || len(k) > len(best)) {
					best, rest, ok = k, r, true
				}
			}
			if !ok {
				return nil
			}
			v, fieldPath = container[best], rest
		case []any:
			var i int
			if _, err := fmt.Sscanf(fieldPath, "[%d]", &i); err != nil || i < 0 || i >= len(container) {
				return nil
			}
			_, rest, _ := strings.Cut(fieldPath, "]")
			v, fieldPath = container[i], strings.TrimPrefix(rest, ".")
		default:
			return nil
		}
	}
	switch v.(type) {
	case map[string]any, []any:
		return nil
	}
	return v
}

// judged is an object and all that was found out about it by itself. It is kept in the cache and never changed.
type judged struct {
	object   *Object
	findings []v1alpha1.Finding
	order    int  // of the kind
	bad      bool // it has an error by itself
	fields   map[string]position
	selector labels.Selector // of an Application
	ram      int64           // of an Application with a module, as the board's runtime counts
	keys     []deviceKey     // of a Device
}

// field returns the position of a field that was noted, or that of the object.
func (o *judged) field(path string) position {
	if p, ok := o.fields[path]; ok {
		return p
	}
	return position{line: o.object.Line}
}

// objectJudge judges one object by itself.
type objectJudge struct {
	ctx   context.Context
	src   source
	value map[string]any
	id    ID
	out   *judged
	kind  *acceptedKind
}

// judgeObject judges one document. It returns nil for one that is not to be applied (local-config).
func judgeObject(ctx context.Context, src source, value any) (*judged, error) {
	j := &objectJudge{ctx: ctx, src: src, out: &judged{}}
	m, ok := value.(map[string]any)
	if !ok {
		j.report(v1alpha1.ReasonSchemaInvalid, src.start(), "a document must be an object with apiVersion, kind and metadata")
		return j.out, nil
	}
	j.value = m
	if !j.identify() {
		return j.out, nil
	}
	metadata, ok := j.metadata()
	if metadata != nil && metadata.Annotations["config.kubernetes.io/local-config"] == "true" {
		return nil, nil
	}
	if !ok {
		return j.out, j.complete()
	}
	schemas, err := schemas()
	if err != nil {
		return nil, err
	}
	if s := schemas[j.id.Kind]; s != nil {
		j.value = dropNulls(j.value).(map[string]any)
		err = j.custom(s)
	} else {
		j.value = maps.Clone(j.value)
		j.value["metadata"] = dropNulls(j.value["metadata"])
		maps.DeleteFunc(j.value, func(_ string, v any) bool { return v == nil })
		j.core()
	}
	if err != nil {
		return nil, err
	}
	return j.out, j.complete()
}

func (j *objectJudge) report(reason string, pos position, format string, args ...any) {
	object := ""
	if j.id.Kind != "" && j.id.Name != "" {
		object = j.id.String()
	}
	j.out.findings = append(j.out.findings, finding(SeverityError, reason, j.src.file, pos, object, fmt.Sprintf(format, args...)))
}

// reportField reports on a field, with its position.
func (j *objectJudge) reportField(reason, fieldPath, format string, args ...any) {
	j.report(reason, j.src.at(j.value, fieldPath), format, args...)
}

// note remembers where fields stand, for findings that are made later.
func (j *objectJudge) note(fieldPaths ...string) {
	if j.out.fields == nil {
		j.out.fields = map[string]position{}
	}
	for _, p := range fieldPaths {
		j.out.fields[p] = j.src.at(j.value, p)
	}
}

// complete makes the Object.
func (j *objectJudge) complete() error {
	content, err := canonical(j.value)
	if err != nil {
		return fmt.Errorf("internal error: %s: %w", j.id, err)
	}
	if len(content) > MaxManifestBytes {
		j.report(v1alpha1.ReasonTooLarge, j.src.start(), "the object has %d bytes, the limit is %d: split it", len(content), MaxManifestBytes)
	}
	o := j.out.object
	o.JSON, o.Digest = content, hexDigest(content)
	return nil
}

func hexDigest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// identify finds kind and name. Without them nothing more can be said.
func (j *objectJudge) identify() bool {
	apiVersion, _ := j.value["apiVersion"].(string)
	kind, _ := j.value["kind"].(string)
	metadata, _ := j.value["metadata"].(map[string]any)
	j.id.Kind = kind
	j.id.Name, _ = metadata["name"].(string)
	j.id.Namespace, _ = metadata["namespace"].(string)
	if apiVersion == "" || kind == "" {
		j.report(v1alpha1.ReasonSchemaInvalid, j.src.start(), "apiVersion and kind are missing: every document needs both")
		return false
	}
	if j.kind = kindByName(kind); j.kind == nil || j.kind.gvk.GroupVersion().String() != apiVersion {
		j.reportField(v1alpha1.ReasonKindNotAllowed, "kind", "%s", notAllowed(apiVersion, kind))
		return false
	}
	if !j.kind.namespaced {
		j.id.Namespace = ""
	}
	if _, ok := metadata["name"].(string); !ok || j.id.Name == "" {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "metadata.name", "metadata.name is missing or not a text: give the object a name")
		return false
	}
	start := j.src.start()
	j.out.order = kindOrder(kind)
	j.out.object = &Object{ID: j.id, File: j.src.file, Line: start.line}
	return true
}

func notAllowed(apiVersion, kind string) string {
	if k := kindByName(kind); k != nil {
		return fmt.Sprintf("apiVersion %s of kind %s is not known here: write %s", quote(apiVersion), kind, k.gvk.GroupVersion())
	}
	switch kind {
	case "Repository":
		return "a Repository is made by an administrator, never from git: apply it with kubectl"
	case "Instance":
		return "Instances are made by the application controller: commit an Application"
	case "List":
		return "lists are not accepted: write the items as documents of their own, separated by ---"
	case "Kustomization", "Component":
		return "a kustomization is named by its directory in resources, not by its file"
	}
	return fmt.Sprintf("kind %s of %s is not accepted from git, only Namespace, ConfigMap, Secret, Gateway, Device and Application: remove it", quote(kind), quote(apiVersion))
}

// forbiddenMetadata are fields that the API server or the system writes.
var forbiddenMetadata = map[string]string{
	"managedFields": "", "ownerReferences": "", "finalizers": "", "resourceVersion": "", "uid": "", "generation": "",
	"creationTimestamp": "", "deletionTimestamp": "", "deletionGracePeriodSeconds": "", "selfLink": "",
	"generateName": ": give a name",
}

// metadata checks metadata. It returns what could be read of it, and whether the object can be judged further.
func (j *objectJudge) metadata() (*metav1.ObjectMeta, bool) {
	m := j.value["metadata"].(map[string]any)
	meta := &metav1.ObjectMeta{Name: j.id.Name, Namespace: j.id.Namespace}
	ok := true
	for _, key := range slices.Sorted(maps.Keys(m)) {
		path := "metadata." + key
		switch value := m[key]; key {
		case "name":
		case "namespace":
			if _, isText := value.(string); !isText && value != nil {
				j.reportField(v1alpha1.ReasonSchemaInvalid, path, "metadata.namespace must be a text")
				ok = false
			} else if !j.kind.namespaced && value != nil {
				j.reportField(v1alpha1.ReasonSchemaInvalid, path, "a %s has no namespace: remove the field", j.id.Kind)
			}
		case "labels":
			meta.Labels = j.texts(path, value)
		case "annotations":
			meta.Annotations = j.texts(path, value)
		default:
			hint, known := forbiddenMetadata[key]
			switch {
			case value == nil && known:
			case known && hint != "":
				j.reportField(v1alpha1.ReasonSchemaInvalid, path, "%s is not accepted%s", path, hint)
			case known:
				j.reportField(v1alpha1.ReasonSchemaInvalid, path, "%s is written by the API server: remove it", path)
			default:
				j.reportField(v1alpha1.ReasonSchemaInvalid, path, "unknown field %s", quote(path))
			}
		}
	}
	nameFn := apivalidation.ValidateNameFunc(apivalidation.NameIsDNSSubdomain)
	if j.id.Kind == kindNamespace {
		nameFn = apivalidation.NameIsDNSLabel
	}
	j.fieldErrors(v1alpha1.ReasonSchemaInvalid, apivalidation.ValidateObjectMeta(meta, j.kind.namespaced, nameFn, field.NewPath("metadata")))
	j.reserved()
	return meta, ok && len(j.out.findings) == 0
}

// texts reads a map of texts and refuses keys of the system.
func (j *objectJudge) texts(path string, value any) map[string]string {
	if value == nil {
		return nil
	}
	m, ok := value.(map[string]any)
	if !ok {
		j.reportField(v1alpha1.ReasonSchemaInvalid, path, "%s must be a map", path)
		return nil
	}
	out := make(map[string]string, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := path + "[" + key + "]"
		text, ok := m[key].(string)
		if !ok {
			j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s: the value of %s must be a text: put it in quotes", path, quote(key))
			continue
		}
		if prefix, _, ok := strings.Cut(key, "/"); ok && (prefix == v1alpha1.Group || strings.HasSuffix(prefix, "."+v1alpha1.Group)) {
			j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s: keys of %s belong to the system: use a prefix of your own, or none", path, v1alpha1.Group)
			continue
		}
		out[key] = text
	}
	return out
}

// reserved keeps git out of what belongs to the installation.
func (j *objectJudge) reserved() {
	namespace, path := j.id.Namespace, "metadata.namespace"
	if j.id.Kind == kindNamespace {
		namespace, path = j.id.Name, "metadata.name"
	}
	if namespace == v1alpha1.SystemNamespace || namespace == v1alpha1.IdentityNamespace || strings.HasPrefix(namespace, "kube-") {
		j.reportField(v1alpha1.ReasonSchemaInvalid, path, "namespace %s belongs to the installation: use another one", quote(namespace))
	}
	if j.id.Kind == kindSecret && strings.HasPrefix(j.id.Name, "gateway-") && strings.HasSuffix(j.id.Name, "-identity") {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "metadata.name", "Secrets named gateway-…-identity are made by the controllers: use another name")
	}
}

// custom judges a Device, Gateway or Application.
func (j *objectJudge) custom(s *kindSchema) error {
	if _, ok := j.value["status"]; ok {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "status", "status is reported by the controllers: remove it")
	}
	defaulted := runtime.DeepCopyJSON(j.value)
	unknown := s.prepare(defaulted)
	for _, path := range unknown {
		hint := "remove it"
		if near := s.nearest(path); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		j.reportField(v1alpha1.ReasonSchemaInvalid, path, "unknown field %s: %s", quote(path), hint)
	}
	if errs := s.validate(defaulted); len(errs) > 0 {
		j.fieldErrors(v1alpha1.ReasonSchemaInvalid, errs)
		return nil
	}
	if len(unknown) > 0 {
		return nil // what the rules say may follow from a field with a wrong name
	}
	if errs := s.checkRules(j.ctx, defaulted, nil); len(errs) > 0 {
		if err := j.ctx.Err(); err != nil {
			return err
		}
		j.fieldErrors(v1alpha1.ReasonRuleViolated, errs)
		return nil
	}
	return j.typed(defaulted)
}

// typed makes the typed view and judges what no schema can say.
func (j *objectJudge) typed(defaulted map[string]any) error {
	o := j.out.object
	var into any
	switch j.id.Kind {
	case kindDevice:
		o.Device = &v1alpha1.Device{}
		into = o.Device
	case kindGateway:
		o.Gateway = &v1alpha1.Gateway{}
		into = o.Gateway
	case kindApplication:
		o.Application = &v1alpha1.Application{}
		into = o.Application
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(defaulted, into); err != nil {
		o.Device, o.Gateway, o.Application = nil, nil, nil
		j.report(v1alpha1.ReasonSchemaInvalid, j.src.start(), "the object cannot be read: %v", err)
		return nil
	}
	switch j.id.Kind {
	case kindDevice:
		j.device(o.Device)
	case kindGateway:
		j.gateway(o.Gateway)
	case kindApplication:
		j.application(o.Application)
	}
	return nil
}

// fieldInDetail takes the field out of a text like "must be of format int32 in spec.limits.memory".
var fieldInDetail = regexp.MustCompile(`^(.*) in (spec[^ ]*)$`)

// fieldErrors reports what the API server's own validation found.
func (j *objectJudge) fieldErrors(reason string, errs field.ErrorList) {
	mistyped := map[string]bool{}
	for _, e := range errs {
		if e.Type == field.ErrorTypeTypeInvalid {
			mistyped[e.Field] = true
		}
	}
	for _, e := range errs {
		if mistyped[e.Field] && e.Type != field.ErrorTypeTypeInvalid {
			continue // what follows from the wrong type
		}
		if e.Field == "" || e.Field == "<nil>" {
			e.Field = ""
			if m := fieldInDetail.FindStringSubmatch(e.Detail); m != nil {
				e.Detail, e.Field = m[1], m[2]
			}
		}
		j.reportField(reason, e.Field, "%s", describe(e, j.id.Kind == kindSecret))
	}
}

// describe puts an error of the API server's validation into words. A secret's values are not shown.
func describe(e *field.Error, secret bool) string {
	name := e.Field
	detail := strings.ReplaceAll(e.Detail, " in body", "")
	if name == "" {
		return detail
	}
	if rest, ok := strings.CutPrefix(detail, e.Field+" "); ok {
		detail = rest
	}
	switch e.Type {
	case field.ErrorTypeRequired:
		if detail == "" {
			return name + " is required: add it"
		}
		return name + " is required: " + detail
	case field.ErrorTypeNotSupported:
		return fmt.Sprintf("%s: %s is not one of the values that it may have: %s", name, shown(e.BadValue, secret), strings.TrimPrefix(detail, "supported values: "))
	case field.ErrorTypeDuplicate:
		return fmt.Sprintf("%s: %s is there twice: remove one", name, shown(e.BadValue, secret))
	case field.ErrorTypeTypeInvalid:
		what, _, _ := strings.Cut(detail, ": ")
		if what == "must be of type string" {
			what += ": put it in quotes"
		}
		return name + " " + what
	}
	if v := shown(e.BadValue, secret); v != "" && e.Type != field.ErrorTypeTooLong && e.Type != field.ErrorTypeTooMany {
		return fmt.Sprintf("%s: %s: %s", name, v, detail)
	}
	return name + ": " + detail
}

// shown is a value for a message: short texts and numbers only.
func shown(v any, secret bool) string {
	if secret {
		return "the value"
	}
	switch v := v.(type) {
	case string:
		if v == "" {
			return ""
		}
		return quote(v)
	case int64, int32, int, float64, bool:
		return fmt.Sprint(v)
	}
	return ""
}

// dropNulls returns the value without map entries that are null, which say nothing.
func dropNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, child := range v {
			if child != nil {
				out[k] = dropNulls(child)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, child := range v {
			out[i] = dropNulls(child)
		}
		return out
	}
	return v
}
