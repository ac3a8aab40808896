// SPDX-License-Identifier: Apache-2.0

// Package local runs a whole installation on one machine: the API server, the controllers, a gateway for each
// Gateway object, the simulator, the dashboard, and the git repository that people push their fleet to.
package local

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/supervise"
)

// RepositoryName is the name of the installation's own Repository, in v1alpha1.SystemNamespace.
const RepositoryName = "fleet"

// Options of an installation.
type Options struct {
	Home  home.Dir
	Ports home.Ports
	// Fleet is the directory whose manifests, modules and app sources become the fleet's first commit.
	Fleet string
	// Kubeconfig of another cluster to use in place of the embedded one; empty: the embedded one.
	Kubeconfig string
	// Program is the path of the wasmbed binary; wasmbed-cluster and firmware/BOARD.elf lie beside it.
	Program string
	// Timeout is how long to wait for everything to be ready; what runs goes on when it passes.
	Timeout time.Duration
	// Out is what a person reads.
	Out io.Writer
	// Restart is read from: a value stops all processes and starts them again.
	Restart <-chan os.Signal
}

// Up runs the installation until ctx ends. It returns home.ErrRunning when it runs already.
func Up(ctx context.Context, o Options) error {
	if err := o.Home.Create(); err != nil {
		return err
	}
	unlock, err := o.Home.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := waitForFormerProcesses(ctx, o.Home); err != nil {
		return err
	}
	logFile, err := os.OpenFile(o.Home.Log("up"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = logFile.Close() }()
	log := logr.FromSlogHandler(slog.NewTextHandler(logFile, nil))
	ctrllog.SetLogger(log)
	klog.SetLogger(log)
	i := &installation{Options: o, say: &progress{out: o.Out}, log: log}
	for {
		again, err := i.runOnce(ctx)
		if !again || err != nil {
			return err
		}
	}
}

type installation struct {
	Options
	say        *progress
	log        logr.Logger
	supervisor *supervise.Supervisor
	cluster    cluster
	config     *rest.Config
	objects    cache.Cache
	client     client.Client
}

// runOnce starts everything, waits for the end of ctx or for a restart, and stops everything.
func (i *installation) runOnce(ctx context.Context) (again bool, err error) {
	i.say.printf("Wasmbed starts in %s\n", i.Home)
	began := time.Now()
	if err := i.Ports.Check(); err != nil {
		return false, err
	}
	state := home.State{PID: os.Getpid(), StartedAt: began, Ports: i.Ports, Cluster: "embedded"}
	if i.Kubeconfig != "" {
		state.Cluster = i.Kubeconfig
	}
	if err := i.Home.WriteState(state); err != nil {
		return false, err
	}
	i.supervisor = supervise.New(i.log.WithName("supervisor"))
	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	defer func() {
		i.say.printf("stops …\n")
		cancel()
		background.Wait()
		i.supervisor.Close()
		_ = os.Remove(i.Home.Run("state.json"))
		i.say.printf("stopped\n")
	}()
	if err := i.start(ctx, &background); err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, err
	}
	if err := i.waitReady(ctx); err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		i.say.printf("not everything is ready: %v\n", err)
	} else {
		state.Ready = true
	}
	i.closingBlock(time.Since(began))
	state.Settled = true
	if err := i.Home.WriteState(state); err != nil {
		return false, err
	}
	select {
	case <-ctx.Done():
		return false, nil
	case <-i.Restart:
		return true, nil
	}
}

// start brings up the processes in the order in which they need one another.
func (i *installation) start(ctx context.Context, background *sync.WaitGroup) error {
	if err := i.say.step("API server", func(waiting func(string)) (string, error) { return i.startCluster(ctx, waiting) }); err != nil {
		return err
	}
	if err := i.say.step("definitions and roles", func(waiting func(string)) (string, error) {
		waiting("the API server to serve the kinds of wasmbed.dev")
		return "", i.install(ctx)
	}); err != nil {
		return err
	}
	if err := i.startCache(ctx, background); err != nil {
		return err
	}
	if err := i.say.step("fleet repository", func(func(string)) (string, error) { return i.makeRepository(ctx) }); err != nil {
		return err
	}
	if err := i.startComponents(); err != nil {
		return err
	}
	background.Go(func() { i.handIdentity(ctx) })
	if i.cluster.embedded {
		background.Go(func() { i.keepCertificates(ctx) })
	}
	runner := &gateways{home: i.Home, ports: i.Ports, cluster: i.cluster, program: i.Program, supervisor: i.supervisor, log: i.log, started: map[string]string{}}
	background.Go(func() {
		if err := runner.run(ctx, i.objects); err != nil {
			i.log.Error(err, "gateways are no longer followed")
		}
	})
	return nil
}

