// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"os"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/simulator"
)

// SimulatorOptions of RunSimulator.
type SimulatorOptions struct {
	// Config of the API server, as the user that may read Devices, Gateways and Secrets.
	Config *rest.Config
	// StateDir keeps what the devices keep in flash.
	StateDir string
	// Firmware that the devices say they run.
	Firmware string
	// NoModules lets devices fetch modules and report that they run, without running them.
	NoModules bool
	Log       logr.Logger
}

// startRate is how many simulated devices a second are switched on at most. A gateway on the same machine welcomes a few
// thousand, and the rest of the installation wants to go on meanwhile.
const startRate = 400

// RunSimulator runs all simulated devices until ctx ends; then all of them are off.
func RunSimulator(ctx context.Context, o SimulatorOptions) error {
	engine, err := simulator.NewEngine(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := engine.Close(context.WithoutCancel(ctx)); err != nil {
			o.Log.Error(err, "engine not closed")
		}
	}()
	pools := &pools{byBundle: map[[sha256.Size]byte]*x509.CertPool{}}
	f, err := newFleet(o.Config, o.StateDir, o.Log, backend{kind: v1alpha1.BackendSimulated, remove: os.RemoveAll, rate: startRate,
		make: func(device *v1alpha1.Device, board boards.Board, credentials *pki.Credentials, endpoints []string, dir string) (machine, error) {
			d, err := simulator.New(simulator.Config{Namespace: device.Namespace, Name: device.Name, Board: board, Firmware: o.Firmware,
				Identity: pools.identity(credentials), Endpoints: endpoints, StateDir: dir, Engine: engine, NoModules: o.NoModules,
				Log: o.Log.WithValues("device", device.Namespace+"/"+device.Name)})
			return simulated{d, pools}, err
		}})
	if err != nil {
		return err
	}
	return f.run(ctx)
}

// simulated is a simulated device as a machine.
type simulated struct {
	*simulator.Device
	pools *pools
}

// SetIdentity implements machine.
func (s simulated) SetIdentity(credentials *pki.Credentials) {
	s.Device.SetIdentity(s.pools.identity(credentials))
}

// pools holds the trusted authorities once for all devices of a fleet, which share one or two sets of them.
type pools struct {
	mu       sync.Mutex
	byBundle map[[sha256.Size]byte]*x509.CertPool
}

func (p *pools) identity(credentials *pki.Credentials) simulator.Identity {
	certificate := credentials.Certificate
	certificate.Leaf = nil // parsed again when it is needed, which is seldom
	sum := sha256.Sum256(credentials.Bundle.PEM())
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.byBundle[sum]
	if pool == nil {
		pool = x509.NewCertPool()
		for _, authority := range credentials.Bundle.Authorities() {
			pool.AddCert(authority)
		}
		p.byBundle[sum] = pool
	}
	return simulator.Identity{Certificate: certificate, Roots: pool}
}
