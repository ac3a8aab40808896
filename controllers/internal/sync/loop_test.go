// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/fleet/fleettest"
	"wasmbed.dev/controllers/internal/sync/gittest"
	"wasmbed.dev/controllers/store"
)

// many is a fleet of n devices, each in a file of its own, in directories of 50.
func (w *world) many(n int) map[string]string {
	files := map[string]string{}
	var dirs []string
	for start := 0; start < n; start += 50 {
		dir := fmt.Sprintf("d%03d", len(dirs))
		dirs = append(dirs, dir)
		var names []string
		for i := start; i < min(start+50, n); i++ {
			name := fmt.Sprintf("device-%05d", i)
			names = append(names, name+".yaml")
			files[dir+"/"+name+".yaml"] = w.device(name)
		}
		files[dir+"/kustomization.yaml"] = list(names...)
	}
	files["kustomization.yaml"] = list(dirs...)
	return files
}

func (w *world) devices() int {
	w.t.Helper()
	var devices api.DeviceList
	if err := w.kube.List(w.t.Context(), &devices, client.InNamespace(w.fleet)); err != nil {
		w.t.Fatal(err)
	}
	return len(devices.Items)
}

func TestCommitThatTouchesNoObjectWritesOnlyTheRepository(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	w.requests.reset()
	second := w.push("read me", map[string]string{"README.md": "hello\n"})
	w.applied(second)
	if writes := w.requests.writes(); len(writes) != 1 || writes["PATCH repositories/status"] != 1 {
		t.Errorf("writes: %v", writes)
	}
}

func TestOneOfAThousandIsOneWrite(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.many(1000))
	w.follow()
	w.applied(first)
	if n := w.devices(); n != 1000 {
		t.Fatalf("%d devices", n)
	}
	w.requests.reset()
	second := w.push("one", map[string]string{"d003/device-00177.yaml": w.device("device-00177", "power: Off")})
	status := w.applied(second).Status
	writes := w.requests.writes()
	if len(writes) != 2 || writes["PATCH devices"] != 1 || writes["PATCH repositories/status"] != 1 {
		t.Errorf("writes: %v", writes)
	}
	if want := (api.ChangeCounts{Changed: 1, Unchanged: 999}); *status.History[0].Changes != want {
		t.Errorf("changes: %+v", status.History[0].Changes)
	}
	// A push that nobody made: nothing is written but what handles the annotation.
	w.requests.reset()
	w.patchRepository(`{"metadata":{"annotations":{"wasmbed.dev/reconcile-at":"again"}}}`)
	w.eventually("the annotation is handled", func() error {
		if got := w.repository().Status.LastHandledReconcileAt; got != "again" {
			return errors.New(got)
		}
		return nil
	})
	if writes := w.requests.writes(); len(writes) != 1 || writes["PATCH repositories/status"] != 1 {
		t.Errorf("writes: %v", writes)
	}
}

func TestPollingIsSilent(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow(func(r *api.Repository) { r.Spec.Interval.Duration = 5 * time.Second })
	w.applied(first)
	w.requests.reset()
	second := w.repo.Commit("nobody tells", map[string]string{"a.yaml": w.device("a", "power: Off")})
	w.applied(second) // found by polling
	if writes := w.requests.writes(); writes["PATCH devices"] != 1 || writes["PATCH repositories/status"] != 1 || len(writes) != 2 {
		t.Errorf("writes: %v", writes)
	}
}

