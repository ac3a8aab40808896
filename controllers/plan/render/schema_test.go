// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/xeipuuv/gojsonschema"

	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/plantest"
	"wasmbed.dev/controllers/plan/render"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

// TestSchema holds the published schema against the types that it describes.
func TestSchema(t *testing.T) {
	want := plantest.Schema(t, reflect.TypeFor[plan.Report](), "../report.go", "Plan of a change of a Wasmbed fleet, version "+plan.Version)
	golden(t, "plan.schema.json", want)
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
