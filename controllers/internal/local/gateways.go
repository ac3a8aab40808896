// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/supervise"
)

// gatewayPorts are the ports of one gateway process; they stay the same over restarts, since devices remember them.
type gatewayPorts struct {
	Device int `json:"device"`
	HTTP   int `json:"http"`
}

// gateways keeps one process running for each Gateway object.
type gateways struct {
	home       home.Dir
	ports      home.Ports
	cluster    cluster
	program    string
	supervisor *supervise.Supervisor
	log        logr.Logger
	// started holds the listen address that each running process was given.
	started map[string]string
}

// run follows the Gateway objects until ctx ends.
func (g *gateways) run(ctx context.Context, objects cache.Cache) error {
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[toolscache.ObjectName]())
	defer queue.ShutDown()
	informer, err := objects.GetInformer(ctx, &v1alpha1.Gateway{})
	if err != nil {
		return fmt.Errorf("watch gateways: %w", err)
	}
	enqueue := func(object any) {
		if key, err := toolscache.DeletionHandlingObjectToName(object); err == nil {
			queue.Add(key)
		}
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) }, DeleteFunc: enqueue,
	}); err != nil {
		return fmt.Errorf("watch gateways: %w", err)
	}
	context.AfterFunc(ctx, queue.ShutDown)
	for {
		key, closed := queue.Get()
		if closed {
			return nil
		}
		if err := g.settle(ctx, objects, key); err != nil {
			g.log.Error(err, "cannot run gateway", "gateway", key.String())
			queue.AddRateLimited(key)
		} else {
			queue.Forget(key)
		}
		queue.Done(key)
	}
}

// settle starts, restarts or ends the process of one Gateway.
func (g *gateways) settle(ctx context.Context, objects cache.Cache, key toolscache.ObjectName) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	who := gatewayComponent(key.Namespace, key.Name)
	gateway := &v1alpha1.Gateway{}
	err := objects.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, gateway)
	if apierrors.IsNotFound(err) || err == nil && gateway.DeletionTimestamp != nil {
		g.supervisor.Stop(who.part)
		delete(g.started, who.part)
		return nil
	}
	if err != nil {
		return err
	}
	ports, err := g.portsOf(v1alpha1.GatewayKey(key.Namespace, key.Name))
	if err != nil {
		return err
	}
	listen := gateway.Spec.Listen
	if listen == "" {
		listen = home.Loopback(ports.Device)
	}
	if g.started[who.part] == listen {
		return nil
	}
	g.supervisor.Stop(who.part)
	kubeconfig, err := g.cluster.kubeconfig(who)
	if err != nil {
		return err
	}
	g.supervisor.Start(supervise.Part{
		Name: who.part, Path: g.program, Log: g.home.Log(who.part), PIDFile: g.home.Run(who.part + ".pid"),
		Args: []string{"gateway", "--kubeconfig", kubeconfig, "--namespace", key.Namespace, "--name", key.Name,
			"--listen", listen, "--http-listen", home.Loopback(ports.HTTP),
			"--store", "https://localhost:" + strconv.Itoa(g.ports.Store), "--cache-dir", g.home.Data("gateway", v1alpha1.GatewayKey(key.Namespace, key.Name))},
	})
	g.started[who.part] = listen
	return nil
}

// gatewayPortBook remembers which gateway listens where.
type gatewayPortBook struct {
	// First is the gateway that has the installation's own ports.
	First  string                  `json:"first"`
	Others map[string]gatewayPorts `json:"others,omitempty"`
}

// otherGateways is how far above the installation's own first port those of other gateways begin.
const otherGateways = 30

// freePorts are two above the installation's own that no other gateway has. A system gives ports from much higher on to
// whoever connects somewhere: one of those might be taken when the gateway starts the next time.
func (g *gateways) freePorts(book gatewayPortBook) (ports gatewayPorts, err error) {
	taken := map[int]bool{}
	for _, other := range book.Others {
		taken[other.Device], taken[other.HTTP] = true, true
	}
	if ports.Device, err = home.FreePortFrom(g.ports.Device+otherGateways, taken); err != nil {
		return ports, err
	}
	ports.HTTP, err = home.FreePortFrom(ports.Device+1, taken)
	return ports, err
}

// portsOf returns the ports of a gateway: the installation's own for the first one, free ones for the others.
func (g *gateways) portsOf(key string) (gatewayPorts, error) {
	file := g.home.Data("gateway-ports.json")
	book := gatewayPortBook{}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &book)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gatewayPorts{}, fmt.Errorf("read gateway ports: %w", err)
	}
	ports, known := book.Others[key]
	switch {
	case book.First == key:
		return gatewayPorts{Device: g.ports.Device, HTTP: g.ports.GatewayHTTP}, nil
	case known:
		return ports, nil
	case book.First == "":
		book.First = key
		ports = gatewayPorts{Device: g.ports.Device, HTTP: g.ports.GatewayHTTP}
	default:
		if ports, err = g.freePorts(book); err != nil {
			return ports, err
		}
		if book.Others == nil {
			book.Others = map[string]gatewayPorts{}
		}
		book.Others[key] = ports
	}
	if text, err = json.MarshalIndent(book, "", "  "); err != nil {
		return ports, fmt.Errorf("write gateway ports: %w", err)
	}
	return ports, home.WriteFile(file, append(text, '\n'), 0o600)
}
