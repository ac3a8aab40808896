// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/qemu"
)

// reconcile switches one device on or off, and tells it what has changed.
func (f *fleet) reconcile(ctx context.Context, key types.NamespacedName) error {
	device, err := f.ours(ctx, key)
	if err != nil {
		return err
	}
	is := f.get(key)
	if is != nil && (device == nil || device.UID != is.uid) {
		f.switchOff(key, is)
		is = nil
	}
	if device == nil {
		f.assign(key, "")
		f.forget(key, "")
		return nil
	}
	f.assign(key, device.Status.Gateway)
	if device.Spec.Power == v1alpha1.PowerOff || device.DeletionTimestamp != nil {
		if is != nil {
			f.switchOff(key, is)
		}
		return nil
	}
	identity, version, err := f.identity(ctx, device)
	if err != nil || version == "" {
		return err // without an identity yet: its Secret queues the device
	}
	endpoints, err := f.endpoints(ctx, device)
	if err != nil {
		return err
	}
	if is == nil {
		f.forget(key, device.UID)
		return f.switchOn(ctx, key, device, identity, version, endpoints)
	}
	if is.identity != version {
		is.SetIdentity(identity)
		is.identity = version
	}
	if len(endpoints) > 0 {
		is.SetEndpoints(endpoints)
	}
	return nil
}

// ours returns the Device if there is one and it is of our backend.
func (f *fleet) ours(ctx context.Context, key types.NamespacedName) (*v1alpha1.Device, error) {
	var device v1alpha1.Device
	err := f.reader.Get(ctx, key, &device)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get device: %w", err)
	}
	if device.Spec.Backend != f.kind {
		return nil, nil
	}
	return &device, nil
}

// identity reads the device's Secret; the version is empty while there is none.
func (f *fleet) identity(ctx context.Context, device *v1alpha1.Device) (credentials *pki.Credentials, version string, err error) {
	if device.Status.Identity == "" {
		return nil, "", nil
	}
	var secret corev1.Secret
	err = f.reader.Get(ctx, types.NamespacedName{Namespace: v1alpha1.IdentityNamespace, Name: device.Status.Identity}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("get identity: %w", err)
	}
	credentials, err = pki.ParseCredentials(secret.Data)
	if err != nil {
		return nil, "", fmt.Errorf("identity %s: %w", secret.Name, err)
	}
	if want := pki.DeviceIdentity(device.Namespace, device.Name); credentials.Identity != want {
		return nil, "", fmt.Errorf("identity %s is of %s", secret.Name, credentials.Identity)
	}
	return credentials, secret.ResourceVersion, nil
}

