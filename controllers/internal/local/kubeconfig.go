// SPDX-License-Identifier: Apache-2.0

package local

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/pki"
)

// How long a component's client certificate is good for, and how much of it must be left at a start.
const (
	componentValidity  = 365 * 24 * time.Hour
	componentLeastLeft = 60 * 24 * time.Hour
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
	return config, nil
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
		if user, err = c.certificate(path, who); err != nil {
			return "", err
		}
		config.AuthInfos[name] = user
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

// certificate returns the one that the component has, or a new one when that is missing or ends soon.
func (c cluster) certificate(path string, who component) (*clientcmdapi.AuthInfo, error) {
	caCert, err := os.ReadFile(c.home.Cluster("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's client CA: %w", err)
	}
	if old, err := clientcmd.LoadFromFile(path); err == nil {
		for _, user := range old.AuthInfos {
			if stillGood(user.ClientCertificateData, caCert, time.Now().Add(componentLeastLeft)) == nil {
				return user, nil
			}
		}
	}
	caKey, err := os.ReadFile(c.home.Cluster("ca.key"))
	if err != nil {
		return nil, fmt.Errorf("read the cluster's client CA: %w", err)
	}
	cert, key, err := pki.KubeClient(caCert, caKey, who.user, who.groups, componentValidity)
	if err != nil {
		return nil, fmt.Errorf("make a client certificate for %s: %w", who.part, err)
	}
	return &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}, nil
}

func stillGood(certPEM, caPEM []byte, until time.Time) error {
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
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: until, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
