// SPDX-License-Identifier: Apache-2.0

// Package forge connects Repositories with the forges that host them: it reports on commits (wasmbed/sync: is it applied;
// wasmbed/rollout: on how many devices it runs) to GitHub, GitLab, Gitea and Forgejo and to webhooks, and takes webhooks
// that say that something was pushed.
//
// A report is made when it differs from the last one. Tokens stay in their Secrets and in the one header that they are for.
package forge

// +kubebuilder:rbac:groups=wasmbed.dev,resources=repositories,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=wasmbed.dev,resources=applications,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

// Waits. They are variables for the tests' sake.
var (
	// pace is how long the same state of a commit is not reported again with other words.
	pace = 10 * time.Second
	// slowPace is the pace after manyReports of one commit: GitHub takes a thousand statuses of a commit in each context.
	slowPace = 5 * time.Minute
	// flapPace is how long nothing at all is said again about a commit in one context.
	flapPace = 2 * time.Second
	// refusedWait is when a report that was refused is tried again.
	refusedWait = 10 * time.Minute
)

// SecretToken and SecretHook are the keys of Secrets: an API token, and what webhooks are signed with.
const (
	SecretToken = "token"
	SecretHook  = "secret"
)

// manyReports of one commit are made at pace.
const manyReports = 400

type reconciler struct {
	client client.Client
	reader client.Reader
	events events.EventRecorder
	now    func() time.Time

	mu   sync.Mutex
	sent map[sentKey]sent
}

// sentKey is a place that is told one of the statuses of a Repository.
type sentKey struct {
	repository types.NamespacedName
	place      string // "forge", or the number of a webhook
	context    string
}

// sent is what a place was told last.
type sent struct {
	status Status
	// address that it was sent to: another one is told anew.
	address string
	at      time.Time
	// reports about this commit, this one included.
	reports int
	// refusedAt is set when the place did not take it.
	refusedAt time.Time
}

