// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/controllers/pki"
)

func TestACertificateThatIsServedTooLongIsSeen(t *testing.T) {
	w, since, now := newWatcher(&installation{}), map[string]time.Time{}, time.Now()
	expired := map[string]error{"the store": errors.New("expired")}
	w.checkServed(since, expired, now)
	w.checkServed(since, nil, now.Add(overdue/2))
	w.checkServed(since, expired, now.Add(overdue))
	if w.checkServed(since, expired, now.Add(2*overdue)); w.err() != nil {
		t.Errorf("it was renewed in between: %v", w.err())
	}
	if w.checkServed(since, expired, now.Add(2*overdue+time.Second)); w.err() == nil {
		t.Error("it is not seen")
	}
}

func TestACertificateIsValidFromItsFirstSecondToItsLast(t *testing.T) {
	now := time.Now()
	authority, err := pki.NewAuthority("test", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]bool{-pki.Backdate - time.Minute: false, 0: true, time.Hour - time.Minute: true, time.Hour + time.Minute: false} {
		if _, err := valid(authority.CertPEM, now.Add(after)); (err == nil) != want {
			t.Errorf("after %s: %v", after, err)
		}
	}
}

func TestTheOverlayNoticesThatTheProductHasChanged(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writeOverlay(root, t.TempDir()); err != nil {
		t.Error(err)
	}
	other := t.TempDir()
	if err := writeFiles(other, map[string]string{shortLives[0].file: "package pki\n"}); err != nil {
		t.Fatal(err)
	}
	if _, err := writeOverlay(other, t.TempDir()); err == nil || !strings.Contains(err.Error(), "tell controllers/bench/chaos/build.go") {
		t.Errorf("%v for a file that has changed", err)
	}
	if _, err := os.Stat(filepath.Join(root, "controllers", "cmd", "wasmbed", "chaosclock.go")); err == nil {
		t.Error("the product has the file that the overlay adds")
	}
}
