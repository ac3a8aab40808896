// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/identity"
	"wasmbed.dev/controllers/internal/loop/looptest"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/internal/testcluster"
)

var cluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testcluster.Main(m, &cluster)
}

// world is a namespace with a gateway, whose process the test plays.
type world struct {
	client.Client
	t         *testing.T
	namespace string
	process   *looptest.Process

	mu     sync.Mutex
	offset time.Duration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	kube, err := cluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Client: kube, t: t, namespace: cluster.Namespace(t)}
	w.start()
	return w
}

func (w *world) start() {
	w.t.Helper()
	w.process = looptest.Start(w.t, asControllers(w.t), testcluster.Scheme(), func(mgr ctrl.Manager) error {
		keeper, err := identity.New(mgr, w.now)
		if err != nil {
			return err
		}
		return Setup(mgr, Options{Identities: keeper, Now: w.now})
	})
}

// now is the machine's clock, moved on by what the test says.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) gateway(name string) *v1alpha1.Gateway {
	w.t.Helper()
	gateway := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	w.must(w.Create(w.t.Context(), gateway))
	return gateway
}

// serve does what a gateway's process does: it writes its address and renews a Lease of two seconds.
func (w *world) serve(gateway *v1alpha1.Gateway) (stop func()) {
	w.t.Helper()
	w.must(w.Status().Patch(w.t.Context(), gateway.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"address":"127.0.0.1:1"}}`))))
	seconds := int32(2)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.GatewayLease(gateway.Namespace, gateway.Name)}}
	lease.Spec.LeaseDurationSeconds = &seconds
	if err := w.Create(w.t.Context(), lease); err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"))
			if err := w.Patch(ctx, lease.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil && ctx.Err() == nil {
				w.t.Errorf("renew: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	})
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// want waits for Ready with a reason, and counts "assigned connected".
func (w *world) want(gateway *v1alpha1.Gateway, reason, counts string) {
	w.t.Helper()
	looptest.Eventually(w.t, func() error {
		w.must(w.Get(w.t.Context(), client.ObjectKeyFromObject(gateway), gateway))
		ready := meta.FindStatusCondition(gateway.Status.Conditions, v1alpha1.ConditionReady)
		have := fmt.Sprint(gateway.Status.AssignedDevices, gateway.Status.ConnectedDevices)
		if ready == nil || ready.Reason != reason || have != counts || (ready.Status == metav1.ConditionTrue) != (reason == v1alpha1.ReasonServing) {
			return fmt.Errorf("counts %s (want %s), Ready %+v (want %s)", have, counts, ready, reason)
		}
		return nil
	})
}

func (w *world) secret(key client.ObjectKey) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{}
	looptest.Eventually(w.t, func() error { return w.Get(w.t.Context(), key, secret) })
	return secret
}

func TestAGatewayStartsServesExpiresAndComesBack(t *testing.T) {
	w := newWorld(t)
	gateway := w.gateway("edge")
	w.want(gateway, v1alpha1.ReasonStarting, "0 0")
	stop := w.serve(gateway)
	w.want(gateway, v1alpha1.ReasonServing, "0 0")
	stop()
	w.want(gateway, v1alpha1.ReasonLeaseExpired, "0 0")
	stop = w.serve(gateway)
	w.want(gateway, v1alpha1.ReasonServing, "0 0")

	// A restart of the controllers does not doubt what was known, and writes nothing.
	w.process.Stop()
	w.start()
	w.process.Writes.Quiet(t, 2*time.Second)
	if count := w.process.Writes.Count(w.namespace, ""); count != 0 {
		t.Errorf("a restart wrote: %s", w.process.Writes)
	}
	w.want(gateway, v1alpha1.ReasonServing, "0 0")
	stop()
	w.want(gateway, v1alpha1.ReasonLeaseExpired, "0 0")
}

func TestIdentitiesAreGoodForWhatTheyAreFor(t *testing.T) {
	w := newWorld(t)
	gateway := w.gateway("edge")
	held := func(key client.ObjectKey) *pki.Credentials {
		t.Helper()
		secret := w.secret(key)
		if secret.Annotations[pki.AnnotationExpires] == "" || secret.Labels[v1alpha1.LabelIdentity] == "" {
			t.Errorf("%s: %v %v", key, secret.Labels, secret.Annotations)
		}
		credentials, err := pki.ParseCredentials(secret.Data)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		return credentials
	}
	ofGateway := held(client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"})
	if want := pki.GatewayIdentity(w.namespace, "edge"); ofGateway.Identity != want {
		t.Errorf("identity %v", ofGateway.Identity)
	}
	names := []string{"controllers", "dashboard", "admin"}
	for _, name := range names {
		credentials := held(client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "client-" + name + "-identity"})
		if credentials.Identity != pki.ClientIdentity(name) {
			t.Errorf("identity %v", credentials.Identity)
		}
		if serving := len(credentials.Certificate.Leaf.DNSNames) > 0; serving != (name == "controllers") {
			t.Errorf("client %s serves: %v", name, serving)
		}
	}
	// The gateway may read its own Secret and no other.
	cfg, err := cluster.ForUser(v1alpha1.UserGatewayPrefix+w.namespace+":edge", v1alpha1.GroupGateways)
	if err != nil {
		t.Fatal(err)
	}
	asGateway, err := client.New(cfg, client.Options{Scheme: testcluster.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	looptest.Eventually(t, func() error {
		return asGateway.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"}, &corev1.Secret{})
	})
	if err := asGateway.Get(t.Context(), identity.AuthorityKey, &corev1.Secret{}); !apierrors.IsForbidden(err) {
		t.Errorf("a gateway reads the authority's key: %v", err)
	}

	w.must(w.Delete(t.Context(), gateway))
	looptest.Eventually(t, func() error {
		err := w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"}, &corev1.Secret{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the identity is still there: %w", err)
		}
		return nil
	})
}

func TestCountsAreTrueAndCoalesced(t *testing.T) {
	w := newWorld(t)
	gateway := w.gateway("edge")
	w.serve(gateway)
	w.want(gateway, v1alpha1.ReasonServing, "0 0")
	key := v1alpha1.GatewayKey(w.namespace, "edge")
	before := w.process.Writes.Count(w.namespace, "PATCH gateways/status")
	started := time.Now()
	const count = 60
	for i := range count {
		device := &v1alpha1.Device{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprintf("d%d", i)},
			Spec:       v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated},
		}
		w.must(w.Create(t.Context(), device))
		w.must(w.Status().Patch(t.Context(), device, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"status":{"gateway":%q}}`, key))))
		w.must(looptest.Connect(t.Context(), w, device, key, i%2 == 0))
	}
	w.want(gateway, v1alpha1.ReasonServing, fmt.Sprint(count, count/2))
	wrote, most := w.process.Writes.Count(w.namespace, "PATCH gateways/status")-before, int(time.Since(started)/countInterval)+2
	if wrote > most {
		t.Errorf("%d writes in %s", wrote, time.Since(started))
	}
}

