// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// ownSeries are the gateway's own figures that have a history: a gauge as it is, a counter by how much it grew in the
// minute.
var ownSeries = []struct {
	name, metric string
	label, value string // only this label's value; empty: all together
	gauge        bool
	scale        float64
}{
	{name: "connections", metric: "wasmbed_gateway_connections", gauge: true},
	{name: "handshakes", metric: "wasmbed_gateway_handshakes_total"},
	{name: "frames_in", metric: "wasmbed_gateway_frames_total", label: "direction", value: "in"},
	{name: "frames_out", metric: "wasmbed_gateway_frames_total", label: "direction", value: "out"},
	{name: "bytes_in", metric: "wasmbed_gateway_frame_bytes_total", label: "direction", value: "in"},
	{name: "bytes_out", metric: "wasmbed_gateway_frame_bytes_total", label: "direction", value: "out"},
	{name: "fetches", metric: "wasmbed_gateway_fetches_total"},
	{name: "errors", metric: "wasmbed_gateway_errors_total"},
	{name: "status_writes", metric: "wasmbed_gateway_status_writes_total"},
	{name: "log_lines", metric: "wasmbed_gateway_log_lines_total"},
	{name: "cpu_milliseconds", metric: "process_cpu_seconds_total", scale: 1000},
	{name: "memory_bytes", metric: "process_resident_memory_bytes", gauge: true},
}

// ownHistory keeps three hours of the gateway's own figures, a point a minute.
type ownHistory struct {
	mu     sync.Mutex
	start  int64 // minute of the first point
	points [][]float64
	before []float64 // counters at the last point
}

// followOwn takes a point at the end of every minute until ctx ends.
func (s *Server) followOwn(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	s.own.add(s.gather(), time.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.own.add(s.gather(), now)
		}
	}
}

// gather reads the figures.
func (s *Server) gather() []float64 {
	families, err := s.m.registry.Gather()
	if err != nil {
		s.log.V(1).Info("some figures cannot be read", "error", err.Error())
	}
	byName := make(map[string]*dto.MetricFamily, len(families))
	for _, family := range families {
		byName[family.GetName()] = family
	}
	figures := make([]float64, len(ownSeries))
	for i, series := range ownSeries {
		for _, m := range byName[series.metric].GetMetric() {
			if series.label == "" || hasLabel(m, series.label, series.value) {
				figures[i] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		if series.scale != 0 {
			figures[i] *= series.scale
		}
	}
	return figures
}

func hasLabel(m *dto.Metric, name, value string) bool {
	for _, label := range m.GetLabel() {
		if label.GetName() == name && label.GetValue() == value {
			return true
		}
	}
	return false
}

// add takes a point; the first call only notes where counters stand.
func (h *ownHistory) add(figures []float64, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before != nil {
		point := make([]float64, len(figures))
		for i, series := range ownSeries {
			point[i] = figures[i]
			if !series.gauge {
				point[i] -= h.before[i]
			}
		}
		if h.points = append(h.points, point); len(h.points) > historyPoints {
			h.points = h.points[1:]
		}
		h.start = now.Unix()/60 - int64(len(h.points)) + 1
	}
	h.before = figures
}

func (h *ownHistory) read(now time.Time) *History {
	h.mu.Lock()
	defer h.mu.Unlock()
	start := now.Unix()/60 - historyPoints + 1
	answer := &History{Start: time.Unix(start*60, 0).UTC(), Step: 60, Series: map[string][]*float64{}}
	for i, series := range ownSeries {
		points := make([]*float64, historyPoints)
		for n := range h.points {
			if at := h.start + int64(n) - start; at >= 0 && at < historyPoints {
				points[at] = &h.points[n][i]
			}
		}
		answer.Series[series.name] = points
	}
	return answer
}
