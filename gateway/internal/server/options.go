// SPDX-License-Identifier: Apache-2.0

package server

import (
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// Options of a gateway.
type Options struct {
	// Config is how to reach the API server.
	Config *rest.Config
	// Namespace and Name of the Gateway object that this process is.
	Namespace, Name string
	// Listen is the address for devices, HTTPListen the one for the installation.
	Listen, HTTPListen string
	// StoreURL is where modules come from: https://host:port.
	StoreURL string
	// CacheDir holds modules and the keys of session tickets; it survives restarts and belongs to this gateway alone.
	CacheDir string
	// GracePeriod is how long a device may be away before that is written to its Device; 15 s when it is 0.
	GracePeriod time.Duration
	Log         logr.Logger
}

// Fixed settings. Each bounds what a device, or all of them together, can make the gateway do.
const (
	defaultGrace = 15 * time.Second

	// maxFrame is the largest frame that is taken from a device.
	maxFrame = 4096
	// handshakeTimeout bounds the TLS handshake, helloTimeout what follows until hello.
	handshakeTimeout = 10 * time.Second
	helloTimeout     = 10 * time.Second
	// reportInterval is the least time between two reports that devices are told.
	reportInterval = 200 * time.Millisecond
	// mostHeartbeatsPerSecond of all devices together, as long as each sends one a minute.
	mostHeartbeatsPerSecond = 167
	// logLinesPerMinute of one device are kept.
	logLinesPerMinute = 120
	// writeTimeout is how long one frame may take to be written.
	writeTimeout = 20 * time.Second
	// maxQueue is how many frames wait for one connection's writer; a device that lets more wait is too slow.
	maxQueue = 32
	// lingerTimeout is how long a connection is drained after its last frame, so that the device can read that.
	lingerTimeout = time.Second
	// releaseTimeout is how long a device may take to go after it was released.
	releaseTimeout = 5 * time.Second
	// flushTimeout is how long a stopping gateway writes what it still knows.
	flushTimeout = 5 * time.Second

	// statusWorkers write status at once, writesPerSecond of them together.
	statusWorkers   = 8
	writesPerSecond = 300
	// deviceWriteRate and deviceWriteBurst are what one device may cause in status writes a second, and at once.
	deviceWriteRate  = 1
	deviceWriteBurst = 40
	// deliveringDelay is how long "Delivering" waits to be written: most apps start faster than that.
	deliveringDelay = 250 * time.Millisecond

	// moduleCacheBytes bounds the modules on disk.
	moduleCacheBytes = 256 << 20

	leaseDuration = 15 * time.Second
	leaseInterval = 5 * time.Second
)
