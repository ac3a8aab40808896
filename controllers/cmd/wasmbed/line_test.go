// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/controllers/trace"
	"wasmbed.dev/gateway"
)

const secondBlink = `apiVersion: wasmbed.dev/v1alpha1
kind: Application
metadata:
  name: second
  namespace: plant
spec:
  module: {path: apps/blink/blink.wasm}
  selector: {}
  permissions: [gpio, timer]
  limits: {memory: 0, stack: 1024}
  rollout: {maxUnavailable: 50%}
`

// TestTheLine pushes commits to a whole installation and looks at what the devices run.
func TestTheLine(t *testing.T) {
	s := startStack(t)
	first := strings.TrimSpace(s.must(s.clone, "git", "rev-parse", "HEAD"))
	// Each step starts from where the one before ended.
	step := func(name string, run func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, func(t *testing.T) {
				s.t = t
				run(t)
			})
		}
	}

	step("the example fleet is ready and its figures are true", func(t *testing.T) {
		s.settled(first)
		s.figuresAreTrue()
		s.kubectl("wait", "--for=condition=Ready", "--timeout=30s", "-A", "repositories,gateways,devices,applications,instances", "--all")
		out, err := s.wasmbed("status", "--json")
		if err != nil {
			t.Errorf("status of a ready fleet: %v", err)
		}
		var report status.Report
		decode(t, out, &report)
		if !report.Ready || report.Repositories[0].Devices < 12 {
			t.Errorf("status says %+v", report)
		}
	})

	step("a push that adds an application reaches every matching device", func(t *testing.T) {
		before := s.instances()
		s.write(map[string]string{"apps/second.yaml": secondBlink})
		s.addResource("apps/kustomization.yaml", "second.yaml")
		commit, said := s.push("Add a second light")
		if !strings.Contains(said, "trace "+commit[:8]) {
			t.Errorf("the push does not say how to follow it: %s", said)
		}
		report := s.settled(commit)
		after := s.instances()
		if got, want := len(after)-len(before), report.Repositories[0].Devices; got != want {
			t.Errorf("%d new instances, want one on each of %d devices", got, want)
		}
		s.unchanged(before, after, func(string) bool { return false })
		s.figuresAreTrue()
		out, err := s.wasmbed("trace", commit[:8])
		if err != nil || !strings.Contains(out, "running") || !strings.Contains(out, commit[:8]) {
			t.Errorf("trace: %v\n%s", err, out)
		}
		s.firstInstructionsAreKnown(commit)
	})

	step("a config change restarts just that app on just those devices", func(t *testing.T) {
		before := s.instances()
		file := filepath.Join(s.clone, "apps/thermostat/application.yaml")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(text), `band: "1000"`, `band: "800"`, 1)
		if changed == string(text) {
			t.Fatal("the thermostat's manifest has no band")
		}
		s.write(map[string]string{"apps/thermostat/application.yaml": changed})
		commit, _ := s.push("Narrow the band")
		s.settled(commit)
		after := s.instances()
		s.unchanged(before, after, func(application string) bool { return application == "thermostat" })
		s.figuresAreTrue()
	})

	step("removal stops it everywhere and a revert brings it back", func(t *testing.T) {
		s.write(map[string]string{"apps/second.yaml": ""})
		s.removeResource("apps/kustomization.yaml", "second.yaml")
		commit, _ := s.push("Remove the second light")
		s.settled(commit)
		eventually(t, "the second light is nowhere", func() error {
			for name := range s.instances() {
				if strings.HasPrefix(name, "second.") {
					return fmt.Errorf("instance %s is still there", name)
				}
			}
			return nil
		})
		s.settled(commit)
		for _, device := range s.devices() {
			eventually(t, device+" no longer runs it", func() error {
				if apps := s.facts(device).Apps; slices.ContainsFunc(apps, func(a gateway.AppFacts) bool { return a.Name == "second" }) {
					return fmt.Errorf("it reports %+v", apps)
				}
				return nil
			})
		}
		s.must(s.clone, "git", "revert", "--no-edit", "HEAD")
		s.must(s.clone, "git", "push", "origin", "HEAD:main")
		s.settled(strings.TrimSpace(s.must(s.clone, "git", "rev-parse", "HEAD")))
		if !slices.ContainsFunc(slices.Collect(maps.Keys(s.instances())), func(name string) bool { return strings.HasPrefix(name, "second.") }) {
			t.Error("the revert did not bring the second light back")
		}
		s.figuresAreTrue()
	})

	step("a device's light and temperature are to be seen", func(t *testing.T) {
		for _, device := range []string{"plant/lab-m3", "plant/hall-a-01"} {
			for about, want := range map[string]*regexp.Regexp{
				"status": regexp.MustCompile(`(?s)^✓ Device ` + device + ` .*\n  LEDs on +(none|[0-9 ]+)\n.*\n  temperature +[12]\d\.\d °C\n.*app thermostat +Running.*temperature_milli [12]\d{4}\b`),
				"logs":   regexp.MustCompile(`(?s)blink: LED 0 on\n.*thermostat: [12]\d\.\d °C, .*heater o(n|ff)\n|thermostat: [12]\d\.\d °C, .*heater o(n|ff)\n.*blink: LED 0 on\n`),
			} {
				eventually(t, device+" tells it in its "+about, func() error {
					out, err := s.wasmbed(about, device)
					if err == nil && !want.MatchString(out) {
						err = fmt.Errorf("it says\n%s", out)
					}
					return err
				})
			}
		}
		if out, err := s.wasmbed("status", "plant/nobody"); err == nil || !strings.Contains(out, `"nobody" not found`) {
			t.Errorf("status of a device that is not there: %v\n%s", err, out)
		}
	})

	step("a hand that edits a managed object is told to use git", func(t *testing.T) {
		out, err := s.run("", program(t, "kubectl"), "-n", "plant", "patch", "application", "blink", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
		if err == nil || !strings.Contains(out, "git") || !strings.Contains(out, "apps/blink/application.yaml") {
			t.Errorf("kubectl patch: %v\n%s", err, out)
		}
	})

	step("the dashboard's server answers whoever knows the token", func(t *testing.T) {
		s.dashboardAnswers(t, s.said)
	})

	step("a board that nobody knows is listed, and admitted by a commit", func(t *testing.T) {
		s.enrolsHardware(t)
	})

	for _, part := range []string{"controllers", "gateway-plant.edge", "cluster", "simulator", "boards"} {
		step("kill -9 of "+part+" during a rollout: all converges, nothing twice, nothing lost", func(t *testing.T) {
			before := s.instances()
			file := filepath.Join(s.clone, "apps/blink/application.yaml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s.write(map[string]string{"apps/blink/application.yaml": oneByOne(bumpConfig(string(text), part))})
			commit, _ := s.push("Change the light, then " + part + " dies")
			s.midway("blink", commit)
			s.kill(part)
			s.settled(commit)
			s.figuresAreTrue()
			if after := s.instances(); len(after) != len(before) {
				t.Errorf("%d instances before, %d after", len(before), len(after))
			}
		})
	}

	step("repositories that cannot be followed", func(t *testing.T) {
		s.foreignRepositories(t)
	})

	step("a second up says that it runs, a busy port names its flag", func(t *testing.T) {
		out := s.up()
		if !strings.Contains(out, "runs already") {
			t.Errorf("second up says %q", out)
		}
		other := home.Dir(filepath.Join(t.TempDir(), "other"))
		out, err := s.run(root, program(t, "wasmbed"), "--home", string(other), "up", "--port-base", strconv.Itoa(s.base))
		if err == nil || !strings.Contains(out, "--device-port") {
			t.Errorf("up on busy ports: %v\n%s", err, out)
		}
	})

	step("a restart keeps identities, objects and modules", func(t *testing.T) {
		identities := func() map[string]string {
			var secrets corev1.SecretList
			if err := s.client().List(t.Context(), &secrets, client.HasLabels{v1alpha1.LabelIdentity}); err != nil {
				t.Fatal(err)
			}
			byName := map[string]string{}
			for _, secret := range secrets.Items {
				byName[secret.Namespace+"/"+secret.Name] = string(secret.UID) + string(secret.Data["tls.crt"])
			}
			return byName
		}
		beforeIdentities, before := identities(), s.instances()
		if out, err := s.wasmbed("down"); err != nil {
			t.Fatalf("down: %v\n%s", err, out)
		}
		s.up()
		s.settled(s.repository().Status.Applied.Commit)
		if after := identities(); !maps.Equal(beforeIdentities, after) || len(after) < 14 {
			t.Errorf("identities changed: %d before, %d after", len(beforeIdentities), len(after))
		}
		after := s.instances()
		for name, i := range before {
			if after[name].UID != i.UID || after[name].Generation != i.Generation {
				t.Errorf("instance %s was %s generation %d and is %s generation %d", name, i.UID, i.Generation, after[name].UID, after[name].Generation)
			}
		}
	})

	step("a bad commit changes nothing, says why, and the next good one heals it", func(t *testing.T) {
		s.badCommits(t)
	})
}

// figuresAreTrue compares what status fields claim with the objects that they count.
func (s *stack) figuresAreTrue() {
	s.t.Helper()
	eventually(s.t, "figures are true", func() error {
		var applications v1alpha1.ApplicationList
		if err := s.client().List(s.t.Context(), &applications, client.InNamespace("plant")); err != nil {
			return err
		}
		running := map[string]int32{}
		total := map[string]int32{}
		for _, i := range s.instances() {
			total[i.Spec.Application]++
			if i.Status.Phase == v1alpha1.InstanceRunning && i.Status.ObservedGeneration == i.Generation && i.Status.Digest == i.Spec.Digest {
				running[i.Spec.Application]++
			}
		}
		for _, a := range applications.Items {
			if a.Status.Target != total[a.Name] || a.Status.Running != running[a.Name] || a.Status.Updated != a.Status.Target {
				return fmt.Errorf("application %s says target %d updated %d running %d; there are %d instances, %d of them run", a.Name,
					a.Status.Target, a.Status.Updated, a.Status.Running, total[a.Name], running[a.Name])
			}
		}
		return nil
	})
}

// unchanged fails when an instance that was there before got another spec or was started again, unless its
// application may have.
func (s *stack) unchanged(before, after map[string]v1alpha1.Instance, may func(application string) bool) {
	s.t.Helper()
	changed := 0
	for name, b := range before {
		a, ok := after[name]
		same := ok && a.Generation == b.Generation && a.Status.Restarts == b.Status.Restarts && a.Status.RunningAt.Equal(b.Status.RunningAt)
		switch {
		case may(b.Spec.Application) && same:
			s.t.Errorf("instance %s did not change", name)
		case may(b.Spec.Application):
			changed++
		case !same:
			s.t.Errorf("instance %s was touched: generation %d → %d, restarts %d → %d, running since %v → %v", name, b.Generation, a.Generation,
				b.Status.Restarts, a.Status.Restarts, b.Status.RunningAt, a.Status.RunningAt)
		}
	}
}

func (s *stack) addResource(file, name string) {
	s.t.Helper()
	s.edit(file, func(text string) string {
		return strings.Replace(text, "resources:\n", "resources:\n  - "+name+"\n", 1)
	})
}

func (s *stack) removeResource(file, name string) {
	s.t.Helper()
	s.edit(file, func(text string) string { return strings.Replace(text, "  - "+name+"\n", "", 1) })
}

func (s *stack) edit(file string, change func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.clone, file))
	if err != nil {
		s.t.Fatal(err)
	}
	changed := change(string(text))
	if changed == string(text) {
		s.t.Fatalf("%s: nothing to change", file)
	}
	s.write(map[string]string{file: changed})
}

