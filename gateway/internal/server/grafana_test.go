// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

func TestGrafanasPanelsShowMetricsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../../grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Error("not JSON")
	}
	m := newMetrics()
	for _, name := range []string{"queue_depth", "handshakes_pending"} { // those that the server registers
		m.gauge(name, "x", func() float64 { return 0 })
	}
	m.handshakes.WithLabelValues("ok").Inc()
	m.sessions.WithLabelValues("closed").Inc()
	m.frame(1, "in", 1)
	m.fetches.WithLabelValues("ok").Inc()
	m.downloads.WithLabelValues("ok").Inc()
	m.errors.WithLabelValues("busy", "in").Inc()
	m.statusWrites.WithLabelValues("device", "ok").Inc()
	m.logLines.WithLabelValues("kept").Inc()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, family := range families {
		known[family.GetName()] = true
	}
	named := regexp.MustCompile(`(wasmbed_gateway|process)_\w+`).FindAllString(string(text), -1)
	if len(named) < 12 {
		t.Errorf("only %d metrics are shown", len(named))
	}
	for _, name := range named {
		if !known[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
	for _, series := range ownSeries {
		if !known[series.metric] {
			t.Errorf("history %s: there is no metric %s", series.name, series.metric)
		}
	}
}
