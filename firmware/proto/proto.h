// SPDX-License-Identifier: Apache-2.0
//
// Frames of the device protocol; gateway/protocol/protocol.cddl is the contract.
//
// Decoding checks a whole body first and then fills a struct whose pointers lead into the
// body: nothing is copied and nothing is allocated. Lists and maps with free keys stay
// encoded; the iterators at the end walk them. Encoding writes the same structs.
#ifndef PROTO_H
#define PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum proto_error {
	PROTO_OK = 0,
	PROTO_EMALFORMED = -1, // not one item of the CBOR subset
	PROTO_EINVAL = -2,     // an item, but no frame of the protocol
	PROTO_ETOOLARGE = -3,  // longer than the receiver takes
	PROTO_EUNKNOWN = -4,   // a frame of a later version: skip it
};

enum {
	PROTO_VERSION = 1,
	PROTO_HEADER = 2,       // bytes of length in front of each body
	PROTO_MIN_FRAME = 512,  // largest frame before hello and welcome
	PROTO_DIGEST = 32,
	PROTO_MAX_APPS = 16,
	PROTO_MAX_NAME = 63,
	PROTO_MAX_TEXT = 160,
	PROTO_MAX_CONFIG = 1024,
	PROTO_MAX_ENDPOINTS = 4,
	PROTO_MAX_ENDPOINT = 128,
	PROTO_MAX_ARTIFACT = 1 << 20,
	PROTO_MAX_APPS_DOCUMENT = 40960,
	PROTO_MAX_STATES_DOCUMENT = 8192,
	PROTO_CHUNK_OVERHEAD = 57, // most that a chunk's frame is longer than its bytes
	PROTO_MISSED_HEARTBEATS = 3,
};

enum proto_type {
	PROTO_HELLO = 1,
	PROTO_WELCOME,
	PROTO_DESIRED,
	PROTO_FETCH,
	PROTO_CHUNK,
	PROTO_REPORT,
	PROTO_HEARTBEAT,
	PROTO_LOG,
	PROTO_RELEASE,
	PROTO_ERROR,
	PROTO_CRASH,
};

enum proto_feature { PROTO_KEEPS_MODULES = 1, PROTO_ROLLS_BACK = 2, PROTO_PUBLISHES = 4 };

enum proto_phase {
	PROTO_PENDING, PROTO_FETCHING, PROTO_STARTING, PROTO_RUNNING, PROTO_COMPLETED, PROTO_FAILED,
	PROTO_ROLLED_BACK, PROTO_REJECTED,
};

enum proto_reason {
	PROTO_NONE, PROTO_MODULE_INVALID, PROTO_IMPORT_UNKNOWN, PROTO_PERMISSION_DENIED, PROTO_NO_MEMORY,
	PROTO_NO_STORAGE, PROTO_DIGEST_MISMATCH, PROTO_TRAPPED, PROTO_EXITED, PROTO_OUT_OF_FUEL,
	PROTO_CRASH_LOOP, PROTO_FETCH_FAILED, PROTO_WATCHDOG, PROTO_UNSUPPORTED,
};

enum proto_error_code {
	PROTO_CODE_PROTOCOL = 1, PROTO_CODE_VERSION, PROTO_CODE_TOO_LARGE, PROTO_CODE_NOT_FOUND,
	PROTO_CODE_BUSY, PROTO_CODE_NOT_ASSIGNED, PROTO_CODE_QUARANTINED, PROTO_CODE_SUPERSEDED,
	PROTO_CODE_INTERNAL,
};

enum proto_crash_code {
	PROTO_CRASH_HARD_FAULT = 1, PROTO_CRASH_MEMORY_FAULT, PROTO_CRASH_WATCHDOG, PROTO_CRASH_ASSERTION,
	PROTO_CRASH_STACK_OVERFLOW,
};

enum proto_metric {
	PROTO_HEAP_USED = 1, PROTO_HEAP_HIGH_WATER, PROTO_STACK_HIGH_WATER, PROTO_IDLE_PERMILLE,
	PROTO_STORAGE_FREE, PROTO_BOOTS, PROTO_LOG_DROPPED, PROTO_TEMPERATURE_MILLIDEGREES, PROTO_LED_MASK,
};

enum proto_restart { PROTO_RESTART_ALWAYS, PROTO_RESTART_ON_FAILURE, PROTO_RESTART_NEVER };

// Bytes that lie elsewhere. Absent or empty: len is 0.
struct proto_span {
	const uint8_t *data;
	uint32_t len;
};

// A list, still encoded, or the document that holds it.
struct proto_set {
	struct proto_span list;        // one encoded array; unused for a document
	const uint8_t *digest;         // not NULL: a document
	uint32_t size;                 // of the document
};

struct proto_memory {
	uint32_t ram, ram_free, storage, storage_free;
};

struct proto_hello {
	uint32_t version, max_frame;
	struct proto_span board, firmware;
	bool has_memory;
	struct proto_memory memory;
	uint32_t features;
	uint64_t generation;
	const uint8_t *apps; // digest, NULL when there is none
	bool has_states;
	struct proto_set states;
	uint64_t uptime;
	uint32_t boots;
};

