// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

const day = 24 * time.Hour

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func openTestDir(t *testing.T) *dataDir {
	t.Helper()
	dir, err := openDataDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.close)
	return dir
}

func ensure(t *testing.T, i *identities, now time.Time) {
	t.Helper()
	if err := i.ensure(now); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir *dataDir, name string) string {
	t.Helper()
	content, err := os.ReadFile(dir.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestCertificatesAreRenewedBeforeTheirEnd(t *testing.T) {
	renewed := []string{servingCert, servingKey, adminKubeconfig}
	kept := []string{caCertificate, caKey, tokenKey, tokenPublicKey}
	for name, test := range map[string]struct {
		later time.Duration
		renew bool
	}{
		"at once":                {0, false},
		"31 days before the end": {334 * day, false},
		"29 days before the end": {336 * day, true},
		"after the end":          {400 * day, true},
		"before the beginning":   {-day, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := openTestDir(t)
			ensure(t, newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), noon)
			before := map[string]string{}
			for _, file := range append(renewed, kept...) {
				before[file] = read(t, dir, file)
			}
			// Another value, as after a restart: nothing is remembered.
			ids := newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443)
			ensure(t, ids, noon.Add(test.later))
			for _, file := range kept {
				if read(t, dir, file) != before[file] {
					t.Errorf("%s has changed", file)
				}
			}
			for _, file := range renewed {
				if changed := read(t, dir, file) != before[file]; changed != test.renew {
					t.Errorf("%s: changed %v, want %v", file, changed, test.renew)
				}
			}
			pair, err := tls.LoadX509KeyPair(dir.path(servingCert), dir.path(servingKey))
			if err != nil || pair.Leaf.NotAfter.Before(noon.Add(test.later+renewBefore)) {
				t.Errorf("serving certificate ends %v (%v)", pair.Leaf.NotAfter, err)
			}
		})
	}
}

func TestAnotherAddressKeepsTheAdministratorsCertificate(t *testing.T) {
	dir := openTestDir(t)
	ensure(t, newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), noon)
	first, err := clientcmd.LoadFromFile(dir.path(adminKubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	serving := read(t, dir, servingCert)
	ensure(t, newIdentities(dir, net.IPv4(192, 0, 2, 7), 7000), noon)
	second, err := clientcmd.LoadFromFile(dir.path(adminKubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	if got := second.Clusters[kubeconfigEntry].Server; got != "https://192.0.2.7:7000" {
		t.Errorf("kubeconfig names %s", got)
	}
	if string(first.AuthInfos[kubeconfigEntry].ClientCertificateData) != string(second.AuthInfos[kubeconfigEntry].ClientCertificateData) {
		t.Error("the administrator's certificate has changed")
	}
	if read(t, dir, servingCert) == serving {
		t.Error("the serving certificate does not follow the address")
	}
}

// TestCertificatesAreRenewedWhileTheClusterRuns: the clock was wrong when they were made.
func TestCertificatesAreRenewedWhileTheClusterRuns(t *testing.T) {
	dir := openTestDir(t)
	c := &cluster{ids: newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), log: slog.New(slog.DiscardHandler)}
	ensure(t, c.ids, time.Now().Add(-2*leafValidity))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.renew(ctx, time.Millisecond); close(ended) }()
	defer func() { cancel(); <-ended }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		pair, err := tls.LoadX509KeyPair(dir.path(servingCert), dir.path(servingKey))
		if err == nil && pair.Leaf.NotAfter.After(time.Now()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not renewed: %v", err)
		}
	}
}

// A part of the cluster keeps its certificate, whatever the clock does.
func TestAPartsCertificateIsValidWheneverTheAuthorityIs(t *testing.T) {
	ids := newIdentities(openTestDir(t), net.IPv4(127, 0, 0, 1), 6443)
	ensure(t, ids, noon)
	config, err := ids.clientConfig("somebody")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil || !pair.Leaf.NotBefore.Equal(ids.ca.NotBefore) || !pair.Leaf.NotAfter.Equal(ids.ca.NotAfter) {
		t.Errorf("valid from %v to %v, the authority from %v to %v (%v)", pair.Leaf.NotBefore, pair.Leaf.NotAfter, ids.ca.NotBefore, ids.ca.NotAfter, err)
	}
}

func TestAMissingAuthorityIsNotReplaced(t *testing.T) {
	for _, name := range []string{caKey, caCertificate} {
		dir := openTestDir(t)
		ensure(t, newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), noon)
		if err := os.Mkdir(dir.path(etcdDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir.path(name)); err != nil {
			t.Fatal(err)
		}
		err := newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443).ensure(noon)
		if !errors.Is(err, ErrDataDir) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestAStartAfterAnInterruptedFirstOne(t *testing.T) {
	for _, name := range []string{caCertificate, servingCert, servingKey, tokenKey, adminKubeconfig} {
		dir := openTestDir(t)
		ensure(t, newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), noon)
		if err := os.Remove(dir.path(name)); err != nil {
			t.Fatal(err)
		}
		ensure(t, newIdentities(dir, net.IPv4(127, 0, 0, 1), 6443), noon)
		if _, err := tls.LoadX509KeyPair(dir.path(servingCert), dir.path(servingKey)); err != nil {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestRuntimeDirectoryOfALongPath(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", base)
	path := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	dir, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	short := dir.runtime
	if filepath.Dir(short) != base || len(short) > maxSocketPath {
		t.Fatalf("runtime directory %s", short)
	}
	dir.close()
	if _, err := os.Stat(short); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays behind: %v", err)
	}
	// What somebody else may have prepared in a shared folder is refused.
	for name, prepare := range map[string]func() error{
		"open to all": func() error {
			return errors.Join(os.Mkdir(short, 0o700), os.Chmod(short, 0o777))
		},
		"symbolic link": func() error { return os.Symlink(t.TempDir(), short) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if dir, err := openDataDir(path); err == nil {
			dir.close()
			t.Errorf("a runtime directory that is %s is taken", name)
		}
		if err := os.RemoveAll(short); err != nil {
			t.Fatal(err)
		}
	}
	// A stop by force leaves it behind: the next start takes it again.
	if err := os.Mkdir(short, 0o700); err != nil {
		t.Fatal(err)
	}
	if dir, err = openDataDir(path); err != nil {
		t.Fatal(err)
	}
	dir.close()
}
