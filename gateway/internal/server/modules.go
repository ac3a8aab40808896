// SPDX-License-Identifier: Apache-2.0

package server

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"wasmbed.dev/controllers/store"
	"wasmbed.dev/gateway/protocol"
)

// Bounds of fetching from the store.
const (
	downloadTimeout    = time.Minute
	downloadsAtOnce    = 4
	retryDownloadAfter = time.Second
)

var (
	// errNotCached: the module has to be fetched from the store first.
	errNotCached = errors.New("module is not in the cache")
	// errRecentlyFailed: fetching it failed a moment ago.
	errRecentlyFailed = errors.New("fetching the module failed a moment ago")
)

// fetcher is the module store as the cache sees it.
type fetcher interface {
	Fetch(ctx context.Context, digest string) ([]byte, error)
}

// modules is the cache of modules on disk, shared by all connections. Parts are read from the file when a device asks
// for them; no module stays in memory. A file is used once it was seen to be what its name says, in this process; when
// the cache is full the file that was not used for longest goes.
type modules struct {
	dir    string
	limit  int64
	store  fetcher
	m      *metrics
	group  singleflight.Group
	tokens chan struct{} // downloads under way

	mu     sync.Mutex
	files  map[protocol.Digest]*list.Element // of *moduleFile
	recent *list.List                        // most recently used first
	total  int64
	failed map[protocol.Digest]failure
}

type moduleFile struct {
	digest   protocol.Digest
	size     int64
	verified bool
}

type failure struct {
	err error
	at  time.Time
}

// openModules takes over what an earlier process left in dir.
func openModules(dir string, limit int64, source fetcher, m *metrics) (*modules, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("module cache: %w", err)
	}
	c := &modules{
		dir: dir, limit: limit, store: source, m: m, tokens: make(chan struct{}, downloadsAtOnce),
		files: map[protocol.Digest]*list.Element{}, recent: list.New(), failed: map[protocol.Digest]failure{},
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("module cache: %w", err)
	}
	for _, entry := range entries {
		digest, err := protocol.ParseDigest("sha256:" + entry.Name())
		info, statErr := entry.Info()
		if err != nil || statErr != nil || !info.Mode().IsRegular() {
			if strings.HasSuffix(entry.Name(), temporarySuffix) {
				_ = os.Remove(filepath.Join(dir, entry.Name()))
			}
			continue
		}
		c.insert(&moduleFile{digest: digest, size: info.Size()})
	}
	return c, nil
}

const temporarySuffix = ".tmp"

func (c *modules) path(d protocol.Digest) string {
	return filepath.Join(c.dir, hex.EncodeToString(d[:]))
}

// read reads len(b) bytes at offset. errNotCached asks for a call of load.
func (c *modules) read(d protocol.Digest, b []byte, offset int64) error {
	c.mu.Lock()
	element, ok := c.files[d]
	verified := ok && element.Value.(*moduleFile).verified
	if verified {
		c.recent.MoveToFront(element)
	}
	c.mu.Unlock()
	if !verified {
		return errNotCached
	}
	file, err := os.Open(c.path(d))
	if err != nil {
		c.drop(d)
		return errNotCached
	}
	defer file.Close()
	if _, err := file.ReadAt(b, offset); err != nil {
		c.drop(d)
		return errNotCached
	}
	return nil
}

// load makes a module readable: it checks the file that is there, or fetches it from the store. Many callers of one
// module share the work, and its failure for a moment.
func (c *modules) load(ctx context.Context, d protocol.Digest) error {
	c.mu.Lock()
	if f, ok := c.failed[d]; ok && time.Since(f.at) < retryDownloadAfter {
		c.mu.Unlock()
		return fmt.Errorf("%w: %w", errRecentlyFailed, f.err)
	}
	c.mu.Unlock()
	result := c.group.DoChan(d.String(), func() (any, error) {
		err := c.fetch(d)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.failed, d)
		if err != nil {
			if len(c.failed) >= 1024 {
				clear(c.failed)
			}
			c.failed[d] = failure{err, time.Now()}
		}
		return nil, err
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *modules) fetch(d protocol.Digest) error {
	if c.verify(d) {
		return nil
	}
	c.tokens <- struct{}{}
	defer func() { <-c.tokens }()
	ctx, cancel := context.WithTimeout(context.Background(), downloadTimeout)
	defer cancel()
	content, err := c.store.Fetch(ctx, d.String())
	if err == nil && protocol.DigestOf(content) != d {
		err = store.ErrCorrupt
	}
	if err == nil {
		err = c.save(d, content)
	}
	if err != nil {
		c.m.downloads.WithLabelValues("error").Inc()
		return err
	}
	c.m.downloads.WithLabelValues("ok").Inc()
	return nil
}

// verify checks a file of an earlier process.
func (c *modules) verify(d protocol.Digest) bool {
	c.mu.Lock()
	element, ok := c.files[d]
	c.mu.Unlock()
	if !ok {
		return false
	}
	file, err := os.Open(c.path(d))
	if err == nil {
		defer file.Close()
		sum := sha256.New()
		if _, err = io.Copy(sum, io.LimitReader(file, protocol.MaxArtifact+1)); err == nil && protocol.Digest(sum.Sum(nil)) == d {
			c.mu.Lock()
			element.Value.(*moduleFile).verified = true
			c.mu.Unlock()
			return true
		}
	}
	c.drop(d)
	return false
}

func (c *modules) save(d protocol.Digest, content []byte) error {
	temporary := c.path(d) + temporarySuffix
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("module cache: %w", err)
	}
	// No fsync: after a crash the file is checked before it is used.
	if err := os.Rename(temporary, c.path(d)); err != nil {
		return fmt.Errorf("module cache: %w", err)
	}
	c.insert(&moduleFile{digest: d, size: int64(len(content)), verified: true})
	return nil
}

func (c *modules) insert(file *moduleFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(file.digest)
	c.files[file.digest] = c.recent.PushFront(file)
	c.total += file.size
	for c.total > c.limit && c.recent.Len() > 1 {
		oldest := c.recent.Back().Value.(*moduleFile).digest
		c.remove(oldest)
		_ = os.Remove(c.path(oldest))
	}
}

// drop forgets a file that is not what it should be.
func (c *modules) drop(d protocol.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(d)
	if err := os.Remove(c.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.failed[d] = failure{err, time.Now()}
	}
}

// remove takes a file out of the books. The caller holds mu.
func (c *modules) remove(d protocol.Digest) {
	if element, ok := c.files[d]; ok {
		c.total -= element.Value.(*moduleFile).size
		c.recent.Remove(element)
		delete(c.files, d)
	}
}

func (c *modules) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
