// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/local"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/gateway"
)

// root is the top of this module, seen from this package.
const root = "../../.."

// stack is a whole installation as a person has it: the programs from bin, a home, a clone of the fleet.
type stack struct {
	t     *testing.T
	home  home.Dir
	base  int
	clone string
	said  string // by the first up
}

func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: build it with `make build`", err)
	}
	return path
}

// startStack brings an installation with the example fleet up and takes it down when the test ends.
func startStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, home: home.Dir(filepath.Join(t.TempDir(), "home")), base: freePortBase(t)}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.run("", program(t, "wasmbed"), "--home", string(s.home), "logs", "-n", "15")
			t.Logf("logs:\n%s", out)
		}
		if out, err := s.run("", program(t, "wasmbed"), "--home", string(s.home), "down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	s.said = s.up()
	s.clone = filepath.Join(t.TempDir(), "clone")
	s.must("", "git", "clone", "-q", s.home.FleetRepository(), s.clone)
	return s
}

func (s *stack) up() string {
	s.t.Helper()
	return s.must(root, program(s.t, "wasmbed"), "--home", string(s.home), "up", "--detach", "--port-base", strconv.Itoa(s.base))
}

// freePortBase finds a base whose ports are all free.
func freePortBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base, err := home.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		ports := home.PortsFrom(base)
		if ports.Check() == nil {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// run runs a command with a clean git identity and returns all that it says.
func (s *stack) run(dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=Tester", "GIT_AUTHOR_EMAIL=tester@example.org",
		"GIT_COMMITTER_NAME=Tester", "GIT_COMMITTER_EMAIL=tester@example.org", "KUBECONFIG="+s.home.Kubeconfig(), "WASMBED_HOME="+string(s.home))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *stack) must(dir, name string, args ...string) string {
	s.t.Helper()
	out, err := s.run(dir, name, args...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func (s *stack) kubectl(args ...string) string {
	s.t.Helper()
	return s.must("", program(s.t, "kubectl"), args...)
}

func (s *stack) wasmbed(args ...string) (string, error) {
	return s.run("", program(s.t, "wasmbed"), args...)
}

// write puts files into the clone; an empty content removes the file.
func (s *stack) write(files map[string]string) {
	s.t.Helper()
	for name, content := range files {
		path := filepath.Join(s.clone, name)
		if content == "" {
			if err := os.RemoveAll(path); err != nil {
				s.t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// push commits what is in the clone and pushes it; it returns the commit and what git said.
func (s *stack) push(message string) (commit, said string) {
	s.t.Helper()
	s.must(s.clone, "git", "add", "-A")
	s.must(s.clone, "git", "commit", "-q", "--allow-empty", "-m", message)
	said = s.must(s.clone, "git", "push", "-f", "origin", "HEAD:main")
	return strings.TrimSpace(s.must(s.clone, "git", "rev-parse", "HEAD")), said
}

// client reads objects with the administrator's kubeconfig.
func (s *stack) client() client.Client {
	s.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.home.Kubeconfig())
	if err != nil {
		s.t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	scheme, err := local.NewScheme()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// eventually polls until check returns nil, for as long as everything in a small fleet may take.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not in time: %v", what, err)
}

// settled waits until the commit is applied and every object is Ready.
func (s *stack) settled(commit string) *status.Report {
	s.t.Helper()
	c := s.client()
	var last *status.Report
	eventually(s.t, "fleet follows "+commit[:8], func() error {
		report, err := status.Gather(context.Background(), c)
		if err != nil {
			return err
		}
		last = report
		if applied := report.Repositories[0].Applied; applied == nil || applied.Commit != commit {
			return fmt.Errorf("applied is %+v; %s", applied, report.Waiting())
		}
		if !report.Ready {
			return fmt.Errorf("not ready: %s", report.Waiting())
		}
		return nil
	})
	return last
}

// instances of the plant by name.
func (s *stack) instances() map[string]v1alpha1.Instance {
	s.t.Helper()
	var list v1alpha1.InstanceList
	if err := s.client().List(context.Background(), &list, client.InNamespace("plant")); err != nil {
		s.t.Fatal(err)
	}
	byName := map[string]v1alpha1.Instance{}
	for _, i := range list.Items {
		byName[i.Name] = i
	}
	return byName
}

// devices are the names of the plant's devices.
func (s *stack) devices() []string {
	s.t.Helper()
	var list v1alpha1.DeviceList
	if err := s.client().List(s.t.Context(), &list, client.InNamespace("plant")); err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, d := range list.Items {
		names = append(names, d.Name)
	}
	return names
}

// facts is what the gateway knows of a device of the plant from the device itself.
func (s *stack) facts(device string) gateway.DeviceFacts {
	s.t.Helper()
	g, err := gatewayclient.New(s.t.Context(), s.client())
	if err != nil {
		s.t.Fatal(err)
	}
	facts, err := g.Facts(s.t.Context(), "plant", device)
	if err != nil {
		s.t.Fatal(err)
	}
	return *facts
}

func (s *stack) repository() *v1alpha1.Repository {
	s.t.Helper()
	repository := &v1alpha1.Repository{}
	if err := s.client().Get(context.Background(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: local.RepositoryName}, repository); err != nil {
		s.t.Fatal(err)
	}
	return repository
}

// kill ends a part the hard way and returns when its supervisor has started it again.
func (s *stack) kill(part string) {
	s.t.Helper()
	old, err := partPID(s.home, part)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, part+" comes back", func() error {
		pid, err := partPID(s.home, part)
		if err == nil && pid == old {
			err = fmt.Errorf("still process %d", pid)
		}
		return err
	})
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(into); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
}