// midway returns when the commit's change of an application has reached some of its devices and not all.
func (s *stack) midway(application, commit string) {
	s.t.Helper()
	c := s.client()
	eventually(s.t, "the rollout of "+application+" is under way", func() error {
		var app v1alpha1.Application
		if err := c.Get(s.t.Context(), client.ObjectKey{Namespace: "plant", Name: application}, &app); err != nil {
			return err
		}
		if st := app.Status; st.Revision != commit || st.Updated == 0 || st.Updated == st.Target {
			return fmt.Errorf("%d of %d devices have it", st.Updated, st.Target)
		}
		return nil
	})
}

// oneByOne makes an application's rollout go to one device after another.
func oneByOne(text string) string {
	if strings.Contains(text, "maxUnavailable") {
		return text
	}
	return text + "  rollout: {maxUnavailable: 1}\n"
}

// bumpConfig gives the application another value of a key that it does not read, which is a change all the same.
func bumpConfig(text, value string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.Contains(l, "config: {test: ") })
	return strings.Replace(strings.Join(lines, "\n"), "spec:\n", "spec:\n  config: {test: \""+value+"\"}\n", 1)
}

// firstInstructionsAreKnown follows a commit down to the first instruction on every device, boards and simulated alike.
func (s *stack) firstInstructionsAreKnown(commit string) {
	s.t.Helper()
	out, err := s.wasmbed("trace", "--json", commit)
	if err != nil {
		s.t.Errorf("trace --json: %v", err)
	}
	var way trace.Trace
	decode(s.t, out, &way)
	stages := map[string]trace.Stage{}
	for _, stage := range way.Stages {
		stages[stage.Name] = stage
	}
	started, running := stages[trace.StageStarted], stages[trace.StageRunning]
	if started.Count != way.Instances || started.Last == nil || running.Last == nil || started.Last.After(*running.Last) || started.First.Before(*stages[trace.StageDelivered].First) {
		s.t.Errorf("of %d instances %d have started: %+v, running %+v", way.Instances, started.Count, started, running)
	}
}
