// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"path/filepath"

	"github.com/spf13/pflag"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	// The version that the API server tells.
	_ "wasmbed.dev/clusters/embedded/internal/release"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

const tokenIssuer = "https://kubernetes.default.svc"

// apiServerFlags are kube-apiserver's own flags; what is not here is upstream's
// default, such as the admission plugins (ValidatingAdmissionPolicy among them).
func apiServerFlags(dir *dataDir, policyPath, etcdEndpoint string) []string {
	return []string{
		"--etcd-servers=" + etcdEndpoint,
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file=" + dir.path(servingCert),
		"--tls-private-key-file=" + dir.path(servingKey),
		"--tls-min-version=VersionTLS13",
		"--client-ca-file=" + dir.path(caCertificate),
		"--anonymous-auth=false",
		"--authorization-mode=RBAC",
		"--service-account-key-file=" + dir.path(tokenPublicKey),
		"--service-account-signing-key-file=" + dir.path(tokenKey),
		"--service-account-issuer=" + tokenIssuer,
		"--audit-policy-file=" + policyPath,
		"--audit-log-path=" + dir.path(auditLog),
		"--audit-log-maxsize=32", // MB a file: 128 MB with the backups
		"--audit-log-maxbackup=3",
		"--event-ttl=15m",
		"--profiling=false",
		// Two cores serve a few requests at a time; more would only hold memory.
		// Priority and fairness divides the sum among the callers.
		"--max-requests-inflight=128",
		"--max-mutating-requests-inflight=64",
		// One server needs no Lease that tells it from others, renewed for ever.
		// A comparison of the watch cache with etcd every few minutes decodes
		// all that there is, and holds ten thousand objects at a time.
		"--feature-gates=APIServerIdentity=false,UnknownVersionInteroperabilityProxy=false,DetectCacheInconsistency=false",
	}
}

// runAPIServer serves on the listener until ctx is done.
func runAPIServer(ctx context.Context, dir *dataDir, listener net.Listener, etcdEndpoint string) error {
	policyPath := filepath.Join(dir.path(runDir), "audit-policy.yaml")
	if err := writeFile(policyPath, auditPolicy, 0o600); err != nil {
		return err
	}
	// The server's own clients and controllers need no warnings from itself.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	server := options.NewServerRunOptions()
	addFieldOwners(server)
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(apiServerFlags(dir, policyPath, etcdEndpoint)); err != nil {
		return fmt.Errorf("API server flags: %w", err)
	}
	server.SecureServing.Listener = listener
	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("API server features: %w", err)
	}
	completed, err := server.Complete(ctx)
	if err != nil {
		return fmt.Errorf("API server options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("API server options: %w", utilerrors.NewAggregate(errs))
	}
	if err := app.Run(ctx, completed); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}
