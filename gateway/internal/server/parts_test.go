// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/store"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway/protocol"
)

// blobs is a store in memory that counts.
type blobs struct {
	content map[string][]byte
	fetched int
	err     error
	wait    chan struct{}
}

func (b *blobs) Fetch(_ context.Context, digest string) ([]byte, error) {
	b.fetched++
	if b.wait != nil {
		<-b.wait
	}
	if content, ok := b.content[digest]; ok && b.err == nil {
		return content, nil
	}
	return nil, errors.Join(store.ErrNotFound, b.err)
}

func (b *blobs) put(content []byte) protocol.Digest {
	d := protocol.DigestOf(content)
	b.content[d.String()] = content
	return d
}

func readAll(t *testing.T, c *modules, d protocol.Digest, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	if err := c.read(d, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestModulesAreFetchedOnceCheckedAndKept(t *testing.T) {
	dir := t.TempDir()
	source := &blobs{content: map[string][]byte{}}
	content := bytes.Repeat([]byte("m"), 1000)
	d := source.put(content)
	c, err := openModules(dir, 1<<20, source, newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.read(d, make([]byte, 1), 0); !errors.Is(err, errNotCached) {
		t.Fatalf("before it was loaded: %v", err)
	}
	if err := c.load(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c, d, 1000); !bytes.Equal(got, content) {
		t.Error("other content")
	}
	if err := c.read(d, make([]byte, 10), 995); err == nil {
		t.Error("more was read than there is")
	}

	// A later process checks what it finds, and needs no store for it.
	if err := c.load(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	fetched := source.fetched
	if err := os.WriteFile(filepath.Join(dir, "x"+temporarySuffix), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = openModules(dir, 1<<20, source, newMetrics()); err != nil {
		t.Fatal(err)
	}
	if err := c.load(t.Context(), d); err != nil || source.fetched != fetched {
		t.Errorf("%v, %d fetches", err, source.fetched-fetched)
	}
	if _, err := os.Stat(filepath.Join(dir, "x"+temporarySuffix)); err == nil {
		t.Error("a temporary file is left")
	}

	// A file that is damaged is not served.
	if err := os.WriteFile(c.path(d), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = openModules(dir, 1<<20, source, newMetrics()); err != nil {
		t.Fatal(err)
	}
	if err := c.load(t.Context(), d); err != nil || source.fetched != fetched+1 {
		t.Errorf("%v, %d fetches", err, source.fetched-fetched)
	}
	readAll(t, c, d, 1000)
}

func TestTheModuleCacheIsBounded(t *testing.T) {
	source := &blobs{content: map[string][]byte{}}
	c, err := openModules(t.TempDir(), 3000, source, newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	var digests []protocol.Digest
	for n := range 3 {
		digests = append(digests, source.put(bytes.Repeat([]byte{byte(n)}, 1000)))
		if err := c.load(t.Context(), digests[n]); err != nil {
			t.Fatal(err)
		}
	}
	readAll(t, c, digests[0], 1000)
	if err := c.load(t.Context(), source.put(make([]byte, 999))); err != nil {
		t.Fatal(err)
	}
	if err := c.read(digests[1], make([]byte, 1), 0); !errors.Is(err, errNotCached) {
		t.Errorf("what was not used for longest is still there: %v", err)
	}
	readAll(t, c, digests[0], 1000)
	files, _ := os.ReadDir(c.dir)
	if c.bytes() != 2999 || len(files) != 3 {
		t.Errorf("%d bytes in %d files", c.bytes(), len(files))
	}
}

func TestAStoreThatFailsOrLiesIsNotAskedAtOnceAgain(t *testing.T) {
	source := &blobs{content: map[string][]byte{}}
	c, err := openModules(t.TempDir(), 1<<20, source, newMetrics())
	if err != nil {
		t.Fatal(err)
	}
	missing := protocol.DigestOf([]byte("missing"))
	err = c.load(t.Context(), missing)
	again := c.load(t.Context(), missing)
	if !errors.Is(err, store.ErrNotFound) || !errors.Is(again, errRecentlyFailed) || !errors.Is(again, store.ErrNotFound) || source.fetched != 1 {
		t.Errorf("%v, then %v after %d fetches", err, again, source.fetched)
	}
	wrong := protocol.DigestOf([]byte("wanted"))
	source.content[wrong.String()] = []byte("another")
	if err := c.load(t.Context(), wrong); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("another content: %v", err)
	}
	if code, _ := withheld(err); code != protocol.CodeNotFound {
		t.Errorf("the device is told %s", code)
	}
}

func TestLogsAreBounded(t *testing.T) {
	l := newLogs()
	for n := range logLinesInAll + 5000 {
		l.add(LogLine{Device: fmt.Sprintf("d%d", n%500), Text: fmt.Sprint(n)})
	}
	if l.len() != logLinesInAll || len(l.devices) != 500 {
		t.Errorf("%d lines of %d devices", l.len(), len(l.devices))
	}
	lines, _ := l.read(logFilter{device: "d7", most: logLinesPerDevice}, false)
	if len(lines) != logLinesInAll/500 && len(lines) != logLinesInAll/500+1 {
		t.Errorf("%d lines of one device", len(lines))
	}
	for range 1000 {
		l.add(LogLine{Device: "loud", Text: "x"})
	}
	if lines, _ := l.read(logFilter{device: "loud", most: logLinesPerDevice}, false); len(lines) != logLinesPerDevice || lines[0].Sequence >= lines[1].Sequence {
		t.Errorf("%d lines of a loud device", len(lines))
	}
	for range logLinesInAll {
		l.add(LogLine{Device: "other", Text: "x"})
	}
	if len(l.devices) != 1 {
		t.Errorf("%d devices are remembered whose lines are gone", len(l.devices)-1)
	}
	if lines, _ := l.read(logFilter{most: logLinesPerDevice}, false); len(lines) != logLinesPerDevice {
		t.Errorf("%d lines of all devices", len(lines))
	}
}

func TestFollowersThatAreTooSlowLoseLines(t *testing.T) {
	l := newLogs()
	_, f := l.read(logFilter{device: "d", most: logLinesPerDevice}, true)
	for range followBuffer + 10 {
		l.add(LogLine{Device: "d"})
		l.add(LogLine{Device: "other"})
	}
	for range followBuffer {
		if line := <-f.lines; line.Device != "d" || line.Dropped != 0 {
			t.Fatalf("%+v", line)
		}
	}
	l.add(LogLine{Device: "d"})
	if line := <-f.lines; line.Dropped != 10 {
		t.Errorf("%d lines were lost, it says %d", 10, line.Dropped)
	}
	l.unfollow(f)
	for n := range maxFollowers + 1 {
		if _, f := l.read(logFilter{most: logLinesPerDevice}, true); (f == nil) != (n == maxFollowers) {
			t.Errorf("follower %d: %v", n, f != nil)
		}
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	r := newRefusals()
	at := time.Unix(1000, 0)
	for n := range 5000 {
		at = at.Add(time.Second)
		r.add(fmt.Sprint("key", n), "1.2.3.4:5", "unknown", at)
		r.add("persistent", "5.6.7.8:9", "unknown", at)
	}
	list := r.list()
	if len(list) != maxRefused {
		t.Errorf("%d keys", len(list))
	}
	var found bool
	for _, e := range list {
		if e.Key == "persistent" {
			found = e.Count == 5000 && e.First.Equal(time.Unix(1001, 0)) && e.Last.Equal(at)
		}
	}
	if !found || list[0].Last.Before(list[1].Last) {
		t.Errorf("list begins with %+v", list[:2])
	}
}

func TestTicketKeys(t *testing.T) {
	dir := t.TempDir()
	secret, err := ticketSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ticketSecret(dir); err != nil || !bytes.Equal(secret, again) {
		t.Errorf("the secret changed: %v", err)
	}
	day := time.Date(2026, 1, 2, 23, 59, 59, 0, time.UTC)
	today, tomorrow := ticketKeys(secret, day), ticketKeys(secret, day.Add(time.Second))
	if today[0] == tomorrow[0] || today[0] != tomorrow[1] || len(today) != ticketDays {
		t.Error("yesterday's key is not the second of today")
	}
}

// pipe is a connection that nobody speaks on.
func pipe(t *testing.T) (*wire, net.Conn) {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	return &wire{Conn: here}, there
}

func TestHandshakesGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakes()
		h.setLimit(2)
		talks, client := pipe(t)
		go client.Write([]byte{22, 3, 1, 0, 1})
		if _, err := talks.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		silent, _ := pipe(t)
		first := h.begin(t.Context(), talks)
		second := h.begin(t.Context(), silent)

		begin := time.Now()
		third, _ := pipe(t)
		element := h.begin(t.Context(), third)
		if took := time.Since(begin); took != evictSilent {
			t.Errorf("a silent handshake gave way after %s", took)
		}
		if h.end(first) || !h.end(second) || h.end(element) {
			t.Error("the wrong handshake gave way")
		}
		if h.len() != 0 {
			t.Errorf("%d are left", h.len())
		}

		a, client := pipe(t)
		go client.Write([]byte{22, 3, 1, 0, 1})
		a.Read(make([]byte, 1))
		h.setLimit(1)
		held := h.begin(t.Context(), a)
		begin = time.Now()
		b, _ := pipe(t)
		h.begin(t.Context(), b)
		if took := time.Since(begin); took != evictAny || !h.end(held) {
			t.Errorf("a handshake that goes on gave way after %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		c, _ := pipe(t)
		if h.begin(ctx, c) != nil {
			t.Error("a place was given though the gateway stops")
		}
	})
}

// TestTheAppsOfABoardFitAList: while Applications take the place of others, a device has the Instances of both.
func TestTheAppsOfABoardFitAList(t *testing.T) {
	for _, board := range boards.All() {
		if 2*board.MaxApps > protocol.MaxApps {
			t.Errorf("%s runs %d apps, and a device can be told %d: two sets of them do not fit", board.Name, board.MaxApps, protocol.MaxApps)
		}
	}
}

func TestManyDevicesSendHeartbeatsLessOften(t *testing.T) {
	for _, c := range []struct {
		devices, seconds int32
		want             time.Duration
	}{
		{0, 0, time.Second}, {10, 30, 30 * time.Second}, {5000, 30, 30 * time.Second}, {8350, 30, 50 * time.Second},
		{10000, 30, 59 * time.Second}, {100000, 30, time.Minute}, {100000, 90, 90 * time.Second},
	} {
		g := &v1alpha1.Gateway{}
		g.Spec.Limits.HeartbeatSeconds, g.Status.AssignedDevices = c.seconds, c.devices
		if got := heartbeatInterval(g).Truncate(time.Second); got != c.want {
			t.Errorf("%d devices at %d s: every %s, want %s", c.devices, c.seconds, got, c.want)
		}
	}
}
