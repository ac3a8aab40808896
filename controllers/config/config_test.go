// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) { testcluster.Main(m, &cluster) }

func adminClient(t *testing.T) client.Client {
	t.Helper()
	c, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func userClient(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	rest, err := cluster.ForUser(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(rest, client.Options{Scheme: testcluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func install(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := config.Install(ctx, cluster.Admin()); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
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

func TestInstallTwiceWritesOnce(t *testing.T) {
	install(t)
	versions := func() map[string]string {
		found := map[string]string{}
		for _, dir := range []string{"crd", "rbac", "policy"} {
			objects, err := config.Objects(dir)
			if err != nil || len(objects) == 0 {
				t.Fatalf("manifests of %s: %d, %v", dir, len(objects), err)
			}
			for _, object := range objects {
				live := &unstructured.Unstructured{}
				live.SetGroupVersionKind(object.GroupVersionKind())
				if err := adminClient(t).Get(t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
					t.Fatal(err)
				}
				found[fmt.Sprint(object.GetKind(), object.GetNamespace(), object.GetName())] = fmt.Sprint(live.GetUID(), live.GetGeneration())
			}
		}
		return found
	}
	first := versions()
	install(t)
	second := versions()
	for object, version := range first {
		if second[object] != version {
			t.Errorf("%s was written again: %s, then %s", object, version, second[object])
		}
	}
}

func TestRoles(t *testing.T) {
	install(t)
	gateway, gateways := v1alpha1.UserGatewayPrefix+"fleet:main", []string{v1alpha1.GroupGateways}
	own := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace(t), Name: "own"}}
	if err := adminClient(t).Create(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	role, binding := config.GatewaySecretAccess(own, "gateway-own-identity")
	for _, object := range []client.Object{role, binding} {
		if err := adminClient(t).Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	ownUser := v1alpha1.UserGatewayPrefix + own.Namespace + ":own"
	for _, try := range []struct {
		user   string
		groups []string
		access string // verb group/resource[/subresource] namespace [name]
		want   bool
	}{
		{gateway, gateways, "watch wasmbed.dev/devices *", true},
		{gateway, gateways, "patch wasmbed.dev/devices/status fleet", true},
		{gateway, gateways, "patch wasmbed.dev/instances/status fleet", true},
		{gateway, gateways, "update coordination.k8s.io/leases wasmbed-system", true},
		{gateway, gateways, "update coordination.k8s.io/leases kube-system", false},
		{gateway, gateways, "patch wasmbed.dev/devices fleet", false},
		{gateway, gateways, "delete wasmbed.dev/instances fleet", false},
		{gateway, gateways, "get /secrets fleet", false},
		{ownUser, gateways, "get /secrets " + own.Namespace + " gateway-own-identity", true},
		{ownUser, gateways, "get /secrets " + own.Namespace + " gateway-other-identity", false},
		{ownUser, gateways, "list /secrets " + own.Namespace, false},
		{v1alpha1.UserDashboard, nil, "list wasmbed.dev/repositories *", true},
		{v1alpha1.UserDashboard, nil, "watch wasmbed.dev/instances *", true},
		{v1alpha1.UserDashboard, nil, "get /secrets fleet", false},
		{v1alpha1.UserDashboard, nil, "list coordination.k8s.io/leases wasmbed-system", true},
		{v1alpha1.UserBoards, nil, "list coordination.k8s.io/leases wasmbed-system", true},
		{v1alpha1.UserSimulator, nil, "list coordination.k8s.io/leases kube-system", false},
		{v1alpha1.UserSimulator, nil, "list wasmbed.dev/devices *", true},
		{v1alpha1.UserSimulator, nil, "patch wasmbed.dev/devices/status fleet", false},
		{v1alpha1.UserSimulator, nil, "watch /secrets wasmbed-identities", true},
		{v1alpha1.UserSimulator, nil, "create /secrets wasmbed-identities", false},
		{v1alpha1.UserSimulator, nil, "get /secrets fleet", false},
		{v1alpha1.UserSimulator, nil, "get /secrets wasmbed-system wasmbed-ca", false},
		{v1alpha1.UserBoards, nil, "watch /secrets wasmbed-identities", true},
		{v1alpha1.UserBoards, nil, "list /secrets *", false},
		{v1alpha1.UserBoards, nil, "get /secrets wasmbed-system wasmbed-ca", false},
		{v1alpha1.UserHook, nil, "patch wasmbed.dev/repositories wasmbed-system fleet", true},
		{v1alpha1.UserHook, nil, "patch wasmbed.dev/repositories fleet fleet", false},
		{v1alpha1.UserHook, nil, "list wasmbed.dev/devices *", false},
		{v1alpha1.UserControllers, nil, "create wasmbed.dev/devices fleet", true},
		{v1alpha1.UserControllers, nil, "patch wasmbed.dev/repositories/status wasmbed-system", true},
		{v1alpha1.UserControllers, nil, "create /pods fleet", false},
		{v1alpha1.UserControllers, nil, "create rbac.authorization.k8s.io/clusterroles *", false},
	} {
		t.Run(try.user+" "+try.access, func(t *testing.T) {
			words := strings.Fields(try.access)
			group, resource, _ := strings.Cut(words[1], "/")
			resource, subresource, _ := strings.Cut(resource, "/")
			attributes := &authorizationv1.ResourceAttributes{Verb: words[0], Group: group, Resource: resource, Subresource: subresource, Namespace: words[2]}
			if words[2] == "*" {
				attributes.Namespace = ""
			}
			if len(words) > 3 {
				attributes.Name = words[3]
			}
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: try.user, Groups: try.groups, ResourceAttributes: attributes}}
			eventually(t, "access", func() error {
				if err := adminClient(t).Create(t.Context(), review); err != nil {
					return err
				}
				if review.Status.Allowed != try.want {
					return fmt.Errorf("allowed is %t", review.Status.Allowed)
				}
				return nil
			})
		})
	}
}

func TestDashboardHasNoVerbThatWrites(t *testing.T) {
	objects, err := config.Objects("rbac")
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, object := range objects {
		if object.GetKind() != "ClusterRole" || object.GetName() != "wasmbed-dashboard" {
			continue
		}
		seen = true
		rules, _, _ := unstructured.NestedSlice(object.Object, "rules")
		for _, rule := range rules {
			verbs, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "verbs")
			resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
			// Reviews are questions: creating one stores nothing.
			asks := slices.Equal(resources, []string{"tokenreviews"}) || slices.Equal(resources, []string{"subjectaccessreviews"})
			for _, verb := range verbs {
				if verb != "get" && verb != "list" && verb != "watch" && (verb != "create" || !asks) {
					t.Errorf("verb %s of %v", verb, resources)
				}
			}
			if slices.Contains(resources, "secrets") || slices.Contains(resources, "*") {
				t.Errorf("resources %v", resources)
			}
		}
	}
	if !seen {
		t.Error("no such role")
	}
}

// What the API server itself says the dashboard may do, whichever roles give it.
func TestDashboardMayOnlyReadAndAsk(t *testing.T) {
	install(t)
	var rules []authorizationv1.ResourceRule
	eventually(t, "rules of the dashboard", func() error {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "fleet"}}
		if err := userClient(t, v1alpha1.UserDashboard).Create(t.Context(), review); err != nil {
			return err
		}
		rules = review.Status.ResourceRules
		if review.Status.Incomplete || !slices.ContainsFunc(rules, func(r authorizationv1.ResourceRule) bool { return slices.Contains(r.Resources, "devices") }) {
			return fmt.Errorf("not all rules are there yet: %v", rules)
		}
		return nil
	})
	for _, rule := range rules {
		asks := !slices.ContainsFunc(rule.APIGroups, func(g string) bool { return g != "authentication.k8s.io" && g != "authorization.k8s.io" })
		for _, verb := range rule.Verbs {
			if !slices.Contains([]string{"get", "list", "watch"}, verb) && (verb != "create" || !asks) {
				t.Errorf("verb %s of %v in %v", verb, rule.Resources, rule.APIGroups)
			}
		}
		if slices.ContainsFunc(rule.Resources, func(r string) bool { return r == "*" || strings.HasPrefix(r, "secrets") }) || slices.Contains(rule.APIGroups, "*") {
			t.Errorf("resources %v in %v", rule.Resources, rule.APIGroups)
		}
	}
}

// managedDevice makes a Device as the sync controller does.
func managedDevice(t *testing.T, namespace, name string) *v1alpha1.Device {
	t.Helper()
	device := &v1alpha1.Device{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name,
			Labels:      map[string]string{"site": "roof", v1alpha1.LabelRepositoryName: "fleet", v1alpha1.LabelRepositoryNamespace: "wasmbed-system"},
			Annotations: map[string]string{v1alpha1.AnnotationSource: "devices/roof.yaml:12", v1alpha1.AnnotationDigest: "abc"}},
		Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated},
	}
	if err := userClient(t, v1alpha1.UserControllers).Create(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	return device
}

