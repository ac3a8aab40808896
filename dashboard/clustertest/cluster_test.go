// SPDX-License-Identifier: Apache-2.0

// Package cluster_test holds the dashboard against a real API server: what it reads, whom it admits, and that no
// Secret leaves it.
package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/gorilla/websocket"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) { testcluster.Main(m, &cluster) }

const token = "the-token-of-the-installation"

// running is a dashboard's process in this one.
type running struct {
	address string
	mu      sync.Mutex
	log     bytes.Buffer
}

func start(t *testing.T) *running {
	t.Helper()
	config, err := cluster.ForUser(v1alpha1.UserDashboard)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	r := &running{address: address}
	log := funcr.New(func(prefix, args string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintln(&r.log, prefix, args)
	}, funcr.Options{Verbosity: 4})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- dashboard.Run(ctx, dashboard.Options{Config: config, Listen: address, TokenFile: file, Reviews: true, Log: log, IdentityDir: t.TempDir(), RunDir: t.TempDir()})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// get returns status and body.
func (r *running) get(t *testing.T, path, bearer string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("never: %s: %v", what, err)
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if err := kube.Create(t.Context(), object); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("%T %s: %v", object, object.GetName(), err)
		}
	}
}

func device(namespace, name string) *v1alpha1.Device {
	return &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
}

