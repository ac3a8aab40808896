// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// weather is what the network between devices and gateway does.
type weather int

const (
	clear     weather = iota
	slow              // every piece is late
	halfOpen          // nothing passes, and nobody is told
	resetting         // connections are reset in the middle of what they send
	torn              // a bit is wrong now and then
	closed            // nobody is let in
)

var weathers = []weather{slow, halfOpen, resetting, torn, closed}

func (w weather) String() string {
	return [...]string{"clear", "slow", "half-open", "resetting", "torn", "closed"}[w]
}

// proxy stands between devices and gateways, and makes the weather.
type proxy struct {
	listeners []net.Listener // one for each gateway
	accepted  atomic.Int64   // connections of devices so far

	mu    sync.Mutex
	now   weather
	rand  *rand.Rand
	conns map[net.Conn]struct{}
}

func newProxy(gateways []string, seed uint64) (*proxy, error) {
	p := &proxy{rand: rand.New(rand.NewPCG(seed, 2)), conns: map[net.Conn]struct{}{}}
	for _, target := range gateways {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		p.listeners = append(p.listeners, listener)
		go p.accept(listener, target)
	}
	return p, nil
}

// address is where devices reach a gateway.
func (p *proxy) address(gateway int) string { return p.listeners[gateway].Addr().String() }

// set changes the weather. When it clears, connections that hung are left to their deadlines.
func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = w
}

// chance is true once in n times.
func (p *proxy) chance(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rand.IntN(n) == 0
}

func (p *proxy) weather() weather {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *proxy) close() {
	for _, listener := range p.listeners {
		_ = listener.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept(listener net.Listener, target string) {
	for {
		device, err := listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		if p.weather() == closed {
			_ = device.Close()
			continue
		}
		go p.serve(device, target)
	}
}

func (p *proxy) serve(device net.Conn, target string) {
	gateway, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		_ = device.Close()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []net.Conn{device, gateway} {
		p.mu.Lock()
		p.conns[c] = struct{}{}
		p.mu.Unlock()
		defer func() {
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		}()
	}
	go func() { defer cancel(); p.pass(device, gateway) }()
	go func() { defer cancel(); p.pass(gateway, device) }()
	<-ctx.Done()
}

// pass copies one direction as the weather lets it. A connection that met half-open weather stays half open.
func (p *proxy) pass(from, to net.Conn) {
	buf := make([]byte, 512)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			b := buf[:n]
			switch p.weather() {
			case slow:
				time.Sleep(150 * time.Millisecond)
			case halfOpen:
				_, _ = io.Copy(io.Discard, from)
				return
			case resetting:
				if p.chance(3) {
					_, _ = to.Write(b[:n/2])
					for _, c := range []net.Conn{from, to} {
						_ = c.(*net.TCPConn).SetLinger(0)
					}
					return
				}
			case torn:
				if p.chance(4) {
					b[n/2] ^= 1
				}
			}
			if _, err := to.Write(b); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
