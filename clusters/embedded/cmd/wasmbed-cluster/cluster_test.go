// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// probes is a kind in the audited group with a status, as the real ones are.
var probes = schema.GroupVersionResource{Group: "wasmbed.dev", Version: "v1", Resource: "probes"}

type clients struct {
	config  *rest.Config
	kube    *kubernetes.Clientset
	objects dynamic.Interface
}

func connect(t *testing.T, config *rest.Config) clients {
	t.Helper()
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients{config, kube, objects}
}

// defineProbes creates the kind and waits until it is served.
func (c clients) defineProbes(t *testing.T) {
	t.Helper()
	client, err := apiextensions.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	anything := true
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "probes.wasmbed.dev"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: probes.Group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "probes", Singular: "probe", Kind: "Probe", ListKind: "ProbeList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: probes.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: &anything,
				}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
	_, err = client.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), definition, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "probes are served", func(ctx context.Context) error {
		_, err := c.objects.Resource(probes).List(ctx, metav1.ListOptions{})
		return err
	})
}

func (c clients) createNamespace(t *testing.T, name string) {
	t.Helper()
	_, err := c.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func probe(name string, owners ...*unstructured.Unstructured) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "wasmbed.dev/v1", "kind": "Probe", "spec": map[string]any{"size": int64(1)},
	}}
	object.SetName(name)
	var references []metav1.OwnerReference
	for _, owner := range owners {
		references = append(references, metav1.OwnerReference{
			APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
		})
	}
	object.SetOwnerReferences(references)
	return object
}

func (c clients) create(t *testing.T, namespace string, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	created, err := c.objects.Resource(probes).Namespace(namespace).Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// TestCluster shares one cluster, since each takes seconds to start.
func TestCluster(t *testing.T) {
	dir, port := filepath.Join(t.TempDir(), "data"), freePort(t)
	p := start(t, dir, port)
	c := connect(t, p.config(t))
	c.defineProbes(t)
	for name, test := range map[string]func(*testing.T, *process, clients){
		"version":            testVersion,
		"namespace deletion": testNamespaceDeletion,
		"garbage collection": testGarbageCollection,
		"admission policy":   testAdmissionPolicy,
		"audit log":          testAuditLog,
		"identities":         testIdentities,
		"service accounts":   testServiceAccounts,
		"role aggregation":   testRoleAggregation,
		"files are private":  testPrivateFiles,
		"second instance":    testSecondInstance,
		"port in use":        testPortInUse,
		"listeners":          testListensOnlyOnce,
	} {
		t.Run(name, func(t *testing.T) { test(t, p, c) })
	}
	p.stop(t)
}

func testVersion(t *testing.T, _ *process, c clients) {
	info, err := c.kube.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if info.Major != "1" || !strings.HasPrefix(info.GitVersion, "v1."+info.Minor+".") {
		t.Fatalf("the server calls itself %s (%s.%s)", info.GitVersion, info.Major, info.Minor)
	}
}

func testNamespaceDeletion(t *testing.T, _ *process, c clients) {
	c.createNamespace(t, "doomed")
	for i := range 20 {
		c.create(t, "doomed", probe(fmt.Sprintf("probe-%d", i)))
	}
	if err := c.kube.CoreV1().Namespaces().Delete(t.Context(), "doomed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace goes", func(ctx context.Context) error {
		_, err := c.kube.CoreV1().Namespaces().Get(ctx, "doomed", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errNotYet
	})
	list, err := c.objects.Resource(probes).Namespace("doomed").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) > 0 {
		t.Fatalf("%d objects of a deleted namespace are left (%v)", len(list.Items), err)
	}
}

func testGarbageCollection(t *testing.T, _ *process, c clients) {
	c.createNamespace(t, "garbage")
	owner := c.create(t, "garbage", probe("owner"))
	c.create(t, "garbage", probe("dependent", owner))
	c.create(t, "garbage", probe("bystander"))
	if err := c.objects.Resource(probes).Namespace("garbage").Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dependent goes", func(ctx context.Context) error {
		_, err := c.objects.Resource(probes).Namespace("garbage").Get(ctx, "dependent", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errNotYet
	})
	if _, err := c.objects.Resource(probes).Namespace("garbage").Get(t.Context(), "bystander", metav1.GetOptions{}); err != nil {
		t.Fatalf("an object without an owner went too: %v", err)
	}
}

