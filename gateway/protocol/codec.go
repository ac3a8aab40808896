// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

var (
	// ErrTooLarge: a frame is longer than its receiver takes.
	ErrTooLarge = errors.New("frame too large")
	// ErrMalformed: bytes that are not one item in the encoding that the protocol asks for.
	ErrMalformed = errors.New("malformed frame")
	// ErrInvalid: a well-formed item that is no frame of the protocol: a key missing, a wrong type, a value out of
	// its bounds.
	ErrInvalid = errors.New("invalid frame")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

var encMode = func() cbor.UserBufferEncMode {
	opts := cbor.CoreDetEncOptions()
	opts.NilContainers = cbor.NilContainerAsEmpty
	opts.OmitEmpty = cbor.OmitEmptyGoValue // a pointer to 0 is not empty
	mode, err := opts.UserBufferEncMode()
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return mode
}()

var decMode = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxPairs,
	}.DecMode()
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return mode
}()

// AppendFrame appends f with its header to dst. It fails when f is out of the bounds of the protocol, or longer than
// maxFrame, the receiver's largest frame; dst is then returned as it was.
func AppendFrame(dst []byte, f Frame, maxFrame int) ([]byte, error) {
	if err := f.validate(); err != nil {
		return dst, fmt.Errorf("encode %s: %w", f.Type(), err)
	}
	buf := bytes.NewBuffer(dst)
	buf.Write([]byte{0, 0, majorArray<<5 | 2})
	if err := encMode.MarshalToBuffer(uint32(f.Type()), buf); err != nil {
		return dst, fmt.Errorf("encode %s: %w", f.Type(), err)
	}
	if err := encMode.MarshalToBuffer(f, buf); err != nil {
		return dst, fmt.Errorf("encode %s: %w", f.Type(), err)
	}
	out := buf.Bytes()
	size := len(out) - len(dst)
	if size > maxFrame || size > MaxFrame {
		return dst, fmt.Errorf("encode %s: %w: %d bytes, the receiver takes %d", f.Type(), ErrTooLarge, size, maxFrame)
	}
	binary.BigEndian.PutUint16(out[len(dst):], uint16(size-HeaderSize))
	return out, nil
}

// ReadBody reads one frame's body from r into buf, which it makes larger when it must, up to maxFrame-[HeaderSize]
// bytes. The body uses buf's memory. The error is io.EOF when r ends between frames, [io.ErrUnexpectedEOF] when it
// ends inside of one, and [ErrTooLarge] when the frame is longer than maxFrame; r's own errors are wrapped.
func ReadBody(r io.Reader, buf []byte, maxFrame int) ([]byte, error) {
	if cap(buf) < HeaderSize {
		buf = make([]byte, HeaderSize)
	}
	header := buf[:HeaderSize]
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(header))
	if n+HeaderSize > maxFrame {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, n+HeaderSize, maxFrame)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	body := buf[:n]
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

// Decode decodes a frame's body. The frame does not use body's memory.
func Decode(body []byte) (Frame, error) {
	if len(body) == 0 || body[0] != majorArray<<5|2 {
		if err := checkItem(body, nil, 1); err != nil {
			return nil, err
		}
		return nil, invalid("the body is not an array of two")
	}
	c := checker{in: body, pos: 1}
	major, number, err := c.head()
	if err != nil {
		return nil, err
	}
	if major != majorUint || number > 1<<32-1 {
		if err := checkItem(body, nil, 1); err != nil {
			return nil, err
		}
		return nil, invalid("the frame's type is not a number of 32 bits")
	}
	return decodeBody(Type(number), body[c.pos:])
}

func decodeBody(t Type, item []byte) (Frame, error) {
	if err := checkItem(item, shapes[t], 2); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if item[0]>>5 != majorMap {
		return nil, invalid("%s: its body is not a map", t)
	}
	f := newFrame(t)
	if _, unknown := f.(*Unknown); unknown {
		return f, nil
	}
	if err := unmarshal(item, f); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return f, nil
}

// unmarshal decodes an item that checkItem accepted: what fails now is of a wrong type.
func unmarshal(item []byte, v any) error {
	err := decMode.Unmarshal(item, v)
	if err == nil || errors.Is(err, ErrInvalid) || errors.Is(err, ErrMalformed) {
		return err
	}
	return invalid("%v", err)
}

// MarshalCBOR writes a byte string.
func (d Digest) MarshalCBOR() ([]byte, error) {
	return append([]byte{majorBytes<<5 | 24, byte(len(d))}, d[:]...), nil
}

// UnmarshalCBOR takes a byte string of exactly 32 bytes.
func (d *Digest) UnmarshalCBOR(b []byte) error {
	if len(b) != 2+len(d) || b[0] != majorBytes<<5|24 {
		return invalid("a digest is not 32 bytes")
	}
	copy(d[:], b[2:])
	return nil
}

// MarshalCBOR writes the document if there is one, and the list otherwise.
func (s AppSet) MarshalCBOR() ([]byte, error) { return marshalSet(s.List, s.Document) }

// UnmarshalCBOR takes a list or a document.
func (s *AppSet) UnmarshalCBOR(b []byte) error { return unmarshalSet(b, &s.List, &s.Document) }

// MarshalCBOR writes the document if there is one, and the list otherwise.
func (s StateSet) MarshalCBOR() ([]byte, error) { return marshalSet(s.List, s.Document) }

// UnmarshalCBOR takes a list or a document.
func (s *StateSet) UnmarshalCBOR(b []byte) error { return unmarshalSet(b, &s.List, &s.Document) }

func marshalSet[E any](list []E, document *Document) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	if document != nil {
		err = encMode.MarshalToBuffer(document, &buf)
	} else {
		err = encMode.MarshalToBuffer(list, &buf)
	}
	return buf.Bytes(), err
}

func unmarshalSet[E any](b []byte, list *[]E, document **Document) error {
	if b[0]>>5 == majorMap {
		*document = new(Document)
		return unmarshal(b, *document)
	}
	return unmarshal(b, list)
}
