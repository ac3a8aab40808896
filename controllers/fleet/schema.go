// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
)

// kindSchema is the compiled schema of one kind, which does what the API server does with an object.
type kindSchema struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// schemas compiles the embedded definitions at first use. An error means that this program was built wrongly.
var schemas = sync.OnceValues(compileSchemas)

func compileSchemas() (map[string]*kindSchema, error) {
	compiled := map[string]*kindSchema{}
	files, err := fs.Glob(config.Files, "crd/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := config.Files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(bytes.TrimPrefix(content, []byte("---\n")), &crd); err != nil {
			return nil, fmt.Errorf("internal error: read %s: %w", file, err)
		}
		if kindByName(crd.Spec.Names.Kind) == nil {
			continue
		}
		if compiled[crd.Spec.Names.Kind], err = compileSchema(&crd); err != nil {
			return nil, fmt.Errorf("internal error: compile %s: %w", file, err)
		}
	}
	return compiled, nil
}

func compileSchema(crd *apiextensionsv1.CustomResourceDefinition) (*kindSchema, error) {
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == v1alpha1.GroupVersion.Version
	})
	if i < 0 {
		return nil, fmt.Errorf("version %s is missing", v1alpha1.GroupVersion.Version)
	}
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[i].Schema.OpenAPIV3Schema, props, nil); err != nil {
		return nil, err
	}
	s := &kindSchema{}
	var err error
	if s.structural, err = structuralschema.NewStructural(props); err != nil {
		return nil, err
	}
	if s.validator, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, err
	}
	s.rules = cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	return s, nil
}

// prepare removes what the schema does not know, returns the paths of it, and applies defaults. It changes the object.
func (s *kindSchema) prepare(object map[string]any) (unknown []string) {
	unknown = pruning.PruneWithOptions(object, s.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, s.structural)
	defaulting.Default(object, s.structural)
	return unknown
}

// validate checks an object with defaults against types, bounds and lists.
func (s *kindSchema) validate(object map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, object, s.validator)
	return append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, object)...)
}

// checkRules evaluates the CEL rules within the API server's own cost budget; old is nil for a new object.
func (s *kindSchema) checkRules(ctx context.Context, object, old map[string]any) field.ErrorList {
	if s.rules == nil {
		return nil
	}
	var previous any
	if old != nil {
		previous = old
	}
	errs, _ := s.rules.Validate(ctx, nil, s.structural, object, previous, celconfig.RuntimeCELCostBudget)
	return errs
}

// nearest returns the field beside an unknown one whose name is most like it, or nothing.
func (s *kindSchema) nearest(fieldPath string) string {
	parent, name := "", fieldPath
	if i := strings.LastIndexByte(fieldPath, '.'); i >= 0 {
		parent, name = fieldPath[:i], fieldPath[i+1:]
	}
	best, distance := "", 3
	for candidate := range s.properties(parent) {
		d := editDistance(strings.ToLower(name), strings.ToLower(candidate))
		if d < distance || d == distance && best != "" && candidate < best {
			best, distance = candidate, d
		}
	}
	return best
}

func (s *kindSchema) properties(parent string) map[string]structuralschema.Structural {
	n := s.structural
	for name := range strings.SplitSeq(parent, ".") {
		if name == "" {
			continue
		}
		name, _, isItem := strings.Cut(name, "[")
		child, ok := n.Properties[name]
		switch {
		case ok:
			n = &child
		case n.AdditionalProperties != nil && n.AdditionalProperties.Structural != nil:
			n = n.AdditionalProperties.Structural
		default:
			return nil
		}
		if isItem && n.Items != nil {
			n = n.Items
		}
	}
	return n.Properties
}

// editDistance is how many letters must be added, removed or replaced; long names are far from everything.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for i := range row {
		row[i] = i
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for k := range len(b) {
			cost := diagonal
			if a[i] != b[k] {
				cost++
			}
			diagonal = row[k+1]
			row[k+1] = min(cost, row[k+1]+1, row[k]+1)
		}
	}
	return row[len(b)]
}
