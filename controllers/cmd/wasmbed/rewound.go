// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// rewoundInterval is how often a process asks the API server how far it is.
const rewoundInterval = 3 * time.Second

// witnesses is how many Leases tell one past of the API server from another. They change every few seconds, and never in
// the same way twice.
const witnesses = 16

// past is what the API server said of its history.
type past struct {
	revision uint64
	// leases are revision and time of each witness's last change by its name.
	leases map[string]string
}

// exitWhenRewound ends the process when the API server comes back from an older copy of its data, as from a backup. A watch
// that goes on from a revision that is not there any more gets no event until the server has come as far again, and none of
// what happened until then, so that what the process knows would stay what was forgotten. Whoever supervises the process
// starts it anew; it ends at once, as if killed, so that virtual boards run on.
func exitWhenRewound(ctx context.Context, config *rest.Config, log logr.Logger) error {
	client, err := coordination.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	read := pastReader(client.Leases(v1alpha1.SystemNamespace))
	go func() {
		if what := untilRewound(ctx, read, rewoundInterval); what != "" {
			log.Info("the API server has come back from an older copy of its data: this process starts anew", "because", what)
			os.Exit(1)
		}
	}()
	return nil
}

// pastReader reads the Leases: as they are, or as they were at a revision, which the server keeps for some minutes.
func pastReader(leases coordination.LeaseInterface) func(ctx context.Context, at uint64) (past, error) {
	return func(ctx context.Context, at uint64) (past, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		options := metav1.ListOptions{Limit: witnesses}
		if at > 0 {
			options.ResourceVersion, options.ResourceVersionMatch = strconv.FormatUint(at, 10), metav1.ResourceVersionMatchExact
		}
		list, err := leases.List(ctx, options)
		if err != nil {
			return past{}, err
		}
		p := past{leases: make(map[string]string, len(list.Items))}
		if p.revision, err = strconv.ParseUint(list.ResourceVersion, 10, 64); err != nil {
			return past{}, fmt.Errorf("the API server's revision %q is no number", list.ResourceVersion)
		}
		for i := range list.Items {
			lease := &list.Items[i]
			p.leases[lease.Name] = fmt.Sprint(lease.ResourceVersion, " ", lease.Spec.RenewTime)
		}
		return p, nil
	}
}

// untilRewound asks again and again how far the server is, and returns why its data must be an older copy: its revision is
// below one that was seen before, or at that one there were not the Leases that had been seen. It returns "" when ctx ends.
// A server that does not answer, or has forgotten the revision, is asked again.
func untilRewound(ctx context.Context, read func(ctx context.Context, at uint64) (past, error), every time.Duration) string {
	var seen past
	for {
		if now, err := read(ctx, 0); err == nil {
			if now.revision < seen.revision {
				return fmt.Sprintf("its revision was %d and is %d", seen.revision, now.revision)
			}
			then, err := seen, error(nil)
			if seen.revision > 0 && now.revision > seen.revision {
				then, err = read(ctx, seen.revision)
			}
			switch {
			case err == nil && !maps.Equal(then.leases, seen.leases):
				return fmt.Sprintf("at revision %d its Leases were %v and are said to have been %v", seen.revision, seen.leases, then.leases)
			case err == nil || apierrors.IsResourceExpired(err):
				seen = now
			}
		}
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(every):
		}
	}
}
