// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// record is what process.json says. A process identifier alone can be another process by now; with its start time it
// names one process for good.
type record struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // clock ticks since the machine's boot, as the kernel tells them
	Launch  string `json:"launch"`  // digest of what it was launched for
}

// process is a QEMU that runs, launched by this supervisor or taken over from a former one.
type process struct {
	record  record
	fd      int // names the process
	adopted bool
	child   *exec.Cmd // nil when adopted
	exited  chan struct{}
	exit    Exit
}

// Exit is how a board's process ended.
type Exit struct {
	Time time.Time
	// Reason in words: exit status, signal, and the last words of QEMU.
	Reason string
}

// startTime is field 22 of /proc/PID/stat; the name in field 2 can hold anything but is in the last parentheses. A
// process that has ended and was not waited for yet has none.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	if fields[0] == "Z" {
		return "", os.ErrProcessDone
	}
	return fields[19], nil
}

// launchID is a digest of what makes a running board another one: its arguments and its firmware's content.
func launchID(firmware string, args []string) (string, error) {
	content, err := os.ReadFile(firmware)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(content)
	for _, a := range args {
		fmt.Fprintf(h, "\x00%s", a)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

const recordName = "process.json"

func writeRecord(dir string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := filepath.Join(dir, recordName+".new")
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, recordName))
}

// findOrphan returns the process that a former supervisor left in dir, or nil.
func findOrphan(dir string) *process {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil || json.Unmarshal(b, &r) != nil || r.PID <= 1 {
		return nil
	}
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return nil
	}
	if started, err := startTime(r.PID); err != nil || started != r.Started {
		unix.Close(fd)
		return nil
	}
	p := &process{record: r, fd: fd, adopted: true, exited: make(chan struct{})}
	go p.waitAdopted()
	return p
}

func (p *process) waitAdopted() {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			break
		}
	}
	p.exit = Exit{Time: time.Now(), Reason: "ended; it was launched by a former supervisor, so its status is not known"}
	close(p.exited)
}

// launch starts QEMU in dir, paused.
func launch(dir, program string, args []string, id string) (*process, error) {
	output, err := os.OpenFile(filepath.Join(dir, "qemu.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	for _, name := range []string{consoleSocket, monitorSocket} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	// A group of its own: a Ctrl-C is for the supervisor, which then ends the board in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{child: cmd, exited: make(chan struct{}), fd: -1, record: record{PID: cmd.Process.Pid, Launch: id}}
	p.record.Started, _ = startTime(cmd.Process.Pid)
	err = writeRecord(dir, p.record)
	go func() {
		waitErr := cmd.Wait()
		p.exit = Exit{Time: time.Now(), Reason: exitReason(waitErr, filepath.Join(dir, "qemu.log"))}
		close(p.exited)
	}()
	if err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

const maxLastWords = 400

func exitReason(err error, log string) string {
	reason := "exit status 0"
	if err != nil {
		reason = err.Error()
	}
	b, _ := os.ReadFile(log)
	if words := strings.TrimSpace(string(b[max(0, len(b)-maxLastWords):])); words != "" {
		reason += ": " + strings.ToValidUTF8(words, "?")
	}
	return reason
}

func (p *process) signal(s unix.Signal) {
	if p.child != nil {
		_ = p.child.Process.Signal(s)
		return
	}
	_ = unix.PidfdSendSignal(p.fd, s, nil, 0)
}

func (p *process) kill() {
	p.signal(unix.SIGKILL)
	<-p.exited
}

// end asks for an end, and takes it after the given time.
func (p *process) end(patience time.Duration) {
	p.signal(unix.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.kill()
	}
}

func (p *process) release() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// dialSocket connects to a unix socket in dir, waiting for it to appear. It goes through the directory's descriptor,
// because a socket's path is limited to about a hundred bytes and dir is not.
func dialSocket(ctx context.Context, dir, name string, p *process) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s does not answer: %w", name, err)
		case <-p.exited:
			return nil, fmt.Errorf("QEMU ended at once: %s", p.exit.Reason)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
