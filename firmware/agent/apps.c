// SPDX-License-Identifier: Apache-2.0
#include "apps.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "port.h"
#include "runner.h"
#include "store.h"

enum { FETCH_RETRY_MIN_MS = 1000, FETCH_RETRY_MAX_MS = 60000 };

// An entry of a list of apps that lies in the store.
struct entry {
	const uint8_t *data; // NULL: none
	uint32_t len;
	uint64_t spec;
	uint8_t list[PROTO_DIGEST];
	uint8_t artifact[PROTO_DIGEST];
};

struct slot {
	bool used, seen, refused, has_start_time, confirmed;
	char name[PROTO_MAX_NAME + 1];
	struct entry want, current; // current: what runs or ran last
	struct runner *runner;
	enum proto_phase phase;
	enum proto_reason reason;
	char message[RUNNER_MESSAGE];
	uint32_t restarts, failures, fetch_failures, start_time;
	uint64_t phase_us, desired_us, started_us, retry_us, fetch_us;
};

static struct slot slots[PROTO_MAX_APPS];
static bool changed;

// ---------------------------------------------------------------- small helpers

static uint32_t apps_tag(const char *name)
{
	uint32_t h = 2166136261u;
	while (*name != 0) {
		h = (h ^ (uint8_t)*name++) * 16777619u;
	}
	return h | 1u;
}

const char *apps_name_of_tag(uint32_t tag)
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		if (slots[i].used && apps_tag(slots[i].name) == tag) {
			return slots[i].name;
		}
	}
	return NULL;
}

static struct slot *slot_named(const char *name)
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		if (slots[i].used && strcmp(slots[i].name, name) == 0) {
			return &slots[i];
		}
	}
	return NULL;
}

static struct slot *slot_free(void)
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		if (!slots[i].used) {
			return &slots[i];
		}
	}
	return NULL;
}

// The app's record in the root; made when make is set and there is none.
static struct store_app *record(const char *name, bool make)
{
	struct store_app *empty = NULL;
	for (unsigned i = 0; i < STORE_APPS; i++) {
		struct store_app *r = &store_root.apps[i];
		if (strcmp(r->name, name) == 0) {
			return r;
		}
		if (r->name[0] == 0) {
			empty = r;
		}
	}
	if (make && empty != NULL) {
		memset(empty, 0, sizeof *empty);
		strncpy(empty->name, name, PROTO_MAX_NAME);
	}
	return make ? empty : NULL;
}

static void set_phase(struct slot *s, enum proto_phase phase, enum proto_reason reason, const char *message)
{
	if (s->phase != phase || s->reason != reason || strcmp(s->message, message) != 0) {
		snprintf(s->message, sizeof s->message, "%s", message);
		changed = true;
	}
	if (s->phase != phase) {
		s->phase_us = port_now_us();
	}
	s->phase = phase;
	s->reason = reason;
}

static uint64_t backoff(uint32_t failures, uint32_t min_ms, uint32_t max_ms)
{
	uint64_t ms = failures > 16 ? max_ms : (uint64_t)min_ms << (failures > 0 ? failures - 1 : 0);
	return port_now_us() + (ms < max_ms ? ms : max_ms) * 1000;
}

static struct proto_app decode(const struct entry *e)
{
	struct proto_app app;
	uint32_t cursor = 0;
	// The span starts with the entry itself: a cursor of 0 would take it for a list.
	struct proto_span span = {e->data - 1, e->len + 1};
	cursor = 1;
	proto_next_app(span, &cursor, &app);
	return app;
}

// Fills an entry from the list with this digest; false when the list or the name is not there.
static bool find_entry(struct entry *out, const uint8_t list[PROTO_DIGEST], const char *name)
{
	const struct store_blob *blob = store_find(list);
	struct proto_app app;
	uint32_t cursor = 0, before = 0;
	if (blob == NULL) {
		return false;
	}
	struct proto_span span = {store_data(blob), blob->size};
	while (before = cursor, proto_next_app(span, &cursor, &app)) {
		if (app.name.len == strlen(name) && memcmp(app.name.data, name, app.name.len) == 0) {
			before = before == 0 ? 1 : before; // the head of a list of at most 16 is one byte
			out->data = span.data + before;
			out->len = cursor - before;
			out->spec = app.spec;
			memcpy(out->list, list, PROTO_DIGEST);
			memcpy(out->artifact, app.artifact.digest, PROTO_DIGEST);
			return true;
		}
	}
	return false;
}

