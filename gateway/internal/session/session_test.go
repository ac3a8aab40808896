// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"wasmbed.dev/gateway/protocol"
)

var (
	start  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config = Config{
		MaxFrame: 4096, HandshakeTimeout: 10 * time.Second, HeartbeatInterval: 30 * time.Second, ReportInterval: 200 * time.Millisecond,
		LogLinesPerMinute: 60, Endpoints: []string{"gateway.example:30450"},
	}
	digest = protocol.DigestOf([]byte("module"))
	blink  = protocol.App{Name: "blink", Digest: digest, Artifact: protocol.Artifact{Digest: digest, Size: 2500}, Spec: 1}
	run    = []protocol.State{{Name: "blink", Spec: 1, Phase: protocol.PhaseRunning}}
)

func hello() *protocol.Hello {
	return &protocol.Hello{Version: 1, MaxFrame: 1024, Board: "sim-m4", Firmware: "1"}
}

// welcomed is a session after hello.
func welcomed(t *testing.T, h *protocol.Hello) *Session {
	t.Helper()
	s := New(config, 7, start)
	if out := s.ReceiveFrame(h, start); out.Close != nil || len(out.Send) == 0 {
		t.Fatalf("hello was answered with %+v", out)
	}
	return s
}

func desire(t *testing.T, s *Session, apps ...protocol.App) Output {
	t.Helper()
	out, err := s.SetDesired(apps)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sent[F protocol.Frame](t *testing.T, out Output) F {
	t.Helper()
	for _, f := range out.Send {
		if f, ok := f.(F); ok {
			return f
		}
	}
	var want F
	t.Fatalf("no %T among %+v", want, out)
	return want
}

func happened[E Event](t *testing.T, out Output) E {
	t.Helper()
	for _, e := range out.Events {
		if e, ok := e.(E); ok {
			return e
		}
	}
	var want E
	t.Fatalf("no %T among %+v", want, out)
	return want
}

func nothing(t *testing.T, what string, out Output) {
	t.Helper()
	if len(out.Send)+len(out.Events) > 0 || out.Close != nil {
		t.Errorf("%s led to %+v", what, out)
	}
}

func TestHelloIsWelcomed(t *testing.T) {
	s := New(config, 7, start)
	out := s.ReceiveFrame(hello(), start)
	w := sent[*protocol.Welcome](t, out)
	want := &protocol.Welcome{Version: 1, MaxFrame: 4096, Time: uint64(start.UnixMilli()), Epoch: 7, HeartbeatInterval: 30000, ReportInterval: 200,
		Limits: &protocol.Limits{LogLinesPerMinute: 60, FetchLength: 1024 - protocol.ChunkOverhead}, Endpoints: config.Endpoints}
	if !reflect.DeepEqual(w, want) {
		t.Errorf("welcome is %+v, want %+v", w, want)
	}
	if up := happened[Up](t, out); up.Hello.Board != "sim-m4" {
		t.Errorf("up says %+v", up.Hello)
	}
	if s.MaxSend() != 1024 || s.MaxReceive() != 4096 {
		t.Errorf("largest frames are %d and %d", s.MaxSend(), s.MaxReceive())
	}
}

func TestWelcomeNamesWhatFitsTheDevicesFrame(t *testing.T) {
	c := config
	for i := range 4 {
		c.Endpoints = append(c.Endpoints[:i:i], fmt.Sprintf("%s%d:1", strings.Repeat("e", 120), i))
	}
	s := New(c, 7, start)
	h := hello()
	h.MaxFrame = 512
	w := sent[*protocol.Welcome](t, s.ReceiveFrame(h, start))
	if len(w.Endpoints) != 3 {
		t.Errorf("%d endpoints in 512 bytes", len(w.Endpoints))
	}
	if _, err := protocol.AppendFrame(nil, w, 512); err != nil {
		t.Error(err)
	}
}

func TestWhatADeviceMayNotDo(t *testing.T) {
	oldVersion := hello()
	oldVersion.Version = 0
	for name, c := range map[string]struct {
		frames []protocol.Frame
		code   protocol.ErrorCode
		err    error
	}{
		"speak before hello":          {[]protocol.Frame{&protocol.Heartbeat{}}, protocol.CodeProtocol, ErrProtocol},
		"fetch before hello":          {[]protocol.Frame{&protocol.Fetch{Length: 1}}, protocol.CodeProtocol, ErrProtocol},
		"say hello twice":             {[]protocol.Frame{hello(), hello()}, protocol.CodeProtocol, ErrProtocol},
		"speak version 0":             {[]protocol.Frame{oldVersion}, protocol.CodeVersion, ErrVersion},
		"welcome the gateway":         {[]protocol.Frame{hello(), &protocol.Welcome{}}, protocol.CodeProtocol, ErrProtocol},
		"desire":                      {[]protocol.Frame{hello(), &protocol.Desired{}}, protocol.CodeProtocol, ErrProtocol},
		"release the gateway":         {[]protocol.Frame{hello(), &protocol.Release{}}, protocol.CodeProtocol, ErrProtocol},
		"send an unwanted chunk":      {[]protocol.Frame{hello(), &protocol.Chunk{Bytes: []byte{1}, Size: 1}}, protocol.CodeProtocol, ErrProtocol},
		"fail a fetch that never was": {[]protocol.Frame{hello(), &protocol.Error{Code: protocol.CodeNotFound, Fetch: &digest}}, protocol.CodeProtocol, ErrProtocol},
	} {
		s := New(config, 7, start)
		var out Output
		for _, f := range c.frames {
			out = s.ReceiveFrame(f, start)
		}
		if e := sent[*protocol.Error](t, out); e.Code != c.code || !errors.Is(out.Close, c.err) {
			t.Errorf("%s: %s, closed with %v", name, e.Code, out.Close)
		}
		nothing(t, name+": a frame after the end", s.ReceiveFrame(&protocol.Heartbeat{}, start))
		nothing(t, name+": the time after the end", s.Tick(start.Add(time.Hour)))
	}
}

func TestMalformedAndOversizedFramesEndTheSession(t *testing.T) {
	s := welcomed(t, hello())
	if out := s.Receive([]byte{0xff}, start); sent[*protocol.Error](t, out).Code != protocol.CodeProtocol || !errors.Is(out.Close, ErrProtocol) {
		t.Errorf("malformed: %+v", out)
	}
	s = welcomed(t, hello())
	if out := s.Oversized(); sent[*protocol.Error](t, out).Code != protocol.CodeTooLarge || !errors.Is(out.Close, ErrProtocol) {
		t.Errorf("oversized: %+v", out)
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	s := welcomed(t, hello())
	nothing(t, "an unknown frame", s.Receive([]byte{0x82, 0x18, 0x63, 0xa0}, start))
}

func TestErrorTextsAreCutToWhatAFrameTakes(t *testing.T) {
	s := welcomed(t, hello())
	e := sent[*protocol.Error](t, s.Fail(protocol.CodeInternal, strings.Repeat("é", 200)))
	if _, err := protocol.AppendFrame(nil, e, 1024); err != nil || len(e.Text) != 160 {
		t.Errorf("%d bytes: %v", len(e.Text), err)
	}
}

func TestSilence(t *testing.T) {
	s := New(config, 7, start)
	nothing(t, "waiting for hello", s.Tick(start.Add(9*time.Second)))
	if out := s.Tick(s.Deadline()); !errors.Is(out.Close, ErrTimeout) {
		t.Errorf("no hello: %+v", out)
	}
	s = welcomed(t, hello())
	at := start
	for range 5 {
		at = at.Add(89 * time.Second)
		nothing(t, "a heartbeat in time", s.Tick(at))
		sent[*protocol.Heartbeat](t, s.ReceiveFrame(&protocol.Heartbeat{}, at))
	}
	if want := at.Add(90 * time.Second); s.Deadline() != want {
		t.Errorf("deadline is %s, want %s", s.Deadline(), want)
	}
	if out := s.Tick(at.Add(90 * time.Second)); !errors.Is(out.Close, ErrTimeout) || len(out.Send) > 0 {
		t.Errorf("silence: %+v", out)
	}
}

func TestDesiredIsSentWhenItDiffers(t *testing.T) {
	encoded, _ := protocol.EncodeApps([]protocol.App{blink})
	same := protocol.DigestOf(encoded)
	other := protocol.DigestOf(nil)
	holds := func(generation uint64, apps *protocol.Digest) *protocol.Hello {
		h := hello()
		h.Generation, h.Apps = generation, apps
		return h
	}
	for name, c := range map[string]struct {
		hello *protocol.Hello
		apps  []protocol.App
		want  uint64 // generation that is sent; 0: nothing
	}{
		"a new device gets its list":                        {hello(), []protocol.App{blink}, 1},
		"a new device without apps gets the empty list":     {hello(), nil, 1},
		"a device that holds the list gets nothing":         {holds(12, &same), []protocol.App{blink}, 0},
		"a device with another list gets the next one":      {holds(12, &other), []protocol.App{blink}, 13},
		"a device that tells no digest gets the list":       {holds(12, nil), []protocol.App{blink}, 13},
		"generation 0 holds nothing, whatever digest it is": {holds(0, &same), []protocol.App{blink}, 1},
	} {
		s := welcomed(t, c.hello)
		out := desire(t, s, c.apps...)
		if c.want == 0 {
			nothing(t, name, out)
			continue
		}
		d := sent[*protocol.Desired](t, out)
		if d.Generation != c.want || happened[Sent](t, out).Generation != c.want || len(d.Apps.List) != len(c.apps) {
			t.Errorf("%s: %+v", name, d)
		}
		nothing(t, name+": the same again", desire(t, s, c.apps...))
		changed := blink
		changed.Spec = 2
		if d := sent[*protocol.Desired](t, desire(t, s, changed)); d.Generation != c.want+1 {
			t.Errorf("%s: the next has generation %d", name, d.Generation)
		}
	}
}

func TestNothingIsDesiredBeforeHelloOrOfWhatCannotBeSaid(t *testing.T) {
	s := New(config, 7, start)
	nothing(t, "before hello", desire(t, s, blink))
	s = welcomed(t, hello())
	if _, err := s.SetDesired(make([]protocol.App, 17)); err == nil {
		t.Error("17 apps were taken")
	}
	sent[*protocol.Desired](t, desire(t, s, blink))
}

func TestADesiredThatIsTooLargeTravelsAsADocument(t *testing.T) {
	big := blink
	big.Config = map[string]string{"k": strings.Repeat("v", 1000)}
	s := welcomed(t, hello())
	d := sent[*protocol.Desired](t, desire(t, s, big))
	if d.Apps.Document == nil {
		t.Fatalf("inline: %+v", d)
	}
	var got []byte
	for uint32(len(got)) < d.Apps.Document.Size {
		c := sent[*protocol.Chunk](t, s.ReceiveFrame(&protocol.Fetch{Digest: d.Apps.Document.Digest, Offset: uint32(len(got)), Length: 1 << 20}, start))
		if b, err := protocol.AppendFrame(nil, c, 1024); err != nil || int(c.Offset) != len(got) {
			t.Fatalf("a chunk at %d in a frame of %d: %v", c.Offset, len(b), err)
		}
		got = append(got, c.Bytes...)
	}
	apps, err := protocol.DecodeApps(got)
	if err != nil || protocol.DigestOf(got) != d.Apps.Document.Digest || apps[0].Config["k"] != big.Config["k"] {
		t.Errorf("the document is %+v: %v", apps, err)
	}
	beyond := &protocol.Fetch{Digest: d.Apps.Document.Digest, Offset: d.Apps.Document.Size + 1, Length: 1}
	if e := sent[*protocol.Error](t, s.ReceiveFrame(beyond, start)); e.Code != protocol.CodeNotFound {
		t.Errorf("beyond the end: %+v", e)
	}
}

func TestFetchOfAnArtifact(t *testing.T) {
	s := welcomed(t, hello())
	desire(t, s, blink)
	fetch := func(offset, length uint32) Output {
		return s.ReceiveFrame(&protocol.Fetch{Digest: digest, Offset: offset, Length: length}, start)
	}
	w := happened[Wanted](t, fetch(2000, 5000))
	if w.Length != 500 || w.Size != 2500 || w.Offset != 2000 {
		t.Errorf("wanted is %+v", w)
	}
	if e := sent[*protocol.Error](t, fetch(0, 10)); e.Code != protocol.CodeBusy || *e.Fetch != digest {
		t.Errorf("a second fetch: %+v", e)
	}
	if c := sent[*protocol.Chunk](t, s.Provide(w, make([]byte, 500))); len(c.Bytes) != 500 || c.Offset != 2000 {
		t.Errorf("chunk: %+v", c)
	}
	nothing(t, "a second answer", s.Provide(w, make([]byte, 500)))
	if w := happened[Wanted](t, fetch(0, 5000)); int(w.Length) != 1024-protocol.ChunkOverhead {
		t.Errorf("a fetch of more than a frame: %+v", w)
	} else if e := sent[*protocol.Error](t, s.Withhold(w, protocol.CodeBusy, "later")); e.Code != protocol.CodeBusy {
		t.Errorf("withheld: %+v", e)
	}
	if w := happened[Wanted](t, fetch(2500, 1)); w.Length != 0 {
		t.Errorf("at the end: %+v", w)
	} else if c := sent[*protocol.Chunk](t, s.Provide(w, nil)); len(c.Bytes) != 0 {
		t.Errorf("at the end: %+v", c)
	}
	if e := sent[*protocol.Error](t, fetch(2501, 1)); e.Code != protocol.CodeNotFound {
		t.Errorf("beyond the end: %+v", e)
	}
}

func TestADeviceFetchesOnlyWhatItShouldRun(t *testing.T) {
	held, _ := protocol.EncodeApps([]protocol.App{blink})
	h := hello()
	h.Generation, h.Apps = 4, ptr(protocol.DigestOf(held))
	s := welcomed(t, h)
	f := &protocol.Fetch{Digest: digest, Length: 100}
	if e := sent[*protocol.Error](t, s.ReceiveFrame(f, start)); e.Code != protocol.CodeNotFound {
		t.Errorf("before a desired state is known: %+v", e)
	}
	nothing(t, "what it holds", desire(t, s, blink))
	w := happened[Wanted](t, s.ReceiveFrame(f, start))
	desire(t, s)
	if c := sent[*protocol.Chunk](t, s.Provide(w, make([]byte, 100))); len(c.Bytes) != 100 {
		t.Errorf("what was under way: %+v", c)
	}
	if e := sent[*protocol.Error](t, s.ReceiveFrame(f, start)); e.Code != protocol.CodeNotFound {
		t.Errorf("after it was withdrawn: %+v", e)
	}
}

func ptr[T any](v T) *T { return &v }

func TestReports(t *testing.T) {
	h := hello()
	h.Generation, h.States = 3, &protocol.StateSet{List: run}
	s := New(config, 7, start)
	if r := happened[Reported](t, s.ReceiveFrame(h, start)); r.Generation != 3 || !reflect.DeepEqual(r.States, run) {
		t.Errorf("hello reported %+v", r)
	}
	if r := happened[Reported](t, s.ReceiveFrame(&protocol.Report{Generation: 4}, start)); r.Generation != 4 || len(r.States) != 0 {
		t.Errorf("reported %+v", r)
	}
}

// largeStates is a list that no frame of 4,096 bytes takes.
func largeStates(message string) ([]protocol.State, []byte) {
	var states []protocol.State
	for i := range 16 {
		states = append(states, protocol.State{Name: string(rune('a' + i)), Phase: protocol.PhaseFailed, Message: strings.Repeat(message, 160)})
	}
	b, err := protocol.EncodeStates(states)
	if err != nil {
		panic(err)
	}
	return states, b
}

// pullAll answers fetches of documents until none is made.
func pullAll(s *Session, out Output, documents ...[]byte) Output {
	var events []Event
	for {
		events = append(events, out.Events...)
		var f *protocol.Fetch
		for _, frame := range out.Send {
			if fetch, ok := frame.(*protocol.Fetch); ok {
				f = fetch
			}
		}
		if f == nil || out.Close != nil {
			return Output{Events: events, Close: out.Close, Send: out.Send}
		}
		for _, d := range documents {
			if protocol.DigestOf(d) == f.Digest {
				end := min(int(f.Offset+f.Length), len(d))
				out = s.ReceiveFrame(&protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: d[f.Offset:end], Size: uint32(len(d))}, start)
			}
		}
	}
}

func TestAReportThatIsTooLargeIsFetched(t *testing.T) {
	states, document := largeStates("m")
	s := welcomed(t, hello())
	out := s.ReceiveFrame(&protocol.Report{Generation: 5, States: protocol.StateSet{Document: ptr(protocol.DocumentOf(document))}}, start)
	if f := sent[*protocol.Fetch](t, out); int(f.Length) > 1024-protocol.ChunkOverhead {
		t.Errorf("more is fetched than the device's frame holds: %+v", f)
	}
	out = pullAll(s, out, document)
	if r := happened[Reported](t, out); r.Generation != 5 || !reflect.DeepEqual(r.States, states) {
		t.Errorf("reported %+v", r)
	}
}

func TestANewerReportTakesOver(t *testing.T) {
	_, first := largeStates("m")
	states, second := largeStates("n")
	report := func(generation uint64, document []byte) *protocol.Report {
		return &protocol.Report{Generation: generation, States: protocol.StateSet{Document: ptr(protocol.DocumentOf(document))}}
	}
	s := welcomed(t, hello())
	fetch := s.ReceiveFrame(report(5, first), start)
	nothing(t, "a newer one while a fetch is under way", s.ReceiveFrame(report(6, second), start))
	out := pullAll(s, fetch, first, second)
	if len(out.Events) != 1 || !reflect.DeepEqual(happened[Reported](t, out), Reported{6, states}) {
		t.Errorf("reported %+v", out.Events)
	}

	fetch = s.ReceiveFrame(report(7, first), start)
	happened[Reported](t, s.ReceiveFrame(&protocol.Report{Generation: 8}, start))
	if out := pullAll(s, fetch, first); len(out.Events) > 0 || out.Close != nil {
		t.Errorf("an older document was taken after a newer report: %+v", out)
	}

	fetch = s.ReceiveFrame(report(9, first), start)
	happened[Failed](t, s.ReceiveFrame(&protocol.Error{Code: protocol.CodeNotFound, Fetch: ptr(protocol.DigestOf(first))}, start))
	if out := pullAll(s, s.ReceiveFrame(report(10, second), start), second); happened[Reported](t, out).Generation != 10 {
		t.Errorf("after a failed fetch: %+v", out)
	}
	_ = fetch
}

func TestDocumentsThatAreNotWhatTheySay(t *testing.T) {
	_, good := largeStates("m")
	wrong := bytes.Clone(good)
	wrong[100] ^= 1
	notStates := []byte{0xa0}
	for name, c := range map[string]struct {
		named protocol.Document
		chunk func(f *protocol.Fetch) *protocol.Chunk
	}{
		"other bytes": {protocol.DocumentOf(good), func(f *protocol.Fetch) *protocol.Chunk {
			return &protocol.Chunk{Offset: f.Offset, Bytes: wrong[f.Offset : f.Offset+f.Length], Size: uint32(len(wrong))}
		}},
		"another size": {protocol.DocumentOf(good), func(f *protocol.Fetch) *protocol.Chunk {
			return &protocol.Chunk{Offset: f.Offset, Bytes: []byte{1}, Size: 5}
		}},
		"another offset": {protocol.DocumentOf(good), func(f *protocol.Fetch) *protocol.Chunk {
			return &protocol.Chunk{Offset: f.Offset + 1, Bytes: []byte{1}, Size: uint32(len(good))}
		}},
		"no states": {protocol.DocumentOf(notStates), func(f *protocol.Fetch) *protocol.Chunk {
			return &protocol.Chunk{Bytes: notStates, Size: 1}
		}},
	} {
		s := welcomed(t, hello())
		out := s.ReceiveFrame(&protocol.Report{States: protocol.StateSet{Document: &c.named}}, start)
		for out.Close == nil {
			f := sent[*protocol.Fetch](t, out)
			chunk := c.chunk(f)
			chunk.Digest = c.named.Digest
			out = s.ReceiveFrame(chunk, start)
		}
		if !errors.Is(out.Close, ErrProtocol) || len(out.Events) > 0 {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func TestAFetchThatTheDeviceNeverAnswersEndsTheSession(t *testing.T) {
	_, document := largeStates("m")
	s := welcomed(t, hello())
	s.ReceiveFrame(&protocol.Report{States: protocol.StateSet{Document: ptr(protocol.DocumentOf(document))}}, start)
	if out := s.ReceiveFrame(&protocol.Heartbeat{}, start.Add(80*time.Second)); out.Close != nil {
		t.Errorf("too early: %v", out.Close)
	}
	if out := s.ReceiveFrame(&protocol.Heartbeat{}, start.Add(91*time.Second)); !errors.Is(out.Close, ErrProtocol) {
		t.Errorf("went on: %+v", out)
	}
}

func TestLogsAreLimited(t *testing.T) {
	s := welcomed(t, hello())
	passed := 0
	for range 100 {
		passed += len(s.ReceiveFrame(&protocol.Log{Text: "x"}, start).Events)
	}
	if passed != 60 {
		t.Errorf("%d of 100 lines passed at once, 60 a minute are allowed", passed)
	}
	line := happened[Logged](t, s.ReceiveFrame(&protocol.Log{Text: "y", Dropped: 2}, start.Add(time.Second)))
	if line.Log.Dropped != 42 {
		t.Errorf("%d lines were dropped, it says %d", 42, line.Log.Dropped)
	}
}

func TestAFloodOfFramesEndsTheSession(t *testing.T) {
	s := welcomed(t, hello())
	for i := range frameBurst + 1 {
		if out := s.ReceiveFrame(&protocol.Heartbeat{}, start); out.Close != nil {
			if !errors.Is(out.Close, ErrProtocol) || i < frameBurst-1 {
				t.Errorf("after %d frames: %v", i, out.Close)
			}
			return
		}
	}
	t.Error("it went on")
}

func TestEndings(t *testing.T) {
	s := welcomed(t, hello())
	if r := sent[*protocol.Release](t, s.Release(1500*time.Millisecond, "other:1", "restarting")); r.HoldOff != 1500 || r.Endpoint != "other:1" {
		t.Errorf("release: %+v", r)
	}
	happened[Reported](t, s.ReceiveFrame(&protocol.Report{}, start))
	out := s.Fail(protocol.CodeSuperseded, "a newer connection")
	if e := sent[*protocol.Error](t, out); e.Code != protocol.CodeSuperseded || !errors.Is(out.Close, ErrEnded) {
		t.Errorf("fail: %+v", out)
	}
	nothing(t, "a second end", s.Fail(protocol.CodeInternal, ""))
	nothing(t, "release after the end", s.Release(0, "", ""))
	nothing(t, "desire after the end", desire(t, s, blink))

	s = welcomed(t, hello())
	if out := s.ReceiveFrame(&protocol.Error{Code: protocol.CodeInternal, Text: "broken"}, start); !errors.Is(out.Close, ErrDevice) || len(out.Send) > 0 {
		t.Errorf("an error of the device: %+v", out)
	}
	s = welcomed(t, hello())
	if c := happened[Crashed](t, s.ReceiveFrame(&protocol.Crash{Code: protocol.CrashWatchdog}, start)); c.Crash.Code != protocol.CrashWatchdog {
		t.Errorf("crash: %+v", c)
	}
}

// Whatever a device sends, every answer fits its frame and nothing follows the end.
func FuzzSession(f *testing.F) {
	var stream []byte
	for _, frame := range []protocol.Frame{hello(), &protocol.Heartbeat{}, &protocol.Fetch{Digest: digest, Length: 99}, &protocol.Report{States: protocol.StateSet{List: run}},
		&protocol.Log{Text: "x"}, &protocol.Crash{Code: 1}, &protocol.Error{Code: 5, Fetch: &digest}, &protocol.Report{States: protocol.StateSet{Document: &protocol.Document{Size: 1}}}} {
		stream, _ = protocol.AppendFrame(stream, frame, 4096)
	}
	f.Add(stream)
	f.Fuzz(func(t *testing.T, in []byte) {
		s := New(config, 7, start)
		r := bytes.NewReader(in)
		check := func(out Output) bool {
			for _, frame := range out.Send {
				if _, err := protocol.AppendFrame(nil, frame, s.MaxSend()); err != nil {
					t.Fatalf("%+v: %v", frame, err)
				}
			}
			return out.Close == nil
		}
		for {
			body, err := protocol.ReadBody(r, nil, s.MaxReceive())
			if err != nil {
				return
			}
			if !check(s.Receive(body, start)) {
				nothing(t, "after the end", s.ReceiveFrame(&protocol.Heartbeat{}, start))
				return
			}
			if s.Generation() < 1<<62 {
				out, err := s.SetDesired([]protocol.App{blink})
				if err != nil {
					t.Fatal(err)
				}
				check(out)
			}
		}
	})
}
