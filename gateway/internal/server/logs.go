// SPDX-License-Identifier: Apache-2.0

package server

import (
	"sync"
	"time"
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
	device string // empty: all
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
	if f.device != "" && f.device != line.Device {
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

// read returns the kept lines of a device, or the newest of all devices, oldest first; and when follow is set, a
// follower of what comes after them. The follower is nil when there are too many already.
func (l *logs) read(device string, follow bool) ([]LogLine, *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []LogLine
	if device == "" {
		for s := max(0, l.next-logLinesPerDevice); s < l.next; s++ {
			lines = append(lines, l.ring[s%logLinesInAll])
		}
	} else if d := l.devices[device]; d != nil {
		for _, s := range d.sequences {
			lines = append(lines, l.ring[s%logLinesInAll])
		}
	}
	if !follow || len(l.followers) >= maxFollowers {
		return lines, nil
	}
	f := &follower{device: device, lines: make(chan LogLine, followBuffer)}
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
