// SPDX-License-Identifier: Apache-2.0

package views

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wasmbed.dev/dashboard/internal/fleet"
)

// System is how the processes of the installation were over the last hours.
type System struct {
	Start     time.Time        `json:"start"`
	Step      int              `json:"step"`
	Cores     int              `json:"cores"`
	Processes []Process        `json:"processes,omitempty"`
	Machine   *Machine         `json:"machine,omitempty"`
	Gateways  []SystemGateway  `json:"gateways"`
	Dashboard DashboardFigures `json:"dashboard"`
}

// Process of the installation.
type Process struct {
	Name   string                `json:"name"`
	PID    int                   `json:"pid"`
	Series map[string][]*float64 `json:"series"`
}

// Machine that the installation runs on.
type Machine struct {
	Series map[string][]*float64 `json:"series"`
}

// SystemGateway is a gateway's own figures.
type SystemGateway struct {
	ID     string                `json:"id"`
	Series map[string][]*float64 `json:"series"`
	Error  string                `json:"error,omitempty"`
}

// DashboardFigures are about the dashboard's process itself.
type DashboardFigures struct {
	Viewers       int   `json:"viewers"`
	Subscriptions int   `json:"subscriptions"`
	Rows          int   `json:"rows"`
	Messages      int64 `json:"messages"`
	Bytes         int64 `json:"bytes"`
	Dropped       int64 `json:"dropped"`
}

// maxAsked is how many gateways the system view asks.
const maxAsked = 16

func system(ctx context.Context, e *Engine, _ Params, scope fleet.Scope) (any, error) {
	if e.System == nil {
		return nil, fmt.Errorf("%w: nothing is measured here", ErrUnavailable)
	}
	s := e.System(scope)
	gateways := first(maxAsked, collect[*fleet.Gateway](e, fleet.Gateways, scope, byName))
	s.Gateways = make([]SystemGateway, len(gateways))
	var asked sync.WaitGroup
	for i, g := range gateways {
		asked.Go(func() {
			s.Gateways[i] = SystemGateway{ID: g.ID, Series: map[string][]*float64{}}
			live, err := e.gatewayLive(ctx, g)
			if err != nil {
				s.Gateways[i].Error = Plain(err)
			} else if live.History != nil {
				s.Gateways[i].Series = live.History.Series
			}
		})
	}
	asked.Wait()
	return s, nil
}
