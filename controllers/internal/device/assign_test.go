// SPDX-License-Identifier: Apache-2.0

package device

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func TestAssignment(t *testing.T) {
	gw := func(name string, edit ...func(*v1alpha1.Gateway)) *v1alpha1.Gateway {
		g := &v1alpha1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name}}
		g.Spec.Limits.Devices = 10
		for _, f := range edit {
			f(g)
		}
		return g
	}
	gone := func(g *v1alpha1.Gateway) {
		g.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonLeaseExpired}}
	}
	elsewhere := func(allowed ...string) func(*v1alpha1.Gateway) {
		return func(g *v1alpha1.Gateway) { g.Namespace, g.Spec.AllowedNamespaces = "hub", allowed }
	}
	for sentence, test := range map[string]struct {
		pin, current string
		gateways     []*v1alpha1.Gateway
		load         map[string]int
		want         string
		problem      string
	}{
		"there is none":                                  {"", "", nil, nil, "", "no gateway serves namespace plant"},
		"the one with fewer devices":                     {"", "", []*v1alpha1.Gateway{gw("a"), gw("b")}, map[string]int{"plant.a": 2, "plant.b": 1}, "plant.b", ""},
		"of equals the first by name":                    {"", "", []*v1alpha1.Gateway{gw("b"), gw("a")}, nil, "plant.a", ""},
		"it stays where it is":                           {"", "plant.a", []*v1alpha1.Gateway{gw("a"), gw("b")}, map[string]int{"plant.a": 10}, "plant.a", ""},
		"it moves when its gateway is gone":              {"", "plant.a", []*v1alpha1.Gateway{gw("a", gone), gw("b")}, map[string]int{"plant.b": 5}, "plant.b", ""},
		"it stays when all are gone":                     {"", "plant.b", []*v1alpha1.Gateway{gw("a", gone), gw("b", gone)}, map[string]int{"plant.b": 5}, "plant.b", ""},
		"it stays when the others are full":              {"", "plant.a", []*v1alpha1.Gateway{gw("a", gone), gw("b")}, map[string]int{"plant.b": 10}, "plant.a", ""},
		"it moves when its gateway was removed":          {"", "plant.x", []*v1alpha1.Gateway{gw("a")}, nil, "plant.a", ""},
		"one that lives is better than one that is gone": {"", "", []*v1alpha1.Gateway{gw("a", gone), gw("b")}, map[string]int{"plant.b": 5}, "plant.b", ""},
		"one that is gone is better than none":           {"", "", []*v1alpha1.Gateway{gw("a", gone)}, nil, "plant.a", ""},
		"all are full":                                   {"", "", []*v1alpha1.Gateway{gw("a")}, map[string]int{"plant.a": 10}, "", "full"},
		"another namespace's serves its own only":        {"", "", []*v1alpha1.Gateway{gw("a", elsewhere())}, nil, "", "no gateway serves"},
		"another namespace's that allows this one":       {"", "", []*v1alpha1.Gateway{gw("a", elsewhere("plant"))}, nil, "hub.a", ""},
		"another namespace's that allows all":            {"", "", []*v1alpha1.Gateway{gw("a", elsewhere("*"))}, nil, "hub.a", ""},
		"its own namespace is not allowed any more":      {"", "plant.a", []*v1alpha1.Gateway{gw("a", func(g *v1alpha1.Gateway) { g.Spec.AllowedNamespaces = []string{"x"} })}, nil, "", "no gateway serves"},
		"a pin counts more than load":                    {"a", "plant.b", []*v1alpha1.Gateway{gw("a"), gw("b")}, map[string]int{"plant.a": 9}, "plant.a", ""},
		"a pin into another namespace":                   {"hub/a", "", []*v1alpha1.Gateway{gw("a"), gw("a", elsewhere("plant"))}, nil, "hub.a", ""},
		"a pin holds though its gateway is gone":         {"a", "plant.a", []*v1alpha1.Gateway{gw("a", gone), gw("b")}, nil, "plant.a", ""},
		"a pin to what does not exist":                   {"x", "plant.a", []*v1alpha1.Gateway{gw("a")}, nil, "", "plant/x, which spec.gateway names, does not exist"},
		"a pin to what does not allow it":                {"hub/a", "", []*v1alpha1.Gateway{gw("a", elsewhere())}, nil, "", "does not have namespace plant"},
		"a pin to what is full":                          {"a", "", []*v1alpha1.Gateway{gw("a")}, map[string]int{"plant.a": 10}, "", "raise its limits.devices"},
	} {
		t.Run(sentence, func(t *testing.T) {
			device := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "d"}}
			device.Spec.Gateway, device.Status.Gateway = test.pin, test.current
			got := assign(device, test.gateways, test.load)
			if got.gateway != test.want || !strings.Contains(got.problem, test.problem) || (got.gateway == "") != (got.problem != "") {
				t.Errorf("got %+v, want %q %q", got, test.want, test.problem)
			}
		})
	}
}
