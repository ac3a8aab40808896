// SPDX-License-Identifier: Apache-2.0
//
// One TLS 1.3 client connection over the board's byte stream, with certificates on both
// sides and resumption. Nothing blocks for the network; a step of the handshake computes
// for as long as one signature takes.
#ifndef TLS_H
#define TLS_H

#include <stddef.h>
#include <stdint.h>

#include "provision.h"

enum tls_error {
	TLS_OK = 0,
	TLS_EAGAIN = -1,  // call again when the stream has moved
	TLS_ECLOSED = -2, // the peer ended the connection
	TLS_EPEER = -3,   // the gateway's certificate was refused: see tls_detail
	TLS_EFAIL = -4,   // any other failure of the connection: see tls_detail
	TLS_EINVAL = -5,  // identity or trust in the provisioning cannot be used
};

// Starts the clock and the random generator; salt (the boot counter) makes its start unique
// when a seed is seen twice. Called once, first.
int tls_start(const struct provision *p, uint32_t salt);

// Loads identity and trust in the place of those before; the provisioning must stay until
// the next call of tls_unload. Closes the connection and forgets the session.
int tls_load(const struct provision *p);
void tls_unload(void);

// Sets the clock used to check certificates: wall is milliseconds since 1970 now.
void tls_set_time(uint64_t wall_ms);
uint64_t tls_time_ms(void);

// Starts a connection over the open stream. Resumes the last session when there is one.
int tls_open(void);

// Goes on with the handshake: TLS_OK when done.
int tls_handshake(void);

// Moves up to len bytes; returns how many (at least one) or an error.
int tls_read(void *buf, size_t len);
int tls_write(const void *buf, size_t len);

// Says goodbye if it can and frees the connection. The session is kept for resumption.
void tls_close(void);

// Forgets the session: the next connection is a full handshake.
void tls_forget(void);

// True when the current connection resumed a former session.
int tls_resumed(void);

// The library's code of the last failure, for the log.
int tls_detail(void);

// Fills buf with random bytes; 0 or TLS_EFAIL.
int tls_random(void *buf, size_t len);

void tls_heap(size_t *used, size_t *high_water, size_t *size);

#endif