func testAdmissionPolicy(t *testing.T, _ *process, c clients) {
	c.createNamespace(t, "guarded")
	policies := c.kube.AdmissionregistrationV1()
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "small-probes"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{probes.Group}, APIVersions: []string{"*"}, Resources: []string{"probes"}},
				},
			}}},
			Validations: []admissionv1.Validation{{
				Expression: "object.spec.size < 10 || 'breakers' in request.userInfo.groups", Message: "change it in git",
			}},
		},
	}
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "small-probes"},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "small-probes", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	if _, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	big := probe("big")
	big.Object["spec"] = map[string]any{"size": int64(10)}
	eventually(t, "the policy refuses", func(ctx context.Context) error {
		_, err := c.objects.Resource(probes).Namespace("guarded").Create(ctx, big, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return errNotYet
		}
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "change it in git") {
			return err
		}
		return nil
	})
	c.create(t, "guarded", probe("small"))
	eventually(t, "the policy's types are checked", func(ctx context.Context) error {
		policy, err := policies.ValidatingAdmissionPolicies().Get(ctx, "small-probes", metav1.GetOptions{})
		if err == nil && policy.Status.ObservedGeneration != policy.Generation {
			err = errNotYet
		}
		return err
	})
}

// auditEvent is what the tests read of an audit event.
type auditEvent struct {
	Level      string
	Verb       string
	User       struct{ Username string }
	ObjectRef  struct{ Resource, Namespace, Name, Subresource string }
	StatusCode struct{ Code int } `json:"responseStatus"`
	Request    json.RawMessage    `json:"requestObject"`
}

func readAudit(dir string) ([]auditEvent, error) {
	file, err := os.Open(filepath.Join(dir, "audit.log"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var events []auditEvent
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var event auditEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		events = append(events, event)
	}
	return events, nil
}

func testAuditLog(t *testing.T, p *process, c clients) {
	c.createNamespace(t, "audited")
	allow(t, c, "audited-writer", "audited-writers", rbacv1.PolicyRule{
		APIGroups: []string{probes.Group}, Resources: []string{"probes", "probes/status"}, Verbs: []string{"*"},
	})
	alice := connect(t, clientOf(t, p.dir, c.config, "alice", "audited-writers"))
	var object *unstructured.Unstructured
	eventually(t, "alice may write", func(ctx context.Context) error {
		var err error
		object, err = alice.objects.Resource(probes).Namespace("audited").Create(ctx, probe("seen"), metav1.CreateOptions{})
		return err
	})
	object.Object["status"] = map[string]any{"phase": "Running"}
	if _, err := alice.objects.Resource(probes).Namespace("audited").UpdateStatus(t.Context(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "quiet"}, StringData: map[string]string{"key": "do-not-log"}}
	if _, err := c.kube.CoreV1().Secrets("audited").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := alice.objects.Resource(probes).Namespace("audited").Delete(t.Context(), "seen", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var verbs []string
	eventually(t, "the deletion is in the log", func(context.Context) error {
		events, err := readAudit(p.dir)
		if err != nil {
			return err
		}
		verbs = nil
		for _, event := range events {
			if event.ObjectRef.Namespace != "audited" || event.StatusCode.Code == 403 {
				continue // 403: before alice's role was in force
			}
			if event.Level != "Metadata" || event.Request != nil || event.User.Username != "alice" || event.ObjectRef.Name != "seen" {
				t.Fatalf("unexpected event: %+v", event)
			}
			verbs = append(verbs, fmt.Sprintf("%s %d", event.Verb, event.StatusCode.Code))
		}
		if !slices.Contains(verbs, "delete 200") {
			return errNotYet
		}
		return nil
	})
	if want := []string{"create 201", "delete 200"}; !slices.Equal(verbs, want) {
		t.Fatalf("the log tells %q instead of %q", verbs, want)
	}
}

// clientOf returns a configuration with a certificate of the cluster's CA, made
// from the files as a supervisor does for each component.
func clientOf(t *testing.T, dir string, admin *rest.Config, user, group string) *rest.Config {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour),
		Subject:     pkix.Name{CommonName: user, Organization: []string{group}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(admin)
	config.CertData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	config.KeyData = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return config
}

func allow(t *testing.T, c clients, name, group string, rule rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}
	if _, err := c.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: group}},
	}
	if _, err := c.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func testIdentities(t *testing.T, p *process, c clients) {
	stranger := connect(t, clientOf(t, p.dir, c.config, "mallory", "nobodies"))
	if _, err := stranger.objects.Resource(probes).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without a role may list: %v", err)
	}
	anonymous := connect(t, rest.AnonymousClientConfig(c.config))
	if _, err := anonymous.kube.Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("a client without a certificate gets an answer: %v", err)
	}
}

