// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmbed.dev/devices/boards"
)

// Reasons of a [Problem], fit for a condition of a Device.
const (
	ReasonQEMUMissing     = "QEMUMissing"     // no QEMU on this machine
	ReasonQEMUTooOld      = "QEMUTooOld"      // its version is below MinimumVersion
	ReasonMachineUnknown  = "MachineUnknown"  // the board has no machine, or QEMU does not know it
	ReasonFirmwareMissing = "FirmwareMissing" // the firmware has not been built
	ReasonConsoleBusy     = "ConsoleBusy"     // the console's address is in use
	ReasonIdentityMissing = "IdentityMissing" // there is no identity to provision yet
	ReasonLaunchFailed    = "LaunchFailed"    // QEMU ended at once, or did not answer
)

// Problem is why a board does not run, in words for people: what is wrong and what to do.
type Problem struct {
	Reason  string
	Message string
}

// Error implements error.
func (p *Problem) Error() string { return p.Message }

func problem(reason, format string, args ...any) *Problem {
	return &Problem{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// asProblem gives every error a reason.
func asProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return problem(ReasonLaunchFailed, "%v", err)
}

// Program is the emulator's name.
const Program = "qemu-system-arm"

// MinimumVersion of QEMU that the boards were tried with.
const MinimumVersion = 7

var versionLine = regexp.MustCompile(`version (\d+)\.(\d+)`)

// checkLasts is how long a machine that could emulate a board is not asked again.
const checkLasts = time.Minute

var checked sync.Map // program and machine -> time.Time of the last success

func checkKey(program string, board boards.Board) string { return program + " " + board.QEMUMachine }

func forget(program string, board boards.Board) { checked.Delete(checkKey(program, board)) }

// Check tells whether this machine can emulate the board: a *Problem, or nil.
func Check(ctx context.Context, program string, board boards.Board) error {
	key := checkKey(program, board)
	if at, ok := checked.Load(key); ok && time.Since(at.(time.Time)) < checkLasts && provisionAddress[board.Name] != 0 {
		return nil
	}
	if err := check(ctx, program, board); err != nil {
		return err
	}
	checked.Store(key, time.Now())
	return nil
}

func check(ctx context.Context, program string, board boards.Board) error {
	if board.QEMUMachine == "" || provisionAddress[board.Name] == 0 {
		return problem(ReasonMachineUnknown, "board %s cannot be emulated", board.Name)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return problem(ReasonQEMUMissing, "%s is not installed: install the package qemu-system-arm, or run make -C firmware tools", program)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	match := versionLine.FindSubmatch(out)
	if err != nil || match == nil {
		return problem(ReasonQEMUMissing, "%s does not tell its version: %v", path, err)
	}
	if major, _ := strconv.Atoi(string(match[1])); major < MinimumVersion {
		return problem(ReasonQEMUTooOld, "QEMU %s.%s is too old: %d or later is needed", match[1], match[2], MinimumVersion)
	}
	out, err = exec.CommandContext(ctx, path, "-M", "help").Output()
	if err != nil {
		return problem(ReasonMachineUnknown, "%s does not list its machines: %v", path, err)
	}
	for line := range strings.Lines(string(out)) {
		if name, _, _ := strings.Cut(line, " "); name == board.QEMUMachine {
			return nil
		}
	}
	return problem(ReasonMachineUnknown, "QEMU %s.%s has no machine %s: install a later version", match[1], match[2], board.QEMUMachine)
}

func checkFirmware(path string) error {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return problem(ReasonFirmwareMissing, "the firmware %s is not there: run make -C firmware", path)
	}
	return nil
}
