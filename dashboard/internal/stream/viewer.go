// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"wasmbed.dev/dashboard/internal/access"
	"wasmbed.dev/dashboard/internal/views"
)

// Bounds of one connection.
const (
	maxRequest       = 4096
	requestRate      = 20
	requestBurst     = 60
	maxSubscriptions = 32
	writeTimeout     = 10 * time.Second
	beatEvery        = 5 * time.Second
	pingEvery        = 20 * time.Second
	silence          = 60 * time.Second
	// compressFrom is from how many bytes on a message is compressed.
	compressFrom = 2048
)

// Close codes beside those of RFC 6455.
const (
	closeTokenOver = 4001
	closeTooSlow   = 4008
	closeTooMany   = 4029
)

// viewer is one connection. One goroutine reads; run writes and owns the subscriptions.
type viewer struct {
	hub        *Hub
	connection *websocket.Conn
	who        *access.Viewer
	session    string
	former     *session
	subs       map[int64]*held
	woken      chan struct{}
	requests   chan request
	lastSent   time.Time
	dropped    string
}

// held is a subscription with the time before which it sends nothing.
type held struct {
	subscription
	notBefore time.Time
}

// errBye ends a connection with a close code.
type errBye struct {
	code   int
	reason string
}

func (e *errBye) Error() string { return e.reason }

func (v *viewer) wake() {
	select {
	case v.woken <- struct{}{}:
	default:
	}
}

// run serves the connection until it ends or ctx does.
func (v *viewer) run(ctx context.Context) {
	readEnded := make(chan error, 1)
	go func() { readEnded <- v.read() }()
	err := v.greet()
	if err == nil {
		err = v.serve(ctx, readEnded)
	}
	var bye *errBye
	var slow net.Error
	switch {
	case errors.As(err, &bye):
		v.dropped = bye.reason
		v.bye(bye.code, bye.reason)
	case errors.As(err, &slow) && slow.Timeout():
		v.dropped = "too slow: a message could not be written within 10 seconds"
		v.hub.dropped.Add(1)
		v.bye(closeTooSlow, v.dropped)
	}
	if v.dropped != "" {
		v.hub.Log.Info("viewer dropped", "user", v.who.User, "remote", v.connection.RemoteAddr().String(), "reason", v.dropped)
	}
	_ = v.connection.Close()
	for range v.requests { // lets the reader end
	}
}

// bye tells the other side why, if it still listens.
func (v *viewer) bye(code int, reason string) {
	_ = v.connection.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(time.Second))
}