// serviceAccount makes one and returns a token of it.
func serviceAccount(t *testing.T, namespace, name string) string {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	create(t, account)
	request := &authenticationv1.TokenRequest{}
	if err := kube.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

func TestWhatOneSeesIsWhatOneMayList(t *testing.T) {
	mine, other := cluster.Namespace(t), cluster.Namespace(t)
	create(t, device(mine, "mine"), device(other, "other"))
	reader := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "fleet-reader"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}}}}
	some, none, all := serviceAccount(t, mine, "some"), serviceAccount(t, mine, "none"), serviceAccount(t, mine, "all")
	subject := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: mine, Name: name}}
	}
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: reader.Name}
	create(t, reader,
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: mine, Name: "some"}, Subjects: subject("some"), RoleRef: role},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "all-" + mine}, Subjects: subject("all"), RoleRef: role})
	r := start(t)
	eventually(t, "the owner of the token sees both", func() error {
		_, body := r.get(t, "/api/v1/devices", token)
		if !strings.Contains(body, `"mine"`) || !strings.Contains(body, `"other"`) {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	eventually(t, "everybody sees what the roles say", func() error {
		for _, look := range []struct {
			who, token string
			sees       []string
		}{{"some", some, []string{mine + "/mine"}}, {"none", none, nil}, {"all", all, []string{mine + "/mine", other + "/other"}}} {
			for _, path := range []string{"/api/v1/devices?limit=500", "/api/v1/overview", "/api/v1/facets", "/api/v1/topology", "/api/v1/terminal?line=get+devices", "/api/v1/devices/" + mine + "/mine", "/api/v1/devices/" + other + "/other"} {
				_, body := r.get(t, path, look.token)
				for _, id := range []string{mine + "/mine", other + "/other"} {
					namespace, _, _ := strings.Cut(id, "/")
					if !slices.Contains(look.sees, id) && strings.Contains(body, namespace) && !strings.Contains(path, namespace) {
						return fmt.Errorf("%s sees %s in %s: %s", look.who, id, path, body)
					}
				}
			}
			var list struct {
				Items []struct{ ID string }
			}
			_, body := r.get(t, "/api/v1/devices?limit=500", look.token)
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				return err
			}
			for _, id := range look.sees {
				if !slices.ContainsFunc(list.Items, func(i struct{ ID string }) bool { return i.ID == id }) {
					return fmt.Errorf("%s does not see %s: %s", look.who, id, body)
				}
			}
		}
		return nil
	})
	if status, body := r.get(t, "/api/v1/devices/"+other+"/other", some); status != http.StatusNotFound {
		t.Errorf("one object of another namespace: %d %s", status, body)
	}
	for _, wrong := range []string{"", "x", some + "x"} {
		if status, body := r.get(t, "/api/v1/devices", wrong); status != http.StatusUnauthorized {
			t.Errorf("token %q: %d %s", wrong, status, body)
		}
	}
}

// TestSecretsNeverLeave plants a marker wherever the installation keeps a secret, and looks for it in all that the
// dashboard says.
func TestSecretsNeverLeave(t *testing.T) {
	const marker = "MARKER-do-not-show"
	namespace := cluster.Namespace(t)
	create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "credentials"}, StringData: map[string]string{"password": marker, "identity": marker}},
		device(namespace, "holder"),
		&v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fleet",
			Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": marker}},
			Spec: v1alpha1.RepositorySpec{URL: "https://git.example/fleet.git?access=" + marker, Branch: "main", SecretRef: &v1alpha1.LocalReference{Name: "credentials"}}},
		&v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other"}, Spec: v1alpha1.RepositorySpec{URL: "ssh://git:" + marker + "@git.example/fleet.git", Branch: "main"}})
	r := start(t)
	eventually(t, "the repositories are seen", func() error {
		_, body := r.get(t, "/api/v1/repositories", token)
		if !strings.Contains(body, namespace+"/fleet") || !strings.Contains(body, namespace+"/other") {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	said := map[string]string{}
	for _, path := range []string{"overview", "problems", "repositories", "commits", "applications", "devices", "devices/" + namespace + "/holder", "instances", "gateways", "topology", "facets", "events", "system", "logs",
		"session", "secrets", "secrets/" + namespace + "/credentials", "repositories?search=git", "devices/" + namespace + "/credentials", "terminal?line=" + url.QueryEscape("get repositories"),
		"terminal?line=" + url.QueryEscape("describe device "+namespace+"/holder"), "terminal?line=" + url.QueryEscape("get secrets"), "terminal?line=" + url.QueryEscape("describe secret "+namespace+"/credentials"), "openapi.yaml"} {
		_, said[path] = r.get(t, "/api/v1/"+path, token)
	}
	connection, response, err := websocket.DefaultDialer.Dial("ws://"+r.address+"/api/v1/stream", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	defer func() { _ = connection.Close() }()
	for i, view := range []string{"overview", "repositories", "devices", "problems", "events", "secrets"} {
		if err := connection.WriteJSON(map[string]any{"type": "subscribe", "id": i + 1, "view": view}); err != nil {
			t.Fatal(err)
		}
	}
	_ = connection.SetReadDeadline(time.Now().Add(20 * time.Second))
	for i := range 7 {
		_, body, err := connection.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		said[fmt.Sprintf("message %d", i)] = string(body)
	}
	r.mu.Lock()
	said["log"] = r.log.String()
	r.mu.Unlock()
	for where, text := range said {
		if strings.Contains(text, marker) || strings.Contains(text, token) {
			t.Errorf("%s tells a secret: %.2000s", where, text)
		}
	}
	if !strings.Contains(said["repositories"], "ssh://git.example/fleet.git") {
		t.Errorf("repositories: %s", said["repositories"])
	}
}

func TestAChangeReachesWhoLooks(t *testing.T) {
	namespace := cluster.Namespace(t)
	create(t, device(namespace, "first"))
	r := start(t)
	eventually(t, "it serves", func() error {
		if status, body := r.get(t, "/api/v1/devices/"+namespace+"/first", token); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	connection, response, err := websocket.DefaultDialer.Dial("ws://"+r.address+"/api/v1/stream", http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	defer func() { _ = connection.Close() }()
	_ = connection.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","id":1,"view":"devices","query":{"namespace":"`+namespace+`"}}`))
	_ = connection.WriteMessage(websocket.TextMessage, []byte(`{"type":"subscribe","id":2,"view":"device","query":{"namespace":"`+namespace+`","name":"first"}}`))
	wait := func(holds func(text string) bool) {
		t.Helper()
		_ = connection.SetReadDeadline(time.Now().Add(30 * time.Second))
		for {
			_, body, err := connection.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if holds(string(body)) {
				return
			}
		}
	}
	wait(func(text string) bool {
		return strings.Contains(text, `"snapshot","id":1`) && strings.Contains(text, namespace+"/first")
	})
	wait(func(text string) bool { return strings.Contains(text, `"snapshot","id":2`) })
	create(t, device(namespace, "second"))
	wait(func(text string) bool {
		return strings.Contains(text, `"inserted":[{"at":1`) && strings.Contains(text, namespace+"/second")
	})
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	first := &v1alpha1.Device{}
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "first"}, first); err != nil {
		t.Fatal(err)
	}
	first.Status.Phase = v1alpha1.DeviceOffline
	first.Status.Backend = &v1alpha1.DeviceBackend{Phase: "Stopped", Reason: "Halted"}
	if err := kube.Status().Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	wait(func(text string) bool {
		seen["row"] = seen["row"] || strings.Contains(text, `"id":1`) && strings.Contains(text, `"phase":"Offline"`)
		seen["detail"] = seen["detail"] || strings.Contains(text, `"id":2`) && strings.Contains(text, "Halted")
		return seen["row"] && seen["detail"]
	})
	if err := kube.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	wait(func(text string) bool {
		seen["removed"] = seen["removed"] || strings.Contains(text, `"removed":["`+namespace+`/first"]`)
		seen["gone"] = seen["gone"] || strings.Contains(text, `"id":2`) && strings.Contains(text, `"NotFound"`)
		return seen["removed"] && seen["gone"]
	})
}

// TestADeviceThatOverridesWhatChangedIsNotWaitedFor: its Instance stays as it was and counts as updated.
func TestADeviceThatOverridesWhatChangedIsNotWaitedFor(t *testing.T) {
	namespace := cluster.Namespace(t)
	began := metav1.NewMicroTime(time.Now().Add(-time.Minute))
	digest := "sha256:" + strings.Repeat("a", 64)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "blink"}}
	app.Spec.Module.Path, app.Spec.Module.Digest, app.Spec.Module.Size = "apps/blink.wasm", digest, 1
	create(t, app)
	app.Status.RolloutStartedAt, app.Status.Target, app.Status.Updated = &began, 3, 2
	kube, err := cluster.Client()
	if err == nil {
		err = kube.Status().Update(t.Context(), app)
	}
	if err != nil {
		t.Fatal(err)
	}
	for device, issued := range map[string]time.Duration{"changed": time.Second, "overrides": -time.Hour, "later": -time.Hour} {
		create(t, &v1alpha1.Instance{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: v1alpha1.InstanceName("blink", device),
				Annotations: map[string]string{v1alpha1.AnnotationIssuedAt: began.Add(issued).Format(time.RFC3339Nano)},
			},
			Spec: v1alpha1.InstanceSpec{Application: "blink", Device: device, Digest: digest, Size: 1},
		})
	}
	r := start(t)
	eventually(t, "a wave of one device, and another one to come", func() error {
		_, body := r.get(t, "/api/v1/applications/"+namespace+"/blink", token)
		var got struct {
			Waiting int
			Waves   []struct{ Devices int }
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			return fmt.Errorf("%w: %s", err, body)
		}
		if got.Waiting != 1 || len(got.Waves) != 1 || got.Waves[0].Devices != 1 {
			return errors.New(body)
		}
		return nil
	})
}