// trustedByAll: every identity of the installation, those of other tests' gateways among them, has the authority's bundle.
func (w *world) trustedByAll(authority *corev1.Secret) error {
	var all corev1.SecretList
	w.must(w.List(w.t.Context(), &all, client.HasLabels{v1alpha1.LabelIdentity}))
	for _, secret := range all.Items {
		if secret.Annotations[pki.AnnotationBundle] != authority.Annotations[pki.AnnotationBundle] {
			return fmt.Errorf("%s/%s has another bundle", secret.Namespace, secret.Name)
		}
	}
	return nil
}

// The authority is replaced: first everybody trusts the new one, then it signs, then the leaves follow when their time
// comes. All of ten years pass in this test, by the controllers' clock.
func TestAuthoritiesReplaceOneAnother(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.forgetAuthority)
	w.gateway("edge")
	leafKey := client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"}
	first := w.secret(identity.AuthorityKey)
	oldLeaf := w.secret(leafKey)

	w.process.Stop()
	w.advance(pki.AuthorityValidity*2/3 + 24*time.Hour)
	w.start()
	looptest.Eventually(t, func() error {
		authority, leaf := w.secret(identity.AuthorityKey), w.secret(leafKey)
		bundle, err := pki.ParseBundle(leaf.Data[pki.KeyBundle])
		if err != nil {
			return err
		}
		if len(bundle.Authorities()) != 2 || len(authority.Data[pki.KeyNextCertificate]) == 0 {
			return fmt.Errorf("%d authorities in the gateway's bundle", len(bundle.Authorities()))
		}
		if string(authority.Data[pki.KeyCertificate]) != string(first.Data[pki.KeyCertificate]) {
			t.Fatal("the successor signs before everybody trusts it")
		}
		if string(leaf.Data[pki.KeyCertificate]) == string(oldLeaf.Data[pki.KeyCertificate]) {
			return fmt.Errorf("the certificate, which has expired, is not renewed")
		}
		return w.trustedByAll(authority)
	})

	w.process.Stop()
	w.advance(2 * time.Hour)
	w.start()
	looptest.Eventually(t, func() error {
		authority := w.secret(identity.AuthorityKey)
		if len(authority.Data[pki.KeyNextCertificate]) != 0 || string(authority.Data[pki.KeyCertificate]) == string(first.Data[pki.KeyCertificate]) {
			return fmt.Errorf("the successor does not sign")
		}
		bundle, err := pki.ParseBundle(authority.Data[pki.KeyBundle])
		if err != nil || len(bundle.Authorities()) != 2 {
			return fmt.Errorf("bundle: %w", err)
		}
		return nil
	})
	// A certificate that the old authority signed is good until it is due.
	leaf, err := pki.ParseCredentials(w.secret(leafKey).Data)
	w.must(err)
	if time.Until(leaf.Certificate.Leaf.NotAfter) < 0 {
		t.Error("the certificate has expired")
	}
	w.process.Writes.Quiet(t, time.Second)
}

