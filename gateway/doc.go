// SPDX-License-Identifier: Apache-2.0

// Package gateway is the process that devices connect to.
//
// Towards devices it speaks the protocol of wasmbed.dev/gateway/protocol inside mutual TLS 1.3: it tells a device what
// should run, serves the modules that the device lacks, and takes its reports, logs and metrics. Towards the API
// server it is a client: what should run comes from the Instances of the devices that are assigned to it, what is reported
// goes into the status of Instances and into the connection part of the status of Devices. Towards the installation it
// serves health, metrics, logs and live facts over HTTPS.
//
// It keeps no state of its own but two caches on disk, of modules and of the secret behind TLS session tickets. What
// runs on the devices goes on when the gateway, or the API server behind it, is away.
package gateway

import (
	"context"

	"wasmbed.dev/gateway/internal/server"
)

// Options of a gateway.
type Options = server.Options

// Types of what the gateway serves over HTTPS as JSON.
type (
	// DeviceFacts is the answer to GET /v1/devices/NAMESPACE/NAME.
	DeviceFacts = server.DeviceFacts
	// AppFacts is one app in DeviceFacts.
	AppFacts = server.AppFacts
	// LogLine is one line of the answer to GET /v1/logs?device=NAMESPACE/NAME&namespace=&app=&level=&lines=&follow=1.
	LogLine = server.LogLine
	// History is the answer to GET /v1/history/NAMESPACE/NAME, and to GET /v1/history for the gateway itself.
	History = server.History
	// Refused is an element of the answer to GET /v1/refused.
	Refused = server.Refused
)

// Run serves devices until ctx ends; then it releases them, writes what it still knows and returns nil.
func Run(ctx context.Context, opts Options) error { return server.Run(ctx, opts) }
