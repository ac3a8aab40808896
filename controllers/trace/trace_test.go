// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func commit(c string) string { return strings.Repeat(c, 40) }

func at(milliseconds int) *metav1.MicroTime {
	t := metav1.NewMicroTime(epoch.Add(time.Duration(milliseconds) * time.Millisecond))
	return &t
}

func entry(name string, pushed, fetched, checked, applied *metav1.MicroTime) v1alpha1.HistoryEntry {
	return v1alpha1.HistoryEntry{Outcome: "Applied", Revision: v1alpha1.Revision{
		Commit: commit(name), Author: "A <a@example.org>", Subject: "subject " + name,
		PushedAt: pushed, FetchedAt: fetched, CheckedAt: checked, AppliedAt: applied,
	}}
}

func repository(entries ...v1alpha1.HistoryEntry) v1alpha1.Repository {
	return v1alpha1.Repository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "wasmbed-system", Name: "fleet"},
		Status:     v1alpha1.RepositoryStatus{History: entries},
	}
}

// instance of the commit; delivered and running may be nil.
func instance(app, device, of string, issued int, delivered, running *metav1.MicroTime) v1alpha1.Instance {
	i := v1alpha1.Instance{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: v1alpha1.InstanceName(app, device), Generation: 3, Annotations: map[string]string{
			v1alpha1.AnnotationRevision: commit(of), v1alpha1.AnnotationIssuedAt: at(issued).Time.Add(123).Format(time.RFC3339Nano),
		}},
		Spec:   v1alpha1.InstanceSpec{Application: app, Device: device},
		Status: v1alpha1.InstanceStatus{ObservedGeneration: 3, Phase: v1alpha1.InstanceDelivering, DeliveredAt: delivered, RunningAt: running},
	}
	if running != nil {
		i.Status.Phase = v1alpha1.InstanceRunning
	}
	return i
}

