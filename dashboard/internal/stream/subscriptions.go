// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/views"
)

// pace is the least time between two messages of a subscription.
const pace = 250 * time.Millisecond

// subscription is something that a viewer follows. All methods but Wake are called by the viewer's writer.
type subscription interface {
	fleet.Listener
	// pending reports whether there may be something to send.
	pending() bool
	// next returns the message to send now, nil when there is none, and whether the subscription has ended.
	next() (message any, ended bool)
	// park returns what is needed to go on later; nil when it begins anew.
	park() *parked
	close()
}

// parked is what a subscription sent last.
type parked struct {
	view, key  string
	seq        int64
	rows       []fleet.Row
	total, all int
	value      any
}

// common is what subscriptions share.
type common struct {
	id    int64
	view  string
	key   string
	seq   int64
	dirty atomic.Bool
	wake  func()
	stop  func()
}

func (c *common) Wake() {
	if !c.dirty.Swap(true) {
		c.wake()
	}
}

func (c *common) pending() bool { return c.dirty.Load() }

func (c *common) next1() int64 {
	c.seq++
	return c.seq
}

// listing follows a list.
type listing struct {
	common
	list       *views.List
	sent       bool
	rows       []fleet.Row
	total, all int
}

func (l *listing) next() (any, bool) {
	l.dirty.Store(false)
	rows, total, all := l.list.Rows()
	if !l.sent {
		l.sent, l.rows, l.total, l.all = true, rows, total, all
		offset := l.list.Window.Offset
		return snapshot{Type: "snapshot", ID: l.id, Seq: l.next1(), View: l.view, Total: &total, All: &all, Offset: &offset, Rows: rows}, false
	}
	d := delta{Type: "delta", ID: l.id, WindowDelta: views.Compare(l.rows, rows)}
	if total != l.total {
		d.Total = &total
	}
	if all != l.all {
		d.All = &all
	}
	l.rows, l.total, l.all = rows, total, all
	if d.Empty() && d.Total == nil && d.All == nil {
		return nil, false
	}
	d.Seq = l.next1()
	return d, false
}

func (l *listing) park() *parked {
	if !l.sent {
		return nil
	}
	return &parked{view: l.view, key: l.key, seq: l.seq, rows: l.rows, total: l.total, all: l.all}
}

func (l *listing) resume(p *parked) {
	l.sent, l.seq, l.rows, l.total, l.all = true, p.seq, p.rows, p.total, p.all
}

func (l *listing) close() {
	l.stop()
	l.list.Close()
}

// following follows a value.
type following struct {
	common
	value   *views.Value
	sent    any
	lastErr string
}

func (f *following) next() (any, bool) {
	f.dirty.Store(false)
	current, err, known := f.value.Get()
	switch {
	case !known:
		return nil, false
	case err != nil:
		return f.fail(err)
	}
	f.lastErr = ""
	if f.sent == nil {
		f.sent = current
		return snapshot{Type: "snapshot", ID: f.id, Seq: f.next1(), View: f.view, Value: current}, false
	}
	changes := views.Patch(f.sent, current)
	f.sent = current
	if len(changes) == 0 {
		return nil, false
	}
	return delta{Type: "delta", ID: f.id, Seq: f.next1(), Set: changes}, false
}

// fail tells an error once; the subscription goes on when it may pass.
func (f *following) fail(err error) (any, bool) {
	message := failureOf(f.id, err)
	message.Retrying = message.Code == codeUnavailable
	if message.Retrying && f.lastErr == message.Message {
		return nil, false
	}
	f.lastErr = message.Message
	return message, !message.Retrying
}

func (f *following) park() *parked {
	if f.sent == nil {
		return nil
	}
	return &parked{view: f.view, key: f.key, seq: f.seq, value: f.sent}
}

func (f *following) resume(p *parked) { f.seq, f.sent = p.seq, p.value }

func (f *following) close() {
	f.stop()
	f.value.Close()
}

// Bounds of what waits to be sent of a stream.
const (
	maxLines   = 400
	maxText    = 16 << 10
	maxOutputs = 16
)