// The version that ran well; false when there is none but the wanted one.
static bool former(const struct slot *s, struct entry *out)
{
	const struct store_app *r = record(s->name, false);
	return r != NULL && r->has_confirmed && r->confirmed_spec != s->want.spec &&
	       find_entry(out, r->confirmed_list, s->name);
}

// ---------------------------------------------------------------- store

static bool keeps(const uint8_t digest[PROTO_DIGEST], void *arg)
{
	(void)arg;
	if (store_root.generation != 0 && memcmp(store_root.desired, digest, PROTO_DIGEST) == 0) {
		return true;
	}
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		const struct slot *s = &slots[i];
		struct entry old;
		if (!s->used) {
			continue;
		}
		if (memcmp(s->want.artifact, digest, PROTO_DIGEST) == 0) {
			return true;
		}
		if (s->current.data != NULL && (memcmp(s->current.list, digest, PROTO_DIGEST) == 0 ||
		                                memcmp(s->current.artifact, digest, PROTO_DIGEST) == 0)) {
			return true;
		}
		if (former(s, &old) && (memcmp(old.list, digest, PROTO_DIGEST) == 0 || memcmp(old.artifact, digest, PROTO_DIGEST) == 0)) {
			return true;
		}
	}
	return false;
}

static void save(void)
{
	if (store_commit() != STORE_OK) {
		log_line(LOG_ERROR, "the store cannot be written");
	}
}

// ---------------------------------------------------------------- start and end

static void stop(struct slot *s)
{
	if (s->runner != NULL) {
		runner_stop(s->runner);
		s->runner = NULL;
	}
}

// Remembers that the version that runs is a good one.
static void confirm(struct slot *s)
{
	struct store_app *r = record(s->name, true);
	s->confirmed = true;
	s->failures = 0;
	if (r == NULL || (r->has_confirmed && r->confirmed_spec == s->current.spec &&
	                  memcmp(r->confirmed_list, s->current.list, PROTO_DIGEST) == 0)) {
		return;
	}
	log_line(LOG_INFO, "%s: good, has run through its start-up window", s->name);
	r->has_confirmed = 1;
	r->confirmed_spec = s->current.spec;
	memcpy(r->confirmed_list, s->current.list, PROTO_DIGEST);
	r->tries = 0;
	save();
	store_sweep(keeps, NULL);
}

static bool going_back(const struct slot *s)
{
	const struct store_app *r = record(s->name, false);
	return r != NULL && r->has_bad && r->bad_spec == s->want.spec;
}

// Gives the wanted spec up for the former version.
static void go_back(struct slot *s, const char *message)
{
	struct store_app *r = record(s->name, true);
	if (r == NULL) {
		return;
	}
	r->has_bad = 1;
	r->bad_spec = s->want.spec;
	r->bad_reason = PROTO_CRASH_LOOP;
	save();
	s->failures = 0;
	s->retry_us = 0;
	log_line(LOG_ERROR, "%s: goes back to the former version: %s", s->name, message);
	set_phase(s, PROTO_ROLLED_BACK, PROTO_CRASH_LOOP, message);
}

static void on_failure(struct slot *s, enum proto_reason reason, const char *message)
{
	struct entry old;
	struct proto_app app = decode(&s->current);
	stop(s);
	s->restarts++;
	s->failures++;
	changed = true;
	log_line(LOG_WARNING, "%s: failed: %s", s->name, message);
	if (s->current.spec != s->want.spec) { // a former version: try again, the state tells of the wanted one
		s->retry_us = backoff(s->failures, APPS_RETRY_MIN_MS, APPS_RETRY_MAX_MS);
		return;
	}
	if (!s->confirmed && s->failures >= APPS_TRIES && former(s, &old)) {
		char kept[RUNNER_MESSAGE];
		snprintf(kept, sizeof kept, "%s", message);
		go_back(s, kept);
		return;
	}
	if (app.restart == PROTO_RESTART_NEVER) {
		s->retry_us = UINT64_MAX;
	} else {
		s->retry_us = backoff(s->failures, APPS_RETRY_MIN_MS, APPS_RETRY_MAX_MS);
		reason = s->failures >= APPS_TRIES ? PROTO_CRASH_LOOP : reason;
	}
	set_phase(s, PROTO_FAILED, reason, message);
}

