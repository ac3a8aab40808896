// SPDX-License-Identifier: Apache-2.0

// Package testcluster gives tests the real Kubernetes API server: the wasmbed-cluster binary, one process for each
// test package, with the installation's custom resource definitions and roles.
//
//	var cluster *testcluster.Cluster
//
//	func TestMain(m *testing.M) { testcluster.Main(m, &cluster) }
//
// The binary is the one that the environment variable WASMBED_CLUSTER names, or bin/wasmbed-cluster in the
// repository. When there is none the tests fail and say how to build it; they are never skipped. Tests of one
// package share the cluster: each works in a namespace of its own ([Cluster.Namespace]). Where fuzz targets run there is none.
package testcluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/pki"
)

// Deadlines: generous, because a build may run beside the tests.
const (
	startTimeout   = 2 * time.Minute
	stopTimeout    = 30 * time.Second
	installTimeout = time.Minute
)

// Cluster is a running API server with its etcd and controllers.
type Cluster struct {
	binary string
	dir    string
	port   int
	admin  *rest.Config

	process *os.Process
	ended   chan struct{} // closed when process has ended
}

// Main runs the tests of a package with a cluster in *cluster, and exits.
func Main(m *testing.M, cluster **Cluster) {
	os.Exit(run(m, cluster))
}

func run(m *testing.M, cluster **Cluster) int {
	flag.Parse()
	if fuzz := flag.Lookup("test.fuzz"); fuzz.Value.String() != "" {
		return m.Run() // fuzz targets try parsers, in processes of their own
	}
	c, err := New()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	defer c.Remove()
	*cluster = c
	return m.Run()
}

// New starts a cluster with the definitions and roles in it, its state in a new temporary directory. The caller calls Remove.
func New() (*Cluster, error) {
	binary, err := findBinary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "testcluster")
	if err != nil {
		return nil, err
	}
	c := &Cluster{binary: binary, dir: dir}
	if c.port, err = freePort(); err == nil {
		err = c.Start()
	}
	if err == nil {
		err = c.install()
	}
	if err != nil {
		c.Remove()
		return nil, err
	}
	return c, nil
}

// Remove stops the cluster and removes its state.
func (c *Cluster) Remove() {
	c.Stop()
	os.RemoveAll(c.dir)
}

// Start starts the process after Stop or Kill, on the same port and state, and returns when it is ready.
func (c *Cluster) Start() error {
	stderr, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	command := exec.Command(c.binary, "--data-dir", c.Data(), "--port", strconv.Itoa(c.port))
	command.Stderr = stderr
	// The child ends with the test process, however that ends. The signal is tied to the thread that starts it.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	ended := make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		ready <- awaitReady(bufio.NewScanner(stdout))
		_ = command.Wait()
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", c.binary, err)
	}
	c.process, c.ended = command.Process, ended
	select {
	case err = <-ready:
	case <-time.After(startTimeout):
		err = fmt.Errorf("not ready after %s", startTimeout)
	}
	if err != nil {
		c.Kill()
		return fmt.Errorf("%s: %w; its log ends:\n%s", c.binary, err, c.logTail())
	}
	return c.readAdmin()
}

// awaitReady reads the line that the process prints when it serves, and then all that follows.
func awaitReady(lines *bufio.Scanner) error {
	if !lines.Scan() {
		return errors.New("it ended before it was ready")
	}
	var line struct{ Ready bool }
	if err := json.Unmarshal(lines.Bytes(), &line); err != nil || !line.Ready {
		return fmt.Errorf("it printed %.200q instead of a line that says ready", lines.Text())
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return nil
}

// Stop ends the process in good order; Start starts it again.
func (c *Cluster) Stop() { c.end(syscall.SIGTERM) }

// Kill ends the process at once; Start starts it again.
func (c *Cluster) Kill() { c.end(syscall.SIGKILL) }

func (c *Cluster) end(signal syscall.Signal) {
	if c.process == nil {
		return
	}
	_ = c.process.Signal(signal)
	select {
	case <-c.ended:
	case <-time.After(stopTimeout):
		_ = c.process.Kill()
		<-c.ended
	}
	c.process = nil
}

// PID is the process's, while it runs.
func (c *Cluster) PID() int { return c.process.Pid }

// Data is the directory of the cluster's state.
func (c *Cluster) Data() string { return filepath.Join(c.dir, "data") }

// Admin is the configuration of a user who may do everything. It is a copy.
func (c *Cluster) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// AdminKubeconfig is the path of the kubeconfig behind Admin.
func (c *Cluster) AdminKubeconfig() string { return filepath.Join(c.Data(), "admin.kubeconfig") }

// ForUser is the configuration of a user with a client certificate of its own: what it may do is what roles say.
func (c *Cluster) ForUser(user string, groups ...string) (*rest.Config, error) {
	cert, err := os.ReadFile(filepath.Join(c.Data(), "ca.crt"))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(c.Data(), "ca.key"))
	if err != nil {
		return nil, err
	}
	certPEM, keyPEM, err := pki.KubeClient(cert, key, user, groups, 24*time.Hour)
	if err != nil {
		return nil, fmt.Errorf("certificate of user %s: %w", user, err)
	}
	return &rest.Config{
		Host:            c.admin.Host,
		QPS:             -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.admin.CAData, CertData: certPEM, KeyData: keyPEM},
	}, nil
}

