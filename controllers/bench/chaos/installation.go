// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
)

const (
	namespace = "plant"
	devices   = 6
)

// applications of the fleet; each has a config whose value names the commit that asked for it.
var applications = []string{"first", "second"}

// gateways share the devices, and take one another's.
var gateways = []string{"edge", "spare"}

// parts are the processes that faults happen to, the API server the last of them.
var parts = []string{"controllers", gatewayPart("edge"), "simulator", gatewayPart("spare"), "cluster"}

func gatewayPart(name string) string { return "gateway-" + namespace + "." + name }

// installation is a whole one, as `wasmbed up` runs it, and a clone of its fleet's repository.
type installation struct {
	program     string
	home        home.Dir
	base        int    // port
	clocks      string // directory that says how far whose clock is ahead
	clone       string
	environment []string
	objects     client.Client
	proxy       *proxy
	liar        *liar
	module      []byte
	disks       []disk // empty where mounting is not permitted
}

func start(ctx context.Context, bin, dir string, seed uint64) (*installation, error) {
	i := &installation{home: home.Dir(filepath.Join(dir, "home")), clone: filepath.Join(dir, "clone"), clocks: filepath.Join(dir, "clocks")}
	if err := os.Mkdir(i.clocks, 0o755); err != nil {
		return nil, err
	}
	i.environment = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=Chaos", "GIT_AUTHOR_EMAIL=chaos@example.org",
		"GIT_COMMITTER_NAME=Chaos", "GIT_COMMITTER_EMAIL=chaos@example.org", "WASMBED_HOME="+string(i.home), "WASMBED_CHAOS_CLOCKS="+i.clocks)
	if err := i.buildPrograms(ctx, bin); err != nil {
		return nil, err
	}
	var err error
	if i.base, err = freePorts(); err != nil {
		return nil, err
	}
	if i.proxy, err = newProxy(i.gatewayAddresses(), seed); err != nil {
		return nil, err
	}
	if i.liar, err = newLiar(); err != nil {
		return nil, err
	}
	if err := i.mountDisks(); err != nil {
		return i, err
	}
	fleet := filepath.Join(dir, "fleet")
	if err := i.writeFleet(fleet, bin); err != nil {
		return nil, err
	}
	if _, err := i.run(ctx, "", i.program, "up", "--detach", "--fleet", fleet, "--port-base", strconv.Itoa(i.base)); err != nil {
		return i, err
	}
	if _, err := i.run(ctx, "", "git", "clone", "-q", i.home.FleetRepository(), i.clone); err != nil {
		return i, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", i.home.Kubeconfig())
	if err != nil {
		return i, err
	}
	config.Timeout = 10 * time.Second
	// What the kubeconfig holds ends soon; this file is kept current.
	file := i.home.ComponentCertificate("up")
	config.CertFile, config.KeyFile, config.CertData, config.KeyData = file, file, nil, nil
	transport.CertCallbackRefreshDuration = time.Second
	scheme, err := local.NewScheme()
	if err != nil {
		return i, err
	}
	i.objects, err = client.New(config, client.Options{Scheme: scheme})
	return i, err
}

// stop resumes what is stopped and takes everything down.
func (i *installation) stop() error {
	for _, part := range parts {
		_ = i.signal(part, syscall.SIGCONT)
	}
	i.proxy.close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := i.run(ctx, "", i.program, "down")
	return errors.Join(err, i.unmountDisks())
}

// freePorts are below those that the system gives to whoever connects somewhere: they must be free again after a time when
// everything was off.
func freePorts() (int, error) {
	for range 100 {
		base := 10000 + rand.IntN(20000)
		if ports := home.PortsFrom(base); ports.Check() == nil {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no free ports")
}

// gatewayAddresses are where they listen.
func (i *installation) gatewayAddresses() []string {
	return []string{home.Loopback(home.PortsFrom(i.base).Device), home.Loopback(i.base + 5)}
}

// run runs a command and returns what it says.
func (i *installation) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir, command.Env = dir, i.environment
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// writeFleet writes the first commit: devices behind the proxy, and two applications.
func (i *installation) writeFleet(dir, bin string) error {
	var err error
	if i.module, err = os.ReadFile(filepath.Join(bin, "..", "apps", "blink", "blink.wasm")); err != nil {
		return err
	}
	files := map[string]string{
		"devices/space.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + namespace + "\n",
	}
	for n, name := range gateways {
		files["devices/"+name+".yaml"] = header("Gateway", name) + fmt.Sprintf("spec: {listen: %q, endpoints: [%q], limits: {heartbeatSeconds: 2}}\n",
			i.gatewayAddresses()[n], i.proxy.address(n))
	}
	for n := range devices {
		name := fmt.Sprintf("device-%d", n)
		files["devices/"+name+".yaml"] = header("Device", name) + "  labels: {honest: \"yes\"}\nspec: {board: sim-m4, backend: Simulated}\n"
	}
	for _, name := range applications {
		files["apps/"+name+".yaml"] = applicationYAML(name, "0")
		files["apps/"+name+".wasm"] = string(i.module)
	}
	resources := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
	for name := range files {
		if filepath.Ext(name) == ".yaml" {
			resources += "- " + name + "\n"
		}
	}
	files["kustomization.yaml"] = resources
	return writeFiles(dir, files)
}

func header(kind, name string) string {
	return "apiVersion: wasmbed.dev/v1alpha1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\n  namespace: " + namespace + "\n"
}

func applicationYAML(name, value string) string {
	return "apiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata:\n  name: " + name + "\n  namespace: " + namespace +
		"\nspec:\n  module: {path: apps/" + name + ".wasm}\n  selector: {matchLabels: {honest: \"yes\"}}\n  permissions: [gpio, timer]\n  limits: {memory: 0, stack: 1024}\n  config: {asked: \"" + value + "\"}\n"
}

func writeFiles(dir string, files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pid of a part's process now.
func (i *installation) pid(part string) (int, error) {
	text, err := os.ReadFile(i.home.Run(part + ".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (i *installation) signal(part string, signal syscall.Signal) error {
	pid, err := i.pid(part)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, signal)
}
