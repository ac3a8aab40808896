// SPDX-License-Identifier: Apache-2.0

// Package session is the gateway's side of one connection of a device, as a state machine: frames, wishes and the
// time go in, frames to send and events come out. It has no socket and no clock and starts no goroutine; its caller
// serializes the calls.
//
// Each input returns an [Output]. Its frames are to be sent in order, and when Close is set the connection is to be
// closed once they are sent; inputs after that are ignored. Events tell what the device said; they hold no memory
// that the session uses later. Between inputs the caller must call [Session.Tick] when [Session.Deadline] has passed.
package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// Config is what a session needs to know beforehand.
type Config struct {
	// MaxFrame is the largest frame that the gateway accepts.
	MaxFrame int
	// HandshakeTimeout is how long the device may take to say hello.
	HandshakeTimeout time.Duration
	// HeartbeatInterval and ReportInterval are told to the device.
	HeartbeatInterval, ReportInterval time.Duration
	// LogLinesPerMinute that are passed on; more are counted and dropped.
	LogLinesPerMinute int
	// Endpoints that the device is told, as many of them as fit.
	Endpoints []string
}

// Frames a second, apart from fetches, that a device may send on average, and at once. Fetches set their own pace:
// each waits for its answer.
const (
	frameRate  = 50
	frameBurst = 500
)

// Why a session ends by itself. [Output.Close] wraps one of them.
var (
	// ErrProtocol: the device broke the protocol.
	ErrProtocol = errors.New("protocol violation")
	// ErrVersion: the device speaks no version that the gateway speaks.
	ErrVersion = errors.New("unsupported protocol version")
	// ErrTimeout: the device was silent for too long.
	ErrTimeout = errors.New("device is silent")
	// ErrDevice: the device said that it gives up.
	ErrDevice = errors.New("device reports an error")
	// ErrEnded: the gateway ended the session through [Session.Fail].
	ErrEnded = errors.New("ended by the gateway")
)

// Output is what an input leads to.
type Output struct {
	Send   []protocol.Frame
	Events []Event
	// Close is why the connection is to be closed; nil while it goes on.
	Close error
}

// Event is one of the event types below.
type Event interface{ event() }

// Events.
type (
	// Up: the device said hello and was welcomed.
	Up struct{ Hello *protocol.Hello }
	// Reported: the complete states of the device's apps, which answer to the desired state of that generation.
	Reported struct {
		Generation uint64
		States     []protocol.State
	}
	// Sent: a Desired of that generation goes out with this output.
	Sent struct{ Generation uint64 }
	// Wanted: the device fetches a part of an artifact of its desired state; [Session.Provide] or
	// [Session.Withhold] answers. Length fits a frame and does not reach beyond Size.
	Wanted struct {
		Digest               protocol.Digest
		Offset, Length, Size uint32
	}
	// Beat: a heartbeat.
	Beat struct{ Heartbeat *protocol.Heartbeat }
	// Logged: a line of the device's log. Dropped counts the gateway's losses too.
	Logged struct{ Log *protocol.Log }
	// Crashed: a crash report.
	Crashed struct{ Crash *protocol.Crash }
	// Failed: the device answered the fetch of a report's document with an error.
	Failed struct{ Code protocol.ErrorCode }
)

func (Up) event()       {}
func (Reported) event() {}
func (Sent) event()     {}
func (Wanted) event()   {}
func (Beat) event()     {}
func (Logged) event()   {}
func (Crashed) event()  {}
func (Failed) event()   {}

type phase uint8

const (
	awaitingHello phase = iota
	up
	ended
)

// Session is one connection of one device.
type Session struct {
	config   Config
	epoch    uint64
	phase    phase
	maxFrame int // of the device
	// silentAt is when the device has been silent for too long.
	silentAt time.Time
	now      time.Time // of the frame that is being handled
	frames   bucket
	logs     bucket
	dropped  uint32 // log lines since the last that was passed on

	desired desired
	// wanted is the fetch of the device that is not answered yet.
	wanted *Wanted
	pull   pull
}

