// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Want is the finding that a Case must yield.
type Want struct {
	Warning bool // otherwise an error, which refuses the commit
	Reason  string
	File    string
	Line    int32  // 0: not known
	Object  string // "Kind namespace/name"; empty: none
	Message string // a part of it
}

// Case is a commit on top of Base.
type Case struct {
	// Name says what is wrong.
	Name string
	// Change makes the commit of Base.
	Change func(Tree)
	Want   Want
	// NeedsPrevious: only who knows the fleet that is replaced can find it.
	NeedsPrevious bool
	// Huge: the commit is so large that it should not be made lightly.
	Huge bool
}

const (
	a      = "devices/a.yaml"
	b      = "devices/b.yaml"
	blink  = "apps/blink.yaml"
	report = "apps/report.yaml"
	root   = "kustomization.yaml"
	inDevs = "devices/kustomization.yaml"
)

func set(name, content string) func(Tree) { return func(t Tree) { t.Set(name, content) } }

func replace(name, old, new string) func(Tree) { return func(t Tree) { t.Replace(name, old, new) } }

// also lists another entry in the kustomization of devices and sets its file.
func also(name, content string) func(Tree) {
	return func(t Tree) {
		t.Replace(inDevs, "- a.yaml", "- a.yaml\n- "+name)
		if content != "" {
			t.Set("devices/"+name, content)
		}
	}
}

// entry adds a line to the resources of devices, as line 5.
func entry(line string) func(Tree) {
	return func(t Tree) { t.Replace(inDevs, "- a.yaml", "- "+line+"\n- a.yaml") }
}

// field adds lines at the end of the kustomization of devices, from line 7 on.
func field(lines ...string) func(Tree) {
	return func(t Tree) {
		f := t[inDevs]
		f.Content += strings.Join(lines, "\n") + "\n"
		t[inDevs] = f
	}
}

func both(changes ...func(Tree)) func(Tree) {
	return func(t Tree) {
		for _, c := range changes {
			c(t)
		}
	}
}

// PublicKey is a public key as a Device's spec names it; equal numbers give equal keys.
func PublicKey(n byte) string {
	scalar := make([]byte, 32)
	scalar[31] = n
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// Cases is the table of bad commits.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{yamlCases, kustomizeCases, pathCases, sizeCases, objectCases, relationCases, moduleCases, previousCases} {
		all = append(all, group...)
	}
	return all
}

// Good is what must not be refused although it is unusual.
func Good() []Case {
	return goodCases
}

const aObject, blinkObject, reportObject = "Device plant/a", "Application plant/blink", "Application plant/report"

