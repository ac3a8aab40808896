// SPDX-License-Identifier: Apache-2.0
#include "runner.h"

#include <stdio.h>
#include <string.h>

#include "port.h"

enum {
	SLICE_FUEL = 10000,
	RUNNERS = 8,
	DEFAULT_MEMORY = 16384, // bytes, when the spec says nothing
	DEFAULT_STACK = 4096,
	WATCH_US = 50000,       // between two looks at watched inputs
};

static struct runner runners[RUNNERS];
struct runner *runner_current;

// ---------------------------------------------------------------- arena

static bool block_taken(uint32_t block)
{
	for (unsigned i = 0; i < RUNNERS; i++) {
		const struct runner *r = &runners[i];
		if (r->used && block >= r->first_block && block < r->first_block + r->blocks) {
			return true;
		}
	}
	return false;
}

uint32_t runner_free_blocks(void)
{
	uint32_t n = 0;
	for (uint32_t b = 0; b < port_arena()->blocks; b++) {
		n += !block_taken(b);
	}
	return n;
}

uint32_t runner_free_range(uint32_t *first)
{
	uint32_t best = 0, run = 0;
	for (uint32_t b = 0; b < port_arena()->blocks; b++) {
		run = block_taken(b) ? 0 : run + 1;
		if (run > best) {
			best = run;
			*first = b + 1 - run;
		}
	}
	return best;
}

struct runner *runner_alloc(void)
{
	for (unsigned i = 0; i < RUNNERS; i++) {
		if (!runners[i].used) {
			memset(&runners[i], 0, sizeof runners[i]);
			return &runners[i];
		}
	}
	return NULL;
}

static uint8_t *base_of(const struct runner *r)
{
	return port_arena()->base + r->first_block * port_arena()->block_size;
}

static uint32_t size_of(const struct runner *r)
{
	return r->blocks * port_arena()->block_size;
}

bool runner_owns(const struct runner *r, const void *at, uint32_t len)
{
	uintptr_t offset = (uintptr_t)at - (uintptr_t)base_of(r);
	return at != NULL && offset <= size_of(r) && len <= size_of(r) - offset;
}

// ---------------------------------------------------------------- start

bool runner_permissions(struct proto_span list, uint32_t *granted, struct proto_span *unknown)
{
	static const struct { const char *name; uint32_t bit; } known[] = {
#define PERMISSION(name, bit) {name, bit},
		HOSTAPI_PERMISSIONS(PERMISSION)
#undef PERMISSION
	};
	uint32_t cursor = 0;
	*granted = 0;
	while (proto_next_text(list, &cursor, unknown)) {
		size_t i = 0, n = sizeof known / sizeof known[0];
		while (i < n && (strlen(known[i].name) != unknown->len || memcmp(known[i].name, unknown->data, unknown->len) != 0)) {
			i++;
		}
		if (i == n) {
			return false;
		}
		*granted |= known[i].bit;
	}
	return true;
}

struct load {
	const uint8_t *bytes;
	uint32_t size;
	uint8_t *base;
	uint32_t len, used;
	struct wasm_config config;
	const struct wasm_module *module;
	struct wasm_instance *instance;
	struct wasm_error error;
	int rc;
};

// Runs in the sandbox: hostile bytes are parsed here.
static void load(void *arg)
{
	struct load *l = arg;
	l->rc = wasm_load(&l->module, l->bytes, l->size, l->base, l->len, &l->error);
	if (l->rc != WASM_OK) {
		return;
	}
	uint32_t records = (wasm_module_size(l->module) + 7) & ~7u;
	uint32_t need = wasm_instance_size(l->module, &l->config);
	if (records > l->len || need == 0 || need > l->len - records) {
		l->rc = WASM_E_MEMORY;
		l->error.need = need == 0 ? UINT32_MAX : records + need;
		return;
	}
	l->used = records + need;
	l->rc = wasm_instantiate(&l->instance, l->module, &l->config, l->base + records, l->len - records, &l->error);
}

