// SPDX-License-Identifier: Apache-2.0

// Command wasmbed-cluster runs one upstream Kubernetes API server with its
// etcd and a few controllers in one process, with all of its state in one
// directory. See the README of this module for flags, files and exit statuses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	embedded "wasmbed.dev/clusters/embedded"
)

// Exit statuses. A supervisor restarts after 1 and asks a person about the rest.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitLocked  = 3
	exitPort    = 4
	exitDataDir = 5
)

func main() {
	flags := pflag.NewFlagSet("wasmbed-cluster", pflag.ContinueOnError)
	flags.SortFlags = false
	var options embedded.Options
	flags.StringVar(&options.DataDir, "data-dir", "", "directory of all state; created when missing (required)")
	flags.IntVar(&options.Port, "port", 0, "TCP port of the API (required)")
	flags.StringVar(&options.Bind, "bind", "127.0.0.1", "IP address to listen on")
	if err := flags.Parse(os.Args[1:]); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return
		}
		fail(exitUsage, err)
	}
	if flags.NArg() > 0 {
		fail(exitUsage, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	options.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))

	// A stop is short and bounded, so more signals (a terminal's and then a
	// supervisor's) change nothing about it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := embedded.Run(ctx, options, announce); err != nil {
		fail(exitStatus(err), err)
	}
}

// announce prints the line that the supervisor waits for.
func announce(ready embedded.Ready) {
	line, err := json.Marshal(map[string]any{"ready": true, "seconds": ready.Seconds, "url": ready.URL})
	if err != nil {
		panic("internal error: " + err.Error())
	}
	fmt.Println(string(line))
}

func exitStatus(err error) int {
	switch {
	case errors.Is(err, embedded.ErrUsage):
		return exitUsage
	case errors.Is(err, embedded.ErrLocked):
		return exitLocked
	case errors.Is(err, embedded.ErrPortBusy):
		return exitPort
	case errors.Is(err, embedded.ErrDataDir):
		return exitDataDir
	}
	return exitFailed
}

func fail(status int, err error) {
	fmt.Fprintln(os.Stderr, "wasmbed-cluster:", err)
	os.Exit(status)
}
