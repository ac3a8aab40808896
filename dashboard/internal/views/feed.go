// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
)

// valueInterval is the least time between two computations of a value; one that takes long comes less often.
const valueInterval = 250 * time.Millisecond

// computeTimeout bounds one computation: some ask a gateway.
const computeTimeout = 10 * time.Second

// Engine answers.
type Engine struct {
	Store *fleet.Store
	// Objects reads one object as it is now.
	Objects ObjectReader
	// Gateways asks gateways; it may be nil, then what only they know is absent.
	Gateways Gateways
	// System tells about the machine and the dashboard; it may be nil.
	System func(scope fleet.Scope) *System
	// Modules tells what a module imports; it may be nil.
	Modules func(ctx context.Context, digest string) (imports []string, memory int64, size int64, err error)

	mu     sync.Mutex
	values map[string]*Value
}

// List is a list that somebody follows.
type List struct {
	*fleet.Query
	Window Window
}

// OpenList opens a list, or returns nil without an error when view is none. It must be closed.
func (e *Engine) OpenList(view string, p Params, scope fleet.Scope) (*List, error) {
	v, ok := lists[view]
	if !ok {
		return nil, nil
	}
	q, w, err := v.ask(e.Store, p, scope)
	if err != nil {
		return nil, err
	}
	return &List{q, w}, nil
}

// Rows are those in the window now.
func (l *List) Rows() (rows []fleet.Row, total, all int) {
	return l.Query.Window(l.Window.Offset, l.Window.Limit)
}

// valueView is a value that can be asked for.
type valueView struct {
	params   []string
	required []string
	// kinds whose changes may change the value.
	kinds []fleet.Kind
	// about is the object whose changes may change the value.
	about func(Params) (fleet.Kind, string)
	// refresh is how often it is computed without a change; 0: never.
	refresh time.Duration
	// compute returns a pointer to a struct. It never changes what it returned before.
	compute func(ctx context.Context, e *Engine, p Params, scope fleet.Scope) (any, error)
}

// ParametersOf are the parameters of a view; nil when there is no such view.
func ParametersOf(view string) *[]string {
	if v, ok := lists[view]; ok {
		return &v.params
	}
	if v, ok := values[view]; ok {
		all := append(slices.Clone(v.params), v.required...)
		return &all
	}
	return nil
}

// Value is a value that is kept current while somebody follows it. Equal questions share one.
type Value struct {
	engine *Engine
	key    string
	view   *valueView
	params Params
	scope  fleet.Scope
	dirty  chan struct{}
	users  int
	cancel context.CancelFunc

	mu        sync.Mutex
	current   any
	err       error
	known     bool
	listeners map[fleet.Listener]struct{}
}

func (e *Engine) valueView(view string, p Params) (*valueView, error) {
	v, ok := values[view]
	if !ok {
		return nil, fmt.Errorf("%w: there is no view %.40q", ErrNotFound, view)
	}
	if err := p.Only(append(slices.Clone(v.params), v.required...)...); err != nil {
		return nil, err
	}
	for _, name := range v.required {
		if p[name] == "" {
			return nil, badRequest("parameter %s is missing", name)
		}
	}
	return v, nil
}

// Compute returns a value as it is now.
func (e *Engine) Compute(ctx context.Context, view string, p Params, scope fleet.Scope) (any, error) {
	v, err := e.valueView(view, p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, computeTimeout)
	defer cancel()
	return v.compute(ctx, e, p, scope)
}

// OpenValue follows a value. It must be closed.
func (e *Engine) OpenValue(view string, p Params, scope fleet.Scope) (*Value, error) {
	view1, err := e.valueView(view, p)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := view + "\x00" + scope.String() + "\x00" + p.key()
	if v, ok := e.values[key]; ok {
		v.users++
		return v, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &Value{engine: e, key: key, view: view1, params: p, scope: scope, dirty: make(chan struct{}, 1), users: 1, cancel: cancel, listeners: map[fleet.Listener]struct{}{}}
	if e.values == nil {
		e.values = map[string]*Value{}
	}
	e.values[key] = v
	go v.follow(ctx)
	return v, nil
}

// Close gives the value back.
func (v *Value) Close() {
	v.engine.mu.Lock()
	defer v.engine.mu.Unlock()
	if v.users--; v.users == 0 {
		delete(v.engine.values, v.key)
		v.cancel()
	}
}

// Wake implements fleet.Listener: something that the value is made of has changed.
func (v *Value) Wake() {
	select {
	case v.dirty <- struct{}{}:
	default:
	}
}

// Listen has l told about changes of the value until the returned function is called.
func (v *Value) Listen(l fleet.Listener) (stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listeners[l] = struct{}{}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.listeners, l)
	}
}

// Get is the present value, once known.
func (v *Value) Get() (current any, err error, known bool) { //nolint:revive // err is part of the value
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current, v.err, v.known
}

// follow keeps the value current until ctx ends.
func (v *Value) follow(ctx context.Context) {
	if len(v.view.kinds) > 0 {
		defer v.engine.Store.Listen(v, v.view.kinds...)()
	}
	if v.view.about != nil {
		kind, id := v.view.about(v.params)
		defer v.engine.Store.ListenTo(v, kind, id)()
	}
	var again <-chan time.Time
	if v.view.refresh > 0 {
		ticker := time.NewTicker(v.view.refresh)
		defer ticker.Stop()
		again = ticker.C
	}
	for {
		began := time.Now()
		v.renew(ctx)
		took := time.Since(began)
		if v.view.refresh > 0 {
			took = 0 // it waited for somebody else
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(valueInterval, 10*took)):
		}
		select {
		case <-ctx.Done():
			return
		case <-v.dirty:
		case <-again:
		}
	}
}

func (v *Value) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, computeTimeout)
	defer cancel()
	next, err := v.view.compute(ctx, v.engine, v.params, v.scope)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known && err == nil && v.err == nil && reflect.DeepEqual(v.current, next) {
		return
	}
	v.current, v.err, v.known = next, err, true
	for l := range v.listeners {
		l.Wake()
	}
}