func TestManagedObjectsAreChangedInGit(t *testing.T) {
	install(t)
	namespace := cluster.Namespace(t)
	device := managedDevice(t, namespace, "roof-1")
	admin := adminClient(t)
	sentence := fmt.Sprintf("Device %s/roof-1 is managed by git (repository wasmbed-system/fleet, devices/roof.yaml:12): change it there; in an emergency suspend the Repository and use --as=YOUR-NAME --as-group=wasmbed:break-glass", namespace)
	// A new policy takes a moment to be enforced.
	eventually(t, "policy is enforced", func() error {
		err := admin.Delete(t.Context(), device.DeepCopy(), client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("delete: %w", err)
		}
		return nil
	})
	patch := func(c client.Client, body string) error {
		return c.Patch(t.Context(), device.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(body)))
	}
	for what, try := range map[string]func() error{
		"spec":           func() error { return patch(admin, `{"spec":{"quarantine":true}}`) },
		"a label":        func() error { return patch(admin, `{"metadata":{"labels":{"site":"cellar"}}}`) },
		"our label":      func() error { return patch(admin, `{"metadata":{"labels":{"wasmbed.dev/repository":null}}}`) },
		"our annotation": func() error { return patch(admin, `{"metadata":{"annotations":{"wasmbed.dev/digest":"x"}}}`) },
		"an owner": func() error {
			return patch(admin, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"y"}]}}`)
		},
		"deletion":         func() error { return admin.Delete(t.Context(), device.DeepCopy()) },
		"deletion of many": func() error { return admin.DeleteAllOf(t.Context(), &v1alpha1.Device{}, client.InNamespace(namespace)) },
		"by another component": func() error {
			return patch(userClient(t, "wasmbed:gateway:a:b", "system:masters"), `{"spec":{"power":"Off"}}`)
		},
	} {
		if err := try(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), sentence) {
			t.Errorf("%s: %v\nwant: %s", what, err, sentence)
		}
	}
	for what, try := range map[string]func() error{
		"another annotation": func() error { return patch(admin, `{"metadata":{"annotations":{"note":"x"}}}`) },
		"status": func() error {
			return admin.Status().Patch(t.Context(), device.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Online"}}`)))
		},
		"the controllers": func() error {
			return patch(userClient(t, v1alpha1.UserControllers), `{"spec":{"power":"Off"},"metadata":{"labels":{"site":"cellar"}}}`)
		},
		"an emergency": func() error {
			return patch(userClient(t, "grace", v1alpha1.GroupBreakGlass), `{"spec":{"power":"On"}}`)
		},
		"an object that git does not manage": func() error {
			free := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "free"}, Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
			if err := admin.Create(t.Context(), free); err != nil {
				return err
			}
			return admin.Delete(t.Context(), free)
		},
	} {
		if err := try(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := admin.Create(t.Context(), &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "forged", Labels: device.Labels},
		Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}); !apierrors.IsForbidden(err) {
		t.Errorf("a forged label: %v", err)
	}
	if err := userClient(t, "grace", v1alpha1.GroupBreakGlass).Delete(t.Context(), device); err != nil {
		t.Errorf("deletion in an emergency: %v", err)
	}
}