func TestPruneBrake(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.many(30))
	w.follow()
	w.applied(first)
	fewer := w.many(18)
	second := w.push("remove 12 of 30", map[string]string{"d000/kustomization.yaml": fewer["d000/kustomization.yaml"]})
	status := w.refused(second, api.ReasonPruneBlocked).Status
	message := meta.FindStatusCondition(status.Conditions, api.ConditionReady).Message
	if !strings.Contains(message, "12 of 30 Devices") || !strings.Contains(message, api.TrailerAllowPrune+": 12") {
		t.Errorf("message %q", message)
	}
	if n := w.devices(); n != 30 || status.Applied.Commit != first {
		t.Errorf("%d devices at %s", n, status.Applied.Commit)
	}
	if status.History[0].Outcome != "Refused" || status.History[0].Reason != api.ReasonPruneBlocked {
		t.Errorf("history %+v", status.History[0])
	}
	third := w.push("too small\n\n"+api.TrailerAllowPrune+": 11", nil)
	w.refused(third, api.ReasonPruneBlocked)
	fourth := w.push("it is meant\n\n"+api.TrailerAllowPrune+": 12", nil)
	status = w.applied(fourth).Status
	if n := w.devices(); n != 18 || status.History[0].Changes.Removed != 12 {
		t.Errorf("%d devices, %+v", n, status.History[0].Changes)
	}
	// Prune off: nothing goes, and nothing brakes.
	w.patchRepository(`{"spec":{"prune":false}}`)
	fifth := w.push("keep", map[string]string{"d000/kustomization.yaml": list("device-00000.yaml")})
	w.applied(fifth)
	if n := w.devices(); n != 18 {
		t.Errorf("%d devices with prune off", n)
	}
}

func TestForcePush(t *testing.T) {
	w := newWorld(t)
	w.repo.Commit("first", w.base())
	second := w.repo.Commit("second", map[string]string{"a.yaml": w.device("a", "power: Off")})
	w.follow()
	w.applied(second)
	w.repo.Git("reset", "-q", "--hard", "HEAD~1")
	other := w.push("other", map[string]string{"b.yaml": w.device("b", "power: Off")})
	w.applied(other)
	a, b := &api.Device{}, &api.Device{}
	w.mustGet(a, "a")
	w.mustGet(b, "b")
	if a.Spec.Power != api.PowerOn || b.Spec.Power != api.PowerOff {
		t.Errorf("a %s, b %s", a.Spec.Power, b.Spec.Power)
	}
}

func TestWhatKeepsACommitAway(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	touch := func() {
		w.patchRepository(fmt.Sprintf(`{"metadata":{"annotations":{"wasmbed.dev/reconcile-at":%q}}}`, time.Now().String()))
	}
	still := func(reason string, parts ...string) {
		t.Helper()
		w.eventually(reason, func() error {
			repository := w.repository()
			c := meta.FindStatusCondition(repository.Status.Conditions, api.ConditionReady)
			if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
				return fmt.Errorf("%+v", c)
			}
			for _, part := range parts {
				if !strings.Contains(c.Message, part) {
					return fmt.Errorf("message %q does not have %q", c.Message, part)
				}
			}
			return nil
		})
		if n := w.devices(); n != 3 {
			t.Errorf("%s: %d devices", reason, n)
		}
		if got := w.repository().Status.Applied.Commit; got != first {
			t.Errorf("%s: applied is %s", reason, got)
		}
	}
	healed := func() {
		t.Helper()
		touch()
		w.applied(first)
	}
	// The branch is deleted, and comes back.
	w.repo.DeleteBranch("main")
	touch()
	still(api.ReasonRevisionNotFound, "branch main")
	w.repo.Git("push", "-q", "origin", "HEAD:refs/heads/main")
	healed()
	// The remote is away, and comes back by itself: the retry needs no touch.
	w.patchRepository(`{"spec":{"url":"file:///nonexistent/fleet.git"}}`)
	still(api.ReasonRemoteUnreachable, "/nonexistent/fleet.git")
	w.patchRepository(fmt.Sprintf(`{"spec":{"url":%q}}`, w.repo.URL()))
	w.applied(first)
	// Credentials.
	server := gittest.ServeHTTPS(t, w.repo, "deploy", "right-token")
	w.patchRepository(fmt.Sprintf(`{"spec":{"url":%q,"secretRef":{"name":"git"}}}`, server.URL))
	still(api.ReasonInvalidSecret, w.system+"/git")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.system, Name: "git"},
		Data: map[string][]byte{"username": []byte("deploy"), "password": []byte("wr0ng-secret"), "ca.crt": server.CA}}
	if err := w.kube.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	still(api.ReasonAuthenticationFailed, "spec.secretRef") // found by the retry
	if text := fmt.Sprintf("%+v", w.repository().Status); strings.Contains(text, "wr0ng") {
		t.Errorf("the status tells the credential: %s", text)
	}
	secret.Data["password"] = []byte("right-token")
	if err := w.kube.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	healed()
}

