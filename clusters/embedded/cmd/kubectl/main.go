// SPDX-License-Identifier: Apache-2.0

// Command kubectl is the upstream kubectl of the release that the embedded
// API server comes from, so that a fresh machine needs no other one.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	// The version that "kubectl version" prints.
	_ "wasmbed.dev/clusters/embedded/internal/release"

	// Credentials of clusters in clouds (exec plugins, OIDC) in kubeconfigs.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

func main() {
	// kubectl logs while it builds its command tree, before flags are parsed.
	if _, err := logs.GlogSetter(cmd.GetLogVerbosity(os.Args)); err != nil {
		util.CheckErr(err)
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
