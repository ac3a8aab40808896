// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"wasmbed.dev/controllers/api/v1alpha1"
)

// Ten thousand devices that come at once must not have ten thousand devices counted ten thousand times.
func TestDevicesThatComeAtOnceAreCountedOnce(t *testing.T) {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	defer q.ShutDown()
	before, after := &v1alpha1.Device{}, &v1alpha1.Device{}
	before.Status.Gateway, after.Status.Gateway = "plant.edge", "plant.edge"
	after.Status.Connection = &v1alpha1.DeviceConnection{Gateway: "plant.edge", Connected: true}
	handler := onDevice()
	for range 1000 {
		handler.Update(t.Context(), event.UpdateEvent{ObjectOld: before, ObjectNew: after}, q)
		if q.Len() != 0 {
			t.Fatal("a single device has all of them counted at once")
		}
	}
	request, _ := q.Get()
	q.Done(request)
	if want := requestFor("plant", "edge"); request != want || q.Len() != 0 {
		t.Errorf("%v is looked at, and %d more; want %v alone", request, q.Len(), want)
	}
}
