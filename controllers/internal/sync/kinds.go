// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// kind is a kind that git may bring.
type kind struct {
	name     string
	resource schema.GroupVersionResource
	// object returns an empty object, and list an empty list.
	object func() client.Object
	list   func() client.ObjectList
	// desired is what git says, with defaults.
	desired func(*fleet.Object) (client.Object, error)
	// own copies what git owns, metadata apart, from what is desired to a copy of what is live.
	own func(live, desired client.Object)
	// owned says that every label is git's; otherwise only those that git gave.
	owned bool
	// core says that the object lives in the cache of the core kinds.
	core bool
}

var kinds = []*kind{
	{
		name: "Namespace", resource: corev1.SchemeGroupVersion.WithResource("namespaces"), core: true,
		object:  func() client.Object { return &corev1.Namespace{} },
		list:    func() client.ObjectList { return &corev1.NamespaceList{} },
		desired: decode[corev1.Namespace],
		own:     func(_, _ client.Object) {},
	},
	{
		name: "ConfigMap", resource: corev1.SchemeGroupVersion.WithResource("configmaps"), core: true,
		object:  func() client.Object { return &corev1.ConfigMap{} },
		list:    func() client.ObjectList { return &corev1.ConfigMapList{} },
		desired: decode[corev1.ConfigMap],
		own: func(live, desired client.Object) {
			l, d := live.(*corev1.ConfigMap), desired.(*corev1.ConfigMap)
			l.Data, l.BinaryData, l.Immutable = d.Data, d.BinaryData, d.Immutable
		},
	},
	{
		name: "Secret", resource: corev1.SchemeGroupVersion.WithResource("secrets"), core: true,
		object:  func() client.Object { return &corev1.Secret{} },
		list:    func() client.ObjectList { return &corev1.SecretList{} },
		desired: desiredSecret,
		own: func(live, desired client.Object) {
			l, d := live.(*corev1.Secret), desired.(*corev1.Secret)
			l.Data, l.Type, l.Immutable = d.Data, d.Type, d.Immutable
		},
	},
	{
		name: "Gateway", resource: api.GroupVersion.WithResource("gateways"), owned: true,
		object:  func() client.Object { return &api.Gateway{} },
		list:    func() client.ObjectList { return &api.GatewayList{} },
		desired: func(o *fleet.Object) (client.Object, error) { return o.Gateway, nil },
		own: func(live, desired client.Object) {
			live.(*api.Gateway).Spec = *desired.(*api.Gateway).Spec.DeepCopy()
		},
	},
	{
		name: "Device", resource: api.GroupVersion.WithResource("devices"), owned: true,
		object:  func() client.Object { return &api.Device{} },
		list:    func() client.ObjectList { return &api.DeviceList{} },
		desired: func(o *fleet.Object) (client.Object, error) { return o.Device, nil },
		own: func(live, desired client.Object) {
			live.(*api.Device).Spec = *desired.(*api.Device).Spec.DeepCopy()
		},
	},
	{
		name: "Application", resource: api.GroupVersion.WithResource("applications"), owned: true,
		object:  func() client.Object { return &api.Application{} },
		list:    func() client.ObjectList { return &api.ApplicationList{} },
		desired: func(o *fleet.Object) (client.Object, error) { return o.Application, nil },
		own: func(live, desired client.Object) {
			live.(*api.Application).Spec = *desired.(*api.Application).Spec.DeepCopy()
		},
	},
}

func kindOf(id fleet.ID) *kind {
	for _, k := range kinds {
		if k.name == id.Kind {
			return k
		}
	}
	panic("internal error: a fleet holds a " + id.Kind)
}

// desired returns the object as git says it.
func desired(o *fleet.Object) (client.Object, error) {
	object, err := kindOf(o.ID).desired(o)
	if err != nil {
		return nil, fmt.Errorf("internal error: %s: %w", o.ID, err)
	}
	return object, nil
}

func decode[T any, P interface {
	*T
	client.Object
}](o *fleet.Object) (client.Object, error) {
	object := P(new(T))
	return object, json.Unmarshal(o.JSON, object)
}

