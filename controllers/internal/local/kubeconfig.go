// SPDX-License-Identifier: Apache-2.0

package local

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/pki"
)

// How long a component's client certificate is good for, how much of it must be left, and how often that is looked at.
const (
	componentValidity  = 365 * 24 * time.Hour
	componentLeastLeft = 60 * 24 * time.Hour
	componentRenewal   = time.Minute
)

// component is one process's identity in the API server.
type component struct {
	part   string
	user   string
	groups []string
}

// components that every installation has; gateways get theirs when they are started.
var components = []component{
	{"controllers", v1alpha1.UserControllers, nil},
	{"dashboard", v1alpha1.UserDashboard, nil},
	{"simulator", v1alpha1.UserSimulator, nil},
	{"boards", v1alpha1.UserBoards, nil},
	{"hook", v1alpha1.UserHook, nil},
}

func gatewayComponent(namespace, name string) component {
	return component{"gateway-" + v1alpha1.GatewayKey(namespace, name), v1alpha1.UserGatewayPrefix + namespace + ":" + name, []string{v1alpha1.GroupGateways}}
}

// cluster says how to reach the API server, and how to make identities for the components there.
type cluster struct {
	home home.Dir
	// admin is the kubeconfig with full rights.
	admin string
	// embedded: the client CA is ours to issue certificates with; otherwise components impersonate their users.
	embedded bool
}

func (c cluster) restConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.admin)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.admin, err)
	}
	config.QPS, config.Burst = 50, 100
	if c.embedded {
		// The cluster renews what its kubeconfig holds; from a file this process takes it over.
		file := c.home.ComponentCertificate("up")
		if err := writeCertificate(file, config.CertData, config.KeyData); err != nil {
			return nil, err
		}
		config.CertFile, config.KeyFile, config.CertData, config.KeyData = file, file, nil, nil
	}
	return config, nil
}

// writeCertificate puts a certificate and its key into one file, so that nobody finds one of another's.
func writeCertificate(file string, cert, key []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return writeChanged(file, slices.Concat(cert, key))
}

// writeChanged leaves a file alone that holds the content already.
func writeChanged(file string, content []byte) error {
	if present, err := os.ReadFile(file); err == nil && bytes.Equal(present, content) {
		return nil
	}
	return home.WriteFile(file, content, 0o600)
}

// kubeconfig makes sure that the component's kubeconfig is there and good for a while, and returns its path.
func (c cluster) kubeconfig(who component) (string, error) {
	path := c.home.ComponentKubeconfig(who.part)
	config, err := clientcmd.LoadFromFile(c.admin)
	if err != nil {
		return "", fmt.Errorf("read kubeconfig %s: %w", c.admin, err)
	}
	if err := clientcmdapi.MinifyConfig(config); err != nil {
		return "", fmt.Errorf("kubeconfig %s: %w", c.admin, err)
	}
	if err := clientcmdapi.FlattenConfig(config); err != nil {
		return "", fmt.Errorf("kubeconfig %s: %w", c.admin, err)
	}
	for name, user := range config.AuthInfos {
		if !c.embedded {
			user.Impersonate, user.ImpersonateGroups = who.user, append([]string{"system:authenticated"}, who.groups...)
			continue
		}
		file, err := c.certificate(who)
		if err != nil {
			return "", err
		}
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificate: file, ClientKey: file}
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("encode kubeconfig of %s: %w", who.part, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("write kubeconfig of %s: %w", who.part, err)
	}
	return path, home.WriteFile(path, content, 0o600)
}

// certificate returns the file with the component's, and makes a new one when that is missing or ends soon. Processes that
// run read the file again.
func (c cluster) certificate(who component) (string, error) {
	file := c.home.ComponentCertificate(who.part)
	caCert, err := os.ReadFile(c.home.Cluster("ca.crt"))
	if err != nil {
		return "", fmt.Errorf("read the cluster's client CA: %w", err)
	}
	if present, err := os.ReadFile(file); err == nil && stillGood(present, caCert, time.Now()) == nil {
		return file, nil
	}
	caKey, err := os.ReadFile(c.home.Cluster("ca.key"))
	if err != nil {
		return "", fmt.Errorf("read the cluster's client CA: %w", err)
	}
	cert, key, err := pki.KubeClient(caCert, caKey, who.user, who.groups, componentValidity)
	if err != nil {
		return "", fmt.Errorf("make a client certificate for %s: %w", who.part, err)
	}
	return file, writeCertificate(file, cert, key)
}

// keepCertificates renews, until ctx ends, what the installation's processes show to the API server.
func (i *installation) keepCertificates(ctx context.Context) {
	ticker := time.NewTicker(componentRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := i.renewCertificates(ctx); err != nil && ctx.Err() == nil {
				i.log.Error(err, "cannot renew the processes' certificates")
			}
		}
	}
}

func (i *installation) renewCertificates(ctx context.Context) error {
	_, err := i.cluster.restConfig()
	all := []error{err, i.linkKubeconfig()}
	parts := slices.Clone(components)
	var gateways v1alpha1.GatewayList
	if err := i.client.List(ctx, &gateways); err != nil {
		all = append(all, fmt.Errorf("read gateways: %w", err))
	}
	for _, g := range gateways.Items {
		parts = append(parts, gatewayComponent(g.Namespace, g.Name))
	}
	for _, who := range parts {
		_, err := i.cluster.certificate(who)
		all = append(all, err)
	}
	return errors.Join(all...)
}

// stillGood tells why a component's certificate is to be replaced now, if it is.
func stillGood(certPEM, caPEM []byte, now time.Time) error {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return errors.New("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caPEM)
	if now.Before(cert.NotBefore) {
		return errors.New("it was issued while the clock was ahead")
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now.Add(componentLeastLeft), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
