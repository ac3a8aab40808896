// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"testing"
	"time"

	"wasmbed.dev/controllers/pki"
)

// A certificate is looked at often while it is young, since the clock that made it may have been ahead, then twice a day
// and when it is due.
func TestACertificateIsLookedAtAgain(t *testing.T) {
	from := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	due := from.Add(1000 * time.Hour)
	secret := Metadata()
	secret.Annotations = map[string]string{pki.AnnotationValidFrom: from.Format(time.RFC3339), pki.AnnotationRenewAt: due.Format(time.RFC3339)}
	for _, one := range []struct{ age, want time.Duration }{
		{0, time.Second},
		{2000 * time.Hour, time.Second},
		{time.Hour, time.Hour},
		{300 * time.Hour, lookMost},
		{995 * time.Hour, 5 * time.Hour},
		{1000 * time.Hour, time.Second},
	} {
		if got := lookAgain(secret, from.Add(one.age)); got != one.want {
			t.Errorf("a certificate of %s is looked at after %s, want %s", one.age, got, one.want)
		}
	}
}
