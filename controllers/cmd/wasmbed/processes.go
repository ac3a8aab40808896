// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/internal/manager"
	"wasmbed.dev/controllers/internal/workload"
	"wasmbed.dev/dashboard"
	"wasmbed.dev/gateway"
)

// The processes that `wasmbed up` supervises. Each reaches the API server with an identity of its own, by the
// kubeconfig that it is given.

// newProcess makes the hidden command of a process.
func newProcess(name, short string, run func(ctx context.Context, config *rest.Config, log logr.Logger) error) *cobra.Command {
	var kubeconfig string
	command := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs, Hidden: true,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			config.UserAgent = "wasmbed-" + name + "/" + version
			log := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil))
			ctrllog.SetLogger(log)
			klog.SetLogger(log)
			if err := exitWhenRewound(command.Context(), config, log); err != nil {
				return err
			}
			return run(command.Context(), config, log)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server (default: from inside of a cluster)")
	return command
}

func newControllersCommand() *cobra.Command {
	o := manager.Options{}
	command := newProcess("controllers", "Run the controllers", func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		o.Config, o.Log = config, log
		return manager.Run(ctx, o)
	})
	command.Flags().StringVar(&o.StoreDir, "store-dir", "", "directory of the modules")
	command.Flags().StringVar(&o.GitDir, "git-dir", "", "directory of the repositories' clones")
	command.Flags().StringVar(&o.StoreListen, "store-listen", "", "address where gateways fetch modules")
	command.Flags().StringVar(&o.HookListen, "hook-listen", "", "address where forges say that something was pushed")
	return command
}

func newGatewayCommand() *cobra.Command {
	o := gateway.Options{}
	command := newProcess("gateway", "Run a gateway", func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		o.Config, o.Log = config, log
		return gateway.Run(ctx, o)
	})
	flags := command.Flags()
	flags.StringVar(&o.Namespace, "namespace", "", "namespace of the Gateway")
	flags.StringVar(&o.Name, "name", "", "name of the Gateway")
	flags.StringVar(&o.Listen, "listen", "", "address for devices")
	flags.StringVar(&o.HTTPListen, "http-listen", "", "address of health, metrics and logs")
	flags.StringVar(&o.StoreURL, "store", "", "where modules come from: https://host:port")
	flags.StringVar(&o.CacheDir, "cache-dir", "", "directory for modules and session keys")
	return command
}

func newSimulatorCommand() *cobra.Command {
	o := workload.SimulatorOptions{Firmware: "simulator " + version}
	command := newProcess("simulator", "Run all simulated devices", func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		o.Config, o.Log = config, log
		return workload.RunSimulator(ctx, o)
	})
	command.Flags().StringVar(&o.StateDir, "state-dir", "", "directory of what the devices keep")
	command.Flags().BoolVar(&o.NoModules, "no-modules", false, "report that modules run without running them, for measurements at scale")
	return command
}

func newBoardsCommand() *cobra.Command {
	o := workload.BoardsOptions{}
	command := newProcess("boards", "Run all virtual boards", func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		o.Config, o.Log = config, log
		return workload.RunBoards(ctx, o)
	})
	command.Flags().StringVar(&o.StateDir, "state-dir", "", "directory of what the boards keep")
	command.Flags().StringVar(&o.FirmwareDir, "firmware-dir", "", "directory with BOARD.elf for each board")
	return command
}

func newDashboardCommand() *cobra.Command {
	o := dashboard.Options{}
	command := newProcess("dashboard", "Run the dashboard", func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		o.Config, o.Log = config, log
		return dashboard.Run(ctx, o)
	})
	command.Flags().StringVar(&o.Listen, "listen", "", "address for browsers")
	command.Flags().StringVar(&o.TokenFile, "token-file", "", "file with the token that opens the dashboard")
	command.Flags().StringVar(&o.IdentityDir, "identity-dir", "", "directory with the certificate that gateways know the dashboard by: tls.crt, tls.key, ca.crt")
	command.Flags().StringVar(&o.StoreURL, "store", "", "where modules come from: https://host:port")
	command.Flags().StringVar(&o.RunDir, "run-dir", "", "directory with NAME.pid of the installation's processes")
	command.Flags().StringVar(&o.AuditLog, "audit-log", "", "the API server's audit log")
	command.Flags().BoolVar(&o.Reviews, "reviews", false, "also let in the bearers of tokens that the API server knows, to see what they may")
	return command
}
