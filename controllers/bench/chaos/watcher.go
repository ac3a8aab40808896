// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/bench/measure"
	"wasmbed.dev/gateway/protocol"
)

// watcher checks all the time what must always be so.
type watcher struct {
	*installation
	// unsaved is until when devices may run what they could not write down, in nanoseconds; see allowUnsaved.
	unsaved atomic.Int64

	mu       sync.Mutex
	values   map[string]map[string]protocol.Digest // application → values that a pushed commit asked for, each with its module
	held     map[string]map[string]bool            // device → applications that it held once
	uids     map[string]string                     // Instance → UID that it had first
	breaches []string
	// authorities that signed so far, by their certificates.
	authorities map[string]bool
}

func newWatcher(i *installation) *watcher {
	w := &watcher{installation: i, values: map[string]map[string]protocol.Digest{}, held: map[string]map[string]bool{}, uids: map[string]string{}, authorities: map[string]bool{}}
	for _, application := range applications {
		w.asked(application, "0", protocol.DigestOf(i.module))
	}
	return w
}

func (w *watcher) asked(application, value string, module protocol.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.values[application] == nil {
		w.values[application] = map[string]protocol.Digest{}
	}
	w.values[application][value] = module
}

// breach notes something that must not be, once.
func (w *watcher) breach(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.breaches, text) {
		w.breaches = append(w.breaches, text)
	}
}

// err is what was found so far.
func (w *watcher) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []error
	for _, text := range w.breaches {
		all = append(all, errors.New(text))
	}
	return errors.Join(all...)
}

// run looks until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for pause(ctx, 300*time.Millisecond) == nil {
		w.look(ctx)
	}
}

// look checks devices against commits and status against devices. Status is read first: what it claims must be so by the
// time that the devices' flash is read, since a device never goes back by itself here.
func (w *watcher) look(ctx context.Context) {
	var instances v1alpha1.InstanceList
	reached := w.objects.List(ctx, &instances, client.InNamespace(namespace)) == nil // the API server may be away
	held := w.flash()
	for device, apps := range held {
		w.checkDevice(device, apps)
	}
	if !reached {
		return
	}
	for i := range instances.Items {
		w.checkInstance(&instances.Items[i], held)
	}
}

// flash is what each simulated device holds, from its own state.
func (w *watcher) flash() map[string]map[string]protocol.App {
	all := map[string]map[string]protocol.App{}
	for n := range devices {
		device := fmt.Sprintf("device-%d", n)
		files, err := filepath.Glob(w.home.Data("simulator", namespace, device, "*", "state.json"))
		if err != nil || len(files) == 0 {
			continue
		}
		if len(files) > 1 {
			w.breach("%s has %d states: it was made anew", device, len(files))
		}
		var state struct {
			Apps []struct {
				Want   protocol.App
				Former *protocol.App
			}
		}
		text, err := os.ReadFile(files[0])
		if err != nil || json.Unmarshal(text, &state) != nil {
			continue // while it is replaced
		}
		all[device] = map[string]protocol.App{}
		for _, app := range state.Apps {
			all[device][app.Want.Name] = app.Want
		}
	}
	return all
}

func (w *watcher) checkDevice(device string, apps map[string]protocol.App) {
	w.mu.Lock()
	before := w.held[device]
	if before == nil {
		before = map[string]bool{}
		w.held[device] = before
	}
	values := w.values
	var wrong []string
	for name, app := range apps {
		if module, ok := values[name][app.Config["asked"]]; !ok || module != app.Artifact.Digest {
			wrong = append(wrong, fmt.Sprintf("%s runs %s with the value %q and the module %s, which no commit asked for", device, name, app.Config["asked"], app.Artifact.Digest))
		}
		before[name] = true
	}
	for name := range before {
		if _, ok := apps[name]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s was told to stop %s, and no commit said so", device, name))
		}
	}
	w.mu.Unlock()
	for _, text := range wrong {
		w.breach("%s", text)
	}
}

// allowUnsaved says that devices cannot write down for a while what they run. They try again all the time.
func (w *watcher) allowUnsaved(span time.Duration) {
	w.unsaved.Store(time.Now().Add(span + 5*time.Second).UnixNano())
}

