// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Version is the protocol version that this package speaks.
const Version = 1

// Bounds of the protocol.
const (
	// HeaderSize is the length field in front of each body.
	HeaderSize = 2
	// MinMaxFrame is the least that either side may give as its largest frame, and the largest frame before hello
	// and welcome. Like every frame size it counts the body and its header.
	MinMaxFrame = 512
	// MaxFrame is the largest frame that the length field can tell.
	MaxFrame = 65535
	// MaxApps on one device.
	MaxApps = 16
	// MaxArtifact is the largest module, artifact or document in bytes.
	MaxArtifact = 1 << 20
	// MaxAppsDocument and MaxStatesDocument bound documents by what they hold.
	MaxAppsDocument   = 40960
	MaxStatesDocument = 8192
	// MaxText is the most bytes of a text for people.
	MaxText = 160
	// MaxConfig is the most bytes of keys and values of one app's config.
	MaxConfig = 1024
	// MaxEndpoints that a welcome names.
	MaxEndpoints = 4
	// MissedHeartbeats is after how many intervals without a frame either side gives the connection up.
	MissedHeartbeats = 3
	// ChunkOverhead is the most that a chunk's frame is longer than the bytes it carries.
	ChunkOverhead = 57
)

// Type is the number of a frame's type.
type Type uint32

// Types of frames.
const (
	TypeHello     Type = 1
	TypeWelcome   Type = 2
	TypeDesired   Type = 3
	TypeFetch     Type = 4
	TypeChunk     Type = 5
	TypeReport    Type = 6
	TypeHeartbeat Type = 7
	TypeLog       Type = 8
	TypeRelease   Type = 9
	TypeError     Type = 10
	TypeCrash     Type = 11
)

// Frame is one of the frame types of this package, always as a pointer.
type Frame interface {
	// Type is the frame's number on the wire.
	Type() Type
	// validate holds the frame against the bounds of the CDDL that its Go types do not express.
	validate() error
}

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// DigestOf is the digest of b.
func DigestOf(b []byte) Digest { return sha256.Sum256(b) }

const digestPrefix = "sha256:"

// String is the form that Kubernetes objects use: "sha256:" and 64 hexadecimal digits.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// ParseDigest reads what [Digest.String] writes.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(digits) != 2*len(d) || strings.ToLower(digits) != digits {
		return d, fmt.Errorf("digest %.80q is not %q and 64 hexadecimal digits in lower case", s, digestPrefix)
	}
	if _, err := hex.Decode(d[:], []byte(digits)); err != nil {
		return d, fmt.Errorf("digest %.80q: %w", s, err)
	}
	return d, nil
}

// MarshalText is String, for JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest, for JSON.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDigest(string(b))
	return err
}

// Document names bytes that did not fit a frame and are fetched instead.
type Document struct {
	Digest Digest `cbor:"1,keyasint" json:"digest"`
	Size   uint32 `cbor:"2,keyasint" json:"size"`
}

// DocumentOf names b.
func DocumentOf(b []byte) Document { return Document{Digest: DigestOf(b), Size: uint32(len(b))} }

// Hello is the device's first frame.
type Hello struct {
	Version  uint32  `cbor:"1,keyasint" json:"version"`
	MaxFrame uint32  `cbor:"2,keyasint" json:"maxFrame"`
	Board    string  `cbor:"3,keyasint" json:"board"`
	Firmware string  `cbor:"4,keyasint" json:"firmware"`
	Memory   *Memory `cbor:"5,keyasint,omitempty" json:"memory,omitempty"`
	Features uint32  `cbor:"6,keyasint,omitempty" json:"features,omitempty"`
	// Generation of the desired state that the device holds; 0 when it holds none.
	Generation uint64 `cbor:"7,keyasint" json:"generation"`
	// Apps is the digest of that desired state's list of apps, as the bytes were received.
	Apps   *Digest   `cbor:"8,keyasint,omitempty" json:"apps,omitempty"`
	States *StateSet `cbor:"9,keyasint,omitempty" json:"states,omitempty"`
	// Uptime is milliseconds since boot.
	Uptime uint64 `cbor:"10,keyasint,omitempty" json:"uptime,omitempty"`
	Boots  uint32 `cbor:"11,keyasint,omitempty" json:"boots,omitempty"`
}

// Features that a device tells, as bits.
const (
	FeatureKeepsModules = 1 << iota // stores modules over a restart
	FeatureRollsBack                // goes back by itself
	FeaturePublishes                // publishes between apps
)

// Memory of a device in bytes.
type Memory struct {
	RAM         uint32 `cbor:"1,keyasint" json:"ram"`
	RAMFree     uint32 `cbor:"2,keyasint,omitempty" json:"ramFree,omitempty"`
	Storage     uint32 `cbor:"3,keyasint,omitempty" json:"storage,omitempty"`
	StorageFree uint32 `cbor:"4,keyasint,omitempty" json:"storageFree,omitempty"`
}