static void on_completed(struct slot *s)
{
	struct proto_app app = decode(&s->current);
	stop(s);
	confirm(s);
	if (app.restart == PROTO_RESTART_ALWAYS) {
		s->restarts++;
		changed = true;
		s->failures++; // an app that ends at once is not started without end
		s->retry_us = backoff(s->failures, APPS_RETRY_MIN_MS, APPS_RETRY_MAX_MS);
	} else {
		s->retry_us = UINT64_MAX;
	}
	if (s->current.spec == s->want.spec) {
		set_phase(s, PROTO_COMPLETED, PROTO_NONE, "");
	}
}

// A refusal does not pass by itself: nothing is tried until the spec changes or, when
// room was lacking, another app went.
static void refuse(struct slot *s, enum proto_reason reason, const char *message)
{
	s->refused = true;
	log_line(LOG_WARNING, "%s: rejected: %s", s->name, message);
	set_phase(s, PROTO_REJECTED, reason, message);
}

static void set_current(struct slot *s, const struct entry *e)
{
	changed = changed || s->current.data == NULL || s->current.spec != e->spec; // the state tells its digest
	s->current = *e;
}

static enum proto_reason start_runner(struct slot *s, const struct entry *e, char message[RUNNER_MESSAGE])
{
	struct proto_app app = decode(e);
	const struct store_blob *blob = store_find(e->artifact);
	struct proto_span unknown;
	uint32_t granted;
	if (blob == NULL) { // of a former version, lost by damage
		snprintf(message, RUNNER_MESSAGE, "its module is not in the store any more");
		return PROTO_FETCH_FAILED;
	}
	if (app.artifact.format != 0) {
		snprintf(message, RUNNER_MESSAGE, "artifact format %lu", (unsigned long)app.artifact.format);
		return PROTO_UNSUPPORTED;
	}
	if (!runner_permissions(app.permissions, &granted, &unknown)) {
		snprintf(message, RUNNER_MESSAGE, "unknown permission %.*s", (int)unknown.len, (const char *)unknown.data);
		return PROTO_PERMISSION_DENIED;
	}
	if (memcmp(blob->digest, app.digest, PROTO_DIGEST) != 0) {
		snprintf(message, RUNNER_MESSAGE, "the artifact is another module than the one named");
		return PROTO_DIGEST_MISMATCH;
	}
	struct runner *r = runner_alloc();
	if (r == NULL) {
		snprintf(message, RUNNER_MESSAGE, "%d apps run already", APPS_RUNNABLE);
		return PROTO_NO_MEMORY;
	}
	r->tag = apps_tag(s->name);
	enum proto_reason reason = runner_start(r, s->name, &app, store_data(blob), blob->size, granted);
	if (reason != PROTO_NONE) {
		memcpy(message, r->message, RUNNER_MESSAGE);
		return reason;
	}
	s->runner = r;
	return PROTO_NONE;
}

// Puts e in the place of what runs. When it is refused, the version before it goes on.
static void start(struct slot *s, const struct entry *e)
{
	char message[RUNNER_MESSAGE] = "";
	struct entry before = s->current;
	bool is_wanted = e->spec == s->want.spec;
	const struct store_app *r = record(s->name, false);
	stop(s);
	enum proto_reason reason = start_runner(s, e, message);
	if (reason != PROTO_NONE && is_wanted) {
		refuse(s, reason, message);
		if (before.data == NULL || before.spec == e->spec || start_runner(s, &before, message) != PROTO_NONE) {
			return;
		}
		e = &before;
	} else if (reason != PROTO_NONE) {
		set_current(s, e);
		s->retry_us = backoff(++s->failures, APPS_RETRY_MIN_MS, APPS_RETRY_MAX_MS);
		return;
	}
	set_current(s, e);
	s->started_us = port_now_us();
	s->confirmed = r != NULL && r->has_confirmed && r->confirmed_spec == e->spec;
	if (is_wanted && !s->refused) {
		if (!s->has_start_time) {
			s->start_time = (uint32_t)((s->started_us - s->desired_us) / 1000);
			s->has_start_time = true;
			log_line(LOG_INFO, "%s: runs, %lu ms after it was asked for", s->name, (unsigned long)s->start_time);
		}
		set_phase(s, PROTO_RUNNING, PROTO_NONE, "");
	}
}

