// SPDX-License-Identifier: Apache-2.0
//
// Publishes and receives; config "mode" says how. "calls" tries every function for messages and ends with the number
// of the line that found something wrong, or 0.
#include "wasmbed.h"

#define WANT(condition) \
	do { \
		if (!(condition)) { \
			return __LINE__; \
		} \
	} while (0)

enum { PERIOD = 20 };

static char inbox[512];
static char mode;
static int32_t sent, received, wrong;
static const char *const outside = (const char *)0x7ffffff0;

static void metric(const char *name, int32_t length, int32_t value)
{
	wasmbed_metric_set(name, length, value);
}

#define METRIC(name, value) metric((name), sizeof(name) - 1, (value))

static int32_t same(const char *a, const char *b)
{
	while (*a != 0 && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

// What a message carries: its number, in four bytes.
static void take(const char *topic, const char *content_type, const char *payload, int32_t length)
{
	int32_t number = 0;
	if (length == 4) {
		number = *(const int32_t *)payload;
	}
	received++;
	wrong += length != 4 || number < 1 || !same(topic, "hall/temperature") || !same(content_type, "application/octet-stream");
	METRIC("received", received);
	METRIC("last", number);
	METRIC("wrong", wrong);
}

WASMBED_EXPORT(message_callback)
void message_callback(int32_t id, const char *topic, const char *content_type, const char *payload, int32_t payload_length)
{
	wrong += id < 1;
	take(topic, content_type, payload, payload_length);
}

static int32_t publish(void)
{
	sent++;
	METRIC("sent", sent);
	return ocre_publish_message("hall/temperature", "application/octet-stream", (const char *)&sent, sizeof sent);
}

WASMBED_EXPORT(timer_callback)
void timer_callback(int32_t id)
{
	(void)id;
	METRIC("result", publish());
}

static int32_t lend_and_subscribe(void)
{
	WANT(ocre_subscribe_message("hall/") == WASMBED_NO_MEMORY); // no buffer yet
	WANT(wasmbed_message_buffer(inbox, sizeof inbox) == WASMBED_OK);
	WANT(ocre_subscribe_message("hall/") == WASMBED_OK && ocre_subscribe_message("hall/") == WASMBED_OK);
	return 0;
}

// Asks for messages instead of being called.
static int32_t polls(void)
{
	for (;;) {
		int32_t type = -1, topic = 0, content_type = 0, payload = 0, length = 0;
		ocre_sleep(PERIOD);
		while (ocre_get_event(&type, 0, &topic, &content_type, &payload, &length) == WASMBED_OK) {
			if (type == WASMBED_EVENT_MESSAGE) {
				take((const char *)topic, (const char *)content_type, (const char *)payload, length);
			}
		}
	}
}

static int32_t calls_bad(void)
{
	static char longest[65];
	for (int32_t i = 0; i < 64; i++) {
		longest[i] = 'x';
	}
	WANT(wasmbed_message_buffer((char *)outside, 64) == WASMBED_INVALID);
	WANT(ocre_publish_message("hall", "t", "", 0) == WASMBED_NOT_FOUND);
	WANT(ocre_subscribe_message("") == WASMBED_INVALID && ocre_subscribe_message(outside) == WASMBED_INVALID);
	WANT(ocre_subscribe_message(longest) == WASMBED_INVALID && ocre_subscribe_message(longest + 1) == WASMBED_NO_MEMORY);
	WANT(wasmbed_unsubscribe_message("hall") == WASMBED_NOT_FOUND && wasmbed_unsubscribe_message(outside) == WASMBED_INVALID);
	WANT(ocre_publish_message("", "t", "p", 1) == WASMBED_INVALID && ocre_publish_message("t", "", "p", 1) == WASMBED_INVALID);
	WANT(ocre_publish_message(outside, "t", "p", 1) == WASMBED_INVALID && ocre_publish_message("t", outside, "p", 1) == WASMBED_INVALID);
	WANT(ocre_publish_message("t", "t", outside, 1) == WASMBED_INVALID && ocre_publish_message("t", "t", inbox, -1) == WASMBED_INVALID);
	WANT(ocre_publish_message("t", "t", inbox, WASMBED_MAX_PAYLOAD + 1) == WASMBED_INVALID);
	WANT(ocre_publish_message("t", longest + 32, inbox, 1) == WASMBED_INVALID); // 32 bytes of content type
	return 0;
}

// Gets one event: its payload's first byte, or a code.
static int32_t next(void)
{
	int32_t type, payload = 0, length;
	int32_t got = ocre_get_event(&type, 0, 0, 0, &payload, &length);
	return got != WASMBED_OK ? got : *(const uint8_t *)payload;
}

// The app is a subscriber of its own messages. Most take 8 bytes: the payload 4, topic and content type 4.
static int32_t calls_queue(void)
{
	WANT(wasmbed_message_buffer(inbox, 24) == WASMBED_OK); // for three
	WANT(ocre_subscribe_message("t") == WASMBED_OK);
	WANT(ocre_publish_message("topic", "content", "1", 1) == WASMBED_OK && next() == '1' && next() == WASMBED_NOT_FOUND);
	for (char c = 'a'; c <= 'e'; c++) {
		WANT(ocre_publish_message("t", "c", &c, 1) == WASMBED_OK); // a and b give way
	}
	WANT(next() == 'c');
	const char *held = inbox;
	for (int32_t i = 0; i < 20; i++) { // where c lies
		held = inbox[i] == 'c' && inbox[i + 4] == 't' ? &inbox[i] : held;
	}
	for (char c = 'f'; c <= 'h'; c++) {
		WANT(ocre_publish_message("t", "c", &c, 1) == WASMBED_OK);
	}
	WANT(*held == 'c'); // in the app's hands: it stays
	WANT(next() == 'g' && next() == 'h' && next() == WASMBED_NOT_FOUND);
	WANT(ocre_publish_message("t", "c", inbox, 40) == WASMBED_BUSY);
	WANT(ocre_publish_message("u", "c", "1", 1) == WASMBED_NOT_FOUND);
	WANT(wasmbed_message_buffer(inbox, sizeof inbox) == WASMBED_OK);
	for (int32_t i = 0; i < WASMBED_MAX_EVENTS + 4; i++) { // without payload: what is read there is the topic
		WANT(ocre_publish_message("t", "c", "", 0) == WASMBED_OK);
	}
	for (int32_t i = 0; i < WASMBED_MAX_EVENTS; i++) {
		WANT(next() == 't');
	}
	WANT(next() == WASMBED_NOT_FOUND && ocre_publish_message("t", "c", "1", 1) == WASMBED_OK);
	WANT(wasmbed_message_buffer(0, 0) == WASMBED_OK && next() == WASMBED_NOT_FOUND);
	WANT(ocre_publish_message("t", "c", "1", 1) == WASMBED_BUSY);
	WANT(wasmbed_unsubscribe_message("t") == WASMBED_OK && ocre_publish_message("t", "c", "1", 1) == WASMBED_NOT_FOUND);
	WANT(wasmbed_message_buffer(inbox, sizeof inbox) == WASMBED_OK);
	WANT(ocre_subscribe_message("a") == WASMBED_OK && ocre_subscribe_message("b") == WASMBED_OK);
	WANT(ocre_subscribe_message("c") == WASMBED_OK && ocre_subscribe_message("cc") == WASMBED_OK);
	WANT(ocre_subscribe_message("e") == WASMBED_NO_MEMORY);
	WANT(ocre_publish_message("ccc", "c", "1", 1) == WASMBED_OK && next() == '1' && next() == WASMBED_NOT_FOUND); // once
	WANT(wasmbed_unsubscribe_message("a") == WASMBED_OK && wasmbed_unsubscribe_message("b") == WASMBED_OK);
	WANT(wasmbed_unsubscribe_message("c") == WASMBED_OK && wasmbed_unsubscribe_message("cc") == WASMBED_OK);
	return 0;
}

WASMBED_EXPORT(run)
int32_t run(void)
{
	int32_t bad;
	wasmbed_config_get("mode", 4, &mode, 1);
	switch (mode) {
	case 'p': // publish
		ocre_timer_create(1);
		return ocre_timer_start(1, PERIOD, 1);
	case 'f': // flood: as fast as the device lets it
		for (;;) {
			METRIC("result", publish());
		}
	case 'r': // receive
		return lend_and_subscribe();
	case 'g': // get
		bad = lend_and_subscribe();
		return bad != 0 ? bad : polls();
	default: // calls
		bad = calls_bad();
		return bad != 0 ? bad : calls_queue();
	}
}
