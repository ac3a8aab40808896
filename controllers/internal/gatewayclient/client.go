// SPDX-License-Identifier: Apache-2.0

// Package gatewayclient asks gateways what they know at this moment, with the administrator's identity.
package gatewayclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway"
)

// maxFacts bounds what a gateway answers about one device.
const maxFacts = 1 << 20

// Client reads the HTTP side of gateways.
type Client struct {
	objects client.Client
	http    *http.Client
}

// New reads the administrator's identity through objects.
func New(ctx context.Context, objects client.Client) (*Client, error) {
	name := pki.SecretName(pki.Identity{Kind: pki.Client, Name: "admin"})
	secret := &corev1.Secret{}
	if err := objects.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: name}, secret); err != nil {
		return nil, fmt.Errorf("read the administrator's identity: %w", err)
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read the administrator's identity from Secret %s: %w", name, err)
	}
	source := &pki.Source{}
	source.Set(credentials)
	return &Client{objects: objects, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:       source.ClientConfig(time.Now, pki.Gateway),
		ResponseHeaderTimeout: 10 * time.Second,
	}}}, nil
}

// Get opens a path of a gateway; the caller closes what it returns.
func (g *Client) Get(ctx context.Context, from *v1alpha1.Gateway, path string) (io.ReadCloser, error) {
	if from.Status.HTTPAddress == "" {
		return nil, fmt.Errorf("gateway %s/%s does not run: see `wasmbed status`", from.Namespace, from.Name)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+from.Status.HTTPAddress+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := g.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask gateway %s/%s: %w", from.Namespace, from.Name, err)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		_ = response.Body.Close()
		return nil, fmt.Errorf("gateway %s/%s answers %s: %s", from.Namespace, from.Name, response.Status, status.Printable(strings.TrimSpace(string(text))))
	}
	return response.Body, nil
}

// GatewayOf finds the gateway that a device is assigned to.
func (g *Client) GatewayOf(ctx context.Context, namespace, name string) (*v1alpha1.Gateway, error) {
	device := &v1alpha1.Device{}
	if err := g.objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, device); err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	gatewayNamespace, gatewayName, ok := strings.Cut(device.Status.Gateway, ".")
	if !ok {
		return nil, fmt.Errorf("device %s/%s has no gateway: see `wasmbed status`", namespace, name)
	}
	found := &v1alpha1.Gateway{}
	if err := g.objects.Get(ctx, client.ObjectKey{Namespace: gatewayNamespace, Name: gatewayName}, found); err != nil {
		return nil, fmt.Errorf("read gateway: %w", err)
	}
	return found, nil
}

// Facts is what a device's gateway knows of it from the device itself.
func (g *Client) Facts(ctx context.Context, namespace, name string) (*gateway.DeviceFacts, error) {
	assigned, err := g.GatewayOf(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	body, err := g.Get(ctx, assigned, "/v1/devices/"+namespace+"/"+name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	facts := &gateway.DeviceFacts{}
	if err := json.NewDecoder(io.LimitReader(body, maxFacts)).Decode(facts); err != nil {
		return nil, fmt.Errorf("read what the gateway knows of device %s/%s: %w", namespace, name, err)
	}
	return facts, nil
}
