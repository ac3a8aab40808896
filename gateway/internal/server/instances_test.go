// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"slices"
	"testing"
	"time"

	"wasmbed.dev/gateway/internal/session"
	"wasmbed.dev/gateway/protocol"
)

// TestNamespacesWithoutDevicesAreDropped: what is followed of them ends.
func TestNamespacesWithoutDevicesAreDropped(t *testing.T) {
	ended := map[string]context.Context{}
	c := &instances{in: map[string]*followed{}}
	for _, namespace := range []string{"plant", "left"} {
		ctx, stop := context.WithCancel(t.Context())
		ended[namespace] = ctx
		c.in[namespace] = &followed{stop: stop}
	}
	c.keepOnly(map[string]bool{"plant": true, "new": true})
	if c.in["plant"] == nil || ended["plant"].Err() != nil || c.in["left"] != nil || ended["left"].Err() == nil || len(c.in) != 1 {
		t.Errorf("followed: %v", c.in)
	}
}

// TestWhatADeviceCameWith is known once it has told, and of no account once it was told what to run.
func TestWhatADeviceCameWith(t *testing.T) {
	two := []protocol.State{{Name: "a"}, {Name: "b"}}
	for name, c := range map[string]struct {
		conn  *conn
		apps  []string
		known bool
	}{
		"nothing yet":      {&conn{hello: &protocol.Hello{}}, nil, true},
		"not told yet":     {&conn{hello: &protocol.Hello{Generation: 3}}, nil, false},
		"told of an older": {&conn{hello: &protocol.Hello{Generation: 3}, latest: &session.Reported{Generation: 2, States: two}}, nil, false},
		"told":             {&conn{hello: &protocol.Hello{Generation: 3}, latest: &session.Reported{Generation: 3, States: two}}, []string{"a", "b"}, true},
		"told what to run": {&conn{hello: &protocol.Hello{Generation: 3}, latest: &session.Reported{Generation: 3, States: two}, known: knowledge{settled: true}}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.conn.session = session.New(session.Config{}, 1, time.Now())
			if apps, known := c.conn.came(nil); !slices.Equal(apps, c.apps) || known != c.known {
				t.Errorf("%v %v, wanted %v %v", apps, known, c.apps, c.known)
			}
		})
	}
}
