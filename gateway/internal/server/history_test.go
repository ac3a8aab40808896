// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"runtime"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/gateway/protocol"
)

var midnight = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func heartbeat(minute int) *protocol.Heartbeat {
	return &protocol.Heartbeat{Metrics: map[protocol.Metric]uint64{
		protocol.MetricHeapUsed: uint64(20_000 + rand.IntN(4000)), protocol.MetricStackHighWater: 900 + uint64(minute),
		protocol.MetricIdlePermille: uint64(900 + rand.IntN(100)), protocol.MetricStorageFree: 1 << 19, protocol.MetricTemperatureMillidegree: uint64(21_000 + rand.IntN(500)),
	}}
}

func TestAHistoryIsWhatWasTold(t *testing.T) {
	h, key := newHistories(), types.NamespacedName{Namespace: "plant", Name: "d"}
	told := map[int]map[protocol.Metric]uint64{}
	for minute := 0; minute < 500; minute++ {
		if minute%17 == 3 || minute > 300 && minute < 340 { // away
			continue
		}
		beat := heartbeat(minute)
		if minute%5 == 0 {
			delete(beat.Metrics, protocol.MetricTemperatureMillidegree)
		}
		told[minute] = beat.Metrics
		h.beat(key, beat, midnight.Add(time.Duration(minute)*time.Minute))
		h.beat(key, heartbeat(0), midnight.Add(time.Duration(minute)*time.Minute+30*time.Second)) // the same minute: left out
	}
	got := h.read(key, midnight.Add(499*time.Minute+59*time.Second))
	if want := midnight.Add(320 * time.Minute); !got.Start.Equal(want) || got.Step != 60 {
		t.Fatalf("start %v step %d", got.Start, got.Step)
	}
	for _, metric := range historyMetrics {
		series := got.Series[metric.String()]
		if len(series) != historyPoints {
			t.Fatalf("%s has %d points", metric, len(series))
		}
		for i, point := range series {
			value, ok := told[320+i][metric]
			if ok != (point != nil) || ok && *point != float64(value) {
				t.Errorf("%s minute %d: %v, told %v %v", metric, 320+i, point, value, ok)
			}
		}
	}
	if h.read(types.NamespacedName{Name: "unknown"}, midnight) != nil {
		t.Error("an unknown device has a history")
	}
}

func TestCrashReportsAreKeptOnce(t *testing.T) {
	h, key := newHistories(), types.NamespacedName{Namespace: "plant", Name: "d"}
	for i := range uint32(6) {
		for range 2 {
			h.crashed(key, &protocol.Crash{Code: protocol.CrashHardFault, PC: i, App: "blink"}, midnight)
		}
	}
	crashes := h.read(key, midnight).Crashes
	if len(crashes) != maxCrashes || crashes[0].PC != 2 || crashes[3].PC != 5 || crashes[0].Code != "hard fault" || crashes[0].App != "blink" {
		t.Errorf("%+v", crashes)
	}
}

func TestHistoriesAreBounded(t *testing.T) {
	h := newHistories()
	for i := range maxHistories + 10 {
		h.beat(types.NamespacedName{Name: fmt.Sprint(i)}, heartbeat(0), midnight)
	}
	if len(h.devices) != maxHistories {
		t.Errorf("%d histories", len(h.devices))
	}
	h.beat(types.NamespacedName{Name: "later"}, heartbeat(0), midnight.Add(4*time.Hour))
	if len(h.devices) != 1 {
		t.Errorf("%d histories after the others are over", len(h.devices))
	}
}

// BenchmarkHistoryMemory reports what three full hours of a device take.
func BenchmarkHistoryMemory(b *testing.B) {
	const devices = 2000
	var before, after runtime.MemStats
	for range b.N {
		h := newHistories()
		runtime.GC()
		runtime.ReadMemStats(&before)
		for minute := range 400 {
			beat := heartbeat(minute)
			for i := range devices {
				h.beat(types.NamespacedName{Name: fmt.Sprint(i)}, beat, midnight.Add(time.Duration(minute)*time.Minute))
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/devices, "bytes/device")
		runtime.KeepAlive(h)
	}
}

func TestTheGatewaysOwnFiguresGrowByTheMinute(t *testing.T) {
	var h ownHistory
	at := slices.IndexFunc(ownSeries, func(s struct {
		name, metric string
		label, value string
		gauge        bool
		scale        float64
	}) bool {
		return s.name == "frames_in"
	})
	for minute := range 200 {
		figures := make([]float64, len(ownSeries))
		figures[0], figures[at] = 7, float64(minute*minute)
		h.add(figures, midnight.Add(time.Duration(minute)*time.Minute))
	}
	got := h.read(midnight.Add(199 * time.Minute))
	frames, connections := got.Series["frames_in"], got.Series["connections"]
	if len(frames) != historyPoints || *frames[historyPoints-1] != 199*199-198*198 || *connections[0] != 7 || !got.Start.Equal(midnight.Add(20*time.Minute)) {
		t.Errorf("%v %v", *frames[historyPoints-1], got.Start)
	}
}

func TestLogsAreFiltered(t *testing.T) {
	l := newLogs()
	for i := range 600 {
		l.add(LogLine{Device: fmt.Sprintf("plant/d%d", i%3), App: []string{"blink", ""}[i%2], Level: protocol.LogLevel(i % 4).String(), Text: fmt.Sprint(i)})
	}
	for query, want := range map[string]int{
		"": 256, "lines=5": 5, "lines=0": 0, "device=plant/d1": 200, "device=plant/d1&app=blink": 100, "device=plant/d1&level=error": 50, "namespace=plan": 0, "namespace=plant&level=warning": 256, "app=none": 0,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		filter, err := filterOf(values)
		if err != nil {
			t.Fatal(err)
		}
		lines, _ := l.read(filter, false)
		if len(lines) != want || !slices.IsSortedFunc(lines, func(a, b LogLine) int { return int(a.Sequence - b.Sequence) }) {
			t.Errorf("%q: %d lines, want %d", query, len(lines), want)
		}
	}
	for _, wrong := range []url.Values{{"level": {"loud"}}, {"lines": {"257"}}, {"lines": {"-1"}}} {
		if _, err := filterOf(wrong); err == nil {
			t.Errorf("%v is taken", wrong)
		}
	}
}
