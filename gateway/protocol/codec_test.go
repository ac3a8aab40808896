// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Encodings that were written by hand, so that the encoder is not only held against itself.
func TestEncodingByHand(t *testing.T) {
	dig := "5820" + hex.EncodeToString(d1[:])
	for name, c := range map[string]struct {
		frame Frame
		body  string
	}{
		"hello": {&Hello{Version: 1, MaxFrame: 1024, Board: "b", Firmware: "f", Memory: &Memory{RAM: 65536}, Generation: 24, Apps: &d1},
			"82 01 a7 01 01 02 190400 03 6162 04 6166 05 a1 01 1a00010000 07 1818 08" + dig},
		"desired": {&Desired{Generation: 2, Apps: AppSet{List: []App{{Name: "a", Digest: d1, Artifact: Artifact{Digest: d1, Size: 300}, Spec: 1,
			Config: map[string]string{"aa": "", "b": "x"}, Limits: &AppLimits{Memory: ptr(uint32(0))}}}}},
			"82 03 a2 01 02 02 81 a6 01 6161 02" + dig + "03 a2 01" + dig + "02 19012c 04 01 05 a2 6162 6178 626161 60 07 a1 01 00"},
		"report": {&Report{Generation: 1, States: StateSet{List: []State{{Name: "a", Spec: 1, Phase: PhaseRunning, StartTime: ptr(uint32(0))}}}},
			"82 06 a2 01 01 02 81 a4 01 6161 02 01 03 03 09 00"},
		"heartbeat": {&Heartbeat{Metrics: map[Metric]uint64{300: 1, 2: 3}, Apps: []AppMetrics{{Name: "a", Values: map[string]int64{"t": -1}}}},
			"82 07 a2 02 a2 02 03 19012c 01 03 81 a2 01 6161 05 a1 6174 20"},
	} {
		if got := hexOf(t, c.frame); got != framed(c.body) {
			t.Errorf("%s is %s, want %s", name, got, framed(c.body))
		}
	}
}

func TestAppendFrameHoldsToTheReceiversLargestFrame(t *testing.T) {
	f := &Log{Level: LogInfo, Text: strings.Repeat("x", 100)}
	b, err := AppendFrame([]byte("before"), f, MaxFrame)
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("appended %q: %v", b, err)
	}
	size := len(b) - len("before")
	if _, err := AppendFrame(nil, f, size); err != nil {
		t.Errorf("a frame of exactly the largest size: %v", err)
	}
	if dst, err := AppendFrame([]byte("before"), f, size-1); !errors.Is(err, ErrTooLarge) || string(dst) != "before" {
		t.Errorf("a frame of one byte more: %q, %v", dst, err)
	}
}

