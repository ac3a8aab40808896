// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// fieldOwnersPlugin is the name of the admission plugin that fieldOwners is.
const fieldOwnersPlugin = "FieldOwners"

// fieldOwners leaves out of new Instances who owns which of their fields. The API server tracks that for objects that say it
// already, or that somebody applies on the server side; nobody asks it of Instances, which one controller makes, one gateway
// reports of, and of which there are more than of everything else together.
type fieldOwners struct{ *admission.Handler }

var instances = schema.GroupResource{Group: "wasmbed.dev", Resource: "instances"}

var _ admission.MutationInterface = fieldOwners{}

func addFieldOwners(server *options.ServerRunOptions) {
	plugins := server.Admission.GenericAdmission
	plugins.Plugins.Register(fieldOwnersPlugin, func(io.Reader) (admission.Interface, error) {
		return fieldOwners{admission.NewHandler(admission.Create)}, nil
	})
	plugins.RecommendedPluginOrder = append([]string{fieldOwnersPlugin}, plugins.RecommendedPluginOrder...)
}

// Admit changes an object that is created.
func (fieldOwners) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().GroupResource() != instances || a.GetSubresource() != "" {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return admission.NewForbidden(a, err)
	}
	object.SetManagedFields(nil)
	return nil
}
