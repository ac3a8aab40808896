// SPDX-License-Identifier: Apache-2.0
//
// The subset of CBOR that the device protocol uses (RFC 8949, core deterministic
// encoding): integers, byte and text strings, arrays and maps; shortest heads, definite
// lengths, ascending keys. Reading never copies and never allocates.
#ifndef CBOR_H
#define CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cbor_major { CBOR_UINT = 0, CBOR_NINT = 1, CBOR_BYTES = 2, CBOR_TEXT = 3, CBOR_ARRAY = 4, CBOR_MAP = 5 };

// Bounds of every item, known or not.
enum { CBOR_MAX_DEPTH = 8, CBOR_MAX_ELEMENTS = 16, CBOR_MAX_PAIRS = 32 };

struct cbor_reader {
	const uint8_t *at, *end;
};

struct cbor_head {
	uint8_t major;
	uint64_t value; // number, or length in bytes, elements or pairs
};

// Reads one head; false when it is cut off, not the shortest form, or of a kind that
// the subset does not have.
bool cbor_head(struct cbor_reader *r, struct cbor_head *out);

// True when in holds exactly one item that keeps to the subset, counting its nesting from
// depth (1 is a whole frame). Items that pass can be read with the functions below, which
// then fail for unexpected kinds only.
bool cbor_check(const uint8_t *in, size_t len, unsigned depth);

// Steps over one checked item.
void cbor_skip(struct cbor_reader *r);

// Reads a string of the given kind; its bytes stay where they are.
bool cbor_string(struct cbor_reader *r, enum cbor_major kind, const uint8_t **data, size_t *len);

// Writes into a buffer of fixed size. After the first write that does not fit, overflow
// is set and nothing more is written.
struct cbor_writer {
	uint8_t *at, *end;
	bool overflow;
};

void cbor_put_head(struct cbor_writer *w, enum cbor_major major, uint64_t value);
void cbor_put_int(struct cbor_writer *w, int64_t value);
void cbor_put_bytes(struct cbor_writer *w, const void *data, size_t len); // without a head
void cbor_put_string(struct cbor_writer *w, enum cbor_major kind, const void *data, size_t len);

#endif
