// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmbed.dev/gateway/protocol"
)

// messenger is the app of devices/hostapi/testdata/messages in one of its modes.
func messenger(t testing.TB, g *testGateway, name, mode string) protocol.App {
	t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "hostapi", "testdata", "messages", "messages.wasm"))
	must(t, err)
	app := g.app(name, 1, module, "messaging", "timer")
	app.Config = map[string]string{"mode": mode}
	app.RestartPolicy = protocol.RestartNever
	return app
}

func (g *testGateway) value(app, name string) int64 { return g.appMetrics(app).Values[name] }

// Apps of one device talk: called back and asking, beside one that floods; each function keeps its contract.
func TestMessagesAmongApps(t *testing.T) {
	everyBoard(t, func(t *testing.T, name string) {
		t.Parallel()
		r := newRig(t, name)
		r.g.want(messenger(t, r.g, "calls", "calls"))
		if s := r.g.waitFor("calls", 1, protocol.PhaseCompleted); s.Message != "" {
			t.Errorf("messages.c: %s", s.Message)
		}
		r.g.want(messenger(t, r.g, "getter", "get"), messenger(t, r.g, "publisher", "publish"), messenger(t, r.g, "receiver", "receive"),
			r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		for _, app := range []string{"getter", "receiver"} {
			eventually(t, app+" gets messages", func() string {
				if n := r.g.value(app, "received"); n < 20 {
					return "not enough"
				}
				return ""
			})
		}
		r.g.want(messenger(t, r.g, "flood", "flood"), messenger(t, r.g, "getter", "get"), messenger(t, r.g, "receiver", "receive"),
			r.g.app("blink", 1, example(t, "blink"), "gpio", "timer"))
		for _, app := range []string{"getter", "receiver"} {
			eventually(t, app+" gets messages of a flood", func() string {
				if n := r.g.value(app, "received"); n < 500 {
					return "not enough"
				}
				return ""
			})
			if n := r.g.value(app, "wrong"); n != 0 {
				t.Errorf("%s got %d wrong messages", app, n)
			}
		}
		before := r.g.metric(protocol.MetricLEDMask)
		r.g.until("the light blinks", func() bool { return r.g.beat.Metrics[protocol.MetricLEDMask]&1 != before&1 })
		if lost := strings.Count(r.consoleText(), "getter: lost"); lost == 0 || lost > 20 {
			t.Errorf("what the getter lost was told %d times", lost)
		}
		r.g.mu.Lock()
		defer r.g.mu.Unlock()
		if r.g.sessions != 1 || len(r.g.crashes) != 0 {
			t.Errorf("%d sessions, %d crashes", r.g.sessions, len(r.g.crashes))
		}
	})
}

// An app that may not send messages is refused.
func TestMessagesNeedAPermission(t *testing.T) {
	r := newRig(t, "mps2-an385")
	app := messenger(t, r.g, "app", "receive")
	app.Permissions = []string{"timer"}
	r.g.want(app)
	if s := r.g.waitFor("app", 1, protocol.PhaseRejected); s.Reason != protocol.ReasonPermissionDenied {
		t.Errorf("%s: %s", s.Reason, s.Message)
	}
}
