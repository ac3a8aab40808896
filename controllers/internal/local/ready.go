// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
)

// waitReady waits until the whole fleet is as the newest commit says, or until that takes another one.
func (i *installation) waitReady(ctx context.Context) error {
	i.say.printf("  %-22s          %s\n", "dashboard", i.dashboardAddress())
	return i.say.step("fleet", func(waiting func(string)) (string, error) {
		var last *status.Report
		empty := false
		err := poll(ctx, i.Timeout, func(ctx context.Context) error {
			report, err := status.Gather(ctx, i.objects)
			if err != nil {
				return err
			}
			last = report
			if empty = i.awaitsFirstCommit(report); empty {
				return nil
			}
			missing := report.Waiting()
			if fetched, err := i.newestFetched(ctx); err != nil {
				return err
			} else if !fetched {
				missing = "the newest commit to be fetched"
			} else if report.Ready || report.Stalled {
				return nil
			}
			waiting(missing)
			return errors.New(missing)
		})
		if err != nil {
			return "", err
		}
		if empty {
			return "empty, until a first commit is pushed", nil
		}
		if last.Stalled {
			return "", errors.New(last.Waiting())
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

// newestFetched tells whether the controllers know the newest commit of the fleet repository, when it is that which they follow.
func (i *installation) newestFetched(ctx context.Context) (bool, error) {
	repository := &v1alpha1.Repository{}
	if err := i.objects.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: RepositoryName}, repository); err != nil {
		return false, fmt.Errorf("read Repository %s: %w", RepositoryName, err)
	}
	newest := newestCommit(i.Home.FleetRepository(), repository.Spec.Branch)
	if newest == "" || repository.Spec.URL != fleetURL(i.Home) || repository.Spec.Suspend {
		return true, nil
	}
	return repository.Status.Fetched != nil && repository.Status.Fetched.Commit == newest, nil
}

func (i *installation) dashboardAddress() string {
	token, err := os.ReadFile(i.Home.DashboardToken())
	if err != nil {
		token = []byte("?")
	}
	return "http://" + home.Loopback(i.Ports.Dashboard) + "/?token=" + strings.TrimSpace(string(token))
}

// closingBlock tells a person what there is now and what to do with it.
func (i *installation) closingBlock(took time.Duration) {
	parts := []string{}
	for _, status := range i.supervisor.Status() {
		parts = append(parts, status.Name)
	}
	i.say.printf(`
Wasmbed is up after %.1f s.

  fleet       git clone %s
  kubeconfig  export KUBECONFIG=%s
  dashboard   %s
  devices     connect to %s
  runs        %s
  logs        %s

Edit the fleet, commit, git push; then follow it with: wasmbed status --watch
`, took.Seconds(), i.Home.FleetRepository(), i.Home.Kubeconfig(), i.dashboardAddress(),
		home.Loopback(i.Ports.Device), strings.Join(parts, " "), i.Home.LogDir())
}
