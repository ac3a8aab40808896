// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"wasmbed.dev/devices/boards"
)

// provisionAddress is where each board's firmware expects its provisioning blob.
var provisionAddress = map[string]uint32{
	"mps2-an385": 0x003f0000,
	"mps2-an386": 0x003f0000,
	"mps2-an500": 0x003f0000,
	"mps2-an505": 0x103f0000,
}

// Names in a board's directory.
const (
	consoleSocket = "console.sock"
	monitorSocket = "monitor.sock"
	nvFile        = "nv.bin"
	blobFile      = "provision.bin"
)

// nvSize is the size of the machine's memory that nv.bin backs; the firmware uses the first part of it.
const nvSize = 16 << 20

// Timing of the supervision.
const (
	backoffMin = time.Second
	backoffMax = time.Minute
	steady     = time.Minute      // a board that ran this long starts anew without backoff
	launchTime = 20 * time.Second // for QEMU to open its sockets
	endTime    = 3 * time.Second  // for QEMU to end when asked
)

// launching bounds how many boards start at once: a start costs a third of a second of computing, most of it for the
// TLS handshake, and a board that gets no time for long is reset by its watchdog.
var launching = make(chan struct{}, 2*runtime.NumCPU())

// launchCost is how long a launch keeps its place after QEMU has answered.
const launchCost = 300 * time.Millisecond

// Options of a board. All but Program, Console, Now and Log are needed.
type Options struct {
	// Device is namespace/name.
	Device string
	Board  boards.Board
	// Firmware is the ELF file.
	Firmware string
	// Dir is the board's directory; it is made when it is not there.
	Dir string
	// Identity is asked before each launch and by [Board.Renew]. It can fail with a *Problem.
	Identity func(context.Context) (Identity, error)
	// Console is the address of the TCP console, a loopback one; empty: any free port of 127.0.0.1.
	Console string
	// Program is the emulator; empty: qemu-system-arm from the PATH.
	Program string
	// Changed, if set, is called after each change of the status, without waiting for it.
	Changed func(Status)
	Log     logr.Logger
}

// Phase of a board.
type Phase string

// Phases.
const (
	PhaseStarting Phase = "Starting"
	PhaseRunning  Phase = "Running"
	PhaseWaiting  Phase = "Waiting" // for the next launch
	PhaseStopped  Phase = "Stopped" // for good
)

// Status of a board.
type Status struct {
	Phase Phase
	Since time.Time
	// Console is the address of the TCP console.
	Console string
	// PID of QEMU while it runs.
	PID int
	// Adopted is true while the board runs on that a former supervisor launched.
	Adopted bool
	// Launches by this supervisor.
	Launches int
	// LastExit is nil until a process has ended.
	LastExit *Exit
	// Problem is why it does not run, nil when it does.
	Problem *Problem
	// RetryAt is when it is launched next, in PhaseWaiting.
	RetryAt time.Time
}

// Board supervises one virtual board. Its methods may be called by several goroutines.
type Board struct {
	opts     Options
	console  *console
	relaunch chan struct{}
	renew    chan struct{}

	mu      sync.Mutex
	status  Status
	monitor *monitor
	celsius float64 // what the sensor shall measure, also after the next launch
}

// New prepares a board: its directory and its console. [Board.Run] starts it.
func New(opts Options) (*Board, error) {
	if opts.Program == "" {
		opts.Program = Program
	}
	if opts.Console == "" {
		opts.Console = "127.0.0.1:0"
	}
	if opts.Identity == nil || opts.Device == "" || opts.Firmware == "" || opts.Dir == "" {
		return nil, errors.New("a board needs a device, a firmware, a directory and an identity")
	}
	firmware, err := filepath.Abs(opts.Firmware)
	if err != nil {
		return nil, err
	}
	opts.Firmware = firmware
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of board %s: %w", opts.Device, err)
	}
	c, err := openConsole(opts.Console, opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", opts.Device, err)
	}
	b := &Board{opts: opts, console: c, relaunch: make(chan struct{}, 1), renew: make(chan struct{}, 1), celsius: roomTemperature}
	b.status = Status{Phase: PhaseStarting, Since: time.Now(), Console: c.listener.Addr().String()}
	return b, nil
}

// Status is how the board is now.
func (b *Board) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *Board) update(change func(*Status)) {
	b.mu.Lock()
	phase := b.status.Phase
	change(&b.status)
	if b.status.Phase != phase {
		b.status.Since = time.Now()
	}
	s := b.status
	b.mu.Unlock()
	if b.opts.Changed != nil {
		b.opts.Changed(s)
	}
}

// Relaunch ends the process that runs, if one does, and launches the board at once: for a new identity or firmware.
func (b *Board) Relaunch() {
	select {
	case b.relaunch <- struct{}{}:
	default:
	}
}

