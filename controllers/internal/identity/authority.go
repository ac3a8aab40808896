// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
)

// authorityName is the common name of the authorities, for people.
const authorityName = "wasmbed installation"

// load returns the authority, read again when its Secret has changed.
func (k *Keeper) load(ctx context.Context) (*authority, error) {
	present := Metadata()
	if err := k.secrets.Get(ctx, AuthorityKey, present); apierrors.IsNotFound(err) {
		return nil, ErrNoAuthority
	} else if err != nil {
		return nil, fmt.Errorf("read the authority's secret: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.authority != nil && k.authority.version == present.ResourceVersion {
		return k.authority, nil
	}
	secret := &corev1.Secret{}
	if err := k.direct.Get(ctx, AuthorityKey, secret); err != nil {
		return nil, fmt.Errorf("read the authority's secret: %w", err)
	}
	loaded, err := parseAuthority(secret)
	if err != nil {
		return nil, err
	}
	k.authority = loaded
	return loaded, nil
}

func parseAuthority(secret *corev1.Secret) (*authority, error) {
	signer, err := pki.ParseAuthority(secret.Data[pki.KeyCertificate], secret.Data[pki.KeyPrivate])
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", AuthorityKey, err)
	}
	bundle, err := pki.ParseBundle(secret.Data[pki.KeyBundle])
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", AuthorityKey, err)
	}
	a := &authority{version: secret.ResourceVersion, signer: signer, bundle: bundle, fingerprint: fingerprint(bundle.PEM()), trusted: map[string]bool{}}
	for _, cert := range bundle.Authorities() {
		a.trusted[fingerprint(cert.Raw)] = true
	}
	return a, nil
}

// MaintainAuthority makes the authority when there is none, prepares its successor when a third of its life is left,
// and lets that sign when all holders trust it; at once when the authority has expired, since whatever it signed has too.
// It returns when to look again.
func (k *Keeper) MaintainAuthority(ctx context.Context) (time.Duration, error) {
	secret := &corev1.Secret{}
	err := k.direct.Get(ctx, AuthorityKey, secret)
	if apierrors.IsNotFound(err) {
		return time.Second, k.makeAuthority(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("read the authority's secret: %w", err)
	}
	present, err := parseAuthority(secret)
	if err != nil {
		return 0, err
	}
	now := k.now()
	before := secret.DeepCopy()
	switch next := secret.Data[pki.KeyNextCertificate]; {
	case present.expired(now):
		if err := errors.Join(prepare(secret, present, now), promote(secret, now)); err != nil {
			return 0, err
		}
	case len(next) > 0:
		ready, err := k.trustedByAll(ctx, present)
		if err != nil || !ready {
			return settling, err
		}
		if err := promote(secret, now); err != nil {
			return settling, err
		}
	case now.Before(present.signer.Certificate.NotAfter.Add(-pki.AuthorityValidity / 3)):
		return lookMost, nil
	default:
		if err := prepare(secret, present, now); err != nil {
			return 0, err
		}
	}
	if err := k.client.Patch(ctx, secret, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return 0, fmt.Errorf("write the authority's secret: %w", err)
	}
	return settling, nil
}

// expired: nobody looked for so long that even the authority is good for nothing any more.
func (a *authority) expired(now time.Time) bool {
	return !now.Before(a.signer.Certificate.NotAfter)
}

func (k *Keeper) makeAuthority(ctx context.Context) error {
	made, err := pki.NewAuthority(authorityName, pki.AuthorityValidity, k.now())
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: AuthorityKey.Namespace, Name: AuthorityKey.Name,
			Labels:      map[string]string{v1alpha1.LabelIdentity: v1alpha1.IdentityCA},
			Annotations: map[string]string{pki.AnnotationBundle: fingerprint(made.CertPEM)},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{pki.KeyCertificate: made.CertPEM, pki.KeyPrivate: made.KeyPEM, pki.KeyBundle: made.CertPEM},
	}
	if err := k.client.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the authority: %w", err)
	}
	return nil
}

// prepare puts a successor beside the authority and into the bundle.
func prepare(secret *corev1.Secret, present *authority, now time.Time) error {
	next, err := pki.NewAuthority(authorityName, pki.AuthorityValidity, now)
	if err != nil {
		return err
	}
	bundle := present.bundle.With(next.Certificate, now).PEM()
	secret.Data[pki.KeyNextCertificate], secret.Data[pki.KeyNextPrivate] = next.CertPEM, next.KeyPEM
	secret.Data[pki.KeyBundle] = bundle
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, pki.AnnotationBundle, fingerprint(bundle))
	return nil
}

// trustedByAll tells whether every holder has had the successor in its bundle for long enough.
func (k *Keeper) trustedByAll(ctx context.Context, present *authority) (bool, error) {
	newest := present.bundle.Authorities()[len(present.bundle.Authorities())-1]
	if k.now().Before(newest.NotBefore.Add(pki.Backdate + settling)) {
		return false, nil
	}
	holders := &metav1.PartialObjectMetadataList{}
	holders.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "SecretList"})
	if err := k.secrets.List(ctx, holders, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("read identities: %w", err)
	}
	for i := range holders.Items {
		if holders.Items[i].Annotations[pki.AnnotationBundle] != present.fingerprint {
			return false, nil
		}
	}
	return true, nil
}

// promote lets the successor sign. The former authority stays in the bundle until it expires.
func promote(secret *corev1.Secret, now time.Time) error {
	next, err := pki.ParseAuthority(secret.Data[pki.KeyNextCertificate], secret.Data[pki.KeyNextPrivate])
	if err != nil {
		return fmt.Errorf("secret %s: successor: %w", AuthorityKey, err)
	}
	bundle, err := pki.ParseBundle(secret.Data[pki.KeyBundle])
	if err != nil {
		return fmt.Errorf("secret %s: %w", AuthorityKey, err)
	}
	content := bundle.With(next.Certificate, now).PEM()
	secret.Data[pki.KeyCertificate], secret.Data[pki.KeyPrivate] = secret.Data[pki.KeyNextCertificate], secret.Data[pki.KeyNextPrivate]
	secret.Data[pki.KeyBundle] = content
	delete(secret.Data, pki.KeyNextCertificate)
	delete(secret.Data, pki.KeyNextPrivate)
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, pki.AnnotationBundle, fingerprint(content))
	return nil
}
