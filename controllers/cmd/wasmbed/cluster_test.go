// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
)

// TestAnotherCluster runs an installation on an API server that is not its own.
func TestAnotherCluster(t *testing.T) {
	kubeconfig := startCluster(t)
	s := &stack{t: t, home: home.Dir(filepath.Join(t.TempDir(), "home")), base: freePortBase(t)}
	fleet := t.TempDir()
	s.clone = fleet
	manifests := "apiVersion: v1\nkind: Namespace\nmetadata: {name: plant}\n---\n" +
		"apiVersion: wasmbed.dev/v1alpha1\nkind: Gateway\nmetadata: {name: edge, namespace: plant}\nspec: {}\n---\n" +
		"apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata: {name: one, namespace: plant}\nspec: {board: sim-m4, backend: Simulated}\n---\n" + secondBlink
	s.write(map[string]string{"kustomization.yaml": "resources: [fleet.yaml]\n", "fleet.yaml": manifests})
	s.must("", "cp", "-r", filepath.Join(root, "apps"), fleet)
	up := []string{"--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base), "--kubeconfig", kubeconfig, "--fleet", fleet}
	t.Cleanup(func() {
		if out, err := s.wasmbed("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	s.must("", program(t, "wasmbed"), up...)
	if out, err := s.wasmbed("status"); err != nil {
		t.Errorf("status: %v\n%s", err, out)
	}
	if _, err := partPID(s.home, "cluster"); err == nil {
		t.Error("an embedded cluster runs beside the one that was named")
	}
	before := s.instances()
	if len(before) != 1 || before["second.one"].Status.Phase != v1alpha1.InstanceRunning {
		t.Errorf("instances %+v", before)
	}
	s.clone = filepath.Join(t.TempDir(), "clone")
	s.must("", "git", "clone", "-q", s.home.FleetRepository(), s.clone)
	s.write(map[string]string{"fleet.yaml": strings.Replace(manifests, "name: one,", "name: two,", 1)})
	commit, _ := s.push("Another device in the place of the first")
	s.settled(commit)
	if after := s.instances(); len(after) != 1 || after["second.two"].Status.Phase != v1alpha1.InstanceRunning {
		t.Errorf("instances %+v", after)
	}
	// The cluster outlives the installation, and the installation goes on where it was.
	s.must("", program(t, "wasmbed"), "down", "--home", string(s.home))
	var device v1alpha1.Device
	if err := s.client().Get(t.Context(), client.ObjectKey{Namespace: "plant", Name: "two"}, &device); err != nil {
		t.Errorf("after down: %v", err)
	}
	s.must("", program(t, "wasmbed"), up...)
	s.settled(commit)
}

// startCluster starts an API server with nothing of Wasmbed in it, and returns its administrator's kubeconfig.
func startCluster(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	port, err := home.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, "wasmbed-cluster"), "--data-dir", filepath.Join(dir, "data"), "--port", strconv.Itoa(port))
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the death signal is tied to the thread that starts it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
	})
	kubeconfig := filepath.Join(dir, "data", "admin.kubeconfig")
	eventually(t, "the API server says how to reach it", func() error {
		_, err := os.Stat(kubeconfig)
		return err
	})
	return kubeconfig
}
