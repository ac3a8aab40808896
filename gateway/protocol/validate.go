// SPDX-License-Identifier: Apache-2.0

package protocol

import "math"

func (h *Hello) validate() error {
	return first(
		maxFrameWithin(h.MaxFrame),
		textWithin("board", h.Board, 1, 32),
		textWithin("firmware", h.Firmware, 1, 64),
		u63("generation", h.Generation),
		u63("uptime", h.Uptime),
		h.States.validate(),
	)
}

func (w *Welcome) validate() error {
	err := first(
		maxFrameWithin(w.MaxFrame),
		u63("time", w.Time),
		u63("epoch", w.Epoch),
		atMost("endpoints", len(w.Endpoints), MaxEndpoints),
	)
	for _, e := range w.Endpoints {
		err = first(err, textWithin("endpoint", e, 3, 128))
	}
	return err
}

func (d *Desired) validate() error {
	if d.Apps.Document != nil {
		return first(u63("generation", d.Generation), d.Apps.Document.validate(MaxAppsDocument))
	}
	return first(u63("generation", d.Generation), validateApps(d.Apps.List))
}

func (f *Fetch) validate() error {
	if f.Length == 0 {
		return invalid("a fetch of no bytes")
	}
	return nil
}

func (c *Chunk) validate() error {
	if c.Size > MaxArtifact {
		return invalid("a size of %d, more than %d", c.Size, MaxArtifact)
	}
	if uint64(c.Offset)+uint64(len(c.Bytes)) > uint64(c.Size) {
		return invalid("a chunk of %d bytes at %d of %d", len(c.Bytes), c.Offset, c.Size)
	}
	if len(c.Bytes) == 0 && c.Offset < c.Size {
		return invalid("an empty chunk at %d of %d", c.Offset, c.Size)
	}
	return nil
}

func (r *Report) validate() error {
	return first(u63("generation", r.Generation), r.States.validate())
}

func (h *Heartbeat) validate() error {
	err := first(
		u63("uptime", h.Uptime),
		atMost("metrics", len(h.Metrics), maxPairs),
		atMost("apps with metrics", len(h.Apps), MaxApps),
	)
	for _, v := range h.Metrics {
		err = first(err, u63("metric", v))
	}
	last := ""
	for i := range h.Apps {
		err = first(err, ascending("apps with metrics", last, h.Apps[i].Name), h.Apps[i].validate())
		last = h.Apps[i].Name
	}
	return err
}

func (m *AppMetrics) validate() error {
	err := first(
		nameValid(m.Name),
		u63("fuel", m.Fuel),
		atMost("values", len(m.Values), maxPairs),
	)
	for k := range m.Values {
		err = first(err, textWithin("key of a value", k, 1, 32))
	}
	return err
}

func (l *Log) validate() error {
	if l.Level > LogError {
		return invalid("a log level of %d", l.Level)
	}
	return first(textWithin("text", l.Text, 0, MaxText), nameOrNone(l.App), u63("uptime", l.Uptime))
}

func (r *Release) validate() error {
	if r.Endpoint != "" {
		if err := textWithin("endpoint", r.Endpoint, 3, 128); err != nil {
			return err
		}
	}
	return textWithin("text", r.Text, 0, MaxText)
}

func (e *Error) validate() error { return textWithin("text", e.Text, 0, MaxText) }

func (c *Crash) validate() error { return first(nameOrNone(c.App), u63("uptime", c.Uptime)) }

func (u *Unknown) validate() error { return invalid("a frame of an unknown type cannot be sent") }

func (d *Document) validate(limit uint32) error {
	if d.Size == 0 || d.Size > limit {
		return invalid("a document of %d bytes; it has 1 to %d", d.Size, limit)
	}
	return nil
}

func (s *StateSet) validate() error {
	switch {
	case s == nil:
		return nil
	case s.Document != nil:
		return s.Document.validate(MaxStatesDocument)
	}
	return validateStates(s.List)
}

func validateApps(apps []App) error {
	err := atMost("apps", len(apps), MaxApps)
	last := ""
	for i := range apps {
		err = first(err, ascending("apps", last, apps[i].Name), apps[i].validate())
		last = apps[i].Name
	}
	return err
}

func (a *App) validate() error {
	if a.RestartPolicy > RestartNever {
		return invalid("a restart policy of %d", a.RestartPolicy)
	}
	err := first(
		nameValid(a.Name),
		a.Artifact.validate(),
		u63("spec", a.Spec),
		atMost("permissions", len(a.Permissions), 16),
		validateConfig(a.Config),
	)
	last := ""
	for _, p := range a.Permissions {
		err = first(err, textWithin("permission", p, 1, 32), ascending("permissions", last, p))
		last = p
	}
	if a.Limits != nil {
		err = first(err, u63("fuel", a.Limits.Fuel))
	}
	return err
}

func (a *Artifact) validate() error {
	if a.Size > MaxArtifact {
		return invalid("an artifact of %d bytes, more than %d", a.Size, MaxArtifact)
	}
	return atMost("bytes of signature", len(a.Signature), 512)
}

func validateConfig(config map[string]string) error {
	err := atMost("config keys", len(config), maxPairs)
	total := 0
	for k, v := range config {
		total += len(k) + len(v)
		err = first(err, textWithin("config key", k, 1, 63))
	}
	return first(err, atMost("bytes of config", total, MaxConfig))
}

func validateStates(states []State) error {
	err := atMost("states", len(states), MaxApps)
	last := ""
	for i := range states {
		err = first(err, ascending("states", last, states[i].Name), states[i].validate())
		last = states[i].Name
	}
	return err
}

func (s *State) validate() error {
	if s.Phase > PhaseRejected {
		return invalid("a phase of %d", s.Phase)
	}
	return first(
		nameValid(s.Name),
		u63("spec", s.Spec),
		textWithin("message", s.Message, 0, MaxText),
		u63("time in phase", s.Since),
	)
}

// first is the first error of errs.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func maxFrameWithin(n uint32) error {
	if n < MinMaxFrame || n > MaxFrame {
		return invalid("a largest frame of %d; it is %d to %d", n, MinMaxFrame, MaxFrame)
	}
	return nil
}

func u63(what string, n uint64) error {
	if n > math.MaxInt64 {
		return invalid("a %s above 2^63-1", what)
	}
	return nil
}

func atMost(what string, n, most int) error {
	if n > most {
		return invalid("%d %s, more than %d", n, what, most)
	}
	return nil
}

func textWithin(what, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return invalid("a %s of %d bytes; it has %d to %d", what, len(s), least, most)
	}
	return nil
}

func ascending(what, last, next string) error {
	if last != "" && next <= last {
		return invalid("%s are not in ascending order, or twice the same", what)
	}
	return nil
}

func nameOrNone(s string) error {
	if s == "" {
		return nil
	}
	return nameValid(s)
}

// nameValid holds s against RFC 1123: lower case letters, digits, and "-" not at an end.
func nameValid(s string) error {
	if len(s) < 1 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return invalid("%.80q is not a name", s)
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return invalid("%.80q is not a name", s)
		}
	}
	return nil
}
