// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/local"
)

var commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// newNotifyCommand is what the fleet repository's hook calls after a push.
func newNotifyCommand() *cobra.Command {
	var commit, at string
	command := &cobra.Command{
		Use:    "notify",
		Short:  "Tell the controllers of a push",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := homeOf(command)
			if err != nil {
				return err
			}
			if !commitName.MatchString(commit) {
				return fmt.Errorf("--commit %q is no full commit name", commit)
			}
			if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
				return fmt.Errorf("--at: %w", err)
			}
			out := command.OutOrStdout()
			if _, err := dir.ReadState(); err != nil {
				_, err := fmt.Fprintf(out, "wasmbed: %.8s is stored; nothing runs now, it is picked up at the next `wasmbed up`\n", commit)
				return err
			}
			if err := annotatePush(command.Context(), dir.ComponentKubeconfig("hook"), commit, at); err != nil {
				_, err := fmt.Fprintf(out, "wasmbed: %.8s is stored; the controllers could not be told (%v) and find it at their next look\n", commit, err)
				return err
			}
			_, err = fmt.Fprintf(out, "wasmbed: %.8s is on its way; follow it with: wasmbed --home %s trace %.8s\n", commit, dir, commit)
			return err
		},
	}
	command.Flags().StringVar(&commit, "commit", "", "the branch's new commit")
	command.Flags().StringVar(&at, "at", "", "when the push arrived, RFC 3339")
	return command
}

// annotatePush asks for a fetch now and tells when the push arrived.
func annotatePush(ctx context.Context, kubeconfig, commit, at string) error {
	ctrllog.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read the hook's kubeconfig: %w", err)
	}
	config.Timeout = 5 * time.Second
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		v1alpha1.AnnotationPushed: commit + " " + at, v1alpha1.AnnotationReconcileAt: at,
	}}})
	if err != nil {
		return err
	}
	scheme, err := local.NewScheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	repository := &v1alpha1.Repository{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: local.RepositoryName}}
	return c.Patch(ctx, repository, client.RawPatch(types.MergePatchType, patch))
}
