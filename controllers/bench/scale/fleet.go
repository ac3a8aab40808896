// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
)

const (
	namespace = "scale"
	// perDirectory keeps a directory's build small, as a fleet's owner would.
	perDirectory = 100
)

func deviceName(i int) string { return fmt.Sprintf("device-%05d", i) }

func deviceYAML(i int, labels string) string {
	return "apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata:\n  name: " + deviceName(i) + "\n  namespace: " + namespace +
		"\n  labels: {site: hall" + labels + "}\nspec:\n  board: sim-m4\n  backend: Simulated\n"
}

func applicationYAML(name string) string {
	return "apiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata:\n  name: " + name + "\n  namespace: " + namespace +
		"\nspec:\n  module: {path: apps/blink.wasm}\n  selector: {}\n  permissions: [gpio, timer]\n  limits: {memory: 0, stack: 1024}\n  rollout: {maxUnavailable: \"100%\"}\n"
}

func gatewayYAML(name string) string {
	return "apiVersion: wasmbed.dev/v1alpha1\nkind: Gateway\nmetadata:\n  name: " + name + "\n  namespace: " + namespace + "\n"
}

// write writes a file of the working copy; without content it removes it.
func (b *bench) write(name, content string) error {
	path := filepath.Join(b.dir, "work", name)
	if content == "" {
		return os.Remove(path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func kustomization(resources []string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + strings.Join(resources, "\n- ") + "\n"
}

// writeFleet writes a fleet of devices, gateways and applications into the working copy.
func (b *bench) writeFleet(devices int, gateways, applications []string) error {
	directories := map[string][]string{}
	for i := range devices {
		dir := fmt.Sprintf("d%03d", i/perDirectory)
		directories[dir] = append(directories[dir], deviceName(i)+".yaml")
		if err := b.write(filepath.Join(dir, deviceName(i)+".yaml"), deviceYAML(i, "")); err != nil {
			return err
		}
	}
	top := slices.Sorted(maps.Keys(directories))
	for dir, names := range directories {
		if err := b.write(filepath.Join(dir, "kustomization.yaml"), kustomization(names)); err != nil {
			return err
		}
	}
	files := map[string]string{"namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n"}
	for _, name := range gateways {
		files["gateway-"+name+".yaml"] = gatewayYAML(name)
	}
	for _, name := range applications {
		files["app-"+name+".yaml"] = applicationYAML(name)
	}
	for name, content := range files {
		top = append(top, name)
		if err := b.write(name, content); err != nil {
			return err
		}
	}
	module, err := os.ReadFile(filepath.Join("apps", "blink", "blink.wasm"))
	if err != nil {
		return err
	}
	if err := b.write("apps/blink.wasm", string(module)); err != nil {
		return err
	}
	slices.Sort(top)
	return b.write("kustomization.yaml", kustomization(top))
}

// push commits and pushes the working copy, and announces it as the repository's hook does. It returns the commit and
// when it was announced.
func (b *bench) push(ctx context.Context, message string) (string, time.Time, error) {
	if b.commits == 0 {
		if err := os.MkdirAll(filepath.Join(b.dir, "work"), 0o755); err != nil {
			return "", time.Time{}, err
		}
		for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", "../fleet.git"}, {"init", "-q", "-b", "main", "."}, {"remote", "add", "origin", "../fleet.git"}} {
			if _, err := b.git(args...); err != nil {
				return "", time.Time{}, err
			}
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", message}, {"push", "-q", "origin", "HEAD"}} {
		if _, err := b.git(args...); err != nil {
			return "", time.Time{}, err
		}
	}
	commit, err := b.git("rev-parse", "HEAD")
	if err != nil {
		return "", time.Time{}, err
	}
	b.commits++
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "scale"},
		Spec: v1alpha1.RepositorySpec{URL: "file://" + filepath.Join(b.dir, "fleet.git"), Branch: "main",
			Interval: metav1.Duration{Duration: time.Minute}, Timeout: metav1.Duration{Duration: time.Minute}}}
	began := time.Now()
	if b.commits == 1 {
		return commit, began, b.kube.Create(ctx, repository)
	}
	now := began.UTC().Format(time.RFC3339Nano)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, v1alpha1.AnnotationPushed, commit+" "+now, v1alpha1.AnnotationReconcileAt, now)
	return commit, began, b.kube.Patch(ctx, repository, client.RawPatch("application/merge-patch+json", []byte(patch)))
}
