// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childVariable = "WASMBED_KUBECTL_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestVersion(t *testing.T) {
	command := exec.Command(os.Args[0], "version", "--client", "--output=json")
	command.Env = append(os.Environ(), childVariable+"=1")
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var version struct {
		ClientVersion struct{ GitVersion, Major, Minor string }
	}
	if err := json.Unmarshal(output, &version); err != nil {
		t.Fatal(err)
	}
	client := version.ClientVersion
	if client.Major != "1" || !strings.HasPrefix(client.GitVersion, "v1."+client.Minor+".") {
		t.Errorf("kubectl calls itself %+v", client)
	}
}
