// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// rewoundInterval is how often a process asks the API server for its newest revision.
const rewoundInterval = 3 * time.Second

// exitWhenRewound ends the process when the API server comes back from an older copy of its data, as from a backup. A watch
// that goes on from a revision that is not there any more gets no event until the server has come as far again, so that
// what the process knows would stay what was forgotten. Whoever supervises the process starts it anew; it ends at once, as if
// killed, so that virtual boards run on.
func exitWhenRewound(ctx context.Context, config *rest.Config, log logr.Logger) error {
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	devices := objects.Resource(v1alpha1.GroupVersion.WithResource("devices"))
	newest := func(ctx context.Context) (uint64, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		list, err := devices.List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(list.ResourceVersion, 10, 64)
	}
	go func() {
		if before, after, rewound := untilRewound(ctx, newest, rewoundInterval); rewound {
			log.Info("the API server has come back from an older copy of its data: this process starts anew", "before", before, "after", after)
			os.Exit(1)
		}
	}()
	return nil
}

// untilRewound asks for the newest revision again and again, and returns when it is below one that was seen before, or ctx
// ends. A server that does not answer is asked again.
func untilRewound(ctx context.Context, newest func(context.Context) (uint64, error), every time.Duration) (before, after uint64, rewound bool) {
	for {
		if revision, err := newest(ctx); err == nil {
			if revision < before {
				return before, revision, true
			}
			before = revision
		}
		select {
		case <-ctx.Done():
			return before, before, false
		case <-time.After(every):
		}
	}
}
