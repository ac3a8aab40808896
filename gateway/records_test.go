// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"encoding/binary"
	"net"
)

// recordSizes notes the sizes of TLS records in a stream.
type recordSizes struct {
	pending []byte
	sizes   []int
	skip    int
}

func (r *recordSizes) see(b []byte) {
	r.pending = append(r.pending, b...)
	for len(r.pending) >= 5 {
		n := int(binary.BigEndian.Uint16(r.pending[3:5]))
		if len(r.pending) < 5+n {
			return
		}
		if r.pending[0] == 23 { // application data
			r.sizes = append(r.sizes, n)
		}
		r.pending = r.pending[5+n:]
	}
}

// after forgets the records until now, and the session ticket, which is the next.
func (r *recordSizes) after() { r.skip = len(r.sizes) + 1 }

func (r *recordSizes) largest() int {
	most := 0
	for _, n := range r.sizes[min(r.skip, len(r.sizes)):] {
		most = max(most, n)
	}
	return most
}

// recordConn shows what is read to a recordSizes.
type recordConn struct {
	net.Conn
	sizes *recordSizes
}

func (c *recordConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.sizes.see(b[:n])
	return n, err
}
