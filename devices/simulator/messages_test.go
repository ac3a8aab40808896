// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmbed.dev/gateway/protocol"
)

// messenger is the app of devices/hostapi/testdata/messages in one of its modes.
func (g *testGateway) messenger(name, mode string) protocol.App {
	g.t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "hostapi", "testdata", "messages", "messages.wasm"))
	check(g.t, err)
	app := with(g.offer(name, module), 1, "mode", mode)
	app.Permissions = []string{"messaging", "timer"}
	app.RestartPolicy = protocol.RestartNever
	return app
}

func (d *Device) value(app, name string) int64 {
	if i := runningInstance(d, app); i != nil {
		return i.metrics()[name]
	}
	return 0
}

// As TestMessagesAmongApps of devices/qemu, with the same module.
func TestMessagesAmongApps(t *testing.T) {
	b, g := start(t)
	g.desire(g.messenger("calls", "calls"))
	g.wait("each function keeps its contract", func() bool {
		s := g.states["calls"]
		if s.Phase == protocol.PhaseFailed {
			t.Fatalf("messages.c: %s", s.Message)
		}
		return s.Phase == protocol.PhaseCompleted
	})
	g.desire(g.messenger("getter", "get"), g.messenger("publisher", "publish"), g.messenger("receiver", "receive"))
	for _, app := range []string{"getter", "receiver"} {
		until(t, app+" gets messages", func() bool { return b.device.value(app, "received") >= 20 })
	}
	g.desire(g.messenger("flood", "flood"), g.messenger("getter", "get"), g.messenger("receiver", "receive"))
	for _, app := range []string{"getter", "receiver"} {
		until(t, app+" gets messages of a flood", func() bool { return b.device.value(app, "received") >= 500 })
		if n := b.device.value(app, "wrong"); n != 0 {
			t.Errorf("%s got %d wrong messages", app, n)
		}
	}
	g.wait("it is told that the getter loses some", func() bool {
		return slices.ContainsFunc(g.logs, func(l protocol.Log) bool { return l.App == "" && strings.HasPrefix(l.Text, "getter: lost ") })
	})
}

func TestMessagesNeedAPermission(t *testing.T) {
	_, g := start(t)
	app := g.messenger("app", "receive")
	app.Permissions = []string{"timer"}
	g.desire(app)
	if s := g.phase("app", protocol.PhaseRejected); s.Reason != protocol.ReasonPermissionDenied {
		t.Errorf("%+v", s)
	}
}
