// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// maxHistory is how many revisions the status remembers.
const maxHistory = 10

// maxModules is how many modules a history entry names.
const maxModules = 256

func short(commit string) string { return commit[:min(12, len(commit))] }

func (t *turn) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&t.repository.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: shorten(message, 2000), ObservedGeneration: t.repository.Generation,
	})
}

func (t *turn) drop(kind string) { meta.RemoveStatusCondition(&t.repository.Status.Conditions, kind) }

func (t *turn) ready(message string) {
	t.condition(api.ConditionReady, metav1.ConditionTrue, api.ReasonReconciled, message)
	t.drop(api.ConditionReconciling)
	t.drop(api.ConditionStalled)
}

// notReady reports what keeps the newest commit from being applied, and records an event when that is news.
func (t *turn) notReady(reason, message string) {
	old := meta.FindStatusCondition(t.before.Conditions, api.ConditionReady)
	if old == nil || old.Status != metav1.ConditionFalse || old.Reason != reason || old.Message != shorten(message, 2000) {
		t.notes = append(t.notes, note{corev1.EventTypeWarning, reason, "Sync", message})
	}
	t.condition(api.ConditionReady, metav1.ConditionFalse, reason, message)
	t.drop(api.ConditionReconciling)
	t.drop(api.ConditionStalled)
}

// stall reports what somebody must change something about.
func (t *turn) stall(reason, message string) {
	t.notReady(reason, message)
	t.condition(api.ConditionStalled, metav1.ConditionTrue, reason, message)
}

func (t *turn) progress(message string) {
	t.condition(api.ConditionReady, metav1.ConditionFalse, api.ReasonProgressing, message)
	t.condition(api.ConditionReconciling, metav1.ConditionTrue, api.ReasonProgressing, message)
	t.drop(api.ConditionStalled)
}

// suspend reports that nothing is followed, and forgets what would be untrue when it goes on.
func (t *turn) suspend() {
	message := "suspended; nothing is applied yet"
	if applied := t.repository.Status.Applied; applied != nil {
		message = fmt.Sprintf("suspended at %s %q; set spec.suspend to false to go on", short(applied.Commit), applied.Subject)
	}
	t.condition(api.ConditionReady, metav1.ConditionFalse, api.ReasonSuspended, message)
	t.condition(api.ConditionStalled, metav1.ConditionTrue, api.ReasonSuspended, message)
	t.drop(api.ConditionReconciling)
}

// refuse reports a commit of which nothing is applied.
func (t *turn) refuse(j *judged, reason, message string) {
	t.failures, t.blocked = 0, true
	status := &t.repository.Status
	t.enter(api.HistoryEntry{Revision: *j.revision.DeepCopy(), Outcome: "Refused", Reason: reason, Message: shorten(message, 512)})
	keeps := "nothing is applied yet"
	if status.Applied != nil {
		keeps = fmt.Sprintf("the fleet stays at %s", short(status.Applied.Commit))
	}
	t.stall(reason, fmt.Sprintf("commit %s is refused, %s: %s", short(j.commit), keeps, message))
}

// entry makes a history entry of a commit that was, at least in part, applied.
func (t *turn) entry(j *judged, result, reason, message string, out *outcome) api.HistoryEntry {
	changes := out.counts
	entry := api.HistoryEntry{
		Revision: *j.revision.DeepCopy(), Outcome: result, Reason: reason, Message: shorten(message, 512),
		Changes: &changes, Changed: slices.Clone(out.changed),
	}
	slices.SortFunc(entry.Changed, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
	for digest := range j.fleet.Modules {
		entry.Modules = append(entry.Modules, digest)
	}
	slices.Sort(entry.Modules)
	entry.Modules = entry.Modules[:min(len(entry.Modules), maxModules)]
	return entry
}

// enter puts an entry at the head of the history, or in the place of the commit's last attempt, with what all its
// attempts changed.
func (t *turn) enter(entry api.HistoryEntry) {
	history := slices.Clone(t.repository.Status.History)
	for i, old := range history {
		if old.Commit != entry.Commit || old.Outcome == "Applied" {
			continue
		}
		if old.Changes != nil && entry.Changes != nil {
			entry.Changes.Created += old.Changes.Created
			entry.Changes.Changed += old.Changes.Changed
			entry.Changes.Removed += old.Changes.Removed
			entry.Changes.Unchanged = max(0, entry.Changes.Unchanged-old.Changes.Created-old.Changes.Changed)
			entry.Changed = append(slices.Clone(old.Changed), entry.Changed...)
			entry.Changed = entry.Changed[:min(len(entry.Changed), maxChangedNames)]
		}
		history[i] = entry
		t.repository.Status.History = history
		return
	}
	history = append([]api.HistoryEntry{entry}, history...)
	t.repository.Status.History = history[:min(len(history), maxHistory)]
}

// done reports an applied commit.
func (t *turn) done(j *judged, out *outcome) {
	status := &t.repository.Status
	t.applied, t.previous = j, nil
	counts := j.fleet.Counts()
	status.Objects = &counts
	isNew := status.Applied == nil || status.Applied.Commit != j.commit
	if wrote := out.counts.Created+out.counts.Changed+out.counts.Removed > 0; isNew || wrote {
		now := microTime(t.now())
		entry := t.entry(j, "Applied", "", "", out)
		entry.AppliedAt = &now
		t.enter(entry)
		if isNew {
			status.Applied = entry.Revision.DeepCopy()
		}
		t.notes = append(t.notes, note{corev1.EventTypeNormal, "Applied", "Apply", fmt.Sprintf("commit %s %q: %d created, %d changed, %d removed, %d unchanged",
			short(j.commit), j.revision.Subject, out.counts.Created, out.counts.Changed, out.counts.Removed, out.counts.Unchanged)})
		t.sweep = true
	}
	if t.blocked {
		return
	}
	t.failures = 0
	t.ready(fmt.Sprintf("applied %s %q: %d devices, %d applications, %d gateways",
		short(j.commit), j.revision.Subject, counts.Devices, counts.Applications, counts.Gateways))
}

// settled says that the status tells of the applied commit and of the present spec.
func (t *turn) settled() bool {
	condition := meta.FindStatusCondition(t.repository.Status.Conditions, api.ConditionReady)
	return t.failures == 0 && condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == t.repository.Generation
}

// reportDrift says what was put back.
func (t *turn) reportDrift(lines []string) {
	slices.Sort(lines)
	message := strings.Join(lines[:min(len(lines), 3)], "; ")
	if more := len(lines) - 3; more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	t.condition(api.ConditionDrifted, metav1.ConditionTrue, "PutBack", message)
	t.notes = append(t.notes, note{corev1.EventTypeWarning, api.ConditionDrifted, "PutBack", message})
}

// clearDrift takes the condition away when the last change is long ago.
func (t *turn) clearDrift(status *api.RepositoryStatus) {
	condition := meta.FindStatusCondition(status.Conditions, api.ConditionDrifted)
	if condition == nil {
		return
	}
	if t.drifted.IsZero() { // a restart: the condition's own time is all there is
		t.drifted = condition.LastTransitionTime.Time
	}
	if t.now().Sub(t.drifted) >= driftShown {
		t.drop(api.ConditionDrifted)
		t.drifted = time.Time{}
	}
}
