// SPDX-License-Identifier: Apache-2.0
//
// The apps of the device: makes what runs equal to the desired list, one loop for start,
// update, crash, going back and start after a power cut.
//
// An update stops the running version only when the new one's module is in the store. A
// new version counts as good when it has run through its start-up window; if it fails
// before that too often, the former version takes its place again and the new one is not
// tried any more until its spec changes.
#ifndef APPS_H
#define APPS_H

#include <stdbool.h>
#include <stdint.h>

#include "cbor.h"
#include "proto.h"

enum {
	APPS_RUNNABLE = 8,             // apps that run at once
	APPS_WINDOW_MS = 10000,        // start-up window
	APPS_TRIES = 3,                // failures within it before going back
	APPS_RETRY_MIN_MS = 200,       // wait before a restart; doubles up to
	APPS_RETRY_MAX_MS = 60000,
	APPS_STATES_MAX = 4096,        // bytes of the encoded list of states
};

// Takes the stored desired state up again after a start.
void apps_start(void);

// Makes list, which is a checked blob in the store, the desired state of generation.
void apps_apply(uint64_t generation, const uint8_t digest[PROTO_DIGEST]);

// What the apps lack: the digest and size of the next artifact to fetch, or false. The
// answer comes back through apps_fetched or apps_fetch_failed.
bool apps_missing(const uint8_t **digest, uint32_t *size);
void apps_fetched(const uint8_t digest[PROTO_DIGEST]);
void apps_fetch_failed(const uint8_t digest[PROTO_DIGEST], enum proto_reason reason);

// Runs timers and one slice of each app that can run. Returns when it wants to be called
// again, in microseconds; a time that has passed means at once.
uint64_t apps_poll(void);

// Writes the list of states; returns its length.
uint32_t apps_states(uint8_t *buf, uint32_t cap);

// True once after each change of a state.
bool apps_changed(void);

// Writes the list of app-metrics.
void apps_metrics(struct cbor_writer *w);

// Bytes of app memory free now.
uint32_t apps_memory_free(void);

// The name that belongs to a crash tag; NULL when none does.
const char *apps_name_of_tag(uint32_t tag);

#endif
