// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/simulator"
)

// enrolsHardware lets a device connect that nobody knows, as a board on a desk would, and admits it through git.
func (s *stack) enrolsHardware(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a board"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	authority := &corev1.Secret{}
	if err := s.client().Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: pki.AuthoritySecret}, authority); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.Data[pki.KeyBundle])
	engine, err := simulator.NewEngine(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	board, _ := boards.Get("mps2-an385")
	device, err := simulator.New(simulator.Config{Namespace: "plant", Name: "desk", Board: board, Firmware: "test",
		Identity:  simulator.Identity{Certificate: tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}, Roots: roots},
		Endpoints: []string{fmt.Sprintf("127.0.0.1:%d", s.base)}, Engine: engine, Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	defer func() {
		stop()
		if err := errors.Join(<-ended, engine.Close(context.Background())); err != nil {
			t.Error(err)
		}
	}()

	encoded := base64.StdEncoding.EncodeToString(public)
	tail := encoded[len(encoded)-16:]
	eventually(t, "the refused key is listed", func() error {
		out, err := s.wasmbed("enroll")
		if err == nil && !strings.Contains(out, tail) {
			err = fmt.Errorf("it says %q", out)
		}
		return err
	})
	manifest, err := s.wasmbed("enroll", tail, "--name", "desk", "--namespace", "plant", "--board", "mps2-an385", "--label", "site=desk")
	if err != nil || !strings.Contains(manifest, encoded) {
		t.Fatalf("enroll: %v\n%s", err, manifest)
	}
	s.write(map[string]string{"devices/desk.yaml": manifest})
	s.addResource("devices/kustomization.yaml", "desk.yaml")
	commit, _ := s.push("Admit the board on the desk")
	s.settled(commit)
	if !device.Connected() {
		t.Error("the admitted device is not connected")
	}
	if !slices.Contains(s.devices(), "desk") || len(device.States()) == 0 {
		t.Errorf("the device runs %v", device.States())
	}
	s.write(map[string]string{"devices/desk.yaml": ""})
	s.removeResource("devices/kustomization.yaml", "desk.yaml")
	commit, _ = s.push("The board leaves the desk")
	s.settled(commit)
	eventually(t, "the removed device is refused", func() error {
		if device.Connected() {
			return errors.New("it is connected")
		}
		return nil
	})
}

// dashboardAnswers asks the dashboard's server with and without the token that `up` printed.
func (s *stack) dashboardAnswers(t *testing.T, upSaid string) {
	_, address, found := strings.Cut(upSaid, "http://")
	if !found {
		t.Fatalf("up prints no address: %s", upSaid)
	}
	address, _, _ = strings.Cut(address, "\n")
	host, token, _ := strings.Cut(address, "/?token=")
	get := func(path, bearer string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if bearer != "" {
			request.Header.Set("Authorization", "Bearer "+bearer)
		}
		response, err := (&http.Client{Timeout: 20 * time.Second}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, kind := range []string{"repositories", "gateways", "devices", "applications", "instances"} {
		status, body := get("/api/v1/"+kind, token)
		var list struct {
			Items []struct{ Metadata struct{ Name string } }
		}
		decode(t, body, &list)
		if status != http.StatusOK || len(list.Items) == 0 || list.Items[0].Metadata.Name == "" {
			t.Errorf("%s: %d, %.200s", kind, status, body)
		}
		for _, wrong := range []string{"", "guess", token + "x"} {
			if status, body := get("/api/v1/"+kind, wrong); status != http.StatusUnauthorized || strings.Contains(body, "items") {
				t.Errorf("%s with token %q: %d, %.200s", kind, wrong, status, body)
			}
		}
	}
	if status, _ := get("/api/v1/secrets", token); status != http.StatusNotFound {
		t.Errorf("secrets: %d", status)
	}
}
