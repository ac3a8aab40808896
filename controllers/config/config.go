// SPDX-License-Identifier: Apache-2.0

// Package config holds the manifests that an installation needs in its API server: the custom resource definitions
// and roles that controller-gen writes from the Go sources, and the roles and admission policies beside them.
package config

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

//go:generate go tool controller-gen rbac:roleName=wasmbed-controllers paths=../internal/... output:rbac:dir=rbac

// Files are the manifests: crd/*.yaml, rbac/*.yaml and policy/*.yaml, to be applied in this order.
//
//go:embed crd/*.yaml rbac/*.yaml policy/*.yaml
var Files embed.FS

// FieldManager is the field manager of what Install writes.
const FieldManager = "wasmbed-install"

// Install writes the manifests that differ from what the API server has, and returns when the definitions are
// established. The identity must be an administrator's.
func Install(ctx context.Context, config *rest.Config) error {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("installing the manifests: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return fmt.Errorf("installing the manifests: %w", err)
	}
	c, err := client.New(config, client.Options{HTTPClient: httpClient, Mapper: mapper})
	if err != nil {
		return fmt.Errorf("installing the manifests: %w", err)
	}
	poller := polling.NewStatusPoller(c, mapper, polling.Options{})
	manager := ssa.NewResourceManager(c, poller, ssa.Owner{Field: FieldManager})
	manager.SetConcurrency(4)
	for _, dir := range []string{"crd", "rbac", "policy"} {
		objects, err := Objects(dir)
		if err != nil {
			return err
		}
		if _, err := manager.ApplyAllStaged(ctx, objects, ssa.DefaultApplyOptions()); err != nil {
			return fmt.Errorf("installing the manifests of %s: %w", dir, err)
		}
		if dir != "crd" {
			continue
		}
		if err := manager.Wait(objects, ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: time.Minute}); err != nil {
			return fmt.Errorf("waiting for the definitions: %w", err)
		}
	}
	return nil
}

// Objects reads the manifests of one directory.
func Objects(dir string) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(Files, dir+"/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, name := range names {
		content, err := Files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		read, err := ssautils.ReadObjects(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("internal error: manifest %s: %w", name, err)
		}
		objects = append(objects, read...)
	}
	return objects, nil
}
