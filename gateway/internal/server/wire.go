// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// recordHeader is the size of the header of a TLS record; its last two bytes are the length of what follows.
const recordHeader = 5

// wire is the network under a connection's TLS. It gives TLS one record at a time and never a byte of the next one, so
// that between two records TLS holds no bytes back: then [wire.await] is all that has to wait, and it needs so little
// stack that ten thousand of it are cheap. Read and await are for one goroutine at a time.
type wire struct {
	net.Conn
	raw syscall.RawConn
	// head is the header of the present record: have bytes of it have come, and given were passed on. left bytes of
	// what follows it have not been passed on.
	head        [recordHeader]byte
	have, given uint8
	left        uint16
	// idle makes Read return errIdle when the next record has not begun to come.
	idle bool
	// failed is an error that await met; Read returns it.
	failed error
	// heard is true once the other side has said anything.
	heard atomic.Bool
}

func newWire(conn net.Conn) (*wire, error) {
	w := &wire{Conn: conn}
	file, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("internal error: %T has no file descriptor", conn)
	}
	var err error
	if w.raw, err = file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("connection of a device: %w", err)
	}
	return w, nil
}

// idleError says that there is nothing to read now. It is temporary, so that TLS can be read from again.
type idleError struct{}

func (idleError) Error() string   { return "nothing to read now" }
func (idleError) Timeout() bool   { return false }
func (idleError) Temporary() bool { return true }

var errIdle net.Error = idleError{}

// Read implements [io.Reader].
func (w *wire) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if w.have < recordHeader {
		if w.failed != nil {
			return 0, w.failed
		}
		if w.have == 0 && w.idle {
			return 0, errIdle
		}
		n, err := io.ReadFull(w.Conn, w.head[w.have:])
		w.noteHeard(n)
		w.have += uint8(n)
		if errors.Is(err, io.EOF) && w.have > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
	if w.given < recordHeader {
		n := copy(b, w.head[w.given:])
		w.given += uint8(n)
		w.left = binary.BigEndian.Uint16(w.head[recordHeader-2:])
		w.endRecord()
		return n, nil
	}
	n, err := w.Conn.Read(b[:min(len(b), int(w.left))])
	w.left -= uint16(n)
	w.endRecord()
	return n, err
}

// endRecord gets ready for the next record when all of the present one was passed on.
func (w *wire) endRecord() {
	if w.given == recordHeader && w.left == 0 {
		w.have, w.given = 0, 0
	}
}

func (w *wire) noteHeard(n int) {
	if n > 0 && !w.heard.Load() {
		w.heard.Store(true)
	}
}

// await returns when the header of the next record has come, the connection has ended, or its read deadline has passed.
// The next Read says that it ended; that the deadline has passed only shows when Read is not idle.
func (w *wire) await() {
	if err := w.raw.Read(w.fill); err != nil && w.failed == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.failed = err
	}
}

// fill reads the header, as far as it has come, and reports whether there is nothing more to wait for.
func (w *wire) fill(fd uintptr) (done bool) {
	for w.have < recordHeader {
		n, err := syscall.Read(int(fd), w.head[w.have:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return false
		case err != nil:
			w.failed = os.NewSyscallError("read", err)
			return true
		case n <= 0:
			w.failed = io.EOF
			if w.have > 0 {
				w.failed = io.ErrUnexpectedEOF
			}
			return true
		default:
			w.noteHeard(n)
			w.have += uint8(n)
		}
	}
	return true
}
