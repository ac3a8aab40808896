// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/home"
	"wasmbed.dev/gateway/protocol"
)

func app(name, value string, spec uint64) protocol.App {
	return protocol.App{Name: name, Spec: spec, Artifact: protocol.Artifact{Digest: protocol.DigestOf(nil)}, Config: map[string]string{"asked": value}}
}

func instanceOf(uid, application, value string, observed int64) *v1alpha1.Instance {
	i := &v1alpha1.Instance{Spec: v1alpha1.InstanceSpec{Application: application, Device: "device-0", Config: v1alpha1.ConfigValues{"asked": v1alpha1.ConfigValue(value)}}}
	i.Name, i.Status.Phase, i.Status.ObservedGeneration = application+".device-0", v1alpha1.InstanceRunning, observed
	i.UID = types.UID("uid" + uid)
	return i
}

// What the watcher is for: each breach of an invariant is seen, and what is right is not taken for one.
func TestBreachesAreSeen(t *testing.T) {
	good := map[string]protocol.App{"first": app("first", "1", 2), "second": app("second", "0", 1)}
	held := map[string]map[string]protocol.App{"device-0": good}
	for sentence, test := range map[string]struct {
		do   func(w *watcher)
		want string
	}{
		"all is right": {func(w *watcher) {
			w.checkDevice("device-0", good)
			w.checkDevice("device-0", good)
			w.checkInstance(instanceOf("", "first", "1", 2), held)
			w.checkInstance(instanceOf("", "first", "1", 1), held)
		}, ""},
		"a value that nobody asked for": {func(w *watcher) {
			w.checkDevice("device-0", map[string]protocol.App{"first": app("first", "2", 2)})
		}, "no commit asked for"},
		"a module that nobody asked for": {func(w *watcher) {
			other := app("first", "1", 2)
			other.Artifact.Digest = protocol.DigestOf([]byte("other"))
			w.checkDevice("device-0", map[string]protocol.App{"first": other})
		}, "no commit asked for"},
		"an app that nobody asked for": {func(w *watcher) {
			w.checkDevice("device-0", map[string]protocol.App{"ghost": app("ghost", "1", 2)})
		}, "no commit asked for"},
		"an app that is stopped": {func(w *watcher) {
			w.checkDevice("device-0", good)
			w.checkDevice("device-0", map[string]protocol.App{"first": good["first"]})
		}, "was told to stop second"},
		"an Instance that nobody asked for": {func(w *watcher) { w.checkInstance(instanceOf("", "first", "9", 0), held) }, "no commit does"},
		"an Instance that is made anew": {func(w *watcher) {
			w.checkInstance(instanceOf("", "first", "1", 2), held)
			w.checkInstance(instanceOf("2", "first", "1", 2), held)
		}, "made anew"},
		"a status that is ahead of its device": {func(w *watcher) { w.checkInstance(instanceOf("", "first", "1", 3), held) }, "the device holds 2"},
	} {
		t.Run(sentence, func(t *testing.T) {
			w := newWatcher(&installation{})
			w.asked("first", "1", protocol.DigestOf(nil))
			test.do(w)
			err := w.err()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestPanicsInLogsAreSeen(t *testing.T) {
	i := &installation{home: home.Dir(t.TempDir())}
	if err := os.MkdirAll(i.home.LogDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWatcher(i)
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(i.home.LogDir(), "gateway.log"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.panics()
	}
	if write("all is well\n"); w.err() != nil {
		t.Error(w.err())
	}
	if write("x\npanic: runtime error\n"); w.err() == nil {
		t.Error("a panic is not seen")
	}
}
