// SPDX-License-Identifier: Apache-2.0
#include "inbox.h"

#include <string.h>

#include "log.h"
#include "runner.h"

enum { NONE = -1 };

static uint32_t round_up(uint32_t n)
{
	return (n + 3) & ~3u;
}

static struct runner_event *event_at(struct runner *r, uint32_t i)
{
	return &r->events[i % HOSTAPI_MAX_EVENTS];
}

// The oldest message that waits; NULL when none does.
static struct runner_event *oldest_waiting(struct runner *r)
{
	for (uint32_t i = r->event_tail; i != r->event_head; i++) {
		if (event_at(r, i)->type == HOSTAPI_EVENT_MESSAGE) {
			return event_at(r, i);
		}
	}
	return NULL;
}

// True when n bytes from at on are in the buffer and hold no message.
static bool is_free(struct runner *r, uint32_t at, uint32_t n)
{
	const struct inbox *in = &r->inbox;
	if (at > in->size || n > in->size - at || (in->held && at < in->held_at + in->held_room && in->held_at < at + n)) {
		return false;
	}
	for (uint32_t i = r->event_tail; i != r->event_head; i++) {
		const struct runner_event *e = event_at(r, i);
		uint32_t other = (uint32_t)e->extra - in->address;
		if (e->type == HOSTAPI_EVENT_MESSAGE && at < other + e->room && other < at + n) {
			return false;
		}
	}
	return true;
}

// The first gap of n bytes: at the start of the buffer, or behind a message.
static bool find_gap(struct runner *r, uint32_t n, uint32_t *at)
{
	const struct inbox *in = &r->inbox;
	*at = 0;
	if (is_free(r, *at, n)) {
		return true;
	}
	*at = in->held_at + in->held_room;
	if (in->held && is_free(r, *at, n)) {
		return true;
	}
	for (uint32_t i = r->event_tail; i != r->event_head; i++) {
		const struct runner_event *e = event_at(r, i);
		*at = (uint32_t)e->extra - in->address + e->room;
		if (e->type == HOSTAPI_EVENT_MESSAGE && is_free(r, *at, n)) {
			return true;
		}
	}
	return false;
}

// Says that messages are lost, seldom when there are many.
static void tell_lost(struct runner *r, uint32_t need)
{
	uint32_t n = ++r->inbox.lost;
	if ((n & (n - 1)) == 0) {
		log_line(LOG_WARNING, "%s: lost %lu messages so far: the last takes %lu bytes, its buffer has %lu", r->name,
		         (unsigned long)n, (unsigned long)need, (unsigned long)r->inbox.size);
	}
}

static void copy(uint8_t *to, const struct message *m)
{
	char *text = (char *)to + round_up(m->payload_len);
	memmove(to, m->payload, m->payload_len); // an app can publish what lies in its own buffer
	memmove(text, m->topic, m->topic_len);
	text[m->topic_len] = 0;
	text += m->topic_len + 1;
	memmove(text, m->content_type, m->content_type_len);
	text[m->content_type_len] = 0;
}

bool inbox_put(struct runner *r, const struct message *m)
{
	struct inbox *in = &r->inbox;
	struct runner_event *waiting;
	uint32_t at, need = round_up(m->payload_len) + round_up(m->topic_len + m->content_type_len + 2);
	while (!find_gap(r, need, &at)) {
		waiting = need <= in->size ? oldest_waiting(r) : NULL;
		tell_lost(r, need);
		if (waiting == NULL) {
			return false;
		}
		waiting->type = NONE;
	}
	uint32_t address = in->address + at;
	uint8_t *to = wasm_memory_at(r->instance, address, need);
	if (!runner_owns(r, to, need)) {
		return false;
	}
	copy(to, m);
	uint32_t topic = address + round_up(m->payload_len);
	runner_push(r, (struct runner_event){
		.type = HOSTAPI_EVENT_MESSAGE,
		.id = (int32_t)m->id,
		.port = (int32_t)topic,
		.state = (int32_t)(topic + m->topic_len + 1),
		.extra = (int32_t)address,
		.length = (int32_t)m->payload_len,
		.room = need,
	});
	return true;
}

void inbox_lend(struct runner *r, uint32_t address, uint32_t size)
{
	struct runner_event *waiting;
	while ((waiting = oldest_waiting(r)) != NULL) {
		waiting->type = NONE;
	}
	r->inbox = (struct inbox){.address = address, .size = size, .lost = r->inbox.lost};
}

void inbox_hold(struct runner *r, const struct runner_event *e)
{
	r->inbox.held = e->type == HOSTAPI_EVENT_MESSAGE;
	r->inbox.held_at = (uint32_t)e->extra - r->inbox.address;
	r->inbox.held_room = e->room;
}
