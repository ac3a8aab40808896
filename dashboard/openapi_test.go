// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/views"
)

// document is what the test reads of openapi.yaml.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string `yaml:"operationId"`
		Parameters  []struct {
			Ref, Name, In string
			RefName       string `yaml:"$ref"`
		}
		Responses map[string]any
	}
	Components struct {
		Schemas map[string]schema
	}
}

type schema struct {
	Type       any
	Required   []string
	Properties map[string]schema
	Items      *schema
	Additional *schema `yaml:"additionalProperties"`
	Ref        string  `yaml:"$ref"`
	Enum       []string
	Format     string
}

func readOpenAPI(t *testing.T) *document {
	t.Helper()
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// answers are the Go types behind the schemas that paths answer with.
var answers = map[string]any{
	"Overview": views.Overview{}, "CommitDetail": views.CommitDetail{}, "ApplicationDetail": views.ApplicationDetail{}, "DeviceDetail": views.DeviceDetail{},
	"GatewayDetail": views.GatewayDetail{}, "Metrics": views.Metrics{}, "Topology": views.Topology{}, "Facets": views.Facets{}, "System": views.System{}, "Logs": views.Logs{},
	"TerminalAnswer": terminalAnswer{}, "Session": sessionAnswer{}, "Error": errorAnswer{},
	"Problem": fleet.Problem{}, "Repository": fleet.Repository{}, "Commit": fleet.Commit{}, "Application": fleet.Application{}, "Device": fleet.Device{},
	"Instance": fleet.Instance{}, "Gateway": fleet.Gateway{}, "Event": fleet.Event{},
}

func TestOpenAPIHasThePathsAndParametersThatTheServerHas(t *testing.T) {
	d := readOpenAPI(t)
	want := map[string][]string{apiPrefix + "stream": {"session"}, apiPrefix + "session": nil, apiPrefix + "logs": {"app", "device", "level", "lines", "namespace", "search"}, apiPrefix + "terminal": {"line"}}
	for _, r := range routes {
		all := views.ParametersOf(r.view)
		if all == nil {
			t.Fatalf("path %s answers with view %q, which there is not", r.path, r.view)
		}
		inPath := pathNames(r.path)
		names := slices.DeleteFunc(slices.Clone(*all), func(n string) bool { return slices.Contains(inPath, n) })
		slices.Sort(names)
		want[apiPrefix+r.path] = names
	}
	if got := slices.Sorted(maps.Keys(d.Paths)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("paths\n%v\nthe server has\n%v", got, slices.Sorted(maps.Keys(want)))
	}
	for path, methods := range d.Paths {
		if len(methods) != 1 || methods["get"].OperationID == "" {
			t.Errorf("%s has other methods than GET, or no operationId", path)
		}
		var query []string
		for _, p := range methods["get"].Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			} else if name, ok := strings.CutPrefix(p.RefName, "#/components/parameters/"); ok {
				query = append(query, name)
			} else if !strings.Contains(path, "{"+p.Name+"}") {
				t.Errorf("%s has no {%s}", path, p.Name)
			}
		}
		slices.Sort(query)
		if !slices.Equal(query, want[path]) {
			t.Errorf("%s takes %v, the server %v", path, query, want[path])
		}
	}
}

func TestOpenAPIHasTheFieldsThatAnswersHave(t *testing.T) {
	d := readOpenAPI(t)
	seen := map[string]bool{}
	for name, value := range answers {
		s, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("no schema %s", name)
			continue
		}
		seen[name] = true
		d.compare(t, name, s, reflect.TypeOf(value), seen)
	}
	for name := range d.Components.Schemas {
		list, isList := strings.CutSuffix(name, "List")
		if _, known := answers[list]; !seen[name] && (!isList || !known) && name != "State" {
			t.Errorf("schema %s is nothing that the server answers with", name)
		}
	}
}

var wholeNumber = regexp.MustCompile(`^u?int\d*$`)

// compare holds a schema against a Go type.
func (d *document) compare(t *testing.T, path string, s schema, of reflect.Type, seen map[string]bool) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		s = d.Components.Schemas[name]
		if name == "State" {
			if of != reflect.TypeFor[fleet.State]() {
				t.Errorf("%s is a State, the server has %s", path, of)
			}
			return
		}
		if seen[name] {
			return
		}
		seen[name] = true
	}
	switch {
	case of == reflect.TypeFor[fleet.Moment]() || of.String() == "time.Time":
		if s.Format != "date-time" {
			t.Errorf("%s is a time", path)
		}
	case of.Kind() == reflect.Struct:
		d.compareStruct(t, path, s, of, seen)
	case of.Kind() == reflect.Slice && s.Items != nil:
		d.compare(t, path+"[]", *s.Items, of.Elem(), seen)
	case of.Kind() == reflect.Map && s.Additional != nil:
		d.compare(t, path+"{}", *s.Additional, of.Elem(), seen)
	default:
		kinds := map[bool]any{true: "integer"}
		want := kinds[wholeNumber.MatchString(of.Kind().String())]
		switch of.Kind() {
		case reflect.String:
			want = "string"
		case reflect.Bool:
			want = "boolean"
		case reflect.Float64:
			want = "number"
		}
		if s.Type != want && !reflect.DeepEqual(s.Type, []any{want, "null"}) {
			t.Errorf("%s is %v, the server has %s", path, s.Type, of)
		}
	}
}

func (d *document) compareStruct(t *testing.T, path string, s schema, of reflect.Type, seen map[string]bool) {
	fields := map[string]reflect.Type{}
	var always []string
	for _, f := range views.FieldsOf(of) {
		fields[f.Name] = f.Type
		if !f.OmitEmpty {
			always = append(always, f.Name)
		}
	}
	if got, want := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(fields)); !slices.Equal(got, want) {
		t.Errorf("%s has %v, the server %v", path, got, want)
		return
	}
	for _, name := range s.Required {
		if !slices.Contains(always, name) {
			t.Errorf("%s.%s is required, and the server leaves it out when it is empty", path, name)
		}
	}
	for name, property := range s.Properties {
		d.compare(t, path+"."+name, property, fields[name], seen)
	}
}