func (i *installation) startCluster(ctx context.Context, waiting func(string)) (string, error) {
	i.cluster = cluster{home: i.Home, admin: i.Kubeconfig, embedded: i.Kubeconfig == ""}
	note := "at " + i.Kubeconfig
	if i.cluster.embedded {
		i.cluster.admin = i.Home.Cluster("admin.kubeconfig")
		program := filepath.Join(filepath.Dir(i.Program), "wasmbed-cluster")
		if _, err := os.Stat(program); err != nil {
			return "", fmt.Errorf("the embedded cluster's program is missing: build it with `make build`, or name another cluster with --kubeconfig: %w", err)
		}
		i.supervisor.Start(supervise.Part{
			Name: "cluster", Path: program, Log: i.Home.Log("cluster"), PIDFile: i.Home.Run("cluster.pid"),
			Args:  []string{"--data-dir", i.Home.Cluster(), "--port", strconv.Itoa(i.Ports.API)},
			Final: []int{2, 3, 4, 5}, // usage, lock, port, data directory
		})
		note = "https://" + home.Loopback(i.Ports.API)
	}
	err := poll(ctx, 90*time.Second, func(ctx context.Context) error {
		config, err := i.cluster.restConfig()
		if err != nil {
			waiting("its kubeconfig")
			return i.orExit("cluster", err)
		}
		i.config = config
		ready := rest.CopyConfig(config)
		ready.GroupVersion, ready.NegotiatedSerializer = &corev1.SchemeGroupVersion, clientgoscheme.Codecs.WithoutConversion()
		probe, err := rest.UnversionedRESTClientFor(ready)
		if err != nil {
			return err
		}
		waiting("it to answer at " + config.Host)
		return i.orExit("cluster", probe.Get().AbsPath("/readyz").Timeout(2*time.Second).Do(ctx).Error())
	})
	if err != nil {
		return "", err
	}
	return note, i.linkKubeconfig()
}

// errFinal: another try cannot help.
var errFinal = errors.New("it is not tried again")

// orExit adds to an error how the part's process ended last, when it did.
func (i *installation) orExit(part string, err error) error {
	if err == nil {
		return nil
	}
	for _, status := range i.supervisor.Status() {
		if status.Name == part && status.Failed {
			return fmt.Errorf("%s: %w", lastLine(i.Home.Log(part)), errFinal)
		}
		if status.Name == part && status.LastExit != "" {
			return fmt.Errorf("%w; its process ended with %s: %s", err, status.LastExit, lastLine(i.Home.Log(part)))
		}
	}
	return err
}

// linkKubeconfig writes the administrator's kubeconfig to where the README says it is.
func (i *installation) linkKubeconfig() error {
	content, err := os.ReadFile(i.cluster.admin)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	return writeChanged(i.Home.Kubeconfig(), content)
}

// NewScheme knows the kinds that an installation uses.
func NewScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

func (i *installation) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := config.Install(ctx, i.config); err != nil {
		return err
	}
	scheme, err := NewScheme()
	if err != nil {
		return err
	}
	if i.client, err = client.New(i.config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	err = i.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}})
	return client.IgnoreAlreadyExists(err)
}

