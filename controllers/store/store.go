// SPDX-License-Identifier: Apache-2.0

// Package store keeps WebAssembly modules by the SHA-256 of their content: on disk, and over HTTP for gateways.
//
// A digest is "sha256:" and 64 lower-case hexadecimal digits. What is stored never changes, so a blob is written once,
// to a temporary file that is synced and renamed, and everything that reads one whole checks it against its name.
package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// MaxSize is the largest blob in bytes.
const MaxSize = 1 << 20

const digestPrefix = "sha256:"

var (
	// ErrNotFound is returned for a digest that the store does not hold.
	ErrNotFound = errors.New("no such blob")
	// ErrInvalidDigest is returned for what is not a digest.
	ErrInvalidDigest = errors.New("invalid digest")
	// ErrTooLarge is returned for a blob of more than MaxSize bytes.
	ErrTooLarge = fmt.Errorf("blob is larger than %d bytes", MaxSize)
	// ErrCorrupt is returned when content does not have the digest that it is stored or sent under.
	ErrCorrupt = errors.New("content does not match its digest")
)

// Digest returns the digest of content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// ValidDigest says whether s has the form of a digest.
func ValidDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, digestPrefix)
	return ok && len(digits) == 2*sha256.Size && strings.Trim(digits, "0123456789abcdef") == ""
}

// Store is a directory of blobs. Its methods may be called at the same time.
type Store struct {
	dir string
}

// Open opens the store in dir and makes the directory when it does not exist. What an interrupted Put left is removed.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for _, sub := range []string{s.blobs(), s.temporary()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("opening module store: %w", err)
		}
	}
	left, err := os.ReadDir(s.temporary())
	if err != nil {
		return nil, fmt.Errorf("opening module store: %w", err)
	}
	for _, entry := range left {
		if err := os.Remove(filepath.Join(s.temporary(), entry.Name())); err != nil {
			return nil, fmt.Errorf("opening module store: %w", err)
		}
	}
	return s, nil
}

func (s *Store) blobs() string     { return filepath.Join(s.dir, "sha256") }
func (s *Store) temporary() string { return filepath.Join(s.dir, "tmp") }

func (s *Store) path(digest string) (string, error) {
	if !ValidDigest(digest) {
		return "", fmt.Errorf("%w %q", ErrInvalidDigest, digest)
	}
	return filepath.Join(s.blobs(), digest[len(digestPrefix):]), nil
}

// Put stores content and returns its digest. Content that is there already only becomes young again for GC.
func (s *Store) Put(content []byte) (string, error) {
	if len(content) > MaxSize {
		return "", ErrTooLarge
	}
	digest := Digest(content)
	path, err := s.path(digest)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.Size() == int64(len(content)) && s.Touch(digest) {
		return digest, nil
	}
	if err := s.write(path, content); err != nil {
		return "", fmt.Errorf("storing %s: %w", digest, err)
	}
	return digest, nil
}

func (s *Store) write(path string, content []byte) (err error) {
	temp, err := os.CreateTemp(s.temporary(), "put-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = temp.Close()
			_ = os.Remove(temp.Name())
		}
	}()
	if _, err := temp.Write(content); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(s.blobs())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// Touch makes a blob young again for GC; false means that the store does not hold it.
func (s *Store) Touch(digest string) bool {
	path, err := s.path(digest)
	if err != nil {
		return false
	}
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// Has says whether the store holds a digest.
func (s *Store) Has(digest string) bool {
	path, err := s.path(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

// Open returns a reader on a blob and its size. The content is not checked; Get does that.
func (s *Store) Open(digest string) (io.ReadSeekCloser, int64, error) {
	path, err := s.path(digest)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s", ErrNotFound, digest)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening %s: %w", digest, err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, 0, fmt.Errorf("opening %s: %w", digest, err)
	}
	return file, info.Size(), nil
}

// Get returns a blob that has been checked against its digest. A blob that fails the check is removed, so that the
// next Put heals it.
func (s *Store) Get(digest string) ([]byte, error) {
	r, size, err := s.Open(digest)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if size <= MaxSize {
		content := make([]byte, size)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, fmt.Errorf("reading %s: %w", digest, err)
		}
		if Digest(content) == digest {
			return content, nil
		}
	}
	if path, err := s.path(digest); err == nil {
		_ = os.Remove(path)
	}
	return nil, fmt.Errorf("reading %s: %w", digest, ErrCorrupt)
}

// GC removes the blobs that keep does not want and that were put last before the given time; a blob younger than that
// may belong to a commit that is being applied. It returns how many it removed.
func (s *Store) GC(keep func(digest string) bool, before time.Time) (int, error) {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return 0, fmt.Errorf("collecting garbage of the module store: %w", err)
	}
	removed := 0
	for _, entry := range entries {
		digest := digestPrefix + entry.Name()
		if !ValidDigest(digest) || keep(digest) {
			continue
		}
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobs(), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, fmt.Errorf("collecting garbage of the module store: %w", err)
		}
		removed++
	}
	return removed, nil
}
