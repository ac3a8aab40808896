// SPDX-License-Identifier: Apache-2.0

package server

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"wasmbed.dev/controllers/pki"
)

// How long a handshake may take when another connection needs its place: one whose client has said nothing yet, and
// any. A small board computes for some seconds.
const (
	evictSilent = 250 * time.Millisecond
	evictAny    = 6 * time.Second
)

// handshakes bounds how many handshakes are under way. When all places are taken, a new connection takes the place of
// the oldest silent one, or of the oldest one at all, as soon as that had its time: those who hold handshakes open do
// not keep others out.
type handshakes struct {
	mu      sync.Mutex
	limit   int
	pending *list.List // of *handshake, oldest first
	free    chan struct{}
}

type handshake struct {
	conn    *wire
	started time.Time
	evicted bool
}

func newHandshakes() *handshakes {
	return &handshakes{limit: 1, pending: list.New(), free: make(chan struct{}, 1)}
}

func (h *handshakes) setLimit(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = max(1, n)
}

// begin waits for a place. It returns nil when ctx ends first.
func (h *handshakes) begin(ctx context.Context, conn *wire) *list.Element {
	for {
		element, wait := h.try(conn)
		if element != nil {
			return element
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-h.free:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// try takes a place, or says how long to wait until one can be taken away.
func (h *handshakes) try(conn *wire) (*list.Element, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending.Len() >= h.limit {
		victim, wait := h.victim(time.Now())
		if wait > 0 {
			return nil, wait
		}
		h.pending.Remove(victim)
		held := victim.Value.(*handshake)
		held.evicted = true
		_ = held.conn.Close()
	}
	return h.pending.PushBack(&handshake{conn: conn, started: time.Now()}), 0
}

// victim is whose place is next to be taken away, and in how long. The caller holds mu.
func (h *handshakes) victim(now time.Time) (victim *list.Element, wait time.Duration) {
	victim = h.pending.Front()
	wait = evictAny - now.Sub(victim.Value.(*handshake).started)
	for e := victim; e != nil; e = e.Next() {
		held := e.Value.(*handshake)
		if held.conn.heard.Load() {
			continue
		}
		if silent := evictSilent - now.Sub(held.started); silent < wait {
			victim, wait = e, silent
		}
		break // those after it came later
	}
	return victim, max(0, wait)
}

// end frees the place, and reports whether it had been taken away.
func (h *handshakes) end(element *list.Element) (evicted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if evicted = element.Value.(*handshake).evicted; !evicted {
		h.pending.Remove(element)
	}
	select {
	case h.free <- struct{}{}:
	default:
	}
	return evicted
}

func (h *handshakes) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending.Len()
}

// accept takes connections of devices until the listener is closed.
func (s *Server) accept(ctx context.Context, listener net.Listener) error {
	var delay time.Duration
	for {
		if err := s.acceptRate.Wait(ctx); err != nil {
			return nil
		}
		raw, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, most likely: those that are open will close.
			s.log.Error(err, "cannot accept a connection")
			delay = min(max(10*time.Millisecond, 2*delay), time.Second)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(delay):
			}
			continue
		}
		delay = 0
		conn, err := newWire(raw)
		if err != nil {
			_ = raw.Close()
			s.log.Error(err, "cannot serve a connection")
			continue
		}
		element := s.handshakes.begin(ctx, conn)
		if element == nil {
			_ = raw.Close()
			return nil
		}
		s.group.Go(func() { s.handshake(ctx, conn, func() bool { return s.handshakes.end(element) }) })
	}
}

// handshake makes a connection of a device out of one of the network. Reading goes on in a goroutine of its own, whose
// stack is small: the handshake's deep stack does not stay with the connection.
func (s *Server) handshake(ctx context.Context, raw *wire, end func() (evicted bool)) {
	var who identity
	conn := tls.Server(raw, s.verifier(ctx, &who))
	deadline, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	err := conn.HandshakeContext(deadline)
	evicted := end()
	result := "full"
	if err == nil && conn.ConnectionState().DidResume {
		result = "resumed"
	}
	if err != nil {
		_ = raw.Close()
		result = s.handshakeFailed(err, evicted, raw.RemoteAddr().String())
	}
	s.m.handshakes.WithLabelValues(result).Inc()
	if err == nil {
		forgetCertificates(conn)
		c := s.newConn(who, conn, raw)
		s.group.Go(c.run)
	}
}

// forgetCertificates drops the parsed certificates of the other side, which take kilobytes. Nothing asks for them after
// the handshake: whom it proved is known, and the session's ticket, which holds them, is sent.
func forgetCertificates(conn *tls.Conn) { clear(conn.ConnectionState().PeerCertificates) }

// handshakeFailed names what went wrong, and remembers a key that was refused.
func (s *Server) handshakeFailed(err error, evicted bool, remote string) string {
	var refused *refusedError
	var alert tls.AlertError
	var network net.Error
	switch {
	case errors.As(err, &refused):
		s.refused.add(refused.key, remote, refused.reason, time.Now())
		s.log.V(1).Info("refused a device's key", "remote", remote, "reason", refused.reason)
		return "refused"
	case errors.Is(err, pki.ErrNoCertificate):
		return "no-certificate"
	case evicted:
		return "evicted"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.As(err, &alert):
		return "alert"
	}
	s.log.V(1).Info("handshake failed", "remote", remote, "error", err.Error())
	return "error"
}

func newAcceptRate() *rate.Limiter { return rate.NewLimiter(1, 1) }

// setAcceptRate lets n connections a second in, and half a second's worth at once.
func (s *Server) setAcceptRate(n int) {
	s.acceptRate.SetLimit(rate.Limit(n))
	s.acceptRate.SetBurst(max(1, n/2))
}