// desired is the desired state that the device holds or was sent last.
type desired struct {
	generation uint64
	apps       *protocol.Digest // of the list's encoding; nil: unknown or none
	artifacts  []protocol.Document
	// document is the list's encoding when it was sent as a document.
	document []byte
}

// New starts a session; the device has to say hello next.
func New(config Config, epoch uint64, now time.Time) *Session {
	return &Session{
		config: config, epoch: epoch, maxFrame: protocol.MinMaxFrame,
		silentAt: now.Add(config.HandshakeTimeout),
		frames:   newBucket(frameRate, frameBurst, now),
		logs:     newBucket(float64(config.LogLinesPerMinute)/60, float64(config.LogLinesPerMinute), now),
	}
}

// MaxReceive is the largest frame that may be read now.
func (s *Session) MaxReceive() int {
	if s.phase == awaitingHello {
		return protocol.MinMaxFrame
	}
	return s.config.MaxFrame
}

// MaxSend is the largest frame that the device takes.
func (s *Session) MaxSend() int { return s.maxFrame }

// Epoch is the session's.
func (s *Session) Epoch() uint64 { return s.epoch }

// Generation is that of the desired state that the device holds or was sent last.
func (s *Session) Generation() uint64 { return s.desired.generation }

// Deadline is when Tick is due.
func (s *Session) Deadline() time.Time { return s.silentAt }

// Tick tells the time.
func (s *Session) Tick(now time.Time) Output {
	if s.phase == ended || now.Before(s.silentAt) {
		return Output{}
	}
	s.phase = ended
	return Output{Close: ErrTimeout}
}

// Receive takes the body of a frame.
func (s *Session) Receive(body []byte, now time.Time) Output {
	if s.phase == ended {
		return Output{}
	}
	f, err := protocol.Decode(body)
	if err != nil {
		return s.violation("%v", err)
	}
	return s.ReceiveFrame(f, now)
}

// Oversized tells that the device sent a frame that is larger than MaxReceive.
func (s *Session) Oversized() Output {
	if s.phase == ended {
		return Output{}
	}
	return s.fail(ErrProtocol, protocol.CodeTooLarge, fmt.Sprintf("a frame larger than %d bytes", s.MaxReceive()))
}

// ReceiveFrame takes a decoded frame.
func (s *Session) ReceiveFrame(f protocol.Frame, now time.Time) Output {
	if s.phase == ended {
		return Output{}
	}
	if _, fetch := f.(*protocol.Fetch); !fetch && !s.frames.take(now) {
		return s.violation("more than %d frames a second", frameRate)
	}
	s.now = now
	if s.phase == awaitingHello {
		hello, ok := f.(*protocol.Hello)
		if !ok {
			return s.violation("the first frame is %s instead of hello", f.Type())
		}
		return s.hello(hello, now)
	}
	s.silentAt = now.Add(s.patience())
	if s.pull.active && now.After(s.pull.until) {
		return s.violation("a fetch was not answered within %s", s.patience())
	}
	switch f := f.(type) {
	case *protocol.Fetch:
		return s.fetch(f)
	case *protocol.Chunk:
		return s.chunk(f)
	case *protocol.Report:
		return s.report(f.Generation, &f.States)
	case *protocol.Heartbeat:
		return Output{Send: []protocol.Frame{&protocol.Heartbeat{}}, Events: []Event{Beat{f}}}
	case *protocol.Log:
		return s.log(f, now)
	case *protocol.Error:
		return s.deviceError(f)
	case *protocol.Crash:
		return Output{Events: []Event{Crashed{f}}}
	case *protocol.Unknown:
		return Output{}
	}
	return s.violation("a device does not send %s here", f.Type())
}

func (s *Session) hello(h *protocol.Hello, now time.Time) Output {
	if h.Version < 1 {
		return s.fail(ErrVersion, protocol.CodeVersion, fmt.Sprintf("this gateway speaks version %d", protocol.Version))
	}
	s.phase = up
	s.maxFrame = int(h.MaxFrame)
	s.silentAt = now.Add(s.patience())
	s.desired.generation, s.desired.apps = h.Generation, h.Apps
	if h.Generation == 0 {
		s.desired.apps = nil
	}
	out := Output{Send: []protocol.Frame{s.welcome(now)}, Events: []Event{Up{h}}}
	if h.States == nil {
		return out
	}
	return out.and(s.report(h.Generation, h.States))
}