// Renew asks for the identity again and hands it to the board that runs: its apps go on, and the next connection is
// made with it. A board that does not run gets it with its launch.
func (b *Board) Renew() {
	select {
	case b.renew <- struct{}{}:
	default:
	}
}

// Run keeps the board running until ctx ends, and then ends it. It may be called once.
func (b *Board) Run(ctx context.Context) {
	defer b.console.close()
	failures := 0
	orphan := findOrphan(b.opts.Dir)
	for {
		started := time.Now()
		err := b.once(ctx, orphan)
		orphan = nil
		if ctx.Err() != nil {
			b.update(func(s *Status) { s.Phase, s.PID, s.Problem, s.RetryAt = PhaseStopped, 0, nil, time.Time{} })
			return
		}
		if err == nil { // Relaunch
			failures = 0
			continue
		}
		if time.Since(started) >= steady {
			failures = 0
		}
		failures++
		if !b.pause(ctx, failures, asProblem(err)) {
			failures = 0
		}
	}
}

// pause waits for the time of the next launch; false when Relaunch cut it short.
func (b *Board) pause(ctx context.Context, failures int, p *Problem) bool {
	limit := min(backoffMax, backoffMin<<min(failures-1, 10))
	wait := limit/2 + rand.N(limit/2)
	b.opts.Log.Info("virtual board does not run", "device", b.opts.Device, "reason", p.Reason, "message", p.Message, "retryIn", wait.String())
	b.update(func(s *Status) {
		s.Phase, s.PID, s.Adopted, s.Problem, s.RetryAt = PhaseWaiting, 0, false, p, time.Now().Add(wait)
	})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-b.relaunch:
		return false
	}
	return true
}

// once takes a process over or launches one, and stays until it ends: nil after Relaunch or the end of ctx, else why
// the board does not run any more.
func (b *Board) once(ctx context.Context, orphan *process) error {
	b.update(func(s *Status) { s.Phase, s.RetryAt = PhaseStarting, time.Time{} })
	if err := checkFirmware(b.opts.Firmware); err != nil {
		if orphan != nil {
			orphan.end(endTime)
		}
		return err
	}
	args := b.arguments()
	id, err := launchID(b.opts.Firmware, args)
	if err != nil {
		return err
	}
	p := orphan
	if p != nil && p.record.Launch != id {
		p.end(endTime)
		p.release()
		p = nil
	}
	release, err := enter(ctx)
	if err != nil {
		return err
	}
	if p == nil {
		p, err = b.launch(ctx, args, id)
	}
	if err == nil {
		defer p.release()
		if err = b.connect(ctx, p); err != nil {
			p.kill()
		}
	}
	release()
	if err != nil {
		if asProblem(err).Reason == ReasonLaunchFailed {
			forget(b.opts.Program, b.opts.Board) // perhaps QEMU is not what it was: the next attempt says it
		}
		return err
	}
	defer b.disconnect()
	b.opts.Log.Info("virtual board runs", "device", b.opts.Device, "pid", p.record.PID, "adopted", p.adopted)
	b.update(func(s *Status) {
		s.Phase, s.PID, s.Adopted, s.Problem = PhaseRunning, p.record.PID, p.adopted, nil
	})
	if p.adopted {
		b.Renew() // it may have been renewed while nobody looked after the board
	}
	if b.attend(ctx, p) {
		b.update(func(s *Status) { s.LastExit = &p.exit })
		return problem(ReasonLaunchFailed, "QEMU ended: %s", p.exit.Reason)
	}
	p.end(endTime)
	b.update(func(s *Status) { s.LastExit = &Exit{Time: time.Now(), Reason: "ended by its supervisor"} })
	return empty(b.opts.Dir)
}

// attend stays with a board that runs: true when its process has ended by itself.
func (b *Board) attend(ctx context.Context, p *process) bool {
	for {
		select {
		case <-p.exited:
			return true
		case <-ctx.Done():
			return false
		case <-b.relaunch:
			return false
		case <-b.renew:
			if err := b.handOver(ctx); err != nil {
				b.opts.Log.Error(err, "identity not renewed", "device", b.opts.Device)
			}
		}
	}
}

func (b *Board) handOver(ctx context.Context) error {
	blob, err := b.blob(ctx)
	if err != nil {
		return err
	}
	return deliver(b.opts.Dir, blob)
}

// blob is the board's identity as it is now, with fresh entropy.
func (b *Board) blob(ctx context.Context) ([]byte, error) {
	identity, err := b.opts.Identity(ctx)
	if err != nil {
		return nil, identityProblem(err)
	}
	blob, err := encodeProvision(b.opts.Device, identity, time.Now())
	if err != nil {
		return nil, identityProblem(err)
	}
	return blob, nil
}