var yamlCases = []Case{
	{Name: "broken YAML", Change: replace(a, "  board: sim-m4", "  board: sim-m4\n board: x"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 9, Message: "not YAML"}},
	{Name: "an unclosed quote", Change: replace(a, "sim-m4", `"sim-m4`),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 8, Message: "not YAML"}},
	{Name: "a tab as indentation", Change: replace(a, "  backend", "\tbackend"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 9, Message: "not YAML"}},
	{Name: "a key twice", Change: replace(a, "  backend: Simulated", "  backend: Simulated\n  board: sim-m4"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 10, Message: `key "board" is there twice`}},
	{Name: "a YAML bomb", Change: also("bomb.yaml", bomb()),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/bomb.yaml", Message: "aliases"}},
	{Name: "an alias of itself", Change: also("loop.yaml", "a: &a\n  b: *a\n"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/loop.yaml", Line: 2, Message: "nested"}},
	{Name: "deep nesting", Change: also("deep.yaml", "a: "+strings.Repeat("[", 500)+strings.Repeat("]", 500)+"\n"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/deep.yaml", Line: 1, Message: "nested deeper than"}},
	{Name: "very deep nesting", Change: also("deep.yaml", strings.Repeat("[", 500_000)),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/deep.yaml", Line: 1, Message: "depth"}},
	{Name: "not UTF-8", Change: replace(a, "site: hall", "site: h\xe4ll"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 6, Message: "UTF-8"}},
	{Name: "a binary file", Change: also("noise.yaml", "\x00\x01\x02\x03"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/noise.yaml", Line: 1, Message: "control characters"}},
	{Name: "a YAML tag", Change: replace(a, "sim-m4", "!!binary c2ltLW00"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 8, Message: "!!binary"}},
	{Name: "merge markers", Change: replace(a, "spec:", "<<<<<<< HEAD\nspec:"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: a, Line: 7, Message: "not YAML"}},
	{Name: "broken YAML of a kustomization", Change: set(inDevs, "resources: [a.yaml\n"),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: inDevs, Line: 1, Message: "not YAML"}},
	{Name: "a list as a manifest", Change: also("list.yaml", "- 1\n- 2\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/list.yaml", Line: 1, Message: "apiVersion"}},
	{Name: "no kind", Change: also("x.yaml", "apiVersion: v1\nmetadata: {name: x}\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/x.yaml", Line: 1, Message: "apiVersion and kind are missing"}},
}

func bomb() string {
	var s strings.Builder
	s.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&s, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	return s.String()
}

var kustomizeCases = []Case{
	{Name: "no root kustomization", Change: func(t Tree) { delete(t, root) },
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: root, Message: "has no kustomization.yaml"}},
	{Name: "a directory without kustomization", Change: func(t Tree) { delete(t, inDevs) },
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Message: "has no kustomization.yaml"}},
	{Name: "two kustomization files", Change: set("devices/kustomization.yml", "resources: []\n"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Message: "several kustomization files"}},
	{Name: "an empty kustomization", Change: set(inDevs, "# nothing yet\n"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 1, Message: "is empty"}},
	{Name: "an unknown field of a kustomization", Change: field("resource: [a.yaml]"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 7, Message: `no field "resource"`}},
	{Name: "a wrong type in a kustomization", Change: set(inDevs, "resources: a.yaml\n"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 1, Message: "cannot unmarshal string"}},
	{Name: "a missing file", Change: entry("nowhere.yaml"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 4, Message: `"nowhere.yaml" does not exist`}},
	{Name: "kustomizations in a circle", Change: entry("../"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 4, Message: "circle"}},
	{Name: "kustomizations in a circle, transformed", Change: both(entry("../"), field("namePrefix: x-")),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Message: "cycle"}},
	{Name: "a file outside of the kustomization's directory", Change: entry("../namespace.yaml"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 4, Message: "outside of the kustomization's own directory"}},
	{Name: "a patch of nothing", Change: field("patches:", "- target: {kind: Device, name: zzz}", "  path: nowhere.yaml"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 8, Message: `"nowhere.yaml" does not exist`}},
	{Name: "a patch that fails", Change: field("patches:", "- target: {kind: Device, name: a}", "  patch: |-", "    - {op: remove, path: /spec/nothing}"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Message: "kustomize cannot build this"}},
	{Name: "a patch that copies", Change: field("patches:", "- target: {kind: Device, name: a}", "  patch: |-", "    - {op: copy, from: /spec, path: /spec/x}"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 8, Message: "copy is not accepted"}},
	{Name: "a patch of broken YAML", Change: both(field("patches:", "- path: patch.yaml"), set("devices/patch.yaml", "a: [\n")),
		Want: Want{Reason: v1alpha1.ReasonInvalidYAML, File: "devices/patch.yaml", Line: 1, Message: "not YAML"}},
	{Name: "a plugin", Change: both(field("generators:", "- plugin.yaml"), set("devices/plugin.yaml", "apiVersion: x/v1\nkind: Exec\nmetadata: {name: x}\n")),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 7, Message: "plugins are not accepted"}},
	{Name: "a helm chart", Change: field("helmCharts:", "- name: x", "  repo: https://charts.example.com"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 7, Message: "charts are not accepted"}},
	{Name: "a schema of its own", Change: field("openapi:", "  path: http://127.0.0.1:1/schema.json"),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 7, Message: "openapi"}},
	{Name: "a wrong field, made by a patch", Change: field("patches:", "- target: {kind: Device, name: a}", "  patch: |-", "    - {op: add, path: /spec/colour, value: red}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 1, Object: aObject, Message: `unknown field "spec.colour"`}},
	{Name: "a wrong value below a transformation", Change: both(field("labels: [{pairs: {x: y}}]"), replace(a, "backend: Simulated", "backend: Real")),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: `"Real"`}},
	{Name: "a file twice", Change: entry("a.yaml"),
		Want: Want{Reason: v1alpha1.ReasonDuplicateObject, File: inDevs, Line: 5, Message: "named twice"}},
}

var pathCases = []Case{
	{Name: "a remote file", Change: entry("https://127.0.0.1:1/device.yaml"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 4, Message: "nothing is fetched"}},
	{Name: "a remote base", Change: entry("github.com/example/fleet//devices?ref=main"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 4, Message: "nothing is fetched"}},
	{Name: "a remote base over ssh", Change: entry("git@127.0.0.1:example/fleet.git"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 4, Message: "nothing is fetched"}},
	{Name: "a remote base as a file address", Change: entry("file:///etc"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 4, Message: "nothing is fetched"}},
	{Name: "a remote component", Change: field("components:", "- https://127.0.0.1:1/component"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 8, Message: "nothing is fetched"}},
	{Name: "a remote patch", Change: field("patches:", "- path: http://127.0.0.1:1/patch.yaml"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 8, Message: "nothing is fetched"}},
	{Name: "a remote patch in the old field", Change: field("patchesStrategicMerge:", "- http://127.0.0.1:1/patch.yaml"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 8, Message: "nothing is fetched"}},
	{Name: "a remote file for a generator", Change: field("configMapGenerator:", "- name: x", "  namespace: plant", "  files: [a=http://127.0.0.1:1/x]"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 8, Message: "nothing is fetched"}},
	{Name: "a remote replacement", Change: field("replacements:", "- path: http://127.0.0.1:1/x.yaml"),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: inDevs, Line: 8, Message: "nothing is fetched"}},
	{Name: "a base above a transformation that is remote", Change: both(
		field("namePrefix: x-"), entry("base"),
		set("devices/base/kustomization.yaml", "resources:\n- https://127.0.0.1:1/x\n")),
		Want: Want{Reason: v1alpha1.ReasonRemoteBase, File: "devices/base/kustomization.yaml", Line: 2, Message: "nothing is fetched"}},
	{Name: "an absolute path", Change: entry("/etc/passwd"),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 4, Message: "absolute path"}},
	{Name: "a path out of the tree", Change: entry("../../secrets.yaml"),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 4, Message: "leads out of the repository"}},
	{Name: "an environment file out of the tree", Change: field("configMapGenerator:", "- name: x", "  namespace: plant", "  envs: [../../../etc/environment]"),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 8, Message: "leads out of the repository"}},
	{Name: "a symbolic link out of the tree", Change: both(also("link.yaml", ""), func(t Tree) { t["devices/link.yaml"] = File{Link: "../../outside.yaml"} }),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 5, Message: "leads out of the repository"}},
	{Name: "a symbolic link to an absolute path", Change: both(also("link.yaml", ""), func(t Tree) { t["devices/link.yaml"] = File{Link: "/etc/hostname"} }),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 5, Message: "leads out of the repository"}},
	{Name: "a directory that is a symbolic link out of the tree", Change: both(entry("link"), func(t Tree) { t["devices/link"] = File{Link: "../.."} }),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 4, Message: "leads out of the repository"}},
	{Name: "symbolic links in a circle", Change: both(also("x.yaml", ""), func(t Tree) { t["devices/x.yaml"] = File{Link: "y.yaml"}; t["devices/y.yaml"] = File{Link: "x.yaml"} }),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 5, Message: "too many symbolic links"}},
	{Name: "a symbolic link to nothing", Change: both(also("x.yaml", ""), func(t Tree) { t["devices/x.yaml"] = File{Link: "gone.yaml"} }),
		Want: Want{Reason: v1alpha1.ReasonKustomizeFailed, File: inDevs, Line: 5, Message: "does not exist"}},
	{Name: "a submodule", Change: both(entry("sub"), func(t Tree) { t["devices/sub"] = File{Submodule: true} }),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: inDevs, Line: 4, Message: "submodule"}},
	{Name: "a module out of the tree", Change: replace(blink, "apps/blink.wasm", "../blink.wasm"),
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: blink, Line: 7, Object: blinkObject, Message: "leads out of the repository"}},
	{Name: "a module that is a link out of the tree", Change: func(t Tree) { t["apps/blink.wasm"] = File{Link: "/etc/hostname"} },
		Want: Want{Reason: v1alpha1.ReasonPathEscape, File: blink, Line: 7, Object: blinkObject, Message: "leads out of the repository"}},
}

