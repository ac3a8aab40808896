// SPDX-License-Identifier: Apache-2.0

// Package identity keeps the Secrets with the certificates of an installation: the authority's own, and one for each
// device that the installation runs, each gateway and each client.
//
// Secrets are watched as metadata only: 10,000 private keys need not lie in this process's memory. What must be known
// of a Secret's content is in its annotations.
//
// # Replacing the authority
//
// The authority's Secret holds the authority that signs (tls.crt, tls.key) and the bundle of all that are trusted
// (ca.crt). When a third of its life is left a successor is made, next to it (next.crt, next.key), and joins the bundle.
// Every holder's Secret is given the new bundle, spread over time. Only when all have it, and an hour has passed for
// processes to take note, does the successor sign. Certificates of the old authority are good until their renewal
// comes by itself; the old authority is good for nothing once it has expired, and leaves the bundle with the next change.
package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/loop"
	"wasmbed.dev/controllers/pki"
)

// lookMost is how long nothing is looked at, at most: who waits for the day of a renewal does not notice that a machine was
// suspended, or its clock set forward.
const lookMost = 12 * time.Hour

// settling is how long every holder must have had a new authority in its bundle before that authority signs.
const settling = time.Hour

// AuthorityKey is where the authority's Secret is.
var AuthorityKey = client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: pki.AuthoritySecret}

// ErrNoAuthority: the authority's Secret has not been made yet.
var ErrNoAuthority = errors.New("the installation has no certificate authority yet")

// Keeper makes and renews identities. It is safe for concurrent use.
type Keeper struct {
	client  client.Client
	direct  client.Reader
	secrets cache.Cache
	now     func() time.Time
	written loop.Written

	mu        sync.Mutex
	authority *authority
}

// authority is the content of the authority's Secret.
type authority struct {
	version string
	signer  *pki.Authority
	bundle  *pki.Bundle
	// fingerprint identifies the bundle, trusted has the identifiers of the authorities in it.
	fingerprint string
	trusted     map[string]bool
}

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete

// New makes the keeper of a manager's installation; the manager runs its cache. now is the clock, time.Now when nil.
func New(mgr ctrl.Manager, now func() time.Time) (*Keeper, error) {
	ours, err := labels.Parse(v1alpha1.LabelIdentity)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	secrets, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		DefaultLabelSelector: ours,
		DefaultTransform:     cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("cache of identities: %w", err)
	}
	if err := mgr.Add(secrets); err != nil {
		return nil, fmt.Errorf("cache of identities: %w", err)
	}
	if now == nil {
		now = time.Now
	}
	return &Keeper{client: mgr.GetClient(), direct: mgr.GetAPIReader(), secrets: secrets, now: now}, nil
}

// Secrets is the cache of the Secrets' metadata, to watch with Metadata as the object.
func (k *Keeper) Secrets() cache.Cache { return k.secrets }

// Metadata is an empty Secret of which only metadata is read.
func Metadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
	return object
}

// Holder says whose identity a Secret is.
type Holder struct {
	Identity pki.Identity
	// Owner of the Secret; nil for clients.
	Owner client.Object
	// OwnerKind is the owner's kind in group wasmbed.dev.
	OwnerKind string
	// Labels beside LabelIdentity.
	Labels map[string]string
	// Serving: see pki.Request.
	Serving bool
}

func (h *Holder) key() client.ObjectKey {
	namespace := h.Identity.Namespace
	switch h.Identity.Kind {
	case pki.Client:
		namespace = v1alpha1.SystemNamespace
	case pki.Device:
		namespace = v1alpha1.IdentityNamespace
	}
	return client.ObjectKey{Namespace: namespace, Name: pki.SecretName(h.Identity)}
}

// annotation is AnnotationHolder of a holder that is an object.
func (h *Holder) annotation() string {
	return h.Owner.GetNamespace() + "/" + h.Owner.GetName() + " " + string(h.Owner.GetUID())
}

// HolderOf is the object whose identity a Secret is; ok is false when it tells none.
func HolderOf(secret client.Object) (key client.ObjectKey, ok bool) {
	name, _, _ := strings.Cut(secret.GetAnnotations()[pki.AnnotationHolder], " ")
	key.Namespace, key.Name, ok = strings.Cut(name, "/")
	return key, ok
}

// Ensure makes the Secret of a holder, renews its certificate when that is due, and gives it the present bundle. It
// returns the Secret's name and when to look again.
func (k *Keeper) Ensure(ctx context.Context, h Holder) (secret string, after time.Duration, err error) {
	key := h.key()
	ca, err := k.load(ctx)
	if err != nil {
		return "", 0, err
	}
	present := Metadata()
	if err := k.secrets.Get(ctx, key, present); apierrors.IsNotFound(err) {
		present = nil
	} else if err != nil {
		return "", 0, fmt.Errorf("read identity %s: %w", key, err)
	}
	now := k.now()
	var cached client.Object
	if present != nil {
		cached = present
	}
	if k.written.Behind(key, cached, now) {
		return key.Name, time.Second, nil
	}
	switch {
	case present == nil:
		err = k.create(ctx, &h, ca)
	case h.outdated(present, ca, now):
		err = k.renew(ctx, &h, ca)
	case present.Annotations[pki.AnnotationBundle] != ca.fingerprint:
		err = k.rebundle(ctx, key, ca)
	default:
		return key.Name, lookAgain(present, now), nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("identity %s: %w", key, err)
	}
	return key.Name, time.Second, nil
}