static enum proto_reason reason_of(int code)
{
	switch (code) {
	case WASM_E_UNSUPPORTED:
	case WASM_E_LIMIT:
		return PROTO_UNSUPPORTED;
	case WASM_E_MEMORY:
		return PROTO_NO_MEMORY;
	case WASM_E_IMPORT:
	case WASM_E_SIGNATURE:
		return PROTO_IMPORT_UNKNOWN;
	case WASM_E_PERMISSION:
		return PROTO_PERMISSION_DENIED;
	default:
		return PROTO_MODULE_INVALID;
	}
}

// What was refused: the import's name, the memory needed, or what the runtime says.
static void explain(struct runner *r, const struct load *l)
{
	struct wasm_cursor cursor = {0};
	struct wasm_import import;
	bool imports = l->rc == WASM_E_IMPORT || l->rc == WASM_E_SIGNATURE || l->rc == WASM_E_PERMISSION;
	if (l->rc == WASM_E_MEMORY) {
		snprintf(r->message, sizeof r->message, "needs at least %lu bytes of app memory, %lu are free in one piece",
		         (unsigned long)l->error.need, (unsigned long)l->len);
		return;
	}
	while (imports && l->module != NULL && wasm_next_import(l->module, &cursor, &import)) {
		if (import.offset == l->error.offset) {
			snprintf(r->message, sizeof r->message, "%.*s.%.*s: %s", import.module.length > 16 ? 16 : (int)import.module.length,
			         import.module.data, import.name.length > 32 ? 32 : (int)import.name.length, import.name.data,
			         wasm_error_text(l->rc));
			return;
		}
	}
	snprintf(r->message, sizeof r->message, "%s%s%s at byte %lu", wasm_error_text(l->rc), l->error.detail != NULL ? ": " : "",
	         l->error.detail != NULL ? l->error.detail : "", (unsigned long)l->error.offset);
}

static bool has_signature(const struct wasm_module *m, int32_t function, const char *want)
{
	char text[16];
	return function >= 0 && wasm_signature(m, (uint32_t)function, text, sizeof text) < sizeof text && strcmp(text, want) == 0;
}

static void find_callbacks(struct runner *r)
{
	for (unsigned i = 0; i < RUNNER_EVENT_TYPES; i++) {
		r->dispatchers[i] = -1;
	}
#define CALLBACK(name, event, signature) \
	do { \
		int32_t f = wasm_find_function(r->module, name); \
		r->dispatchers[event] = has_signature(r->module, f, signature) ? f : -1; \
	} while (0);
	HOSTAPI_CALLBACKS(CALLBACK)
#undef CALLBACK
}

static enum proto_reason refuse(struct runner *r, enum proto_reason reason, const char *message)
{
	snprintf(r->message, sizeof r->message, "%s", message);
	r->used = false;
	return reason;
}

enum proto_reason runner_start(struct runner *r, const char *name, const struct proto_app *app, const uint8_t *bytes,
                               uint32_t size, uint32_t granted)
{
	struct load l;
	memset(&l, 0, sizeof l);
	r->name = name;
	r->blocks = runner_free_range(&r->first_block);
	if (r->blocks == 0) {
		return refuse(r, PROTO_NO_MEMORY, "all app memory is in use");
	}
	l.bytes = bytes;
	l.size = size;
	l.base = base_of(r);
	l.len = size_of(r);
	l.config = (struct wasm_config){
		.functions = host_functions,
		.function_count = host_function_count,
		.granted = granted,
		.user = r,
		.memory_limit = app->has_limits && app->limits.has_memory ? app->limits.memory : DEFAULT_MEMORY,
		.stack_size = app->has_limits && app->limits.has_stack ? app->limits.stack : DEFAULT_STACK,
	};
	int rc = port_sandbox_run(load, &l, l.base, l.len);
	if (rc != PORT_OK) {
		return refuse(r, PROTO_MODULE_INVALID, "the runtime faulted while it loaded the module");
	}
	if (l.rc != WASM_OK) {
		explain(r, &l);
		r->used = false;
		return reason_of(l.rc);
	}
	r->module = l.module;
	r->instance = l.instance;
	r->blocks = (l.used + port_arena()->block_size - 1) / port_arena()->block_size;
	r->run_function = wasm_find_function(r->module, HOSTAPI_ENTRY_RUN);
	if (!has_signature(r->module, r->run_function, ":") && !has_signature(r->module, r->run_function, ":i")) {
		return refuse(r, PROTO_MODULE_INVALID, "exports no function run of type () -> () or () -> i32");
	}
	find_callbacks(r);
	r->config = app->config;
	r->fuel_rate = app->has_limits ? app->limits.fuel : 0;
	r->fuel_us = port_now_us();
	r->fuel_tokens = (int64_t)(r->fuel_rate < INT32_MAX ? r->fuel_rate : INT32_MAX);
	r->state = RUNNER_INITIALIZING; // a start function may be under way already
	r->used = true;
	return PROTO_NONE;
}

