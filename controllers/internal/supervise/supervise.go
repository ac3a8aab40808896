// SPDX-License-Identifier: Apache-2.0

// Package supervise keeps child processes running: it starts them, writes their output to bounded log files,
// starts them again with backoff when they end, and stops them in the reverse order of their start.
//
// On Linux a child is told to end when its supervisor is killed, so that nothing is left behind.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
)

const (
	backoffLeast = 200 * time.Millisecond
	backoffMost  = 10 * time.Second
	// A process that ran this long is not in a crash loop.
	steadyAfter = 30 * time.Second
	// How soon a pid file that could not be written is tried again.
	retryPID = 500 * time.Millisecond
	// How long a process may take to end after SIGTERM.
	stopGrace = 15 * time.Second
)

// Part is one process to keep running.
type Part struct {
	Name string
	Path string
	Args []string
	// Env is added to the supervisor's own environment.
	Env []string
	// Log is the file that takes standard output and standard error.
	Log string
	// PIDFile holds the process id while the process runs.
	PIDFile string
	// Final are exit statuses after which another try cannot help: the part is left as it is.
	Final []int
}

// Status is what is known of a part.
type Status struct {
	Name     string
	PID      int // 0: does not run now
	Restarts int
	// LastExit says how the process ended last; empty when it never did.
	LastExit string
	// Failed is true when the process ended with a final status and is not started again.
	Failed bool
}

// Supervisor keeps parts running. Its methods may be called from several goroutines.
type Supervisor struct {
	log    logr.Logger
	starts chan func()

	mu    sync.Mutex
	parts []*running
}

type running struct {
	part   Part
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	status Status
}

// New returns a supervisor without parts. Close ends it.
func New(log logr.Logger) *Supervisor {
	s := &Supervisor{log: log, starts: make(chan func())}
	// The kernel sends a child's death signal when the *thread* that started it ends, so one thread starts them all.
	go func() {
		runtime.LockOSThread()
		for start := range s.starts {
			start()
		}
	}()
	return s
}

// Start begins to keep a part running.
func (s *Supervisor) Start(part Part) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{part: part, cancel: cancel, done: make(chan struct{})}
	r.status.Name = part.Name
	s.mu.Lock()
	s.parts = append(s.parts, r)
	s.mu.Unlock()
	go s.keep(ctx, r)
}

// Stop ends a part and forgets it; it returns when the process is gone.
func (s *Supervisor) Stop(name string) {
	s.mu.Lock()
	i := slices.IndexFunc(s.parts, func(r *running) bool { return r.part.Name == name })
	if i < 0 {
		s.mu.Unlock()
		return
	}
	r := s.parts[i]
	s.parts = slices.Delete(s.parts, i, i+1)
	s.mu.Unlock()
	r.cancel()
	<-r.done
}

// Close stops all parts, last started first, and ends the supervisor.
func (s *Supervisor) Close() {
	s.StopAll()
	close(s.starts)
}

// StopAll stops all parts, last started first.
func (s *Supervisor) StopAll() {
	status := s.Status()
	for _, st := range slices.Backward(status) {
		s.Stop(st.Name)
	}
}

// Status of all parts in the order of their start.
func (s *Supervisor) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, len(s.parts))
	for i, r := range s.parts {
		r.mu.Lock()
		list[i] = r.status
		r.mu.Unlock()
	}
	return list
}

func (s *Supervisor) keep(ctx context.Context, r *running) {
	defer close(r.done)
	backoff := backoffLeast
	for {
		began := time.Now()
		exit, status := s.once(ctx, r)
		final := slices.Contains(r.part.Final, status)
		r.mu.Lock()
		r.status.PID, r.status.LastExit, r.status.Failed = 0, exit, final
		r.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if final {
			s.log.Info("process ended for good", "part", r.part.Name, "exit", exit)
			return
		}
		if time.Since(began) >= steadyAfter {
			backoff = backoffLeast
		}
		s.log.Info("process ended; starting it again", "part", r.part.Name, "exit", exit, "in", backoff.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffMost)
		r.mu.Lock()
		r.status.Restarts++
		r.mu.Unlock()
	}
}

// once runs the process from start to end and says how it ended; status is -1 when it has none.
func (s *Supervisor) once(ctx context.Context, r *running) (how string, status int) {
	logFile, err := openLog(r.part.Log)
	if err != nil {
		return err.Error(), -1
	}
	defer func() { _ = logFile.Close() }()
	cmd := exec.CommandContext(ctx, r.part.Path, r.part.Args...)
	cmd.Env = append(os.Environ(), r.part.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace

	started := make(chan error)
	s.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		_, _ = fmt.Fprintf(logFile, "cannot start %s: %v\n", r.part.Path, err)
		return fmt.Sprintf("cannot start: %v", err), -1
	}
	r.mu.Lock()
	r.status.PID = cmd.Process.Pid
	r.mu.Unlock()
	if r.part.PIDFile != "" {
		defer s.notePID(r.part, cmd.Process.Pid)()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0", 0
	case errors.As(err, &exit):
		return exit.ProcessState.String(), exit.ExitCode()
	default:
		return err.Error(), -1
	}
}

// notePID writes the pid file, and again until that succeeds: on a full disk it would be there and empty. The returned
// function removes it.
func (s *Supervisor) notePID(part Part, pid int) (remove func()) {
	write := func() error { return os.WriteFile(part.PIDFile, []byte(strconv.Itoa(pid)+"\n"), 0o600) }
	err := write()
	if err == nil {
		return func() { _ = os.Remove(part.PIDFile) }
	}
	s.log.Error(err, "cannot write pid file; trying again until it is written", "part", part.Name)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for err != nil {
			select {
			case <-stop:
				return
			case <-time.After(retryPID):
				err = write()
			}
		}
	}()
	return func() {
		close(stop)
		<-done
		_ = os.Remove(part.PIDFile)
	}
}

// logMost is how large a log file becomes before it is renamed to FILE.1, which replaces the one before.
const logMost = 16 << 20

type rotatingLog struct {
	mu   sync.Mutex
	path string
	file *os.File
	size int64
}

func openLog(path string) (io.WriteCloser, error) {
	l := &rotatingLog{path: path}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *rotatingLog) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), file.Close())
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write never fails: a full disk must not stop the process whose output this is.
func (l *rotatingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(p)) > logMost {
		_ = l.file.Close()
		_ = os.Rename(l.path, l.path+".1")
		if l.open() != nil {
			return len(p), nil
		}
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

func (l *rotatingLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
