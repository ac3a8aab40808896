// SPDX-License-Identifier: Apache-2.0

// Package release tells the Kubernetes parts their version. Upstream sets it
// with linker flags; without it "kubectl version" fails and the API server
// calls itself v0.0.0. Here it follows from go.mod, so that it cannot be wrong
// and a plain "go build" is enough. Import it for its effect.
package release

import (
	"runtime/debug"
	"strings"
	_ "unsafe" // for linkname

	"k8s.io/component-base/version"
)

const module = "k8s.io/component-base"

//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMajor k8s.io/component-base/version.gitMajor
var gitMajor string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

func init() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			if dependency.Replace != nil {
				dependency = dependency.Replace
			}
			set(dependency.Version)
			return
		}
	}
}

// set takes the version of a staging module, v0.X.Y for Kubernetes v1.X.Y.
func set(staging string) {
	minor, ok := strings.CutPrefix(staging, "v0.")
	if !ok {
		return
	}
	gitVersion = "v1." + minor
	gitMajor = "1"
	gitMinor, _, _ = strings.Cut(minor, ".")
	if err := version.SetDynamicVersion(gitVersion); err != nil {
		panic("internal error: version of Kubernetes: " + err.Error())
	}
}