void runner_stop(struct runner *r)
{
	r->used = false;
}

// ---------------------------------------------------------------- events

void runner_push(struct runner *r, struct runner_event e)
{
	if (r->event_head - r->event_tail == HOSTAPI_MAX_EVENTS) {
		r->event_tail++;
	}
	r->events[r->event_head % HOSTAPI_MAX_EVENTS] = e;
	r->event_head++;
}

bool runner_next_event(struct runner *r, struct runner_event *e)
{
	while (r->event_tail != r->event_head) {
		*e = r->events[r->event_tail++ % HOSTAPI_MAX_EVENTS];
		inbox_hold(r, e);
		if (e->type >= 0) {
			return true;
		}
	}
	r->inbox.held = false;
	return false;
}

static void fire_timers(struct runner *r, uint64_t now)
{
	for (int i = 0; i < HOSTAPI_MAX_TIMERS; i++) {
		struct runner_timer *t = &r->timers[i];
		if (t->due_us == 0 || t->due_us > now) {
			continue;
		}
		runner_push(r, (struct runner_event){.type = HOSTAPI_EVENT_TIMER, .id = i + 1});
		if (t->period_us == 0) {
			t->due_us = 0;
		} else {
			t->due_us += t->period_us;
			t->due_us = t->due_us > now ? t->due_us : now + t->period_us; // late: periods are skipped
		}
	}
}

static void look_at_pins(struct runner *r)
{
	for (int i = 0; i < HOSTAPI_MAX_GPIO_CALLBACKS; i++) {
		struct runner_watch *w = &r->watches[i];
		int level = w->used ? port_gpio_get(w->port, w->pin) : -1;
		if (level >= 0 && level != w->level) {
			w->level = (uint8_t)level;
			runner_push(r, (struct runner_event){.type = HOSTAPI_EVENT_GPIO, .id = w->pin, .port = w->port, .state = level});
		}
	}
}

static bool watches(const struct runner *r)
{
	for (int i = 0; i < HOSTAPI_MAX_GPIO_CALLBACKS; i++) {
		if (r->watches[i].used) {
			return true;
		}
	}
	return false;
}

static bool subscribed(const struct runner *r)
{
	for (int i = 0; i < HOSTAPI_MAX_SUBSCRIPTIONS; i++) {
		if (r->topics[i].len != 0) {
			return true;
		}
	}
	return false;
}

// The earliest timer, UINT64_MAX when none runs.
static uint64_t next_timer(const struct runner *r)
{
	uint64_t next = UINT64_MAX;
	for (int i = 0; i < HOSTAPI_MAX_TIMERS; i++) {
		if (r->timers[i].due_us != 0 && r->timers[i].due_us < next) {
			next = r->timers[i].due_us;
		}
	}
	return next;
}

// Calls and wake-ups write into the instance: what it says of where is not trusted, so
// both happen inside the sandbox.
struct entry {
	struct wasm_instance *instance;
	int32_t function; // negative: a wake-up
	uint32_t arguments[5]; // of a wake-up: the results
	int rc;
};

static void enter(void *arg)
{
	struct entry *e = arg;
	e->rc = e->function < 0 ? wasm_wake(e->instance, e->arguments) : wasm_call(e->instance, (uint32_t)e->function, e->arguments);
}

static bool entered(const struct runner *r, struct entry *e)
{
	e->instance = r->instance;
	return port_sandbox_run(enter, e, base_of(r), size_of(r)) == PORT_OK && e->rc == WASM_OK;
}