// forgetAuthority ends a test that lived years ahead: other tests share its cluster.
func (w *world) forgetAuthority() {
	w.process.Stop()
	authority := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: identity.AuthorityKey.Namespace, Name: identity.AuthorityKey.Name}}
	if err := w.Delete(context.Background(), authority); err != nil {
		w.t.Error(err)
	}
}

// An installation that was off until even its authority had expired comes back by itself: nothing that the authority
// signed is good for anything, so its successor need not wait until all trust it.
func TestAnAuthorityThatExpiredWhileNobodyLookedIsReplacedAtOnce(t *testing.T) {
	for name, successor := range map[string]bool{"none prepared": false, "one prepared": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			t.Cleanup(w.forgetAuthority)
			w.gateway("edge")
			leafKey := client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"}
			first := w.secret(identity.AuthorityKey)
			w.secret(leafKey)
			if successor {
				w.process.Stop()
				w.advance(pki.AuthorityValidity*2/3 + 24*time.Hour)
				w.start()
				looptest.Eventually(t, func() error {
					if len(w.secret(identity.AuthorityKey).Data[pki.KeyNextCertificate]) == 0 {
						return fmt.Errorf("no successor is prepared")
					}
					return nil
				})
			}
			w.process.Stop()
			w.advance(2 * pki.AuthorityValidity)
			w.start()
			looptest.Eventually(t, func() error {
				authority := w.secret(identity.AuthorityKey)
				if string(authority.Data[pki.KeyCertificate]) == string(first.Data[pki.KeyCertificate]) || len(authority.Data[pki.KeyNextCertificate]) != 0 {
					return fmt.Errorf("the authority that expired is still there")
				}
				leaf, err := pki.ParseCredentials(w.secret(leafKey).Data)
				if err != nil {
					return err
				}
				authorities := leaf.Bundle.Authorities()
				if len(authorities) != 1 || !w.now().Before(authorities[0].NotAfter) || !w.now().Before(leaf.Certificate.Leaf.NotAfter) {
					return fmt.Errorf("the gateway trusts %d authorities, its certificate ends at %s", len(authorities), leaf.Certificate.Leaf.NotAfter)
				}
				if err := leaf.Certificate.Leaf.CheckSignatureFrom(authorities[0]); err != nil {
					return err
				}
				return w.trustedByAll(authority)
			})
		})
	}
}

// A certificate that was made while the controllers' clock was ahead is good for nothing until then.
func TestACertificateOfTheFutureIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.gateway("early")
	w.secret(client.ObjectKey{Namespace: w.namespace, Name: "gateway-early-identity"}) // so the authority is there, and of today
	w.advance(30 * 24 * time.Hour)
	w.gateway("edge")
	leafKey := client.ObjectKey{Namespace: w.namespace, Name: "gateway-edge-identity"}
	ahead := w.secret(leafKey)
	if from := ahead.Annotations[pki.AnnotationValidFrom]; from < time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339) {
		t.Fatalf("valid from %s, by a clock that is a month ahead", from)
	}
	w.process.Stop()
	w.advance(-30 * 24 * time.Hour)
	w.start()
	looptest.Eventually(t, func() error {
		leaf, err := pki.ParseCredentials(w.secret(leafKey).Data)
		if err != nil {
			return err
		}
		if from := leaf.Certificate.Leaf.NotBefore; w.now().Before(from) {
			return fmt.Errorf("the certificate is valid from %s", from)
		}
		return nil
	})
}

// asControllers is what the controllers' own role allows, no more.
func asControllers(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := cluster.ForUser(v1alpha1.UserControllers)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
