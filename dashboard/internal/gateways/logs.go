// SPDX-License-Identifier: Apache-2.0

package gateways

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/views"
)

const (
	maxLine = 64 << 10
	// maxGateways is how many gateways one tail follows.
	maxGateways = 16
	// defaultLines of the past.
	defaultLines = 100
	maxPast      = 256
)

// Logs reads lines of devices.
type Logs struct {
	Client *Client
	Store  *fleet.Store
}

// wanted is a question for lines.
type wanted struct {
	addresses map[string]string // of gateways, by id
	query     url.Values
	search    string
	lines     int
	scope     fleet.Scope
}

func (l *Logs) wanted(p views.Params, scope fleet.Scope) (*wanted, error) {
	if err := p.Only("device", "namespace", "app", "level", "search", "lines"); err != nil {
		return nil, err
	}
	w := &wanted{addresses: map[string]string{}, query: url.Values{}, search: strings.ToLower(p["search"]), scope: scope}
	for _, name := range []string{"device", "namespace", "app", "level"} {
		if p[name] != "" {
			w.query.Set(name, p[name])
		}
	}
	var err error
	if w.lines, err = p.Number("lines", defaultLines, 0, maxPast); err != nil {
		return nil, err
	}
	if level := p["level"]; level != "" && !slices.Contains([]string{"debug", "info", "warning", "error"}, level) {
		return nil, fmt.Errorf("%w: level is debug, info, warning or error, not %.20q", views.ErrBadRequest, level)
	}
	only := ""
	if device := p["device"]; device != "" {
		row, ok := l.Store.Get(fleet.Devices, device, scope).(*fleet.Device)
		if !ok {
			return nil, fmt.Errorf("%w: there is no device %.130q that you may see", views.ErrNotFound, device)
		}
		if only = row.Gateway; only == "" {
			return nil, fmt.Errorf("%w: the device has no gateway", views.ErrUnavailable)
		}
	}
	l.Store.Each(fleet.Gateways, fleet.Everything(), func(row fleet.Row) {
		g := row.(*fleet.Gateway)
		if (only == "" || g.ID == only) && g.HTTPAddress != "" && len(w.addresses) < maxGateways {
			w.addresses[g.ID] = g.HTTPAddress
		}
	})
	if len(w.addresses) == 0 {
		return nil, fmt.Errorf("%w: no gateway runs", views.ErrUnavailable)
	}
	return w, nil
}

// keeps reports whether a line may be seen and is searched for.
func (w *wanted) keeps(line *views.LogLine) bool {
	namespace, _, _ := strings.Cut(line.Device, "/")
	return w.scope.Sees(namespace) && (w.search == "" || views.Contains(line.Text, w.search))
}

// read calls say with the lines of one gateway until that ends.
func (l *Logs) read(ctx context.Context, w *wanted, address string, lines int, follow bool, say func(views.LogLine)) error {
	query := url.Values{}
	for name, values := range w.query {
		query[name] = values
	}
	query.Set("lines", strconv.Itoa(lines))
	if follow {
		query.Set("follow", "1")
	}
	response, err := l.Client.open(ctx, address, "/v1/logs?"+query.Encode())
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(make([]byte, 0, 4096), maxLine)
	for scanner.Scan() {
		var line views.LogLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil && w.keeps(&line) {
			say(line)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%w: the gateway's log broke off", views.ErrUnavailable)
	}
	return nil
}

// Past are the lines that gateways keep, oldest first, and what could not be read.
func (l *Logs) Past(ctx context.Context, p views.Params, scope fleet.Scope) (*views.Logs, error) {
	w, err := l.wanted(p, scope)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer := &views.Logs{Lines: []views.LogLine{}}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for id, address := range w.addresses {
		asked.Go(func() {
			err := l.read(ctx, w, address, w.lines, false, func(line views.LogLine) {
				mu.Lock()
				defer mu.Unlock()
				answer.Lines = append(answer.Lines, line)
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				answer.Errors = append(answer.Errors, id+": "+views.Plain(err))
			}
		})
	}
	asked.Wait()
	slices.SortStableFunc(answer.Lines, func(a, b views.LogLine) int { return a.Time.Compare(b.Time) })
	answer.Lines = answer.Lines[max(0, len(answer.Lines)-w.lines):]
	return answer, nil
}

// Tail is the stream of lines: those of the past, then those to come. It outlives gateways that go and come.
func (l *Logs) Tail(ctx context.Context, p views.Params, scope fleet.Scope, say func(stream.Chunk)) error {
	w, err := l.wanted(p, scope)
	if err != nil {
		return err
	}
	var following sync.WaitGroup
	for id := range w.addresses {
		following.Go(func() { l.follow(ctx, w, id, say) })
	}
	following.Wait()
	return nil
}

// follow reads one gateway's lines until ctx ends, anew after every end.
func (l *Logs) follow(ctx context.Context, w *wanted, gateway string, say func(stream.Chunk)) {
	var last time.Time
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
		began := time.Now()
		lines := w.lines
		if !last.IsZero() {
			lines = maxPast
		}
		address := w.addresses[gateway]
		if g, ok := l.Store.Get(fleet.Gateways, gateway, fleet.Everything()).(*fleet.Gateway); ok && g.HTTPAddress != "" {
			address = g.HTTPAddress
		}
		err := l.read(ctx, w, address, lines, true, func(line views.LogLine) {
			if !line.Time.After(last) && !last.IsZero() {
				return // known from before
			}
			last = line.Time
			say(stream.Chunk{Lines: []views.LogLine{line}})
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil || errors.Is(err, errNothing) {
			err = fmt.Errorf("%w: gateway %s has ended", views.ErrUnavailable, gateway)
		}
		say(stream.Chunk{Retrying: err})
		if time.Since(began) > time.Minute {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