// endpoints of the gateway that a device is assigned to; none while it has none. When that is gone, those of the gateways
// that may adopt the device come before it, each device's in its own order, so that they share the devices.
func (f *fleet) endpoints(ctx context.Context, device *v1alpha1.Device) ([]string, error) {
	namespace, name, ok := strings.Cut(device.Status.Gateway, ".")
	if !ok {
		return nil, nil
	}
	var gateway v1alpha1.Gateway
	err := f.reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &gateway)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get gateway: %w", err)
	}
	if !gateway.Gone() || device.Spec.Gateway != "" {
		return gateway.Status.Endpoints, nil
	}
	var all v1alpha1.GatewayList
	if err := f.reader.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list gateways: %w", err)
	}
	others := slices.DeleteFunc(all.Items, func(g v1alpha1.Gateway) bool { return g.Gone() || !g.Allows(device.Namespace) })
	slices.SortFunc(others, func(a, b v1alpha1.Gateway) int {
		return cmp.Or(cmp.Compare(order(device, &a), order(device, &b)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var endpoints []string
	for i := range others {
		endpoints = append(endpoints, others[i].Status.Endpoints...)
	}
	endpoints = append(endpoints, gateway.Status.Endpoints...)
	return endpoints[:min(len(endpoints), qemu.MaxEndpoints)], nil
}

// order is where a gateway stands among those that may adopt a device.
func order(device *v1alpha1.Device, gateway *v1alpha1.Gateway) uint32 {
	h := fnv.New32a()
	fmt.Fprint(h, device.UID, gateway.UID)
	return h.Sum32()
}

// switchOn starts a device, as soon as the rate of starts lets it.
func (f *fleet) switchOn(ctx context.Context, key types.NamespacedName, device *v1alpha1.Device, credentials *pki.Credentials, version string, endpoints []string) error {
	board, ok := boards.Get(device.Spec.Board)
	if !ok {
		return fmt.Errorf("no board %q in the catalogue", device.Spec.Board)
	}
	if err := f.starts.Wait(ctx); err != nil {
		return err
	}
	m, err := f.make(device, board, credentials, endpoints, f.dirOf(key, device.UID))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	is := &runningDevice{machine: m, uid: device.UID, identity: version, stop: stop, done: make(chan struct{})}
	f.mu.Lock()
	f.running[key] = is
	f.mu.Unlock()
	go func() {
		defer close(is.done)
		if err := m.Run(ctx); err != nil {
			f.log.Error(err, "device ended", "device", key.String())
		}
	}()
	return nil
}

func (f *fleet) get(key types.NamespacedName) *runningDevice {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[key]
}

// switchOff returns when the device is off.
func (f *fleet) switchOff(key types.NamespacedName, is *runningDevice) {
	is.stop()
	<-is.done
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, key)
}

func (f *fleet) stopAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var wg sync.WaitGroup
	for _, is := range f.running {
		is.stop()
		wg.Go(func() { <-is.done })
	}
	wg.Wait()
}

// assign notes which gateway a device is assigned to.
func (f *fleet) assign(key types.NamespacedName, gateway string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, devices := range f.byGateway {
		if other != gateway {
			delete(devices, key)
		}
		if len(devices) == 0 {
			delete(f.byGateway, other)
		}
	}
	if gateway == "" {
		return
	}
	if f.byGateway[gateway] == nil {
		f.byGateway[gateway] = map[types.NamespacedName]bool{}
	}
	f.byGateway[gateway][key] = true
}

// dirOf is a device's flash. A Device that is made anew under an old name is another device.
func (f *fleet) dirOf(key types.NamespacedName, uid types.UID) string {
	return filepath.Join(f.stateDir, key.Namespace, key.Name, string(uid))
}

// forget ends and removes what there is of all devices that ever had this name, but for one.
func (f *fleet) forget(key types.NamespacedName, keep types.UID) {
	folder := filepath.Join(f.stateDir, key.Namespace, key.Name)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	failures := []error{err}
	left := 0
	for _, e := range entries {
		if keep != "" && e.Name() == string(keep) {
			left++
			continue
		}
		failures = append(failures, f.remove(filepath.Join(folder, e.Name())))
	}
	if left == 0 {
		failures = append(failures, os.Remove(folder))
	}
	if err := errors.Join(failures...); err != nil {
		f.log.Error(err, "state not removed", "device", key.String())
	}
}

// sweep forgets devices that went while nobody looked.
func (f *fleet) sweep(ctx context.Context) error {
	var devices v1alpha1.DeviceList
	if err := f.reader.List(ctx, &devices); err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	keep := map[types.NamespacedName]bool{}
	for i := range devices.Items {
		keep[types.NamespacedName{Namespace: devices.Items[i].Namespace, Name: devices.Items[i].Name}] = true
	}
	folders, err := filepath.Glob(filepath.Join(f.stateDir, "*", "*"))
	if err != nil {
		return fmt.Errorf("read state directory: %w", err)
	}
	for _, folder := range folders {
		key := types.NamespacedName{Namespace: filepath.Base(filepath.Dir(folder)), Name: filepath.Base(folder)}
		if !keep[key] {
			f.forget(key, "")
		}
	}
	return nil
}
