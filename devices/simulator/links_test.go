// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"testing"
	"time"
)

var (
	epoch      = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	errNoRoute = errors.New("no route")
)

// linksAt are links with a clock that the test moves and jitter that is always the most there can be.
func linksAt(given, welcomed []string) (*links, *time.Time) {
	l := newLinks(given, welcomed)
	l.random = func() float64 { return 1 }
	now := epoch
	return l, &now
}

func (l *links) expect(t *testing.T, now time.Time, endpoint string, wait time.Duration) {
	t.Helper()
	if e, w := l.next(now); e != endpoint || w != wait {
		t.Fatalf("next is %q in %s, want %q in %s", e, w, endpoint, wait)
	}
}

func TestEachEndpointOnceThenAPauseThatDoubles(t *testing.T) {
	l, now := linksAt([]string{"c"}, []string{"a", "b"})
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		for _, e := range []string{"a", "b", "c"} {
			l.expect(t, *now, e, 0)
			l.ended(*now, e, sessionEnd{err: errNoRoute}, defaultTiming)
		}
		l.expect(t, *now, "", pause*time.Second)
		*now = now.Add(pause * time.Second)
	}
}

func TestTheFirstEndpointIsTriedFirstAfterASession(t *testing.T) {
	l, now := linksAt(nil, []string{"a", "b"})
	l.expect(t, *now, "a", 0)
	l.ended(*now, "a", sessionEnd{err: errNoRoute}, defaultTiming)
	l.expect(t, *now, "b", 0)
	l.ended(*now, "b", sessionEnd{welcomed: true, lasted: time.Hour}, defaultTiming)
	l.expect(t, *now, "", time.Second)
	l.expect(t, now.Add(time.Second), "a", 0)
}

func TestOnlySteadySessionsEndARowOfFailures(t *testing.T) {
	l, now := linksAt(nil, []string{"a"})
	for _, step := range []struct{ lasted, pause time.Duration }{
		{time.Second, time.Second}, {time.Second, 2 * time.Second}, {time.Second, 4 * time.Second}, // welcomed and dropped again and again
		{time.Minute, time.Second}, {time.Second, 2 * time.Second},
	} {
		l.expect(t, *now, "a", 0)
		l.ended(*now, "a", sessionEnd{welcomed: true, lasted: step.lasted}, defaultTiming)
		l.expect(t, *now, "", step.pause)
		*now = now.Add(step.pause)
	}
}

func TestAReleaseHoldsOneGatewayOff(t *testing.T) {
	l, now := linksAt(nil, []string{"a", "b"})
	l.expect(t, *now, "a", 0)
	l.ended(*now, "a", sessionEnd{welcomed: true, released: true, holdOff: 10 * time.Second, instead: "x"}, defaultTiming)
	l.expect(t, *now, "x", 0)
	l.ended(*now, "x", sessionEnd{err: errNoRoute}, defaultTiming)
	l.expect(t, *now, "b", 0)
	l.ended(*now, "b", sessionEnd{welcomed: true, released: true, holdOff: 20 * time.Second}, defaultTiming)
	l.expect(t, *now, "", 11*time.Second) // a tenth of jitter at most
	l.expect(t, now.Add(11*time.Second), "a", 0)
}

func TestNewEndpointsReplaceWhatAFormerGatewayTold(t *testing.T) {
	l, now := linksAt([]string{"old"}, []string{"told"})
	l.ended(*now, "told", sessionEnd{err: errNoRoute}, defaultTiming)
	l.ended(*now, "old", sessionEnd{err: errNoRoute}, defaultTiming)
	if l.provision([]string{"old"}) {
		t.Error("equal endpoints count as new ones")
	}
	l.expect(t, *now, "", time.Second)
	if !l.provision([]string{"new"}) || len(l.told()) != 0 {
		t.Error("the new endpoints were not taken in")
	}
	l.expect(t, *now, "new", 0)
	if !l.welcome([]string{"new", "other"}) || l.welcome([]string{"new", "other"}) || l.welcome(nil) {
		t.Error("what a gateway tells is new once, and nothing is never new")
	}
}

func TestADeviceWithoutEndpointsWaits(t *testing.T) {
	l, now := linksAt(nil, nil)
	l.expect(t, *now, "", idle)
}
