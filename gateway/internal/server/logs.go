// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// Bounds of the logs that are kept in memory.
const (
	logLinesPerDevice = 256
	logLinesInAll     = 32768
	followBuffer      = 1024
	maxFollowers      = 64
)

// LogLine is one line of a device's log.
type LogLine struct {
	// Sequence grows by one with every line of the gateway.
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time"`
	Device   string    `json:"device"`
	App      string    `json:"app,omitempty"`
	Level    string    `json:"level"`
	Text     string    `json:"text"`
	Uptime   uint64    `json:"uptime,omitempty"`
	Dropped  uint32    `json:"dropped,omitempty"`
}

// logs keeps the newest lines of each device, and of all together, and passes new ones to followers.
type logs struct {
	mu sync.Mutex
	// ring holds the newest lines of all devices; the line with sequence n stands at n modulo its length.
	ring      []LogLine
	next      int64
	devices   map[string]*deviceLog
	followers map[*follower]struct{}
}

// deviceLog is where one device's lines stand: sequences, oldest first.
type deviceLog struct{ sequences []int64 }

// follower receives lines as they come; when it is too slow, it loses some and is told how many.
type follower struct {
	filter logFilter
	lines  chan LogLine
	lost   int64 // guarded by logs.mu
}

func newLogs() *logs {
	return &logs{ring: make([]LogLine, 0, 64), devices: map[string]*deviceLog{}, followers: map[*follower]struct{}{}}
}

func (l *logs) add(line LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line.Sequence = l.next
	l.next++
	if len(l.ring) < logLinesInAll {
		l.ring = append(l.ring, line)
	} else {
		at := line.Sequence % logLinesInAll
		l.forget(l.ring[at])
		l.ring[at] = line
	}
	d := l.devices[line.Device]
	if d == nil {
		d = &deviceLog{}
		l.devices[line.Device] = d
	}
	if len(d.sequences) == logLinesPerDevice {
		copy(d.sequences, d.sequences[1:])
		d.sequences = d.sequences[:logLinesPerDevice-1]
	}
	d.sequences = append(d.sequences, line.Sequence)
	for f := range l.followers {
		f.offer(line)
	}
}

// forget drops the index entry of a line whose place is taken.
func (l *logs) forget(line LogLine) {
	d := l.devices[line.Device]
	if d == nil || len(d.sequences) == 0 || d.sequences[0] != line.Sequence {
		return // its device forgot it before
	}
	if d.sequences = d.sequences[1:]; len(d.sequences) == 0 {
		delete(l.devices, line.Device)
	}
}

func (f *follower) offer(line LogLine) {
	if !f.filter.keeps(&line) {
		return
	}
	line.Dropped += uint32(min(f.lost, 1<<31))
	select {
	case f.lines <- line:
		f.lost = 0
	default:
		f.lost++
	}
}

// logFilter says which lines somebody wants; empty fields keep all.
type logFilter struct {
	device, namespace, app string
	// level is the least.
	level protocol.LogLevel
	// most is how many lines of the past, at most logLinesPerDevice.
	most int
}

// filterOf reads a query: device=NAMESPACE/NAME, namespace=, app=, level=info, lines=100.
func filterOf(query url.Values) (logFilter, error) {
	f := logFilter{device: query.Get("device"), namespace: query.Get("namespace"), app: query.Get("app"), most: logLinesPerDevice}
	if text := query.Get("level"); text != "" {
		level, ok := levelNamed(text)
		if !ok {
			return f, fmt.Errorf("level is debug, info, warning or error, not %.20q", text)
		}
		f.level = level
	}
	if text := query.Get("lines"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > logLinesPerDevice {
			return f, fmt.Errorf("lines is a number from 0 to %d, not %.20q", logLinesPerDevice, text)
		}
		f.most = n
	}
	return f, nil
}

func levelNamed(name string) (protocol.LogLevel, bool) {
	for level := protocol.LogDebug; level <= protocol.LogError; level++ {
		if level.String() == name {
			return level, true
		}
	}
	return 0, false
}

// keeps reports whether a line is wanted. A level of a later protocol version is taken for the highest.
func (f *logFilter) keeps(line *LogLine) bool {
	switch {
	case f.device != "" && f.device != line.Device,
		f.namespace != "" && !strings.HasPrefix(line.Device, f.namespace+"/"),
		f.app != "" && f.app != line.App:
		return false
	case f.level == protocol.LogDebug:
		return true
	}
	level, known := levelNamed(line.Level)
	return !known || level >= f.level
}

// read returns the newest kept lines that the filter keeps, oldest first; and when follow is set, a follower of what
// comes after them. The follower is nil when there are too many already.
func (l *logs) read(filter logFilter, follow bool) ([]LogLine, *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []LogLine
	take := func(sequence int64) bool {
		if line := &l.ring[sequence%logLinesInAll]; filter.keeps(line) {
			lines = append(lines, *line)
		}
		return len(lines) < filter.most
	}
	if filter.device == "" {
		for s := l.next - 1; s >= max(0, l.next-int64(len(l.ring))) && len(lines) < filter.most && take(s); s-- {
		}
	} else if d := l.devices[filter.device]; d != nil {
		for i := len(d.sequences) - 1; i >= 0 && len(lines) < filter.most && take(d.sequences[i]); i-- {
		}
	}
	slices.Reverse(lines)
	if !follow || len(l.followers) >= maxFollowers {
		return lines, nil
	}
	f := &follower{filter: filter, lines: make(chan LogLine, followBuffer)}
	l.followers[f] = struct{}{}
	return lines, f
}

func (l *logs) unfollow(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}

func (l *logs) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ring)
}
