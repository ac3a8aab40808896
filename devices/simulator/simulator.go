// SPDX-License-Identifier: Apache-2.0

// Package simulator is the device side in Go: one Device behaves as a board with the firmware does, on the same
// protocol over the same TLS, so that a fleet of one or of ten thousand can be had without a board.
//
// What a Device keeps in its state directory stands for a board's flash: its modules, its desired state, the
// endpoints that it was told and its count of boots. When it starts, its apps run before it has reached a gateway.
//
// A Device is driven by what happens to it: frames, timers, apps that end. Each event takes the device's lock, does
// its work without waiting, and leaves. An idle device costs one goroutine, which reads its connection. Frames to send
// have one of their own while there are any. Apps of all devices take turns on a few goroutines, a slice of fuel each.
//
// Order of locks: Device.mu, then instance.mu, then those of Engine. The runtime's own lock of a module is held while
// guest code and host functions run: nothing takes it that holds one of these, and host functions take instance.mu
// only. A message goes into the memory of an app that it is for in that app's own turn.
package simulator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr"

	"wasmbed.dev/devices/boards"
	"wasmbed.dev/gateway/protocol"
)

// ServerName is what a gateway's certificate must be made out to, whatever address it is reached at.
const ServerName = "gateway.wasmbed.dev"

// Identity is what a device proves itself with, and whom it trusts.
type Identity struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// Config says what a Device is.
type Config struct {
	// Namespace and Name of the Device object.
	Namespace, Name string
	// Board, of the catalogue.
	Board boards.Board
	// Firmware that the device says it runs.
	Firmware string
	// Identity to begin with; SetIdentity renews it.
	Identity Identity
	// Endpoints to begin with, in order; what a gateway's Welcome told comes before them.
	Endpoints []string
	// StateDir keeps what a board keeps in flash; empty: nothing is kept.
	StateDir string
	// Engine that the devices of a process share.
	Engine *Engine
	// NoModules fetches modules but does not run them, and reports that they run.
	NoModules bool
	// Log of the device itself; what its apps log goes to the gateway.
	Log logr.Logger
}

// timing gathers the device's durations.
type timing struct {
	dial          time.Duration // to connect, shake hands and be welcomed
	write         time.Duration // for one batch of frames
	backoffBase   time.Duration // first pause after a failure is between 0 and this
	backoffMax    time.Duration
	steady        time.Duration // a session that lasted this long ends the row of failures
	fetch         time.Duration // without an answer to a fetch
	refetch       time.Duration // before a module that the gateway did not have is asked for again
	startupWindow time.Duration // an app that lives longer is confirmed
	restartBase   time.Duration // pause before an app's first restart; doubles
	restartMax    time.Duration
	resave        time.Duration // before a state that could not be saved is saved again
	settle        time.Duration // changes within it travel in one report
}

var defaultTiming = timing{
	dial: 15 * time.Second, write: 15 * time.Second,
	backoffBase: time.Second, backoffMax: time.Minute, steady: 10 * time.Second,
	fetch: 15 * time.Second, refetch: 10 * time.Second,
	startupWindow: 10 * time.Second, restartBase: 500 * time.Millisecond, restartMax: 5 * time.Minute,
	resave: time.Second, settle: 5 * time.Millisecond,
}

// maxFirmware is how long the protocol lets a firmware's name be.
const maxFirmware = 64

// crashesToGoBack within the start-up window make a new version go back to the former one.
const crashesToGoBack = 3

// Device is one simulated device.
type Device struct {
	cfg    Config
	timing timing
	store  store
	booted time.Time // set by Run, before anything else runs

	leds, buttons atomic.Uint32
	ledsMu        sync.Mutex // changes an LED, and guards ledLog
	ledLog        [leds]led
	messages      atomic.Uint32 // published
	links         *links
	sessions      tls.ClientSessionCache // guarded by mu; replaced with the identity
	guests        sync.WaitGroup         // launches under way, and instances that have not ended

	mu         sync.Mutex
	ctx        context.Context // of Run; nil before and after
	identity   Identity
	boots      uint32
	generation uint64
	digest     *protocol.Digest // of the list of apps that is held
	apps       map[string]*app
	arena      arena
	wanted     *pendingDesired // a desired state that is still being fetched
	fetch      *fetch          // under way; survives a connection
	session    *session        // nil while there is none
	report     reporting
	dropped    uint32      // log lines
	unsaved    *time.Timer // the state waits for room in the flash
}

