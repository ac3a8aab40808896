// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/gateway"
)

func deviceLogs(command *cobra.Command, device string, follow bool) error {
	namespace, name, _ := strings.Cut(device, "/")
	objects, err := readerOf(command)
	if err != nil {
		return err
	}
	g, err := gatewayclient.New(command.Context(), objects)
	if err != nil {
		return err
	}
	assigned, err := g.GatewayOf(command.Context(), namespace, name)
	if err != nil {
		return err
	}
	query := url.Values{"device": {device}}
	if follow {
		query.Set("follow", "1")
	}
	body, err := g.Get(command.Context(), assigned, "/v1/logs?"+query.Encode())
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		var line gateway.LogLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read log line: %w", err)
		}
		source := line.App
		if source == "" {
			source = "firmware"
		}
		if _, err := fmt.Fprintf(command.OutOrStdout(), "%s %-7s %s: %s\n", line.Time.Local().Format("15:04:05.000"), line.Level, status.Printable(source), status.Printable(line.Text)); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}