func TestSuspend(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	w.patchRepository(`{"spec":{"suspend":true}}`)
	w.eventually("suspended", func() error {
		return conditionIs(w.repository(), api.ConditionReady, metav1.ConditionFalse, api.ReasonSuspended)
	})
	second := w.push("second", map[string]string{"a.yaml": w.device("a", "power: Off")})
	// What is changed by hand meanwhile stays until it goes on.
	b := &api.Device{}
	w.mustGet(b, "b")
	b.Spec.Quarantine = true
	if err := w.kube.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	w.eventually("the push is seen", func() error {
		if w.repository().Annotations[api.AnnotationPushed] == "" {
			return errors.New("it is not")
		}
		return nil
	})
	w.mustGet(b, "b")
	if got := w.repository().Status; got.Fetched.Commit != first || !b.Spec.Quarantine {
		t.Errorf("fetched %s, quarantine %t", got.Fetched.Commit, b.Spec.Quarantine)
	}
	w.patchRepository(`{"spec":{"suspend":false}}`)
	w.applied(second)
	w.eventually("what was changed by hand is put back", func() error {
		w.mustGet(b, "b")
		if b.Spec.Quarantine {
			return errors.New("it is not")
		}
		return conditionIs(w.repository(), api.ConditionDrifted, metav1.ConditionTrue, "PutBack")
	})
}

func TestDriftIsPutBack(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	if err := conditionIs(w.repository(), api.ConditionDrifted, metav1.ConditionTrue, "PutBack"); err == nil {
		t.Fatal("drift is reported though nobody changed anything")
	}
	for what, try := range map[string]struct {
		change  func(*api.Device) error
		message string
	}{
		"a field that git gives": {func(d *api.Device) error {
			d.Spec.Backend = "Simulated"
			d.Spec.Power = api.PowerOff
			return w.kube.Update(t.Context(), d)
		}, "had been changed by sync.test (update) and was put back"},
		"a field that git does not give": {func(d *api.Device) error { d.Spec.Quarantine = true; return w.kube.Update(t.Context(), d) }, "was put back"},
		"a label":                        {func(d *api.Device) error { d.Labels["site"] = "cellar"; return w.kube.Update(t.Context(), d) }, "was put back"},
		"a label more":                   {func(d *api.Device) error { d.Labels["more"] = "x"; return w.kube.Update(t.Context(), d) }, "was put back"},
		"our labels":                     {func(d *api.Device) error { d.Labels = nil; return w.kube.Update(t.Context(), d) }, "was put back"},
		"our annotations":                {func(d *api.Device) error { d.Annotations = nil; return w.kube.Update(t.Context(), d) }, "was put back"},
		"the object itself":              {func(d *api.Device) error { return w.kube.Delete(t.Context(), d) }, "had been removed and was made anew"},
	} {
		t.Run(what, func(t *testing.T) {
			device := &api.Device{}
			w.mustGet(device, "a")
			before := device.DeepCopy()
			if err := try.change(device); err != nil {
				t.Fatal(err)
			}
			w.eventually("it is put back", func() error {
				now := &api.Device{}
				if err := w.get(now, "a"); err != nil {
					return err
				}
				if now.Spec.Power != api.PowerOn || now.Spec.Quarantine || now.Labels["site"] != "hall" || now.Labels["more"] != "" ||
					now.Labels[api.LabelRepositoryName] != "fleet" || now.Annotations[api.AnnotationDigest] != before.Annotations[api.AnnotationDigest] {
					return fmt.Errorf("%+v %v %v", now.Spec, now.Labels, now.Annotations)
				}
				return nil
			})
			w.eventually("it is reported", func() error {
				repository := w.repository()
				if err := conditionIs(repository, api.ConditionDrifted, metav1.ConditionTrue, "PutBack"); err != nil {
					return err
				}
				c := meta.FindStatusCondition(repository.Status.Conditions, api.ConditionDrifted)
				if !strings.Contains(c.Message, "Device "+w.fleet+"/a had been") || !strings.Contains(c.Message, try.message) {
					return errors.New(c.Message)
				}
				return conditionIs(repository, api.ConditionReady, metav1.ConditionTrue, api.ReasonReconciled)
			})
		})
	}
	w.eventually("an event tells it", func() error {
		var events eventsv1.EventList
		if err := w.kube.List(t.Context(), &events, client.InNamespace(w.system)); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, e := range events.Items {
			seen[e.Reason] = true
		}
		if !seen["Drifted"] || !seen["Applied"] {
			return fmt.Errorf("%v", seen)
		}
		return nil
	})
}