// New makes a device from what its state directory holds. Run starts it.
func New(cfg Config) (*Device, error) {
	if cfg.Board.Name == "" || cfg.Engine == nil {
		return nil, errors.New("a simulated device needs a board and an engine")
	}
	if cfg.Firmware == "" {
		cfg.Firmware = "simulator"
	}
	cfg.Firmware = cleanText(cfg.Firmware, maxFirmware)
	d := &Device{cfg: cfg, timing: defaultTiming, identity: cfg.Identity, apps: map[string]*app{}, arena: newArena(cfg.Board), sessions: tls.NewLRUClientSessionCache(1)}
	d.store = newStore(cfg.StateDir, cfg.NoModules)
	state, err := d.store.loadState()
	if err != nil {
		return nil, fmt.Errorf("device %s/%s: %w", cfg.Namespace, cfg.Name, err)
	}
	d.boots, d.generation, d.digest = state.Boots, state.Generation, state.Digest
	d.links = newLinks(cfg.Endpoints, state.Endpoints)
	for _, s := range state.Apps {
		d.apps[s.Want.Name] = s.app()
	}
	return d, nil
}

// SetIdentity renews the certificate and the trusted roots. A connection that stands goes on with the old ones.
func (d *Device) SetIdentity(id Identity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identity = id
	d.sessions = tls.NewLRUClientSessionCache(1) // a resumed session would go on with the old certificate
}

// SetEndpoints replaces the endpoints that the device was provisioned with. When they change, what a former gateway
// told is forgotten.
func (d *Device) SetEndpoints(endpoints []string) {
	if d.links.provision(endpoints) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.save()
	}
}

// Run boots the device and runs it until ctx ends; then its apps have stopped. It is called once.
func (d *Device) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.boot(ctx)
	defer d.halt()
	for ctx.Err() == nil {
		endpoint, wait := d.links.next(time.Now())
		if endpoint == "" {
			d.links.sleep(ctx, wait)
			continue
		}
		end := d.connect(ctx, endpoint)
		d.links.ended(time.Now(), endpoint, end, d.timing)
		if ctx.Err() == nil {
			d.cfg.Log.V(1).Info("connection ended", "endpoint", endpoint, "welcomed", end.welcomed, "reason", end.err)
		}
	}
	return nil
}

// boot counts the boot and starts what the device held when it was last on.
func (d *Device) boot(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx, d.booted = ctx, time.Now()
	d.boots++
	d.save()
	for _, a := range d.sorted() {
		d.resume(a)
	}
}

// halt stops all apps and waits until no guest code runs, also that of apps that were removed before.
func (d *Device) halt() {
	d.mu.Lock()
	if d.unsaved != nil {
		d.save()
	}
	for _, a := range d.apps {
		stopTimers(&a.refetch)
		d.end(a)
	}
	d.ctx = nil
	stopTimers(&d.unsaved)
	d.report.stop()
	d.mu.Unlock()
	d.guests.Wait()
}

// uptime since boot.
func (d *Device) uptime() time.Duration { return time.Since(d.booted) }

// instances that run now.
func (d *Device) instances() []*instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*instance
	for _, a := range d.apps {
		if a.inst != nil {
			out = append(out, a.inst)
		}
	}
	return out
}

// Connected tells whether a gateway has welcomed the device on the connection that stands.
func (d *Device) Connected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session != nil
}

// States is what the device would report now, ascending by name.
func (d *Device) States() []protocol.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.states()
}

// save writes the device's state, and again until that succeeds: a flash that was full must not hold an older state for
// good. The caller holds mu.
func (d *Device) save() {
	state := savedState{Boots: d.boots, Generation: d.generation, Digest: d.digest, Endpoints: d.links.told()}
	for _, a := range d.sorted() {
		state.Apps = append(state.Apps, a.saved())
	}
	stopTimers(&d.unsaved)
	if err := d.store.saveState(state); err != nil {
		d.cfg.Log.Error(err, "state not saved; tried again until it is")
		d.later(&d.unsaved, d.timing.resave, d.save)
	}
}

// cleanText makes text that the protocol takes: UTF-8 without control characters, at most limit bytes.
func cleanText(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
