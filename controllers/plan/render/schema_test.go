// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/xeipuuv/gojsonschema"

	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/render"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

// TestSchema holds the published schema against the types that it describes.
func TestSchema(t *testing.T) {
	docs := readDocs(t)
	definitions := map[string]any{}
	root := schemaOf(reflect.TypeFor[plan.Report](), docs, definitions)
	want, err := json.MarshalIndent(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "Plan of a change of a Wasmbed fleet, version " + plan.Version,
		"$ref": root["$ref"], "definitions": definitions,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.schema.json", string(want)+"\n")
}

func schemaOf(typ reflect.Type, docs map[string]string, definitions map[string]any) map[string]any {
	switch typ.Kind() {
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(typ.Elem(), docs, definitions)}
	case reflect.Struct:
		ref := map[string]any{"$ref": "#/definitions/" + typ.Name()}
		if definitions[typ.Name()] != nil {
			return ref
		}
		properties, required := map[string]any{}, []string{}
		definitions[typ.Name()] = map[string]any{"type": "object", "description": docs[typ.Name()], "properties": properties}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := f.Tag.Get("json")
			p := schemaOf(f.Type, docs, definitions)
			if doc := docs[typ.Name()+"."+f.Name]; doc != "" {
				if p["$ref"] != nil {
					p = map[string]any{"allOf": []any{p}}
				}
				p["description"] = doc
			}
			properties[name] = p
			required = append(required, name)
		}
		definitions[typ.Name()].(map[string]any)["required"] = required
		return ref
	}
	panic("no schema for " + typ.String())
}

// readDocs reads the comments of the report's types and fields.
func readDocs(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../report.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	text := func(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			s := spec.(*ast.TypeSpec)
			docs[s.Name.Name] = text(g.Doc)
			fields, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					docs[s.Name.Name+"."+name.Name] = text(f.Doc)
				}
			}
		}
	}
	return docs
}

// validJSON holds a document against the schema, as somebody else's program would.
func validJSON(t *testing.T, document []byte) {
	t.Helper()
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(render.Schema), gojsonschema.NewBytesLoader(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range result.Errors() {
		t.Errorf("the JSON is not as its schema says: %s", e)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Errorf("%s is not what is written now (go test ./... -update writes it):\n%s", path, got)
	}
}