// enter waits for a place among those that start.
func enter(ctx context.Context) (release func(), err error) {
	select {
	case launching <- struct{}{}:
		return func() { time.AfterFunc(launchCost, func() { <-launching }) }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// launch starts QEMU with a fresh blob.
func (b *Board) launch(ctx context.Context, args []string, id string) (*process, error) {
	if err := Check(ctx, b.opts.Program, b.opts.Board); err != nil {
		return nil, err
	}
	blob, err := b.blob(ctx)
	if err != nil {
		return nil, err
	}
	if err := empty(b.opts.Dir); err != nil {
		return nil, err
	}
	path := filepath.Join(b.opts.Dir, blobFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.WriteFile(path, blob, 0o600); err != nil {
		return nil, err
	}
	nv, err := os.OpenFile(filepath.Join(b.opts.Dir, nvFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	nv.Close()
	b.update(func(s *Status) { s.Launches++ })
	return launch(b.opts.Dir, b.opts.Program, args, id)
}

func identityProblem(err error) error {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return problem(ReasonIdentityMissing, "%v", err)
}

// arguments of QEMU; file names are relative to the board's directory, and none is a secret.
func (b *Board) arguments() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-M", b.opts.Board.QEMUMachine + ",memory-backend=nv",
		"-object", "memory-backend-file,id=nv,mem-path=" + nvFile + ",share=on,size=" + strconv.Itoa(nvSize),
		"-nic", "user,model=lan9118",
		"-chardev", "socket,id=console,server=on,wait=off,path=" + consoleSocket,
		"-serial", "chardev:console",
		"-qmp", "unix:" + monitorSocket + ",server=on,wait=off",
		"-device", "tmp105,id=" + sensorID + ",bus=i2c,address=0x48",
		"-device", fmt.Sprintf("loader,file=%s,force-raw=on,addr=0x%08x", blobFile, provisionAddress[b.opts.Board.Name]),
		"-kernel", b.opts.Firmware,
	}
}

// connect attaches console and monitor, and lets a board go that was launched paused. The blob is in QEMU's memory
// then, and its file goes.
func (b *Board) connect(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	con, err := dialSocket(ctx, b.opts.Dir, consoleSocket, p)
	if err != nil {
		return problem(ReasonLaunchFailed, "console: %v", err)
	}
	conn, err := dialSocket(ctx, b.opts.Dir, monitorSocket, p)
	if err != nil {
		con.Close()
		return problem(ReasonLaunchFailed, "monitor: %v", err)
	}
	m, err := openMonitor(conn)
	if err == nil {
		b.mu.Lock()
		b.monitor = m
		b.mu.Unlock()
		err = b.applyTemperature()
	}
	if err == nil {
		err = m.do("cont", nil, nil)
	}
	if err != nil {
		b.disconnect()
		con.Close()
		conn.Close()
		return problem(ReasonLaunchFailed, "%v", err)
	}
	os.Remove(filepath.Join(b.opts.Dir, blobFile))
	go b.carry(con, p)
	return nil
}

func (b *Board) carry(con net.Conn, p *process) {
	stop := make(chan struct{})
	go func() {
		select {
		case <-p.exited:
		case <-stop:
		}
		con.Close()
	}()
	b.console.attach(con)
	close(stop)
}

func (b *Board) disconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.monitor != nil {
		b.monitor.close()
		b.monitor = nil
	}
}

// errNotRunning is what the commands to a board say while it does not run.
var errNotRunning = errors.New("the board does not run")

func (b *Board) do(command string, arguments any) error {
	b.mu.Lock()
	m := b.monitor
	b.mu.Unlock()
	if m == nil {
		return errNotRunning
	}
	return m.do(command, arguments, nil)
}

const sensorID = "temperature"

// roomTemperature is what a new board's sensor measures.
const roomTemperature = 21

// SetTemperature sets what the board's sensor measures, in degrees Celsius, now and after later launches.
func (b *Board) SetTemperature(celsius float64) error {
	b.mu.Lock()
	b.celsius = celsius
	b.mu.Unlock()
	return b.applyTemperature()
}

func (b *Board) applyTemperature() error {
	b.mu.Lock()
	celsius := b.celsius
	b.mu.Unlock()
	return b.do("qom-set", map[string]any{"path": "/machine/peripheral/" + sensorID, "property": "temperature", "value": int(celsius * 1000)})
}

// Reset presses the board's reset button.
func (b *Board) Reset() error { return b.do("system_reset", nil) }

// Clean ends what still runs for the directory of a board that is not wanted any more, and removes it.
func Clean(dir string) error {
	if p := findOrphan(dir); p != nil {
		p.end(endTime)
		p.release()
	}
	return os.RemoveAll(dir)
}
