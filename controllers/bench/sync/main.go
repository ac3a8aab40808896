// SPDX-License-Identifier: Apache-2.0

// Command sync measures the way from a commit to applied objects: a real git repository, the sync controller in
// this process, and the embedded cluster in another. For each number of changed Devices it prints the time from the
// announcement of a push to the status that says applied, the processor time of both processes, and the API requests
// by verb.
//
//	go run ./controllers/bench/sync -devices 1000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	synccontroller "wasmbed.dev/controllers/internal/sync"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/internal/testcluster"
)

// devicesPerDirectory keeps a directory's build small, as a fleet's owner would.
const devicesPerDirectory = 100

func main() {
	devices := flag.Int("devices", 1000, "devices of the fleet")
	rounds := flag.Int("rounds", 5, "commits for each number of changed devices")
	workers := flag.Int("workers", 0, "objects written at once; 0: the controller's default")
	flag.Parse()
	if err := run(*devices, *rounds, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "bench/sync:", err)
		os.Exit(1)
	}
}

func run(devices, rounds, workers int) error {
	ctrl.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "bench-sync")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := testcluster.New()
	if err != nil {
		return err
	}
	defer cluster.Remove()
	if err := config.Install(context.Background(), cluster.Admin()); err != nil {
		return err
	}
	b := &bench{dir: dir, devices: devices, requests: map[string]int{}, power: map[int]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := b.start(ctx, cluster, workers); err != nil {
		return err
	}
	return b.measure(ctx, rounds)
}

type bench struct {
	dir     string
	devices int
	power   map[int]bool
	kube    client.WithWatch
	cluster int // process id

	mu       sync.Mutex
	requests map[string]int
}

// roundTrip is a round tripper that is a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (b *bench) count(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		b.mu.Lock()
		b.requests[r.Method]++
		b.mu.Unlock()
		return next.RoundTrip(r)
	})
}

func (b *bench) start(ctx context.Context, cluster *testcluster.Cluster, workers int) error {
	user, err := cluster.ForUser(api.UserControllers)
	if err != nil {
		return err
	}
	user.Wrap(b.count)
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Scheme: testcluster.Scheme(), Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
	})
	if err != nil {
		return err
	}
	modules, err := store.Open(filepath.Join(b.dir, "store"))
	if err != nil {
		return err
	}
	if err := synccontroller.Setup(mgr, synccontroller.Options{GitDir: filepath.Join(b.dir, "git"), Store: modules, Workers: workers}); err != nil {
		return err
	}
	go func() {
		if err := mgr.Start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench/sync:", err)
			os.Exit(1)
		}
	}()
	if b.kube, err = client.NewWithWatch(cluster.Admin(), client.Options{Scheme: testcluster.Scheme()}); err != nil {
		return err
	}
	if err := b.kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "bench"}}); err != nil {
		return err
	}
	b.cluster, err = childNamed("wasmbed-cluster")
	return err
}

func (b *bench) git(args ...string) (string, error) {
	command := exec.Command("git", args...)
	command.Dir = filepath.Join(b.dir, "work")
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.com", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.com")
	out, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (b *bench) deviceFile(i int) (string, string) {
	power := "On"
	if b.power[i] {
		power = "Off"
	}
	name := fmt.Sprintf("device-%05d", i)
	return filepath.Join(b.dir, "work", fmt.Sprintf("d%03d", i/devicesPerDirectory), name+".yaml"),
		"apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata:\n  name: " + name + "\n  namespace: bench\n  labels: {site: hall, tier: low}\nspec:\n  board: sim-m4\n  backend: Simulated\n  power: \"" + power + "\"\n"
}

