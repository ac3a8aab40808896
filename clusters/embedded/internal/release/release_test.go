// SPDX-License-Identifier: Apache-2.0

package release

import (
	"testing"

	"k8s.io/component-base/version"
)

func TestVersionFollowsTheModule(t *testing.T) {
	set("v0.99.7")
	got := version.Get()
	if got.GitVersion != "v1.99.7" || got.Major != "1" || got.Minor != "99" {
		t.Errorf("version is %s (%s.%s)", got.GitVersion, got.Major, got.Minor)
	}
}
