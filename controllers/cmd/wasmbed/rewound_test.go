// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/internal/testcluster"
)

// TestRewound: a revision that sinks is noticed over answers that fail, and a past that was another one; a server that goes
// on, forgets or does not answer has not been rewound.
func TestRewound(t *testing.T) {
	away, expired := errors.New("away"), apierrors.NewResourceExpired("compacted")
	one, two := map[string]string{"edge": "1"}, map[string]string{"edge": "2"}
	type answer struct {
		at       uint64 // that is asked for
		revision uint64
		leases   map[string]string
		err      error
	}
	for sentence, test := range map[string]struct {
		answers []answer
		want    string
	}{
		"the revision sinks": {[]answer{
			{0, 5, one, nil}, {0, 5, one, nil}, {0, 0, nil, away}, {0, 9, two, nil}, {5, 5, one, nil}, {0, 0, nil, away}, {0, 8, two, nil},
		}, "its revision was 9 and is 8"},
		"the past is another one": {[]answer{
			{0, 5, two, nil}, {0, 9, two, nil}, {5, 5, one, nil},
		}, "at revision 5 its Leases were map[edge:2] and are said to have been map[edge:1]"},
		"the past cannot be read at once": {[]answer{
			{0, 5, two, nil}, {0, 9, two, nil}, {5, 0, nil, away}, {0, 10, two, nil}, {5, 5, one, nil},
		}, "at revision 5 its Leases were map[edge:2] and are said to have been map[edge:1]"},
		"it goes on, and forgets its past": {[]answer{
			{0, 5, one, nil}, {0, 9, two, nil}, {5, 5, one, nil}, {0, 12, two, nil}, {9, 0, nil, expired}, {0, 13, one, nil}, {12, 12, two, nil},
		}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				asked := 0
				got := untilRewound(ctx, func(_ context.Context, at uint64) (past, error) {
					if asked == len(test.answers) {
						cancel()
						return past{}, away
					}
					a := test.answers[asked]
					asked++
					if a.at != at {
						t.Errorf("question %d was about revision %d, want %d", asked, at, a.at)
					}
					return past{a.revision, a.leases}, a.err
				}, time.Second)
				if got != test.want || asked != len(test.answers) {
					t.Errorf("%q after %d questions, want %q after %d", got, asked, test.want, len(test.answers))
				}
			})
		})
	}
}

// TestRewoundServer: an API server comes back from an older copy and gets as far again before anybody asks; one that is only
// killed does not start its processes anew.
func TestRewoundServer(t *testing.T) {
	cluster, err := testcluster.New()
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Remove()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	client := func(user string, groups ...string) coordination.LeaseInterface {
		config, err := cluster.ForUser(user, groups...)
		must(err)
		client, err := coordination.NewForConfig(config)
		must(err)
		return client.Leases(v1alpha1.SystemNamespace)
	}
	edge := client(v1alpha1.UserGatewayPrefix+"plant:edge", v1alpha1.GroupGateways)
	_, err = edge.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "gateway-plant.edge"}}, metav1.CreateOptions{})
	must(err)
	renew := func() {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, time.Now().UTC().Format(metav1.RFC3339Micro))
		_, err := edge.Patch(t.Context(), "gateway-plant.edge", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		must(err)
	}

	// Each question waits until the test lets it through.
	ask, asked := make(chan struct{}), make(chan past)
	done := make(chan string, 1)
	read := pastReader(client(v1alpha1.UserSimulator))
	go func() {
		done <- untilRewound(t.Context(), func(ctx context.Context, at uint64) (past, error) {
			if at > 0 {
				return read(ctx, at)
			}
			<-ask
			p, err := read(ctx, at)
			asked <- p
			return p, err
		}, time.Millisecond)
	}()
	question := func() past {
		t.Helper()
		ask <- struct{}{}
		p := <-asked
		if p.revision == 0 || len(p.leases) != 1 {
			t.Fatalf("what is read: %+v", p)
		}
		return p
	}

	question()
	renew()
	question()
	cluster.Kill()
	older := t.TempDir()
	must(os.RemoveAll(filepath.Join(cluster.Data(), "run"))) // sockets
	must(os.CopyFS(older, os.DirFS(cluster.Data())))
	must(cluster.Start())
	renew()
	before := question()
	renew()
	if after := question(); after.revision <= before.revision {
		t.Fatalf("revision %d after %d", after.revision, before.revision)
	}
	last := question()
	cluster.Kill()
	must(os.RemoveAll(cluster.Data()))
	must(os.CopyFS(cluster.Data(), os.DirFS(older)))
	must(cluster.Start())
	for revision := uint64(0); revision <= last.revision; {
		renew()
		p, err := read(t.Context(), 0)
		must(err)
		revision = p.revision
	}
	ask <- struct{}{}
	<-asked
	select {
	case why := <-done:
		if !strings.Contains(why, "its Leases were") {
			t.Errorf("it was taken for rewound because %s", why)
		}
	case ask <- struct{}{}:
		t.Error("it was not noticed")
		<-asked
	}
}
