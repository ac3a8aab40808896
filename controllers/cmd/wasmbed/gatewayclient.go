// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway"
)

// gatewayClient reads the HTTP side of gateways with the administrator's identity.
type gatewayClient struct {
	objects client.Client
	http    *http.Client
}

func gatewayClientOf(command *cobra.Command) (*gatewayClient, error) {
	objects, err := readerOf(command)
	if err != nil {
		return nil, err
	}
	return newGatewayClient(command.Context(), objects)
}

func newGatewayClient(ctx context.Context, objects client.Client) (*gatewayClient, error) {
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
	return &gatewayClient{objects: objects, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig:       source.ClientConfig(time.Now, pki.Gateway),
		ResponseHeaderTimeout: 10 * time.Second,
	}}}, nil
}

// get opens a path of a gateway; the caller closes what it returns.
func (g *gatewayClient) get(ctx context.Context, from *v1alpha1.Gateway, path string) (io.ReadCloser, error) {
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

// gatewayOf finds the gateway that a device is assigned to.
func (g *gatewayClient) gatewayOf(ctx context.Context, namespace, name string) (*v1alpha1.Gateway, error) {
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

func deviceLogs(command *cobra.Command, device string, follow bool) error {
	namespace, name, _ := strings.Cut(device, "/")
	g, err := gatewayClientOf(command)
	if err != nil {
		return err
	}
	assigned, err := g.gatewayOf(command.Context(), namespace, name)
	if err != nil {
		return err
	}
	query := url.Values{"device": {device}}
	if follow {
		query.Set("follow", "1")
	}
	body, err := g.get(command.Context(), assigned, "/v1/logs?"+query.Encode())
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var line gateway.LogLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read log line: %w", err)
		}
		source := line.App
		if source == "" {
			source = "firmware"
		}
		if _, err := fmt.Fprintf(command.OutOrStdout(), "%s %-7s %s: %s\n", line.Time.Local().Format("15:04:05.000"), line.Level, status.Printable(source), status.Printable(line.Text)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}
