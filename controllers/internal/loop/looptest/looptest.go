// SPDX-License-Identifier: Apache-2.0

// Package looptest runs reconcilers against a real API server in tests, and counts what they write.
package looptest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Patience is how long Eventually waits: a build may run beside the tests.
const Patience = 60 * time.Second

// Process is a running manager.
type Process struct {
	Writes *Writes
	stop   func()
}

// Start runs a manager with reconcilers until the test ends or Stop is called.
func Start(t testing.TB, cfg *rest.Config, scheme *runtime.Scheme, setup ...func(ctrl.Manager) error) *Process {
	t.Helper()
	writes := &Writes{}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.Wrap(writes.wrap)
	skip := true // names are registered once a process, and tests start several managers
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard(),
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range setup {
		if err := f(mgr); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	var once sync.Once
	p := &Process{Writes: writes, stop: func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("manager: %v", err)
			}
		})
	}}
	t.Cleanup(p.stop)
	synced, cancelSync := context.WithTimeout(ctx, Patience)
	defer cancelSync()
	if !mgr.GetCache().WaitForCacheSync(synced) {
		t.Fatal("the manager's cache does not sync")
	}
	return p
}

// Stop ends the manager and returns when it has ended.
func (p *Process) Stop() { p.stop() }

// Writes counts requests that change something, by "VERB resource" and by what they are about.
type Writes struct {
	mu   sync.Mutex
	all  []write
	last time.Time
}

// write is one request; text is its path and its body.
type write struct{ what, path, text string }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *Writes) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet {
			if err := w.note(r); err != nil {
				return nil, err
			}
		}
		return next.RoundTrip(r)
	})
}

func (w *Writes) note(r *http.Request) error {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource := "?"
	for i, part := range parts {
		if part == "namespaces" && i+2 < len(parts) {
			resource = parts[i+2]
			if len(parts) > i+4 {
				resource += "/" + parts[i+4]
			}
		}
	}
	var body []byte
	if r.GetBody != nil {
		copied, err := r.GetBody()
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(copied); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, write{r.Method + " " + resource, r.URL.Path, r.URL.Path + " " + string(body)})
	w.last = time.Now()
	return nil
}

// Count is how many requests there were of "VERB resource" about a namespace: to it, or to an object elsewhere that
// names it. Other tests' namespaces may be on their way out, which makes controllers write. Without a "VERB resource"
// all but those for events count.
func (w *Writes) Count(namespace, what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	count := 0
	for _, one := range w.all {
		if one.what == what || what == "" && !strings.HasSuffix(one.what, " events") {
			if strings.Contains(one.text, namespace) {
				count++
			}
		}
	}
	return count
}

// Quiet waits until nothing has been written for a while, and fails the test when that does not come.
func (w *Writes) Quiet(t testing.TB, while time.Duration) {
	t.Helper()
	Eventually(t, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if since := time.Since(w.last); since < while {
			var recent []string
			for _, one := range w.all[max(0, len(w.all)-10):] {
				recent = append(recent, one.what+" "+one.path)
			}
			return fmt.Errorf("written %s ago; the last writes are %v", since.Round(time.Millisecond), recent)
		}
		return nil
	})
}

// String lists how many requests there were of each kind, whatever they were about.
func (w *Writes) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := map[string]int{}
	for _, one := range w.all {
		counts[one.what]++
	}
	text, _ := json.Marshal(counts)
	return string(text)
}

// Eventually polls until check returns nil, and fails the test after Patience with its last error.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	EventuallyWithin(t, Patience, check)
}

// EventuallyWithin is Eventually with another deadline.
func EventuallyWithin(t testing.TB, patience time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Connect writes what a gateway writes when a device connects, or goes away.
func Connect(ctx context.Context, c client.Client, device *v1alpha1.Device, gateway string, connected bool) error {
	patch := fmt.Sprintf(`{"status":{"connection":{"gateway":%q,"connected":%v,"epoch":%d,"since":%q}}}`,
		gateway, connected, time.Now().UnixNano(), time.Now().UTC().Format(time.RFC3339))
	return c.Status().Patch(ctx, device, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// Adopt writes what a gateway writes when a device connects whose own gateway is gone.
func Adopt(ctx context.Context, c client.Client, device *v1alpha1.Device, gateway string) error {
	patch := fmt.Sprintf(`{"status":{"gateway":%[1]q,"connection":{"gateway":%[1]q,"connected":true,"epoch":%d,"since":%q}}}`,
		gateway, time.Now().UnixNano(), time.Now().UTC().Format(time.RFC3339))
	return c.Status().Patch(ctx, device, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// Report writes what a gateway writes when a device reports on an Instance's present spec.
func Report(ctx context.Context, c client.Client, instance *v1alpha1.Instance, phase v1alpha1.InstancePhase, reason, message string) error {
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	status := map[string]any{"observedGeneration": instance.Generation, "phase": phase, "digest": instance.Spec.Digest, "reason": reason, "message": message, "deliveredAt": now}
	if phase == v1alpha1.InstanceRunning {
		status["runningAt"] = now
	}
	data, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	return c.Status().Patch(ctx, instance, client.RawPatch("application/merge-patch+json", data))
}