// Welcome is the gateway's answer to Hello.
type Welcome struct {
	Version  uint32 `cbor:"1,keyasint" json:"version"`
	MaxFrame uint32 `cbor:"2,keyasint" json:"maxFrame"`
	// Time is milliseconds since 1970-01-01T00:00:00Z.
	Time  uint64 `cbor:"3,keyasint" json:"time"`
	Epoch uint64 `cbor:"4,keyasint" json:"epoch"`
	// HeartbeatInterval and ReportInterval are milliseconds.
	HeartbeatInterval uint32   `cbor:"5,keyasint" json:"heartbeatInterval"`
	ReportInterval    uint32   `cbor:"6,keyasint" json:"reportInterval"`
	Limits            *Limits  `cbor:"7,keyasint,omitempty" json:"limits,omitempty"`
	Endpoints         []string `cbor:"8,keyasint,omitempty" json:"endpoints,omitempty"`
}

// Limits of a session.
type Limits struct {
	LogLinesPerMinute uint32 `cbor:"1,keyasint,omitempty" json:"logLinesPerMinute,omitempty"`
	FetchLength       uint32 `cbor:"2,keyasint,omitempty" json:"fetchLength,omitempty"`
}

// Desired is what should run on the device.
type Desired struct {
	Generation uint64 `cbor:"1,keyasint" json:"generation"`
	Apps       AppSet `cbor:"2,keyasint" json:"apps"`
}

// AppSet is a list of apps, or the document that holds one.
type AppSet struct {
	List     []App     `json:"list,omitempty"`
	Document *Document `json:"document,omitempty"`
}

// App is one application that should run.
type App struct {
	Name     string   `cbor:"1,keyasint" json:"name"`
	Digest   Digest   `cbor:"2,keyasint" json:"digest"`
	Artifact Artifact `cbor:"3,keyasint" json:"artifact"`
	// Spec is the number of this app's specification, echoed in its State.
	Spec          uint64            `cbor:"4,keyasint" json:"spec"`
	Config        map[string]string `cbor:"5,keyasint,omitempty" json:"config,omitempty"`
	Permissions   []string          `cbor:"6,keyasint,omitempty" json:"permissions,omitempty"`
	Limits        *AppLimits        `cbor:"7,keyasint,omitempty" json:"limits,omitempty"`
	RestartPolicy RestartPolicy     `cbor:"8,keyasint,omitempty" json:"restartPolicy,omitempty"`
}

// Artifact is what a device fetches and runs.
type Artifact struct {
	Digest    Digest         `cbor:"1,keyasint" json:"digest"`
	Size      uint32         `cbor:"2,keyasint" json:"size"`
	Format    ArtifactFormat `cbor:"3,keyasint,omitempty" json:"format,omitempty"`
	Signature []byte         `cbor:"4,keyasint,omitempty" json:"signature,omitempty"`
}

// ArtifactFormat says how an artifact is read.
type ArtifactFormat uint32

// FormatWasm is a WebAssembly binary.
const FormatWasm ArtifactFormat = 0

// RestartPolicy says when an app that ended is started again.
type RestartPolicy uint32

// Restart policies.
const (
	RestartAlways RestartPolicy = iota
	RestartOnFailure
	RestartNever
)

// AppLimits of one app; nil is what the board gives.
type AppLimits struct {
	Memory *uint32 `cbor:"1,keyasint,omitempty" json:"memory,omitempty"`
	Stack  *uint32 `cbor:"2,keyasint,omitempty" json:"stack,omitempty"`
	// Fuel is units a second; 0 is what is left over.
	Fuel uint64 `cbor:"3,keyasint,omitempty" json:"fuel,omitempty"`
}

// Fetch asks for a part of a module, artifact or document.
type Fetch struct {
	Digest Digest `cbor:"1,keyasint" json:"digest"`
	Offset uint32 `cbor:"2,keyasint" json:"offset"`
	Length uint32 `cbor:"3,keyasint" json:"length"`
}

// Chunk answers a Fetch.
type Chunk struct {
	Digest Digest `cbor:"1,keyasint" json:"digest"`
	Offset uint32 `cbor:"2,keyasint" json:"offset"`
	Bytes  []byte `cbor:"3,keyasint" json:"bytes"`
	Size   uint32 `cbor:"4,keyasint" json:"size"`
}

// Report says what runs.
type Report struct {
	// Generation of the desired state that the states answer to.
	Generation uint64   `cbor:"1,keyasint" json:"generation"`
	States     StateSet `cbor:"2,keyasint" json:"states"`
}

// StateSet is a list of states, or the document that holds one.
type StateSet struct {
	List     []State   `json:"list,omitempty"`
	Document *Document `json:"document,omitempty"`
}

// State of one app on the device.
type State struct {
	Name    string  `cbor:"1,keyasint" json:"name"`
	Spec    uint64  `cbor:"2,keyasint" json:"spec"`
	Phase   Phase   `cbor:"3,keyasint" json:"phase"`
	Digest  *Digest `cbor:"4,keyasint,omitempty" json:"digest,omitempty"`
	Reason  Reason  `cbor:"5,keyasint,omitempty" json:"reason,omitempty"`
	Message string  `cbor:"6,keyasint,omitempty" json:"message,omitempty"`
	// Restarts since this spec was started.
	Restarts uint32 `cbor:"7,keyasint,omitempty" json:"restarts,omitempty"`
	// Since is milliseconds in this phase.
	Since uint64 `cbor:"8,keyasint,omitempty" json:"since,omitempty"`
	// StartTime is milliseconds from the receipt of Desired to the first instruction; nil until it has run.
	StartTime *uint32 `cbor:"9,keyasint,omitempty" json:"startTime,omitempty"`
}

