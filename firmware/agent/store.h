// SPDX-License-Identifier: Apache-2.0
//
// What the device keeps without power: content-addressed blobs (modules and lists of
// apps) and one small root that names everything. Modules run in place, so each blob is
// one contiguous range of the mapped memory.
//
// A blob is written first and named by the root afterwards; the root lies in two slots
// that are written in turn, each guarded by a checksum and numbered. Power may fail at
// any write: the next start finds the old root or the new one, and what it names.
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"

enum store_error {
	STORE_OK = 0,
	STORE_EFULL = -1,   // no room of that length in one piece, or too many blobs
	STORE_EDIGEST = -2, // what was written has another digest
	STORE_EIO = -3,     // the memory refused
	STORE_EINVAL = -4,  // an append beyond the size, or none begun
};

enum { STORE_BLOBS = 32, STORE_APPS = PROTO_MAX_APPS };

struct store_blob {
	uint8_t digest[PROTO_DIGEST];
	uint32_t size;  // bytes
	uint32_t block; // first one; 0: this entry is free
};

// What is remembered of one app beyond the desired state.
struct store_app {
	char name[PROTO_MAX_NAME + 1]; // empty: this entry is free
	uint8_t confirmed_list[PROTO_DIGEST]; // the list that holds the entry which last ran through its start-up window
	uint64_t confirmed_spec;
	uint64_t bad_spec;  // the spec that was given up
	uint32_t bad_reason;
	uint32_t tries;     // starts of a spec that is not confirmed
	uint64_t tried_spec;
	uint8_t has_confirmed, has_bad, reserved[6];
};

// A transfer under way, so that it goes on after a reset.
struct store_partial {
	uint8_t digest[PROTO_DIGEST];
	uint32_t size, block, done;
};

struct store_root {
	uint64_t generation;            // of the desired state; 0: none
	uint8_t desired[PROTO_DIGEST];  // its list of apps, a blob
	uint32_t boots;
	uint32_t reserved;
	uint64_t wall_ms;               // milliseconds since 1970 when last written: time never starts before it
	char endpoints[PROTO_MAX_ENDPOINTS][PROTO_MAX_ENDPOINT + 4]; // from the last welcome, in order
	struct store_blob blobs[STORE_BLOBS];
	struct store_app apps[STORE_APPS];
	struct store_partial partial;
};

// The root as it is now. The owner changes it and calls store_commit; blobs and partial
// belong to the store.
extern struct store_root store_root;

// Finds the newest valid root, or starts with an empty one. Returns true when one was
// found.
bool store_start(void);

// Makes the root permanent. STORE_OK or STORE_EIO.
int store_commit(void);

// A blob by digest; NULL when it is not there. Its bytes are valid until store_sweep
// drops it.
const struct store_blob *store_find(const uint8_t digest[PROTO_DIGEST]);
const uint8_t *store_data(const struct store_blob *blob);

// Starts writing a blob, or goes on with the one that was under way: returns the offset
// at which to append, or an error. A transfer of another blob is given up.
int store_begin(const uint8_t digest[PROTO_DIGEST], uint32_t size);

// Appends to the blob under way.
int store_append(const void *data, uint32_t len);

// Ends it: checks the digest and names the blob in the root. On STORE_EDIGEST the
// transfer is forgotten.
int store_finish(void);

void store_abandon(void);

// Forgets all blobs for which keep returns false, and makes that permanent, so that their
// room can be used again. STORE_OK or STORE_EIO.
int store_sweep(bool (*keep)(const uint8_t digest[PROTO_DIGEST], void *arg), void *arg);

// True when the blob still has its digest; one that has not, or is not there, is forgotten.
bool store_intact(const uint8_t digest[PROTO_DIGEST]);

// Bytes for blobs in all and free now.
uint32_t store_size(void);
uint32_t store_free(void);

// SHA-256; provided by the TLS library on the device.
void digest_of(const void *data, size_t len, uint8_t out[PROTO_DIGEST]);

#endif
