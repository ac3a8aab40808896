// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/internal/sync/gittest"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testcluster.Main(m, &cluster)
}

// world is a Repository that a running controller follows, in namespaces of its own.
type world struct {
	t     *testing.T
	kube  client.Client
	repo  *gittest.Repo
	store *store.Store
	// system is the Repository's namespace, and fleet that of its objects.
	system, fleet string
	dirs          string
	stop          func()
	requests      *counter
}

// counter counts requests by verb and resource.
type counter struct {
	http.RoundTripper
	mu    sync.Mutex
	count map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.count[r.Method+" "+resourceOf(r.URL.Path)]++
	c.mu.Unlock()
	return c.RoundTripper.RoundTrip(r)
}

// resourceOf is the resource, and subresource, of a request's path.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		if part == "namespaces" && i+2 < len(parts) {
			parts = parts[i+2:]
			if len(parts) > 2 {
				return parts[0] + "/" + parts[2]
			}
			return parts[0]
		}
	}
	if parts[0] == "api" && len(parts) > 2 {
		return parts[2]
	}
	return parts[min(3, len(parts)-1)]
}

// writes are the requests since the last reset that change something, events apart.
func (c *counter) writes() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	writes := map[string]int{}
	for what, n := range c.count {
		if !strings.HasPrefix(what, "GET ") && !strings.HasSuffix(what, " events") {
			writes[what] = n
		}
	}
	return writes
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = map[string]int{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kube: kube, repo: gittest.New(t), system: cluster.Namespace(t), fleet: cluster.Namespace(t), dirs: t.TempDir()}
	w.start()
	return w
}

// start starts the controller as a new process would; it knows only the directories.
func (w *world) start(between ...func(http.RoundTripper) http.RoundTripper) {
	w.t.Helper()
	rest, err := cluster.ForUser(api.UserControllers)
	if err != nil {
		w.t.Fatal(err)
	}
	w.requests = &counter{count: map[string]int{}}
	rest.Wrap(func(next http.RoundTripper) http.RoundTripper {
		w.requests.RoundTripper = next
		return w.requests
	})
	for _, b := range between {
		rest.Wrap(b)
	}
	mgr, err := ctrl.NewManager(rest, ctrl.Options{
		Scheme: testcluster.Scheme(), Logger: logr.Discard(), Metrics: server.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Cache:      cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.store, err = store.Open(w.dirs + "/store"); err != nil {
		w.t.Fatal(err)
	}
	if err := Setup(mgr, Options{GitDir: w.dirs + "/git", Store: w.store}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := mgr.Start(ctx); err != nil {
			w.t.Errorf("manager: %v", err)
		}
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	w.t.Cleanup(w.stop)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slow lets a write of a device take 50 ms until the gate is closed.
func slow(gate <-chan struct{}) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost && resourceOf(r.URL.Path) == "devices" {
				select {
				case <-gate:
				case <-time.After(50 * time.Millisecond):
				}
			}
			return next.RoundTrip(r)
		})
	}
}

// failing lets the first n writes of devices fail.
func failing(n int32) func(http.RoundTripper) http.RoundTripper {
	var count atomic.Int32
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost && resourceOf(r.URL.Path) == "devices" && count.Add(1) <= n {
				return nil, errors.New("the connection broke")
			}
			return next.RoundTrip(r)
		})
	}
}

// follow makes the Repository object.
func (w *world) follow(change ...func(*api.Repository)) *api.Repository {
	w.t.Helper()
	repository := &api.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.system, Name: "fleet"},
		Spec:       api.RepositorySpec{URL: w.repo.URL(), Branch: "main", Interval: metav1.Duration{Duration: time.Hour}, Timeout: metav1.Duration{Duration: 20 * time.Second}},
	}
	for _, c := range change {
		c(repository)
	}
	if err := w.kube.Create(w.t.Context(), repository); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.kube.Delete(context.Background(), repository) })
	return repository
}

// push commits files and tells the controller as the hook does.
func (w *world) push(message string, files map[string]string) string {
	w.t.Helper()
	commit := w.repo.Commit(message, files)
	w.notify(commit)
	return commit
}

func (w *world) notify(commit string) {
	w.t.Helper()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	w.patchRepository(fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, api.AnnotationPushed, commit+" "+now, api.AnnotationReconcileAt, now))
}

func (w *world) patchRepository(body string) {
	w.t.Helper()
	repository := &api.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: w.system, Name: "fleet"}}
	err := w.kube.Patch(w.t.Context(), repository, client.RawPatch("application/merge-patch+json", []byte(body)))
	if client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}

func (w *world) repository() *api.Repository {
	w.t.Helper()
	repository := &api.Repository{}
	if err := w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.system, Name: "fleet"}, repository); err != nil {
		w.t.Fatal(err)
	}
	return repository
}

func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			status := w.repository().Status
			w.t.Fatalf("%s: %v\nconditions: %+v\nhistory: %+v", what, err, status.Conditions, status.History)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// applied waits until a commit is applied and the Repository is ready.
