// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
)

// How often the dashboard's certificate is looked for until it is there and valid, and looked at afterwards.
const (
	handoverSoon  = 500 * time.Millisecond
	handoverLater = 10 * time.Minute
)

// handIdentity puts the certificate that gateways know the dashboard by into a directory of the home, and keeps it
// current until ctx ends: the dashboard itself may read no Secret.
func (i *installation) handIdentity(ctx context.Context) {
	wait := handoverSoon
	for {
		if err := i.handOnce(ctx); err == nil {
			wait = handoverLater
		} else if ctx.Err() == nil {
			i.log.V(1).Info("the dashboard has no identity yet", "reason", err.Error())
			wait = handoverSoon
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (i *installation) handOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: pki.SecretName(pki.ClientIdentity("dashboard"))}
	if err := i.client.Get(ctx, key, secret); err != nil {
		return fmt.Errorf("read Secret %s: %w", key.Name, err)
	}
	dir := i.Home.Data("dashboard")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("hand the identity over: %w", err)
	}
	// The certificate comes last: who reads it finds the key that belongs to it.
	for _, name := range []string{pki.KeyBundle, pki.KeyPrivate, pki.KeyCertificate} {
		if err := writeChanged(i.Home.Data("dashboard", name), secret.Data[name]); err != nil {
			return fmt.Errorf("hand the identity over: %w", err)
		}
	}
	credentials, err := pki.ParseCredentials(secret.Data)
	if err != nil {
		return err
	}
	return credentials.Valid(time.Now()) // the controllers replace one that is not, as after a time when everything was off
}
