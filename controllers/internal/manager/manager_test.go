// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/internal/sync/gittest"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testcluster.Main(m, &cluster)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestProcess runs the whole process with its own identity and roles: a commit becomes objects that the other
// controllers work on, the store serves their modules by mutual TLS, and what git manages is changed in git only.
func TestProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := config.Install(ctx, cluster.Admin()); err != nil {
		t.Fatal(err)
	}
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	user, err := cluster.ForUser(api.UserControllers)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Config: user, StoreDir: t.TempDir(), GitDir: t.TempDir(), StoreListen: freeAddress(t), HealthListen: freeAddress(t), Log: logr.Discard()}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(running, options) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()

	repo := gittest.New(t)
	if err := fleettest.Base().Write(repo.Work()); err != nil {
		t.Fatal(err)
	}
	commit := repo.Commit("base", nil)
	repository := &api.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "fleet"},
		Spec:       api.RepositorySpec{URL: repo.URL(), Branch: "main", Interval: metav1.Duration{Duration: time.Hour}, Timeout: metav1.Duration{Duration: time.Minute}},
	}
	if err := kube.Create(ctx, repository); err != nil {
		t.Fatal(err)
	}
	eventually(t, "commit is applied", func() error {
		if err := kube.Get(ctx, client.ObjectKeyFromObject(repository), repository); err != nil {
			return err
		}
		if repository.Status.Applied == nil || repository.Status.Applied.Commit != commit {
			return fmt.Errorf("%+v", repository.Status.Conditions)
		}
		return nil
	})
	eventually(t, "the other controllers work", func() error {
		app, gateway, device := &api.Application{}, &api.Gateway{}, &api.Device{}
		for name, object := range map[string]client.Object{"report": app, "main": gateway, "c": device} {
			if err := kube.Get(ctx, client.ObjectKey{Namespace: "plant", Name: name}, object); err != nil {
				return err
			}
		}
		if app.Status.Target != 3 || app.Status.Revision != commit || gateway.Status.AssignedDevices != 3 || device.Status.Gateway != "plant.main" {
			return fmt.Errorf("%+v\n%+v\n%+v", app.Status, gateway.Status, device.Status)
		}
		return nil
	})
	t.Run("health", func(t *testing.T) { checkHealth(t, options.HealthListen) })
	t.Run("store", func(t *testing.T) { checkStore(ctx, t, kube, options.StoreListen) })
	t.Run("policy", func(t *testing.T) { checkPolicy(ctx, t, kube) })
}

func checkHealth(t *testing.T, address string) {
	for _, path := range []string{"/healthz", "/readyz"} {
		eventually(t, path, func() error {
			response, err := http.Get("http://" + address + path)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", response.Status, body)
			}
			return nil
		})
	}
}

func checkStore(ctx context.Context, t *testing.T, kube client.Client, address string) {
	app := &api.Application{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: "plant", Name: "report"}, app); err != nil {
		t.Fatal(err)
	}
	source := &pki.Source{}
	eventually(t, "the admin's identity", func() error {
		secret := &corev1.Secret{}
		if err := kube.Get(ctx, client.ObjectKey{Namespace: api.SystemNamespace, Name: pki.SecretName(pki.ClientIdentity("admin"))}, secret); err != nil {
			return err
		}
		credentials, err := pki.ParseCredentials(secret.Data)
		if err == nil {
			source.Set(credentials)
		}
		return err
	})
	modules := &store.Client{URL: "https://" + address, TLS: source.ClientConfig(time.Now, pki.Client)}
	eventually(t, "a module is served", func() error {
		content, err := modules.Fetch(ctx, app.Spec.Module.Digest)
		if err == nil && int64(len(content)) != app.Spec.Module.Size {
			err = fmt.Errorf("%d bytes, want %d", len(content), app.Spec.Module.Size)
		}
		return err
	})
	stranger := &store.Client{URL: "https://" + address, TLS: (&pki.Source{}).ClientConfig(time.Now, pki.Client)}
	if _, err := stranger.Fetch(ctx, app.Spec.Module.Digest); err == nil {
		t.Error("a stranger gets a module")
	}
}

func checkPolicy(ctx context.Context, t *testing.T, kube client.Client) {
	edit := func(c client.Client) error {
		return c.Patch(ctx, &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "b"}},
			client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"quarantine":true}}`)))
	}
	eventually(t, "an edit is refused with a sentence that helps", func() error {
		err := edit(kube)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "Device plant/b is managed by git (repository wasmbed-system/fleet, devices/b.yaml:1): change it there") {
			return fmt.Errorf("edit: %w", err)
		}
		return nil
	})
	emergency, err := cluster.ForUser("grace", api.GroupBreakGlass)
	if err != nil {
		t.Fatal(err)
	}
	grace, err := client.New(emergency, client.Options{Scheme: testcluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := edit(grace); err != nil {
		t.Fatalf("in an emergency: %v", err)
	}
	eventually(t, "it is put back and reported", func() error {
		device, repository := &api.Device{}, &api.Repository{}
		if err := kube.Get(ctx, client.ObjectKey{Namespace: "plant", Name: "b"}, device); err != nil {
			return err
		}
		if err := kube.Get(ctx, client.ObjectKey{Namespace: api.SystemNamespace, Name: "fleet"}, repository); err != nil {
			return err
		}
		if device.Spec.Quarantine || !meta.IsStatusConditionTrue(repository.Status.Conditions, api.ConditionDrifted) {
			return fmt.Errorf("quarantine %t, %+v", device.Spec.Quarantine, repository.Status.Conditions)
		}
		return nil
	})
}

// After a time when everything was off, the store's own certificate has expired when its server starts. It must not serve
// that for longer than the controllers take to make another one.
func TestTheStoreTakesAValidCertificateAsSoonAsThereIsOne(t *testing.T) {
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * pki.LeafValidity)
	authority, err := pki.NewAuthority("test", pki.AuthorityValidity, long)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.ParseBundle(authority.CertPEM)
	if err != nil {
		t.Fatal(err)
	}
	issued := func(at time.Time) map[string][]byte {
		pair, err := authority.Issue(pki.Request{Identity: pki.ClientIdentity("controllers"), Serving: true}, at)
		if err != nil {
			t.Fatal(err)
		}
		return pki.SecretData(pair, bundle)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace(t), Name: "identity"}, Type: corev1.SecretTypeTLS, Data: issued(long)}
	if err := kube.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s := &storeServer{secrets: kube, log: logr.Discard()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.keepIdentity(ctx, client.ObjectKeyFromObject(secret)); close(ended) }()
	defer func() { cancel(); <-ended }()
	eventually(t, "it has the old one", func() error {
		if s.source.Get() == nil {
			return pki.ErrNoCredentials
		}
		return nil
	})
	secret.Data = issued(time.Now())
	if err := kube.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has the new one", func() error { return s.source.Get().Valid(time.Now()) })
}