// ---------------------------------------------------------------- desired state

static void remove_slot(struct slot *s)
{
	struct store_app *r = record(s->name, false);
	log_line(LOG_INFO, "%s: removed", s->name);
	stop(s);
	if (r != NULL) {
		memset(r, 0, sizeof *r);
	}
	memset(s, 0, sizeof *s);
	changed = true;
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) { // there is room now
		if (slots[i].used && slots[i].refused && (slots[i].reason == PROTO_NO_MEMORY || slots[i].reason == PROTO_NO_STORAGE)) {
			slots[i].refused = false;
			slots[i].fetch_us = 0;
			set_phase(&slots[i], PROTO_PENDING, PROTO_NONE, "");
		}
	}
}

// Takes one entry of a new list over.
static void want(const char *name, const uint8_t list[PROTO_DIGEST])
{
	struct slot *s = slot_named(name);
	struct entry e;
	if (!find_entry(&e, list, name)) {
		return;
	}
	if (s == NULL) {
		s = slot_free();
		if (s == NULL) {
			return;
		}
		memset(s, 0, sizeof *s);
		s->used = true;
		memcpy(s->name, name, strlen(name) + 1);
		s->phase_us = port_now_us();
		s->want.spec = ~e.spec; // differs
	}
	s->seen = true;
	if (s->want.spec != e.spec) {
		s->desired_us = port_now_us();
		s->restarts = s->failures = s->fetch_failures = 0;
		s->retry_us = s->fetch_us = 0;
		s->has_start_time = s->refused = false;
		s->want = e;
		struct store_app *r = record(name, false);
		if (r != NULL && r->has_bad && r->bad_spec == e.spec) {
			set_phase(s, PROTO_ROLLED_BACK, (enum proto_reason)r->bad_reason, "given up before the last start");
		} else {
			set_phase(s, PROTO_PENDING, PROTO_NONE, "");
		}
		changed = true;
		return;
	}
	s->want = e;
	if (s->current.data != NULL && s->current.spec == e.spec) {
		s->current = e;
		struct store_app *r = record(name, false);
		if (r != NULL && r->has_confirmed && r->confirmed_spec == e.spec) {
			memcpy(r->confirmed_list, list, PROTO_DIGEST);
		}
	}
}

static void take(const uint8_t list[PROTO_DIGEST])
{
	const struct store_blob *blob = store_find(list);
	struct proto_app app;
	uint32_t cursor = 0;
	if (blob == NULL) {
		return;
	}
	struct proto_span span = {store_data(blob), blob->size};
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		slots[i].seen = false;
	}
	while (proto_next_app(span, &cursor, &app)) { // first those that are known, so that slots get free
		char name[PROTO_MAX_NAME + 1] = {0};
		memcpy(name, app.name.data, app.name.len);
		if (slot_named(name) != NULL) {
			want(name, list);
		}
	}
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		if (slots[i].used && !slots[i].seen) {
			remove_slot(&slots[i]);
		}
	}
	cursor = 0;
	while (proto_next_app(span, &cursor, &app)) {
		char name[PROTO_MAX_NAME + 1] = {0};
		memcpy(name, app.name.data, app.name.len);
		if (slot_named(name) == NULL) {
			want(name, list);
		}
	}
}

void apps_apply(uint64_t generation, const uint8_t digest[PROTO_DIGEST])
{
	store_root.generation = generation;
	memcpy(store_root.desired, digest, PROTO_DIGEST);
	take(digest);
	save();
	store_sweep(keeps, NULL);
	changed = true;
}