// Setup adds the reporter to a manager.
func Setup(mgr ctrl.Manager) error {
	r := &reconciler{client: mgr.GetClient(), reader: mgr.GetAPIReader(), events: mgr.GetEventRecorder("wasmbed-forge"), now: time.Now, sent: map[sentKey]sent{}}
	c, err := controller.New("forge", mgr, controller.Options{
		Reconciler: r, MaxConcurrentReconciles: 2,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Second, 5*time.Minute),
	})
	if err != nil {
		return fmt.Errorf("setting up forge: %w", err)
	}
	if err := c.Watch(source.Kind(mgr.GetCache(), client.Object(&api.Repository{}), &handler.EnqueueRequestForObject{})); err != nil {
		return fmt.Errorf("setting up forge: %w", err)
	}
	owner := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		labels := o.GetLabels()
		if labels[api.LabelRepositoryName] == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: labels[api.LabelRepositoryNamespace], Name: labels[api.LabelRepositoryName]}}}
	})
	if err := c.Watch(source.Kind(mgr.GetCache(), client.Object(&api.Application{}), owner)); err != nil {
		return fmt.Errorf("setting up forge: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	repository := &api.Repository{}
	err := r.client.Get(ctx, request.NamespacedName, repository)
	if apierrors.IsNotFound(err) {
		r.forget(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil || repository.Spec.Forge == nil && len(repository.Spec.Webhooks) == 0 {
		return ctrl.Result{}, err
	}
	var list api.ApplicationList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy, client.MatchingLabels{
		api.LabelRepositoryName: request.Name, api.LabelRepositoryNamespace: request.Namespace,
	}); err != nil {
		return ctrl.Result{}, err
	}
	applications := make([]*api.Application, len(list.Items))
	for i := range list.Items {
		applications[i] = &list.Items[i]
	}
	var wait time.Duration
	var failed error
	for _, status := range statuses(repository, applications) {
		for _, p := range places(repository) {
			again, err := r.tell(ctx, repository, p, status)
			var patience later
			if errors.As(err, &patience) && patience.wait > 0 {
				again, err = patience.wait, nil
			}
			if again > 0 && (wait == 0 || again < wait) {
				wait = again
			}
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return ctrl.Result{}, failed
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

func (r *reconciler) forget(repository types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.sent {
		if key.repository == repository {
			delete(r.sent, key)
		}
	}
}

// place is who is told: the forge, or a webhook.
type place struct {
	name    string
	address string
	hook    *api.Webhook
}

func places(repository *api.Repository) []place {
	var out []place
	if f := repository.Spec.Forge; f != nil {
		out = append(out, place{name: "forge", address: fmt.Sprintf("%s %s %s %s", f.Provider, f.URL, f.Project, repository.Spec.URL)})
	}
	for i := range repository.Spec.Webhooks {
		out = append(out, place{name: strconv.Itoa(i), address: repository.Spec.Webhooks[i].URL, hook: &repository.Spec.Webhooks[i]})
	}
	return out
}

// tell reports a status to a place when it is news there. It returns when to come back.
func (r *reconciler) tell(ctx context.Context, repository *api.Repository, p place, status Status) (time.Duration, error) {
	key := sentKey{client.ObjectKeyFromObject(repository), p.name, status.Context}
	now := r.now()
	r.mu.Lock()
	last := r.sent[key]
	r.mu.Unlock()
	reports := 1
	if last.address == p.address && last.status.Commit == status.Commit && last.status.Context == status.Context {
		if !last.refusedAt.IsZero() && last.status == status {
			if rest := last.refusedAt.Add(refusedWait).Sub(now); rest > 0 {
				return rest, nil
			}
		} else if last.status == status {
			return 0, nil
		}
		if rest := last.at.Add(last.pace(status)).Sub(now); rest > 0 && last.refusedAt.IsZero() {
			return rest, nil
		}
		reports = last.reports + 1
	}
	err := r.deliver(ctx, repository, p, status)
	var refused refusal
	entry := sent{status: status, address: p.address, at: now, reports: reports}
	switch {
	case errors.As(err, &refused):
		entry.refusedAt = now
		r.events.Eventf(repository, nil, corev1.EventTypeWarning, "ReportRefused", "Report", "%s of %s is not reported: %s", status.Context, status.Commit, refused.Error())
	case err != nil:
		return 0, err
	}
	r.mu.Lock()
	r.sent[key] = entry
	r.mu.Unlock()
	if entry.refusedAt.IsZero() {
		return 0, nil
	}
	return refusedWait, nil
}

// pace is how long after this report the next one about the same commit may be made.
func (s sent) pace(next Status) time.Duration {
	switch {
	case s.reports >= manyReports:
		return slowPace
	case s.status.State == next.State:
		return pace
	}
	return flapPace
}

// deliver reads the place's Secret and sends.
func (r *reconciler) deliver(ctx context.Context, repository *api.Repository, p place, status Status) error {
	if p.hook != nil {
		var secret []byte
		if p.hook.SecretRef != nil {
			var err error
			if secret, err = r.secret(ctx, repository, p.hook.SecretRef.Name, SecretHook); err != nil {
				return err
			}
		}
		return send(ctx, p.hook.URL, repository.Namespace+"/"+repository.Name, secret, status)
	}
	token, err := r.secret(ctx, repository, repository.Spec.Forge.SecretRef.Name, SecretToken)
	if err != nil {
		return err
	}
	t, err := newTarget(&repository.Spec, string(token))
	if err != nil {
		return err
	}
	return t.report(ctx, status)
}

func (r *reconciler) secret(ctx context.Context, repository *api.Repository, name, key string) ([]byte, error) {
	return readSecret(ctx, r.reader, client.ObjectKey{Namespace: repository.Namespace, Name: name}, key)
}

func readSecret(ctx context.Context, reader client.Reader, name client.ObjectKey, key string) ([]byte, error) {
	secret := &corev1.Secret{}
	err := reader.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		return nil, refusal{fmt.Errorf("there is no Secret %s", name)}
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %s failed", name)
	}
	value := secret.Data[key]
	if len(value) == 0 {
		return nil, refusal{fmt.Errorf("the Secret %s has no key %q", name, key)}
	}
	return value, nil
}
