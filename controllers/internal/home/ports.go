// SPDX-License-Identifier: Apache-2.0

package home

import (
	"fmt"
	"net"
	"strconv"
)

// DefaultPortBase is the first port of an installation.
const DefaultPortBase = 30450

// Ports are the loopback ports of an installation.
type Ports struct {
	// Device is where devices connect by TLS.
	Device int `json:"device"`
	// GatewayHTTP is the gateway's health, metrics and logs.
	GatewayHTTP int `json:"gatewayHTTP"`
	// Store serves modules to gateways.
	Store int `json:"store"`
	// API is the embedded cluster's API server.
	API int `json:"api"`
	// Hooks takes webhooks of forges.
	Hooks int `json:"hooks"`
	// Dashboard serves the page.
	Dashboard int `json:"dashboard"`
}

// PortsFrom returns the ports of an installation whose first port is base.
func PortsFrom(base int) Ports {
	return Ports{Device: base, GatewayHTTP: base + 1, Store: base + 2, API: base + 3, Hooks: base + 4, Dashboard: base + 20}
}

// PortFlag is one port with the flag that moves it.
type PortFlag struct {
	Flag string
	Use  string
	Port *int
}

// Flags lists the ports with their flags.
func (p *Ports) Flags() []PortFlag {
	return []PortFlag{
		{"device-port", "devices connect here by TLS", &p.Device},
		{"gateway-http-port", "the gateway's health, metrics and logs", &p.GatewayHTTP},
		{"store-port", "gateways fetch modules here", &p.Store},
		{"api-port", "the embedded cluster's API server", &p.API},
		{"hook-port", "forges say here that something was pushed", &p.Hooks},
		{"dashboard-port", "the dashboard", &p.Dashboard},
	}
}

// Check fails when two ports are the same, one is out of range, or one is taken by another program.
func (p *Ports) Check() error {
	seen := map[int]string{}
	for _, f := range p.Flags() {
		if *f.Port < 1 || *f.Port > 65535 {
			return fmt.Errorf("port %d of --%s is not between 1 and 65535", *f.Port, f.Flag)
		}
		if other, ok := seen[*f.Port]; ok {
			return fmt.Errorf("--%s and --%s both ask for port %d", other, f.Flag, *f.Port)
		}
		seen[*f.Port] = f.Flag
		listener, err := net.Listen("tcp", Loopback(*f.Port))
		if err != nil {
			return fmt.Errorf("port %d (%s) is taken: choose another with --%s, or move all ports with --port-base: %w", *f.Port, f.Use, f.Flag, err)
		}
		_ = listener.Close()
	}
	return nil
}

// Loopback is the address of a port on this machine only.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// FreePortFrom returns the first loopback port from one on that is not among those taken and that nobody listens on now.
func FreePortFrom(port int, taken map[int]bool) (int, error) {
	for ; port <= 65535; port++ {
		if taken[port] {
			continue
		}
		if listener, err := net.Listen("tcp", Loopback(port)); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no loopback port is free: end what listens there")
}

// FreePort returns a loopback port that nobody listens on now.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