// pouring passes on what a source says: lines, text, or a command's output. It keeps the newest, and counts what is
// lost.
type pouring struct {
	common
	cancel  context.CancelFunc
	command bool

	mu      sync.Mutex
	chunk   Chunk
	outputs []Chunk
	room    *sync.Cond
	closed  bool
	ended   bool
	err     error
}

// newPouring starts a source; it ends when the source returns, or by close.
func newPouring(c *common, command bool, source func(ctx context.Context, say func(Chunk)) error) *pouring {
	ctx, cancel := context.WithCancel(context.Background())
	p := &pouring{cancel: cancel, command: command}
	p.id, p.view, p.key, p.wake, p.stop = c.id, c.view, c.key, c.wake, func() {}
	p.room = sync.NewCond(&p.mu)
	go func() {
		err := source(ctx, p.say)
		p.mu.Lock()
		p.ended, p.err = true, err
		p.mu.Unlock()
		p.Wake()
	}()
	return p
}

// say takes what the source says; a command waits while too much is on its way.
func (p *pouring) say(c Chunk) {
	p.mu.Lock()
	if p.command {
		for len(p.outputs) >= maxOutputs && !p.closed {
			p.room.Wait()
		}
		p.outputs = append(p.outputs, c)
	} else {
		p.chunk.Lines = append(p.chunk.Lines, c.Lines...)
		if over := len(p.chunk.Lines) - maxLines; over > 0 {
			p.chunk.Lines = append([]views.LogLine(nil), p.chunk.Lines[over:]...)
			p.chunk.Lost += int64(over)
		}
		p.chunk.Text += c.Text
		if over := len(p.chunk.Text) - maxText; over > 0 {
			p.chunk.Text = p.chunk.Text[over:]
			p.chunk.Lost += int64(over)
		}
		p.chunk.Lost += c.Lost
		if c.Retrying != nil {
			p.chunk.Retrying = c.Retrying
		}
	}
	p.mu.Unlock()
	p.Wake()
}

func (p *pouring) next() (any, bool) {
	p.dirty.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command {
		return p.nextOutput()
	}
	c := p.chunk
	p.chunk = Chunk{}
	switch {
	case c.Retrying == nil:
	case c.Lines == nil && c.Text == "":
		message := failureOf(p.id, c.Retrying)
		message.Retrying = true
		return message, false
	default:
		p.chunk.Retrying = c.Retrying
		p.dirty.Store(true)
	}
	switch {
	case len(c.Lines) > 0:
		return lines{"lines", p.id, p.next1(), c.Lines, c.Lost}, false
	case c.Text != "":
		return text{"text", p.id, p.next1(), c.Text, c.Lost}, false
	case p.ended && p.err != nil:
		return failureOf(p.id, p.err), true
	case p.ended:
		return done{"done", p.id, p.next1(), true}, true
	}
	return nil, false
}

func (p *pouring) nextOutput() (any, bool) {
	if len(p.outputs) > 0 {
		c := p.outputs[0]
		p.outputs = p.outputs[1:]
		p.dirty.Store(true)
		p.room.Signal()
		return output{"output", p.id, p.next1(), c.Columns, c.Rows, c.Text}, false
	}
	switch {
	case p.ended && p.err != nil:
		return failureOf(p.id, p.err), true
	case p.ended:
		return done{"done", p.id, p.next1(), true}, true
	}
	return nil, false
}

func (p *pouring) park() *parked { return nil }

func (p *pouring) close() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.room.Broadcast()
}

// Codes of failures.
const (
	codeBadRequest  = "BadRequest"
	codeNotFound    = "NotFound"
	codeTooMany     = "TooMany"
	codeUnavailable = "Unavailable"
)

func failureOf(id int64, err error) failure {
	code := codeUnavailable
	switch {
	case errors.Is(err, views.ErrBadRequest):
		code = codeBadRequest
	case errors.Is(err, views.ErrNotFound):
		code = codeNotFound
	case errors.Is(err, errTooMany):
		code = codeTooMany
	}
	return failure{Type: "error", ID: id, Code: code, Message: views.Plain(err)}
}

var errTooMany = errors.New("too many")
