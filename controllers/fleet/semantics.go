// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/hostapi"
)

const (
	// maxConfigBytes is what keys and values of an app's config may have in all, as the device protocol says.
	maxConfigBytes = 1024
	// maxGatewayNames is what namespace and name of a Gateway may have together, so that both fit a label.
	maxGatewayNames = 62
)

// catalogue is the boards by name.
var catalogue = func() map[string]*boards.Board {
	m := map[string]*boards.Board{}
	for _, b := range boards.All() {
		m[b.Name] = &b
	}
	return m
}()

// deviceKey is a public key and where it stands.
type deviceKey struct {
	spki string // DER
	pos  position
}

func (j *objectJudge) device(d *v1alpha1.Device) {
	board := catalogue[d.Spec.Board]
	switch {
	case board == nil:
		j.reportField(v1alpha1.ReasonUnknownBoard, "spec.board", "there is no board %s: the catalogue has %s", quote(d.Spec.Board), strings.Join(boards.Names(), ", "))
	case !board.Provides(string(d.Spec.Backend)):
		path := "spec.backend"
		if _, ok := valueAt(j.value, path).(string); !ok {
			path = "spec.board"
		}
		j.reportField(v1alpha1.ReasonUnknownBoard, path, "backend %s cannot provide board %s: use %s", d.Spec.Backend, board.Name, strings.Join(board.Backends, " or "))
	}
	for i, key := range d.Spec.Keys {
		at := fmt.Sprintf("spec.keys[%d]", i)
		spki, err := parseKey(key)
		if err != nil {
			j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s is not a public key (%v): give base64 of the DER SubjectPublicKeyInfo, as `openssl pkey -pubout -outform DER | base64 -w0` prints", at, err)
			continue
		}
		j.out.keys = append(j.out.keys, deviceKey{spki: spki, pos: j.src.at(j.value, at)})
	}
	for _, app := range slices.Sorted(maps.Keys(d.Spec.Config)) {
		at := "spec.config[" + app + "]"
		j.config(at, d.Spec.Config[app])
		j.note(at)
	}
	if d.Spec.Gateway != "" {
		j.note("spec.gateway")
	}
}

func parseKey(key string) (string, error) {
	der, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		der, err = base64.RawStdEncoding.DecodeString(key)
	}
	if err != nil {
		return "", fmt.Errorf("not base64")
	}
	if _, err := x509.ParsePKIXPublicKey(der); err != nil {
		return "", fmt.Errorf("not a DER SubjectPublicKeyInfo")
	}
	return string(der), nil
}

func (j *objectJudge) gateway(g *v1alpha1.Gateway) {
	if n := len(g.Namespace) + len(g.Name); n > maxGatewayNames {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "metadata.name", "namespace and name of a Gateway have at most %d characters together, these have %d: shorten the name", maxGatewayNames, n)
	}
}

func (j *objectJudge) application(a *v1alpha1.Application) {
	selector, err := metav1.LabelSelectorAsSelector(&a.Spec.Selector)
	if err != nil {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "spec.selector", "spec.selector: %v", err)
	} else {
		j.out.selector = selector
	}
	for i, p := range a.Spec.Permissions {
		if !hostapi.Known(hostapi.Permission(p)) {
			j.reportField(v1alpha1.ReasonSchemaInvalid, fmt.Sprintf("spec.permissions[%d]", i), "there is no permission %s: there are %s", quote(string(p)), permissionNames())
		}
	}
	if name := a.Spec.Module.Path; path.IsAbs(name) || escapes(path.Clean(name)) {
		j.reportField(v1alpha1.ReasonPathEscape, "spec.module.path", "spec.module.path %s leads out of the repository: give the path from the repository's root", quote(name))
	}
	j.config("spec.config", a.Spec.Config)
	j.note("spec.module.path", "spec.module.digest", "spec.selector", "spec.permissions", "spec.limits", "spec.limits.memory", "spec.limits.stack")
}