func TestManagedNamespaces(t *testing.T) {
	install(t)
	admin := adminClient(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "managed-",
		Labels: map[string]string{v1alpha1.LabelRepositoryName: "fleet", v1alpha1.LabelRepositoryNamespace: "wasmbed-system"}}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	managedDevice(t, namespace.Name, "roof-1")
	eventually(t, "deletion by hand is refused", func() error {
		err := admin.Delete(t.Context(), namespace.DeepCopy(), client.DryRunAll)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "Namespace "+namespace.Name+" is managed by git (repository wasmbed-system/fleet)") {
			return fmt.Errorf("delete: %w", err)
		}
		return nil
	})
	// What the sync controller removes takes its managed contents with it.
	if err := userClient(t, v1alpha1.UserControllers).Delete(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	eventually(t, "namespace goes with its contents", func() error {
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), &corev1.Namespace{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("get: %w", err)
		}
		return nil
	})
}

func TestHookOnlyAnnounces(t *testing.T) {
	install(t)
	onlyAnnounces(t, v1alpha1.UserHook, "hooked")
}

// TestControllersOnlyAnnounce: a forge's webhook, which the controllers take, can cause no more than a fetch.
func TestControllersOnlyAnnounce(t *testing.T) {
	install(t)
	onlyAnnounces(t, v1alpha1.UserControllers, "hooked-by-a-forge")
}

// onlyAnnounces holds what a user may patch of a Repository against the two annotations.
func onlyAnnounces(t *testing.T, user, name string) {
	t.Helper()
	admin, hook := adminClient(t), userClient(t, user)
	repository := &v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: name, Annotations: map[string]string{"note": "x"}},
		Spec:       v1alpha1.RepositorySpec{URL: "file:///nonexistent", Branch: "main", Interval: metav1.Duration{Duration: time.Minute}},
	}
	if err := admin.Create(t.Context(), repository); err != nil {
		t.Fatal(err)
	}
	patch := func(body string) error {
		return hook.Patch(t.Context(), repository.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(body)))
	}
	eventually(t, "policy is enforced", func() error {
		if err := patch(`{"spec":{"suspend":true}}`); !apierrors.IsForbidden(err) {
			return fmt.Errorf("spec: %w", err)
		}
		return nil
	})
	for _, body := range []string{`{"metadata":{"annotations":{"note":"y"}}}`, `{"metadata":{"annotations":{"note":null}}}`,
		`{"metadata":{"annotations":{"other":"y"}}}`, `{"metadata":{"labels":{"a":"b"}}}`, `{"metadata":{"finalizers":["a/b"]}}`} {
		if err := patch(body); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"metadata":{"annotations":{"wasmbed.dev/pushed":"a b","wasmbed.dev/reconcile-at":"1"}}}`,
		`{"metadata":{"annotations":{"wasmbed.dev/reconcile-at":"2"}}}`} {
		if err := patch(body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}
