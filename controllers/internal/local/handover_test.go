// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/internal/testcluster"
)

var testCluster *testcluster.Cluster

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	testcluster.Main(m, &testCluster)
}

// After a time when everything was off, what is handed over first has expired. What the controllers make of it must not wait
// for the next look at a certificate that is good.
func TestACertificateThatHasExpiredIsLookedAtAgainSoon(t *testing.T) {
	objects, err := testCluster.Client()
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
		pair, err := authority.Issue(pki.Request{Identity: pki.ClientIdentity("dashboard")}, at)
		if err != nil {
			t.Fatal(err)
		}
		return pki.SecretData(pair, bundle)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: pki.SecretName(pki.ClientIdentity("dashboard"))},
		Type:       corev1.SecretTypeTLS, Data: issued(long),
	}
	if err := objects.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := objects.Delete(context.Background(), secret); err != nil {
			t.Error(err)
		}
	}()
	i := &installation{Options: Options{Home: newHome(t)}, log: logr.Discard(), client: objects}
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { i.handIdentity(ctx) })
	defer background.Wait()
	defer cancel()
	handed := func() {
		t.Helper()
		file := i.Home.Data("dashboard", pki.KeyCertificate)
		if err := poll(t.Context(), time.Minute, func(context.Context) error {
			text, err := os.ReadFile(file)
			if err == nil && string(text) != string(secret.Data[pki.KeyCertificate]) {
				err = fmt.Errorf("%s holds another certificate", file)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	handed()
	secret.Data = issued(time.Now())
	if err := objects.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	handed()
}
