// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet"
)

// errSuperseded ends an apply because a newer commit that can be applied, or another spec, is there.
var errSuperseded = errors.New("a newer revision is there")

// converge makes the API server hold what the newest commit says, or reports why not. A commit that was accepted and
// could not be finished is finished when the newest is refused, so that the fleet never stays between two commits. True
// means that a newer commit is there and the turn is to be taken again at once.
func (t *turn) converge(ctx context.Context, j *judged) (bool, error) {
	if j == t.applied && t.settled() {
		return false, nil
	}
	live, err := t.live(ctx, t.state)
	if err != nil {
		return false, err
	}
	p := makePlan(j.fleet, live, t.prune())
	accepted, err := t.accept(ctx, j, p)
	if err != nil {
		t.retry(api.ReasonApplyFailed, err.Error())
		return false, nil
	}
	if accepted {
		t.target = j
	}
	if !accepted {
		return t.finish(ctx)
	}
	if err := t.storeModules(j.fleet); err != nil {
		t.retry(api.ReasonStorageFailed, err.Error())
		return false, nil
	}
	if len(p.write)+len(p.remove) > progressFrom {
		t.progress(fmt.Sprintf("applying %s: %d objects to write, %d to remove", short(j.commit), len(p.write), len(p.remove)))
		if err := t.patchStatus(ctx); err != nil {
			return false, err
		}
	}
	return t.carryOut(ctx, j, p, live)
}

// finish applies what is left of the newest accepted commit, while something newer cannot be had or is refused.
func (t *turn) finish(ctx context.Context) (bool, error) {
	if t.target == nil || t.target == t.applied {
		return false, nil
	}
	live, err := t.live(ctx, t.state)
	if err != nil {
		return false, err
	}
	return t.carryOut(ctx, t.target, makePlan(t.target.fleet, live, t.prune()), live)
}

func (t *turn) prune() bool { return t.repository.Spec.Prune == nil || *t.repository.Spec.Prune }

// accept says whether a commit may be applied by a plan, and reports why not.
func (t *turn) accept(ctx context.Context, j *judged, p plan) (bool, error) {
	findings, err := t.findings(ctx, j)
	if err != nil {
		return false, err
	}
	t.repository.Status.Findings = firstFindings(findings)
	if reason, message := verdict(j.fleet, findings); reason != "" {
		t.refuse(j, reason, message)
		return false, nil
	}
	if brake := fleet.PruneBrake(p.remove, p.before, j.message); brake.Blocked {
		t.refuse(j, api.ReasonPruneBlocked, brake.Message)
		return false, nil
	}
	return true, nil
}

// carryOut applies a plan while it watches for a newer commit, and reports the outcome.
func (t *turn) carryOut(ctx context.Context, j *judged, p plan, live map[fleet.ID]liveObject) (bool, error) {
	if len(p.write)+len(p.remove) > 0 && j != t.applied {
		// Until the last write the API server holds neither commit, and nothing is put back to the older one.
		t.previous, t.applied = cmp.Or(t.applied, t.previous), nil
	}
	within, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		t.watch(within, j, cancel)
	}()
	out, err := t.apply(within, t.state, j, p, live)
	cancel(nil)
	<-watched
	switch {
	case errors.Is(err, errSuperseded):
		t.enter(t.entry(j, "Superseded", api.ReasonNewerRevision, "a newer revision took over before this one was finished", out))
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	if err := errors.Join(err, out.err()); err != nil {
		message := shorten(err.Error(), 1000)
		t.enter(t.entry(j, "Failed", api.ReasonApplyFailed, message, out))
		t.retry(api.ReasonApplyFailed, message)
		return false, nil
	}
	t.done(j, out)
	return false, nil
}

// watch looks for a newer commit whenever the Repository is touched while an apply runs, and every interval. A commit
// that can be applied, or another spec, ends the apply; one that would be refused does not.
func (t *turn) watch(ctx context.Context, j *judged, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(max(t.repository.Spec.Interval.Duration, time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-t.poke:
		}
		if t.respecified() {
			cancel(errSuperseded)
			return
		}
		newest, err := t.fetch(ctx)
		if err != nil || newest.hash.String() == j.commit {
			continue
		}
		next, err := t.judgeTree(ctx, newest, j.fleet)
		if err != nil || next.fleet.Refused() {
			continue
		}
		live, err := t.live(ctx, t.state)
		if err != nil {
			continue
		}
		p := makePlan(next.fleet, live, t.prune())
		if !fleet.PruneBrake(p.remove, p.before, next.message).Blocked {
			cancel(errSuperseded)
			return
		}
	}
}

