// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// wirePair is a wire over a real socket, and the other side of it.
func wirePair(t testing.TB) (*wire, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	there, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	w, err := newWire(here)
	if err != nil {
		t.Fatal(err)
	}
	_ = here.SetDeadline(time.Now().Add(10 * time.Second))
	return w, there
}

func record(content string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(content))), content...)
}

func write(t *testing.T, to net.Conn, b []byte) {
	t.Helper()
	if _, err := to.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestWireGivesOneRecordAtATime(t *testing.T) {
	w, there := wirePair(t)
	w.idle = true
	if _, err := w.Read(make([]byte, 9)); !errors.Is(err, errIdle) {
		t.Fatalf("with nothing there: %v", err)
	}
	if w.heard.Load() {
		t.Error("it heard something")
	}
	write(t, there, append(record("abc"), record("")...))
	w.await()
	var got []byte
	for {
		b := make([]byte, 100)
		n, err := w.Read(b)
		if errors.Is(err, errIdle) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
		if len(got) > len(record("abc")) {
			t.Fatalf("bytes of the next record came along: %q", got)
		}
	}
	if !bytes.Equal(got, record("abc")) || !w.heard.Load() {
		t.Errorf("got %q", got)
	}
	w.await()
	if b, err := io.ReadAll(io.LimitReader(w, recordHeader)); err != nil || !bytes.Equal(b, record("")) {
		t.Errorf("an empty record: %q, %v", b, err)
	}
}

func TestWireWaitsForAWholeHeader(t *testing.T) {
	w, there := wirePair(t)
	w.idle = true
	done := make(chan struct{})
	go func() { w.await(); close(done) }()
	for _, b := range record("x")[:recordHeader] {
		select {
		case <-done:
			t.Fatal("it stopped waiting in the middle of a header")
		case <-time.After(5 * time.Millisecond):
		}
		write(t, there, []byte{b})
	}
	<-done
}

func TestWireStopsWaiting(t *testing.T) {
	for what, test := range map[string]struct {
		end  func(w *wire, there net.Conn)
		want error
	}{
		"when the other side closes": {func(_ *wire, there net.Conn) { there.Close() }, io.EOF},
		"when a header is torn": {func(_ *wire, there net.Conn) {
			_, _ = there.Write([]byte{23, 3})
			there.Close()
		}, io.ErrUnexpectedEOF},
		"when the deadline passes": {func(w *wire, _ net.Conn) { _ = w.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"when it is closed":        {func(w *wire, _ net.Conn) { w.Close() }, net.ErrClosed},
		"when the connection is reset": {func(_ *wire, there net.Conn) {
			_ = there.(*net.TCPConn).SetLinger(0)
			there.Close()
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			w, there := wirePair(t)
			done := make(chan struct{})
			go func() { w.await(); close(done) }()
			time.Sleep(10 * time.Millisecond)
			test.end(w, there)
			<-done
			w.idle = what != "when the deadline passes"
			_, err := w.Read(make([]byte, 9))
			if err == nil || errors.Is(err, errIdle) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("then Read says %v", err)
			}
		})
	}
}

// FuzzWire cuts arbitrary bytes into arbitrary pieces: what comes out is what went in, and never beyond a record.
func FuzzWire(f *testing.F) {
	f.Add(append(record("abc"), record("")...), uint8(3), uint8(2))
	f.Add([]byte{22, 3, 1, 255, 255, 1}, uint8(1), uint8(200))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint8(7), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, piece, room uint8) {
		w := &wire{Conn: &pieces{rest: in, piece: int(piece) + 1}}
		var out []byte
		for end := 0; ; {
			b := make([]byte, int(room)+1)
			n, err := w.Read(b)
			out = append(out, b[:n]...)
			if len(out) >= end+recordHeader {
				end += recordHeader + int(binary.BigEndian.Uint16(out[end+3:]))
			}
			if at := len(out); w.have == 0 && err == nil && at != end {
				t.Fatalf("between records after %d bytes, the record ends at %d", at, end)
			}
			if err != nil {
				break
			}
		}
		if torn := len(in) - len(out); !bytes.HasPrefix(in, out) || torn >= recordHeader {
			t.Fatalf("%d of %d bytes came out", len(out), len(in))
		}
	})
}

// pieces is a connection whose bytes come in pieces.
type pieces struct {
	net.Conn
	rest  []byte
	piece int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.piece, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
