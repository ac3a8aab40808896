// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-logr/logr"
	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/dashboard/internal/access"
	"wasmbed.dev/dashboard/internal/fleet"
	"wasmbed.dev/dashboard/internal/stream"
	"wasmbed.dev/dashboard/internal/terminal"
	"wasmbed.dev/dashboard/internal/views"
)

const testToken = "a-token-for-tests-1234"

// world is a dashboard's server whose objects the test applies itself.
type world struct {
	store *fleet.Store
	hub   *stream.Hub
	http  *httptest.Server
}

func newWorld(t *testing.T, objects ...any) *world {
	t.Helper()
	store := fleet.NewStore()
	if err := store.Apply(objects...); err != nil {
		t.Fatal(err)
	}
	store.DeriveNow()
	server := httptest.NewUnstartedServer(nil)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	guard, err := access.NewGuard(testToken, nil, port)
	if err != nil {
		t.Fatal(err)
	}
	built, err := newPage(fstest.MapFS{"index.html": {Data: []byte(`<meta name="csp-nonce" content="__CSP_NONCE__"><p>page</p>`)}, "assets/a-1.js": {Data: []byte(strings.Repeat("x", 5000))}})
	if err != nil {
		t.Fatal(err)
	}
	engine := &views.Engine{Store: store}
	ctx, cancel := context.WithCancel(context.Background())
	hub := &stream.Hub{Engine: engine, Guard: guard, Version: "test", Log: logr.Discard()}
	commands := &terminal.Terminal{Engine: engine, Log: logr.Discard()}
	hub.Terminal = commands
	hub.Start(ctx)
	s := &dashServer{engine: engine, guard: guard, hub: hub, page: built, terminal: commands}
	s.measure(Options{})
	server.Config.Handler = s.handler()
	server.Start()
	t.Cleanup(func() { cancel(); server.Close() })
	return &world{store: store, hub: hub, http: server}
}

// dashServer lets newWorld name a variable server.
type dashServer = server

func (w *world) apply(t *testing.T, objects ...any) {
	t.Helper()
	if err := w.store.Apply(objects...); err != nil {
		t.Fatal(err)
	}
}

func deviceObject(name string, phase v1alpha1.DevicePhase, labels map[string]string) *v1alpha1.Device {
	d := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name, Labels: labels, Generation: 1}}
	d.Spec.Board, d.Spec.Backend = "sim-m4", v1alpha1.BackendSimulated
	d.Status = v1alpha1.DeviceStatus{ObservedGeneration: 1, Phase: phase, Gateway: "plant.edge", Apps: "1/1"}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonOnline}
	if phase == v1alpha1.DeviceOffline {
		ready.Status, ready.Reason = metav1.ConditionFalse, v1alpha1.ReasonDisconnected
	}
	d.Status.Conditions = []metav1.Condition{ready}
	return d
}

func devicesOf(n int) (all []any) {
	for i := range n {
		all = append(all, deviceObject(fmt.Sprintf("d%05d", i), v1alpha1.DeviceOnline, map[string]string{"site": fmt.Sprintf("hall-%d", i%3)}))
	}
	return all
}

// client is a page: it keeps windows as PROTOCOL.md says.
type client struct {
	t          *testing.T
	connection *websocket.Conn
	hello      map[string]any
	rows       map[float64][]map[string]any
	total      map[float64]float64
	seq        map[float64]float64
}