func (i *installation) startCache(ctx context.Context, background *sync.WaitGroup) error {
	objects, err := cache.New(i.config, cache.Options{Scheme: i.client.Scheme(), DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return fmt.Errorf("watch the API server: %w", err)
	}
	i.objects = objects
	background.Go(func() {
		if err := objects.Start(ctx); err != nil {
			i.log.Error(err, "the API server is no longer watched")
		}
	})
	return nil
}

// makeRepository makes the bare repository, its hook, and the Repository object that follows it.
func (i *installation) makeRepository(ctx context.Context) (string, error) {
	note, err := makeFleetRepository(i.Home, i.Fleet)
	if err != nil {
		return "", err
	}
	if err := installHook(i.Home, i.Program); err != nil {
		return "", err
	}
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: RepositoryName}}
	_, err = controllerutil.CreateOrPatch(ctx, i.client, repository, func() error {
		repository.Spec.URL = fleetURL(i.Home)
		if repository.CreationTimestamp.IsZero() {
			repository.Spec.Branch = fleetBranch
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("make Repository %s: %w", RepositoryName, err)
	}
	return note, nil
}

// startComponents starts what runs once in every installation.
func (i *installation) startComponents() error {
	if err := makeToken(i.Home.DashboardToken()); err != nil {
		return err
	}
	args := map[string][]string{
		"controllers": {"--store-listen", home.Loopback(i.Ports.Store), "--store-dir", i.Home.Data("store"), "--git-dir", i.Home.Data("git"), "--hook-listen", home.Loopback(i.Ports.Hooks)},
		"simulator":   {"--state-dir", i.Home.Data("simulator")},
		"boards":      {"--state-dir", i.Home.Data("boards"), "--firmware-dir", filepath.Join(filepath.Dir(i.Program), "firmware")},
		"dashboard":   i.dashboardArgs(),
	}
	for _, who := range components {
		kubeconfig, err := i.cluster.kubeconfig(who)
		if err != nil {
			return err
		}
		own, runs := args[who.part]
		if !runs { // the hook has an identity and no process
			continue
		}
		i.supervisor.Start(supervise.Part{
			Name: who.part, Path: i.Program, Log: i.Home.Log(who.part), PIDFile: i.Home.Run(who.part + ".pid"),
			Args: append([]string{who.part, "--kubeconfig", kubeconfig}, own...),
		})
	}
	return nil
}

// dashboardArgs are those of the dashboard's process. In a cluster of somebody else it also lets in whom that knows.
func (i *installation) dashboardArgs() []string {
	args := []string{"--listen", home.Loopback(i.Ports.Dashboard), "--token-file", i.Home.DashboardToken(), "--identity-dir", i.Home.Data("dashboard"),
		"--run-dir", i.Home.Run(), "--store", "https://localhost:" + strconv.Itoa(i.Ports.Store)}
	if i.cluster.embedded {
		return append(args, "--audit-log", i.Home.Cluster("audit.log"))
	}
	return append(args, "--reviews")
}

func makeToken(file string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	return home.WriteFile(file, []byte(rand.Text()+"\n"), 0o600)
}

// poll calls try until it succeeds or fails for good, ctx ends, or most has passed; then it returns try's last error.
func poll(ctx context.Context, most time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil || errors.Is(err, errFinal) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not after %s: %w", most, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// waitForFormerProcesses waits for what a killed `wasmbed up` left behind: the kernel has told it to end.
func waitForFormerProcesses(ctx context.Context, dir home.Dir) error {
	files, err := filepath.Glob(dir.Run("*.pid"))
	if err != nil {
		return fmt.Errorf("look for former processes: %w", err)
	}
	for _, file := range files {
		pid := readPID(file)
		if err := poll(ctx, 20*time.Second, func(context.Context) error {
			if pid > 0 && commandNames(pid, string(dir)) {
				return fmt.Errorf("process %d of a former run (%s) is still there: end it and try again", pid, filepath.Base(file))
			}
			return nil
		}); err != nil {
			return err
		}
		_ = os.Remove(file)
	}
	return nil
}

func readPID(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// commandNames says whether a living process has dir in its command line.
func commandNames(pid int, dir string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && strings.Contains(string(text), dir)
}

// lastLine of a log, for an error message.
func lastLine(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > 4096 {
		_, _ = file.Seek(-4096, io.SeekEnd)
	}
	last := "see " + path
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			last = text
		}
	}
	return last
}
