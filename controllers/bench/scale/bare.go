// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/bench/measure"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/internal/testcluster"
)

// sample is how many operations a bare measurement makes at most: what one costs does not depend on how many there are.
const sample = 2000

// bareObjects measures what a create, a status write and a delete of an object cost when nothing else happens. Its user is
// the controllers', so that the same rules are applied.
func (b *bench) bareObjects(ctx context.Context) error {
	user, err := b.cluster.ForUser(v1alpha1.UserControllers)
	if err != nil {
		return err
	}
	bare, err := client.New(user, client.Options{Scheme: testcluster.Scheme()})
	if err != nil {
		return err
	}
	const where = "bare"
	if err := b.kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: where}}); err != nil {
		return err
	}
	n := min(b.devices, sample)
	objects := make([]*v1alpha1.Device, n)
	for i := range objects {
		objects[i] = &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: where, Name: deviceName(i), Labels: map[string]string{"site": "hall"}},
			Spec: v1alpha1.DeviceSpec{Board: "sim-m4", Backend: v1alpha1.BackendSimulated}}
	}
	for _, step := range []struct {
		cost *cost
		do   func(o *v1alpha1.Device) error
	}{
		{&b.bare.create, func(o *v1alpha1.Device) error { return bare.Create(ctx, o) }},
		{&b.bare.status, func(o *v1alpha1.Device) error {
			before := o.DeepCopy()
			o.Status.Apps, o.Status.Gateway, o.Status.ObservedGeneration = "1/1", "scale.one", 1
			return bare.Status().Patch(ctx, o, client.MergeFrom(before))
		}},
		{&b.bare.remove, func(o *v1alpha1.Device) error { return bare.Delete(ctx, o) }},
	} {
		if *step.cost, err = b.each(n, func(i int) error { return step.do(objects[i]) }); err != nil {
			return fmt.Errorf("bare writes: %w", err)
		}
	}
	say("bare requests, %d at once, for each of %d objects (wall clock / processor time of the API server): create %s / %s, status %s / %s, delete %s / %s\n",
		workers, n, b.bare.create.wall, b.bare.create.server, b.bare.status.wall, b.bare.status.server, b.bare.remove.wall, b.bare.remove.server)
	say("\n| figure | aim | measured |\n|---|---|---|\n")
	return nil
}

// each calls do for 0 … n-1, some at once, and returns what one of them cost.
func (b *bench) each(n int, do func(i int) error) (cost, error) {
	began, server, own := time.Now(), measure.CPU(b.cluster.PID()), measure.CPU(os.Getpid())
	var group errgroup.Group
	group.SetLimit(workers)
	for i := range n {
		group.Go(func() error { return do(i) })
	}
	err := group.Wait()
	each := func(d time.Duration) time.Duration { return (d / time.Duration(n)).Round(time.Microsecond) }
	return cost{each(time.Since(began)), each(measure.CPU(b.cluster.PID()) - server), each(measure.CPU(os.Getpid()) - own)}, err
}

// plus is what n operations of each kind cost together.
func plus(n int, costs ...cost) (sum cost) {
	for _, c := range costs {
		sum.wall += time.Duration(n) * c.wall
		sum.server += time.Duration(n) * c.server
		sum.client += time.Duration(n) * c.client
	}
	return sum
}

// The bare server is this program again, so that its processor time is its own.
const bareServerEnv = "BENCH_SCALE_BARE_SERVER"

// serveBare is a TLS server that demands certificates and reads, and does nothing else. It never returns.
func serveBare() {
	dir := os.Getenv(bareServerEnv)
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bare server:", err)
			os.Exit(1)
		}
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "bare.crt"), filepath.Join(dir, "bare.key"))
	fail(err)
	ca, err := os.ReadFile(filepath.Join(dir, "bare-ca.crt"))
	fail(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})
	fail(err)
	say("%s\n", listener.Addr())
	for {
		conn, err := listener.Accept()
		fail(err)
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write([]byte{0}) // as a gateway welcomes
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
}

// bareHandshakes measures the processor time of a server for a mutual handshake that resumes a session.
func (b *bench) bareHandshakes(ctx context.Context) error {
	authority, err := pki.NewAuthority("bare", time.Hour, time.Now())
	if err != nil {
		return err
	}
	server, err := authority.Issue(pki.Request{Identity: pki.GatewayIdentity("bare", "bare"), Serving: true}, time.Now())
	if err != nil {
		return err
	}
	device, err := authority.Issue(pki.Request{Identity: pki.DeviceIdentity("bare", "bare")}, time.Now())
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"bare.crt": server.CertPEM, "bare.key": server.KeyPEM, "bare-ca.crt": authority.CertPEM} {
		if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self)
	command.Env = append(os.Environ(), bareServerEnv+"="+b.dir)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer func() { _ = command.Process.Kill(); _ = command.Wait() }()
	lines := bufio.NewScanner(output)
	if !lines.Scan() {
		return errors.New("the bare server did not start")
	}
	address := strings.TrimSpace(lines.Text())
	certificate, err := tls.X509KeyPair(device.CertPEM, device.KeyPEM)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.Certificate)
	n := min(b.devices, sample)
	configs := make([]*tls.Config, n)
	for i := range configs {
		configs[i] = &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}, ServerName: pki.ServerName, RootCAs: pool,
			Certificates: []tls.Certificate{certificate}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	if _, err := b.each(n, func(i int) error { return shake(address, configs[i], false) }); err != nil {
		return err
	}
	before := measure.CPU(command.Process.Pid)
	if b.bare.handshake, err = b.each(n, func(i int) error { return shake(address, configs[i], true) }); err != nil {
		return err
	}
	b.bare.handshake.server = (measure.CPU(command.Process.Pid) - before) / time.Duration(n)
	return nil
}

// shake connects, and waits for the byte that follows the ticket of the next session.
func shake(address string, config *tls.Config, resume bool) error {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, config)
	defer func() { _ = raw.Close() }()
	if err := conn.Handshake(); err != nil {
		return err
	}
	if conn.ConnectionState().DidResume != resume {
		return fmt.Errorf("resumed is %t", !resume)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = conn.Read(make([]byte, 1))
	return err
}
