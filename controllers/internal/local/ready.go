// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
)

// waitReady waits until the whole fleet is as git says.
func (i *installation) waitReady(ctx context.Context) error {
	return i.say.step("fleet", func(waiting func(string)) (string, error) {
		var last *status.Report
		err := poll(ctx, i.Timeout, func(ctx context.Context) error {
			report, err := status.Gather(ctx, i.objects)
			if err != nil {
				return err
			}
			last = report
			if !report.Ready {
				waiting(report.Waiting())
				return fmt.Errorf("%s", report.Waiting())
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		return last.Summary(), nil
	})
}

// closingBlock tells a person what there is now and what to do with it.
func (i *installation) closingBlock(took time.Duration) {
	token, err := os.ReadFile(i.Home.DashboardToken())
	if err != nil {
		token = []byte("?")
	}
	parts := []string{}
	for _, status := range i.supervisor.Status() {
		parts = append(parts, status.Name)
	}
	i.say.printf(`
Wasmbed is up after %.1f s.

  fleet       git clone %s
  kubeconfig  export KUBECONFIG=%s
  dashboard   http://%s/?token=%s
  devices     connect to %s
  runs        %s
  logs        %s

Edit the fleet, commit, git push; then follow it with: wasmbed status --watch
`, took.Seconds(), i.Home.FleetRepository(), i.Home.Kubeconfig(), home.Loopback(i.Ports.Dashboard), strings.TrimSpace(string(token)),
		home.Loopback(i.Ports.Device), strings.Join(parts, " "), i.Home.LogDir())
}