func (w *watcher) checkInstance(i *v1alpha1.Instance, held map[string]map[string]protocol.App) {
	w.mu.Lock()
	first, known := w.uids[i.Name]
	if !known {
		w.uids[i.Name] = string(i.UID)
	}
	_, asked := w.values[i.Spec.Application][string(i.Spec.Config["asked"])]
	w.mu.Unlock()
	if known && first != string(i.UID) {
		w.breach("instance %s was removed and made anew", i.Name)
	}
	if i.Spec.Device == "liar" || !asked {
		w.breach("instance %s asks for %q on %s, and no commit does", i.Name, i.Spec.Config["asked"], i.Spec.Device)
	}
	apps, read := held[i.Spec.Device]
	if !read || time.Now().UnixNano() < w.unsaved.Load() || i.Status.Phase != v1alpha1.InstanceRunning || i.Status.ObservedGeneration == 0 {
		return
	}
	if app := apps[i.Spec.Application]; int64(app.Spec) < i.Status.ObservedGeneration {
		w.breach("instance %s is said to run its generation %d, and the device holds %d", i.Name, i.Status.ObservedGeneration, app.Spec)
	}
}

// converged is nil when the newest good commit runs everywhere, and status says so and nothing else.
func (w *watcher) converged(ctx context.Context, newest string) error {
	repository := &v1alpha1.Repository{}
	if err := w.objects.Get(ctx, client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "fleet"}, repository); err != nil {
		return err
	}
	if repository.Status.Applied == nil || repository.Status.Applied.Commit != newest {
		return fmt.Errorf("commit %.12s is not applied: %+v", newest, repository.Status.Conditions)
	}
	var instances v1alpha1.InstanceList
	if err := w.objects.List(ctx, &instances, client.InNamespace(namespace)); err != nil {
		return err
	}
	if len(instances.Items) != devices*len(applications) {
		return fmt.Errorf("%d instances", len(instances.Items))
	}
	for _, part := range parts {
		if pid, err := w.pid(part); err != nil || ended(pid) {
			return fmt.Errorf("the file %s names no process: %w", w.home.Run(part+".pid"), err)
		}
	}
	if _, err := w.certificates(ctx, time.Now()); err != nil {
		return err
	}
	for name, err := range w.served() {
		return fmt.Errorf("%s: %w", name, err)
	}
	held := w.flash()
	for _, i := range instances.Items {
		app := held[i.Spec.Device][i.Spec.Application]
		if i.Status.Phase != v1alpha1.InstanceRunning || i.Status.ObservedGeneration != i.Generation {
			return fmt.Errorf("instance %s generation %d is %s at generation %d", i.Name, i.Generation, i.Status.Phase, i.Status.ObservedGeneration)
		}
		if want := w.wanted(i.Spec.Application); string(i.Spec.Config["asked"]) != want || app.Config["asked"] != want {
			return fmt.Errorf("instance %s asks for %q, the device runs %q, git says %q", i.Name, i.Spec.Config["asked"], app.Config["asked"], want)
		}
	}
	for n := range devices {
		device := &v1alpha1.Device{}
		if err := w.objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("device-%d", n)}, device); err != nil {
			return err
		}
		if device.Status.Phase != v1alpha1.DeviceOnline || device.Status.Apps != fmt.Sprintf("%d/%d", len(applications), len(applications)) {
			return fmt.Errorf("device %s is %s with %s", device.Name, device.Status.Phase, device.Status.Apps)
		}
	}
	return nil
}

var askedValue = regexp.MustCompile(`asked: "([^"]*)"`)

// wanted is the value that the clone's newest commit asks of an application.
func (w *watcher) wanted(application string) string {
	text, err := os.ReadFile(filepath.Join(w.clone, "apps", application+".yaml"))
	if err != nil {
		return ""
	}
	if found := askedValue.FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return ""
}

// footprint is what a process takes.
type footprint struct {
	files    int
	resident int64
}

func (w *watcher) footprints() map[string]footprint {
	all := map[string]footprint{}
	for _, part := range parts {
		if pid, err := w.pid(part); err == nil {
			entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			all[part] = footprint{len(entries), measure.Resident(pid)}
		}
	}
	return all
}

// grown compares what processes take with what they took at first: a leak grows with every round.
func (w *watcher) grown(first map[string]footprint) {
	for part, now := range w.footprints() {
		if then := first[part]; now.files > then.files+60 || now.resident > 3*then.resident+(200<<20) {
			w.breach("%s has %d files open and %d MB, at first it had %d and %d MB", part, now.files, now.resident>>20, then.files, then.resident>>20)
		}
	}
}

// panics looks for the end of a process that nobody meant.
func (w *watcher) panics() {
	logs, _ := filepath.Glob(filepath.Join(w.home.LogDir(), "*.log*"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			for _, bad := range []string{"panic:", "fatal error:", "internal error", "DATA RACE", "Observed a panic"} {
				if strings.Contains(strings.ReplaceAll(line, "tls: internal error", ""), bad) { // which is a server without a certificate yet
					w.breach("%s: %.300s", filepath.Base(path), strings.TrimSpace(line))
				}
			}
		}
	}
}
