// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// How long certificates live here. What the product allows for the differences of clocks, and for everyone to learn of
// a new authority, shrinks with them.
const (
	authorityLife = 4 * time.Minute
	leafLife      = 40 * time.Second
)

// edit replaces what a file of the product says once.
type edit struct{ file, old, new string }

var shortLives = []edit{
	{"controllers/pki/authority.go", "AuthorityValidity = 10 * 365 * 24 * time.Hour", "AuthorityValidity = " + nanoseconds(authorityLife)},
	{"controllers/pki/authority.go", "LeafValidity = 365 * 24 * time.Hour", "LeafValidity = " + nanoseconds(leafLife)},
	{"controllers/pki/authority.go", "Backdate = time.Hour", "Backdate = " + nanoseconds(5*time.Second)},
	{"controllers/internal/identity/identity.go", "settling = time.Hour", "settling = " + nanoseconds(10*time.Second)},
	{"controllers/internal/identity/identity.go", "lookMost = 12 * time.Hour", "lookMost = " + nanoseconds(2*time.Second)},
	{"controllers/internal/local/kubeconfig.go", "componentValidity  = 365 * 24 * time.Hour", "componentValidity = " + nanoseconds(leafLife)},
	{"controllers/internal/local/kubeconfig.go", "componentLeastLeft = 60 * 24 * time.Hour", "componentLeastLeft = " + nanoseconds(leafLife/2)},
	{"controllers/internal/local/kubeconfig.go", "componentRenewal   = time.Minute", "componentRenewal = " + nanoseconds(time.Second)},
	{"controllers/internal/local/handover.go", "handoverLater = 10 * time.Minute", "handoverLater = " + nanoseconds(2*time.Second)},
	{"controllers/internal/manager/manager.go", "identityInterval = 10 * time.Minute", "identityInterval = " + nanoseconds(2*time.Second)},
	{"gateway/internal/server/tickets.go", "ticketDay        = 24 * time.Hour", "ticketDay = " + nanoseconds(20*time.Second)},
	{"gateway/internal/server/tls.go", "time.NewTicker(time.Hour)", "time.NewTicker(" + nanoseconds(time.Second) + ")"},
	{"clusters/embedded/identity.go", "leafValidity = 365 * 24 * time.Hour", "leafValidity = " + nanoseconds(leafLife)},
	{"clusters/embedded/identity.go", "renewBefore = 30 * 24 * time.Hour", "renewBefore = " + nanoseconds(leafLife/2)},
	{"clusters/embedded/identity.go", "backdate = 5 * time.Minute", "backdate = " + nanoseconds(5*time.Second)},
	{"clusters/embedded/embedded.go", "renewalInterval = time.Minute", "renewalInterval = " + nanoseconds(time.Second)},
}

func nanoseconds(d time.Duration) string { return fmt.Sprintf("time.Duration(%d)", d) }

// clocksJump says whether programs can be built with a clock that jumps.
const clocksJump = runtime.GOOS == "linux" && runtime.GOARCH == "amd64"

// buildPrograms builds a wasmbed and a wasmbed-cluster whose certificates live shortly and whose clocks can jump, beside the other
// programs of bin. The product's files stay as they are.
func (i *installation) buildPrograms(ctx context.Context, bin string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	root := filepath.Dir(bin)
	to := filepath.Join(root, ".cache", "chaos")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	overlay, err := writeOverlay(root, to)
	if err != nil {
		return err
	}
	i.program = filepath.Join(to, "wasmbed")
	for module, command := range map[string]string{".": "./controllers/cmd/wasmbed", "clusters/embedded": "./cmd/wasmbed-cluster"} {
		program := filepath.Join(to, filepath.Base(command))
		_, err := i.run(ctx, filepath.Join(root, module), "go", "build", "-buildvcs=false", "-overlay", overlay, "-ldflags", "-s -w", "-o", program, command)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeOverlay writes what `go build -overlay` reads.
func writeOverlay(root, to string) (string, error) {
	files := map[string]string{}
	for _, e := range shortLives {
		text, edited := files[e.file]
		if !edited {
			content, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return "", err
			}
			text = string(content)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s says %q %d times, not once: tell controllers/bench/chaos/build.go what it says now", e.file, e.old, n)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	files["controllers/cmd/wasmbed/chaos.go"] = "package main\n\nimport \"k8s.io/client-go/transport\"\n\n" +
		"func init() { transport.CertCallbackRefreshDuration = " + strconv.Itoa(int(time.Second)) + " }\n"
	if clocksJump {
		files["controllers/cmd/wasmbed/chaosclock.go"] = "package main\n\nimport _ \"wasmbed.dev/controllers/bench/chaos/clock\"\n"
		for _, name := range []string{"clock.go", "clock_amd64.s"} {
			content, err := os.ReadFile(filepath.Join(root, "controllers", "bench", "chaos", "clock", name))
			if err != nil {
				return "", fmt.Errorf("clock for another module: %w", err)
			}
			files["clusters/embedded/cmd/wasmbed-cluster/chaos"+name] = strings.Replace(string(content), "\npackage clock\n", "\npackage main\n", 1)
		}
	}
	replace := map[string]string{}
	written := map[string]string{}
	for name, text := range files {
		short := "overlay-" + strings.ReplaceAll(name, "/", "-")
		written[short], replace[filepath.Join(root, name)] = text, filepath.Join(to, short)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	written["overlay.json"] = string(text)
	return filepath.Join(to, "overlay.json"), writeFiles(to, written)
}