// outdated tells whether a holder needs a new certificate: it has none that is valid now and for long enough, or it is
// another object of the same name.
func (h *Holder) outdated(present *metav1.PartialObjectMetadata, ca *authority, now time.Time) bool {
	from, until, err := term(present)
	if err != nil || now.Before(from) || !now.Before(until) || !ca.trusted[present.Annotations[pki.AnnotationIssuer]] {
		return true
	}
	return h.Owner != nil && present.Annotations[pki.AnnotationHolder] != h.annotation()
}

// term is when a certificate begins and when it is due for renewal.
func term(present *metav1.PartialObjectMetadata) (from, until time.Time, err error) {
	from, errFrom := time.Parse(time.RFC3339, present.Annotations[pki.AnnotationValidFrom])
	until, errUntil := time.Parse(time.RFC3339, present.Annotations[pki.AnnotationRenewAt])
	return from, until, errors.Join(errFrom, errUntil)
}

// lookAgain is how long a certificate that is good now can be left alone: until it is due, but no longer than it is
// valid already. The clock by which it was made may have been ahead, and nobody tells when a clock is set back.
func lookAgain(present *metav1.PartialObjectMetadata, now time.Time) time.Duration {
	from, until, _ := term(present) // outdated has parsed it
	return max(min(until.Sub(now), now.Sub(from), lookMost), time.Second)
}

func (k *Keeper) create(ctx context.Context, h *Holder, ca *authority) error {
	secret, err := k.issue(h, ca)
	if err != nil {
		return err
	}
	err = k.client.Create(ctx, secret)
	if !apierrors.IsAlreadyExists(err) {
		return k.noted(secret, err)
	}
	// Either the cache lags behind, or somebody made a Secret of this name.
	there := &corev1.Secret{}
	if err := k.direct.Get(ctx, client.ObjectKeyFromObject(secret), there); err != nil {
		return client.IgnoreNotFound(err)
	}
	if there.Labels[v1alpha1.LabelIdentity] != string(h.Identity.Kind) {
		return fmt.Errorf("a Secret of this name exists and has no label %s=%s: remove it", v1alpha1.LabelIdentity, h.Identity.Kind)
	}
	k.written.Note(there, k.now())
	return nil
}

// renew replaces key and certificate.
func (k *Keeper) renew(ctx context.Context, h *Holder, ca *authority) error {
	secret, err := k.issue(h, ca)
	if err != nil {
		return err
	}
	return k.noted(secret, k.client.Update(ctx, secret))
}

func (k *Keeper) rebundle(ctx context.Context, key client.ObjectKey, ca *authority) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	before := secret.DeepCopy()
	secret.Annotations = map[string]string{pki.AnnotationBundle: ca.fingerprint}
	secret.Data = map[string][]byte{pki.KeyBundle: ca.bundle.PEM()}
	return k.noted(secret, k.client.Patch(ctx, secret, client.MergeFrom(before)))
}

func (k *Keeper) noted(secret *corev1.Secret, err error) error {
	if apierrors.IsNotFound(err) {
		return nil // deleted meanwhile: the event of that leads here again
	}
	if err == nil {
		k.written.Note(secret, k.now())
	}
	return err
}

// issue makes a holder's Secret.
func (k *Keeper) issue(h *Holder, ca *authority) (*corev1.Secret, error) {
	pair, err := ca.signer.Issue(pki.Request{Identity: h.Identity, Serving: h.Serving}, k.now())
	if err != nil {
		return nil, err
	}
	key := h.key()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{v1alpha1.LabelIdentity: string(h.Identity.Kind)},
			Annotations: map[string]string{
				pki.AnnotationValidFrom: pair.Certificate.NotBefore.UTC().Format(time.RFC3339),
				pki.AnnotationExpires:   pair.Certificate.NotAfter.UTC().Format(time.RFC3339),
				pki.AnnotationRenewAt:   pki.RenewAt(pair.Certificate).UTC().Format(time.RFC3339),
				pki.AnnotationBundle:    ca.fingerprint,
				pki.AnnotationIssuer:    fingerprint(ca.signer.Certificate.Raw),
			},
		},
		Type: corev1.SecretTypeTLS,
		Data: pki.SecretData(pair, ca.bundle),
	}
	for label, value := range h.Labels {
		secret.Labels[label] = value
	}
	if h.Owner != nil {
		secret.Annotations[pki.AnnotationHolder] = h.annotation()
	}
	if h.Owner != nil && h.Owner.GetNamespace() == key.Namespace {
		controls := true
		secret.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: h.OwnerKind, Name: h.Owner.GetName(), UID: h.Owner.GetUID(), Controller: &controls,
		}}
	}
	return secret, nil
}

// Remove deletes the Secret of a holder that is gone.
func (k *Keeper) Remove(ctx context.Context, id pki.Identity) error {
	h := Holder{Identity: id}
	present := Metadata()
	if err := k.secrets.Get(ctx, h.key(), present); err != nil {
		return client.IgnoreNotFound(err)
	}
	if k.written.Removed(present, k.now()) {
		return nil
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: present.Namespace, Name: present.Name}}
	err := k.client.Delete(ctx, secret, client.Preconditions{UID: &present.UID})
	switch {
	case err == nil, apierrors.IsNotFound(err):
		k.written.NoteDeleted(present, k.now())
	case !apierrors.IsConflict(err):
		return fmt.Errorf("remove identity %s: %w", h.key(), err)
	}
	return nil
}

// Spread is a delay for one of many objects that all must be looked at because of one change: up to a minute for each
// thousand.
func Spread(key client.ObjectKey, objects int) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(key.String())) // does not fail
	span := time.Duration(objects) * 60 * time.Millisecond
	return time.Duration(hash.Sum32()) * (span / (1 << 20)) / (1 << 12)
}

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16])
}