func TestStatusOfADeviceIsNoDrift(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	device := &api.Device{}
	w.mustGet(device, "a")
	w.requests.reset()
	device.Status.Phase = api.DeviceOnline
	if err := w.kube.Status().Update(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	second := w.push("read me", map[string]string{"README.md": "x"})
	w.applied(second)
	if writes := w.requests.writes(); len(writes) != 1 {
		t.Errorf("writes %v", writes)
	}
	w.mustGet(device, "a")
	if device.Status.Phase != api.DeviceOnline {
		t.Error("the status is gone")
	}
}

func TestDriftWhileTheNewestCommitIsRefusedAndAfterARestart(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	second := w.push("second", map[string]string{"a.yaml": "kind: ["})
	w.refused(second, api.ReasonInvalidYAML)
	w.stop()
	device := &api.Device{}
	w.mustGet(device, "a")
	if err := w.kube.Delete(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	w.mustGet(device, "b")
	device.Spec.Power = api.PowerOff
	if err := w.kube.Update(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("it is put back", func() error {
		if err := w.get(device, "a"); err != nil {
			return err
		}
		w.mustGet(device, "b")
		if device.Spec.Power != api.PowerOn {
			return errors.New("b is off")
		}
		return nil
	})
	w.refused(second, api.ReasonInvalidYAML)
}

func TestRestartWhileTheRemoteIsAway(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.applied(first)
	w.stop()
	w.repo.Delete()
	if err := w.kube.Delete(t.Context(), &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.fleet, Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.eventually("drift is put back", func() error { return w.get(&api.Device{}, "a") })
	w.eventually("it says so", func() error {
		return conditionIs(w.repository(), api.ConditionReady, metav1.ConditionFalse, api.ReasonRemoteUnreachable)
	})
}

// A commit that the API server failed to take whole is finished although the next one is bad, so that the fleet is
// never between two commits for long.
func TestHalfAppliedCommitIsFinishedUnderABadOne(t *testing.T) {
	w := newWorld(t)
	w.stop()
	gate := make(chan struct{})
	w.start(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			select {
			case <-gate:
			default:
				if r.Method == http.MethodPost && resourceOf(r.URL.Path) == "applications" {
					return nil, errors.New("the connection broke")
				}
			}
			return next.RoundTrip(r)
		})
	})
	first := w.repo.Commit("first", w.base())
	w.follow()
	w.refused(first, api.ReasonApplyFailed)
	if n := w.devices(); n != 3 {
		t.Fatalf("%d devices", n)
	}
	second := w.push("second", map[string]string{"a.yaml": "kind: ["})
	w.eventually("the bad one is known", func() error {
		if got := w.repository().Status.Fetched.Commit; got != second {
			return errors.New(got)
		}
		return nil
	})
	close(gate)
	status := w.refused(second, api.ReasonInvalidYAML).Status
	w.eventually("the first is finished", func() error {
		status = w.repository().Status
		if status.Applied == nil || status.Applied.Commit != first {
			return fmt.Errorf("applied %+v", status.Applied)
		}
		return w.get(&api.Application{}, "app")
	})
	if len(status.History) != 2 || status.History[1].Commit != first || status.History[1].Outcome != "Applied" || status.History[1].Changes.Created != 4 {
		t.Errorf("history %+v", status.History)
	}
}

func TestTakeOver(t *testing.T) {
	w := newWorld(t)
	spec := api.DeviceSpec{Board: "sim-m4", Backend: api.BackendSimulated, Power: api.PowerOff}
	byHand := &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: w.fleet, Name: "a", Labels: map[string]string{"by": "hand"}, Annotations: map[string]string{"note": "x"}}, Spec: spec}
	if err := w.kube.Create(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.fleet, Name: "settings"}, Data: map[string]string{"old": "1"}}
	if err := w.kube.Create(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	files := w.base()
	files["kustomization.yaml"] = list("a.yaml", "b.yaml", "settings.yaml")
	files["settings.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: " + w.fleet + "}\ndata: {new: \"2\"}\n"
	first := w.repo.Commit("first", files)
	w.follow()
	w.applied(first)
	got := &api.Device{}
	w.mustGet(got, "a")
	if got.UID != byHand.UID || got.Spec.Power != api.PowerOn || got.Labels["by"] != "" || got.Labels["site"] != "hall" || got.Annotations["note"] != "x" {
		t.Errorf("taken over: %+v %v %v", got.Spec, got.Labels, got.Annotations)
	}
	w.mustGet(settings, "settings")
	if len(settings.Data) != 1 || settings.Data["new"] != "2" {
		t.Errorf("settings: %v", settings.Data)
	}
}

func TestNothingIsStolen(t *testing.T) {
	for what, try := range map[string]struct {
		labels map[string]string
		owner  bool
		want   string
	}{
		"from another Repository": {map[string]string{api.LabelRepositoryName: "theirs", api.LabelRepositoryNamespace: "elsewhere"}, false, "belongs to Repository elsewhere/theirs"},
		"from the installation":   {map[string]string{api.LabelIdentity: api.IdentityDevice}, false, "identity"},
		"from another controller": {nil, true, "belongs to Thing"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.fleet, Name: "key", Labels: try.labels}, Data: map[string][]byte{"k": []byte("theirs")}}
			if try.owner {
				yes := true
				secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "1", Controller: &yes}}
			}
			if err := w.kube.Create(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			files := w.base()
			files["kustomization.yaml"] = list("a.yaml", "key.yaml")
			files["key.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: " + w.fleet + "}\nstringData: {k: mine}\n"
			first := w.repo.Commit("first", files)
			w.follow()
			repository := w.refused(first, api.ReasonApplyFailed)
			message := meta.FindStatusCondition(repository.Status.Conditions, api.ConditionReady).Message
			if !strings.Contains(message, try.want) || !strings.Contains(message, "key.yaml:1") {
				t.Errorf("message %q", message)
			}
			w.mustGet(secret, "key")
			if string(secret.Data["k"]) != "theirs" {
				t.Error("it was taken")
			}
			files["kustomization.yaml"] = list("a.yaml")
			w.applied(w.push("give way", files))
		})
	}
}

