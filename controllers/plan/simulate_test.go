// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.dev/controllers/api/v1alpha1"
)

func playedApp(unavailable, digest string) *v1alpha1.Application {
	limit := intstr.Parse(unavailable)
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "app"},
		Spec:       v1alpha1.ApplicationSpec{Module: v1alpha1.Module{Digest: digest, Size: 1}, Rollout: v1alpha1.Rollout{MaxUnavailable: &limit}},
	}
}

func playedDevices(n int) []*v1alpha1.Device {
	out := make([]*v1alpha1.Device, n)
	for i := range out {
		out[i] = withStatus(&v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: fmt.Sprintf("d%03d", i)}, Spec: v1alpha1.DeviceSpec{Board: "sim-m4"}})
	}
	return out
}

// TestTheShortCutIsWhatStepsGive: waves beyond the budget are those that placement would have made.
func TestTheShortCutIsWhatStepsGive(t *testing.T) {
	for _, unavailable := range []string{"1", "7", "10%", "34%", "100%"} {
		for _, fresh := range []bool{false, true} {
			var courses []course
			for _, budget := range []int{stepBudget, 0} {
				before := 60
				if fresh {
					before = 0
				}
				p, _ := deployed(playedApp(unavailable, "old"), nil, playedDevices(before))
				p.budget = budget
				courses = append(courses, p.follow(playedApp(unavailable, "new"), true, nil, playedDevices(97)))
			}
			if len(courses[0].orders) != 97 {
				t.Errorf("%s: %d devices are served", unavailable, len(courses[0].orders))
			}
			if !reflect.DeepEqual(courses[0].waves, courses[1].waves) || !reflect.DeepEqual(courses[0].orders, courses[1].orders) {
				t.Errorf("%s, fresh %v: stepped in waves %v, cut short in %v", unavailable, fresh, courses[0].waves, courses[1].waves)
			}
			for _, c := range courses {
				if c.status.Updated != 97 || c.status.Running != 97 {
					t.Errorf("%s: %+v", unavailable, c.status)
				}
			}
		}
	}
}
