// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors anew from the tables of this test")

// frameVector is a frame in its one encoding, header included.
type frameVector struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Hex   string `json:"hex"`
	Frame Frame  `json:"frame"`
}

// documentVector is a document's bytes.
type documentVector struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`
	Hex      string   `json:"hex"`
	Document Document `json:"document"`
	Content  any      `json:"content"`
}

// toleratedVector is what a receiver takes though no sender of this version writes it.
type toleratedVector struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Hex  string `json:"hex"`
	// Same is the frame that it means; empty for a frame that is skipped.
	Same string `json:"same"`
}

// refusedVector is what a receiver refuses.
type refusedVector struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // frame, apps or states
	MaxFrame int    `json:"maxFrame,omitempty"`
	Error    string `json:"error"` // incomplete, too-large, malformed or invalid
	Hex      string `json:"hex"`
}

func digestFrom(start byte) Digest {
	var d Digest
	for i := range d {
		d[i] = start + byte(i)
	}
	return d
}

func ptr[T any](v T) *T { return &v }

var (
	d1 = digestFrom(0x01)
	d2 = digestFrom(0x40)

	blink  = App{Name: "blink", Digest: d1, Artifact: Artifact{Digest: d1, Size: 233}, Spec: 1}
	thermo = App{
		Name: "thermostat", Digest: d2, Artifact: Artifact{Digest: d1, Size: 65536, Signature: []byte{0xd2, 0x84}}, Spec: 70000,
		Config:        map[string]string{"b": "", "target": "21.5", "a": "ü"},
		Permissions:   []string{"gpio", "log", "timer"},
		Limits:        &AppLimits{Memory: ptr(uint32(0)), Stack: ptr(uint32(4096)), Fuel: 1 << 33},
		RestartPolicy: RestartNever,
	}
	running = State{Name: "blink", Spec: 1, Phase: PhaseRunning, Digest: &d1, Since: 4000, StartTime: ptr(uint32(0))}
	trapped = State{Name: "thermostat", Spec: 70000, Phase: PhaseRolledBack, Digest: &d2, Reason: ReasonTrapped,
		Message: "unreachable at 0x1f", Restarts: 3, Since: 1, StartTime: ptr(uint32(42))}
)

func sixteenApps() []App {
	apps := make([]App, 16)
	for i := range apps {
		apps[i] = blink
		apps[i].Name = "app-" + string(rune('a'+i))
		apps[i].Spec = uint64(i) * 97
	}
	return apps
}

func sixteenStates() []State {
	states := make([]State, 16)
	for i := range states {
		states[i] = running
		states[i].Name = "app-" + string(rune('a'+i))
		states[i].Message = strings.Repeat("m", 10*i)
	}
	return states
}

var frames = []struct {
	name  string
	frame Frame
}{
	{"hello, least", &Hello{Version: 1, MaxFrame: 512, Board: "b", Firmware: "f"}},
	{"hello of a new board", &Hello{Version: 1, MaxFrame: 1024, Board: "mps2-an385", Firmware: "0.1.0+abcdef0",
		Memory: &Memory{RAM: 262144, RAMFree: 262000, Storage: 1 << 20, StorageFree: 1<<20 - 1}, Features: 3, Uptime: 812, Boots: 1}},
	{"hello of a board that runs apps", &Hello{Version: 1, MaxFrame: 1024, Board: "mps2-an505", Firmware: "0.1.0",
		Memory: &Memory{RAM: 65536}, Features: 7, Generation: 300, Apps: &d2, States: &StateSet{List: []State{running}}, Uptime: 1 << 40, Boots: 1 << 31}},
	{"hello with states as a document", &Hello{Version: 1, MaxFrame: 65535, Board: "sim-m4", Firmware: "0.1.0",
		Generation: 24, Apps: &d1, States: &StateSet{Document: &Document{Digest: d2, Size: 8192}}}},
	{"hello of a later version", &Hello{Version: 2, MaxFrame: 512, Board: "b", Firmware: "f"}},
	{"hello, largest numbers", &Hello{Version: 1<<32 - 1, MaxFrame: 65535, Board: strings.Repeat("b", 32), Firmware: strings.Repeat("f", 64),
		Memory: &Memory{RAM: 1<<32 - 1, RAMFree: 1<<32 - 1, Storage: 1<<32 - 1, StorageFree: 1<<32 - 1}, Features: 1<<32 - 1,
		Generation: 1<<63 - 1, Apps: &d1, States: &StateSet{Document: &Document{Digest: d1, Size: 1}}, Uptime: 1<<63 - 1, Boots: 1<<32 - 1}},
	{"welcome, least", &Welcome{Version: 1, MaxFrame: 512}},
	{"welcome", &Welcome{Version: 1, MaxFrame: 4096, Time: 1795430400123, Epoch: 7, HeartbeatInterval: 30000, ReportInterval: 200,
		Limits: &Limits{LogLinesPerMinute: 120, FetchLength: 967}, Endpoints: []string{"gateway.example:30450", "10.0.2.2:30450"}}},
	{"welcome with four endpoints", &Welcome{Version: 1, MaxFrame: 4096, Time: 1, Epoch: 1 << 62, HeartbeatInterval: 1, ReportInterval: 0,
		Endpoints: []string{"a:1", "b:2", strings.Repeat("c", 126) + ":3", "[::1]:4"}}},
	{"desired of nothing", &Desired{Generation: 1}},
	{"desired of one app", &Desired{Generation: 2, Apps: AppSet{List: []App{blink}}}},
	{"desired of two apps", &Desired{Generation: 1 << 32, Apps: AppSet{List: []App{blink, thermo}}}},
	{"desired of sixteen apps", &Desired{Generation: 23, Apps: AppSet{List: sixteenApps()}}},
	{"desired as a document", &Desired{Generation: 24, Apps: AppSet{Document: &Document{Digest: d1, Size: 1025}}}},
	{"fetch from the start", &Fetch{Digest: d1, Length: 900}},
	{"fetch from the middle", &Fetch{Digest: d2, Offset: 65536, Length: 1}},
	{"chunk", &Chunk{Digest: d1, Bytes: []byte("\x00asm\x01\x00\x00\x00"), Size: 8}},
	{"chunk of 24 bytes", &Chunk{Digest: d1, Offset: 1000, Bytes: bytes.Repeat([]byte{0xa5}, 24), Size: 1048576}},
	{"chunk of 256 bytes", &Chunk{Digest: d1, Offset: 65536, Bytes: bytes.Repeat([]byte{0x5a}, 256), Size: 70000}},
	{"chunk at the end", &Chunk{Digest: d1, Offset: 70000, Bytes: []byte{}, Size: 70000}},
	{"report of nothing", &Report{Generation: 1}},
	{"report of one app", &Report{Generation: 2, States: StateSet{List: []State{running}}}},
	{"report of two apps", &Report{Generation: 70000, States: StateSet{List: []State{running, trapped}}}},
	{"report of a pending app", &Report{Generation: 3, States: StateSet{List: []State{{Name: "a", Spec: 0, Phase: PhasePending}}}}},
	{"report of a rejected app", &Report{Generation: 3, States: StateSet{List: []State{{Name: "0-9", Spec: 5, Phase: PhaseRejected, Reason: ReasonImportUnknown, Message: "env.nothing"}}}}},
	{"report with a reason of a later version", &Report{Generation: 3, States: StateSet{List: []State{{Name: "a", Spec: 5, Phase: PhaseFailed, Reason: 200}}}}},
	{"report as a document", &Report{Generation: 9, States: StateSet{Document: &Document{Digest: d2, Size: 1300}}}},
	{"heartbeat, empty", &Heartbeat{}},
	{"heartbeat with metrics", &Heartbeat{Uptime: 3600000, Metrics: map[Metric]uint64{MetricHeapUsed: 12700, MetricIdlePermille: 998, MetricLEDMask: 1, 300: 1<<63 - 1},
		Apps: []AppMetrics{{Name: "blink", Fuel: 123456}, {Name: "thermostat", Fuel: 1 << 40, Memory: 1024, Stack: 96, Values: map[string]int64{"temperature": -40000, "on": 1, "min": -1 << 63, "max": 1<<63 - 1}}}}},
	{"log of the firmware", &Log{Level: LogInfo, Text: "up"}},
	{"log of an app", &Log{Level: LogError, Text: "température trop élevée", App: "thermostat", Uptime: 100000, Dropped: 12}},
	{"log, empty text", &Log{Level: LogDebug}},
	{"log, longest text", &Log{Level: LogWarning, Text: strings.Repeat("é", 80)}},
	{"release", &Release{HoldOff: 1500}},
	{"release to another gateway", &Release{Endpoint: "other.example:30450", Text: "restarting"}},
	{"error", &Error{Code: CodeQuarantined, Text: "quarantined"}},
	{"error that answers a fetch", &Error{Code: CodeNotFound, Fetch: &d1}},
	{"error of a later version", &Error{Code: 1000}},
	{"crash", &Crash{Code: CrashMemoryFault, PC: 0x2001234, LR: 0xffffffff, App: "blink", Address: 0xdeadbeef, Uptime: 1 << 33}},
	{"crash, least", &Crash{Code: CrashWatchdog}},
}

var documents = []documentVector{
	{Name: "no apps", Kind: "apps", Content: []App(nil)},
	{Name: "two apps", Kind: "apps", Content: []App{blink, thermo}},
	{Name: "sixteen apps", Kind: "apps", Content: sixteenApps()},
	{Name: "no states", Kind: "states", Content: []State(nil)},
	{Name: "two states", Kind: "states", Content: []State{running, trapped}},
	{Name: "sixteen states", Kind: "states", Content: sixteenStates()},
}

func hexOf(t *testing.T, f Frame) string {
	t.Helper()
	b, err := AppendFrame(nil, f, MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// framed puts a header in front of a body that is written by hand.
func framed(body string) string {
	b := unhex(body)
	return hex.EncodeToString(binary.BigEndian.AppendUint16(nil, uint16(len(b)))) + hex.EncodeToString(b)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// parse is a receiver: header, length, body, frame, nothing left.
func parse(b []byte, maxFrame int) (Frame, error) {
	r := bytes.NewReader(b)
	body, err := ReadBody(r, nil, maxFrame)
	if err != nil {
		return nil, err
	}
	f, err := Decode(body)
	if err == nil && r.Len() > 0 {
		err = errors.New("bytes after the frame")
	}
	return f, err
}

func TestFrameVectors(t *testing.T) {
	var want []frameVector
	for _, f := range frames {
		want = append(want, frameVector{f.name, f.frame.Type().String(), hexOf(t, f.frame), f.frame})
	}
	compare(t, "frames.json", want)
	for _, v := range want {
		got, err := parse(unhex(v.Hex), MaxFrame)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if again := hexOf(t, got); again != v.Hex {
			t.Errorf("%s: encoded again it is %s, not %s", v.Name, again, v.Hex)
		}
		if !sameJSON(t, got, v.Frame) {
			t.Errorf("%s: decoded to %+v", v.Name, got)
		}
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

func TestDocumentVectors(t *testing.T) {
	for i := range documents {
		v := &documents[i]
		var b []byte
		var err error
		var back any
		switch c := v.Content.(type) {
		case []App:
			if b, err = EncodeApps(c); err == nil {
				back, err = DecodeApps(b)
			}
		case []State:
			if b, err = EncodeStates(c); err == nil {
				back, err = DecodeStates(b)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if reflect.ValueOf(back).Len() != reflect.ValueOf(v.Content).Len() || reflect.ValueOf(back).Len() > 0 && !reflect.DeepEqual(back, v.Content) {
			t.Errorf("%s: came back as %+v", v.Name, back)
		}
		v.Hex, v.Document = hex.EncodeToString(b), DocumentOf(b)
	}
	compare(t, "documents.json", documents)
}

func TestToleratedVectors(t *testing.T) {
	vectors := []toleratedVector{
		{"a frame of an unknown type", "", framed("82 0c a0"), ""},
		{"a frame of an unknown type with content", "", framed("82 19 03e8 a3 01 82 03 22 18 20 a1 20 41ff 61 61 80"), ""},
		{"unknown keys after known ones", "fetch", framed("82 04 a5 01 5820" + hex.EncodeToString(d1[:]) + "02 00 03 01 04 82 01 a0 61 78 20"),
			hexOf(t, &Fetch{Digest: d1, Length: 1})},
		{"an unknown key that is negative", "heartbeat", framed("82 07 a1 20 41 00"), hexOf(t, &Heartbeat{})},
		{"an unknown key of 64", "heartbeat", framed("82 07 a1 1840 00"), hexOf(t, &Heartbeat{})},
		{"an optional number that is 0", "heartbeat", framed("82 07 a1 01 00"), hexOf(t, &Heartbeat{})},
		{"an optional text that is empty", "error", framed("82 0a a2 01 05 02 60"), hexOf(t, &Error{Code: CodeBusy})},
		{"an optional list that is empty", "heartbeat", framed("82 07 a1 03 80"), hexOf(t, &Heartbeat{})},
		{"an optional map that is empty", "heartbeat", framed("82 07 a1 02 a0"), hexOf(t, &Heartbeat{})},
	}
	compare(t, "tolerated.json", vectors)
	for _, v := range vectors {
		f, err := parse(unhex(v.Hex), MaxFrame)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if _, unknown := f.(*Unknown); unknown != (v.Same == "") {
			t.Errorf("%s: decoded to %T", v.Name, f)
		}
		if v.Same != "" && hexOf(t, f) != v.Same {
			t.Errorf("%s: means %s, not %s", v.Name, hexOf(t, f), v.Same)
		}
	}
}

// wantErrors are the names that refused vectors give to errors.
var wantErrors = map[string]error{
	"incomplete": io.ErrUnexpectedEOF,
	"too-large":  ErrTooLarge,
	"malformed":  ErrMalformed,
	"invalid":    ErrInvalid,
}

func TestRefusedVectors(t *testing.T) {
	vectors := refused()
	compare(t, "refused.json", vectors)
	for _, v := range vectors {
		var err error
		switch v.Kind {
		case "apps":
			_, err = DecodeApps(unhex(v.Hex))
		case "states":
			_, err = DecodeStates(unhex(v.Hex))
		default:
			_, err = parse(unhex(v.Hex), v.MaxFrame)
		}
		if !errors.Is(err, wantErrors[v.Error]) {
			t.Errorf("%s: error is %v, want %s", v.Name, err, v.Error)
		}
	}
}

// refused is the table of wanted errors. Bodies are written by hand.
func refused() []refusedVector {
	dig := "5820" + hex.EncodeToString(d1[:])
	text := func(s string) string {
		b, _ := encModeBytes(s)
		return hex.EncodeToString(b)
	}
	app := func(name, rest string, keys string) string {
		return keys + "01" + text(name) + "02" + dig + "03 a2 01" + dig + "02 18e9 04 01" + rest
	}
	frame := func(name, want, body string) refusedVector {
		return refusedVector{Name: name, Kind: "frame", MaxFrame: MaxFrame, Error: want, Hex: framed(body)}
	}
	raw := func(name, want, bytes string, limit int) refusedVector {
		return refusedVector{Name: name, Kind: "frame", MaxFrame: limit, Error: want, Hex: hex.EncodeToString(unhex(bytes))}
	}
	hello := func(version, maxFrame, board, firmware, rest string, keys string) string {
		return "82 01 " + keys + "01" + version + "02" + maxFrame + "03" + board + "04" + firmware + rest
	}
	many := func(n int, each func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(each(i))
		}
		return b.String()
	}
	v := []refusedVector{
		raw("half a header", "incomplete", "00", 512),
		raw("a header and no body", "incomplete", "0005", 512),
		raw("half a body", "incomplete", "0005 8207", 512),
		raw("one byte longer than the receiver takes", "too-large", "01ff", 512),
		raw("the longest length", "too-large", "ffff", 4096),
		raw("an empty body", "malformed", "0000", 512),

		frame("bytes after the item", "malformed", "82 07 a0 00"),
		frame("an item that ends early", "malformed", "82 07 a1 01"),
		frame("a body that ends early", "malformed", "82 07"),
		frame("a byte string that ends early", "malformed", "82 07 a1 01 58 20 00"),
		frame("a length of 2^64-1", "malformed", "82 07 a1 01 5b ffffffffffffffff"),
		frame("an array of 2^64-1", "malformed", "82 07 a1 01 9b ffffffffffffffff"),
		frame("a map of 2^32-1", "malformed", "82 07 ba ffffffff"),
		frame("an array of 17 in an unknown key", "malformed", "82 07 a1 09 91"+many(17, func(int) string { return "00" })),
		frame("a map of 33 in an unknown key", "malformed", "82 07 a1 09 b821"+many(33, func(i int) string { return text2(i) + "00" })),
		frame("nine levels", "malformed", "82 07 a1 09 81 81 81 81 81 81 80"),
		frame("an indefinite map", "malformed", "82 07 bf ff"),
		frame("an indefinite array", "malformed", "9f 07 a0 ff"),
		frame("an indefinite text in an unknown key", "malformed", "82 07 a1 09 7f 61 61 ff"),
		frame("a tag", "malformed", "82 07 a1 01 c0 00"),
		frame("a float", "malformed", "82 07 a1 01 f9 3c00"),
		frame("a float in an unknown key", "malformed", "82 07 a1 09 fb 3ff0000000000000"),
		frame("null", "malformed", "82 07 a1 01 f6"),
		frame("true in an unknown key", "malformed", "82 07 a1 09 f5"),
		frame("a reserved head", "malformed", "82 07 a1 01 1c"),
		frame("a number that is not the shortest", "malformed", "82 07 a1 01 18 17"),
		frame("a number of four bytes that fits two", "malformed", "82 07 a1 01 1a 0000ffff"),
		frame("a type that is not the shortest", "malformed", "82 1807 a0"),
		frame("a key that is not the shortest", "malformed", "82 07 a1 1801 00"),
		frame("a length that is not the shortest", "malformed", "82 08 a2 01 00 02 7801 61"),
		frame("keys in descending order", "malformed", "82 0a a2 02 60 01 05"),
		frame("a key twice", "malformed", "82 0a a2 01 05 01 06"),
		frame("a key twice in an unknown part", "malformed", "82 07 a1 09 a2 61 61 00 61 61 00"),
		frame("config keys in the order of dictionaries", "malformed", "82 03 a2 01 02 02 81"+app("a", "05 a2 62 6161 60 61 62 60", "a5")),
		frame("a key that is a byte string", "malformed", "82 07 a1 41 00 00"),
		frame("a text that is not UTF-8", "malformed", "82 08 a2 01 00 02 61 ff"),
		frame("a text with a surrogate", "malformed", "82 08 a2 01 00 02 63 eda080"),

		frame("a number as the body", "invalid", "00"),
		frame("a map as the body", "invalid", "a0"),
		frame("an array of one", "invalid", "81 07"),
		frame("an array of three", "invalid", "83 07 a0 00"),
		frame("a type that is a text", "invalid", "82 61 37 a0"),
		frame("a type of 2^32", "invalid", "82 1b 0000000100000000 a0"),
		frame("a frame whose content is an array", "invalid", "82 07 80"),
		frame("an unknown frame whose content is a number", "invalid", "82 0c 00"),

		frame("hello without a version", "invalid", "82 01 a4 02 190200 03 6162 04 6166 07 00"),
		frame("hello without a generation", "invalid", hello("01", "190200", "6162", "6166", "", "a4")),
		frame("hello with a largest frame of 511", "invalid", hello("01", "1901ff", "6162", "6166", "07 00", "a5")),
		frame("hello with a largest frame of 65536", "invalid", hello("01", "1a00010000", "6162", "6166", "07 00", "a5")),
		frame("hello without a board's name", "invalid", hello("01", "190200", "60", "6166", "07 00", "a5")),
		frame("hello with a board of 33 bytes", "invalid", hello("01", "190200", text(strings.Repeat("b", 33)), "6166", "07 00", "a5")),
		frame("hello with a firmware of 65 bytes", "invalid", hello("01", "190200", "6162", text(strings.Repeat("f", 65)), "07 00", "a5")),
		frame("hello with a version that is a text", "invalid", hello("6131", "190200", "6162", "6166", "07 00", "a5")),
		frame("hello with a negative version", "invalid", hello("20", "190200", "6162", "6166", "07 00", "a5")),
		frame("hello with a version of 2^32", "invalid", hello("1b0000000100000000", "190200", "6162", "6166", "07 00", "a5")),
		frame("hello with a generation of 2^63", "invalid", hello("01", "190200", "6162", "6166", "07 1b8000000000000000", "a5")),
		frame("hello with memory that lacks its RAM", "invalid", hello("01", "190200", "6162", "6166", "05 a0 07 00", "a6")),
		frame("hello with a digest of 31 bytes", "invalid", hello("01", "190200", "6162", "6166", "07 00 08 581f"+strings.Repeat("00", 31), "a6")),
		frame("hello with a digest that is a text", "invalid", hello("01", "190200", "6162", "6166", "07 00 08 7820"+strings.Repeat("61", 32), "a6")),
		frame("hello with states that are a number", "invalid", hello("01", "190200", "6162", "6166", "07 00 09 00", "a6")),
		frame("hello with a document of 8193 bytes", "invalid", hello("01", "190200", "6162", "6166", "07 00 09 a2 01"+dig+"02 192001", "a6")),
		frame("hello with a document of no bytes", "invalid", hello("01", "190200", "6162", "6166", "07 00 09 a2 01"+dig+"02 00", "a6")),
		frame("hello with a document without a size", "invalid", hello("01", "190200", "6162", "6166", "07 00 09 a1 01"+dig, "a6")),

		frame("welcome without an epoch", "invalid", "82 02 a5 01 01 02 190200 03 00 05 00 06 00"),
		frame("welcome with five endpoints", "invalid", "82 02 a7 01 01 02 190200 03 00 04 00 05 00 06 00 08 85 63613a31 63613a31 63613a31 63613a31 63613a31"),
		frame("welcome with an endpoint of 2 bytes", "invalid", "82 02 a7 01 01 02 190200 03 00 04 00 05 00 06 00 08 81 623a31"),
		frame("welcome with an endpoint of 129 bytes", "invalid", "82 02 a7 01 01 02 190200 03 00 04 00 05 00 06 00 08 81"+text(strings.Repeat("e", 129))),

		frame("desired without apps", "invalid", "82 03 a1 01 01"),
		frame("desired with an app without a spec", "invalid", "82 03 a2 01 01 02 81 a3 01 6161 02"+dig+"03 a2 01"+dig+"02 01"),
		frame("desired with an artifact without a size", "invalid", "82 03 a2 01 01 02 81 a4 01 6161 02"+dig+"03 a1 01"+dig+"04 01"),
		frame("desired with an artifact of 1 MiB and a byte", "invalid", "82 03 a2 01 01 02 81 a4 01 6161 02"+dig+"03 a2 01"+dig+"02 1a00100001 04 01"),
		frame("desired with an empty app name", "invalid", "82 03 a2 01 02 02 81"+app("", "", "a4")),
		frame("desired with an app name of 64 bytes", "invalid", "82 03 a2 01 02 02 81"+app(strings.Repeat("a", 64), "", "a4")),
		frame("desired with an app name in upper case", "invalid", "82 03 a2 01 02 02 81"+app("Blink", "", "a4")),
		frame("desired with an app name with a dot", "invalid", "82 03 a2 01 02 02 81"+app("a.b", "", "a4")),
		frame("desired with an app name that ends in a dash", "invalid", "82 03 a2 01 02 02 81"+app("a-", "", "a4")),
		frame("desired with apps out of order", "invalid", "82 03 a2 01 02 02 82"+app("b", "", "a4")+app("a", "", "a4")),
		frame("desired with an app twice", "invalid", "82 03 a2 01 02 02 82"+app("a", "", "a4")+app("a", "", "a4")),
		frame("desired with 17 apps", "malformed", "82 03 a2 01 02 02 91"+many(17, func(i int) string { return app("a"+string(rune('a'+i)), "", "a4") })),
		frame("desired with a restart policy of 3", "invalid", "82 03 a2 01 02 02 81"+app("a", "08 03", "a5")),
		frame("desired with an empty config key", "invalid", "82 03 a2 01 02 02 81"+app("a", "05 a1 60 60", "a5")),
		frame("desired with a config key of 64 bytes", "invalid", "82 03 a2 01 02 02 81"+app("a", "05 a1"+text(strings.Repeat("k", 64))+"60", "a5")),
		frame("desired with a config of 1025 bytes", "invalid", "82 03 a2 01 02 02 81"+app("a", "05 a2 6161"+text(strings.Repeat("v", 512))+"6162"+text(strings.Repeat("v", 511)), "a5")),
		frame("desired with a config value that is a number", "invalid", "82 03 a2 01 02 02 81"+app("a", "05 a1 6161 01", "a5")),
		frame("desired with permissions out of order", "invalid", "82 03 a2 01 02 02 81"+app("a", "06 82 636c6f67 646770696f", "a5")),
		frame("desired with a permission of 33 bytes", "invalid", "82 03 a2 01 02 02 81"+app("a", "06 81"+text(strings.Repeat("p", 33)), "a5")),
		frame("desired with a memory limit of 2^32", "invalid", "82 03 a2 01 02 02 81"+app("a", "07 a1 01 1b0000000100000000", "a5")),
		frame("desired with a document of 40961 bytes", "invalid", "82 03 a2 01 01 02 a2 01"+dig+"02 19a001"),

		frame("fetch of no bytes", "invalid", "82 04 a3 01"+dig+"02 00 03 00"),
		frame("fetch without a digest", "invalid", "82 04 a2 02 00 03 01"),
		frame("fetch with an offset of 2^32", "invalid", "82 04 a3 01"+dig+"02 1b0000000100000000 03 01"),
		frame("chunk beyond its size", "invalid", "82 05 a4 01"+dig+"02 05 03 420000 04 06"),
		frame("chunk of no bytes before the end", "invalid", "82 05 a4 01"+dig+"02 05 03 40 04 06"),
		frame("chunk of a size above 1 MiB", "invalid", "82 05 a4 01"+dig+"02 00 03 4100 04 1a00100001"),
		frame("chunk of text", "invalid", "82 05 a4 01"+dig+"02 00 03 6161 04 01"),

		frame("report without states", "invalid", "82 06 a1 01 01"),
		frame("report with a phase of 8", "invalid", "82 06 a2 01 01 02 81 a3 01 6161 02 01 03 08"),
		frame("report with a state without a phase", "invalid", "82 06 a2 01 01 02 81 a2 01 6161 02 01"),
		frame("report with a message of 161 bytes", "invalid", "82 06 a2 01 01 02 81 a4 01 6161 02 01 03 00 06"+text(strings.Repeat("m", 161))),
		frame("report with states out of order", "invalid", "82 06 a2 01 01 02 82 a3 01 6162 02 01 03 00 a3 01 6161 02 01 03 00"),
		frame("report with states that are maps in a map", "invalid", "82 06 a2 01 01 02 a1 01 a0"),

		frame("heartbeat with a negative metric", "invalid", "82 07 a1 02 a1 01 20"),
		frame("heartbeat with a metric of 2^63", "invalid", "82 07 a1 02 a1 01 1b8000000000000000"),
		frame("heartbeat with a metric's number of 2^32", "invalid", "82 07 a1 02 a1 1b0000000100000000 00"),
		frame("heartbeat with 33 metrics", "malformed", "82 07 a1 02 b821"+many(33, func(i int) string { return num(i) + "00" })),
		frame("heartbeat with app metrics out of order", "invalid", "82 07 a1 03 82 a1 01 6162 a1 01 6161"),
		frame("heartbeat with a value of -2^63-1", "invalid", "82 07 a1 03 81 a2 01 6161 05 a1 6161 3b8000000000000000"),
		frame("heartbeat with a value's key of 33 bytes", "invalid", "82 07 a1 03 81 a2 01 6161 05 a1"+text(strings.Repeat("k", 33))+"00"),

		frame("log of level 4", "invalid", "82 08 a2 01 04 02 60"),
		frame("log without a text", "invalid", "82 08 a1 01 01"),
		frame("log with a text of 161 bytes", "invalid", "82 08 a2 01 01 02"+text(strings.Repeat("t", 161))),
		frame("log with a byte string for a text", "invalid", "82 08 a2 01 01 02 4161"),
		frame("log of an app without a valid name", "invalid", "82 08 a3 01 01 02 60 03 615f"),
		frame("release without a hold-off", "invalid", "82 09 a1 03 6161"),
		frame("release with an endpoint of 2 bytes", "invalid", "82 09 a2 01 00 02 623a31"),
		frame("error without a code", "invalid", "82 0a a0"),
		frame("error with a text of 161 bytes", "invalid", "82 0a a2 01 01 02"+text(strings.Repeat("t", 161))),
		frame("crash without a code", "invalid", "82 0b a1 02 00"),
		frame("crash with a pc of 2^32", "invalid", "82 0b a2 01 01 02 1b0000000100000000"),
	}
	apps := func(name, want, item string) refusedVector {
		return refusedVector{Name: name, Kind: "apps", Error: want, Hex: hex.EncodeToString(unhex(item))}
	}
	states := func(name, want, item string) refusedVector {
		return refusedVector{Name: name, Kind: "states", Error: want, Hex: hex.EncodeToString(unhex(item))}
	}
	return append(v,
		apps("document of apps that is a map", "invalid", "a0"),
		apps("document of apps with bytes after it", "malformed", "80 00"),
		apps("document of apps that is empty", "malformed", ""),
		apps("document of apps with an app twice", "invalid", "82"+app("a", "", "a4")+app("a", "", "a4")),
		apps("document of apps with an app without a spec", "invalid", "81 a3 01 6161 02"+dig+"03 a2 01"+dig+"02 01"),
		apps("document of apps that nests too deep", "malformed", "81 a5 01 6161 02"+dig+"03 a2 01"+dig+"02 01 04 01 09 81 81 81 81 80"),
		states("document of states that is a number", "invalid", "00"),
		states("document of states with a phase of 8", "invalid", "81 a3 01 6161 02 01 03 08"),
		states("document of states with a state without a name", "invalid", "81 a2 02 01 03 00"),
	)
}

func encModeBytes(v any) ([]byte, error) {
	var buf bytes.Buffer
	err := encMode.MarshalToBuffer(v, &buf)
	return buf.Bytes(), err
}

// num and text2 are ascending keys.
func num(i int) string {
	b, _ := encModeBytes(uint32(i))
	return hex.EncodeToString(b)
}

func text2(i int) string {
	return "62" + hex.EncodeToString([]byte{'a' + byte(i/26), 'a' + byte(i%26)})
}

// compare holds vectors against the committed file, one entry a line, or writes it.
func compare[V any](t *testing.T, file string, vectors []V) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("[\n")
	seen := map[string]bool{}
	for i, v := range vectors {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		name := reflect.ValueOf(v).FieldByName("Name").String()
		if seen[name] {
			t.Errorf("%s: two vectors are named %q", file, name)
		}
		seen[name] = true
		b.Write(line)
		if i < len(vectors)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	path := filepath.Join("testdata", "vectors", file)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, b.Bytes()) {
		t.Errorf("%s is not what the tables of this test give; go test -update writes it anew", path)
	}
}