func testServiceAccounts(t *testing.T, _ *process, c clients) {
	c.createNamespace(t, "accounts")
	eventually(t, "the default service account comes", func(ctx context.Context) error {
		_, err := c.kube.CoreV1().ServiceAccounts("accounts").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
	if _, err := c.kube.CoreV1().Secrets("accounts").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.config)
	eventually(t, "the token comes", func(ctx context.Context) error {
		secret, err := c.kube.CoreV1().Secrets("accounts").Get(ctx, "token", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if config.BearerToken = string(secret.Data[corev1.ServiceAccountTokenKey]); config.BearerToken == "" {
			return errNotYet
		}
		return nil
	})
	if _, err := connect(t, config).kube.Discovery().ServerVersion(); err != nil {
		t.Fatalf("the API server does not take its own token: %v", err)
	}
}

func testRoleAggregation(t *testing.T, _ *process, c clients) {
	label := map[string]string{"aggregate": "here"}
	sum := &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "sum"},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: label}}},
	}
	part := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "part", Labels: label},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{probes.Group}, Resources: []string{"probes"}, Verbs: []string{"get"}}},
	}
	for _, role := range []*rbacv1.ClusterRole{sum, part} {
		if _, err := c.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the role is filled", func(ctx context.Context) error {
		role, err := c.kube.RbacV1().ClusterRoles().Get(ctx, "sum", metav1.GetOptions{})
		if err == nil && len(role.Rules) != 1 {
			err = errNotYet
		}
		return err
	})
}

// testPrivateFiles: nobody else may read keys or reach etcd.
func testPrivateFiles(t *testing.T, p *process, _ clients) {
	info, err := os.Stat(p.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory has mode %v (%v)", info.Mode(), err)
	}
	for _, name := range []string{"admin.kubeconfig", "ca.key", "serving.key", "service-account.key", "audit.log"} {
		info, err := os.Stat(filepath.Join(p.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", name, info.Mode(), err)
		}
	}
}

func testSecondInstance(t *testing.T, p *process, c clients) {
	begin := time.Now()
	status, stdout, sentence := spawn(t, p.dir, freePort(t)).exit(t)
	if status != exitLocked || stdout != "" || !strings.Contains(sentence, fmt.Sprintf("process %d", p.cmd.Process.Pid)) {
		t.Fatalf("status %d, stdout %q, %q", status, stdout, sentence)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	if _, err := c.kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatalf("the first instance suffered: %v", err)
	}
}

func testPortInUse(t *testing.T, p *process, c clients) {
	port := c.config.Host[strings.LastIndexByte(c.config.Host, ':')+1:]
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	status, stdout, sentence := spawn(t, filepath.Join(t.TempDir(), "other"), number).exit(t)
	if status != exitPort || stdout != "" || !strings.Contains(sentence, "127.0.0.1:"+port) || !strings.Contains(sentence, "--port") {
		t.Fatalf("status %d, stdout %q, %q", status, stdout, sentence)
	}
}

// testListensOnlyOnce: the API's port is the only one, and etcd's only socket is
// in the private directory.
func testListensOnlyOnce(t *testing.T, p *process, _ clients) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("needs /proc:", err)
	}
	ours := map[string]bool{}
	for _, entry := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.cmd.Process.Pid, entry.Name()))
		if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
			ours[strings.TrimSuffix(inode, "]")] = true
		}
	}
	listeners := 0
	for _, table := range []string{"tcp", "tcp6"} {
		for _, fields := range socketTable(t, table) {
			if len(fields) > 9 && fields[3] == "0A" && ours[fields[9]] {
				listeners++
			}
		}
	}
	const accepting = "00010000"
	for _, fields := range socketTable(t, "unix") {
		if len(fields) > 6 && fields[3] == accepting && ours[fields[6]] {
			if len(fields) < 8 || !strings.HasPrefix(fields[7], p.dir) {
				t.Errorf("listens on a socket outside of its directory: %v", fields)
			}
		}
	}
	if listeners != 1 {
		t.Errorf("listens on %d TCP ports", listeners)
	}
}

func socketTable(t *testing.T, name string) [][]string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}
