// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/pki"
	"wasmbed.dev/devices/boards"
	"wasmbed.dev/devices/qemu"
)

// BoardsOptions of RunBoards.
type BoardsOptions struct {
	// Config of the API server, as the user that may read Devices, Gateways and Secrets and write Device status.
	Config *rest.Config
	// StateDir keeps each board's non-volatile memory, console and logs.
	StateDir string
	// FirmwareDir holds BOARD.elf for each board.
	FirmwareDir string
	Log         logr.Logger
}

// boardRate is how many boards are switched on a second at most; the boards themselves wait for a free processor.
const boardRate = 20

// RunBoards runs a virtual board for each Device whose backend is QEMU until ctx ends; then all of them are off.
func RunBoards(ctx context.Context, o BoardsOptions) error {
	writer, err := newStatusWriter(o.Config, o.Log)
	if err != nil {
		return err
	}
	f, err := newFleet(o.Config, o.StateDir, o.Log, backend{kind: v1alpha1.BackendQEMU, remove: qemu.Clean, rate: boardRate,
		make: func(device *v1alpha1.Device, board boards.Board, credentials *pki.Credentials, endpoints []string, dir string) (machine, error) {
			return newVirtualBoard(o, writer, device, board, credentials, endpoints, dir)
		}})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(writer.work)
	}
	err = f.run(ctx)
	writer.queue.ShutDownWithDrain()
	wg.Wait()
	return err
}

// virtualBoard is a board in the emulator as a machine.
type virtualBoard struct {
	*qemu.Board

	mu          sync.Mutex
	credentials *pki.Credentials
	endpoints   []string
}

func newVirtualBoard(o BoardsOptions, writer *statusWriter, device *v1alpha1.Device, board boards.Board, credentials *pki.Credentials, endpoints []string, dir string) (*virtualBoard, error) {
	key := types.NamespacedName{Namespace: device.Namespace, Name: device.Name}
	v := &virtualBoard{credentials: credentials, endpoints: endpoints}
	var err error
	v.Board, err = qemu.New(qemu.Options{
		Device: key.String(), Board: board, Firmware: filepath.Join(o.FirmwareDir, board.Name+".elf"), Dir: dir,
		Identity: v.identity, Log: o.Log.WithValues("device", key.String()),
		Changed: func(s qemu.Status) { writer.set(key, device.UID, s) },
	})
	return v, err
}

// Run implements machine.
func (v *virtualBoard) Run(ctx context.Context) error {
	v.Board.Run(ctx)
	return nil
}

// SetIdentity implements machine. A board that runs makes its next connection with it.
func (v *virtualBoard) SetIdentity(credentials *pki.Credentials) {
	v.mu.Lock()
	v.credentials = credentials
	v.mu.Unlock()
	v.Renew()
}

// SetEndpoints implements machine. A board that had none waits for its launch; one that runs is told, because a
// gateway that has moved cannot tell it.
func (v *virtualBoard) SetEndpoints(endpoints []string) {
	v.mu.Lock()
	first := len(v.endpoints) == 0
	moved := !slices.Equal(v.endpoints, endpoints)
	v.endpoints = endpoints
	v.mu.Unlock()
	switch {
	case first && moved:
		v.Relaunch()
	case moved:
		v.Renew()
	}
}

// identity is what the board is given at its launch, and when it changes.
func (v *virtualBoard) identity(context.Context) (qemu.Identity, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.endpoints) == 0 {
		return qemu.Identity{}, &qemu.Problem{Reason: qemu.ReasonIdentityMissing, Message: "the device's gateway does not serve yet"}
	}
	key, err := x509.MarshalPKCS8PrivateKey(v.credentials.Certificate.PrivateKey)
	if err != nil {
		return qemu.Identity{}, fmt.Errorf("encode key: %w", err)
	}
	id := qemu.Identity{Key: key, Certificates: v.credentials.Certificate.Certificate, ServerName: pki.ServerName, Endpoints: v.endpoints}
	for _, authority := range v.credentials.Bundle.Authorities() {
		id.CAs = append(id.CAs, authority.Raw)
	}
	return id, nil
}

// statusWriter writes how boards are into their Devices, the newest only, when it differs from what was written.
type statusWriter struct {
	client client.Client
	log    logr.Logger
	queue  workqueue.TypedRateLimitingInterface[boardKey]

	mu      sync.Mutex
	wanted  map[boardKey]v1alpha1.DeviceBackend
	written map[boardKey]v1alpha1.DeviceBackend
}

// boardKey is a Device; one that is made anew under an old name is another.
type boardKey struct {
	types.NamespacedName
	uid types.UID
}

func newStatusWriter(config *rest.Config, log logr.Logger) (*statusWriter, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &statusWriter{client: c, log: log,
		queue:  workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[boardKey]()),
		wanted: map[boardKey]v1alpha1.DeviceBackend{}, written: map[boardKey]v1alpha1.DeviceBackend{}}, nil
}

func (w *statusWriter) set(key types.NamespacedName, uid types.UID, s qemu.Status) {
	b := v1alpha1.DeviceBackend{Phase: string(s.Phase), Console: s.Console, Launches: int64(s.Launches)}
	if s.Problem != nil {
		b.Reason, b.Message = s.Problem.Reason, s.Problem.Message
	}
	if s.LastExit != nil {
		b.LastExit = s.LastExit.Reason
	}
	if s.Phase == qemu.PhaseStopped {
		b.Console = ""
	}
	w.mu.Lock()
	w.wanted[boardKey{key, uid}] = b
	w.mu.Unlock()
	w.queue.Add(boardKey{key, uid})
}

func (w *statusWriter) work() {
	for {
		key, shutdown := w.queue.Get()
		if shutdown {
			return
		}
		if err := w.write(key); err != nil {
			w.log.Error(err, "board's state not written", "device", key.String())
			w.queue.AddRateLimited(key)
		} else {
			w.queue.Forget(key)
		}
		w.queue.Done(key)
	}
}

// write patches only the part of the status that is ours, and only of the very Device that the board was made for.
func (w *statusWriter) write(key boardKey) error {
	w.mu.Lock()
	wanted := w.wanted[key]
	same := reflect.DeepEqual(w.written[key], wanted)
	w.mu.Unlock()
	if same {
		return nil
	}
	fields := map[string]any{"phase": wanted.Phase, "reason": nil, "message": nil, "console": nil, "lastExit": nil, "launches": wanted.Launches}
	for name, value := range map[string]string{"reason": wanted.Reason, "message": wanted.Message, "console": wanted.Console, "lastExit": wanted.LastExit} {
		if value != "" {
			fields[name] = value
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": key.uid}, "status": map[string]any{"backend": fields}})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	device := &v1alpha1.Device{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	err = w.client.Status().Patch(ctx, device, client.RawPatch(types.MergePatchType, patch))
	gone := apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err)
	if err != nil && !gone {
		return fmt.Errorf("write status: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if gone || wanted.Phase == string(qemu.PhaseStopped) {
		delete(w.written, key)
		if reflect.DeepEqual(w.wanted[key], wanted) {
			delete(w.wanted, key)
		}
		return nil
	}
	w.written[key] = wanted
	return nil
}