func (w *world) applied(commit string) *api.Repository {
	w.t.Helper()
	var repository *api.Repository
	w.eventually("commit is applied", func() error {
		repository = w.repository()
		if repository.Status.Applied == nil || repository.Status.Applied.Commit != commit {
			return errors.New("it is not")
		}
		return conditionIs(repository, api.ConditionReady, metav1.ConditionTrue, api.ReasonReconciled)
	})
	return repository
}

// refused waits until a commit is refused for a reason.
func (w *world) refused(commit, reason string) *api.Repository {
	w.t.Helper()
	var repository *api.Repository
	w.eventually("commit is refused", func() error {
		repository = w.repository()
		if repository.Status.Fetched == nil || repository.Status.Fetched.Commit != commit {
			return errors.New("it is not fetched")
		}
		return conditionIs(repository, api.ConditionReady, metav1.ConditionFalse, reason)
	})
	return repository
}

func conditionIs(repository *api.Repository, kind string, status metav1.ConditionStatus, reason string) error {
	c := meta.FindStatusCondition(repository.Status.Conditions, kind)
	if c == nil || c.Status != status || c.Reason != reason {
		return fmt.Errorf("condition %s is %+v, want %s %s", kind, c, status, reason)
	}
	return nil
}

// device is the manifest of a Device in the fleet's namespace; lines go below spec.
func (w *world) device(name string, lines ...string) string {
	return fmt.Sprintf("apiVersion: wasmbed.dev/v1alpha1\nkind: Device\nmetadata:\n  name: %s\n  namespace: %s\n  labels: {site: hall}\nspec:\n  board: sim-m4\n  backend: Simulated\n%s",
		name, w.fleet, indent(lines))
}

func (w *world) application(name string, lines ...string) string {
	return fmt.Sprintf("apiVersion: wasmbed.dev/v1alpha1\nkind: Application\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n  module: {path: %s.wasm}\n  selector: {matchLabels: {site: hall}}\n  permissions: [log]\n%s",
		name, w.fleet, name, indent(lines))
}

func indent(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}

// list is a root kustomization of these files.
func list(files ...string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + strings.Join(files, "\n- ") + "\n"
}

func module() string {
	return string(fleettest.Module{Imports: []string{"wasmbed_log"}}.Bytes())
}

// base is a fleet of three devices and an application.
func (w *world) base() map[string]string {
	return map[string]string{
		"kustomization.yaml": list("a.yaml", "b.yaml", "c.yaml", "app.yaml"),
		"a.yaml":             w.device("a"), "b.yaml": w.device("b"), "c.yaml": w.device("c"),
		"app.yaml": w.application("app"), "app.wasm": module(),
	}
}

func (w *world) get(object client.Object, name string) error {
	return w.kube.Get(w.t.Context(), client.ObjectKey{Namespace: w.fleet, Name: name}, object)
}

func (w *world) mustGet(object client.Object, name string) {
	w.t.Helper()
	if err := w.get(object, name); err != nil {
		w.t.Fatal(err)
	}
}

func TestCommitBecomesObjects(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("Add three devices\n\nand a body", w.base())
	w.follow()
	status := w.applied(first).Status

	device := &api.Device{}
	w.mustGet(device, "a")
	if device.Labels["site"] != "hall" || device.Labels[api.LabelRepositoryName] != "fleet" || device.Labels[api.LabelRepositoryNamespace] != w.system {
		t.Errorf("labels %v", device.Labels)
	}
	if device.Annotations[api.AnnotationRevision] != first || device.Annotations[api.AnnotationSource] != "a.yaml:1" || len(device.Annotations[api.AnnotationDigest]) != 64 {
		t.Errorf("annotations %v", device.Annotations)
	}
	app := &api.Application{}
	w.mustGet(app, "app")
	if app.Spec.Module.Digest != store.Digest([]byte(module())) || !w.store.Has(app.Spec.Module.Digest) {
		t.Errorf("module %+v is not in the store", app.Spec.Module)
	}
	if want := (api.ObjectCounts{Devices: 3, Applications: 1}); *status.Objects != want {
		t.Errorf("objects %+v", *status.Objects)
	}
	if status.Applied.Subject != "Add three devices" || status.Applied.Author != "Ada <ada@example.com>" || status.Applied.CommittedAt == nil ||
		status.Applied.FetchedAt == nil || status.Applied.CheckedAt == nil || status.Applied.AppliedAt == nil {
		t.Errorf("applied %+v", status.Applied)
	}
	entry := status.History[0]
	if len(status.History) != 1 || entry.Outcome != "Applied" || entry.Changes.Created != 4 || len(entry.Modules) != 1 || entry.Changed[0] != "+Application/"+w.fleet+"/app" {
		t.Errorf("history %+v", status.History)
	}

	// A change of one, an addition, and a removal.
	second := w.push("change", map[string]string{
		"a.yaml": w.device("a", "power: Off"), "c.yaml": "", "d.yaml": w.device("d"),
		"kustomization.yaml": list("a.yaml", "b.yaml", "d.yaml", "app.yaml"),
	})
	status = w.applied(second).Status
	if status.Applied.PushedAt == nil {
		t.Error("pushedAt is not there")
	}
	if want := (api.ChangeCounts{Created: 1, Changed: 1, Removed: 1, Unchanged: 2}); *status.History[0].Changes != want {
		t.Errorf("changes %+v, want %+v", *status.History[0].Changes, want)
	}
	w.mustGet(device, "a")
	if device.Spec.Power != api.PowerOff || device.Annotations[api.AnnotationRevision] != second {
		t.Errorf("device a: %s, %v", device.Spec.Power, device.Annotations)
	}
	w.mustGet(device, "b")
	if device.Annotations[api.AnnotationRevision] != first {
		t.Error("device b was stamped anew")
	}
	w.mustGet(device, "d")
	if err := w.get(device, "c"); !apierrors.IsNotFound(err) {
		t.Errorf("device c: %v", err)
	}

	// git revert brings the old state back.
	w.repo.Git("revert", "--no-edit", "HEAD")
	third := w.push("nothing more", nil)
	w.applied(third)
	w.mustGet(device, "a")
	if device.Spec.Power != api.PowerOn {
		t.Errorf("device a is %s after the revert", device.Spec.Power)
	}
	w.mustGet(device, "c")
}