// Begins the callback of the oldest event; events without one are dropped.
static bool begin_callback(struct runner *r)
{
	struct runner_event e;
	while (runner_next_event(r, &e)) {
		int32_t f = r->dispatchers[e.type];
		struct entry call = {.function = f, .arguments = {(uint32_t)e.id, (uint32_t)e.state, (uint32_t)e.port}};
		if (e.type == HOSTAPI_EVENT_MESSAGE) {
			call = (struct entry){.function = f, .arguments = {(uint32_t)e.id, (uint32_t)e.port, (uint32_t)e.state, (uint32_t)e.extra, (uint32_t)e.length}};
		}
		if (f >= 0 && entered(r, &call)) {
			r->state = RUNNER_IN_CALLBACK;
			return true;
		}
	}
	return false;
}

// ---------------------------------------------------------------- messages

struct runner_topic *runner_topic(struct runner *r, const char *text, uint32_t len)
{
	for (int i = 0; i < HOSTAPI_MAX_SUBSCRIPTIONS; i++) {
		if (r->topics[i].len == len && memcmp(r->topics[i].text, text, len) == 0) {
			return &r->topics[i];
		}
	}
	return NULL;
}

static bool wants(const struct runner *r, const struct message *m)
{
	for (int i = 0; i < HOSTAPI_MAX_SUBSCRIPTIONS; i++) {
		const struct runner_topic *t = &r->topics[i];
		if (t->len != 0 && t->len <= m->topic_len && memcmp(t->text, m->topic, t->len) == 0) {
			return true;
		}
	}
	return false;
}

int32_t runner_publish(const struct message *m)
{
	int32_t result = HOSTAPI_NOT_FOUND;
	for (unsigned i = 0; i < RUNNERS; i++) {
		if (!runners[i].used || !wants(&runners[i], m)) {
			continue;
		}
		if (inbox_put(&runners[i], m)) {
			result = HOSTAPI_OK;
		} else if (result != HOSTAPI_OK) {
			result = HOSTAPI_BUSY;
		}
	}
	return result;
}

// ---------------------------------------------------------------- running

struct slice {
	struct wasm_instance *instance;
	uint32_t fuel;
	enum wasm_status status;
};

static void run_slice(void *arg)
{
	struct slice *s = arg;
	s->status = wasm_run(s->instance, s->fuel);
}

static enum runner_result failed(struct runner *r, enum proto_reason reason)
{
	r->reason = reason;
	return RUNNER_FAILED;
}

static enum runner_result trapped(struct runner *r)
{
	struct wasm_trap t;
	wasm_get_trap(r->instance, &t);
	int len = t.name == NULL ? 0 : t.name_length > 32 ? 32 : (int)t.name_length;
	snprintf(r->message, sizeof r->message, "%s in function %lu%s%.*s%s at byte %lu", wasm_trap_text(t.code),
	         (unsigned long)t.function, len != 0 ? " (" : "", len, len != 0 ? t.name : "", len != 0 ? ")" : "",
	         (unsigned long)t.offset);
	return failed(r, PROTO_TRAPPED);
}

static enum runner_result faulted(struct runner *r)
{
	const struct port_crash *c = port_sandbox_fault();
	snprintf(r->message, sizeof r->message, "stopped by memory protection: pc 0x%lx, address 0x%lx", (unsigned long)c->pc,
	         (unsigned long)c->fault_address);
	return failed(r, PROTO_TRAPPED);
}

// Fuel for the next slice; 0 when the app has used up its share, and *wake says when it
// has more.
static uint32_t ration(struct runner *r, uint64_t now, uint64_t *wake)
{
	if (r->fuel_rate == 0) {
		return SLICE_FUEL;
	}
	uint64_t elapsed = now - r->fuel_us < 1000000 ? now - r->fuel_us : 1000000;
	uint64_t rate = r->fuel_rate < INT32_MAX ? r->fuel_rate : INT32_MAX;
	uint64_t gained = rate * elapsed / 1000000;
	if (gained > 0) {
		r->fuel_us = now;
		r->fuel_tokens += (int64_t)gained;
		r->fuel_tokens = r->fuel_tokens > (int64_t)rate ? (int64_t)rate : r->fuel_tokens;
	}
	int64_t least = (int64_t)(rate / 100 < SLICE_FUEL ? rate / 100 + 1 : SLICE_FUEL);
	if (r->fuel_tokens < least) {
		*wake = now + 1 + (uint64_t)(least - r->fuel_tokens) * 1000000 / rate;
		return 0;
	}
	return r->fuel_tokens < SLICE_FUEL ? (uint32_t)r->fuel_tokens : SLICE_FUEL;
}

