// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// writer writes objects as bytes and reads only the metadata of the answers: a large commit would otherwise spend most
// of its time on encoding.
type writer struct {
	clients map[schema.GroupVersion]*rest.RESTClient
}

func newWriter(config *rest.Config, httpClient *http.Client) (*writer, error) {
	w := &writer{clients: map[schema.GroupVersion]*rest.RESTClient{}}
	for _, k := range kinds {
		gv := k.resource.GroupVersion()
		if w.clients[gv] != nil {
			continue
		}
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &gv, "/apis"
		if gv.Group == "" {
			c.APIPath = "/api"
		}
		c.NegotiatedSerializer = serializer.NewCodecFactory(clientgoscheme.Scheme).WithoutConversion()
		c.ContentType = "application/json"
		// The number of workers bounds the requests, and the API server is fair between its clients.
		c.QPS = -1
		var err error
		if w.clients[gv], err = rest.RESTClientForConfigAndClient(c, httpClient); err != nil {
			return nil, fmt.Errorf("making a client for %s: %w", gv, err)
		}
	}
	return w, nil
}

const onlyMetadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"

func (w *writer) request(id fleet.ID, start func(*rest.RESTClient) *rest.Request) *rest.Request {
	k := kindOf(id)
	r := start(w.clients[k.resource.GroupVersion()]).Resource(k.resource.Resource)
	if id.Namespace != "" {
		r = r.Namespace(id.Namespace)
	}
	return r.SetHeader("Accept", onlyMetadata)
}

// result reads the metadata of an answer.
func result(r rest.Result) (*metav1.PartialObjectMetadata, error) {
	raw, err := r.Raw()
	if err != nil {
		return nil, r.Error()
	}
	object := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("reading the API server's answer: %w", err)
	}
	return object, nil
}

func (w *writer) create(ctx context.Context, id fleet.ID, body []byte) (uint64, error) {
	object, err := result(w.request(id, func(c *rest.RESTClient) *rest.Request { return c.Post() }).
		Param("fieldManager", api.FieldManager).Body(body).Do(ctx))
	if err != nil {
		return 0, err
	}
	return version(object), nil
}

// patch writes the difference between a live object and what it shall be; there must be one.
func (w *writer) patch(ctx context.Context, id fleet.ID, live, want client.Object) (uint64, error) {
	body, err := client.MergeFrom(live).Data(want)
	if err != nil {
		return 0, fmt.Errorf("internal error: %w", err)
	}
	if live.GetUID() != "" {
		// The patch is for this object and for none that took its name meanwhile.
		if body, err = addUID(body, live.GetUID()); err != nil {
			return 0, err
		}
	}
	object, err := result(w.request(id, func(c *rest.RESTClient) *rest.Request { return c.Patch(types.MergePatchType) }).
		Name(id.Name).Param("fieldManager", api.FieldManager).Body(body).Do(ctx))
	if err != nil {
		return 0, err
	}
	return version(object), nil
}

func addUID(patch []byte, uid types.UID) ([]byte, error) {
	var body map[string]any
	if err := json.Unmarshal(patch, &body); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	metadata, ok := body["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		body["metadata"] = metadata
	}
	metadata["uid"] = string(uid)
	return json.Marshal(body)
}

func (w *writer) delete(ctx context.Context, id fleet.ID, uid types.UID) error {
	options := &metav1.DeleteOptions{}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(uid))
	}
	body, err := json.Marshal(options)
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	return w.request(id, func(c *rest.RESTClient) *rest.Request { return c.Delete() }).Name(id.Name).Body(body).Do(ctx).Error()
}
