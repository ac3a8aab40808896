// SPDX-License-Identifier: Apache-2.0

package forge

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// statuses are what is to be said of a Repository's commits now. They are pure functions of its status and that of its
// applications.
func statuses(r *api.Repository, applications []*api.Application) []Status {
	var out []Status
	if r.Status.Fetched != nil {
		out = append(out, syncStatus(r))
	}
	if applied := r.Status.Applied; applied != nil {
		s := rolloutStatus(applications)
		s.Commit = applied.Commit
		out = append(out, s)
	}
	return out
}

// syncStatus says whether the newest commit is applied.
func syncStatus(r *api.Repository) Status {
	s := Status{Commit: r.Status.Fetched.Commit, Context: ContextSync, State: StatePending, Description: "not looked at yet"}
	ready := meta.FindStatusCondition(r.Status.Conditions, api.ConditionReady)
	if ready == nil {
		return s
	}
	s.Description = printable(ready.Message)
	applied := r.Status.Applied != nil && r.Status.Applied.Commit == s.Commit
	switch {
	case ready.Status == metav1.ConditionTrue && applied:
		s.State = StateSuccess
	case ready.Reason == api.ReasonSuspended && applied:
		s.State = StateSuccess
	case refused(r, s.Commit):
		s.State = StateFailure
	}
	return s
}

// refused says that the commit's own content is the reason why it is not applied.
func refused(r *api.Repository, commit string) bool {
	return slices.ContainsFunc(r.Status.History, func(e api.HistoryEntry) bool { return e.Commit == commit && e.Outcome == "Refused" })
}

// rolloutStatus says how far the applied commit has got: "7/10 devices".
func rolloutStatus(applications []*api.Application) Status {
	s := Status{Context: ContextRollout, State: StateSuccess, Description: "no application"}
	if len(applications) == 0 {
		return s
	}
	slices.SortFunc(applications, func(a, b *api.Application) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	done := 0
	var worst *api.Application
	for _, a := range applications {
		state := rolloutOf(a)
		if state == StateSuccess {
			done++
		}
		if worst == nil || order(state) > order(rolloutOf(worst)) {
			worst = a
		}
	}
	s.State = rolloutOf(worst)
	s.Description = fmt.Sprintf("%d/%d devices", worst.Status.Running, worst.Status.Target)
	if len(applications) > 1 {
		s.Description += fmt.Sprintf(" run %s/%s; %d/%d applications are rolled out", worst.Namespace, worst.Name, done, len(applications))
		if done == len(applications) {
			s.Description = fmt.Sprintf("%s of %d applications run", total(applications), len(applications))
		}
	}
	if ready := meta.FindStatusCondition(worst.Status.Conditions, api.ConditionReady); s.State == StateFailure && ready != nil {
		s.Description += ": " + printable(ready.Message)
	}
	return s
}

func total(applications []*api.Application) string {
	var running, target int32
	for _, a := range applications {
		running, target = running+a.Status.Running, target+a.Status.Target
	}
	return fmt.Sprintf("%d/%d instances", running, target)
}

func order(state string) int {
	return slices.Index([]string{StateSuccess, StatePending, StateFailure}, state)
}

// rolloutOf is the state of one application's rollout. One that is suspended has done what it should.
func rolloutOf(a *api.Application) string {
	ready := meta.FindStatusCondition(a.Status.Conditions, api.ConditionReady)
	switch {
	case ready == nil || a.Status.ObservedGeneration < a.Generation:
		return StatePending
	case ready.Status == metav1.ConditionTrue, ready.Reason == api.ReasonSuspended:
		return StateSuccess
	case meta.IsStatusConditionTrue(a.Status.Conditions, api.ConditionStalled), ready.Reason == api.ReasonFailed:
		return StateFailure
	}
	return StatePending
}