var sizeCases = []Case{
	{Name: "a manifest of 100 MB", Huge: true, Change: func(t Tree) { also("huge.yaml", strings.Repeat("# nothing\n", 10<<20))(t) },
		Want: Want{Reason: v1alpha1.ReasonTooLarge, File: "devices/huge.yaml", Message: "104857600 bytes, the limit is 1048576"}},
	{Name: "a manifest above the limit", Change: func(t Tree) { also("large.yaml", strings.Repeat("#", 1<<20+1))(t) },
		Want: Want{Reason: v1alpha1.ReasonTooLarge, File: "devices/large.yaml", Message: "1048577 bytes, the limit is 1048576"}},
	{Name: "a module of 100 MB", Huge: true, Change: func(t Tree) { t.Set("apps/blink.wasm", Module{Padding: 100 << 20}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonTooLarge, File: blink, Line: 7, Object: blinkObject, Message: "the limit is 1048576"}},
	{Name: "a module too large for a board", Change: func(t Tree) {
		t.Set("apps/blink.wasm", Module{Imports: []string{"ocre_gpio_init", "ocre_timer_create"}, Padding: 200 << 10}.Bytes())
	},
		Want: Want{Reason: v1alpha1.ReasonTooLarge, File: blink, Line: 7, Object: blinkObject, Message: "does not fit 2 devices of board sim-m4"}},
	{Name: "too many objects in one transformation", Change: both(also("many.yaml", manyDevices(501)), field("namePrefix: x-")),
		Want: Want{Reason: v1alpha1.ReasonTooLarge, File: inDevs, Message: "the limit is 500"}},
	{Name: "an empty build", Change: set(root, "resources: []\n"),
		Want: Want{Reason: v1alpha1.ReasonEmptyBuild, File: ".", Message: "no object at all"}},
}

func manyDevices(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString("---\n" + Device(fmt.Sprintf("m%d", i), "board: sim-m4", "backend: Simulated"))
	}
	return s.String()
}

