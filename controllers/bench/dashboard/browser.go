// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "wasmbed.dev/controllers/api/v1alpha1"
)

const (
	browserTool  = "dashboard/page/tools/bench.mjs"
	onTheScreen  = 15 // rows that the browser shows without scrolling
	longestRound = 8 * time.Minute
)

// found is a line of the browser's tool.
type found struct {
	Kind         string
	View         string
	What         string // memory is watched: staying or walking
	Milliseconds []float64
	Bytes        float64
	Frames       int
	Changes      map[string]float64 // a change's name → when it was on the screen, milliseconds since 1970
	Second       int
	Heap         float64
	Resident     float64
	Nodes        int
	Listeners    int
}

// browse has chromium look at the fleet while devices change, and prints what it finds.
func (b *bench) browse(rate, seconds int, memory time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*memory+longestRound)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	tool := exec.CommandContext(ctx, "node", browserTool, "http://"+b.address+"/?token="+token, strconv.Itoa(seconds), strconv.Itoa(int(memory.Seconds())))
	tool.Stderr = os.Stderr
	output, err := tool.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tool.Start(); err != nil {
		return fmt.Errorf("start the browser's tool (make build tools installs what it needs): %w", err)
	}
	changes := &changes{written: map[string]time.Time{}}
	changing, stop := context.WithCancel(ctx)
	group.Go(func() error {
		defer stop()
		err := b.report(output, changes, func() {
			group.Go(func() error { return b.changeForBrowser(changing, rate, changes) })
		})
		if err != nil {
			_ = tool.Process.Kill()
		}
		return errors.Join(err, tool.Wait())
	})
	return group.Wait()
}

// report prints what the tool finds, and calls watching when changes shall begin.
func (b *bench) report(output io.Reader, changes *changes, watching func()) error {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var f found
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return fmt.Errorf("the browser's tool said %q: %w", lines.Text(), err)
		}
		switch f.Kind {
		case "first":
			say("%-44s %8.1f ms p50 %8.1f ms worst of %d\n", "chromium: navigation → "+f.View, quantile(f.Milliseconds, 50), quantile(f.Milliseconds, 100), len(f.Milliseconds))
		case "watching":
			watching()
		case "wire":
			n := changes.count()
			say("%-44s %8.0f (%d frames, %d changes)\n", "chromium: bytes on the wire a change", f.Bytes/float64(max(1, n)), f.Frames, n)
		case "shown":
			waits := changes.waits(f.Changes)
			say("%-44s %8.1f ms p50 %8.1f ms p95 %8.1f ms worst (%d seen)\n", "chromium: write → pixel", quantile(waits, 50), quantile(waits, 95), quantile(waits, 100), len(waits))
		case "memory":
			server, most, err := memory(b.server.Process.Pid)
			if err != nil {
				return err
			}
			say("%-44s %8.2f MB heap %8.1f MB renderer %6d nodes %5d listeners %6.0f MB server, at most %.0f\n", fmt.Sprintf("chromium: memory %s, after %d s", f.What, f.Second), f.Heap/1e6, f.Resident/1e6, f.Nodes, f.Listeners, server, most)
		}
	}
	return lines.Err()
}

// changes are the writes whose text the browser can see.
type changes struct {
	mu      sync.Mutex
	written map[string]time.Time // a change's name → when its write began
	all     int
}

func (c *changes) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

func (c *changes) waits(shown map[string]float64) []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var waits []float64
	for name, at := range shown {
		if began, ok := c.written[name]; ok {
			waits = append(waits, at-float64(began.UnixMicro())/1000)
		}
	}
	return waits
}

// changeForBrowser writes devices' statuses until ctx ends: every second one on the screen, where its condition's
// message is to be read, the others anywhere.
func (b *bench) changeForBrowser(ctx context.Context, rate int, changes *changes) error {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		name, device, phase := fmt.Sprintf("change-%d", n), (n*37)%b.devices, []api.DevicePhase{api.DeviceOnline, api.DeviceOffline}[n/window%2]
		if n%2 == 0 {
			device, phase = n/2%onTheScreen, api.DeviceOffline
		}
		changes.mu.Lock()
		changes.all++
		changes.written[name] = time.Now()
		changes.mu.Unlock()
		if err := b.writePhase(ctx, device, phase, name); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (b *bench) writePhase(ctx context.Context, device int, phase api.DevicePhase, message string) error {
	ready := metav1.Condition{Type: api.ConditionReady, Status: metav1.ConditionTrue, Reason: api.ReasonOnline, Message: message, LastTransitionTime: metav1.Now()}
	if phase == api.DeviceOffline {
		ready.Status, ready.Reason = metav1.ConditionFalse, api.ReasonDisconnected
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"phase": phase, "conditions": []metav1.Condition{ready}}})
	if err != nil {
		return err
	}
	d := &api.Device{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deviceName(device)}}
	return b.kube.Status().Patch(ctx, d, client.RawPatch("application/merge-patch+json", patch))
}
