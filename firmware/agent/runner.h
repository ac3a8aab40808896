// SPDX-License-Identifier: Apache-2.0
//
// One running app: its instance in a range of the arena, its timers, events and pins, and
// what the host functions do for it. Everything the module can reach runs inside the
// board's sandbox.
#ifndef RUNNER_H
#define RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "cbor.h"
#include "hostapi_table.h"
#include "inbox.h"
#include "proto.h"
#include "wasm.h"

enum runner_result {
	RUNNER_ALIVE,     // call again, at *wake at the latest
	RUNNER_COMPLETED, // run returned and nothing can call the app any more
	RUNNER_FAILED,    // reason and message say why
};

enum runner_state { RUNNER_INITIALIZING, RUNNER_IN_RUN, RUNNER_IDLE, RUNNER_IN_CALLBACK };

struct runner_timer {
	uint64_t due_us;    // 0: stopped
	uint64_t period_us; // 0: once
	bool exists;
};

// What ocre_get_event gives; a negative type is no event any more.
struct runner_event {
	int32_t type, id, port, state, extra, length;
	uint32_t room; // of a message, in the inbox
};

struct runner_watch {
	uint8_t used, port, pin, level;
};

struct runner_metric {
	uint8_t len;
	char name[HOSTAPI_MAX_METRIC_NAME];
	int32_t value;
};

struct runner_topic {
	uint8_t len; // 0: unused
	char text[HOSTAPI_MAX_TOPIC];
};

enum { RUNNER_EVENT_TYPES = 4, RUNNER_MESSAGE = 80 };

struct runner {
	bool used;
	const char *name;
	uint32_t tag; // crash tag while it runs
	uint32_t first_block, blocks;
	const struct wasm_module *module;
	struct wasm_instance *instance;
	enum runner_state state;
	bool sleeping, sensor_open, result_checked;
	int32_t run_function;
	uint64_t wake_us;
	int32_t wake_result; // of the host function that waits
	struct proto_span config;
	uint64_t fuel_rate;        // units a second, 0: what is left over
	uint64_t fuel_us;          // when fuel was last given
	int64_t fuel_tokens;
	int32_t dispatchers[RUNNER_EVENT_TYPES]; // function by event type, -1: none
	struct runner_timer timers[HOSTAPI_MAX_TIMERS];
	struct runner_event events[HOSTAPI_MAX_EVENTS];
	uint32_t event_head, event_tail; // free running
	struct runner_topic topics[HOSTAPI_MAX_SUBSCRIPTIONS];
	struct inbox inbox;
	struct runner_watch watches[HOSTAPI_MAX_GPIO_CALLBACKS];
	struct runner_metric metrics[HOSTAPI_MAX_METRICS]; // in the order of map keys
	uint32_t metric_count;
	enum proto_reason reason;
	char message[RUNNER_MESSAGE];
};

// The rows of devices/hostapi, for the runtime.
extern const struct wasm_host_function host_functions[];
extern const uint32_t host_function_count;

// Loads the module and begins its first call. PROTO_NONE, or why it cannot run, with a
// message in r.
enum proto_reason runner_start(struct runner *r, const char *name, const struct proto_app *app, const uint8_t *bytes,
                               uint32_t size, uint32_t granted);

// Runs one slice at most.
enum runner_result runner_poll(struct runner *r, uint64_t *wake);

// Queues an event; the oldest one gives way when there are too many.
void runner_push(struct runner *r, struct runner_event e);

// Takes the oldest event; false when there is none. The app is done with the one before.
bool runner_next_event(struct runner *r, struct runner_event *e);

// Gives the message to all apps that have subscribed to its topic: HOSTAPI_OK when one or
// more have it now, HOSTAPI_NOT_FOUND when nobody has subscribed, HOSTAPI_BUSY when none
// of those had room.
int32_t runner_publish(const struct message *m);

// The app's subscription to exactly this topic; NULL when it has none.
struct runner_topic *runner_topic(struct runner *r, const char *text, uint32_t len);

// Ends the app; its memory is free.
void runner_stop(struct runner *r);

// Bits of the permissions in a list; false when one is unknown, which *unknown tells.
bool runner_permissions(struct proto_span list, uint32_t *granted, struct proto_span *unknown);

// The app whose slice runs now.
extern struct runner *runner_current;

// True when the range lies in the app's blocks of the arena.
bool runner_owns(const struct runner *r, const void *at, uint32_t len);

// Blocks of the arena that no app has.
uint32_t runner_free_blocks(void);

// The longest range of free blocks: its length, 0 when there is none, and *first.
uint32_t runner_free_range(uint32_t *first);

struct runner *runner_alloc(void);

#endif