// Scheme knows the kinds of Kubernetes and of this project.
func Scheme() *kruntime.Scheme {
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic("internal error: " + err.Error())
		}
	}
	return scheme
}

// Client is a client of the user Admin for the kinds of [Scheme]. It reads from the server, not from a cache.
func (c *Cluster) Client() (client.Client, error) {
	return client.New(c.admin, client.Options{Scheme: Scheme()})
}

// Namespace makes a namespace for one test and deletes it when the test ends.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	kube, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{}
	namespace.GenerateName = "test-"
	if err := kube.Create(t.Context(), namespace); err != nil {
		t.Fatalf("create a namespace for the test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = kube.Delete(ctx, namespace)
	})
	return namespace.Name
}

// Apply creates or replaces the objects of the installation's manifests that match a pattern, such as "policy/*.yaml".
func (c *Cluster) Apply(ctx context.Context, pattern string) error {
	kube, err := c.Client()
	if err != nil {
		return err
	}
	files, err := fs.Glob(config.Files, pattern)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := applyFile(ctx, kube, file); err != nil {
			return fmt.Errorf("apply %s: %w", file, err)
		}
	}
	return nil
}

func applyFile(ctx context.Context, kube client.Client, file string) error {
	content, err := config.Files.ReadFile(file)
	if err != nil {
		return err
	}
	for _, document := range splitYAML(content) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		err := kube.Create(ctx, object)
		if apierrors.IsAlreadyExists(err) {
			present := &unstructured.Unstructured{}
			present.SetGroupVersionKind(object.GroupVersionKind())
			if err = kube.Get(ctx, client.ObjectKeyFromObject(object), present); err == nil {
				object.SetResourceVersion(present.GetResourceVersion())
				err = kube.Update(ctx, object)
			}
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

func (c *Cluster) install() error {
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	if err := c.Apply(ctx, "crd/*.yaml"); err != nil {
		return err
	}
	if err := c.awaitEstablished(ctx); err != nil {
		return err
	}
	kube, err := c.Client()
	if err != nil {
		return err
	}
	for _, name := range []string{v1alpha1.SystemNamespace, v1alpha1.IdentityNamespace} {
		namespace := &corev1.Namespace{}
		namespace.Name = name
		if err := kube.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return c.Apply(ctx, "rbac/*.yaml")
}

// awaitEstablished waits until each kind can be listed.
func (c *Cluster) awaitEstablished(ctx context.Context) error {
	for {
		kube, err := c.Client()
		if err != nil {
			return err
		}
		for _, list := range []client.ObjectList{&v1alpha1.RepositoryList{}, &v1alpha1.GatewayList{}, &v1alpha1.DeviceList{},
			&v1alpha1.ApplicationList{}, &v1alpha1.InstanceList{}} {
			if err = kube.List(ctx, list, client.Limit(1)); err != nil {
				break
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("custom resource definitions are not served: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cluster) readAdmin() error {
	admin, err := clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig())
	if err != nil {
		return fmt.Errorf("read the admin's kubeconfig: %w", err)
	}
	admin.QPS = -1 // the server's own fairness is the limit
	c.admin = admin
	return nil
}

func (c *Cluster) logTail() string {
	content, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-2000):])
}

func findBinary() (string, error) {
	path := os.Getenv("WASMBED_CLUSTER")
	if path == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "wasmbed-cluster")
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("these tests need the API server's binary: run `make bin/wasmbed-cluster`, or name it in WASMBED_CLUSTER (%w)", err)
	}
	return path, nil
}

// moduleRoot is the nearest directory with a go.mod, upwards from the test's own.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the tests do not run inside of the module")
		}
		dir = parent
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// splitYAML cuts a file at its document separators.
func splitYAML(content []byte) [][]byte {
	var documents [][]byte
	start := 0
	for pos := 0; pos < len(content); {
		end := pos
		for end < len(content) && content[end] != '\n' {
			end++
		}
		if string(content[pos:end]) == "---" {
			documents = append(documents, content[start:pos])
			start = min(end+1, len(content))
		}
		pos = end + 1
	}
	return append(documents, content[start:])
}
