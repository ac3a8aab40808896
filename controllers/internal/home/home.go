// SPDX-License-Identifier: Apache-2.0

// Package home is the directory that holds everything an installation on one machine keeps: where each thing
// lies, which format the directory has, who holds it, and which ports its servers use.
package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FormatVersion is the version of the directory's layout that this program reads and writes.
const FormatVersion = 1

// DefaultDir is the home when neither --home nor WASMBED_HOME names one.
const DefaultDir = ".wasmbed"

// Dir is an installation's home, an absolute path.
type Dir string

// Resolve returns the home that flag names, or the environment, or the default below the working directory.
func Resolve(flag string) (Dir, error) {
	dir := flag
	if dir == "" {
		dir = os.Getenv("WASMBED_HOME")
	}
	if dir == "" {
		dir = DefaultDir
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve home %s: %w", dir, err)
	}
	return Dir(abs), nil
}

func (d Dir) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// Kubeconfig is the administrator's.
func (d Dir) Kubeconfig() string { return d.path("kubeconfig") }

// FleetRepository is the bare repository that people push to.
func (d Dir) FleetRepository() string { return d.path("fleet.git") }

// Log is the log file of a part.
func (d Dir) Log(part string) string { return d.path("log", part+".log") }

// LogDir holds the logs.
func (d Dir) LogDir() string { return d.path("log") }

// Run holds pid files, the lock and the state of what runs.
func (d Dir) Run(parts ...string) string { return d.path(append([]string{"run"}, parts...)...) }

// Cluster is the embedded cluster's data directory.
func (d Dir) Cluster(parts ...string) string { return d.path(append([]string{"cluster"}, parts...)...) }

// ComponentKubeconfig is the kubeconfig of one component's own identity.
func (d Dir) ComponentKubeconfig(part string) string { return d.path("kube", part+".kubeconfig") }

// ComponentCertificate is the certificate and the key that a component's kubeconfig names.
func (d Dir) ComponentCertificate(part string) string { return d.path("kube", part+".pem") }

// Data is a component's data directory.
func (d Dir) Data(parts ...string) string { return d.path(append([]string{"data"}, parts...)...) }

// DashboardToken is the file with the token that opens the dashboard.
func (d Dir) DashboardToken() string { return d.path("dashboard.token") }

func (d Dir) versionFile() string { return d.path("version") }

// Exists says whether the directory is a home.
func (d Dir) Exists() bool {
	_, err := os.Stat(d.versionFile())
	return err == nil
}

// Check fails when the directory is no home or has a newer format.
func (d Dir) Check() error {
	text, err := os.ReadFile(d.versionFile())
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is no Wasmbed home: start one with `wasmbed up`, or name another with --home", d)
	}
	if err != nil {
		return fmt.Errorf("read the home's format version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s does not hold a format version: %q", d.versionFile(), truncate(string(text), 40))
	}
	if version > FormatVersion {
		return fmt.Errorf("%s has format version %d and this program knows up to %d: use a newer wasmbed, or another --home", d, version, FormatVersion)
	}
	return nil
}

// Create makes the directory, or checks the one that is there. It refuses a directory that holds something else.
func (d Dir) Create() error {
	if d.Exists() {
		return d.Check()
	}
	entries, err := os.ReadDir(string(d))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open home: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty and no Wasmbed home: name another directory with --home", d)
	}
	for _, sub := range []string{"", "log", "run", "kube", "data"} {
		if err := os.MkdirAll(d.path(sub), 0o700); err != nil {
			return fmt.Errorf("create home: %w", err)
		}
	}
	return WriteFile(d.versionFile(), []byte(strconv.Itoa(FormatVersion)+"\n"), 0o600)
}

// Remove deletes the home and everything in it. It refuses while something runs from it.
func (d Dir) Remove() error {
	if err := d.Check(); err != nil {
		return err
	}
	unlock, err := d.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(string(d)); err != nil {
		return fmt.Errorf("remove home: %w", err)
	}
	return nil
}

// ErrRunning is returned by Lock when another process holds the home.
var ErrRunning = errors.New("wasmbed runs already on this home")

// Lock takes the home for this process until unlock is called or the process ends.
func (d Dir) Lock() (unlock func(), err error) {
	if err := os.MkdirAll(d.Run(), 0o700); err != nil {
		return nil, fmt.Errorf("create run directory: %w", err)
	}
	file, err := os.OpenFile(d.Run("lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the home's lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock home: %w", err)
	}
	return func() { _ = file.Close() }, nil
}

// Running says whether a process holds the home.
func (d Dir) Running() bool {
	if !d.Exists() {
		return false
	}
	unlock, err := d.Lock()
	if err != nil {
		return errors.Is(err, ErrRunning)
	}
	unlock()
	return false
}

// State is what the running `wasmbed up` tells the other commands.
type State struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"startedAt"`
	// Ready is true once everything was up, and false again while it restarts or stops.
	Ready bool `json:"ready"`
	// Settled is true once the start is over, ready or not.
	Settled bool  `json:"settled"`
	Ports   Ports `json:"ports"`
	// Cluster is "embedded" or the path of the kubeconfig of another cluster.
	Cluster string `json:"cluster"`
}

// WriteState replaces the state file.
func (d Dir) WriteState(s State) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return WriteFile(d.Run("state.json"), append(text, '\n'), 0o600)
}

// ReadState returns what the running `wasmbed up` last wrote; it fails when nothing runs.
func (d Dir) ReadState() (State, error) {
	var s State
	if err := d.Check(); err != nil {
		return s, err
	}
	if !d.Running() {
		return s, fmt.Errorf("nothing runs on %s: start it with `wasmbed up`", d)
	}
	text, err := os.ReadFile(d.Run("state.json"))
	if err != nil {
		return s, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read state: %w", err)
	}
	return s, nil
}

// WriteFile replaces a file so that a reader, or the next start after a power cut, sees the old or the new content.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := errors.Join(temp.Chmod(mode), writeSync(temp, content)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeSync(file *os.File, content []byte) error {
	_, err := file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func truncate(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
