// SPDX-License-Identifier: Apache-2.0

// Package schemas makes JSON schemas (draft 7) for editors from the custom resource definitions: what an editor accepts
// in a manifest is what the API server accepts, apart from rules in CEL, which `wasmbed validate` checks.
package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/plan"
)

// Dir is where the schemas lie in a fleet's repository; the manifests' first lines name them there.
const Dir = "schemas"

// kinds are what people write into files, Repositories into those that they give to kubectl.
var kinds = []string{"Application", "Device", "Gateway", "Repository"}

// All returns the schemas by file name: one for each kind, and that of policy.yaml.
func All() (map[string][]byte, error) {
	out := map[string][]byte{}
	files, err := fs.Glob(config.Files, "crd/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	for _, file := range files {
		content, err := config.Files.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(bytes.TrimPrefix(content, []byte("---\n")), &crd); err != nil {
			return nil, fmt.Errorf("internal error: read %s: %w", file, err)
		}
		if !slices.Contains(kinds, crd.Spec.Names.Kind) {
			continue
		}
		if out[FileOf(crd.Spec.Names.Kind)], err = ofKind(&crd); err != nil {
			return nil, err
		}
	}
	out["policy.json"], err = encode(policySchema())
	return out, err
}

// FileOf is the name of a kind's schema.
func FileOf(kind string) string { return strings.ToLower(kind) + ".json" }

func encode(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return append(text, '\n'), nil
}

type object = map[string]any

// ofKind is the schema of a manifest. Further documents of a file, a Namespace for instance, are of other kinds and
// pass: an editor knows one schema for a file.
func ofKind(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	version := crd.Spec.Versions[0]
	text, err := json.Marshal(version.Schema.OpenAPIV3Schema)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	var schema object
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	schema = convert(schema).(object)
	properties := schema["properties"].(object)
	delete(properties, "status")
	texts := object{"type": "object", "additionalProperties": object{"type": "string"}}
	properties["apiVersion"] = object{"const": crd.Spec.Group + "/" + version.Name}
	properties["kind"] = object{"const": crd.Spec.Names.Kind}
	properties["metadata"] = object{
		"type": "object", "required": []string{"name"}, "additionalProperties": false, "properties": object{
			"name": object{"type": "string"}, "namespace": object{"type": "string"}, "labels": texts, "annotations": texts,
		},
	}
	schema["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
	return encode(object{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": crd.Spec.Names.Kind + " of " + crd.Spec.Group + "/" + version.Name,
		"if":   object{"properties": object{"kind": object{"const": crd.Spec.Names.Kind}}, "required": []string{"kind"}},
		"then": schema,
	})
}

// convert turns a structural schema of Kubernetes into JSON schema: what only Kubernetes knows goes, and fields that
// are not listed are refused, as the judgement of a commit does.
func convert(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = convert(v[i])
		}
		return v
	case object:
		out := object{}
		for key, value := range v {
			if !strings.HasPrefix(key, "x-kubernetes-") && key != "format" && key != "nullable" && key != "properties" {
				out[key] = convert(value)
			}
		}
		if v["x-kubernetes-int-or-string"] == true {
			delete(out, "anyOf")
			out["type"] = []string{"integer", "string"}
		}
		properties, ok := v["properties"].(object)
		if !ok {
			return out
		}
		converted := object{}
		for name, schema := range properties { // a property may be named as a keyword is
			converted[name] = convert(schema)
		}
		out["properties"] = converted
		if v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
		return out
	}
	return v
}

// policySchema describes policy.yaml.
func policySchema() object {
	level := object{"enum": []string{plan.LevelOff, plan.LevelWarn, plan.LevelDeny}}
	rules := object{}
	for _, r := range plan.Rules {
		rules[r.Name] = object{"description": r.Doc, "enum": level["enum"], "default": r.Level}
	}
	text := object{"type": "string", "minLength": 1}
	check := object{"type": "object", "additionalProperties": false, "required": []string{"name", "expression", "message"}, "properties": object{
		"name": object{"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}, "level": level, "expression": text, "message": text,
	}}
	return object{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "Policy of a Wasmbed fleet", "type": []string{"object", "null"}, "additionalProperties": false,
		"properties": object{
			"rules":  object{"type": "object", "additionalProperties": false, "properties": rules},
			"checks": object{"type": "array", "maxItems": 32, "items": check},
		},
	}
}

// Names are the schemas' names without ending, in order.
func Names(all map[string][]byte) []string {
	var out []string
	for _, file := range slices.Sorted(maps.Keys(all)) {
		out = append(out, strings.TrimSuffix(file, ".json"))
	}
	return out
}