var objectCases = []Case{
	{Name: "an unknown field", Change: replace(a, "  backend", "  bord: x\n  backend"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: `unknown field "spec.bord": did you mean board?`}},
	{Name: "an unknown field inside of a field", Change: replace(blink, "limits: {memory: 0}", "limits: {memory: 0, stak: 1}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 10, Object: blinkObject, Message: "did you mean stack?"}},
	{Name: "a wrong type", Change: replace(a, "board: sim-m4", "board: 4"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 8, Object: aObject, Message: "spec.board must be of type string"}},
	{Name: "a word that old YAML takes for a truth", Change: replace(a, "  backend", "  power: true\n  backend"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: "put it in quotes"}},
	{Name: "a wrong value", Change: replace(a, "backend: Simulated", "backend: simulated"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: `"Simulated"`}},
	{Name: "a missing field", Change: replace(a, "  board: sim-m4\n", ""),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 7, Object: aObject, Message: "spec.board is required"}},
	{Name: "a number out of range", Change: replace(blink, "memory: 0", "memory: 99999999999"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 10, Object: blinkObject, Message: "spec.limits.memory"}},
	{Name: "a list with the same entry twice", Change: replace(blink, "[gpio, timer]", "[gpio, timer, gpio]"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 9, Object: blinkObject, Message: "twice"}},
	{Name: "a CEL rule", Change: replace(a, "backend: Simulated", "backend: Hardware"),
		Want: Want{Reason: v1alpha1.ReasonRuleViolated, File: a, Line: 7, Object: aObject, Message: "keys are for backend Hardware"}},
	{Name: "a CEL rule on a field", Change: replace(blink, "limits:", "rollout: {progressDeadline: 1ms}\n  limits:"),
		Want: Want{Reason: v1alpha1.ReasonRuleViolated, File: blink, Line: 10, Object: blinkObject, Message: "progressDeadline is at least 1s"}},
	{Name: "a name with a dot", Change: replace(a, "name: a\n", "name: a.b\n"),
		Want: Want{Reason: v1alpha1.ReasonRuleViolated, File: a, Line: 1, Object: "Device plant/a.b", Message: "no dot"}},
	{Name: "a name in capitals", Change: replace(a, "name: a\n", "name: Alpha\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 4, Object: "Device plant/Alpha", Message: "lowercase"}},
	{Name: "a name that is a number", Change: replace(a, "name: a\n", "name: 12\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 4, Message: "metadata.name is missing or not a text"}},
	{Name: "no namespace", Change: replace(a, "  namespace: plant\n", ""),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 3, Object: "Device a", Message: "metadata.namespace is required"}},
	{Name: "the installation's namespace", Change: replace(a, "namespace: plant", "namespace: wasmbed-system"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 5, Object: "Device wasmbed-system/a", Message: "belongs to the installation"}},
	{Name: "a label that is a number", Change: replace(a, "{site: hall}", "{site: hall, rack: 7}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "put it in quotes"}},
	{Name: "a label that is not valid", Change: replace(a, "{site: hall}", "{site: hall, rack: 'a b'}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "metadata.labels"}},
	{Name: "a label of the system", Change: replace(a, "{site: hall}", "{site: hall, wasmbed.dev/gateway: x}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "belong to the system"}},
	{Name: "an annotation of the system", Change: replace(a, "  labels:", "  annotations: {wasmbed.dev/revision: x}\n  labels:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "belong to the system"}},
	{Name: "a finalizer", Change: replace(a, "  labels:", "  finalizers: [example.com/x]\n  labels:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "written by the API server"}},
	{Name: "an owner", Change: replace(a, "  labels:", "  ownerReferences: []\n  labels:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: "written by the API server"}},
	{Name: "an unknown field of metadata", Change: replace(a, "  labels:", "  label: {}\n  labels:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 6, Object: aObject, Message: `unknown field "metadata.label"`}},
	{Name: "a status", Change: replace(a, "spec:", "status: {phase: Online}\nspec:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 7, Object: aObject, Message: "status is reported by the controllers"}},
	{Name: "a kind that is not accepted", Change: also("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: plant}\n"),
		Want: Want{Reason: v1alpha1.ReasonKindNotAllowed, File: "devices/pod.yaml", Line: 2, Object: "Pod plant/x", Message: "not accepted from git"}},
	{Name: "a Repository", Change: also("repo.yaml", "apiVersion: wasmbed.dev/v1alpha1\nkind: Repository\nmetadata: {name: x, namespace: plant}\n"),
		Want: Want{Reason: v1alpha1.ReasonKindNotAllowed, File: "devices/repo.yaml", Line: 2, Object: "Repository plant/x", Message: "administrator"}},
	{Name: "an Instance", Change: also("x.yaml", "apiVersion: wasmbed.dev/v1alpha1\nkind: Instance\nmetadata: {name: x, namespace: plant}\n"),
		Want: Want{Reason: v1alpha1.ReasonKindNotAllowed, File: "devices/x.yaml", Line: 2, Object: "Instance plant/x", Message: "commit an Application"}},
	{Name: "a version that is not known", Change: replace(a, "wasmbed.dev/v1alpha1", "wasmbed.dev/v9"),
		Want: Want{Reason: v1alpha1.ReasonKindNotAllowed, File: a, Line: 2, Object: aObject, Message: "write wasmbed.dev/v1alpha1"}},
	{Name: "a role", Change: also("role.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: x}\n"),
		Want: Want{Reason: v1alpha1.ReasonKindNotAllowed, File: "devices/role.yaml", Line: 2, Object: "ClusterRole x", Message: "not accepted from git"}},
	{Name: "a ConfigMap with a number", Change: also("cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: plant}\ndata:\n  a: 1\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/cm.yaml", Line: 5, Object: "ConfigMap plant/x", Message: "put it in quotes"}},
	{Name: "an unknown field of a ConfigMap", Change: also("cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: plant}\ndatas: {}\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/cm.yaml", Line: 4, Object: "ConfigMap plant/x", Message: `unknown field "datas"`}},
	{Name: "a Secret that is not base64", Change: also("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant}\ndata:\n  a: not base64\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/s.yaml", Line: 5, Object: "Secret plant/x", Message: "not base64"}},
	{Name: "a Secret in the place of a gateway's identity", Change: also("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: gateway-a-identity, namespace: plant}\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/s.yaml", Line: 3, Object: "Secret plant/gateway-a-identity", Message: "made by the controllers"}},
	{Name: "an unknown board", Change: replace(a, "board: sim-m4", "board: sim-m9"),
		Want: Want{Reason: v1alpha1.ReasonUnknownBoard, File: a, Line: 8, Object: aObject, Message: `no board "sim-m9"`}},
	{Name: "a backend that cannot provide the board", Change: replace(a, "backend: Simulated", "backend: QEMU"),
		Want: Want{Reason: v1alpha1.ReasonUnknownBoard, File: a, Line: 9, Object: aObject, Message: "cannot provide"}},
	{Name: "a key that is none", Change: also("k.yaml", Device("k", "board: mps2-an385", "keys:", "- "+strings.Repeat("QUFB", 16))),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/k.yaml", Line: 10, Object: "Device plant/k", Message: "not a public key"}},
	{Name: "an unknown permission", Change: replace(blink, "[gpio, timer]", "[gpio, timer, root]"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 9, Object: blinkObject, Message: `no permission "root"`}},
	{Name: "a selector that is none", Change: replace(blink, "{matchLabels: {site: hall}}", "{matchExpressions: [{key: site, operator: Like, values: [x]}]}"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 8, Object: blinkObject, Message: "Like"}},
	{Name: "too much config", Change: replace(blink, "limits:", "config: {a: '"+strings.Repeat("x", 600)+"', b: '"+strings.Repeat("y", 600)+"'}\n  limits:"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: blink, Line: 10, Object: blinkObject, Message: "1202 bytes of keys and values, the limit is 1024"}},
	{Name: "a gateway with a long name", Change: also("g.yaml", "apiVersion: wasmbed.dev/v1alpha1\nkind: Gateway\nmetadata:\n  name: g\n  namespace: "+strings.Repeat("n", 62)+"\nspec: {}\n"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: "devices/g.yaml", Line: 4, Object: "Gateway " + strings.Repeat("n", 62) + "/g", Message: "62 characters"}},
	{Name: "texts that would break a terminal", Change: replace(a, "  backend", "  \"x\\e[31m\\u202e\\n\": 1\n  backend"),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: `"spec.x?[31m? "`}},
}

var relationCases = []Case{
	{Name: "the same device twice", Change: also("again.yaml", "\n"+Device("a", "board: sim-m4", "backend: Simulated")),
		Want: Want{Reason: v1alpha1.ReasonDuplicateObject, File: "devices/again.yaml", Line: 2, Object: aObject, Message: "stands at devices/a.yaml:1 too"}},
	{Name: "the same key on two devices", Change: also("k.yaml", Device("k1", "board: mps2-an385", "keys: ["+PublicKey(1)+"]")+"---\n"+
		Device("k2", "board: mps2-an385", "keys:", "- "+PublicKey(2), "- "+PublicKey(1))),
		Want: Want{Reason: v1alpha1.ReasonDuplicateKey, File: "devices/k.yaml", Line: 21, Object: "Device plant/k2", Message: "Device plant/k1 at devices/k.yaml:1 has the same public key"}},
	{Name: "a gateway that is not there", Change: replace(b, "gateway: main", "gateway: other"),
		Want: Want{Reason: v1alpha1.ReasonUnknownReference, File: b, Line: 20, Object: "Device plant/c", Message: `no Gateway "plant/other"`}},
	{Name: "a gateway that does not take the namespace", Change: replace("devices/gateway.yaml", "spec: {}", "spec: {allowedNamespaces: [other]}"),
		Want: Want{Reason: v1alpha1.ReasonUnknownReference, File: b, Line: 20, Object: "Device plant/c", Message: "allowedNamespaces"}},
	{Name: "config for an application that is not there", Change: replace(a, "  backend", "  config: {blnk: {x: y}}\n  backend"),
		Want: Want{Warning: true, Reason: v1alpha1.ReasonUnknownReference, File: a, Line: 9, Object: aObject, Message: `no Application "blnk"`}},
	{Name: "a namespace that is not there", Change: replace(root, "- namespace.yaml\n", ""),
		Want: Want{Warning: true, Reason: v1alpha1.ReasonUnknownReference, File: "devices/gateway.yaml", Line: 1, Object: "Gateway plant/main", Message: `namespace "plant" is not in the commit`}},
	{Name: "a selector that matches nothing", Change: replace(blink, "{site: hall}", "{site: cellar}"),
		Want: Want{Warning: true, Reason: v1alpha1.ReasonSelectsNothing, File: blink, Line: 8, Object: blinkObject, Message: `"site=cellar" matches no device`}},
	{Name: "an override that makes config too long", Change: both(
		replace(blink, "limits:", "config: {a: '"+strings.Repeat("x", 600)+"'}\n  limits:"),
		replace(a, "  backend", "  config: {blink: {b: '"+strings.Repeat("x", 600)+"'}}\n  backend")),
		Want: Want{Reason: v1alpha1.ReasonSchemaInvalid, File: a, Line: 9, Object: aObject, Message: "1202 bytes"}},
	{Name: "too much memory for a board", Change: replace(report, "memory: 65536", "memory: 200000"),
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "do not fit 2 devices of board sim-m4"}},
	{Name: "too much memory on one board together", Change: both(
		set("apps/second.yaml", App("second", "apps/report.wasm", "permissions: [log]", "limits: {memory: 65536}")),
		func(t Tree) { t.List("apps", "blink.yaml", "report.yaml", "second.yaml") }),
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "blink, report, second need"}},
	{Name: "too many apps on one board", Change: func(t Tree) {
		files := []string{"blink.yaml", "report.yaml"}
		for i := range 7 {
			name := fmt.Sprintf("n%d", i)
			t.Set("apps/"+name+".yaml", App(name, "apps/blink.wasm", "permissions: [gpio, timer]", "limits: {memory: 0, stack: 1024}"))
			files = append(files, name+".yaml")
		}
		t.List("apps", files...)
	},
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 8, Object: reportObject, Message: "9 Applications"}},
}

var moduleCases = []Case{
	{Name: "a missing module", Change: func(t Tree) { delete(t, "apps/blink.wasm") },
		Want: Want{Reason: v1alpha1.ReasonModuleNotFound, File: blink, Line: 7, Object: blinkObject, Message: "git add"}},
	{Name: "a module path from the manifest's directory", Change: replace(blink, "apps/blink.wasm", "blink.wasm"),
		Want: Want{Reason: v1alpha1.ReasonModuleNotFound, File: blink, Line: 7, Object: blinkObject, Message: `write "apps/blink.wasm"`}},
	{Name: "a module that is a directory", Change: replace(blink, "apps/blink.wasm", "apps"),
		Want: Want{Reason: v1alpha1.ReasonModuleNotFound, File: blink, Line: 7, Object: blinkObject, Message: "not a file"}},
	{Name: "not a module", Change: set("apps/blink.wasm", "#!/bin/sh\n"),
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: blink, Line: 7, Object: blinkObject, Message: "malformed module: magic header"}},
	{Name: "a pointer of git-lfs", Change: set("apps/blink.wasm", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: blink, Line: 7, Object: blinkObject, Message: "git-lfs"}},
	{Name: "half a module", Change: func(t Tree) { m := t["apps/report.wasm"].Content; t.Set("apps/report.wasm", m[:len(m)-4]) },
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: report, Line: 7, Object: reportObject, Message: "malformed module: section out of bounds at byte"}},
	{Name: "a module whose code is not valid", Change: func(t Tree) {
		m := t["apps/report.wasm"].Content
		t.Set("apps/report.wasm", m[:len(m)-2]+"\x1a\x0b") // drop from an empty stack
	},
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: report, Line: 7, Object: reportObject, Message: "not a module that a board accepts"}},
	{Name: "a component", Change: set("apps/report.wasm", "\x00asm\x0d\x00\x01\x00"),
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: report, Line: 7, Object: reportObject, Message: "unknown binary version"}},
	{Name: "a module without an entry", Change: func(t Tree) { t.Set("apps/report.wasm", Module{NoRun: true}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonModuleInvalid, File: report, Line: 7, Object: reportObject, Message: `no function "run"`}},
	{Name: "a forbidden import", Change: func(t Tree) {
		t.Set("apps/report.wasm", Module{Foreign: [][2]string{{"wasi_snapshot_preview1", "fd_write"}}}.Bytes())
	},
		Want: Want{Reason: v1alpha1.ReasonImportForbidden, File: report, Line: 7, Object: reportObject, Message: `"wasi_snapshot_preview1.fd_write", which no board offers`}},
	{Name: "an import that is not a function", Change: func(t Tree) { t.Set("apps/report.wasm", Module{ForeignMemory: true}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonImportForbidden, File: report, Line: 7, Object: reportObject, Message: `imports the memory "env.memory"`}},
	{Name: "a thousand forbidden imports", Change: func(t Tree) {
		var m Module
		for i := range 1000 {
			m.Foreign = append(m.Foreign, [2]string{"env", fmt.Sprintf("f%d", i)})
		}
		t.Set("apps/report.wasm", m.Bytes())
	},
		Want: Want{Reason: v1alpha1.ReasonImportForbidden, File: report, Line: 7, Object: reportObject, Message: "984 more"}},
	{Name: "an import with a typing error", Change: func(t Tree) { t.Set("apps/report.wasm", Module{Foreign: [][2]string{{"env", "ocre_slep"}}}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonImportForbidden, File: report, Line: 7, Object: reportObject, Message: "did you mean ocre_sleep?"}},
	{Name: "an import of another signature", Change: func(t Tree) { t.Set("apps/report.wasm", Module{Foreign: [][2]string{{"env", "ocre_sleep"}}}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonImportForbidden, File: report, Line: 7, Object: reportObject, Message: "boards offer it as (i32) -> i32"}},
	{Name: "a missing permission", Change: replace(blink, "[gpio, timer]", "[timer]"),
		Want: Want{Reason: v1alpha1.ReasonPermissionMissing, File: blink, Line: 9, Object: blinkObject, Message: "needs permission gpio"}},
	{Name: "no permissions at all", Change: replace(report, "  permissions: [log]\n", ""),
		Want: Want{Reason: v1alpha1.ReasonPermissionMissing, File: report, Line: 6, Object: reportObject, Message: "needs permission log"}},
	{Name: "a module with more memory than its limit", Change: func(t Tree) { t.Set("apps/report.wasm", Module{Pages: 2}.Bytes()) },
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "at least 65537 bytes of linear memory and spec.limits.memory is 65536"}},
	{Name: "a module with more bytes of memory than its limit", Change: both(replace(report, "memory: 65536", "memory: 299"), func(t Tree) {
		t.Set("apps/report.wasm", Module{Pages: 300, OneByte: true}.Bytes())
	}),
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "at least 300 bytes of linear memory and spec.limits.memory is 299"}},
	{Name: "a module with memory and a limit of none", Change: replace(report, "memory: 65536", "memory: 0"),
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "at least 1 bytes"}},
	{Name: "a module with data beyond its limit", Change: both(replace(report, "memory: 65536", "memory: 4096"), func(t Tree) {
		t.Set("apps/report.wasm", Module{Pages: 1, Data: 4090}.Bytes())
	}),
		Want: Want{Reason: v1alpha1.ReasonMemoryExceeded, File: report, Line: 10, Object: reportObject, Message: "data does not lie within spec.limits.memory of 4096 bytes"}},
	{Name: "a wrong digest", Change: replace(blink, "path: apps/blink.wasm", "path: apps/blink.wasm, digest: 'sha256:"+strings.Repeat("0", 64)+"'"),
		Want: Want{Reason: v1alpha1.ReasonDigestMismatch, File: blink, Line: 7, Object: blinkObject, Message: "is not that of the file"}},
}

var previousCases = []Case{
	{Name: "another board", NeedsPrevious: true, Change: replace(a, "board: sim-m4", "board: mps2-an385"),
		Want: Want{Reason: v1alpha1.ReasonImmutableChanged, File: a, Line: 1, Object: aObject, Message: "board is immutable"}},
	{Name: "another backend", NeedsPrevious: true, Change: replace(b, "board: mps2-an385\n  backend: Simulated", "board: mps2-an385\n  backend: QEMU"),
		Want: Want{Reason: v1alpha1.ReasonImmutableChanged, File: b, Line: 11, Object: "Device plant/c", Message: "backend is immutable"}},
}

var goodCases = []Case{
	{Name: "a symbolic link inside of the tree", Change: both(also("x.yaml", ""), set("shared/x.yaml", Device("x", "board: sim-m4", "backend: Simulated")), func(t Tree) {
		t["devices/x.yaml"] = File{Link: "../shared/x.yaml"}
	})},
	{Name: "a directory that is a symbolic link inside of the tree", Change: both(entry("link"), set("shared/x/d.yaml", Device("x", "board: sim-m4", "backend: Simulated")), func(t Tree) {
		t.List("shared/x", "d.yaml")
		t["devices/link"] = File{Link: "../shared/x"}
	})},
	{Name: "transformers, generators and components", Change: both(
		field("labels: [{pairs: {line: '4'}}]", "commonAnnotations: {team: red}", "components: [../shared]",
			"configMapGenerator:", "- name: settings", "  namespace: plant", "  files: [a.yaml]", "  literals: [x=y]",
			"patches:", "- target: {kind: Device}", "  patch: |-", "    - {op: add, path: /spec/power, value: 'Off'}", "- path: patch.yaml"),
		set("devices/patch.yaml", "apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata: {name: b, namespace: plant}\nspec: {quarantine: true}\n"),
		set("shared/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {more: yes-please}}]\n"))},
	{Name: "no resources in one directory", Change: set(inDevs, "resources: []\n")},
	{Name: "anchors, merges and unquoted words of old YAML", Change: replace(b, "  backend: Simulated\n---", "  backend: Simulated\n  power: On\n  config: {blink: &c {x: on}, report: {<<: *c, y: '1'}}\n---")},
	{Name: "a Secret and a ConfigMap", Change: also("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: plant, creationTimestamp: null}\nstringData: {a: b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: plant}\ndata: {a: b}\n")},
	{Name: "an object for local tools", Change: also("local.yaml", "apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata:\n  name: zzz\n  namespace: plant\n  annotations: {config.kubernetes.io/local-config: 'true'}\n")},
	{Name: "memory in pages of one byte", Change: func(t Tree) {
		t.Set("apps/report.wasm", Module{Imports: []string{"wasmbed_log"}, Pages: 300, OneByte: true}.Bytes())
		t.Replace(report, "memory: 65536", "memory: 300")
	}},
	{Name: "a limit within the page that a module declares", Change: both(replace(report, "memory: 65536", "memory: 4096"), func(t Tree) {
		t.Set("apps/report.wasm", Module{Pages: 1, Data: 4080}.Bytes())
	})},
	{Name: "a submodule that nothing names", Change: func(t Tree) { t["vendor/x"] = File{Submodule: true} }},
}
