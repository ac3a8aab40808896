// SPDX-License-Identifier: Apache-2.0

// Command scale measures an installation with very many simulated devices: the embedded cluster, the controllers, the
// gateway, the simulator and the dashboard are the product's own processes. Each figure stands beside a bare one that
// is measured in the same run: the same objects written to the same API server by nothing but parallel requests, the
// same handshakes made by nothing but crypto/tls. So a busy machine changes the seconds and hardly the ratio.
//
//	go run ./controllers/bench/scale -devices 1000
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/bench/measure"
	"wasmbed.dev/controllers/config"
	"wasmbed.dev/internal/testcluster"
)

// workers write at once in the bare measurements, as many as the controllers' own reconcilers do.
const workers = 8

func main() {
	if os.Getenv(bareServerEnv) != "" {
		serveBare()
	}
	devices := flag.Int("devices", 10000, "devices of the fleet")
	idle := flag.Duration("idle", time.Minute, "how long to watch the idle system")
	bin := flag.String("bin", "bin", "directory of the built programs")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *devices, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench/scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin string, devices int, idle time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "bench-scale-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := testcluster.New()
	if err != nil {
		return err
	}
	defer cluster.Remove()
	if err := config.Install(ctx, cluster.Admin()); err != nil {
		return err
	}
	b := &bench{dir: dir, cluster: cluster, devices: devices, idle: idle, parts: map[string]*part{}}
	defer b.stopAll()
	if b.program, err = filepath.Abs(filepath.Join(bin, "wasmbed")); err != nil {
		return err
	}
	admin := cluster.Admin()
	if b.kube, err = client.New(admin, client.Options{Scheme: testcluster.Scheme()}); err != nil {
		return err
	}
	if b.counter, err = measure.NewCounter(admin); err != nil {
		return err
	}
	say("%d devices\n", devices)
	for _, stage := range []func(context.Context) error{
		b.bareObjects, b.firstSync, b.oneChange, b.bareHandshakes, b.connectAll, b.idleSystem, b.runEverywhere, b.threeApps,
		b.storm, b.anotherGateway, b.removeApplications, b.removeDevices,
	} {
		if err := stage(ctx); err != nil {
			return err
		}
	}
	return nil
}

func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format, args...) }

// row prints a figure of the table.
func row(what, aim, figure string, args ...any) {
	say("| %s | %s | %s |\n", what, aim, fmt.Sprintf(figure, args...))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// times is how many times larger a is than b.
func times(a, b time.Duration) string {
	if b <= 0 {
		return "?"
	}
	return fmt.Sprintf("%.2f×", a.Seconds()/b.Seconds())
}

func megabytes(bytes int64) int64 { return bytes >> 20 }
