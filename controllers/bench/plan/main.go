// SPDX-License-Identifier: Apache-2.0

// Command plan measures `wasmbed plan` of changes in a large fleet: the real program over a real git repository, from its
// start to the written comment. For each change it prints the time, the processor time and the most memory that the process
// had, as the median of its runs; memory as the highest of them.
//
//	go run ./controllers/bench/plan -devices 10000
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"wasmbed.dev/controllers/fleet/fleettest"
)

// devicesPerDirectory keeps a directory's build small, as a fleet's owner would.
const devicesPerDirectory = 100

// Exit statuses of wasmbed plan.
const (
	statusNoChange = 0
	statusChanges  = 2
)

func main() {
	devices := flag.Int("devices", 10_000, "devices of the fleet")
	rounds := flag.Int("rounds", 5, "runs of each change")
	program := flag.String("program", "bin/wasmbed", "the program")
	flag.Parse()
	if err := run(*devices, *rounds, *program); err != nil {
		fmt.Fprintln(os.Stderr, "bench/plan:", err)
		os.Exit(1)
	}
}

// change is one that is planned: what it does to the fleet, whether it is committed, and how the plan must end.
type change struct {
	name   string
	edit   func(fleettest.Tree)
	commit bool
	status int
	says   string
}

func changes() []change {
	retarget := func(t fleettest.Tree) {
		t.Replace("apps/app-0.yaml", "[gpio, timer]", "[gpio, timer, log]")
		t.Replace("apps/app-0.yaml", "tier: t0", "tier: t1")
	}
	everything := func(t fleettest.Tree) {
		for name, f := range t {
			switch {
			case strings.Contains(name, "device-"):
				t.Replace(name, "serial: \"0000", "serial: \"0001")
			case strings.HasPrefix(name, "apps/app-"):
				t.Set(name, f.Content+"  config: {a: \"1\"}\n")
			}
		}
	}
	return []change{
		{"nothing", func(fleettest.Tree) {}, true, statusNoChange, "nothing changes"},
		{"an app's permissions and selector", retarget, true, statusChanges, "permissions gained: log"},
		{"the same, not committed", retarget, false, statusChanges, "permissions gained: log"},
		{"an app to all, one by one", func(t fleettest.Tree) {
			t.Replace("apps/app-0.yaml", "selector:", "selector: {}\n  rollout: {maxUnavailable: 1}\n  #")
		}, true, statusChanges, "get it"},
		{"every device and eight apps", everything, true, statusChanges, "restart"},
	}
}

func run(devices, rounds int, program string) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-plan")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := fleettest.Large(devices, devicesPerDirectory).Write(dir); err != nil {
		return err
	}
	for _, args := range []string{"init -q -b main", "add -A", "commit -q -m Start", "gc -q"} {
		if err := git(dir, strings.Fields(args)...); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintf(os.Stdout, "wasmbed plan over %d devices, median of %d runs\n\n", devices+3, rounds)
	_, _ = fmt.Fprintln(table, "change\ttime\tprocessor time\tmemory\t")
	for _, c := range changes() {
		if err := prepare(dir, devices, c); err != nil {
			return err
		}
		if err := measure(table, program, dir, rounds, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return table.Flush()
}

// prepare makes the change on a branch of its own.
func prepare(dir string, devices int, c change) error {
	if err := git(dir, "checkout", "-q", "-f", "-B", "change", "main"); err != nil {
		return err
	}
	tree := fleettest.Large(devices, devicesPerDirectory)
	c.edit(tree)
	if err := tree.Write(dir); err != nil {
		return err
	}
	if !c.commit {
		return nil
	}
	return errors.Join(git(dir, "add", "-A"), git(dir, "commit", "-q", "--allow-empty", "-m", "Change"))
}

// measure plans the change some times, and fails when the plan is not what it must be.
func measure(table *tabwriter.Writer, program, dir string, rounds int, c change) error {
	var wall, processor []time.Duration
	memory := int64(0)
	for range rounds {
		args := []string{"plan", "--path", dir, "--base", "main", "-o", "markdown"}
		if c.commit {
			args = append(args, "--head", "HEAD")
		}
		cmd := exec.Command(program, args...)
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		began := time.Now()
		err := cmd.Run()
		wall = append(wall, time.Since(began))
		if cmd.ProcessState == nil {
			return err
		}
		if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(out.String(), c.says) {
			return fmt.Errorf("status %d: %.300s%.300s", status, said.String(), out.String())
		}
		processor = append(processor, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			memory = max(memory, usage.Maxrss<<10)
		}
	}
	_, err := fmt.Fprintf(table, "%s\t%.1f s\t%.1f s\t%d MB\t\n", c.name, median(wall).Seconds(), median(processor).Seconds(), memory/1e6)
	return err
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func git(dir string, args ...string) error {
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}
