// SPDX-License-Identifier: Apache-2.0

package review_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/plan"
	"wasmbed.dev/controllers/plan/render"
	"wasmbed.dev/controllers/plan/review"
)

// markers are planted in Secrets: before and after the change.
var markers = []string{"MARKERbefore7Qx", "MARKERafter9Zk"}

// secretCases are Secrets in every shape, good and broken; %s is the marker in plain text, %b in base64.
var secretCases = map[string]string{
	"data":            "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ndata: {password: %b}\n",
	"stringData":      "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nstringData:\n  password: |\n    line\n    %s\n",
	"an annotation":   "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  namespace: plant\n  annotations: {kubectl.kubernetes.io/last-applied-configuration: '%s'}\ndata: {a: %b}\n",
	"immutable":       "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nimmutable: true\ndata: {password: %b}\n",
	"its type":        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ntype: example.com/%s\ndata: {password: %b}\n",
	"not base64":      "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ndata: {password: '%s!'}\n",
	"a wrong type":    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nimmutable: %s\ndata: {password: %b}\n",
	"a wrong shape":   "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ndata: %s\n",
	"a list":          "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ndata: {password: [%s]}\n",
	"an unknown part": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nvalues: {password: %s}\n",
	"an open quote":   "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nstringData:\n  password: \"%s\n",
	"a bad indent":    "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nstringData:\n  password: %s\n password: %s\n",
	"a key twice":     "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\nstringData:\n  password: %s\n  password: %s\n",
	"a tag":           "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: plant}\ndata:\n  password: !!binary %s\n",
	"no namespace":    "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: %s}\n",
	"a bad name":      "apiVersion: v1\nkind: Secret\nmetadata: {name: S_, namespace: plant}\nstringData: {password: %s}\n",
}

// partCases are kustomizations of devices that bring Secrets, beside a Secret s.yaml.
var partCases = map[string]string{
	"a generator":         "secretGenerator:\n- name: g\n  namespace: plant\n  literals: [password=%s]\n",
	"a generator, fixed":  "generatorOptions: {disableNameSuffixHash: true}\nsecretGenerator:\n- name: g\n  namespace: plant\n  literals: [password=%s]\n",
	"a broken generator":  "secretGenerator:\n- name: g\n  namespace: plant\n  literals: ['%s']\n",
	"a patch":             "patches:\n- target: {kind: Secret, name: s}\n  patch: |-\n    - {op: add, path: /data/more, value: %b}\n",
	"a patch that fails":  "patches:\n- target: {kind: Secret, name: s}\n  patch: |-\n    - {op: replace, path: /nothing/here, value: %s}\n",
	"a patch that tests":  "patches:\n- target: {kind: Secret, name: s}\n  patch: |-\n    - {op: test, path: /data/a, value: %s}\n",
	"a merge that fails":  "patches:\n- target: {kind: Secret, name: s}\n  patch: |-\n    apiVersion: v1\n    kind: Secret\n    metadata: {name: s}\n    data: [%s]\n",
	"a broken patch":      "patches:\n- target: {kind: Secret, name: s}\n  patch: |-\n    data: {a: '%s\n",
	"a namespace for all": "namespace: plant\nlabels: [{pairs: {x: y}}]\n",
}

func filled(text, marker string) string {
	text = strings.ReplaceAll(text, "%s", marker)
	return strings.ReplaceAll(text, "%b", base64.StdEncoding.EncodeToString([]byte(marker)))
}

// TestSecretsAreNeverShown plants markers in Secrets and searches every output, errors too.
func TestSecretsAreNeverShown(t *testing.T) {
	shapes := map[string]func(marker string) fleettest.Tree{}
	for name, text := range secretCases {
		shapes[name] = func(marker string) fleettest.Tree {
			tree := fleettest.Base()
			tree.List("devices", "a.yaml", "b.yaml", "gateway.yaml", "s.yaml")
			tree.Set("devices/s.yaml", filled(text, marker))
			return tree
		}
	}
	for name, text := range partCases {
		shapes["kustomize: "+name] = func(marker string) fleettest.Tree {
			tree := fleettest.Base()
			tree.List("devices", "a.yaml", "b.yaml", "gateway.yaml", "s.yaml")
			tree.Set("devices/s.yaml", filled(secretCases["data"], marker))
			list := tree["devices/kustomization.yaml"]
			list.Content += filled(text, marker)
			tree["devices/kustomization.yaml"] = list
			return tree
		}
	}
	r := newRepository(t)
	r.write(fleettest.Base())
	without := r.commit("Without")
	for name, shape := range shapes {
		r.write(shape(markers[0]))
		before := r.commit("Before")
		r.write(shape(markers[1]))
		after := r.commit("After")
		for what, change := range map[string][2]string{"changed": {before, after}, "added": {without, after}, "removed": {before, without}} {
			var out bytes.Buffer
			report, err := review.Report(t.Context(), review.Options{Dir: r.dir, Base: change[0], Head: change[1]})
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
				out.WriteString(err.Error())
			} else if what == "changed" && report.Outcome == plan.OutcomeNoChange {
				t.Errorf("%s: the change is not seen", name)
			} else if err := errors.Join(render.Text(&out, report, true), render.Markdown(&out, report), render.JSON(&out, report)); err != nil {
				t.Error(err)
			}
			search(t, name+", "+what, out.String())
		}
	}
}

// TestTheSearchFindsWhatIsShown: what is planted in a ConfigMap is shown, so that the search would find it.
func TestTheSearchFindsWhatIsShown(t *testing.T) {
	r := newRepository(t)
	tree := fleettest.Base()
	tree.List("devices", "a.yaml", "b.yaml", "gateway.yaml", "c.yaml")
	config := strings.Replace(strings.Replace(secretCases["stringData"], "Secret", "ConfigMap", 1), "stringData", "data", 1)
	for _, marker := range markers {
		tree.Set("devices/c.yaml", filled(config, marker))
		r.write(tree)
		r.commit("Plant")
	}
	for _, format := range []string{"text", "markdown", "json"} {
		var out bytes.Buffer
		if _, err := review.Run(t.Context(), &out, review.Options{Dir: r.dir, Base: "HEAD~1", Head: "HEAD", Format: format}); err != nil {
			t.Fatal(err)
		}
		for _, marker := range markers {
			if !strings.Contains(out.String(), marker) {
				t.Errorf("%s: %s is not shown:\n%s", format, marker, out.String())
			}
		}
	}
}

// search looks for the markers in any form in which an output could have them.
func search(t *testing.T, what, output string) {
	t.Helper()
	for _, marker := range markers {
		for _, form := range []string{
			marker, marker[len("MARKER"):], base64.StdEncoding.EncodeToString([]byte(marker))[:16],
			base64.StdEncoding.EncodeToString([]byte("line\n" + marker))[8:20], hex.EncodeToString([]byte(marker)),
		} {
			if i := strings.Index(output, form); i >= 0 {
				t.Errorf("%s: %q is shown: …%q…", what, form, output[max(0, i-120):min(len(output), i+60)])
			}
		}
	}
}