// A crash of the whole board while an unconfirmed app ran counts against the app.
static void blame(void)
{
	const struct port_crash *c = port_last_crash();
	const char *name = c != NULL && c->tag != 0 ? apps_name_of_tag(c->tag) : NULL;
	struct slot *s = name != NULL ? slot_named(name) : NULL;
	struct store_app *r = s != NULL ? record(name, true) : NULL;
	struct entry old;
	if (r == NULL || (r->has_confirmed && r->confirmed_spec == s->want.spec)) {
		return;
	}
	r->tries = r->tried_spec == s->want.spec ? r->tries + 1 : 1;
	r->tried_spec = s->want.spec;
	save();
	if (r->tries >= APPS_TRIES && former(s, &old)) {
		go_back(s, "the board crashed while it ran");
	}
}

void apps_start(void)
{
	if (store_root.generation != 0) {
		take(store_root.desired);
		blame();
	}
	// Time to the first instruction counts from the start of the board.
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		slots[i].desired_us = 0;
	}
}

// ---------------------------------------------------------------- fetching

bool apps_missing(const uint8_t **digest, uint32_t *size)
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		struct slot *s = &slots[i];
		if (!s->used || s->refused || going_back(s) || s->fetch_us > port_now_us() || store_find(s->want.artifact) != NULL) {
			continue;
		}
		*digest = s->want.artifact;
		*size = decode(&s->want).artifact.size;
		if (s->phase != PROTO_FETCHING && s->phase != PROTO_FAILED) {
			set_phase(s, PROTO_FETCHING, PROTO_NONE, "");
		}
		return true;
	}
	return false;
}

void apps_fetched(const uint8_t digest[PROTO_DIGEST])
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		struct slot *s = &slots[i];
		if (s->used && memcmp(s->want.artifact, digest, PROTO_DIGEST) == 0) {
			s->fetch_failures = 0;
			set_phase(s, PROTO_STARTING, PROTO_NONE, "");
		}
	}
}

void apps_fetch_failed(const uint8_t digest[PROTO_DIGEST], enum proto_reason reason)
{
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		struct slot *s = &slots[i];
		if (!s->used || memcmp(s->want.artifact, digest, PROTO_DIGEST) != 0) {
			continue;
		}
		if (reason == PROTO_NO_STORAGE) {
			char message[RUNNER_MESSAGE];
			snprintf(message, sizeof message, "a module of %lu bytes, %lu are free for modules",
			         (unsigned long)decode(&s->want).artifact.size, (unsigned long)store_free());
			refuse(s, reason, message);
			continue;
		}
		s->fetch_failures++;
		s->fetch_us = backoff(s->fetch_failures, FETCH_RETRY_MIN_MS, FETCH_RETRY_MAX_MS);
		set_phase(s, PROTO_FAILED, reason, reason == PROTO_DIGEST_MISMATCH ? "what was fetched has another digest" : "the gateway does not have the module");
	}
}

// ---------------------------------------------------------------- loop

static void supervise(struct slot *s, uint64_t *wake)
{
	uint64_t next = UINT64_MAX, now = port_now_us();
	switch (runner_poll(s->runner, &next)) {
	case RUNNER_COMPLETED:
		on_completed(s);
		next = 0;
		break;
	case RUNNER_FAILED:
		on_failure(s, s->runner->reason, s->runner->message);
		next = 0;
		break;
	case RUNNER_ALIVE:
		if (now - s->started_us >= APPS_WINDOW_MS * 1000u) {
			if (!s->confirmed || s->failures != 0) {
				confirm(s);
			}
		} else if (!s->confirmed && next > s->started_us + APPS_WINDOW_MS * 1000u) {
			next = s->started_us + APPS_WINDOW_MS * 1000u;
		}
		break;
	}
	*wake = next < *wake ? next : *wake;
}

