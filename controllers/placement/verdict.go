// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// failureKind orders failures by how much they say.
type failureKind int

const (
	failureNone failureKind = iota
	failureLost
	failureOverdue
	failureFailed
	failureRejected
	failureRolledBack
)

// failure is the one that a person is told of, among count.
type failure struct {
	kind   failureKind
	device string
	detail string
	count  int
}

// merge keeps the failure that says most, of the device that comes first.
func (f *failure) merge(other failure) {
	count := f.count + other.count
	if other.kind > f.kind || other.kind == f.kind && other.device < f.device {
		*f = other
	}
	f.count = count
}

func failureOf(c *carried, s state, deadline time.Duration) failure {
	f := failure{device: c.device.Name, count: 1}
	if s == stateOverdue {
		f.kind, f.detail = failureOverdue, "has not run it within "+deadline.String()
		if phase := c.instance.Status.Phase; phase != "" {
			f.detail += ", it is " + string(phase)
		}
		return f
	}
	verb := ""
	switch c.instance.Status.Phase {
	case v1alpha1.InstanceRolledBack:
		f.kind, verb = failureRolledBack, "went back to its former version"
	case v1alpha1.InstanceRejected:
		f.kind, verb = failureRejected, "refuses it"
	default:
		f.kind, verb = failureFailed, "failed"
	}
	f.detail = verb
	for _, text := range []string{c.instance.Status.Reason, c.instance.Status.Message} {
		if text != "" {
			f.detail += ": " + printable(text)
		}
	}
	return f
}

// printable is text that came from a device, fit for a condition: at most 200 bytes, no control characters.
func printable(text string) string {
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

func (f *failure) reason() string {
	switch f.kind {
	case failureOverdue:
		return v1alpha1.ReasonProgressDeadlineExceeded
	case failureRolledBack:
		return v1alpha1.ReasonRolledBack
	}
	return v1alpha1.ReasonWaveFailed
}

func (f *failure) String() string {
	if f.kind == failureLost {
		return fmt.Sprintf("%s disconnected after receiving it, %s among them", devices(f.count), f.device)
	}
	text := f.device + " " + f.detail
	if f.count > 1 {
		text += fmt.Sprintf(" (and %d more)", f.count-1)
	}
	return text
}

// verdict words the state of the Application; the most pressing thing decides.
func (p *plan) verdict() Verdict {
	status := &p.result.Status
	waiting := len(p.stale)+p.pending > 0
	switch {
	case p.base.Digest == "":
		return Verdict{Reason: v1alpha1.ReasonPending, Message: "the module has no digest: the sync controller pins it when a commit brings the Application"}
	case p.halted:
		return Verdict{Stalled: true, Reason: p.halt.reason(), Message: p.message(&p.halt, fmt.Sprintf("wave %d failed and the rollout has stopped", status.Wave))}
	case p.app.Spec.Suspend && len(p.stale) > 0:
		return Verdict{Stalled: true, Reason: v1alpha1.ReasonSuspended, Message: p.message(&p.failing, "suspended")}
	case p.failing.kind != failureNone:
		final := p.failing.kind == failureRejected || p.failing.kind == failureRolledBack
		return Verdict{Reconciling: waiting, Stalled: final && !waiting, Reason: p.failedReason(), Message: p.message(&p.failing, "")}
	case waiting:
		return Verdict{Reconciling: true, Reason: v1alpha1.ReasonRollingOut, Message: p.message(nil, p.waveText())}
	case status.Excluded > 0:
		return Verdict{Stalled: true, Reason: v1alpha1.ReasonDoesNotFit, Message: p.message(nil, "")}
	case status.Target == 0:
		return Verdict{Ready: true, Reason: v1alpha1.ReasonRolledOut, Message: "no device matches the selector"}
	case p.online == 0:
		return Verdict{Reason: v1alpha1.ReasonDeviceOffline, Message: p.message(nil, "")}
	}
	return Verdict{Ready: true, Reason: v1alpha1.ReasonRolledOut, Message: p.message(nil, "")}
}

func (p *plan) failedReason() string {
	switch p.failing.kind {
	case failureOverdue:
		return v1alpha1.ReasonProgressDeadlineExceeded
	case failureRolledBack:
		return v1alpha1.ReasonRolledBack
	}
	return v1alpha1.ReasonFailed
}

func (p *plan) waveText() string {
	if wave := p.result.Status.Wave; wave > 0 {
		return "wave " + strconv.Itoa(int(wave))
	}
	return ""
}

// message tells the counts, most important first: "7/10 devices run sha256:ab12…; 2 offline; sensor-3 failed: …".
func (p *plan) message(found *failure, lead string) string {
	status := &p.result.Status
	parts := make([]string, 0, 6)
	parts = append(parts, fmt.Sprintf("%s devices run %s", status.Progress, shorten(p.base.Digest)))
	if status.Offline > 0 {
		parts = append(parts, fmt.Sprintf("%d offline", status.Offline))
	}
	if status.Excluded > 0 {
		parts = append(parts, fmt.Sprintf("%s without room for it or with an unknown board", devices(int(status.Excluded))))
	}
	if lead != "" {
		parts = append(parts, lead)
	}
	if found != nil && found.kind != failureNone {
		parts = append(parts, found.String())
	}
	return strings.Join(parts, "; ")
}

func devices(count int) string {
	if count == 1 {
		return "1 device"
	}
	return strconv.Itoa(count) + " devices"
}

func fraction(part, whole int) string { return strconv.Itoa(part) + "/" + strconv.Itoa(whole) }

// shorten is a digest as people compare them: "sha256:0123456789ab…".
func shorten(digest string) string {
	const keep = len("sha256:") + 12
	if len(digest) <= keep {
		return digest
	}
	return digest[:keep] + "…"
}
