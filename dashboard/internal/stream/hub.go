// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/gorilla/websocket"

	"wasmbed.dev/dashboard/internal/access"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/views"
)

// Bounds of the hub.
const (
	maxViewers   = 256
	maxOfOne     = 32
	maxParked    = 128
	parkedLife   = time.Minute
	recheckEvery = 30 * time.Second
	sendBuffer   = 128 << 10
)

// Source pours lines or text until ctx ends. say does not block for long.
type Source func(ctx context.Context, p views.Params, scope fleet.Scope, say func(Chunk)) error

// Terminal runs the read-only commands.
type Terminal interface {
	Run(ctx context.Context, user, line string, scope fleet.Scope, say func(Chunk)) error
	Complete(line string, scope fleet.Scope) (from int, items []string)
}

// Hub serves websockets.
type Hub struct {
	Engine *views.Engine
	Guard  *access.Guard
	// Sources are the streams by name of their view.
	Sources  map[string]Source
	Terminal Terminal
	Version  string
	Log      logr.Logger

	server   string
	viewers  atomic.Int64
	subs     atomic.Int64
	messages atomic.Int64
	bytes    atomic.Int64
	dropped  atomic.Int64

	mu     sync.Mutex
	ofUser map[string]int
	parked map[string]*session
	ctx    context.Context
}

// session is what a viewer left behind.
type session struct {
	token   string
	scope   string
	at      time.Time
	dropped string
	subs    map[int64]*parked
}

// Start prepares the hub; its connections end with ctx.
func (h *Hub) Start(ctx context.Context) {
	h.server, h.ofUser, h.parked, h.ctx = rand.Text(), map[string]int{}, map[string]*session{}, ctx
}

// Figures counts for the system view.
func (h *Hub) Figures() views.DashboardFigures {
	return views.DashboardFigures{Viewers: int(h.viewers.Load()), Subscriptions: int(h.subs.Load()), Rows: h.Engine.Store.Rows(),
		Messages: h.messages.Load(), Bytes: h.bytes.Load(), Dropped: h.dropped.Load()}
}

// Serve turns a request of a viewer into a websocket and serves it until it ends.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, who *access.Viewer) {
	upgrader := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second, ReadBufferSize: 1024, WriteBufferPool: &writeBuffers, WriteBufferSize: 4096,
		EnableCompression: true, CheckOrigin: access.SameOrigin,
	}
	connection, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		h.Log.V(1).Info("no websocket", "remote", r.RemoteAddr, "reason", err.Error())
		return
	}
	if tcp, ok := connection.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // so that a viewer that does not read is known soon, and costs little
	}
	v := &viewer{hub: h, connection: connection, who: who, subs: map[int64]*held{}, woken: make(chan struct{}, 1), requests: make(chan request, 16), session: rand.Text()}
	if !h.enter(v) {
		_ = v.say(failure{Type: "error", Code: codeTooMany, Message: "too many look at once: close other pages, or try again later"})
		v.bye(closeTooMany, "too many connections")
		_ = connection.Close()
		return
	}
	defer h.leave(v)
	v.former = h.claim(r.URL.Query().Get("session"), who)
	v.run(h.ctx)
}

var writeBuffers sync.Pool

// enter counts a viewer in, unless there are too many.
func (h *Hub) enter(v *viewer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.viewers.Load() >= maxViewers || v.who.User != "local" && h.ofUser[v.who.User] >= maxOfOne {
		return false
	}
	h.viewers.Add(1)
	h.ofUser[v.who.User]++
	return true
}

func (h *Hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.viewers.Add(-1)
	if h.ofUser[v.who.User]--; h.ofUser[v.who.User] == 0 {
		delete(h.ofUser, v.who.User)
	}
	s := &session{token: v.who.Token, scope: v.who.Scope.String(), at: time.Now(), dropped: v.dropped, subs: map[int64]*parked{}}
	for id, sub := range v.subs {
		if p := sub.park(); p != nil {
			s.subs[id] = p
		}
		sub.close()
		h.subs.Add(-1)
	}
	h.tidy()
	if len(h.parked) < maxParked {
		h.parked[v.session] = s
	}
}

// tidy forgets sessions that are over. The caller holds mu.
func (h *Hub) tidy() {
	for id, s := range h.parked {
		if time.Since(s.at) > parkedLife {
			delete(h.parked, id)
		}
	}
}

// claim takes what an earlier connection of the same viewer left behind.
func (h *Hub) claim(id string, who *access.Viewer) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tidy()
	s := h.parked[id]
	if s == nil || s.token != who.Token || s.scope != who.Scope.String() {
		return nil
	}
	delete(h.parked, id)
	return s
}