func TestAppendFrameRefusesWhatAReceiverWould(t *testing.T) {
	apps := make([]App, 17)
	for i := range apps {
		apps[i] = App{Name: "a" + string(rune('a'+i)), Digest: d1, Artifact: Artifact{Digest: d1, Size: 1}}
	}
	for name, f := range map[string]Frame{
		"17 apps":          &Desired{Apps: AppSet{List: apps}},
		"unknown":          &Unknown{Number: 12},
		"empty fetch":      &Fetch{},
		"long text":        &Log{Text: strings.Repeat("x", 161)},
		"bad name":         &Log{App: "A"},
		"no board":         &Hello{Version: 1, MaxFrame: 512, Firmware: "f"},
		"chunk beyond end": &Chunk{Offset: 1, Bytes: []byte{1}, Size: 1},
	} {
		if _, err := AppendFrame(nil, f, MaxFrame); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// ChunkOverhead is what the sizing of fetches relies on.
func TestChunkOverheadIsTheMost(t *testing.T) {
	const n = 1 << 15
	b, err := AppendFrame(nil, &Chunk{Offset: MaxArtifact - n, Bytes: make([]byte, n), Size: MaxArtifact}, MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	if len(b)-n > ChunkOverhead || ChunkOverhead-(len(b)-n) > 6 {
		t.Errorf("a chunk is %d bytes longer than what it carries, ChunkOverhead says %d", len(b)-n, ChunkOverhead)
	}
}

func TestReadBodyReadsFramesOneAfterTheOther(t *testing.T) {
	var stream []byte
	for _, v := range frames {
		var err error
		if stream, err = AppendFrame(stream, v.frame, MaxFrame); err != nil {
			t.Fatal(err)
		}
	}
	r := iotest.OneByteReader(bytes.NewReader(stream))
	buf := make([]byte, 0, 64)
	for _, v := range frames {
		body, err := ReadBody(r, buf, MaxFrame)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		buf = body[:0]
		f, err := Decode(body)
		if err != nil || f.Type() != v.frame.Type() {
			t.Fatalf("%s: %v, %v", v.name, f, err)
		}
	}
	if _, err := ReadBody(r, buf, MaxFrame); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestReadBodyAllocatesNothingForAFrameThatIsTooLarge(t *testing.T) {
	buf := make([]byte, 2)
	header := bytes.NewReader([]byte{0xff, 0xff})
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			header.Reset([]byte{0xff, 0xff})
			if _, err := ReadBody(header, buf, 512); !errors.Is(err, ErrTooLarge) {
				b.Fatal(err)
			}
		}
	})
	if allocated.AllocedBytesPerOp() > 1024 {
		t.Errorf("%d bytes were allocated to refuse a frame of 65,535", allocated.AllocedBytesPerOp())
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		PhaseRolledBack.String():   "RolledBack",
		Phase(8).String():          "Phase8",
		ReasonNone.String():        "",
		ReasonUnsupported.String(): "Unsupported",
		Reason(14).String():        "Reason14",
		CodeInternal.String():      "internal",
		ErrorCode(0).String():      "",
		TypeCrash.String():         "crash",
		Type(12).String():          "type-12",
		MetricLEDMask.String():     "led_mask",
		Metric(1 << 31).String():   "metric_2147483648",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestDigestText(t *testing.T) {
	d, err := ParseDigest(d1.String())
	if err != nil || d != d1 {
		t.Errorf("%s came back as %s: %v", d1, d, err)
	}
	for _, s := range []string{"", "sha256:", "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("A", 64),
		"sha256:" + strings.Repeat("g", 64), "sha512:" + strings.Repeat("0", 64)} {
		if _, err := ParseDigest(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func seed(f *testing.F) {
	for _, v := range frames {
		b, err := AppendFrame(nil, v.frame, MaxFrame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[HeaderSize:])
	}
	for _, v := range refused() {
		if b := unhex(v.Hex); v.Kind == "frame" && len(b) > HeaderSize {
			f.Add(b[HeaderSize:])
		}
	}
}

// What is decoded can be sent again, and what is sent is decoded to the same.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		frame, err := Decode(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrInvalid) {
				t.Fatalf("an error without a kind: %v", err)
			}
			return
		}
		if _, unknown := frame.(*Unknown); unknown {
			return
		}
		b, err := AppendFrame(nil, frame, MaxFrame)
		if err != nil {
			t.Fatalf("%+v was decoded and cannot be encoded: %v", frame, err)
		}
		again, err := Decode(b[HeaderSize:])
		if err != nil || !sameJSON(t, frame, again) {
			t.Fatalf("%+v became %+v: %v", frame, again, err)
		}
	})
}

func FuzzDocuments(f *testing.F) {
	for _, v := range documents {
		var b []byte
		switch c := v.Content.(type) {
		case []App:
			b, _ = EncodeApps(c)
		case []State:
			b, _ = EncodeStates(c)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if apps, err := DecodeApps(b); err == nil {
			if _, err := EncodeApps(apps); err != nil {
				t.Fatal(err)
			}
		}
		if states, err := DecodeStates(b); err == nil {
			if _, err := EncodeStates(states); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeReport(b *testing.B) {
	frame, _ := AppendFrame(nil, &Report{Generation: 7, States: StateSet{List: []State{running, trapped}}}, MaxFrame)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(frame[HeaderSize:]); err != nil {
			b.Fatal(err)
		}
	}
}