func TestNamespacesOfTheInstallationAreNotForGit(t *testing.T) {
	w := newWorld(t)
	files := w.base()
	files["kustomization.yaml"] = list("a.yaml", "key.yaml")
	files["key.yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: wasmbed-ca, namespace: wasmbed-system}\nstringData: {tls.key: mine}\n"
	first := w.repo.Commit("first", files)
	w.follow()
	repository := w.refused(first, api.ReasonSchemaInvalid)
	if f := repository.Status.Findings; len(f) == 0 || f[0].File != "key.yaml" || !strings.Contains(f[0].Message, "wasmbed-system") {
		t.Errorf("findings %+v", f)
	}
	if n := w.devices(); n != 0 {
		t.Errorf("%d devices", n)
	}
}

func TestNamespaceThatDoesNotExist(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", map[string]string{"kustomization.yaml": list("a.yaml"),
		"a.yaml": strings.ReplaceAll(w.device("a"), w.fleet, "nosuch-"+w.fleet)})
	w.follow()
	repository := w.refused(first, api.ReasonUnknownReference)
	c := meta.FindStatusCondition(repository.Status.Conditions, api.ConditionReady)
	if !strings.Contains(c.Message, "a.yaml:1") || !strings.Contains(c.Message, "add a Namespace object") {
		t.Errorf("message %q", c.Message)
	}
}