// Heartbeat keeps a connection alive. The gateway's is empty.
type Heartbeat struct {
	Uptime  uint64            `cbor:"1,keyasint,omitempty" json:"uptime,omitempty"`
	Metrics map[Metric]uint64 `cbor:"2,keyasint,omitempty" json:"metrics,omitempty"`
	Apps    []AppMetrics      `cbor:"3,keyasint,omitempty" json:"apps,omitempty"`
}

// AppMetrics are figures of one app.
type AppMetrics struct {
	Name   string           `cbor:"1,keyasint" json:"name"`
	Fuel   uint64           `cbor:"2,keyasint,omitempty" json:"fuel,omitempty"`
	Memory uint32           `cbor:"3,keyasint,omitempty" json:"memory,omitempty"`
	Stack  uint32           `cbor:"4,keyasint,omitempty" json:"stack,omitempty"`
	Values map[string]int64 `cbor:"5,keyasint,omitempty" json:"values,omitempty"`
}

// Log is one line.
type Log struct {
	Level LogLevel `cbor:"1,keyasint" json:"level"`
	Text  string   `cbor:"2,keyasint" json:"text"`
	// App that wrote it; empty for the firmware itself.
	App    string `cbor:"3,keyasint,omitempty" json:"app,omitempty"`
	Uptime uint64 `cbor:"4,keyasint,omitempty" json:"uptime,omitempty"`
	// Dropped is how many lines were dropped before this one.
	Dropped uint32 `cbor:"5,keyasint,omitempty" json:"dropped,omitempty"`
}

// Release tells a device to go away.
type Release struct {
	// HoldOff is milliseconds to wait before it connects to this gateway again.
	HoldOff uint32 `cbor:"1,keyasint" json:"holdOff"`
	// Endpoint to connect to instead, at once.
	Endpoint string `cbor:"2,keyasint,omitempty" json:"endpoint,omitempty"`
	Text     string `cbor:"3,keyasint,omitempty" json:"text,omitempty"`
}

// Error ends a connection, unless it answers a fetch.
type Error struct {
	Code ErrorCode `cbor:"1,keyasint" json:"code"`
	Text string    `cbor:"2,keyasint,omitempty" json:"text,omitempty"`
	// Fetch is the digest of the fetch that it answers.
	Fetch *Digest `cbor:"3,keyasint,omitempty" json:"fetch,omitempty"`
}

// Crash tells of a fault of the firmware before the present boot.
type Crash struct {
	Code    CrashCode `cbor:"1,keyasint" json:"code"`
	PC      uint32    `cbor:"2,keyasint,omitempty" json:"pc,omitempty"`
	LR      uint32    `cbor:"3,keyasint,omitempty" json:"lr,omitempty"`
	App     string    `cbor:"4,keyasint,omitempty" json:"app,omitempty"`
	Address uint32    `cbor:"5,keyasint,omitempty" json:"address,omitempty"`
	Uptime  uint64    `cbor:"6,keyasint,omitempty" json:"uptime,omitempty"`
}

// Unknown is a frame of a type that this version does not know; it is skipped.
type Unknown struct{ Number Type }

// Type implements Frame.
func (*Hello) Type() Type { return TypeHello }

// Type implements Frame.
func (*Welcome) Type() Type { return TypeWelcome }

// Type implements Frame.
func (*Desired) Type() Type { return TypeDesired }

// Type implements Frame.
func (*Fetch) Type() Type { return TypeFetch }

// Type implements Frame.
func (*Chunk) Type() Type { return TypeChunk }

// Type implements Frame.
func (*Report) Type() Type { return TypeReport }

// Type implements Frame.
func (*Heartbeat) Type() Type { return TypeHeartbeat }

// Type implements Frame.
func (*Log) Type() Type { return TypeLog }

// Type implements Frame.
func (*Release) Type() Type { return TypeRelease }

// Type implements Frame.
func (*Error) Type() Type { return TypeError }

// Type implements Frame.
func (*Crash) Type() Type { return TypeCrash }

// Type implements Frame.
func (u *Unknown) Type() Type { return u.Number }

func newFrame(t Type) Frame {
	switch t {
	case TypeHello:
		return new(Hello)
	case TypeWelcome:
		return new(Welcome)
	case TypeDesired:
		return new(Desired)
	case TypeFetch:
		return new(Fetch)
	case TypeChunk:
		return new(Chunk)
	case TypeReport:
		return new(Report)
	case TypeHeartbeat:
		return new(Heartbeat)
	case TypeLog:
		return new(Log)
	case TypeRelease:
		return new(Release)
	case TypeError:
		return new(Error)
	case TypeCrash:
		return new(Crash)
	}
	return &Unknown{Number: t}
}
