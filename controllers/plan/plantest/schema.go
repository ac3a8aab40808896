// SPDX-License-Identifier: Apache-2.0

package plantest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"
)

// Schema is the JSON schema (draft 7) of a report's type, described by the comments of the file that declares it.
func Schema(t testing.TB, typ reflect.Type, path, title string) string {
	t.Helper()
	definitions := map[string]any{}
	root := schemaOf(typ, readDocs(t, path), definitions)
	text, err := json.MarshalIndent(map[string]any{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": title, "$ref": root["$ref"], "definitions": definitions,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
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
func readDocs(t testing.TB, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
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
