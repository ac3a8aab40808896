// SPDX-License-Identifier: Apache-2.0

// Package access decides who may look, and at what: whoever knows the installation's token sees everything; the bearer
// of a token that the API server knows sees the namespaces whose fleet that user may list there.
//
// A browser cannot put a bearer token on a navigation or a websocket, so it is given a cookie with the token sealed in
// it. The seal's key comes from the installation's token: a cookie outlives a restart of the dashboard and ends with
// the token. A sealed token is judged anew like one that comes in the open.
package access

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"wasmbed.dev/dashboard/internal/fleet"
)

const (
	cookieLife = 7 * 24 * time.Hour
	// maxToken is the longest token that is looked at; a cookie has room for no more.
	maxToken = 2800
	// requestRate and requestBurst are what one bearer may ask in a second, and at once.
	requestRate  = 50
	requestBurst = 200
	// failureRate and failureBurst are how often one address may be wrong.
	failureRate  = 2
	failureBurst = 20
	// maxRemembered bounds what is remembered of bearers and addresses.
	maxRemembered = 4096
)

// Errors that callers tell apart.
var (
	ErrUnauthenticated = errors.New("a token is needed: open the address that `wasmbed up` prints, or give a bearer token")
	ErrTooMany         = errors.New("too many requests: wait a moment")
	ErrUnavailable     = errors.New("the API server cannot be asked who this is: try again")
)

// Viewer is who looks.
type Viewer struct {
	User  string
	Scope fleet.Scope
	// Token that the viewer came with; to judge it again later. It never leaves the process.
	Token string
	// Expires is when the cookie ends; zero for a bearer.
	Expires time.Time
}

// Reviewer asks the API server who a token is and what that user may see.
type Reviewer interface {
	Review(ctx context.Context, token string) (user string, scope fleet.Scope, err error)
}

// Guard judges requests.
type Guard struct {
	own      [sha256.Size]byte
	hasOwn   bool
	reviewer Reviewer
	seal     cipher.AEAD
	cookie   string
	now      func() time.Time

	mu       sync.Mutex
	bearers  *simplelru.LRU[[sha256.Size]byte, *rate.Limiter]
	failures *simplelru.LRU[string, *rate.Limiter]
}

// NewGuard admits the bearer of token, unless it is empty, and whom reviewer knows, unless that is nil. port tells the
// cookies of several installations on one machine apart.
func NewGuard(token string, reviewer Reviewer, port string) (*Guard, error) {
	if token == "" && reviewer == nil {
		return nil, errors.New("nobody could look: there is neither a token nor reviews by the API server")
	}
	g := &Guard{own: sha256.Sum256([]byte(token)), hasOwn: token != "", reviewer: reviewer, cookie: "wasmbed-" + port, now: time.Now}
	secret := []byte(token)
	if token == "" {
		secret = []byte(rand.Text() + rand.Text())
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "wasmbed dashboard cookie", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the cookies' key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the cookies' key: %w", err)
	}
	if g.seal, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("derive the cookies' key: %w", err)
	}
	if g.bearers, err = simplelru.NewLRU[[sha256.Size]byte, *rate.Limiter](maxRemembered, nil); err != nil {
		return nil, err
	}
	g.failures, err = simplelru.NewLRU[string, *rate.Limiter](maxRemembered, nil)
	return g, err
}

// Identify says who sends a request: by bearer token, or else by cookie.
func (g *Guard) Identify(r *http.Request) (*Viewer, error) {
	token, expires := "", time.Time{}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = strings.TrimSpace(bearer)
	} else if c, err := r.Cookie(g.cookie); err == nil {
		token, expires = g.open(c.Value)
	}
	return g.admit(r, token, expires)
}

// admit judges a token that came with a request.
func (g *Guard) admit(r *http.Request, token string, expires time.Time) (*Viewer, error) {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	if token == "" || len(token) > maxToken {
		return nil, ErrUnauthenticated
	}
	if !peek(&g.mu, g.failures, remote) {
		return nil, ErrTooMany
	}
	viewer, err := g.Judge(r.Context(), token)
	if errors.Is(err, ErrUnauthenticated) {
		take(&g.mu, g.failures, remote, failureRate, failureBurst)
	}
	if err != nil {
		return nil, err
	}
	viewer.Expires = expires
	if !take(&g.mu, g.bearers, sha256.Sum256([]byte(token)), requestRate, requestBurst) {
		return nil, ErrTooMany
	}
	return viewer, nil
}

// Judge says who the bearer of a token is.
func (g *Guard) Judge(ctx context.Context, token string) (*Viewer, error) {
	given := sha256.Sum256([]byte(token))
	if g.hasOwn && subtle.ConstantTimeCompare(given[:], g.own[:]) == 1 {
		return &Viewer{User: "local", Scope: fleet.Everything(), Token: token}, nil
	}
	if g.reviewer == nil {
		return nil, ErrUnauthenticated
	}
	user, scope, err := g.reviewer.Review(ctx, token)
	if err != nil {
		return nil, err
	}
	return &Viewer{User: user, Scope: scope, Token: token}, nil
}

// take uses one of the turns of a key, and reports whether there was one.
func take[K comparable](mu *sync.Mutex, all *simplelru.LRU[K, *rate.Limiter], key K, perSecond rate.Limit, burst int) bool {
	mu.Lock()
	defer mu.Unlock()
	limiter, ok := all.Get(key)
	if !ok {
		limiter = rate.NewLimiter(perSecond, burst)
		all.Add(key, limiter)
	}
	return limiter.Allow()
}

// peek reports whether a key has a turn left.
func peek[K comparable](mu *sync.Mutex, all *simplelru.LRU[K, *rate.Limiter], key K) bool {
	mu.Lock()
	defer mu.Unlock()
	limiter, ok := all.Get(key)
	return !ok || limiter.Tokens() >= 1
}

// Cookie is what makes a browser the bearer of a viewer's token.
func (g *Guard) Cookie(v *Viewer, secure bool) *http.Cookie {
	v.Expires = g.now().Add(cookieLife)
	plain := binary.BigEndian.AppendUint64(nil, uint64(v.Expires.Unix()))
	sealed := g.seal.Seal(nil, nil, append(plain, v.Token...), []byte(g.cookie))
	return &http.Cookie{Name: g.cookie, Value: base64.RawURLEncoding.EncodeToString(sealed), Path: "/", HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteStrictMode, MaxAge: int(cookieLife.Seconds())}
}

// open returns the token that a cookie holds; an empty one when it is not ours or over.
func (g *Guard) open(value string) (string, time.Time) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return "", time.Time{}
	}
	plain, err := g.seal.Open(nil, nil, sealed, []byte(g.cookie))
	if err != nil || len(plain) < 8 {
		return "", time.Time{}
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	if g.now().After(expires) {
		return "", time.Time{}
	}
	return string(plain[8:]), expires
}

// Enter answers a navigation that has the token in its address: with the cookie, and the address without the token. It
// reports whether it did.
func (g *Guard) Enter(w http.ResponseWriter, r *http.Request) bool {
	query := r.URL.Query()
	if !query.Has("token") {
		return false
	}
	viewer, err := g.admit(r, query.Get("token"), time.Time{})
	if err != nil {
		return false
	}
	query.Del("token")
	http.SetCookie(w, g.Cookie(viewer, r.TLS != nil))
	to := url.URL{Path: "/" + strings.TrimLeft(r.URL.Path, "/\\"), RawQuery: query.Encode()}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return true
}

// SameOrigin reports whether a request comes from a page of the host that it was sent to, or from no page.
func SameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}
