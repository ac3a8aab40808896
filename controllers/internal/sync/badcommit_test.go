// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// pushTree makes a commit of a tree on branch main, whatever the tree holds, and tells the controller.
func (w *world) pushTree(message string, tree fleettest.Tree) string {
	w.t.Helper()
	repository, err := gogit.PlainOpen(w.repo.Bare())
	if err != nil {
		w.t.Fatal(err)
	}
	hash, err := tree.Store(repository.Storer)
	if err != nil {
		w.t.Fatal(err)
	}
	who := object.Signature{Name: "Ada", Email: "ada@example.com", When: time.Now()}
	commit := &object.Commit{Author: who, Committer: who, Message: message, TreeHash: hash}
	if head, err := repository.Reference("refs/heads/main", true); err == nil {
		commit.ParentHashes = []plumbing.Hash{head.Hash()}
	}
	encoded := repository.Storer.NewEncodedObject()
	if err := commit.Encode(encoded); err != nil {
		w.t.Fatal(err)
	}
	made, err := repository.Storer.SetEncodedObject(encoded)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := repository.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", made)); err != nil {
		w.t.Fatal(err)
	}
	w.notify(made.String())
	return made.String()
}

// versions lists all that git could have changed in a namespace.
func (w *world) versions(namespace string) map[string]string {
	w.t.Helper()
	found := map[string]string{}
	for _, k := range kinds {
		list := k.list()
		options := []client.ListOption{client.InNamespace(namespace)}
		if k.name == "Namespace" {
			options = []client.ListOption{client.MatchingFields{"metadata.name": namespace}}
		}
		if err := w.kube.List(w.t.Context(), list, options...); err != nil {
			w.t.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, item := range items {
			o := item.(client.Object)
			found[k.name+"/"+o.GetName()] = o.GetResourceVersion()
		}
	}
	return found
}

func TestBadCommits(t *testing.T) {
	const namespace = "plant"
	w := newWorld(t)
	t.Cleanup(func() {
		_ = w.kube.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	})
	good := w.pushTree("base", fleettest.Base())
	w.follow()
	w.applied(good)
	before := w.versions(namespace)
	if len(before) < 7 {
		t.Fatalf("the good fleet is %v", before)
	}
	for i, bad := range fleettest.Cases() {
		t.Run(bad.Name, func(t *testing.T) {
			if bad.Huge && testing.Short() {
				t.Skip("makes a huge commit")
			}
			w.t = t
			tree := fleettest.Base()
			bad.Change(tree)
			commit := w.pushTree(bad.Name, tree)
			if bad.Want.Warning {
				w.wantWarning(commit, bad.Want)
			} else {
				w.wantRefused(commit, bad.Want)
				if after := w.versions(namespace); !maps.Equal(before, after) {
					t.Errorf("objects changed:\n%v\n%v", before, after)
				}
			}
			// The next good commit heals.
			tree = fleettest.Base()
			tree.Set("README.md", fmt.Sprint(i))
			w.applied(w.pushTree("good again", tree))
			if !bad.Want.Warning {
				if after := w.versions(namespace); !maps.Equal(before, after) {
					t.Errorf("objects changed by the good commit:\n%v\n%v", before, after)
				}
			}
			before = w.versions(namespace)
		})
	}
	w.t = t
}

// wantWarning checks that a commit with a warning is applied, or stopped by the brake when it leaves out what must not
// go by accident.
func (w *world) wantWarning(commit string, want fleettest.Want) {
	w.t.Helper()
	w.eventually("commit with a warning", func() error {
		repository := w.repository()
		if repository.Status.Fetched.Commit != commit || repository.Status.ObservedGeneration == 0 {
			return errors.New("it is not fetched")
		}
		if !slices.ContainsFunc(repository.Status.Findings, func(f api.Finding) bool { return f.Reason == want.Reason && f.Severity == "Warning" }) {
			return fmt.Errorf("findings %+v", repository.Status.Findings)
		}
		if conditionIs(repository, api.ConditionReady, metav1.ConditionFalse, api.ReasonPruneBlocked) == nil {
			return nil
		}
		return conditionIs(repository, api.ConditionReady, metav1.ConditionTrue, api.ReasonReconciled)
	})
}

// wantRefused checks the condition, the findings and the history of a refused commit.
func (w *world) wantRefused(commit string, want fleettest.Want) {
	w.t.Helper()
	status := w.refused(commit, want.Reason).Status
	ready := meta.FindStatusCondition(status.Conditions, api.ConditionReady)
	place := want.File
	if want.Line > 0 {
		place = fmt.Sprintf("%s:%d", want.File, want.Line)
	}
	if !strings.Contains(ready.Message, place) && len(status.Findings) == 1 {
		w.t.Errorf("message %q does not name %s", ready.Message, place)
	}
	if !meta.IsStatusConditionTrue(status.Conditions, api.ConditionStalled) {
		w.t.Error("it is not stalled")
	}
	if !slices.ContainsFunc(status.Findings, func(f api.Finding) bool {
		return f.Reason == want.Reason && f.File == want.File && strings.Contains(f.Message, want.Message)
	}) {
		w.t.Errorf("findings %+v, want %+v", status.Findings, want)
	}
	if head := status.History[0]; head.Commit != commit || head.Outcome != "Refused" || head.Reason != want.Reason {
		w.t.Errorf("history begins with %+v", head)
	}
	if len(status.History) > maxHistory || len(status.Findings) > maxFindings {
		w.t.Errorf("%d entries of history, %d findings", len(status.History), len(status.Findings))
	}
}
