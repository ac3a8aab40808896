// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"wasmbed.dev/controllers/api/v1alpha1"
	"wasmbed.dev/controllers/internal/gatewayclient"
	"wasmbed.dev/controllers/internal/status"
	"wasmbed.dev/gateway"
)

// deviceReport is the state of one device: what the API server has of it, and what it told its gateway itself.
type deviceReport struct {
	Device  string               `json:"device"`
	Ready   bool                 `json:"ready"`
	Reason  string               `json:"reason"`
	Message string               `json:"message"`
	Board   string               `json:"board"`
	Phase   v1alpha1.DevicePhase `json:"phase"`
	Gateway string               `json:"gateway,omitempty"`
	// Live is absent when the gateway has no session with the device; NotLive says why.
	Live    *gateway.DeviceFacts `json:"live,omitempty"`
	NotLive string               `json:"notLive,omitempty"`
}

// deviceStatusOf reads the device and asks its gateway.
func deviceStatusOf(ctx context.Context, objects client.Client, gateways *gatewayclient.Client, namespace, name string) (*deviceReport, error) {
	device := &v1alpha1.Device{}
	if err := objects.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, device); err != nil {
		return nil, fmt.Errorf("read device: %w", err)
	}
	namespaceOf, nameOf, _ := strings.Cut(device.Status.Gateway, ".")
	r := &deviceReport{Device: namespace + "/" + name, Board: device.Spec.Board, Phase: device.Status.Phase, Reason: v1alpha1.ReasonPending, Message: "nothing has looked at it yet"}
	if nameOf != "" {
		r.Gateway = namespaceOf + "/" + nameOf
	}
	if ready := meta.FindStatusCondition(device.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		r.Ready, r.Reason, r.Message = ready.Status == "True" && device.Status.ObservedGeneration >= device.Generation, ready.Reason, ready.Message
	}
	facts, err := gateways.Facts(ctx, namespace, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		r.NotLive = err.Error()
	}
	r.Live = facts
	return r, nil
}

// text renders the report for a person.
func (r *deviceReport) text(now time.Time) string {
	var b strings.Builder
	mark := "✗"
	if r.Ready {
		mark = "✓"
	}
	fmt.Fprintf(&b, "%s Device %s  %s, %s: %s\n", mark, r.Device, r.Board, r.Reason, status.Printable(r.Message))
	if r.Live == nil {
		fmt.Fprintf(&b, "  nothing is known from the device itself: %s\n", status.Printable(r.NotLive))
		return b.String()
	}
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		fmt.Fprintf(columns, "  %s\t%s\n", status.Printable(name), status.Printable(value))
	}
	row("gateway", fmt.Sprintf("%s, since %s", r.Gateway, r.Live.Since.Local().Format(time.DateTime)))
	row("firmware", r.Live.Firmware)
	if r.Live.HeartbeatAt != nil {
		row("up", fmt.Sprintf("%s, as of %s ago", time.Duration(r.Live.Uptime)*time.Millisecond, now.Sub(*r.Live.HeartbeatAt).Round(time.Second)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Live.Metrics)) {
		row(deviceMetric(name, r.Live.Metrics[name]))
	}
	if r.Live.LastCrash != "" {
		row("last crash", r.Live.LastCrash)
	}
	for _, app := range r.Live.Apps {
		row("app "+app.Name, appText(app))
	}
	_ = columns.Flush() // b does not fail
	return b.String()
}

// deviceMetric gives a device's metric as a person says it.
func deviceMetric(name string, value uint64) (string, string) {
	switch name {
	case "led_mask":
		var on []string
		for pin := range 64 {
			if value>>pin&1 == 1 {
				on = append(on, strconv.Itoa(pin))
			}
		}
		if on == nil {
			return "LEDs on", "none"
		}
		return "LEDs on", strings.Join(on, " ")
	case "temperature_millidegrees":
		return "temperature", fmt.Sprintf("%.1f °C", float64(value)/1000)
	case "idle_permille":
		return "idle", fmt.Sprintf("%.1f %%", float64(value)/10)
	}
	return name, strconv.FormatUint(value, 10)
}

func appText(app gateway.AppFacts) string {
	parts := []string{app.Phase}
	if app.Reason != "" {
		parts[0] += " (" + app.Reason + "): " + app.Message
	}
	if app.Restarts > 0 {
		parts = append(parts, fmt.Sprintf("%d restarts", app.Restarts))
	}
	if app.Memory > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes of memory", app.Memory))
	}
	for _, name := range slices.Sorted(maps.Keys(app.Values)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, app.Values[name]))
	}
	return strings.Join(parts, ", ")
}

// deviceReports gives the report of a device anew at each call.
func deviceReports(ctx context.Context, objects client.Client, device string) (func() (statusReport, error), error) {
	namespace, name, _ := strings.Cut(device, "/")
	if namespace == "" || name == "" {
		return nil, fmt.Errorf("a device is named NAMESPACE/DEVICE, not %q", device)
	}
	gateways, err := gatewayclient.New(ctx, objects)
	if err != nil {
		return nil, err
	}
	return func() (statusReport, error) {
		r, err := deviceStatusOf(ctx, objects, gateways, namespace, name)
		if err != nil {
			return statusReport{}, err
		}
		return statusReport{content: r, ready: r.Ready, write: func(w io.Writer) error {
			_, err := io.WriteString(w, r.text(time.Now()))
			return err
		}}, nil
	}, nil
}