static void step(struct slot *s, uint64_t *wake)
{
	struct entry target = s->want;
	bool back = going_back(s) || s->refused;
	if (back && !former(s, &target)) {
		target = s->current; // a refused spec: what ran before goes on
	}
	if (!back && store_find(target.artifact) == NULL) {
		uint64_t retry = s->fetch_us > port_now_us() ? s->fetch_us : UINT64_MAX;
		*wake = retry < *wake ? retry : *wake;
		target = s->current; // until the new module is here
	}
	bool other = s->current.data == NULL || s->current.spec != target.spec;
	if (target.data != NULL && (s->runner == NULL || other)) {
		if (s->runner == NULL && !other && s->retry_us > port_now_us()) {
			*wake = s->retry_us < *wake ? s->retry_us : *wake;
			return;
		}
		if (!back && store_find(target.artifact) != NULL && !store_intact(target.artifact)) {
			log_line(LOG_ERROR, "%s: its module is damaged in the store and fetched again", s->name);
			*wake = 0;
			return;
		}
		if (!(s->refused && target.spec == s->want.spec)) {
			start(s, &target);
		}
	}
	if (s->runner != NULL) {
		supervise(s, wake);
	}
}

uint64_t apps_poll(void)
{
	uint64_t wake = UINT64_MAX;
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		if (slots[i].used) {
			step(&slots[i], &wake);
		}
	}
	return wake;
}

// ---------------------------------------------------------------- telling

bool apps_changed(void)
{
	bool was = changed;
	changed = false;
	return was;
}

// Visits the slots ascending by name.
static struct slot *after(const struct slot *last)
{
	struct slot *best = NULL;
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		struct slot *s = &slots[i];
		if (s->used && (last == NULL || strcmp(s->name, last->name) > 0) &&
		    (best == NULL || strcmp(s->name, best->name) < 0)) {
			best = s;
		}
	}
	return best;
}

static struct proto_span span_of(const char *text)
{
	return (struct proto_span){(const uint8_t *)text, (uint32_t)strlen(text)};
}

static unsigned used_slots(bool running)
{
	unsigned n = 0;
	for (unsigned i = 0; i < PROTO_MAX_APPS; i++) {
		n += slots[i].used && (!running || slots[i].runner != NULL);
	}
	return n;
}

uint32_t apps_states(uint8_t *buf, uint32_t cap)
{
	struct cbor_writer w = {buf, buf + cap, false};
	struct proto_app app;
	cbor_put_head(&w, CBOR_ARRAY, used_slots(false));
	for (const struct slot *s = after(NULL); s != NULL; s = after(s)) {
		struct proto_state state = {
			.name = span_of(s->name),
			.spec = s->want.spec,
			.phase = s->phase,
			.reason = s->reason,
			.message = span_of(s->message),
			.restarts = s->restarts,
			.since = (port_now_us() - s->phase_us) / 1000,
			.has_start_time = s->has_start_time,
			.start_time = s->start_time,
		};
		if (s->current.data != NULL) {
			app = decode(&s->current);
			state.digest = app.digest;
		}
		proto_put_state(&w, &state);
	}
	return w.overflow ? 0 : (uint32_t)(w.at - buf);
}

void apps_metrics(struct cbor_writer *w)
{
	cbor_put_head(w, CBOR_ARRAY, used_slots(true));
	for (const struct slot *s = after(NULL); s != NULL; s = after(s)) {
		uint8_t values[HOSTAPI_MAX_METRICS * (HOSTAPI_MAX_METRIC_NAME + 8) + 4];
		struct cbor_writer v = {values, values + sizeof values, false};
		const struct runner *r = s->runner;
		if (r == NULL) {
			continue;
		}
		cbor_put_head(&v, CBOR_MAP, r->metric_count);
		for (uint32_t k = 0; k < r->metric_count; k++) {
			cbor_put_string(&v, CBOR_TEXT, r->metrics[k].name, r->metrics[k].len);
			cbor_put_int(&v, r->metrics[k].value);
		}
		struct proto_app_metrics m = {
			.name = span_of(s->name),
			.fuel = wasm_fuel_used(r->instance),
			.memory = wasm_memory_size(r->instance),
			.stack = wasm_stack_used(r->instance),
			.values = {values, (uint32_t)(v.at - values)},
		};
		proto_put_app_metrics(w, &m);
	}
}

uint32_t apps_memory_free(void)
{
	return runner_free_blocks() * port_arena()->block_size;
}
