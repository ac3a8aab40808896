// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus"
	"k8s.io/kubernetes/pkg/generated/openapi"
	tokens "k8s.io/kubernetes/pkg/serviceaccount"
)

const (
	managerUser = "system:kube-controller-manager"

	// Requests a second that a controller may send; upstream's 20 would take
	// a quarter of an hour to collect 10,000 objects (two requests each).
	defaultQPS   = 50
	collectorQPS = 200
	namespaceQPS = 400

	resync            = 12 * time.Hour
	discoveryInterval = 30 * time.Second
)

// controllers holds what the controllers share. It does what
// kube-controller-manager's main does for these few, without the other forty:
// they would add two minutes to the build for things that nothing here uses.
type controllers struct {
	ids       *identities
	discovery discovery.DiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	typed     informers.SharedInformerFactory
	metadata  metadatainformer.SharedInformerFactory
	client    metadata.Interface
	// started is closed when the informers of all controllers run.
	started chan struct{}
}

// runControllers runs the controllers until ctx is done.
func runControllers(ctx context.Context, dir *dataDir, ids *identities) error {
	c, err := newControllers(ids)
	if err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	var loops []func(context.Context)
	for _, build := range []func(context.Context, *dataDir) (func(context.Context), error){
		c.tokens, c.serviceAccounts, c.namespaces, c.garbage, c.clusterRoles, c.policyStatus,
	} {
		loop, err := build(ctx, dir)
		if err != nil {
			return fmt.Errorf("controllers: %w", err)
		}
		loops = append(loops, loop)
	}
	c.typed.Start(ctx.Done())
	c.metadata.Start(ctx.Done())
	close(c.started)

	var running sync.WaitGroup
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	running.Go(func() { wait.UntilWithContext(ctx, func(context.Context) { c.mapper.Reset() }, discoveryInterval) })
	running.Wait()
	c.typed.Shutdown()
	c.metadata.Shutdown()
	return nil
}

func newControllers(ids *identities) (*controllers, error) {
	config, err := ids.clientConfig(managerUser)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = defaultQPS, 10*defaultQPS
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &controllers{
		ids:       ids,
		discovery: client.Discovery(),
		mapper:    restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
		typed:     informers.NewSharedInformerFactoryWithOptions(client, resync, informers.WithTransform(trim)),
		metadata:  metadatainformer.NewSharedInformerFactoryWithOptions(metadataClient, resync, metadatainformer.WithTransform(trim)),
		client:    metadataClient,
		started:   make(chan struct{}),
	}, nil
}

// trim drops what no controller reads and what is half of a small object.
func trim(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// config returns a client configuration with the identity of the service
// account that upstream's RBAC rules bind a controller's permissions to.
func (c *controllers) config(name string, qps float32) (*rest.Config, error) {
	config, err := c.ids.clientConfig("system:serviceaccount:kube-system:"+name, "system:serviceaccounts", "system:serviceaccounts:kube-system")
	if err != nil {
		return nil, err
	}
	config.UserAgent = name
	config.QPS, config.Burst = qps, int(10*qps)
	return config, nil
}

func (c *controllers) kube(name string, qps float32) (kubernetes.Interface, error) {
	config, err := c.config(name, qps)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// tokens fills Secrets that ask for the token of a service account.
func (c *controllers) tokens(ctx context.Context, dir *dataDir) (func(context.Context), error) {
	config, err := c.ids.clientConfig(managerUser)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	key, err := c.ids.readKey(tokenKey)
	if err != nil {
		return nil, err
	}
	generator, err := tokens.JWTTokenGenerator(tokens.LegacyIssuer, key)
	if err != nil {
		return nil, err
	}
	controller, err := serviceaccount.NewTokensController(klog.FromContext(ctx),
		c.typed.Core().V1().ServiceAccounts(), c.typed.Core().V1().Secrets(), client,
		serviceaccount.TokensControllerOptions{TokenGenerator: generator, RootCA: c.ids.caCertificates()})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { controller.Run(ctx, 1) }, nil
}

// serviceAccounts gives each namespace its service account "default".
func (c *controllers) serviceAccounts(ctx context.Context, _ *dataDir) (func(context.Context), error) {
	client, err := c.kube("service-account-controller", defaultQPS)
	if err != nil {
		return nil, err
	}
	controller, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx),
		c.typed.Core().V1().ServiceAccounts(), c.typed.Core().V1().Namespaces(), client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { controller.Run(ctx, 1) }, nil
}

// namespaces empties and removes deleted namespaces.
func (c *controllers) namespaces(ctx context.Context, _ *dataDir) (func(context.Context), error) {
	config, err := c.config("namespace-controller", namespaceQPS)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	controller := namespace.NewNamespaceController(ctx, client, metadataClient,
		client.Discovery().ServerPreferredNamespacedResources,
		c.typed.Core().V1().Namespaces(), 5*time.Minute, corev1.FinalizerKubernetes)
	return func(ctx context.Context) { controller.Run(ctx, 5) }, nil
}

// garbage deletes objects whose owners are gone.
func (c *controllers) garbage(ctx context.Context, _ *dataDir) (func(context.Context), error) {
	config, err := c.config("generic-garbage-collector", collectorQPS)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	graph := garbagecollector.NewDependencyGraphBuilder(ctx, c.client, c.mapper, garbagecollector.DefaultIgnoredResources(),
		informerfactory.NewInformerFactory(c.typed, c.metadata), c.started)
	collector, err := garbagecollector.NewComposedGarbageCollector(ctx, client, metadataClient, c.mapper, graph)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		var running sync.WaitGroup
		running.Go(func() { collector.Run(ctx, 20, discoveryInterval) })
		// New kinds, such as those of custom resources, are found here.
		running.Go(func() { collector.Sync(ctx, client.Discovery(), discoveryInterval) })
		running.Wait()
	}, nil
}

// clusterRoles fills ClusterRoles that aggregate others.
func (c *controllers) clusterRoles(context.Context, *dataDir) (func(context.Context), error) {
	client, err := c.kube("clusterrole-aggregation-controller", defaultQPS)
	if err != nil {
		return nil, err
	}
	controller := clusterroleaggregation.NewClusterRoleAggregation(c.typed.Rbac().V1().ClusterRoles(), client.RbacV1())
	return func(ctx context.Context) { controller.Run(ctx, 1) }, nil
}

// policyStatus checks the types in ValidatingAdmissionPolicies and writes what
// it finds into their status.
func (c *controllers) policyStatus(context.Context, *dataDir) (func(context.Context), error) {
	client, err := c.kube("validatingadmissionpolicy-status-controller", defaultQPS)
	if err != nil {
		return nil, err
	}
	checker := &validating.TypeChecker{
		SchemaResolver: resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, scheme.Scheme, apiextensionsscheme.Scheme).
			Combine(&resolver.ClientDiscoveryResolver{Discovery: client.Discovery()}),
		RestMapper: c.mapper,
	}
	controller, err := validatingadmissionpolicystatus.NewController(
		c.typed.Admissionregistration().V1().ValidatingAdmissionPolicies(),
		client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), checker)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { controller.Run(ctx, 1) }, nil
}

// unversioned returns a copy of config for paths outside of API groups.
func unversioned(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.GroupVersion = &schema.GroupVersion{}
	config.NegotiatedSerializer = serializer.WithoutConversionCodecFactory{CodecFactory: scheme.Codecs}
	return config
}