// What follows when a call has returned.
static enum runner_result next_call(struct runner *r, uint64_t *wake)
{
	if (r->state == RUNNER_INITIALIZING) {
		int32_t f = r->result_checked ? -1 : wasm_find_function(r->module, HOSTAPI_ENTRY_INITIALIZE);
		r->result_checked = true; // _initialize is called once
		r->state = has_signature(r->module, f, ":") ? RUNNER_INITIALIZING : RUNNER_IN_RUN;
		f = r->state == RUNNER_INITIALIZING ? f : r->run_function;
		struct entry call = {.function = f};
		if (!entered(r, &call)) {
			snprintf(r->message, sizeof r->message, "run cannot be called");
			return failed(r, PROTO_MODULE_INVALID);
		}
		*wake = 0;
		return RUNNER_ALIVE;
	}
	if (r->state == RUNNER_IN_RUN && has_signature(r->module, r->run_function, ":i")) {
		int32_t code = (int32_t)wasm_results(r->instance)[0];
		if (code != 0) {
			snprintf(r->message, sizeof r->message, "run returned %ld", (long)code);
			return failed(r, PROTO_EXITED);
		}
	}
	r->state = RUNNER_IDLE;
	if (begin_callback(r)) {
		*wake = 0;
		return RUNNER_ALIVE;
	}
	*wake = next_timer(r);
	return *wake != UINT64_MAX || watches(r) || subscribed(r) ? RUNNER_ALIVE : RUNNER_COMPLETED;
}

static enum runner_result run(struct runner *r, uint64_t now, uint64_t *wake)
{
	struct slice s = {r->instance, ration(r, now, wake), WASM_OUT_OF_FUEL};
	if (s.fuel == 0) {
		return RUNNER_ALIVE;
	}
	uint64_t before = wasm_fuel_used(r->instance);
	port_crash_tag(r->tag);
	runner_current = r;
	int rc = port_sandbox_run(run_slice, &s, base_of(r), size_of(r));
	port_crash_tag(0);
	if (rc != PORT_OK) {
		return faulted(r);
	}
	r->fuel_tokens -= r->fuel_rate == 0 ? 0 : (int64_t)(wasm_fuel_used(r->instance) - before);
	switch (s.status) {
	case WASM_TRAPPED:
		return trapped(r);
	case WASM_DONE:
		return next_call(r, wake);
	case WASM_WAITING:
		*wake = r->wake_us;
		return RUNNER_ALIVE;
	default:
		*wake = 0;
		return RUNNER_ALIVE;
	}
}

enum runner_result runner_poll(struct runner *r, uint64_t *wake)
{
	uint64_t now = port_now_us();
	enum runner_result result = RUNNER_ALIVE;
	fire_timers(r, now);
	look_at_pins(r);
	if (r->state == RUNNER_IDLE) {
		result = next_call(r, wake);
	} else if (r->sleeping && r->wake_us > now) {
		*wake = r->wake_us;
	} else {
		if (r->sleeping) {
			struct entry wake_up = {.function = -1, .arguments = {(uint32_t)r->wake_result}};
			r->sleeping = false;
			entered(r, &wake_up);
		}
		result = wasm_status(r->instance) == WASM_DONE ? next_call(r, wake) : run(r, now, wake);
	}
	// Timers fill the queue also while the app sleeps.
	uint64_t timer = next_timer(r);
	*wake = timer < *wake ? timer : *wake;
	if (watches(r) && *wake > now + WATCH_US) {
		*wake = now + WATCH_US;
	}
	return result;
}
