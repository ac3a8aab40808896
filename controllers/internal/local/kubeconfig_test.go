// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/internal/testcluster"
)

// TestACertificateOfTheFutureIsReplaced: it was issued while the clock was ahead, and the API server does not take it yet.
func TestACertificateOfTheFutureIsReplaced(t *testing.T) {
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(testCluster.AdminKubeconfig()), name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	cert, _, err := pki.KubeClient(read("ca.crt"), read("ca.key"), "somebody", nil, componentValidity)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for after, good := range map[time.Duration]bool{
		-pki.Backdate - time.Minute: false, 0: true, componentValidity - componentLeastLeft - time.Minute: true, componentValidity - componentLeastLeft + time.Minute: false,
	} {
		if err := stillGood(cert, read("ca.crt"), now.Add(after)); (err == nil) != good {
			t.Errorf("after %s: %v", after, err)
		}
	}
}

// A process, and `up` itself, may run for longer than the certificate lives that it started with.
func TestProcessesGoOnWithRenewedCertificates(t *testing.T) {
	every := transport.CertCallbackRefreshDuration
	transport.CertCallbackRefreshDuration = 100 * time.Millisecond
	defer func() { transport.CertCallbackRefreshDuration = every }()
	admin := testCluster.AdminKubeconfig()
	c := cluster{home: newHome(t), admin: admin, embedded: true}
	if err := os.MkdirAll(c.home.Cluster(), 0o700); err != nil {
		t.Fatal(err)
	}
	authority := map[string][]byte{}
	for _, name := range []string{"ca.crt", "ca.key"} {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(admin), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(c.home.Cluster(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		authority[name] = content
	}
	everything, err := testCluster.Client()
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{Options: Options{Home: c.home}, cluster: c, client: everything, log: logr.Discard()}

	own, err := c.restConfig()
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]*rest.Config{"up": own}
	for _, who := range components[:2] {
		path, err := c.kubeconfig(who)
		if err != nil {
			t.Fatal(err)
		}
		if configs[who.part], err = clientcmd.BuildConfigFromFlags("", path); err != nil {
			t.Fatal(err)
		}
	}
	user := component{part: "up", user: "wasmbed:admin", groups: []string{"system:masters"}}
	for _, who := range append([]component{user}, components[:2]...) {
		cert, key, err := pki.KubeClient(authority["ca.crt"], authority["ca.key"], who.user, who.groups, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeCertificate(c.home.ComponentCertificate(who.part), cert, key); err != nil {
			t.Fatal(err)
		}
	}
	read := map[string]func(context.Context) error{}
	for part, config := range configs {
		objects, err := client.New(config, client.Options{Scheme: testcluster.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		read[part] = func(ctx context.Context) error { return objects.List(ctx, &v1alpha1.GatewayList{}) }
	}
	for part, try := range read {
		if err := poll(t.Context(), time.Minute, func(ctx context.Context) error {
			err := try(ctx)
			switch {
			case apierrors.IsUnauthorized(err):
				return nil
			case err == nil:
				return fmt.Errorf("%s is let in with a certificate that has expired", part)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.renewCertificates(t.Context()); err != nil {
		t.Fatal(err)
	}
	for part, try := range read {
		if err := poll(t.Context(), time.Minute, try); err != nil {
			t.Errorf("%s, with a certificate that was renewed: %v", part, err)
		}
	}
}
