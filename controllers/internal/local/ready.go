// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
)

// waitReady waits until the whole fleet is as git says; when git says nothing yet, until that is known.
func (i *installation) waitReady(ctx context.Context) error {
	return i.say.step("fleet", func(waiting func(string)) (string, error) {
		var last *status.Report
		empty := false
		err := poll(ctx, i.Timeout, func(ctx context.Context) error {
			report, err := status.Gather(ctx, i.objects)
			if err != nil {
				return err
			}
			last = report
			if empty = i.awaitsFirstCommit(report); !report.Ready && !empty {
				waiting(report.Waiting())
				return fmt.Errorf("%s", report.Waiting())
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if empty {
			return "empty, until a first commit is pushed", nil
		}
		return last.Summary(), nil
	})
}

// awaitsFirstCommit tells whether nothing is wrong but that the fleet repository holds no commit.
func (i *installation) awaitsFirstCommit(report *status.Report) bool {
	if len(report.Repositories) != 1 || report.Repositories[0].Reason != v1alpha1.ReasonRevisionNotFound || len(report.Problems) != 1 {
		return false
	}
	return withoutCommits(i.Home.FleetRepository())
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