func TestNewerCommitInterrupts(t *testing.T) {
	w := newWorld(t)
	gate := make(chan struct{})
	w.stop()
	w.start(slow(gate))
	first := w.repo.Commit("first", w.many(600))
	w.follow()
	w.eventually("the first is being applied", func() error {
		if n := w.devices(); n < 20 {
			return fmt.Errorf("%d devices", n)
		}
		return nil
	})
	second := w.push("second", map[string]string{"kustomization.yaml": list("d000")})
	status := w.applied(second).Status
	close(gate)
	if n := w.devices(); n != 50 {
		t.Errorf("%d devices", n)
	}
	if len(status.History) != 2 || status.History[1].Commit != first || status.History[1].Outcome != "Superseded" || status.History[1].Reason != api.ReasonNewerRevision {
		t.Fatalf("history %+v", status.History)
	}
	if made := status.History[1].Changes.Created; made == 0 || made >= 600 {
		t.Errorf("the first made %d", made)
	}
}

func TestNewerCommitThatIsBadInterruptsNothing(t *testing.T) {
	w := newWorld(t)
	gate := make(chan struct{})
	w.stop()
	w.start(slow(gate))
	first := w.repo.Commit("first", w.many(300))
	w.follow()
	w.eventually("the first is being applied", func() error {
		if n := w.devices(); n < 20 {
			return fmt.Errorf("%d devices", n)
		}
		return nil
	})
	second := w.push("second", map[string]string{"kustomization.yaml": "resources: ["})
	close(gate)
	status := w.refused(second, api.ReasonInvalidYAML).Status
	if n := w.devices(); n != 300 || status.Applied == nil || status.Applied.Commit != first {
		t.Errorf("%d devices, applied %+v", n, status.Applied)
	}
}

func TestFailedWritesAreRepeated(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.start(failing(5))
	first := w.repo.Commit("first", w.many(20))
	w.follow()
	status := w.applied(first).Status
	if n := w.devices(); n != 20 {
		t.Errorf("%d devices", n)
	}
	if len(status.History) != 1 || status.History[0].Outcome != "Applied" || status.History[0].Changes.Created != 20 {
		t.Errorf("history %+v", status.History)
	}
}

func TestStoreKeepsTheLastTenRevisions(t *testing.T) {
	defer func(d time.Duration) { moduleGrace = d }(moduleGrace)
	moduleGrace = 0
	w := newWorld(t)
	files := w.base()
	digests := make([]string, 12)
	first := true
	for i := range digests {
		content := string(fleettest.Module{Imports: []string{"wasmbed_log"}, Padding: i + 1}.Bytes())
		digests[i] = store.Digest([]byte(content))
		files["app.wasm"] = content
		commit := w.repo.Commit(fmt.Sprint("module ", i), files)
		if first {
			w.follow()
			first = false
		} else {
			w.notify(commit)
		}
		w.applied(commit)
	}
	if n := len(w.repository().Status.History); n != maxHistory {
		t.Errorf("%d entries of history", n)
	}
	w.eventually("what only older revisions name is removed", func() error {
		for i, digest := range digests {
			if want := i >= len(digests)-maxHistory; w.store.Has(digest) != want {
				return fmt.Errorf("module %d is in the store: %t", i, !want)
			}
		}
		return nil
	})
}

func TestDeletedRepositoryLeavesItsObjects(t *testing.T) {
	w := newWorld(t)
	first := w.repo.Commit("first", w.base())
	repository := w.follow()
	w.applied(first)
	if err := w.kube.Delete(t.Context(), repository); err != nil {
		t.Fatal(err)
	}
	if n := w.devices(); n != 3 {
		t.Errorf("%d devices", n)
	}
	// The same one again takes them up.
	w.follow()
	w.applied(first)
	device := &api.Device{}
	if err := w.get(device, "a"); apierrors.IsNotFound(err) {
		t.Error("device a is gone")
	}
}