// desiredSecret does what the API server does to a Secret: stringData goes into data, and the type has a default.
func desiredSecret(o *fleet.Object) (client.Object, error) {
	secret := &corev1.Secret{}
	if err := json.Unmarshal(o.JSON, secret); err != nil {
		return nil, err
	}
	for key, value := range secret.StringData {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key] = []byte(value)
	}
	secret.StringData = nil
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	return secret, nil
}

// annotationKeys lists the labels and annotations that git gave an object, so that they go when git no longer gives
// them while those of others stay: "labels/KEY,annotations/KEY". It is absent when there are none.
const annotationKeys = api.Group + "/applied-keys"

// stamp is what an object is marked with when it is written.
type stamp struct {
	repository client.ObjectKey
	revision   string
	// source, when it is not empty, stands for the place in the commit.
	source string
}

// metadata sets the labels and annotations of a live object, or of an empty one, to what git and the stamp say.
func (s stamp) metadata(live metav1.Object, o *fleet.Object, git metav1.Object) {
	labels, annotations := maps.Clone(git.GetLabels()), maps.Clone(live.GetAnnotations())
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	owned := kindOf(o.ID).owned
	before := strings.Split(live.GetAnnotations()[annotationKeys], ",")
	for key, value := range live.GetLabels() {
		if _, given := labels[key]; !given && (foreign(key) || !owned && !slices.Contains(before, "labels/"+key)) {
			labels[key] = value
		}
	}
	for _, entry := range before {
		if key, ok := strings.CutPrefix(entry, "annotations/"); ok {
			delete(annotations, key)
		}
	}
	maps.Copy(annotations, git.GetAnnotations())
	if keys := givenKeys(git, owned); keys != "" {
		annotations[annotationKeys] = keys
	} else {
		delete(annotations, annotationKeys)
	}
	labels[api.LabelRepositoryName], labels[api.LabelRepositoryNamespace] = s.repository.Name, s.repository.Namespace
	annotations[api.AnnotationDigest] = o.Digest
	annotations[api.AnnotationRevision] = s.revision
	annotations[api.AnnotationSource] = cmp.Or(s.source, o.Source())
	live.SetLabels(labels)
	live.SetAnnotations(annotations)
}

// foreign says that a label key is the cluster's own.
func foreign(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	return ok && (domain == "kubernetes.io" || domain == "k8s.io" || strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io"))
}

func givenKeys(git metav1.Object, owned bool) string {
	var keys []string
	if !owned {
		for key := range git.GetLabels() {
			keys = append(keys, "labels/"+key)
		}
	}
	for key := range git.GetAnnotations() {
		keys = append(keys, "annotations/"+key)
	}
	slices.Sort(keys)
	return strings.Join(keys, ",")
}

// merged returns a copy of a live object as git and the stamp want it.
func (s stamp) merged(live client.Object, o *fleet.Object) (client.Object, error) {
	want, err := desired(o)
	if err != nil {
		return nil, err
	}
	result := live.DeepCopyObject().(client.Object)
	kindOf(o.ID).own(result, want)
	s.metadata(result, o, want)
	return result, nil
}

// fresh returns the body by which an object is created.
func (s stamp) fresh(o *fleet.Object) ([]byte, error) {
	u, err := o.Unstructured()
	if err != nil {
		return nil, err
	}
	s.metadata(u, o, u.DeepCopy())
	return u.MarshalJSON()
}

// owner returns the Repository that an object's labels name. Labels that no Repository can have are nobody's: the key
// names a directory.
func owner(object metav1.Object) (client.ObjectKey, bool) {
	key := client.ObjectKey{Namespace: object.GetLabels()[api.LabelRepositoryNamespace], Name: object.GetLabels()[api.LabelRepositoryName]}
	if key.Name == "" || key.Namespace == "" || strings.Contains(key.Namespace, ".") {
		return client.ObjectKey{}, false
	}
	return key, true
}

func idOf(kind string, object metav1.Object) fleet.ID {
	return fleet.ID{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()}
}