// welcome names as many endpoints as fit the device's frame.
func (s *Session) welcome(now time.Time) *protocol.Welcome {
	w := &protocol.Welcome{
		Version: protocol.Version, MaxFrame: uint32(s.config.MaxFrame),
		Time: uint64(now.UnixMilli()), Epoch: s.epoch,
		HeartbeatInterval: milliseconds(s.config.HeartbeatInterval), ReportInterval: milliseconds(s.config.ReportInterval),
		Limits: &protocol.Limits{LogLinesPerMinute: uint32(s.config.LogLinesPerMinute), FetchLength: s.fetchLength()},
	}
	w.Endpoints = s.config.Endpoints[:min(len(s.config.Endpoints), protocol.MaxEndpoints)]
	for len(w.Endpoints) > 0 {
		if _, err := protocol.AppendFrame(nil, w, s.maxFrame); err == nil {
			return w
		}
		w.Endpoints = w.Endpoints[:len(w.Endpoints)-1]
	}
	return w
}

// fetchLength is the most bytes that a chunk to the device carries.
func (s *Session) fetchLength() uint32 { return uint32(s.maxFrame - protocol.ChunkOverhead) }

// patience is how long the device may be silent, and may take to answer a fetch.
func (s *Session) patience() time.Duration {
	return protocol.MissedHeartbeats * s.config.HeartbeatInterval
}

func milliseconds(d time.Duration) uint32 { return uint32(d.Milliseconds()) }

// Holds reports whether the device is known to hold, or was sent, exactly this list of apps, as EncodeApps gives it.
func (s *Session) Holds(encoded []byte) bool {
	return s.phase == up && s.desired.apps != nil && *s.desired.apps == protocol.DigestOf(encoded)
}

// SetDesired says what should run on the device: the complete list, ascending by name. Nothing is sent when the
// device holds it already. An error says that the list is none that the protocol can carry; nothing changes then.
func (s *Session) SetDesired(apps []protocol.App) (Output, error) {
	if s.phase != up {
		return Output{}, nil
	}
	encoded, err := protocol.EncodeApps(apps)
	if err != nil {
		return Output{}, fmt.Errorf("desired state: %w", err)
	}
	digest := protocol.DigestOf(encoded)
	held := s.desired.apps != nil && *s.desired.apps == digest
	if s.desired.artifacts == nil || !held {
		s.desired.artifacts = artifacts(apps)
	}
	if held {
		return Output{}, nil
	}
	s.desired.generation++
	s.desired.apps, s.desired.document = &digest, nil
	frame := &protocol.Desired{Generation: s.desired.generation, Apps: protocol.AppSet{List: apps}}
	if _, err := protocol.AppendFrame(nil, frame, s.maxFrame); err != nil {
		document := protocol.DocumentOf(encoded)
		frame.Apps = protocol.AppSet{Document: &document}
		s.desired.document = encoded
	}
	return Output{Send: []protocol.Frame{frame}, Events: []Event{Sent{s.desired.generation}}}, nil
}

func artifacts(apps []protocol.App) []protocol.Document {
	list := make([]protocol.Document, 0, len(apps))
	for i := range apps {
		list = append(list, protocol.Document{Digest: apps[i].Artifact.Digest, Size: apps[i].Artifact.Size})
	}
	return list
}

// fetch answers from the document of the desired state, or asks the caller for a part of one of its artifacts.
// Nothing else can be fetched.
func (s *Session) fetch(f *protocol.Fetch) Output {
	if s.wanted != nil {
		return refuse(f.Digest, protocol.CodeBusy, "one fetch at a time")
	}
	if s.desired.document != nil && f.Digest == *s.desired.apps {
		return s.answer(f, s.desired.document)
	}
	at := slices.IndexFunc(s.desired.artifacts, func(d protocol.Document) bool { return d.Digest == f.Digest })
	if at < 0 {
		return refuse(f.Digest, protocol.CodeNotFound, "not in the desired state")
	}
	size := s.desired.artifacts[at].Size
	if f.Offset > size {
		return refuse(f.Digest, protocol.CodeNotFound, "offset beyond the end")
	}
	s.wanted = &Wanted{Digest: f.Digest, Offset: f.Offset, Length: min(f.Length, s.fetchLength(), size-f.Offset), Size: size}
	return Output{Events: []Event{*s.wanted}}
}

