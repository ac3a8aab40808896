// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// limits bound what one fetch may bring. A commit with a file that is too large for a fleet is still fetched, so that it
// can be judged and named; these bounds only protect the machine.
type limits struct {
	pack     int64  // bytes of the pack
	objects  uint32 // objects in it
	object   int64  // bytes of one object, inflated
	inflated int64  // bytes of all objects, inflated
}

var fetchLimits = limits{pack: 1 << 30, objects: 2_000_000, object: 256 << 20, inflated: 16 << 30}

var errLimit = errors.New("the remote sends more than this installation takes")

// receive fetches a pack into a file, checks its bounds, and adds it to the clone.
func (c *Clone) receive(ctx context.Context, s session, refs *packp.AdvRefs, wants []plumbing.Hash) error {
	ask, err := request(refs, wants, c.haves())
	if err != nil {
		return err
	}
	response, err := s.pack(ctx, ask)
	if errors.Is(err, transport.ErrEmptyUploadPackRequest) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = response.Close() }()
	file, err := os.CreateTemp(c.dir, "incoming-")
	if err != nil {
		return &storageError{err}
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	if err := spool(file, demux(ask, response), fetchLimits.pack); err != nil {
		return err
	}
	if err := checkPack(file, fetchLimits); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return &storageError{err}
	}
	if err := packfile.UpdateObjectStorage(c.storage, bufio.NewReaderSize(file, 256<<10)); err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		_ = c.removeTemporary()
		return &storageError{fmt.Errorf("indexing the pack: %w", err)}
	}
	return nil
}

// storageError is a failure of the installation's own disk or clone.
type storageError struct{ error }

func (e *storageError) Unwrap() error { return e.error }

func demux(ask *packp.UploadPackRequest, r io.Reader) io.Reader {
	switch {
	case ask.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, r)
	case ask.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, r)
	}
	return r
}

// spool copies at most limit bytes to the file.
func spool(file *os.File, r io.Reader, limit int64) error {
	w := &fileWriter{file: file}
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	switch {
	case w.err != nil:
		return &storageError{w.err}
	case err != nil:
		return fmt.Errorf("receiving the pack: %w", err)
	case n > limit:
		return fmt.Errorf("%w: a pack of more than %d bytes", errLimit, limit)
	}
	return nil
}

// fileWriter keeps its own errors apart from the reader's.
type fileWriter struct {
	file *os.File
	err  error
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	w.err = err
	return n, err
}

// checkPack reads a pack once without keeping anything, and fails when an object, or what a delta makes of one, is
// larger than the limits. Indexing would inflate those in memory.
func checkPack(file *os.File, limit limits) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return &storageError{err}
	}
	scanner := packfile.NewScanner(file)
	_, count, err := scanner.Header()
	if errors.Is(err, packfile.ErrEmptyPackfile) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the pack: %w", err)
	}
	if count > limit.objects {
		return fmt.Errorf("%w: a pack of %d objects", errLimit, count)
	}
	var total int64
	for range count {
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return fmt.Errorf("reading the pack: %w", err)
		}
		if header.Length > limit.object {
			return fmt.Errorf("%w: an object of %d bytes", errLimit, header.Length)
		}
		size := header.Length
		if header.Type.IsDelta() {
			if size, err = deltaTarget(scanner, size); err != nil {
				return err
			}
		}
		if total += size; size > limit.object || total > limit.inflated {
			return fmt.Errorf("%w: objects of more than %d bytes", errLimit, min(limit.inflated, max(size, limit.object)))
		}
	}
	return nil
}

// deltaTarget is the size of what a delta makes: the second of the two numbers at its start, 7 bits a byte, low first.
func deltaTarget(scanner *packfile.Scanner, size int64) (int64, error) {
	head := &prefix{want: 2 * binary.MaxVarintLen64}
	if _, _, err := scanner.NextObject(head); err != nil {
		return 0, fmt.Errorf("reading the pack: %w", err)
	}
	r := bytes.NewReader(head.buf.Bytes())
	if _, err := binary.ReadUvarint(r); err != nil {
		return 0, fmt.Errorf("reading the pack: a delta without sizes")
	}
	target, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, fmt.Errorf("reading the pack: a delta without sizes")
	}
	return max(size, int64(min(target, 1<<62))), nil
}

// prefix keeps the first bytes that are written to it.
type prefix struct {
	buf  bytes.Buffer
	want int
}

func (p *prefix) Write(b []byte) (int, error) {
	if room := p.want - p.buf.Len(); room > 0 {
		p.buf.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}