// writeFleet writes the whole fleet into the working copy.
func (b *bench) writeFleet() error {
	if err := os.MkdirAll(filepath.Join(b.dir, "work"), 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", "../fleet.git"}, {"init", "-q", "-b", "main", "."}, {"remote", "add", "origin", "../fleet.git"}} {
		if _, err := b.git(args...); err != nil {
			return err
		}
	}
	lists := map[string][]string{}
	for i := range b.devices {
		path, content := b.deviceFile(i)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
		dir := filepath.Base(filepath.Dir(path))
		lists[dir] = append(lists[dir], filepath.Base(path))
		if !slices.Contains(lists["."], dir) {
			lists["."] = append(lists["."], dir)
		}
	}
	for dir, names := range lists {
		content := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + strings.Join(names, "\n- ") + "\n"
		if err := os.WriteFile(filepath.Join(b.dir, "work", dir, "kustomization.yaml"), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commit pushes what is in the working copy.
func (b *bench) commit(message string) (string, error) {
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", message}, {"push", "-q", "origin", "HEAD"}} {
		if _, err := b.git(args...); err != nil {
			return "", err
		}
	}
	return b.git("rev-parse", "HEAD")
}

// sample is one commit's way.
type sample struct {
	took         time.Duration
	own, cluster time.Duration // processor time
	requests     map[string]int
	resident     int64
}

// follow announces a commit and waits until it is applied.
func (b *bench) follow(ctx context.Context, commit string, announce func() error) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	watch, err := b.kube.Watch(ctx, &api.RepositoryList{}, client.InNamespace(api.SystemNamespace))
	if err != nil {
		return sample{}, err
	}
	defer watch.Stop()
	b.mu.Lock()
	b.requests = map[string]int{}
	b.mu.Unlock()
	runtime.GC()
	begin, own, server := time.Now(), cpuOf(os.Getpid()), cpuOf(b.cluster)
	if err := announce(); err != nil {
		return sample{}, err
	}
	for event := range watch.ResultChan() {
		repository, ok := event.Object.(*api.Repository)
		if !ok {
			continue
		}
		ready := meta.FindStatusCondition(repository.Status.Conditions, api.ConditionReady)
		if ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason != api.ReasonProgressing {
			return sample{}, fmt.Errorf("the commit is not applied: %s: %s", ready.Reason, ready.Message)
		}
		if applied := repository.Status.Applied; applied != nil && applied.Commit == commit && ready != nil && ready.Status == metav1.ConditionTrue {
			s := sample{took: time.Since(begin), own: cpuOf(os.Getpid()) - own, cluster: cpuOf(b.cluster) - server, resident: resident(os.Getpid())}
			b.mu.Lock()
			s.requests = b.requests
			b.requests = map[string]int{}
			b.mu.Unlock()
			return s, nil
		}
	}
	return sample{}, errors.New("the commit is not applied in time")
}

func (b *bench) measure(ctx context.Context, rounds int) error {
	if err := b.writeFleet(); err != nil {
		return err
	}
	first, err := b.commit("first")
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(os.Stdout, "%d devices, %d in a directory; commit announced → applied\n", b.devices, devicesPerDirectory)
	_, _ = fmt.Fprintf(os.Stdout, "%-22s %9s %9s %12s %12s %9s  %s\n", "", "median", "slowest", "controllers", "cluster", "resident", "requests")
	s, err := b.follow(ctx, first, func() error {
		return b.kube.Create(ctx, &api.Repository{
			ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "bench"},
			Spec: api.RepositorySpec{URL: "file://" + filepath.Join(b.dir, "fleet.git"), Branch: "main",
				Interval: metav1.Duration{Duration: time.Hour}, Timeout: metav1.Duration{Duration: time.Minute}},
		})
	})
	if err != nil {
		return err
	}
	print("all, for the first time", []sample{s})
	for _, changed := range []int{0, 1, 100, 1000} {
		if changed > b.devices {
			continue
		}
		var samples []sample
		for round := range rounds {
			s, err := b.change(ctx, changed, round)
			if err != nil {
				return err
			}
			samples = append(samples, s)
		}
		print(fmt.Sprintf("%d changed", changed), samples)
	}
	return nil
}

// change flips the power of some devices, spread over the fleet, and follows the commit.
func (b *bench) change(ctx context.Context, changed, round int) (sample, error) {
	for n := range changed {
		i := (n*b.devices/changed + round) % b.devices
		b.power[i] = !b.power[i]
		path, content := b.deviceFile(i)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return sample{}, err
		}
	}
	commit, err := b.commit("change")
	if err != nil {
		return sample{}, err
	}
	return b.follow(ctx, commit, func() error {
		now := time.Now().UTC().Format(time.RFC3339Nano)
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, api.AnnotationPushed, commit+" "+now, api.AnnotationReconcileAt, now)
		return b.kube.Patch(ctx, &api.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "bench"}},
			client.RawPatch("application/merge-patch+json", []byte(patch)))
	})
}

func print(what string, samples []sample) {
	slices.SortFunc(samples, func(a, b sample) int { return int(a.took - b.took) })
	m := samples[len(samples)/2]
	var requests []string
	for verb, n := range m.requests {
		requests = append(requests, fmt.Sprintf("%s %d", verb, n))
	}
	slices.Sort(requests)
	_, _ = fmt.Fprintf(os.Stdout, "%-22s %9s %9s %12s %12s %6d MB  %s\n", what, round(m.took), round(samples[len(samples)-1].took), round(m.own), round(m.cluster),
		m.resident>>20, strings.Join(requests, ", "))
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// childNamed finds a child process by its command's name.
func childNamed(name string) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		fields, command := stat(path)
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) && strings.HasPrefix(name, command) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("no child process is named %s", name)
}

// stat returns the fields of a process from its state on, and its command's name.
func stat(path string) ([]string, string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, ""
	}
	head, tail, _ := strings.Cut(string(content), ") ")
	_, command, _ := strings.Cut(head, "(")
	return strings.Fields(tail), command
}

// cpuOf is the processor time of a process, without its children.
func cpuOf(pid int) time.Duration {
	if pid == os.Getpid() {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err == nil {
			return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	fields, _ := stat(fmt.Sprintf("/proc/%d/stat", pid))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const ticks = 100 // a second, on every Linux of today
	return time.Duration(user+system) * time.Second / ticks
}

func resident(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
