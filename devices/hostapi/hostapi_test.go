// SPDX-License-Identifier: Apache-2.0

package hostapi_test

import (
	"slices"
	"strings"
	"testing"

	"wasmbed.dev/devices/hostapi"
)

func TestEveryRowIsWellFormed(t *testing.T) {
	for _, f := range hostapi.Functions() {
		if f.Module != hostapi.Module || f.Doc == "" || len(f.Results) != 1 {
			t.Errorf("%s: module, doc or result missing: %+v", f.Name, f)
		}
		if !strings.HasPrefix(f.Name, "ocre_") && !strings.HasPrefix(f.Name, "wasmbed_") {
			t.Errorf("%s: no known prefix", f.Name)
		}
		if f.Permission != hostapi.PermissionNone && !hostapi.Known(f.Permission) {
			t.Errorf("%s: unknown permission %q", f.Name, f.Permission)
		}
		for i, p := range f.Params {
			sized := p.Kind == hostapi.Bytes || p.Kind == hostapi.Buffer
			if sized && (i+1 == len(f.Params) || !strings.HasSuffix(f.Params[i+1].Name, "length")) {
				t.Errorf("%s: no length follows %s", f.Name, p.Name)
			}
		}
	}
	if !slices.IsSorted(hostapi.Permissions()) {
		t.Error("permissions are not in ascending order")
	}
}

func TestLookup(t *testing.T) {
	f, ok := hostapi.Lookup("env", "ocre_sensors_read")
	if !ok || f.Permission != hostapi.PermissionSensor || f.Signature() != "(i32, i32) -> f64" {
		t.Fatalf("ocre_sensors_read: %v %+v", ok, f)
	}
	if !f.Matches([]byte{hostapi.I32, hostapi.I32}, []byte{hostapi.F64}) || f.Matches([]byte{hostapi.I32}, []byte{hostapi.F64}) {
		t.Error("Matches does not compare types")
	}
	for _, bad := range [][2]string{{"wasi_snapshot_preview1", "ocre_sleep"}, {"env", "system"}, {"", ""}} {
		if _, ok := hostapi.Lookup(bad[0], bad[1]); ok {
			t.Errorf("found %v", bad)
		}
	}
}
