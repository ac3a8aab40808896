// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/gateway/protocol"
)

// DeviceFacts is what GET /v1/devices/NAMESPACE/NAME answers: what the gateway knows of a device at this moment.
type DeviceFacts struct {
	Device    string    `json:"device"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Epoch     int64     `json:"epoch"`
	Remote    string    `json:"remote"`
	Board     string    `json:"board"`
	Firmware  string    `json:"firmware"`
	Features  uint32    `json:"features"`
	// Memory in bytes as the device told it in its hello.
	Memory *protocol.Memory `json:"memory,omitempty"`
	Boots  uint32           `json:"boots,omitempty"`
	// Generation of the desired state that it holds or was sent; InSync when it has reported on that one.
	Generation uint64     `json:"generation"`
	InSync     bool       `json:"inSync"`
	Apps       []AppFacts `json:"apps"`
	// Uptime is milliseconds since boot, Metrics are by name; both from the newest heartbeat.
	HeartbeatAt *time.Time        `json:"heartbeatAt,omitempty"`
	Uptime      uint64            `json:"uptime,omitempty"`
	Metrics     map[string]uint64 `json:"metrics,omitempty"`
	LastCrash   string            `json:"lastCrash,omitempty"`
	BytesIn     int64             `json:"bytesIn"`
	BytesOut    int64             `json:"bytesOut"`
}

// AppFacts is one app of a device.
type AppFacts struct {
	Name     string           `json:"name"`
	Phase    string           `json:"phase"`
	Reason   string           `json:"reason,omitempty"`
	Message  string           `json:"message,omitempty"`
	Restarts uint32           `json:"restarts"`
	Fuel     uint64           `json:"fuel,omitempty"`
	Memory   uint32           `json:"memory,omitempty"`
	Stack    uint32           `json:"stack,omitempty"`
	Values   map[string]int64 `json:"values,omitempty"`
}

// httpServer serves the installation's gateways and clients, and nobody else.
func (s *Server) httpServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /v1/devices/{namespace}/{name}", s.serveDevice)
	mux.HandleFunc("GET /v1/logs", s.serveLogs)
	mux.HandleFunc("GET /v1/history", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.own.read(time.Now())) })
	mux.HandleFunc("GET /v1/history/{namespace}/{name}", s.serveHistory)
	mux.HandleFunc("GET /v1/refused", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.refused.list()) })
	config := s.source.ServerConfig(time.Now, pki.Client, pki.Gateway)
	config.NextProtos = []string{"h2", "http/1.1"}
	return &http.Server{
		Handler: mux, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if !s.ready.Load() {
		http.Error(w, "not serving", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (s *Server) serveDevice(w http.ResponseWriter, r *http.Request) {
	key := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	entry := s.devices.get(key)
	if entry.conn == nil {
		http.Error(w, "no session with this device", http.StatusNotFound)
		return
	}
	facts := entry.conn.describe()
	facts.Connected, facts.Since = !entry.gone, entry.since.UTC()
	writeJSON(w, facts)
}

// describe copies what is known of the connection.
func (c *conn) describe() DeviceFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := DeviceFacts{
		Device: c.who.device.String(), Epoch: c.epoch(), Remote: c.remote,
		Board: c.hello.Board, Firmware: c.hello.Firmware, Features: c.hello.Features, Memory: c.hello.Memory, Boots: c.hello.Boots,
		Generation: c.session.Generation(), InSync: c.known.settled && c.known.hasReport,
		Apps: []AppFacts{}, LastCrash: crashText(c.crash), BytesIn: c.in, BytesOut: c.out,
	}
	if c.latest != nil {
		for _, state := range c.latest.States {
			f.Apps = append(f.Apps, AppFacts{
				Name: state.Name, Phase: state.Phase.String(), Reason: state.Reason.String(), Message: state.Message, Restarts: state.Restarts,
			})
		}
	}
	if c.beat != nil {
		at := c.beatAt.UTC()
		f.HeartbeatAt, f.Uptime = &at, c.beat.Uptime
		f.addMetrics(c.beat)
	}
	return f
}

func (f *DeviceFacts) addMetrics(beat *protocol.Heartbeat) {
	f.Metrics = make(map[string]uint64, len(beat.Metrics))
	for metric, value := range beat.Metrics {
		f.Metrics[metric.String()] = value
	}
	for _, m := range beat.Apps {
		for i := range f.Apps {
			if a := &f.Apps[i]; a.Name == m.Name {
				a.Fuel, a.Memory, a.Stack, a.Values = m.Fuel, m.Memory, m.Stack, m.Values
			}
		}
	}
}

// serveHistory answers with the last hours of a device.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) {
	h := s.histories.read(types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}, time.Now())
	if h == nil {
		http.Error(w, "nothing is known of this device", http.StatusNotFound)
		return
	}
	writeJSON(w, h)
}

// serveLogs answers with the lines that are kept, one JSON object each, and with follow=1 goes on with those to come.
func (s *Server) serveLogs(w http.ResponseWriter, r *http.Request) {
	follow := r.URL.Query().Get("follow") == "1"
	filter, err := filterOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	lines, follower := s.logs.read(filter, follow)
	if follow && follower == nil {
		http.Error(w, "too many follow the logs already", http.StatusTooManyRequests)
		return
	}
	if follower != nil {
		defer s.logs.unfollow(follower)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	for _, line := range lines {
		if encoder.Encode(line) != nil {
			return
		}
	}
	for follower != nil {
		if control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil || control.Flush() != nil {
			return
		}
		// A deadline that passes while there is nothing to write would end an HTTP/2 stream.
		if control.SetWriteDeadline(time.Time{}) != nil {
			return
		}
		select {
		case line := <-follower.lines:
			if encoder.Encode(line) != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}
