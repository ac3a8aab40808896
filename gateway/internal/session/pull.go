// SPDX-License-Identifier: Apache-2.0

package session

import (
	"time"
	"unicode/utf8"

	"wasmbed.dev/gateway/protocol"
)

// pull fetches the document of a report from the device, one part at a time. A newer report replaces the one that
// waits; the one under way is then given up once its fetch is answered.
type pull struct {
	active  bool // a fetch is not answered yet
	current request
	content []byte
	next    *request
	until   time.Time // when the fetch should have been answered
}

type request struct {
	generation uint64
	document   protocol.Document
}

// report takes states, or starts to fetch them.
func (s *Session) report(generation uint64, states *protocol.StateSet) Output {
	if states.Document == nil {
		s.pull.next = nil
		if s.pull.active {
			s.pull.content = nil // what is under way is older than what was just told
		}
		return Output{Events: []Event{Reported{generation, states.List}}}
	}
	s.pull.next = &request{generation, *states.Document}
	if s.pull.active {
		return Output{}
	}
	return s.startPull()
}

func (s *Session) startPull() Output {
	p := &s.pull
	p.active = false
	p.content = nil
	if p.next == nil {
		return Output{}
	}
	p.current, p.next = *p.next, nil
	p.content = make([]byte, 0, p.current.document.Size)
	return s.pullMore()
}

func (s *Session) pullMore() Output {
	p := &s.pull
	p.active, p.until = true, s.now.Add(s.patience())
	rest := p.current.document.Size - uint32(len(p.content))
	most := uint32(min(s.config.MaxFrame, s.maxFrame) - protocol.ChunkOverhead)
	return Output{Send: []protocol.Frame{&protocol.Fetch{
		Digest: p.current.document.Digest, Offset: uint32(len(p.content)), Length: min(rest, most),
	}}}
}

func (s *Session) chunk(c *protocol.Chunk) Output {
	p := &s.pull
	if !p.active || c.Digest != p.current.document.Digest {
		return s.violation("a chunk that was not asked for")
	}
	if p.content == nil || p.next != nil {
		return s.startPull()
	}
	size := p.current.document.Size
	if c.Size != size || int(c.Offset) != len(p.content) || len(c.Bytes) == 0 {
		return s.violation("a chunk of %d bytes at %d of %d, wanted one at %d of %d", len(c.Bytes), c.Offset, c.Size, len(p.content), size)
	}
	p.content = append(p.content, c.Bytes...)
	if uint32(len(p.content)) < size {
		return s.pullMore()
	}
	return s.pulled()
}

// pulled judges the complete document.
func (s *Session) pulled() Output {
	p := &s.pull
	if protocol.DigestOf(p.content) != p.current.document.Digest {
		return s.violation("a document that is not what its digest says")
	}
	states, err := protocol.DecodeStates(p.content)
	if err != nil {
		return s.violation("a document of states: %v", err)
	}
	out := Output{Events: []Event{Reported{p.current.generation, states}}}
	return out.and(s.startPull())
}

// pullFailed gives the document up: the device has none such any more, and reports anew when something changes.
func (s *Session) pullFailed(e *protocol.Error) Output {
	if !s.pull.active || *e.Fetch != s.pull.current.document.Digest {
		return s.violation("an error for a fetch that was not made")
	}
	out := Output{Events: []Event{Failed{e.Code}}}
	return out.and(s.startPull())
}

// cut shortens s to at most n bytes without cutting a character.
func cut(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
