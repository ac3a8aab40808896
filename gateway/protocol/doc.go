// SPDX-License-Identifier: Apache-2.0

// Package protocol is the Go side of the device protocol: the frames that a device and a gateway exchange inside one
// TLS connection. The contract is protocol.cddl beside this file; testdata/vectors holds byte-exact examples of it
// that the C side is tested with too.
//
// Both directions are strict. Whatever is received must be in deterministic encoding, within the bounds of the CDDL
// and complete; a frame that is not is refused with [ErrMalformed] (not acceptable CBOR), [ErrInvalid] (acceptable
// CBOR, but not a frame) or [ErrTooLarge] (its length alone), and the connection is over. What is sent is held
// against the same bounds, so that a mistake shows at its source. Lengths are checked before anything is allocated.
//
// A frame is decoded into one of the structs of this package, or [Unknown] for a type of a later version.
package protocol
