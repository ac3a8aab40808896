// SPDX-License-Identifier: Apache-2.0
//
// The queue of messages for one app. It lies in a buffer that the app has lent: whole
// messages, wherever there is a gap. Where they lie is known from the app's events, which
// the app cannot write; what is in the buffer is the app's and is never read here.
#ifndef INBOX_H
#define INBOX_H

#include <stdbool.h>
#include <stdint.h>

struct runner;
struct runner_event;

struct inbox {
	uint32_t address, size; // in the app's memory; size 0: none is lent
	bool held;              // the app has a message in its hands, which stays where it is
	uint32_t held_at, held_room;
	uint32_t lost; // messages for which there was no room
};

// A message and where its parts lie.
struct message {
	uint32_t id;
	const char *topic, *content_type; // without a zero byte
	const uint8_t *payload;
	uint32_t topic_len, content_type_len, payload_len;
};

// Lends the buffer, or takes it back; what waits in the former one is gone.
void inbox_lend(struct runner *r, uint32_t address, uint32_t size);

// Copies the message into the app's buffer and queues the event; the oldest that waits give
// way when there is no room. False when even that does not help.
bool inbox_put(struct runner *r, const struct message *m);

// The app gets this event, and is done with the message that it had before.
void inbox_hold(struct runner *r, const struct runner_event *e);

#endif
