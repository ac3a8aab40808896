// SPDX-License-Identifier: Apache-2.0

package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"wasmbed.dev/gateway/protocol"
)

// metrics of one gateway. Labels have few values: nothing that a device chooses becomes one.
type metrics struct {
	registry     *prometheus.Registry
	connections  prometheus.Gauge
	handshakes   *prometheus.CounterVec // result
	sessions     *prometheus.CounterVec // result
	frames       *prometheus.CounterVec // type, direction
	bytes        *prometheus.CounterVec // type, direction
	fetches      *prometheus.CounterVec // result
	downloads    *prometheus.CounterVec // result
	errors       *prometheus.CounterVec // code, direction
	statusWrites *prometheus.CounterVec // kind, result
	logLines     *prometheus.CounterVec // result
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wasmbed_gateway_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:     prometheus.NewRegistry(),
		connections:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "wasmbed_gateway_connections", Help: "Connections of devices whose TLS handshake is done."}),
		handshakes:   counter("handshakes_total", "TLS handshakes of devices.", "result"),
		sessions:     counter("sessions_total", "Ends of connections after the TLS handshake, by reason.", "reason"),
		frames:       counter("frames_total", "Frames of the device protocol.", "type", "direction"),
		bytes:        counter("frame_bytes_total", "Bytes of frames of the device protocol, with their headers.", "type", "direction"),
		fetches:      counter("fetches_total", "Fetches by devices.", "result"),
		downloads:    counter("store_downloads_total", "Modules fetched from the module store.", "result"),
		errors:       counter("errors_total", "Error frames.", "code", "direction"),
		statusWrites: counter("status_writes_total", "Status writes to the API server.", "kind", "result"),
		logLines:     counter("log_lines_total", "Lines of devices' logs.", "result"),
	}
	m.registry.MustRegister(m.connections, m.handshakes, m.sessions, m.frames, m.bytes, m.fetches, m.downloads, m.errors,
		m.statusWrites, m.logLines, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauge registers a figure that is read when it is asked for.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wasmbed_gateway_" + name, Help: help}, value))
}

// typeLabel keeps unknown types from becoming labels of their own.
func typeLabel(t protocol.Type) string {
	if t < protocol.TypeHello || t > protocol.TypeCrash {
		return "unknown"
	}
	return t.String()
}

func codeLabel(c protocol.ErrorCode) string {
	if c < protocol.CodeProtocol || c > protocol.CodeInternal {
		return "unknown"
	}
	return c.String()
}

func (m *metrics) frame(t protocol.Type, direction string, size int) {
	label := typeLabel(t)
	m.frames.WithLabelValues(label, direction).Inc()
	m.bytes.WithLabelValues(label, direction).Add(float64(size))
}