func (w *world) dial(t *testing.T, query string) *client {
	t.Helper()
	connection, response, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(w.http.URL, "http")+"/api/v1/stream"+query, http.Header{"Authorization": {"Bearer " + testToken}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	t.Cleanup(func() { _ = connection.Close() })
	c := &client{t: t, connection: connection, rows: map[float64][]map[string]any{}, total: map[float64]float64{}, seq: map[float64]float64{}}
	c.hello = c.read()
	if c.hello["type"] != "hello" {
		t.Fatalf("first message: %v", c.hello)
	}
	return c
}

func (c *client) send(message string) {
	c.t.Helper()
	if err := c.connection.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next message that is no beat.
func (c *client) read() map[string]any {
	c.t.Helper()
	for {
		_ = c.connection.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, body, err := c.connection.ReadMessage()
		if err != nil {
			c.t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(body, &m); err != nil {
			c.t.Fatalf("%v: %s", err, body)
		}
		if m["type"] != "beat" {
			return m
		}
	}
}

// next reads a message and applies it to the window that it is about.
func (c *client) next() map[string]any {
	c.t.Helper()
	m := c.read()
	id, _ := m["id"].(float64)
	if seq, ok := m["seq"].(float64); ok && m["type"] != "resumed" {
		if m["type"] != "snapshot" && seq != c.seq[id]+1 {
			c.t.Fatalf("gap: %v after %v", seq, c.seq[id])
		}
		c.seq[id] = seq
	}
	if total, ok := m["total"].(float64); ok {
		c.total[id] = total
	}
	switch m["type"] {
	case "snapshot":
		c.rows[id] = nil
		for _, row := range m["rows"].([]any) {
			c.rows[id] = append(c.rows[id], row.(map[string]any))
		}
	case "delta":
		c.applyDelta(id, m)
	}
	return m
}

func (c *client) applyDelta(id float64, m map[string]any) {
	c.t.Helper()
	known := map[string]map[string]any{}
	removed, _ := m["removed"].([]any)
	for _, name := range removed {
		at := slices.IndexFunc(c.rows[id], func(row map[string]any) bool { return row["id"] == name })
		if at < 0 {
			c.t.Fatalf("removed %v, which is not there", name)
		}
		known[name.(string)] = c.rows[id][at]
		c.rows[id] = slices.Delete(c.rows[id], at, at+1)
	}
	inserted, _ := m["inserted"].([]any)
	for _, one := range inserted {
		in := one.(map[string]any)
		row, ok := in["row"].(map[string]any)
		if !ok {
			row = known[in["id"].(string)]
		}
		c.rows[id] = slices.Insert(c.rows[id], int(in["at"].(float64)), row)
	}
	changed, _ := m["changed"].([]any)
	for _, one := range changed {
		changes := one.(map[string]any)
		at := slices.IndexFunc(c.rows[id], func(row map[string]any) bool { return row["id"] == changes["id"] })
		for name, value := range changes {
			if value == nil {
				delete(c.rows[id][at], name)
			} else {
				c.rows[id][at][name] = value
			}
		}
	}
}

// get answers a GET request.
func (w *world) get(t *testing.T, path string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+testToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%s: %v: %.300s", path, err, body)
	}
	return response.StatusCode, m
}

// same waits until a window is what GET answers.
func (c *client) same(w *world, id float64, path string) {
	c.t.Helper()
	for range 40 {
		_, m := w.get(c.t, path)
		var want []map[string]any
		for _, row := range m["items"].([]any) {
			want = append(want, row.(map[string]any))
		}
		if reflect.DeepEqual(c.rows[id], want) && c.total[id] == m["total"] {
			return
		}
		c.next()
	}
	c.t.Fatalf("the window never became what GET %s answers", path)
}

func TestAWindowFollowsWhatChanges(t *testing.T) {
	w := newWorld(t, devicesOf(300)...)
	c := w.dial(t, "")
	c.send(`{"type":"subscribe","id":1,"view":"devices","query":{"sort":"phase","limit":20,"offset":5}}`)
	if m := c.next(); m["type"] != "snapshot" || len(c.rows[1]) != 20 || c.total[1] != 300 {
		t.Fatalf("snapshot: %v", m)
	}
	for i := range 60 { // rows change, move, come and go
		name := fmt.Sprintf("d%05d", (i*37)%300)
		switch i % 4 {
		case 0, 1:
			w.apply(t, deviceObject(name, v1alpha1.DeviceOffline, nil))
		case 2:
			w.store.Remove(fleet.Devices, "plant/"+name)
		default:
			w.apply(t, deviceObject(name, v1alpha1.DevicePending, map[string]string{"site": "new"}))
		}
		if i%15 == 14 {
			c.same(w, 1, "/api/v1/devices?sort=phase&limit=20&offset=5")
		}
	}
}

func TestALostConnectionGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t, devicesOf(50)...)
	const subscribe = `{"type":"subscribe","id":1,"view":"devices","query":{"limit":10}`
	first := w.dial(t, "")
	first.send(subscribe + `}`)
	first.next()
	w.apply(t, deviceObject("d00003", v1alpha1.DeviceOffline, nil))
	first.next()
	session := first.hello["session"].(string)
	_ = first.connection.Close()
	eventually(t, "the connection is known to be lost", func() bool { return w.hub.Figures().Viewers == 0 })

	w.apply(t, deviceObject("d00004", v1alpha1.DeviceOffline, nil))
	second := w.dial(t, "?session="+session)
	second.rows, second.total, second.seq = first.rows, first.total, first.seq
	second.send(subscribe + `,"resume":2}`)
	if m := second.next(); m["type"] != "resumed" || m["seq"] != 2.0 {
		t.Fatalf("resumed: %v", m)
	}
	if m := second.next(); m["type"] != "delta" || m["seq"] != 3.0 {
		t.Fatalf("delta: %v", m)
	}
	second.same(w, 1, "/api/v1/devices?limit=10")

	_ = second.connection.Close()
	eventually(t, "the connection is known to be lost", func() bool { return w.hub.Figures().Viewers == 0 })
	for name, message := range map[string]string{"an older message": `,"resume":2}`, "another query": `,"query":{"limit":9},"resume":3}`} {
		third := w.dial(t, "?session="+second.hello["session"].(string))
		third.send(subscribe + message)
		if m := third.next(); m["type"] != "snapshot" || m["seq"] != 1.0 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestOneObjectIsSentAtMostFourTimesASecond(t *testing.T) {
	w := newWorld(t, devicesOf(10)...)
	c := w.dial(t, "")
	c.send(`{"type":"subscribe","id":1,"view":"devices"}`)
	c.next()
	began, stop := time.Now(), make(chan struct{})
	go func() {
		defer close(stop)
		for i := 0; time.Since(began) < 1500*time.Millisecond; i++ {
			phase := []v1alpha1.DevicePhase{v1alpha1.DeviceOffline, v1alpha1.DeviceOnline}[i%2]
			_ = w.store.Apply(deviceObject("d00001", phase, map[string]string{"n": fmt.Sprint(i)}))
			time.Sleep(time.Millisecond)
		}
	}()
	<-stop
	w.apply(t, deviceObject("d00001", v1alpha1.DeviceOff, nil))
	c.same(w, 1, "/api/v1/devices")
	most := time.Since(began).Seconds()*4 + 2
	if sent := c.seq[1] - 1; sent > most || sent < 2 {
		t.Errorf("%v deltas in %v", sent, time.Since(began))
	}
}

func TestHostileMessagesEndTheConnection(t *testing.T) {
	w := newWorld(t, devicesOf(3)...)
	for name, send := range map[string]func(c *client){
		"too large":    func(c *client) { c.send(`{"type":"subscribe","id":1,"view":"` + strings.Repeat("x", 5000) + `"}`) },
		"no JSON":      func(c *client) { c.send("{") },
		"unknown type": func(c *client) { c.send(`{"type":"delete","id":1}`) },
		"no id":        func(c *client) { c.send(`{"type":"subscribe","view":"devices"}`) },
		"binary":       func(c *client) { _ = c.connection.WriteMessage(websocket.BinaryMessage, []byte("{}")) },
		"too many": func(c *client) {
			for range 100 {
				_ = c.connection.WriteMessage(websocket.TextMessage, []byte(`{"type":"unsubscribe","id":1}`))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.dial(t, "")
			send(c)
			_ = c.connection.SetReadDeadline(time.Now().Add(20 * time.Second))
			_, _, err := c.connection.ReadMessage()
			var closed *websocket.CloseError
			if !asClose(err, &closed) || (closed.Code != websocket.ClosePolicyViolation || closed.Text == "") && closed.Code != websocket.CloseMessageTooBig {
				t.Errorf("ended with %v", err)
			}
		})
	}
	c := w.dial(t, "")
	for i := 1; i <= 33; i++ {
		c.send(fmt.Sprintf(`{"type":"subscribe","id":%d,"view":"gateways"}`, i))
	}
	for {
		if m := c.next(); m["type"] == "error" {
			if m["code"] != "TooMany" || m["id"] != 33.0 {
				t.Errorf("subscription 33: %v", m)
			}
			break
		}
	}
}

func asClose(err error, to **websocket.CloseError) bool {
	c, ok := err.(*websocket.CloseError) //nolint:errorlint // as gorilla returns it
	*to = c
	return ok
}

func TestASlowViewerIsDroppedWithAReason(t *testing.T) {
	w := newWorld(t, devicesOf(500)...)
	c := w.dial(t, "")
	tcp := c.connection.NetConn().(*net.TCPConn)
	_ = tcp.SetReadBuffer(4096)
	c.send(`{"type":"subscribe","id":1,"view":"devices","query":{"limit":500}}`)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // more than the sockets' buffers hold; every window differs in all rows
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			for j := range 500 {
				_ = w.store.Apply(deviceObject(fmt.Sprintf("d%05d", j), v1alpha1.DeviceOnline, map[string]string{"noise": fmt.Sprintf("%030d-%d", i, j)}))
			}
		}
	}()
	deadline := time.Now().Add(60 * time.Second)
	for w.hub.Figures().Dropped == 0 {
		if time.Now().After(deadline) {
			t.Fatal("never dropped")
		}
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, "the viewer is gone", func() bool { return w.hub.Figures().Viewers == 0 })
	again := w.dial(t, "?session="+c.hello["session"].(string))
	if reason, _ := again.hello["dropped"].(string); !strings.Contains(reason, "too slow") {
		t.Errorf("hello says dropped %q", reason)
	}
}