func (s *Session) answer(f *protocol.Fetch, content []byte) Output {
	size := uint32(len(content))
	if f.Offset > size {
		return refuse(f.Digest, protocol.CodeNotFound, "offset beyond the end")
	}
	end := f.Offset + min(f.Length, s.fetchLength(), size-f.Offset)
	return Output{Send: []protocol.Frame{&protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: content[f.Offset:end], Size: size}}}
}

// Provide answers w with its bytes, w.Length of them. An answer that nobody waits for any more is dropped.
func (s *Session) Provide(w Wanted, content []byte) Output {
	if s.phase != up || s.wanted == nil || *s.wanted != w {
		return Output{}
	}
	s.wanted = nil
	return Output{Send: []protocol.Frame{&protocol.Chunk{Digest: w.Digest, Offset: w.Offset, Bytes: content, Size: w.Size}}}
}

// Withhold answers w with an error: not found, or busy, after which the device tries again.
func (s *Session) Withhold(w Wanted, code protocol.ErrorCode, text string) Output {
	if s.phase != up || s.wanted == nil || *s.wanted != w {
		return Output{}
	}
	s.wanted = nil
	return refuse(w.Digest, code, text)
}

func refuse(digest protocol.Digest, code protocol.ErrorCode, text string) Output {
	return Output{Send: []protocol.Frame{&protocol.Error{Code: code, Text: text, Fetch: &digest}}}
}

func (s *Session) log(l *protocol.Log, now time.Time) Output {
	if !s.logs.take(now) {
		s.dropped += 1 + l.Dropped
		return Output{}
	}
	l.Dropped += s.dropped
	s.dropped = 0
	return Output{Events: []Event{Logged{l}}}
}

// deviceError ends the session unless it answers a fetch of this side.
func (s *Session) deviceError(e *protocol.Error) Output {
	if e.Fetch != nil && (e.Code == protocol.CodeNotFound || e.Code == protocol.CodeBusy) {
		return s.pullFailed(e)
	}
	s.phase = ended
	return Output{Close: fmt.Errorf("%w: %s: %s", ErrDevice, e.Code, e.Text)}
}

// Release tells the device to go away: not to come back before holdOff, and to go to endpoint if it is not empty.
// The session goes on until the device closes it; the caller bounds how long that may take.
func (s *Session) Release(holdOff time.Duration, endpoint, text string) Output {
	if s.phase == ended {
		return Output{}
	}
	return Output{Send: []protocol.Frame{&protocol.Release{HoldOff: milliseconds(holdOff), Endpoint: endpoint, Text: text}}}
}

// Fail ends the session with an error that the device is told.
func (s *Session) Fail(code protocol.ErrorCode, text string) Output {
	if s.phase == ended {
		return Output{}
	}
	return s.fail(ErrEnded, code, text)
}

func (s *Session) violation(format string, args ...any) Output {
	return s.fail(ErrProtocol, protocol.CodeProtocol, fmt.Sprintf(format, args...))
}

func (s *Session) fail(why error, code protocol.ErrorCode, text string) Output {
	s.phase = ended
	if len(text) > protocol.MaxText {
		text = cut(text, protocol.MaxText)
	}
	return Output{
		Send:  []protocol.Frame{&protocol.Error{Code: code, Text: text}},
		Close: fmt.Errorf("%w: %s: %s", why, code, text),
	}
}

// and is o followed by next.
func (o Output) and(next Output) Output {
	o.Send = append(o.Send, next.Send...)
	o.Events = append(o.Events, next.Events...)
	if next.Close != nil {
		o.Close = next.Close
	}
	return o
}
