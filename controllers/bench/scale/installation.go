// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/bench/measure"
	"wasmbed.dev/internal/testcluster"
)

// bench is an installation and what was measured of it so far.
type bench struct {
	dir, program string
	cluster      *testcluster.Cluster
	kube         client.Client
	counter      *measure.Counter
	devices      int
	idle         time.Duration
	parts        map[string]*part
	commits      int

	bare struct{ create, status, remove, handshake cost }
}

// cost is what one operation took: of the wall clock, of the API server's processor time, of the other side's.
type cost struct{ wall, server, client time.Duration }

// part is a process of the installation.
type part struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

func (p *part) pid() int { return p.command.Process.Pid }

// start starts a process of the product with an identity of its own.
func (b *bench) start(name, user string, groups []string, args ...string) error {
	kubeconfig, err := b.kubeconfig(name, user, groups...)
	if err != nil {
		return err
	}
	p := &part{log: filepath.Join(b.dir, name+".log"), ended: make(chan struct{})}
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = output.Close() }()
	kind, _, _ := strings.Cut(name, "-")
	p.command = exec.Command(b.program, append([]string{kind, "--kubeconfig", kubeconfig}, args...)...)
	p.command.Stdout, p.command.Stderr = output, output
	if err := p.command.Start(); err != nil {
		return err
	}
	go func() { _ = p.command.Wait(); close(p.ended) }()
	b.parts[name] = p
	return nil
}

// end ends a process.
func (b *bench) end(name string, signal syscall.Signal) {
	p := b.parts[name]
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
	delete(b.parts, name)
}

func (b *bench) stopAll() {
	for name := range b.parts {
		b.end(name, syscall.SIGKILL)
	}
}

func (b *bench) kubeconfig(name, user string, groups ...string) (string, error) {
	config, err := b.cluster.ForUser(user, groups...)
	if err != nil {
		return "", err
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["c"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	out.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	out.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	out.CurrentContext = "x"
	path := filepath.Join(b.dir, name+".kubeconfig")
	return path, clientcmd.WriteToFile(*out, path)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// startGateway starts the process of a Gateway; the same one listens where it did before.
func (b *bench) startGateway(name string, addresses *[2]string) error {
	for i := range addresses {
		if addresses[i] != "" {
			continue
		}
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return err
		}
	}
	return b.start("gateway-"+name, v1alpha1.UserGatewayPrefix+namespace+":"+name, []string{v1alpha1.GroupGateways},
		"--namespace", namespace, "--name", name, "--listen", addresses[0], "--http-listen", addresses[1],
		"--store", "https://"+strings.Replace(b.storeAddress(), "127.0.0.1", "localhost", 1), "--cache-dir", filepath.Join(b.dir, "gateway-"+name))
}

// storeAddress is where the controllers serve modules.
func (b *bench) storeAddress() string {
	path := filepath.Join(b.dir, "store-address")
	if content, err := os.ReadFile(path); err == nil {
		return string(content)
	}
	address, err := freeAddress()
	if err != nil {
		return ""
	}
	_ = os.WriteFile(path, []byte(address), 0o600)
	return address
}

// usage is the processor time of each process.
func (b *bench) usage() map[string]time.Duration {
	used := map[string]time.Duration{"cluster": measure.CPU(b.cluster.PID())}
	for name, p := range b.parts {
		used[name] = measure.CPU(p.pid())
	}
	return used
}

// until polls until check is content, and returns when that was.
func until(ctx context.Context, most time.Duration, what string, check func() (bool, string)) error {
	deadline := time.Now().Add(most)
	for {
		done, have := check()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not after %s: %s", what, most, have)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// awaitConnected waits until a gateway's process holds sessions with n devices, as it says itself.
func (b *bench) awaitConnected(ctx context.Context, gateway string, n int) error {
	return until(ctx, 20*time.Minute, "devices connect", func() (bool, string) {
		g := &v1alpha1.Gateway{}
		if err := b.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: gateway}, g); err != nil {
			return false, err.Error()
		}
		return int(g.Status.ConnectedDevices) == n, fmt.Sprintf("%d are connected", g.Status.ConnectedDevices)
	})
}

// applied waits until a commit is applied.
func (b *bench) applied(ctx context.Context, commit string) error {
	return until(ctx, 20*time.Minute, "the commit is applied", func() (bool, string) {
		r := &v1alpha1.Repository{}
		if err := b.kube.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "scale"}, r); err != nil {
			return false, err.Error()
		}
		ready := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			return false, "no verdict"
		}
		return r.Status.Applied != nil && r.Status.Applied.Commit == commit && ready.Status == metav1.ConditionTrue, ready.Reason + ": " + ready.Message
	})
}

// awaitRunning waits until an Application says that it runs on n devices.
func (b *bench) awaitRunning(ctx context.Context, name string, n int) error {
	return until(ctx, 20*time.Minute, "the application runs", func() (bool, string) {
		a := &v1alpha1.Application{}
		if err := b.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, a); err != nil {
			return false, err.Error()
		}
		return int(a.Status.Running) == n, a.Status.Progress
	})
}

var errGit = errors.New("git failed")

func (b *bench) git(args ...string) (string, error) {
	command := exec.Command("git", args...)
	command.Dir = filepath.Join(b.dir, "work")
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.com", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.com")
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %v: %w\n%s", errGit, args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
