// SPDX-License-Identifier: Apache-2.0
//
// The connection to a gateway: finds one, keeps it, and carries what the apps and the
// gateway have to say to each other. A session counts as up after Welcome only.
#ifndef SESSION_H
#define SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "provision.h"

enum {
	SESSION_BACKOFF_MIN_MS = 500, // full jitter: a random part of it; doubles with each round
	SESSION_BACKOFF_MAX_MS = 60000,
	SESSION_DIAL_MS = 10000,
	SESSION_HANDSHAKE_MS = 20000,
	SESSION_WELCOME_MS = 10000,
	SESSION_CHUNK_MS = 15000,
};

void session_start(const struct provision *p);

// Does what can be done now. Returns when it wants to be called again at the latest, in
// microseconds.
uint64_t session_poll(void);

bool session_up(void);

#endif