func TestTheWayOfACommit(t *testing.T) {
	start := int64(7)
	slow := instance("blink", "slow", "b", 100, at(150), at(900))
	slow.Status.StartMilliseconds = &start
	coarse := instance("blink", "one", "b", 100, at(160), at(200)) // its clock says more than can be
	much := int64(5000)
	coarse.Status.StartMilliseconds = &much
	failed := instance("blink", "broken", "b", 100, at(150), nil)
	failed.Status.Phase, failed.Status.Reason = v1alpha1.InstanceFailed, "Trapped"
	unanswered := instance("other", "quiet", "b", 130, at(-500), at(-400)) // moments of the former spec
	unanswered.Status.ObservedGeneration = 2
	in := Input{
		Repositories: []v1alpha1.Repository{repository(entry("b", at(0), at(20), at(50), at(90)), entry("a", nil, at(-9000), at(-8900), at(-8800)))},
		Instances: []v1alpha1.Instance{
			slow, failed, unanswered,
			coarse,
			instance("blink", "two", "b", 110, at(160), at(210)),
			instance("blink", "old", "a", -8000, at(-7000), at(-6000)),
		},
	}
	got, err := Of(in, "")
	if err != nil {
		t.Fatal(err)
	}
	if got.Commit != commit("b") || got.Repository != "wasmbed-system/fleet" || got.Outcome != "Applied" || !got.Start.Equal(at(0).Time) {
		t.Errorf("heading: %+v", got)
	}
	if counts := fmt.Sprint(got.Instances, got.Running, got.Failed, got.Waiting); counts != "5 3 1 1" {
		t.Errorf("instances running failed waiting: %s", counts)
	}
	var lines []string
	for _, stage := range got.Stages {
		line := fmt.Sprintf("%s %d", stage.Name, stage.Count)
		for _, q := range []*Quantiles{stage.SinceStart, stage.Took} {
			if q == nil {
				line += " -"
			} else {
				line += fmt.Sprintf(" %v/%v/%v", q.P50, q.P95, q.Max)
			}
		}
		lines = append(lines, line)
	}
	want := []string{
		"pushed 1 - -",
		"fetched 1 20/20/20 20/20/20",
		"checked 1 50/50/50 30/30/30",
		"applied 1 90/90/90 40/40/40",
		"issued 5 100/130/130 10/40/40",
		"delivered 4 150/160/160 49.999/59.999/59.999",
		"started 2 157/200/200 7/40/40",
		"running 3 210/900/900 50/743/743",
	}
	if !reflect.DeepEqual(lines, want) {
		t.Errorf("stages:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if running := got.Stages[7]; running.SinceStart.Slowest != "plant/slow" || !running.First.Equal(at(200).Time) || !running.Last.Equal(at(900).Time) {
		t.Errorf("running: %+v %+v", running, running.SinceStart)
	}
	if want := (&Quantiles{P50: 7, P95: 5000, Max: 5000, Slowest: "plant/one"}); !reflect.DeepEqual(got.DeviceStart, want) {
		t.Errorf("device start: %+v", got.DeviceStart)
	}
	if want := []Failure{{Device: "plant/broken", Application: "plant/blink", Phase: v1alpha1.InstanceFailed, Reason: "Trapped"}}; !reflect.DeepEqual(got.Failures, want) {
		t.Errorf("failures: %+v", got.Failures)
	}
	if len(got.Applications) != 2 || got.Applications[0].Name != "plant/blink" || got.Applications[0].Running != 3 || got.Applications[1].Waiting != 1 {
		t.Errorf("applications: %+v", got.Applications)
	}
	if data, err := json.Marshal(got); err != nil || !strings.Contains(string(data), `"sinceStart":{"p50":210,"p95":900,"max":900,"slowest":"plant/slow"}`) {
		t.Errorf("as JSON: %v %s", err, data)
	}
}

func TestWhichCommit(t *testing.T) {
	first := repository(entry("b", at(0), at(1), nil, nil), entry("a", nil, at(-5), nil, nil))
	second := repository(entry("c", nil, at(-1), nil, nil))
	second.Name = "second"
	coming := v1alpha1.Revision{Commit: commit("d"), FetchedAt: at(-2)}
	second.Status.Fetched = &coming
	twin := entry("b", nil, at(-3), nil, nil)
	twin.Commit = "bbbb" + strings.Repeat("0", 36)
	second.Status.History = append(second.Status.History, twin)
	in := Input{Repositories: []v1alpha1.Repository{first, second}}
	for given, want := range map[string]struct {
		commit, outcome string
		err             error
	}{
		"":                   {commit("b"), "Applied", nil},
		"aaaa":               {commit("a"), "Applied", nil},
		commit("c"):          {commit("c"), "Applied", nil},
		"dddd":               {commit("d"), OutcomeInProgress, nil},
		"bbbbb":              {commit("b"), "Applied", nil},
		"bbbb":               {"", "", ErrAmbiguous},
		"aaa":                {"", "", ErrAmbiguous},
		"eeee":               {"", "", ErrUnknownCommit},
		commit("a") + "aaaa": {"", "", ErrUnknownCommit},
	} {
		got, err := Of(in, given)
		if !errors.Is(err, want.err) || (err == nil) != (want.err == nil) {
			t.Errorf("%q: %v, want %v", given, err, want.err)
		} else if err == nil && (got.Commit != want.commit || got.Outcome != want.outcome) {
			t.Errorf("%q: %s %s", given, got.Commit, got.Outcome)
		}
	}
	if _, err := Of(Input{}, ""); !errors.Is(err, ErrUnknownCommit) {
		t.Errorf("without repositories: %v", err)
	}
	got, err := Of(in, "aaaa")
	if err != nil || got.Start == nil || !got.Start.Equal(at(-5).Time) {
		t.Errorf("without a hook the clock starts with the fetch: %+v, %v", got, err)
	}
}

func TestQuantilesAreByNearestRank(t *testing.T) {
	var durations []duration
	for i := 100; i > 0; i-- {
		durations = append(durations, duration{fmt.Sprintf("d%03d", i), float64(i)})
	}
	if got, want := quantiles(durations), (&Quantiles{50, 95, 100, "d100"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	same := []duration{{"b", 1}, {"a", 1}}
	if got := quantiles(same); got.Slowest != "a" {
		t.Errorf("of equals the first by name: %+v", got)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	in := Input{Repositories: []v1alpha1.Repository{repository(entry("b", at(0), at(1), at(2), at(3)))}}
	for i := range MaxFailures + 5 {
		failed := instance("blink", fmt.Sprintf("d%02d", i), "b", 10, nil, nil)
		failed.Status.Phase = v1alpha1.InstanceRejected
		in.Instances = append(in.Instances, failed)
	}
	got, err := Of(in, "")
	if err != nil || len(got.Failures) != MaxFailures || got.MoreFailures != 5 || got.Failures[0].Device != "plant/d00" {
		t.Errorf("%v: %d and %d more", err, len(got.Failures), got.MoreFailures)
	}
}