func permissionNames() string {
	var names []string
	for _, p := range hostapi.Permissions() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (j *objectJudge) config(at string, config v1alpha1.ConfigValues) {
	if n := configBytes(config); n > maxConfigBytes {
		j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s has %d bytes of keys and values, the limit is %d: shorten it", at, n, maxConfigBytes)
	}
}

func configBytes(config v1alpha1.ConfigValues) int {
	n := 0
	for k, v := range config {
		n += len(k) + len(v)
	}
	return n
}

// core judges a Namespace, ConfigMap or Secret.
func (j *objectJudge) core() {
	switch j.id.Kind {
	case kindNamespace:
		j.onlyFields()
	case kindConfigMap:
		if !j.onlyFields("data", "binaryData", "immutable") {
			return
		}
		before := len(j.out.findings)
		j.data("data", false)
		j.data("binaryData", true)
		if len(j.out.findings) > before {
			return
		}
		j.strict(&corev1.ConfigMap{})
	case kindSecret:
		if !j.onlyFields("data", "stringData", "type", "immutable") {
			return
		}
		j.secret()
	}
}

// onlyFields refuses other fields than those and the three that every object has.
func (j *objectJudge) onlyFields(fields ...string) bool {
	ok := true
	for _, key := range slices.Sorted(maps.Keys(j.value)) {
		if slices.Contains([]string{"apiVersion", "kind", "metadata"}, key) || slices.Contains(fields, key) {
			continue
		}
		ok = false
		hint := "remove it"
		if key == "status" || key == "spec" {
			hint = "git may bring name, labels and annotations only"
		}
		shown := " " + quote(key)
		if j.id.Kind == kindSecret {
			shown = "" // a value that is indented wrong becomes a field
			if hint == "remove it" {
				hint = "values are in data and stringData; remove it"
			}
		}
		j.reportField(v1alpha1.ReasonSchemaInvalid, key, "unknown field%s of a %s: %s", shown, j.id.Kind, hint)
	}
	return ok
}

// data checks a map of texts, base64 when it is binary.
func (j *objectJudge) data(name string, binary bool) {
	value, ok := j.value[name]
	if !ok {
		return
	}
	m, ok := value.(map[string]any)
	if !ok {
		j.reportField(v1alpha1.ReasonSchemaInvalid, name, "%s must be a map", name)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := name + "[" + key + "]"
		shown := quote(key)
		if j.id.Kind == kindSecret {
			shown = "of a Secret" // it may be a value in the wrong place
		}
		text, ok := m[key].(string)
		if !ok {
			j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s: the value of key %s must be a text: put it in quotes", name, shown)
			continue
		}
		if problems := validation.IsConfigMapKey(key); len(problems) > 0 {
			j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s: key %s: %s", name, shown, problems[0])
		}
		if binary {
			if _, err := base64.StdEncoding.DecodeString(text); err != nil {
				j.reportField(v1alpha1.ReasonSchemaInvalid, at, "%s: the value of key %s is not base64: encode it, or use %s", name, shown, map[string]string{kindSecret: "stringData", kindConfigMap: "data"}[j.id.Kind])
			}
		}
	}
}

// secret checks a Secret and writes stringData as data, which is what the API server keeps.
func (j *objectJudge) secret() {
	before := len(j.out.findings)
	j.data("data", true)
	j.data("stringData", false)
	if kind, _ := j.value["type"].(string); kind == string(corev1.SecretTypeServiceAccountToken) {
		j.reportField(v1alpha1.ReasonSchemaInvalid, "type", "a Secret of type %s asks for a token of the cluster and is not accepted from git", kind)
	}
	if len(j.out.findings) > before {
		return
	}
	if text, ok := j.value["stringData"].(map[string]any); ok {
		data, _ := j.value["data"].(map[string]any)
		if data = maps.Clone(data); data == nil {
			data = map[string]any{}
		}
		for k, v := range text {
			data[k] = base64.StdEncoding.EncodeToString([]byte(v.(string)))
		}
		delete(j.value, "stringData")
		j.value["data"] = data
	}
	j.strict(&corev1.Secret{})
}

// strict decodes as the API server does and reports what is left: a wrong type of a scalar field.
func (j *objectJudge) strict(into any) {
	content, err := canonical(j.value)
	if err != nil {
		j.report(v1alpha1.ReasonSchemaInvalid, j.src.start(), "the object cannot be read")
		return
	}
	strictErrs, err := kjson.UnmarshalStrict(content, into)
	if err != nil || len(strictErrs) > 0 {
		j.report(v1alpha1.ReasonSchemaInvalid, j.src.start(), "a field has a wrong type: type is a text, immutable is true or false")
	}
}
