// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet/fleettest"
)

// badCommits pushes every commit of the table that also drives the judgement, `wasmbed validate` and the sync
// controller: nothing changes, the Repository says why, and the next good commit heals it.
func (s *stack) badCommits(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source.git")
	repository, err := git.PlainInit(source, true)
	if err != nil {
		t.Fatal(err)
	}
	push := func(tree fleettest.Tree, message string) string {
		t.Helper()
		commit, err := tree.Commit(repository.Storer, message)
		if err != nil {
			t.Fatal(err)
		}
		if err := repository.Storer.SetReference(plumbing.NewHashReference("refs/heads/main", commit)); err != nil {
			t.Fatal(err)
		}
		s.must(source, "git", "push", "-q", "-f", s.home.FleetRepository(), "main")
		return commit.String()
	}
	good := push(fleettest.Base(), "A small good fleet\n\n"+v1alpha1.TrailerAllowPrune+": 100\n")
	s.readyWith(good, "True", v1alpha1.ReasonReconciled, "")
	eventually(t, "two applications on three devices", func() error {
		if n := len(s.instances()); n != 6 {
			return fmt.Errorf("%d instances", n)
		}
		return nil
	})
	before := s.generations()
	for _, c := range fleettest.Cases() {
		if c.Huge || c.Want.Warning {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			s.t = t
			tree := fleettest.Base()
			c.Change(tree)
			s.readyWith(push(tree, c.Name), "False", c.Want.Reason, c.Want.File)
			if after := s.generations(); after != before {
				t.Errorf("objects changed:\n%s\nwere\n%s", after, before)
			}
		})
	}
	s.t = t
	healed := fleettest.Base()
	healed.Replace("devices/a.yaml", "{site: hall}", "{site: hall, healed: yes-it-is}")
	s.readyWith(push(healed, "A good commit again"), "True", v1alpha1.ReasonReconciled, "")
	if s.generations() == before {
		t.Error("the good commit changed nothing")
	}
}

// readyWith waits until the Repository has judged a commit so.
func (s *stack) readyWith(commit, ready, reason, message string) {
	s.t.Helper()
	eventually(s.t, "judgement of "+commit[:8], func() error {
		repository := s.repository()
		fetched := repository.Status.Fetched
		condition := meta.FindStatusCondition(repository.Status.Conditions, v1alpha1.ConditionReady)
		if fetched == nil || fetched.Commit != commit || condition == nil {
			return fmt.Errorf("fetched is %+v", fetched)
		}
		if string(condition.Status) != ready || condition.Reason != reason || !strings.Contains(condition.Message, message) {
			return fmt.Errorf("Ready is %s %s: %s; want %s %s with %q", condition.Status, condition.Reason, condition.Message, ready, reason, message)
		}
		return nil
	})
}

// generations lists what git owns with its spec's generation and labels.
func (s *stack) generations() string {
	s.t.Helper()
	var b strings.Builder
	for _, list := range []client.ObjectList{&v1alpha1.GatewayList{}, &v1alpha1.DeviceList{}, &v1alpha1.ApplicationList{}, &v1alpha1.InstanceList{}} {
		if err := s.client().List(s.t.Context(), list); err != nil {
			s.t.Fatal(err)
		}
		objects, err := meta.ExtractList(list)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range objects {
			object := o.(client.Object)
			fmt.Fprintf(&b, "%T %s %s %d %v\n", object, object.GetName(), object.GetUID(), object.GetGeneration(), object.GetLabels())
		}
	}
	return b.String()
}

// foreignRepositories follows repositories that cannot be followed.
func (s *stack) foreignRepositories(t *testing.T) {
	for name, c := range map[string]struct {
		url, branch, reason string
	}{
		"an unreachable remote":   {"http://127.0.0.1:1/fleet.git", "main", v1alpha1.ReasonRemoteUnreachable},
		"a repository not there":  {"file://" + filepath.Join(t.TempDir(), "none.git"), "main", v1alpha1.ReasonRemoteUnreachable},
		"a branch that is gone":   {"file://" + s.home.FleetRepository(), "gone", v1alpha1.ReasonRevisionNotFound},
		"a secret that is absent": {"https://127.0.0.1:1/fleet.git", "main", v1alpha1.ReasonInvalidSecret},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			repository := &v1alpha1.Repository{Spec: v1alpha1.RepositorySpec{URL: c.url, Branch: c.branch}}
			repository.Namespace, repository.Name = v1alpha1.SystemNamespace, "foreign"
			if c.reason == v1alpha1.ReasonInvalidSecret {
				repository.Spec.SecretRef = &v1alpha1.LocalReference{Name: "absent"}
			}
			before := s.generations()
			if err := s.client().Create(t.Context(), repository); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.client().Delete(t.Context(), repository); err != nil {
					t.Error(err)
				}
			}()
			eventually(t, c.reason, func() error {
				now := &v1alpha1.Repository{}
				if err := s.client().Get(t.Context(), client.ObjectKeyFromObject(repository), now); err != nil {
					return err
				}
				condition := meta.FindStatusCondition(now.Status.Conditions, v1alpha1.ConditionReady)
				if condition == nil || condition.Status != "False" || condition.Reason != c.reason || condition.Message == "" {
					return fmt.Errorf("Ready is %+v", condition)
				}
				return nil
			})
			if after := s.generations(); after != before {
				t.Errorf("objects changed:\n%s\nwere\n%s", after, before)
			}
		})
	}
}
