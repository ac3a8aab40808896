// SPDX-License-Identifier: Apache-2.0

// Package config holds the manifests that an installation needs in its API server: the custom resource definitions
// and roles that controller-gen writes from the Go sources, and the admission policies beside them.
package config

import "embed"

// Files are the manifests: crd/*.yaml, rbac/*.yaml and policy/*.yaml, to be applied in this order.
//
//go:embed crd/*.yaml
var Files embed.FS