// findings are the judgement's, and those that need the cluster.
func (t *turn) findings(ctx context.Context, j *judged) ([]api.Finding, error) {
	findings := j.fleet.Findings
	if j.fleet.Refused() {
		return findings, nil
	}
	for _, o := range undeclared(j.fleet) {
		namespace, err := t.direct(ctx, fleet.ID{Kind: "Namespace", Name: o.ID.Namespace})
		if err != nil {
			return nil, err
		}
		if namespace == nil || namespace.(*corev1.Namespace).Status.Phase == corev1.NamespaceTerminating {
			findings = append([]api.Finding{objectFinding(o, api.ReasonUnknownReference,
				fmt.Sprintf("namespace %s does not exist: add a Namespace object to the commit, or make it in the cluster", o.ID.Namespace))}, findings...)
		}
	}
	return findings, nil
}

// verdict is the reason and message for a commit that is refused.
func verdict(f *fleet.Fleet, findings []api.Finding) (reason, message string) {
	if f.Refused() {
		return f.Verdict()
	}
	for _, finding := range findings {
		if finding.Severity == fleet.SeverityError {
			return finding.Reason, fleet.Text(finding)
		}
	}
	return "", ""
}

const maxFindings = 20

func firstFindings(findings []api.Finding) []api.Finding {
	findings = slices.Clone(findings[:min(len(findings), maxFindings)])
	for i := range findings {
		findings[i].Message = shorten(findings[i].Message, 1024)
	}
	return findings
}

// storeModules puts the modules of a commit into the store, before anything names them.
func (t *turn) storeModules(f *fleet.Fleet) error {
	for digest := range f.Modules {
		if t.options.Store.Touch(digest) {
			continue
		}
		content, err := f.ReadModule(digest)
		if err != nil {
			return err
		}
		if _, err := t.options.Store.Put(content); err != nil {
			return err
		}
	}
	return nil
}

// moduleGrace keeps young modules in the store whatever names them. It is a variable for the tests' sake.
var moduleGrace = 10 * time.Minute

// collect removes the modules that no Instance, no remembered revision and no commit in work names.
func (t *turn) collect(ctx context.Context) error {
	keep := map[string]bool{}
	var repositories api.RepositoryList
	if err := t.client.List(ctx, &repositories, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range repositories.Items {
		if repositories.Items[i].UID != t.repository.UID { // the cache may be behind this turn
			keepHistory(keep, repositories.Items[i].Status.History)
		}
	}
	keepHistory(keep, t.repository.Status.History)
	var instances api.InstanceList
	if err := t.client.List(ctx, &instances, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range instances.Items {
		keep[instances.Items[i].Spec.Digest] = true
		if artifact := instances.Items[i].Spec.Artifact; artifact != nil {
			keep[artifact.Digest] = true
		}
	}
	var applications api.ApplicationList
	if err := t.client.List(ctx, &applications, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range applications.Items {
		keep[applications.Items[i].Spec.Module.Digest] = true
	}
	_, err := t.options.Store.GC(func(digest string) bool { return keep[digest] }, t.now().Add(-moduleGrace))
	return err
}

func keepHistory(keep map[string]bool, history []api.HistoryEntry) {
	for _, entry := range history {
		for _, digest := range entry.Modules {
			keep[digest] = true
		}
	}
}

// repair puts back what somebody else changed of the applied commit's objects.
func (t *turn) repair(ctx context.Context) error {
	status := &t.repository.Status
	if t.applied == nil {
		return nil
	}
	lines, err := t.mend(ctx, t.state, t.repository)
	if len(lines) > 0 {
		t.drifted = t.now()
		t.reportDrift(lines)
	}
	if err != nil {
		t.retry(api.ReasonApplyFailed, shorten(err.Error(), 1000))
		return nil
	}
	t.clearDrift(status)
	return nil
}
