// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"wasmbed.dev/gateway/protocol"
)

// savedState is what a device holds over a restart.
type savedState struct {
	Boots      uint32           `json:"boots"`
	Generation uint64           `json:"generation"`
	Digest     *protocol.Digest `json:"digest,omitempty"`
	Endpoints  []string         `json:"endpoints,omitempty"`
	Apps       []savedApp       `json:"apps,omitempty"`
}

// savedApp is what a device holds of one app.
type savedApp struct {
	Want       protocol.App    `json:"want"`
	Former     *protocol.App   `json:"former,omitempty"`
	Confirmed  bool            `json:"confirmed,omitempty"`
	RolledBack bool            `json:"rolledBack,omitempty"`
	Reason     protocol.Reason `json:"reason,omitempty"`
	Message    string          `json:"message,omitempty"`
}

// store is a device's flash: files, or memory when there is no directory.
type store struct {
	dir   string // empty: nothing is kept
	names bool   // only which modules are there, not their bytes

	mu      *sync.Mutex
	modules map[protocol.Digest][]byte // without a directory, or with names
}

const (
	stateFile    = "state.json"
	moduleFolder = "modules"
	maxState     = 1 << 20
)

func newStore(dir string, names bool) store {
	return store{dir: dir, names: names, mu: &sync.Mutex{}, modules: map[protocol.Digest][]byte{}}
}

// loadState yields the zero state when there is none, or when it cannot be read: then the device is as new, and is
// told everything again.
func (s store) loadState() (savedState, error) {
	if s.dir == "" {
		return savedState{}, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return savedState{}, fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.Open(filepath.Join(s.dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return savedState{}, nil
	}
	if err != nil {
		return savedState{}, fmt.Errorf("open state: %w", err)
	}
	defer func() { _ = f.Close() }()
	var state savedState
	if err := json.NewDecoder(io.LimitReader(f, maxState)).Decode(&state); err != nil {
		return savedState{}, nil
	}
	return state, nil
}

func (s store) saveState(state savedState) error {
	if s.dir == "" {
		return nil
	}
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	return replaceFile(filepath.Join(s.dir, stateFile), text)
}

func (s store) modulePath(d protocol.Digest) string {
	return filepath.Join(s.dir, moduleFolder, hex.EncodeToString(d[:]))
}

// inMemory tells whether modules are kept in memory.
func (s store) inMemory() bool { return s.dir == "" || s.names }

func (s store) hasModule(d protocol.Digest) bool {
	if s.inMemory() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, ok := s.modules[d]
		return ok
	}
	_, err := os.Stat(s.modulePath(d))
	return err == nil
}

// readModule checks the digest again: a flash can rot.
func (s store) readModule(d protocol.Digest) ([]byte, error) {
	if s.inMemory() {
		s.mu.Lock()
		defer s.mu.Unlock()
		b, ok := s.modules[d]
		if !ok {
			return nil, os.ErrNotExist
		}
		return b, nil
	}
	b, err := os.ReadFile(s.modulePath(d))
	if err == nil && protocol.DigestOf(b) != d {
		_ = os.Remove(s.modulePath(d)) // fetched anew
		err = refusal{protocol.ReasonDigestMismatch, "the stored module is damaged"}
	}
	return b, err
}

func (s store) writeModule(d protocol.Digest, b []byte) error {
	if s.inMemory() {
		if s.names {
			b = nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.modules[d] = b
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.dir, moduleFolder), 0o700); err != nil {
		return fmt.Errorf("store module: %w", err)
	}
	return replaceFile(s.modulePath(d), b)
}

// keepModules removes all others.
func (s store) keepModules(keep map[protocol.Digest]bool) {
	if s.inMemory() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for d := range s.modules {
			if !keep[d] {
				delete(s.modules, d)
			}
		}
		return
	}
	entries, _ := os.ReadDir(filepath.Join(s.dir, moduleFolder)) // absent: nothing to remove
	for _, e := range entries {
		var d protocol.Digest
		raw, err := hex.DecodeString(e.Name())
		if err == nil && len(raw) == len(d) {
			copy(d[:], raw)
		}
		if !keep[d] {
			_ = os.Remove(filepath.Join(s.dir, moduleFolder, e.Name())) // tried again with the next change
		}
	}
}

// replaceFile leaves the old or the new content, whenever the process ends.
func replaceFile(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