func (v *viewer) greet() error {
	h := hello{Type: "hello", Protocol: 1, Version: v.hub.Version, Server: v.hub.server, Session: v.session, Time: now(), User: v.who.User,
		Synced: isClosed(v.hub.Engine.Store.Synced())}
	if !v.who.Scope.All() {
		h.Spaces = v.who.Scope.List()
	}
	if v.former != nil {
		h.Dropped = v.former.dropped
	}
	return v.say(h)
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// serve answers requests and sends what changes, until something ends it.
func (v *viewer) serve(ctx context.Context, readEnded <-chan error) error {
	beats, pings, rechecks := time.NewTicker(time.Second), time.NewTicker(pingEvery), time.NewTicker(recheckEvery)
	defer beats.Stop()
	defer pings.Stop()
	defer rechecks.Stop()
	synced := v.hub.Engine.Store.Synced()
	if isClosed(synced) {
		synced = nil
	}
	for {
		wait, err := v.flush()
		if err != nil {
			return err
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return &errBye{websocket.CloseGoingAway, "the dashboard stops"}
		case err := <-readEnded:
			return err
		case r, more := <-v.requests:
			if !more {
				return <-readEnded
			}
			err = v.handle(r)
		case <-v.woken:
		case <-later:
		case <-synced:
			synced, err = nil, v.say(beat{Type: "synced"})
		case <-beats.C:
			if time.Since(v.lastSent) >= beatEvery {
				err = v.say(beat{"beat", now()})
			}
		case <-pings.C:
			err = v.connection.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeTimeout))
		case <-rechecks.C:
			err = v.recheck(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// flush sends what is due, and returns after which time something else is; 0: nothing is.
func (v *viewer) flush() (wait time.Duration, err error) {
	for id, sub := range v.subs {
		if !sub.pending() {
			continue
		}
		if left := time.Until(sub.notBefore); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		message, ended := sub.next()
		if message != nil {
			if err := v.say(message); err != nil {
				return 0, err
			}
			if _, output := message.(output); !output {
				sub.notBefore = time.Now().Add(pace)
			}
		}
		switch {
		case ended:
			v.drop(id)
		case sub.pending():
			wait = max(wait, time.Millisecond)
		}
	}
	return wait, nil
}

// say writes one message.
func (v *viewer) say(message any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(message); err != nil {
		return err
	}
	body := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	v.connection.EnableWriteCompression(len(body) >= compressFrom)
	if err := v.connection.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	v.lastSent = time.Now()
	v.hub.messages.Add(1)
	v.hub.bytes.Add(int64(len(body)))
	return v.connection.WriteMessage(websocket.TextMessage, body)
}

// read passes the client's messages on, and returns why it ends.
func (v *viewer) read() error {
	defer close(v.requests)
	v.connection.SetReadLimit(maxRequest)
	v.connection.SetPongHandler(func(string) error { return v.connection.SetReadDeadline(time.Now().Add(silence)) })
	limiter := rate.NewLimiter(requestRate, requestBurst)
	for {
		if err := v.connection.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
		kind, body, err := v.connection.ReadMessage()
		switch {
		case errors.Is(err, websocket.ErrReadLimit):
			return &errBye{websocket.CloseMessageTooBig, "a message has more than 4096 bytes"}
		case err != nil:
			return errGone
		case !limiter.Allow():
			return &errBye{websocket.ClosePolicyViolation, "more than 20 messages a second"}
		case kind != websocket.TextMessage:
			return &errBye{websocket.ClosePolicyViolation, "a message is not text"}
		}
		var r request
		if err := json.Unmarshal(body, &r); err != nil || r.ID < 0 {
			return &errBye{websocket.ClosePolicyViolation, "a message is no JSON of the protocol"}
		}
		v.requests <- r
	}
}

var errGone = errors.New("the other side has gone")

// handle answers one request.
func (v *viewer) handle(r request) error {
	if r.ID == 0 {
		return &errBye{websocket.ClosePolicyViolation, "a message has no id"}
	}
	switch r.Type {
	case "subscribe":
		v.drop(r.ID)
		sub, greeting, err := v.open(r)
		if err != nil {
			return v.say(failureOf(r.ID, err))
		}
		v.hold(r.ID, sub)
		if greeting != nil {
			return v.say(greeting)
		}
	case "unsubscribe":
		v.drop(r.ID)
	case "run":
		v.drop(r.ID)
		if err := v.mayHold(); err != nil {
			return v.say(failureOf(r.ID, err))
		}
		who := v.who
		v.hold(r.ID, newPouring(&common{id: r.ID, wake: v.wake}, true, func(ctx context.Context, say func(Chunk)) error {
			return v.hub.Terminal.Run(ctx, who.User, r.Line, who.Scope, say)
		}))
	case "complete":
		from, items := v.hub.Terminal.Complete(r.Line, v.who.Scope)
		return v.say(completions{"completions", r.ID, from, items})
	default:
		return &errBye{websocket.ClosePolicyViolation, "a message has an unknown type"}
	}
	return nil
}

func (v *viewer) hold(id int64, sub subscription) {
	v.subs[id] = &held{subscription: sub}
	v.hub.subs.Add(1)
	sub.Wake()
}

func (v *viewer) drop(id int64) {
	if sub, ok := v.subs[id]; ok {
		sub.close()
		delete(v.subs, id)
		v.hub.subs.Add(-1)
	}
}

func (v *viewer) mayHold() error {
	if len(v.subs) >= maxSubscriptions {
		return errTooMany
	}
	return nil
}

// open starts what a subscribe asks for, from where a former connection ended if that is known.
func (v *viewer) open(r request) (sub subscription, greeting any, err error) {
	if err := v.mayHold(); err != nil {
		return nil, nil, err
	}
	p, err := views.ParamsOfJSON(r.Query)
	if err != nil {
		return nil, nil, err
	}
	c := &common{id: r.ID, view: r.View, key: p.Key(), wake: v.wake}
	var former *parked
	if v.former != nil && r.Resume > 0 {
		if f := v.former.subs[r.ID]; f != nil && f.view == r.View && f.key == c.key && f.seq == r.Resume {
			former, greeting = f, resumed{"resumed", r.ID, f.seq}
		}
	}
	if source, ok := v.hub.Sources[r.View]; ok {
		scope := v.who.Scope
		return newPouring(c, false, func(ctx context.Context, say func(Chunk)) error { return source(ctx, p, scope, say) }), nil, nil
	}
	list, err := v.hub.Engine.OpenList(r.View, p, v.who.Scope)
	if err != nil {
		return nil, nil, err
	}
	if list != nil {
		l := &listing{list: list}
		l.id, l.view, l.key, l.wake = c.id, c.view, c.key, c.wake
		l.stop = list.Listen(l)
		if former != nil {
			l.resume(former)
		}
		return l, greeting, nil
	}
	value, err := v.hub.Engine.OpenValue(r.View, p, v.who.Scope)
	if err != nil {
		return nil, nil, err
	}
	f := &following{value: value}
	f.id, f.view, f.key, f.wake = c.id, c.view, c.key, c.wake
	f.stop = value.Listen(f)
	if former != nil {
		f.resume(former)
	}
	return f, greeting, nil
}

// recheck judges the viewer's token again; what it may see can have changed.
func (v *viewer) recheck(ctx context.Context) error {
	who, err := v.hub.Guard.Judge(ctx, v.who.Token)
	switch {
	case errors.Is(err, access.ErrUnauthenticated):
		return &errBye{closeTokenOver, "the token is no longer good"}
	case err != nil: // cannot be asked now
		return nil
	case who.Scope.String() != v.who.Scope.String():
		return &errBye{websocket.CloseServiceRestart, "what you may see has changed: connect again"}
	}
	return nil
}
