// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// kustomization is the kustomization file of a directory.
type kustomization struct {
	file string
	dir  string
	node *yaml.Node
	k    types.Kustomization
	// plain: nothing but resources, so that it can be split.
	plain bool
	size  int
	// bad is why it cannot be used; nil when it can.
	bad []v1alpha1.Finding
}

// parseKustomization reads a kustomization file. What is not accepted is in bad.
func parseKustomization(file, dir string, content []byte) *kustomization {
	k := &kustomization{file: file, dir: dir, size: len(content)}
	docs, p := parseYAML(content)
	switch {
	case p != nil:
		k.refuse(v1alpha1.ReasonInvalidYAML, position{p.line, p.column}, p.message)
	case len(docs) == 0:
		k.refuse(v1alpha1.ReasonKustomizeFailed, position{1, 1}, "the kustomization is empty: give it at least `resources: []`")
	case len(docs) > 1:
		k.refuse(v1alpha1.ReasonKustomizeFailed, positionOf(docs[1].node), "a kustomization is one YAML document: remove the others")
	default:
		k.node = docs[0].node
		k.decode(docs[0].value)
	}
	return k
}

func (k *kustomization) refuse(reason string, pos position, message string) {
	k.bad = append(k.bad, finding(SeverityError, reason, k.file, pos, "", message))
}

var unknownField = regexp.MustCompile(`unknown field "(.*)"`)

func (k *kustomization) decode(value any) {
	content, err := json.Marshal(value)
	if err != nil {
		k.refuse(v1alpha1.ReasonInvalidYAML, positionOf(k.node), "the kustomization is not YAML that JSON can say")
		return
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&k.k); err != nil {
		pos := positionOf(k.node)
		message := strings.TrimPrefix(err.Error(), "json: ")
		if m := unknownField.FindStringSubmatch(message); m != nil {
			pos = findKey(k.node, m[1])
			message = "kustomize knows no field " + quote(m[1])
		}
		k.refuse(v1alpha1.ReasonKustomizeFailed, pos, message)
		return
	}
	k.k.FixKustomization()
	for _, e := range k.k.EnforceFields() {
		k.refuse(v1alpha1.ReasonKustomizeFailed, positionOf(k.node), e)
	}
	k.refuseFields()
	rest := k.k
	rest.TypeMeta, rest.MetaData, rest.Resources = types.TypeMeta{}, nil, nil
	k.plain = k.k.Kind == types.KustomizationKind && reflect.DeepEqual(rest, types.Kustomization{})
}

// refuseFields refuses what could run commands, reach a network, change how the whole process sees schemas, or grow
// without bound.
func (k *kustomization) refuseFields() {
	for _, r := range []struct {
		used        bool
		field, hint string
	}{
		{len(k.k.Generators) > 0, "generators", "plugins are not accepted: use configMapGenerator or secretGenerator, or commit what the plugin makes"},
		{len(k.k.Transformers) > 0, "transformers", "plugins are not accepted: use patches, labels, namespace, replacements"},
		{len(k.k.Validators) > 0, "validators", "plugins are not accepted: the commit is judged by the schemas"},
		{len(k.k.HelmCharts) > 0 || k.k.HelmGlobals != nil, "helmCharts", "charts are not accepted: render the chart and commit the manifests"},
		{len(k.k.OpenAPI) > 0, "openapi", "schemas of one's own are not accepted: the field lists of this API need none"},
		{len(k.k.Vars) > 0, "vars", "variables are not accepted: use replacements"},
	} {
		if r.used {
			k.refuse(v1alpha1.ReasonKustomizeFailed, findKey(k.node, r.field), r.field+": "+r.hint)
		}
	}
}

// entryPosition is where the i-th entry of a list field stands.
func (k *kustomization) entryPosition(field string, i int) position {
	pos, _, _ := locate(k.node, fmt.Sprintf("%s[%d]", field, i))
	return pos
}

// resourcePosition is where the i-th resource stands; those of the old field `bases` follow those of `resources`.
func (k *kustomization) resourcePosition(i int) position {
	_, n, ok := locate(k.node, "resources")
	if ok && n.Kind == yaml.SequenceNode {
		if i < len(n.Content) {
			return positionOf(n.Content[i])
		}
		i -= len(n.Content)
	}
	return k.entryPosition("bases", i)
}

var (
	userAtHost = regexp.MustCompile(`^[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+[:/]`)
	forge      = regexp.MustCompile(`(?i)^(git::|gh:|github\.com[/:]|gitlab\.com[/:]|bitbucket\.org[/:])`)
)

// looksRemote reports whether kustomize would, or a person might, take an entry for an address.
func looksRemote(entry string) bool {
	return strings.Contains(entry, "://") || strings.Contains(entry, "?ref=") || userAtHost.MatchString(entry) || forge.MatchString(entry)
}

// entryPath is the path in the tree that an entry of the kustomization stands for. The reason is empty when it is
// one.
func (k *kustomization) entryPath(entry string) (name, reason, message string) {
	switch {
	case entry == "":
		return "", v1alpha1.ReasonKustomizeFailed, "an entry is empty: remove it"
	case looksRemote(entry):
		return "", v1alpha1.ReasonRemoteBase, fmt.Sprintf("%s is outside of the commit, and nothing is fetched: copy it into the repository", quote(entry))
	case path.IsAbs(entry):
		return "", v1alpha1.ReasonPathEscape, fmt.Sprintf("%s is an absolute path: give it relative to %s", quote(entry), k.file)
	}
	name = path.Join(k.dir, entry)
	if escapes(name) {
		return "", v1alpha1.ReasonPathEscape, fmt.Sprintf("%s leads out of the repository: copy what it names into the repository", quote(entry))
	}
	return name, "", ""
}

// pathProblem puts an error of lookup into words. What names is for a person: the entry as it was written.
func pathProblem(entry string, err error) (reason, message string) {
	switch {
	case isNotExist(err):
		return v1alpha1.ReasonKustomizeFailed, fmt.Sprintf("%s does not exist in the commit: add the file, or remove the entry", quote(entry))
	case errors.Is(err, errSubmodule):
		return v1alpha1.ReasonPathEscape, fmt.Sprintf("%s %v: copy the files into the repository", quote(entry), errSubmodule)
	}
	return v1alpha1.ReasonPathEscape, fmt.Sprintf("%s %v: replace the symbolic link by the file itself", quote(entry), err)
}

// kustomizationNames are the names that a kustomization file may have.
var kustomizationNames = konfig.RecognizedKustomizationFileNames()
