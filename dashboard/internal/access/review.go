// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/fleet"
)

const (
	// reviewLife is how long an answer of the API server is believed.
	reviewLife    = 30 * time.Second
	reviewTimeout = 10 * time.Second
	// reviewsPerSecond bounds what strangers can make the dashboard ask.
	reviewsPerSecond = 20
	// maxNamespaces is how many namespaces are asked about one by one.
	maxNamespaces = 256
)

// resources that one must be able to list in a namespace to see its fleet.
var resources = []string{"applications", "devices", "gateways", "instances", "repositories"}

// clusterReviewer asks by TokenReview and SubjectAccessReview.
type clusterReviewer struct {
	client     kubernetes.Interface
	namespaces func() []string
	pace       *rate.Limiter
	flights    singleflight.Group

	known *expirable.LRU[[sha256.Size]byte, answer]
}

type answer struct {
	user  string
	scope fleet.Scope
	err   error
}

// NewReviewer asks the API server with the dashboard's identity. namespaces are those that the fleet has objects in.
func NewReviewer(config *rest.Config, namespaces func() []string) (Reviewer, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for reviews: %w", err)
	}
	return &clusterReviewer{client: client, namespaces: namespaces, pace: rate.NewLimiter(reviewsPerSecond, 2*reviewsPerSecond),
		known: expirable.NewLRU[[sha256.Size]byte, answer](maxRemembered, nil, reviewLife)}, nil
}

// Review implements Reviewer.
func (c *clusterReviewer) Review(ctx context.Context, token string) (string, fleet.Scope, error) {
	key := sha256.Sum256([]byte(token))
	if a, ok := c.known.Get(key); ok {
		return a.user, a.scope, a.err
	}
	done := c.flights.DoChan(string(key[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), reviewTimeout)
		defer cancel()
		a := c.ask(ctx, token)
		if !errors.Is(a.err, ErrUnavailable) && !errors.Is(a.err, ErrTooMany) {
			c.known.Add(key, a)
		}
		return a, nil
	})
	select {
	case <-ctx.Done():
		return "", fleet.Scope{}, ErrUnavailable
	case result := <-done:
		a := result.Val.(answer)
		return a.user, a.scope, a.err
	}
}

func (c *clusterReviewer) ask(ctx context.Context, token string) answer {
	if !c.pace.Allow() {
		return answer{err: ErrTooMany}
	}
	review, err := c.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return answer{err: ErrUnavailable}
	case !review.Status.Authenticated:
		return answer{err: ErrUnauthenticated}
	}
	user := &review.Status.User
	all, err := c.mayList(ctx, user, metav1.NamespaceAll)
	if err != nil {
		return answer{err: ErrUnavailable}
	}
	if all {
		return answer{user: user.Username, scope: fleet.Everything()}
	}
	scope, err := c.scopeOf(ctx, user)
	if err != nil {
		return answer{err: ErrUnavailable}
	}
	return answer{user: user.Username, scope: scope}
}

// scopeOf asks about every namespace of the fleet.
func (c *clusterReviewer) scopeOf(ctx context.Context, user *authenticationv1.UserInfo) (fleet.Scope, error) {
	names := c.namespaces()
	names = names[:min(len(names), maxNamespaces)]
	may := make([]bool, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, name := range names {
		group.Go(func() (err error) {
			may[i], err = c.mayList(ctx, user, name)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fleet.Scope{}, err
	}
	var seen []string
	for i, name := range names {
		if may[i] {
			seen = append(seen, name)
		}
	}
	return fleet.Namespaces(seen...), nil
}

// mayList asks whether a user may list every kind of the fleet in a namespace.
func (c *clusterReviewer) mayList(ctx context.Context, user *authenticationv1.UserInfo, namespace string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	for _, resource := range resources {
		review, err := c.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Group: v1alpha1.Group, Resource: resource, Namespace: namespace},
		}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		if !review.Status.Allowed {
			return false, nil
		}
	}
	return true, nil
}
