// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/internal/local"
	"wasmbed.dev/controllers/internal/status"
)

func newStatusCommand() *cobra.Command {
	var watch, asJSON bool
	command := &cobra.Command{
		Use:   "status [NAMESPACE/DEVICE]",
		Short: "Show the fleet as a tree, what is wrong first, or one device; exit status 0 only when all is Ready",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			reader, err := readerOf(command)
			if err != nil {
				return err
			}
			gather := fleetReports(command.Context(), reader)
			if len(args) == 1 {
				if gather, err = deviceReports(command.Context(), reader, args[0]); err != nil {
					return err
				}
			}
			out := command.OutOrStdout()
			if asJSON {
				out = escapedJSON{out}
			}
			ready, err := showReports(command.Context(), gather, out, watch, asJSON)
			if err == nil && !ready {
				err = exitError{status: 1}
			}
			return err
		},
	}
	command.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes, until Ctrl-C")
	command.Flags().BoolVar(&asJSON, "json", false, "write JSON; with --watch one document a line")
	return command
}

// statusReport is what status shows at one moment.
type statusReport struct {
	content any // as JSON; when it differs the report is shown again
	ready   bool
	write   func(io.Writer) error // for a person
}

func fleetReports(ctx context.Context, reader client.Reader) func() (statusReport, error) {
	return func() (statusReport, error) {
		r, err := status.Gather(ctx, reader)
		if err != nil {
			return statusReport{}, err
		}
		return statusReport{content: r, ready: r.Ready, write: func(w io.Writer) error { return status.Render(w, r, time.Now()) }}, nil
	}
}

func showReports(ctx context.Context, gather func() (statusReport, error), out io.Writer, watch, asJSON bool) (ready bool, err error) {
	shown := ""
	for {
		r, err := gather()
		if err != nil {
			if ctx.Err() != nil {
				return ready, nil
			}
			return false, err
		}
		ready = r.ready
		content, text, err := r.text(watch, asJSON)
		if err != nil {
			return ready, err
		}
		if content != shown {
			if watch && !asJSON {
				text = "\x1b[H\x1b[2J" + text
			}
			if _, err := io.WriteString(out, text); err != nil {
				return ready, err
			}
			shown = content
		}
		if !watch {
			return ready, nil
		}
		select {
		case <-ctx.Done():
			return ready, nil
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// text renders a report; content is what must differ for it to be shown again.
func (r statusReport) text(watch, asJSON bool) (content, text string, err error) {
	compact, err := json.Marshal(r.content)
	if err != nil {
		return "", "", fmt.Errorf("encode status: %w", err)
	}
	if asJSON && watch {
		return string(compact), string(compact) + "\n", nil
	}
	var b bytes.Buffer
	if asJSON {
		err = json.Indent(&b, compact, "", "  ")
		b.WriteByte('\n')
	} else {
		err = r.write(&b)
	}
	return string(compact), b.String(), err
}

// restConfigOf reaches the API server with the home's kubeconfig.
func restConfigOf(command *cobra.Command) (*rest.Config, error) {
	dir, err := homeOf(command)
	if err != nil {
		return nil, err
	}
	if _, err := dir.ReadState(); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 50, 100
	return config, nil
}

// readerOf reads objects straight from the API server.
func readerOf(command *cobra.Command) (client.Client, error) {
	ctrllog.SetLogger(logr.Discard())
	config, err := restConfigOf(command)
	if err != nil {
		return nil, err
	}
	scheme, err := local.NewScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return c, nil
}
