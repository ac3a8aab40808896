// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/gateway/protocol"
)

// Bounds of the histories that are kept in memory.
const (
	// historyPoints is how many minutes are kept: three hours.
	historyPoints = 180
	// chunkPoints is how many points one chunk holds; the oldest chunk goes as a whole.
	chunkPoints = 30
	// maxHistories is how many devices have a history.
	maxHistories = 20000
	// maxCrashes is how many crash reports of a device are kept.
	maxCrashes = 4
)

// historyMetrics are the metrics that have a history.
var historyMetrics = [5]protocol.Metric{
	protocol.MetricHeapUsed, protocol.MetricStackHighWater, protocol.MetricIdlePermille, protocol.MetricStorageFree, protocol.MetricTemperatureMillidegree,
}

// CrashReport is a crash that a device told of.
type CrashReport struct {
	At      time.Time `json:"at"`
	Code    string    `json:"code"`
	PC      uint32    `json:"pc,omitempty"`
	LR      uint32    `json:"lr,omitempty"`
	Address uint32    `json:"address,omitempty"`
	App     string    `json:"app,omitempty"`
	Uptime  uint64    `json:"uptime,omitempty"`
}

// History is what GET /v1/history/NAMESPACE/NAME answers, and GET /v1/history for the gateway itself: one point a
// step, null where there is none.
type History struct {
	Start   time.Time             `json:"start"`
	Step    int                   `json:"step"`
	Series  map[string][]*float64 `json:"series"`
	Crashes []CrashReport         `json:"crashes,omitempty"`
}

// histories keep three hours of every device, a point a minute. What a device says in the same minute a second time is
// left out: so a heartbeat costs a look into a map.
type histories struct {
	mu      sync.Mutex
	devices map[types.NamespacedName]*history
}

// history is one device's. A point is packed: a byte that says which metrics it has and how many minutes it comes after
// the point before it, then for each metric the difference to the value before it.
type history struct {
	chunks  []chunk
	newest  int64 // minute of the newest point
	crashes []CrashReport
}

// chunk is a run of points.
type chunk struct {
	first, last int64 // minutes
	count       int
	packed      []byte
	values      [len(historyMetrics)]int64 // of the newest point
}

// maxGap is the largest distance of two points of a chunk, in minutes.
const maxGap = 7

func newHistories() *histories { return &histories{devices: map[types.NamespacedName]*history{}} }

// of returns a device's history, a new one if needed; nil when there are too many. The caller holds mu.
func (h *histories) of(key types.NamespacedName, minute int64) *history {
	d := h.devices[key]
	if d != nil {
		return d
	}
	if len(h.devices) >= maxHistories {
		for other, old := range h.devices {
			if old.newest < minute-historyPoints {
				delete(h.devices, other)
			}
		}
		if len(h.devices) >= maxHistories {
			return nil
		}
	}
	d = &history{}
	h.devices[key] = d
	return d
}

// beat notes a heartbeat.
func (h *histories) beat(key types.NamespacedName, beat *protocol.Heartbeat, now time.Time) {
	minute := now.Unix() / 60
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.of(key, minute); d != nil && d.newest < minute {
		d.add(minute, beat)
	}
}

// crashed notes a crash report; a device may tell the same one again after it reconnects.
func (h *histories) crashed(key types.NamespacedName, c *protocol.Crash, now time.Time) {
	report := CrashReport{Code: c.Code.String(), PC: c.PC, LR: c.LR, Address: c.Address, App: c.App, Uptime: c.Uptime}
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.of(key, now.Unix()/60)
	if d == nil {
		return
	}
	if n := len(d.crashes); n > 0 {
		last := d.crashes[n-1]
		if last.At = report.At; last == report {
			return
		}
	}
	report.At = now.UTC()
	if len(d.crashes) >= maxCrashes {
		d.crashes = slices.Delete(d.crashes, 0, 1)
	}
	d.crashes = append(d.crashes, report)
}

// add appends a point. Minutes only grow.
func (d *history) add(minute int64, beat *protocol.Heartbeat) {
	d.newest = minute
	var c *chunk
	if n := len(d.chunks); n > 0 && d.chunks[n-1].count < chunkPoints && minute-d.chunks[n-1].last <= maxGap {
		c = &d.chunks[n-1]
	} else {
		d.drop(minute)
		d.chunks = append(d.chunks, chunk{first: minute, last: minute})
		c = &d.chunks[len(d.chunks)-1]
	}
	head, at := byte(minute-c.last)<<5, len(c.packed)
	c.packed = append(c.packed, 0)
	for i, metric := range historyMetrics {
		value, ok := beat.Metrics[metric]
		if !ok {
			continue
		}
		head |= 1 << i
		c.packed = binary.AppendVarint(c.packed, int64(value)-c.values[i])
		c.values[i] = int64(value)
	}
	c.packed[at] = head
	if c.last, c.count = minute, c.count+1; c.count == chunkPoints {
		c.packed = slices.Clone(c.packed) // without the room to grow
	}
}

// drop forgets the chunks that are wholly over.
func (d *history) drop(minute int64) {
	for len(d.chunks) > 0 && d.chunks[0].last <= minute-historyPoints {
		d.chunks = slices.Delete(d.chunks, 0, 1)
	}
}

// read unpacks the last three hours of a device.
func (h *histories) read(key types.NamespacedName, now time.Time) *History {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.devices[key]
	if d == nil {
		return nil
	}
	start := now.Unix()/60 - historyPoints + 1
	answer := &History{Start: time.Unix(start*60, 0).UTC(), Step: 60, Series: map[string][]*float64{}, Crashes: slices.Clone(d.crashes)}
	for i := range d.chunks {
		d.chunks[i].unpack(func(minute int64, metric protocol.Metric, value int64) {
			if minute < start || minute >= start+historyPoints {
				return
			}
			series := answer.Series[metric.String()]
			if series == nil {
				series = make([]*float64, historyPoints)
				answer.Series[metric.String()] = series
			}
			v := float64(value)
			series[minute-start] = &v
		})
	}
	return answer
}

func (c *chunk) unpack(point func(minute int64, metric protocol.Metric, value int64)) {
	minute, rest := c.first, c.packed
	var values [len(historyMetrics)]int64
	for len(rest) > 0 {
		head := rest[0]
		rest = rest[1:]
		minute += int64(head >> 5)
		for i, metric := range historyMetrics {
			if head&(1<<i) == 0 {
				continue
			}
			difference, n := binary.Varint(rest)
			rest = rest[n:]
			values[i] += difference
			point(minute, metric, values[i])
		}
	}
}
