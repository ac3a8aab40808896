// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bytes"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/gateway/protocol"
)

func TestDeliverUpdateConfigureRemove(t *testing.T) {
	g := install(t).gateway("gw")
	content, digest := g.module(5000)
	d := g.device("one")
	run(t, d)
	awaitApps(t, d)
	c := g.awaitConnected("one", true)
	if c.Gateway != g.key() || c.Board != "sim-m4" || c.Firmware != "test" || c.Memory != 65536 || c.Protocol != 1 || c.Epoch == 0 || c.Since == nil {
		t.Errorf("connection is %+v", c)
	}

	g.instance("blink", "one", digest, len(content))
	s := awaitApps(t, d, "blink")
	if !bytes.Equal(s.Modules[digest], content) {
		t.Error("the device has another module than the store")
	}
	i := g.awaitPhase("blink.one", v1alpha1.InstanceRunning)
	if i.Status.Digest != digest.String() || i.Status.DeliveredAt == nil || i.Status.RunningAt == nil || i.Status.RunningAt.Before(i.Status.DeliveredAt) ||
		i.Status.StartMilliseconds == nil || *i.Status.StartMilliseconds != 1 {
		t.Errorf("status is %+v", i.Status)
	}
	if ready := i.Status.Conditions[0]; ready.Type != v1alpha1.ConditionReady || ready.Status != metav1.ConditionTrue || ready.Reason != v1alpha1.ReasonRunning {
		t.Errorf("ready is %+v", ready)
	}

	newer, newDigest := g.module(3000)
	g.changeInstance("blink.one", func(i *v1alpha1.Instance) { i.Spec.Digest, i.Spec.Size = newDigest.String(), int64(len(newer)) })
	eventually(t, "the device runs the update", func() string {
		if s = d.Snapshot(); s.Apps[0].Digest != newDigest || !bytes.Equal(s.Modules[newDigest], newer) {
			return fmt.Sprintf("%+v", s.Apps)
		}
		return ""
	})
	g.awaitPhase("blink.one", v1alpha1.InstanceRunning)

	chunks := d.Snapshot().Chunks
	g.changeInstance("blink.one", func(i *v1alpha1.Instance) {
		i.Spec.Config = v1alpha1.ConfigValues{"period": "250"}
		i.Spec.Permissions = []v1alpha1.Permission{"timer", "gpio"}
		i.Spec.RestartPolicy = v1alpha1.RestartNever
	})
	eventually(t, "the device has the config", func() string {
		if s = d.Snapshot(); s.Apps[0].Config["period"] != "250" {
			return fmt.Sprintf("%+v", s.Apps)
		}
		return ""
	})
	if a := s.Apps[0]; fmt.Sprint(a.Permissions) != "[gpio timer]" || a.RestartPolicy != protocol.RestartNever || s.Chunks != chunks {
		t.Errorf("app is %+v, %d chunks were fetched for it", a, s.Chunks-chunks)
	}
	g.awaitPhase("blink.one", v1alpha1.InstanceRunning)

	must(t, g.kube.Delete(t.Context(), g.getInstance("blink.one")))
	awaitApps(t, d)
}
