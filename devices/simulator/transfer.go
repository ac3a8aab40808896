// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"

	"wasmbed.dev/gateway/protocol"
)

// pendingDesired is a desired state whose document is being fetched.
type pendingDesired struct {
	generation uint64
	document   protocol.Document
	received   time.Time
}

// fetch is the one transfer that is under way. What has arrived is kept over a lost connection.
type fetch struct {
	digest protocol.Digest
	size   uint32
	data   []byte
	spoilt int // times that the whole had another digest
	asked  int // in a row without an answer
	timer  *time.Timer
}

func (f *fetch) stop() {
	if f.timer != nil {
		f.timer.Stop()
	}
}

const (
	maxSpoilt = 3
	maxAsked  = 4
)

// onDesired takes a desired state in. A generation that is not newer than the one held says nothing new.
func (d *Device) onDesired(f *protocol.Desired) error {
	if f.Generation <= d.generation {
		d.cfg.Log.Info("older desired state ignored", "generation", f.Generation, "held", d.generation)
		return nil
	}
	if f.Apps.Document != nil {
		d.wanted = &pendingDesired{generation: f.Generation, document: *f.Apps.Document, received: time.Now()}
		d.fetchNext()
		return nil
	}
	encoded, err := protocol.EncodeApps(f.Apps.List)
	if err != nil {
		return fmt.Errorf("desired state: %w", err)
	}
	d.wanted = nil
	d.apply(f.Generation, protocol.DigestOf(encoded), f.Apps.List, time.Now())
	return nil
}

// fetchNext starts or resumes the transfer that is needed first: a desired state, then modules by name of their app.
// The caller holds mu.
func (d *Device) fetchNext() {
	digest, size, ok := d.lacking()
	if !ok {
		d.endFetch()
		return
	}
	if d.fetch == nil || d.fetch.digest != digest {
		d.endFetch()
		d.fetch = &fetch{digest: digest, size: size}
	}
	d.ask()
}

func (d *Device) lacking() (digest protocol.Digest, size uint32, ok bool) {
	if d.wanted != nil {
		return d.wanted.document.Digest, d.wanted.document.Size, true
	}
	for _, a := range d.sorted() {
		if a.phase == protocol.PhaseFetching {
			return a.want.Artifact.Digest, a.want.Artifact.Size, true
		}
	}
	return digest, 0, false
}

func (d *Device) endFetch() {
	if d.fetch != nil {
		d.fetch.stop()
		d.fetch = nil
	}
}

// ask sends the fetch for what is missing of the present transfer.
func (d *Device) ask() {
	f, s := d.fetch, d.session
	if s == nil {
		return // asked when there is one
	}
	have := uint32(len(f.data))
	s.send(&protocol.Fetch{Digest: f.digest, Offset: have, Length: min(s.piece, f.size-have)})
	f.stop()
	f.timer = time.AfterFunc(d.timing.fetch, func() { d.askAgain(f) })
}

// askAgain follows a fetch that was not answered.
func (d *Device) askAgain(f *fetch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fetch != f || d.session == nil {
		return
	}
	if f.asked++; f.asked < maxAsked {
		d.ask()
		return
	}
	d.giveUp(f.digest, refusal{protocol.ReasonFetchFailed, "the gateway does not answer"})
}

// onChunk takes a piece of the present transfer. A piece of another one is late and harmless; one that does not fit
// where it should is an error of the gateway.
func (d *Device) onChunk(c *protocol.Chunk) error {
	f := d.fetch
	if f == nil || c.Digest != f.digest || int(c.Offset) != len(f.data) {
		return nil
	}
	if c.Size != f.size || len(c.Bytes) == 0 && f.size > 0 || len(c.Bytes) > int(f.size)-len(f.data) {
		return fmt.Errorf("a chunk of %s has %d bytes at %d of %d, want at most %d", c.Digest, len(c.Bytes), c.Offset, c.Size, int(f.size)-len(f.data))
	}
	f.data, f.asked = append(f.data, c.Bytes...), 0
	if len(f.data) < int(f.size) {
		d.ask()
		return nil
	}
	if protocol.DigestOf(f.data) == f.digest {
		return d.fetched(f)
	}
	f.data = nil
	if f.spoilt++; f.spoilt < maxSpoilt {
		d.ask()
		return nil
	}
	d.giveUp(f.digest, refusal{protocol.ReasonDigestMismatch, "what the gateway sends has another digest"})
	return nil
}

