// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"fmt"
	"strings"
)

// Base is a small good fleet: a namespace, three devices, two applications with their modules, a gateway. Lines of its
// files are what Cases count on.
func Base() Tree {
	t := Tree{}
	t.List(".", "namespace.yaml", "devices", "apps")
	t.Set("namespace.yaml", `apiVersion: v1
kind: Namespace
metadata:
  name: plant
`)
	t.List("devices", "a.yaml", "b.yaml", "gateway.yaml")
	t.Set("devices/a.yaml", Device("a", "board: sim-m4", "backend: Simulated"))
	t.Set("devices/b.yaml", Device("b", "board: sim-m4", "backend: Simulated")+"---\n"+Device("c", "board: mps2-an385", "backend: Simulated", "gateway: main"))
	t.Set("devices/gateway.yaml", `apiVersion: wasmbed.dev/v1alpha1
kind: Gateway
metadata:
  name: main
  namespace: plant
spec: {}
`)
	t.List("apps", "blink.yaml", "report.yaml")
	t.Set("apps/blink.yaml", App("blink", "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0}"))
	t.Set("apps/report.yaml", App("report", "apps/report.wasm", "permissions: [log]", "limits: {memory: 65536}"))
	t.Set("apps/blink.wasm", Module{Imports: []string{"ocre_gpio_init", "ocre_timer_create"}}.Bytes())
	t.Set("apps/report.wasm", Module{Imports: []string{"wasmbed_log", "ocre_sleep"}, Pages: 1}.Bytes())
	return t
}

// Device is a Device's manifest with these lines in its spec, from line 8 on.
func Device(name string, spec ...string) string {
	return manifest("Device", name, "  labels: {site: hall}\n", spec)
}

// App is an Application's manifest for the devices of site "hall", with these lines in its spec, from line 9 on.
func App(name, module string, spec ...string) string {
	return manifest("Application", name, "", append([]string{
		fmt.Sprintf("module: {path: %s}", module),
		"selector: {matchLabels: {site: hall}}",
	}, spec...))
}

func manifest(kind, name, metadata string, spec []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: wasmbed.dev/v1alpha1\nkind: %s\nmetadata:\n  name: %s\n  namespace: plant\n%sspec:\n", kind, name, metadata)
	for _, line := range spec {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	return b.String()
}

// Large is a good fleet of so many devices, each in a file of its own, perDir in a directory (0: all in one), with a
// few applications.
func Large(devices, perDir int) Tree {
	t := Base()
	if perDir <= 0 {
		perDir = devices
	}
	var dirs []string
	for start := 0; start < devices; start += perDir {
		dir := fmt.Sprintf("d%03d", len(dirs))
		var files []string
		for i := start; i < min(start+perDir, devices); i++ {
			name := fmt.Sprintf("device-%05d", i)
			files = append(files, name+".yaml")
			t.Set("fleet/"+dir+"/"+name+".yaml", fmt.Sprintf(`apiVersion: wasmbed.dev/v1alpha1
kind: Device
metadata:
  name: %s
  namespace: plant
  labels:
    site: site-%02d
    tier: t%d
    serial: "%08d"
spec:
  board: sim-m4
  backend: Simulated
`, name, i%50, i%3, i))
		}
		t.List("fleet/"+dir, files...)
		dirs = append(dirs, dir)
	}
	t.List("fleet", dirs...)
	t.List(".", "namespace.yaml", "devices", "apps", "fleet")
	for i := range 8 {
		name := fmt.Sprintf("app-%d", i)
		selector := fmt.Sprintf("selector: {matchLabels: {tier: t%d}, matchExpressions: [{key: site, operator: NotIn, values: [site-0%d]}]}", i%3, i)
		t.Set("apps/"+name+".yaml", strings.Replace(App(name, "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 4096}"), "selector: {matchLabels: {site: hall}}", selector, 1))
	}
	t.List("apps", "blink.yaml", "report.yaml", "app-0.yaml", "app-1.yaml", "app-2.yaml", "app-3.yaml", "app-4.yaml", "app-5.yaml", "app-6.yaml", "app-7.yaml")
	return t
}