struct proto_limits {
	uint32_t log_lines_per_minute, fetch_length;
};

struct proto_welcome {
	uint32_t version, max_frame;
	uint64_t time, epoch;
	uint32_t heartbeat_interval, report_interval;
	bool has_limits;
	struct proto_limits limits;
	struct proto_span endpoints; // see proto_next_text
};

struct proto_desired {
	uint64_t generation;
	struct proto_set apps; // see proto_next_app
};

struct proto_artifact {
	const uint8_t *digest;
	uint32_t size, format;
	struct proto_span signature;
};

struct proto_app_limits {
	bool has_memory;
	uint32_t memory;
	bool has_stack;
	uint32_t stack;
	uint64_t fuel;
};

struct proto_app {
	struct proto_span name;
	const uint8_t *digest;
	struct proto_artifact artifact;
	uint64_t spec;
	struct proto_span config;      // see proto_next_pair
	struct proto_span permissions; // see proto_next_text
	bool has_limits;
	struct proto_app_limits limits;
	uint32_t restart;
};

struct proto_fetch {
	const uint8_t *digest;
	uint32_t offset, length;
};

struct proto_chunk {
	const uint8_t *digest;
	uint32_t offset;
	struct proto_span bytes;
	uint32_t size;
};

struct proto_report {
	uint64_t generation;
	struct proto_set states; // see proto_next_state
};

struct proto_state {
	struct proto_span name;
	uint64_t spec;
	uint32_t phase;
	const uint8_t *digest;
	uint32_t reason;
	struct proto_span message;
	uint32_t restarts;
	uint64_t since;
	bool has_start_time;
	uint32_t start_time;
};

struct proto_heartbeat {
	uint64_t uptime;
	struct proto_span metrics; // see proto_next_metric
	struct proto_span apps;    // see proto_next_app_metrics
};

struct proto_app_metrics {
	struct proto_span name;
	uint64_t fuel;
	uint32_t memory, stack;
	struct proto_span values; // see proto_next_value
};

struct proto_log {
	uint32_t level;
	struct proto_span text, app;
	uint64_t uptime;
	uint32_t dropped;
};

struct proto_release {
	uint32_t hold_off;
	struct proto_span endpoint, text;
};

struct proto_fault {
	uint32_t code;
	struct proto_span text;
	const uint8_t *fetch;
};

struct proto_crash {
	uint32_t code, pc, lr;
	struct proto_span app;
	uint32_t address;
	uint64_t uptime;
};

struct proto_frame {
	uint32_t type; // enum proto_type
	union {
		struct proto_hello hello;
		struct proto_welcome welcome;
		struct proto_desired desired;
		struct proto_fetch fetch;
		struct proto_chunk chunk;
		struct proto_report report;
		struct proto_heartbeat heartbeat;
		struct proto_log log;
		struct proto_release release;
		struct proto_fault error;
		struct proto_crash crash;
	};
};

// The length of the body that follows a header, or PROTO_ETOOLARGE when the frame is
// longer than max_frame (which counts the header).
int proto_body_length(const uint8_t header[PROTO_HEADER], uint32_t max_frame);

// Decodes a body. The frame's pointers lead into it.
int proto_decode(struct proto_frame *out, const uint8_t *body, size_t len);

// Writes the frame with its header to buf; returns its length in bytes, or
// PROTO_ETOOLARGE when it does not fit cap. What it points to must be within the bounds
// of the protocol.
int proto_encode(const struct proto_frame *frame, uint8_t *buf, size_t cap);

// Documents: the bytes of one list of apps or states. PROTO_OK when they are acceptable.
int proto_check_apps(const uint8_t *list, size_t len);
int proto_check_states(const uint8_t *list, size_t len);

// Iterators over checked lists. cursor starts at 0; each call fills *out and returns
// true, or returns false at the end.
bool proto_next_app(struct proto_span list, uint32_t *cursor, struct proto_app *out);
bool proto_next_state(struct proto_span list, uint32_t *cursor, struct proto_state *out);
bool proto_next_app_metrics(struct proto_span list, uint32_t *cursor, struct proto_app_metrics *out);
bool proto_next_text(struct proto_span list, uint32_t *cursor, struct proto_span *out);
bool proto_next_pair(struct proto_span map, uint32_t *cursor, struct proto_span *key, struct proto_span *value);
bool proto_next_metric(struct proto_span map, uint32_t *cursor, uint32_t *key, uint64_t *value);
bool proto_next_value(struct proto_span map, uint32_t *cursor, struct proto_span *key, int64_t *value);

// Number of elements or pairs of a checked list or map; 0 when it is absent.
uint32_t proto_count(struct proto_span list);

// Writers for the elements of lists; the caller writes the array's head (cbor.h).
struct cbor_writer;
void proto_put_app(struct cbor_writer *w, const struct proto_app *app);
void proto_put_state(struct cbor_writer *w, const struct proto_state *state);
void proto_put_app_metrics(struct cbor_writer *w, const struct proto_app_metrics *metrics);

#endif