// fetched uses what has arrived whole.
func (d *Device) fetched(f *fetch) error {
	d.endFetch()
	if w := d.wanted; w != nil && w.document.Digest == f.digest {
		d.wanted = nil
		list, err := protocol.DecodeApps(f.data)
		if err != nil {
			return fmt.Errorf("desired state: %w", err)
		}
		d.apply(w.generation, f.digest, list, w.received)
		return nil
	}
	if err := d.store.writeModule(f.digest, f.data); err != nil {
		d.cfg.Log.Error(err, "module not stored", "digest", f.digest.String())
		d.giveUp(f.digest, refusal{protocol.ReasonNoStorage, err.Error()})
		return nil
	}
	for _, a := range d.sorted() {
		if a.phase == protocol.PhaseFetching && a.want.Artifact.Digest == f.digest {
			d.switchTo(a)
		}
	}
	d.fetchNext()
	return nil
}

// fetchRefused follows the gateway's word that it has not, or cannot now, what was asked for.
func (d *Device) fetchRefused(digest protocol.Digest, code protocol.ErrorCode) {
	f := d.fetch
	if f == nil || f.digest != digest {
		return
	}
	if code == protocol.CodeBusy {
		f.stop()
		f.timer = time.AfterFunc(time.Duration((0.5+rand.Float64())*float64(time.Second)), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.fetch == f && d.session != nil {
				d.ask()
			}
		})
		return
	}
	d.giveUp(digest, refusal{protocol.ReasonFetchFailed, "the gateway does not have the module"})
}

// giveUp ends the transfer. Apps that wait for it fail, and try again later.
func (d *Device) giveUp(digest protocol.Digest, why refusal) {
	d.endFetch()
	if d.wanted != nil && d.wanted.document.Digest == digest {
		d.wanted = nil // a newer desired state follows, or this one with the next connection
	}
	for _, a := range d.sorted() {
		if a.phase != protocol.PhaseFetching || a.want.Artifact.Digest != digest {
			continue
		}
		d.setPhase(a, protocol.PhaseFailed, why.reason, why.message)
		d.later(&a.refetch, d.timing.refetch, func() {
			d.setPhase(a, protocol.PhaseFetching, protocol.ReasonNone, "")
			d.fetchNext()
		})
	}
	d.fetchNext()
}

// onFetch serves the document of a report.
func (d *Device) onFetch(s *session, f *protocol.Fetch) {
	doc := d.report.document
	if doc == nil || protocol.DigestOf(doc) != f.Digest || int(f.Offset) > len(doc) {
		s.send(&protocol.Error{Code: protocol.CodeNotFound, Fetch: &f.Digest})
		return
	}
	end := min(len(doc), int(f.Offset)+min(int(f.Length), s.maxFrame-protocol.ChunkOverhead))
	s.send(&protocol.Chunk{Digest: f.Digest, Offset: f.Offset, Bytes: doc[f.Offset:end], Size: uint32(len(doc))})
}

// reporting is when the next report goes, and what the last one was.
type reporting struct {
	last     time.Time // zero: none in this session
	due      time.Time
	timer    *time.Timer // nil: none is due
	document []byte      // of the last report that did not fit a frame
}

func (r *reporting) stop() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// urgency of a change: people wait for some, others are on the way to those.
type urgency bool

const (
	later urgency = false
	soon  urgency = true
)

// mark asks for a report. It goes no earlier than the gateway's least time after the last one; changes in between
// travel together. The caller holds mu.
func (d *Device) mark(u urgency) {
	s, r := d.session, &d.report
	if s == nil {
		return // every session begins with a report
	}
	now := time.Now()
	due := now.Add(d.timing.settle)
	if u == later {
		due = now.Add(s.reporting)
	}
	if earliest := r.last.Add(s.reporting); earliest.After(due) {
		due = earliest
	}
	if r.timer != nil && !due.Before(r.due) {
		return
	}
	r.stop()
	r.due = due
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(due), func() { d.sendReport(s, &timer) })
	r.timer = timer
}

func (d *Device) sendReport(s *session, timer **time.Timer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report.timer != *timer || d.session != s {
		return
	}
	d.report.timer, d.report.last = nil, time.Now()
	report := &protocol.Report{Generation: d.generation, States: protocol.StateSet{List: d.states()}}
	if _, err := protocol.AppendFrame(nil, report, s.maxFrame); err != nil {
		document, err := protocol.EncodeStates(report.States.List)
		if err != nil {
			d.cfg.Log.Error(err, "report not sent")
			return
		}
		named := protocol.DocumentOf(document)
		d.report.document = document
		report.States = protocol.StateSet{Document: &named}
	}
	s.send(report)
}