func TestCoreKindsAndMetadata(t *testing.T) {
	w := newWorld(t)
	own := "own-" + w.fleet
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + own + "\n  labels: {tier: test}\n"
	settings := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n  namespace: " + own + "\n  labels: {a: x, b: y}\n  annotations: {note: one, other: two}\ndata: {k: v, l: w}\n"
	secret := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: token\n  namespace: " + own + "\nstringData: {token: abc}\n"
	first := w.repo.Commit("first", map[string]string{"kustomization.yaml": list("namespace.yaml", "settings.yaml", "token.yaml"),
		"namespace.yaml": namespace, "settings.yaml": settings, "token.yaml": secret})
	w.follow()
	w.applied(first)
	t.Cleanup(func() {
		_ = w.kube.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: own}})
	})
	key := client.ObjectKey{Namespace: own, Name: "settings"}
	got := &corev1.ConfigMap{}
	if err := w.kube.Get(t.Context(), key, got); err != nil {
		t.Fatal(err)
	}
	// Somebody's own label and annotation stay; git's go when git no longer gives them.
	got.Labels["theirs"], got.Annotations["theirs"] = "1", "2"
	if err := w.kube.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	second := w.push("second", map[string]string{"settings.yaml": strings.NewReplacer(", b: y", "", ", other: two", "", ", l: w", "").Replace(settings)})
	w.applied(second)
	if err := w.kube.Get(t.Context(), key, got); err != nil {
		t.Fatal(err)
	}
	_, b := got.Labels["b"]
	_, other := got.Annotations["other"]
	if b || other || got.Labels["a"] != "x" || got.Labels["theirs"] != "1" || got.Annotations["theirs"] != "2" || got.Annotations["note"] != "one" || len(got.Data) != 1 {
		t.Errorf("labels %v, annotations %v, data %v", got.Labels, got.Annotations, got.Data)
	}
	token := &corev1.Secret{}
	if err := w.kube.Get(t.Context(), client.ObjectKey{Namespace: own, Name: "token"}, token); err != nil || string(token.Data["token"]) != "abc" {
		t.Errorf("secret %v, %v", token.Data, err)
	}
}

func TestRestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.repo.Commit("first", w.base())
	w.follow()
	second := w.push("second", map[string]string{"a.yaml": w.device("a", "power: Off")})
	w.applied(second)
	w.stop()
	w.start()
	w.eventually("the clone is looked at", func() error {
		w.requests.mu.Lock()
		defer w.requests.mu.Unlock()
		if w.requests.count["GET repositories"] == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	// A commit that changes nothing shows that everything before it has been dealt with.
	third := w.push("third", map[string]string{"README.md": "x"})
	w.applied(third)
	// The first look after the restart may find the push before it is announced; then the time of the push is added.
	if writes := w.requests.writes(); len(writes) != 1 || writes["PATCH repositories/status"] > 2 {
		t.Errorf("writes after the restart: %v", writes)
	}
}

func TestRestartOnAnEmptyDisk(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	w.stop()
	if err := os.RemoveAll(w.dirs + "/git"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.dirs + "/store"); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("the module is in the store again", func() error {
		if !w.store.Has(store.Digest([]byte(module()))) {
			return errors.New("it is not")
		}
		return nil
	})
	if writes := w.requests.writes(); len(writes) != 0 {
		t.Errorf("writes after the restart: %v", writes)
	}
}
