// SPDX-License-Identifier: Apache-2.0
//
// The host functions of devices/hostapi. Each is called from within the sandbox, lifts it
// for its own work and takes every argument for hostile: slots and all that pointers lead
// to come from the app.
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "port.h"
#include "runner.h"

typedef struct wasm_instance instance;
typedef enum wasm_host_result result;

static result give(uint32_t *slots, int32_t value)
{
	slots[0] = (uint32_t)value;
	return WASM_HOST_OK;
}

// A range of the app's memory; NULL when it is not all inside. The instance lies in memory
// that the app's side of the wall can write, so what it says is held against the app's own
// blocks: even a broken runtime cannot make a host function reach beyond them.
static void *memory_at(const struct runner *r, uint32_t address, uint32_t len)
{
	void *p = wasm_memory_at(r->instance, address, len);
	return runner_owns(r, p, len) ? p : NULL;
}

// A text that ends with a zero byte, of at most cap bytes with it; NULL when there is none.
static const char *text_at(const struct runner *r, uint32_t address, uint32_t cap, uint32_t *len)
{
	uint32_t size = wasm_memory_size(r->instance);
	if (address >= size) {
		return NULL;
	}
	uint32_t most = size - address < cap ? size - address : cap;
	const char *text = memory_at(r, address, most);
	const char *end = text == NULL ? NULL : memchr(text, 0, most);
	if (end == NULL) {
		return NULL;
	}
	*len = (uint32_t)(end - text);
	return text;
}

// Suspends the app until r->wake_us; its call returns the result then.
static result wait(struct runner *r, int32_t with)
{
	r->sleeping = true;
	r->wake_result = with;
	return WASM_HOST_WAIT;
}

// ---------------------------------------------------------------- base

static result do_ocre_sleep(struct runner *r, uint32_t *slots)
{
	int32_t ms = (int32_t)slots[0];
	if (ms < 0) {
		return give(slots, HOSTAPI_INVALID);
	}
	r->wake_us = port_now_us() + (uint64_t)ms * 1000;
	return wait(r, HOSTAPI_OK);
}

static result do_ocre_get_event(struct runner *r, uint32_t *slots)
{
	void *to[6];
	for (int k = 0; k < 6; k++) {
		to[k] = slots[k] == 0 ? NULL : memory_at(r, slots[k], 4);
		if (slots[k] != 0 && to[k] == NULL) {
			return give(slots, HOSTAPI_INVALID);
		}
	}
	struct runner_event e;
	if (!runner_next_event(r, &e)) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	int32_t values[6] = {e.type, e.id, e.port, e.state, e.extra, e.length};
	for (int k = 0; k < 6; k++) {
		if (to[k] != NULL) {
			memcpy(to[k], &values[k], 4);
		}
	}
	return give(slots, HOSTAPI_OK);
}

static const char *callback_signature(uint32_t type)
{
	switch (type) {
#define CALLBACK(name, event, signature) \
	case event: \
		return signature;
		HOSTAPI_CALLBACKS(CALLBACK)
#undef CALLBACK
	default:
		return NULL;
	}
}

static result do_ocre_register_dispatcher(struct runner *r, uint32_t *slots)
{
	char name[65], signature[16];
	uint32_t len;
	const char *want = callback_signature(slots[0]);
	const char *text = text_at(r, slots[1], sizeof name, &len);
	if (want == NULL || text == NULL) {
		return give(slots, HOSTAPI_INVALID);
	}
	memcpy(name, text, len);
	name[len] = 0;
	int32_t f = wasm_find_function(r->module, name);
	if (f < 0 || wasm_signature(r->module, (uint32_t)f, signature, sizeof signature) >= sizeof signature ||
	    strcmp(signature, want) != 0) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	r->dispatchers[slots[0]] = f;
	return give(slots, HOSTAPI_OK);
}

static result do_wasmbed_config_get(struct runner *r, uint32_t *slots)
{
	const void *key = memory_at(r, slots[0], slots[1]);
	void *buffer = memory_at(r, slots[2], slots[3]);
	struct proto_span k, v;
	uint32_t cursor = 0;
	if (key == NULL || buffer == NULL) {
		return give(slots, HOSTAPI_INVALID);
	}
	while (proto_next_pair(r->config, &cursor, &k, &v)) {
		if (k.len == slots[1] && memcmp(k.data, key, k.len) == 0) {
			memcpy(buffer, v.data, v.len < slots[3] ? v.len : slots[3]);
			return give(slots, (int32_t)v.len);
		}
	}
	return give(slots, HOSTAPI_NOT_FOUND);
}

// Order of map keys: shorter ones first.
static int compare_names(const struct runner_metric *m, const char *name, uint32_t len)
{
	return m->len != len ? (m->len > len) - (m->len < len) : memcmp(m->name, name, len);
}

static result do_wasmbed_metric_set(struct runner *r, uint32_t *slots)
{
	uint32_t len = slots[1], at = 0;
	const char *name = memory_at(r, slots[0], len);
	if (name == NULL || len == 0 || len > HOSTAPI_MAX_METRIC_NAME) {
		return give(slots, HOSTAPI_INVALID);
	}
	for (uint32_t k = 0; k < len; k++) {
		if (name[k] < 0x20 || name[k] > 0x7E) {
			return give(slots, HOSTAPI_INVALID);
		}
	}
	while (at < r->metric_count && compare_names(&r->metrics[at], name, len) < 0) {
		at++;
	}
	if (at == r->metric_count || compare_names(&r->metrics[at], name, len) != 0) {
		if (r->metric_count == HOSTAPI_MAX_METRICS) {
			return give(slots, HOSTAPI_NO_MEMORY);
		}
		memmove(&r->metrics[at + 1], &r->metrics[at], (r->metric_count - at) * sizeof r->metrics[0]);
		r->metric_count++;
		r->metrics[at].len = (uint8_t)len;
		memcpy(r->metrics[at].name, name, len);
	}
	r->metrics[at].value = (int32_t)slots[2];
	return give(slots, HOSTAPI_OK);
}

static result do_wasmbed_log(struct runner *r, uint32_t *slots)
{
	const uint8_t *text = memory_at(r, slots[1], slots[2]);
	if (slots[0] > HOSTAPI_LOG_ERROR || text == NULL) {
		return give(slots, HOSTAPI_INVALID);
	}
	log_app((enum log_level)slots[0], r->name, text, slots[2] < HOSTAPI_MAX_LOG_LINE ? slots[2] : HOSTAPI_MAX_LOG_LINE);
	return give(slots, HOSTAPI_OK);
}

// ---------------------------------------------------------------- timers

static struct runner_timer *timer_at(struct runner *r, uint32_t id)
{
	return id >= 1 && id <= HOSTAPI_MAX_TIMERS && r->timers[id - 1].exists ? &r->timers[id - 1] : NULL;
}

static result do_ocre_timer_create(struct runner *r, uint32_t *slots)
{
	if (slots[0] < 1 || slots[0] > HOSTAPI_MAX_TIMERS) {
		return give(slots, HOSTAPI_INVALID);
	}
	if (timer_at(r, slots[0]) != NULL) {
		return give(slots, HOSTAPI_BUSY);
	}
	r->timers[slots[0] - 1] = (struct runner_timer){.exists = true};
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_timer_start(struct runner *r, uint32_t *slots)
{
	struct runner_timer *t = timer_at(r, slots[0]);
	int32_t ms = (int32_t)slots[1];
	if (ms < 1) {
		return give(slots, HOSTAPI_INVALID);
	}
	if (t == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	t->due_us = port_now_us() + (uint64_t)ms * 1000;
	t->period_us = slots[2] != 0 ? (uint64_t)ms * 1000 : 0;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_timer_stop(struct runner *r, uint32_t *slots)
{
	struct runner_timer *t = timer_at(r, slots[0]);
	if (t == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	t->due_us = 0;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_timer_delete(struct runner *r, uint32_t *slots)
{
	struct runner_timer *t = timer_at(r, slots[0]);
	if (t == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	memset(t, 0, sizeof *t);
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_timer_get_remaining(struct runner *r, uint32_t *slots)
{
	const struct runner_timer *t = timer_at(r, slots[0]);
	uint64_t now = port_now_us();
	if (t == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	return give(slots, t->due_us > now ? (int32_t)((t->due_us - now) / 1000) : 0);
}

// ---------------------------------------------------------------- pins

static result pin_result(uint32_t *slots, int rc)
{
	return give(slots, rc >= 0 ? rc : HOSTAPI_INVALID);
}

enum { LED_QUIET_S = 60 };

// What the log has of each LED: its changes since the last line, and the time of that line.
static struct {
	uint32_t changes, told_s;
} led_log[PORT_LEDS_TOLD];

// Says in the app's log that an LED has changed, once a minute at most.
static void tell_led(const struct runner *r, uint32_t pin, int level)
{
	char text[64];
	uint32_t now_s = (uint32_t)(port_now_us() / 1000000) + 1, changes = ++led_log[pin].changes;
	if (led_log[pin].told_s != 0 && now_s < led_log[pin].told_s + LED_QUIET_S) {
		return;
	}
	int n = snprintf(text, sizeof text, changes == 1 ? "LED %u %s" : "LED %u %s, changed %u times since the last line",
	                 (unsigned)pin, level ? "on" : "off", (unsigned)changes);
	led_log[pin].changes = 0;
	led_log[pin].told_s = now_s;
	log_app(LOG_INFO, r->name, (const uint8_t *)text, (uint32_t)n);
}

static int drive(const struct runner *r, uint32_t port, uint32_t pin, int level)
{
	int before = port_gpio_get(port, pin);
	int rc = port_gpio_set(port, pin, level);
	if (rc == PORT_OK && port == PORT_LEDS && pin < PORT_LEDS_TOLD && before != level) {
		tell_led(r, pin, level);
	}
	return rc;
}

static int toggle(const struct runner *r, uint32_t port, uint32_t pin)
{
	int level = port_gpio_get(port, pin);
	return level < 0 ? level : drive(r, port, pin, !level);
}

static int named(const struct runner *r, uint32_t address, uint32_t *port, uint32_t *pin)
{
	uint32_t len;
	const char *name = text_at(r, address, 16, &len);
	return name == NULL ? PORT_EINVAL : port_gpio_named(name, len, port, pin);
}

static int configure(uint32_t port, uint32_t pin, uint32_t direction)
{
	return direction > 1 ? PORT_EINVAL : port_gpio_configure(port, pin, (enum port_direction)direction);
}

static result do_ocre_gpio_init(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_gpio_configure(struct runner *r, uint32_t *slots)
{
	(void)r;
	return pin_result(slots, configure(slots[0], slots[1], slots[2]));
}

static result do_ocre_gpio_pin_set(struct runner *r, uint32_t *slots)
{
	return pin_result(slots, drive(r, slots[0], slots[1], slots[2] != 0));
}

static result do_ocre_gpio_pin_get(struct runner *r, uint32_t *slots)
{
	(void)r;
	return pin_result(slots, port_gpio_get(slots[0], slots[1]));
}

static result do_ocre_gpio_pin_toggle(struct runner *r, uint32_t *slots)
{
	return pin_result(slots, toggle(r, slots[0], slots[1]));
}

static struct runner_watch *watch_at(struct runner *r, uint32_t port, uint32_t pin)
{
	for (int k = 0; k < HOSTAPI_MAX_GPIO_CALLBACKS; k++) {
		struct runner_watch *w = &r->watches[k];
		if (w->used && w->port == port && w->pin == pin) {
			return w;
		}
	}
	return NULL;
}

static result do_ocre_gpio_register_callback(struct runner *r, uint32_t *slots)
{
	if (port_gpio_configure(slots[0], slots[1], PORT_IN) != PORT_OK) {
		return give(slots, HOSTAPI_INVALID);
	}
	if (watch_at(r, slots[0], slots[1]) != NULL) {
		return give(slots, HOSTAPI_OK);
	}
	for (int k = 0; k < HOSTAPI_MAX_GPIO_CALLBACKS; k++) {
		struct runner_watch *w = &r->watches[k];
		if (!w->used) {
			int level = port_gpio_get(slots[0], slots[1]);
			*w = (struct runner_watch){1, (uint8_t)slots[0], (uint8_t)slots[1], (uint8_t)(level > 0)};
			return give(slots, HOSTAPI_OK);
		}
	}
	return give(slots, HOSTAPI_NO_MEMORY);
}

static result do_ocre_gpio_unregister_callback(struct runner *r, uint32_t *slots)
{
	struct runner_watch *w = watch_at(r, slots[0], slots[1]);
	if (w == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	w->used = 0;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_gpio_configure_by_name(struct runner *r, uint32_t *slots)
{
	uint32_t port, pin;
	int rc = named(r, slots[0], &port, &pin);
	return pin_result(slots, rc < 0 ? rc : configure(port, pin, slots[1]));
}

static result do_ocre_gpio_set_by_name(struct runner *r, uint32_t *slots)
{
	uint32_t port, pin;
	int rc = named(r, slots[0], &port, &pin);
	return pin_result(slots, rc < 0 ? rc : drive(r, port, pin, slots[1] != 0));
}

static result do_ocre_gpio_get_by_name(struct runner *r, uint32_t *slots)
{
	uint32_t port, pin;
	int rc = named(r, slots[0], &port, &pin);
	return pin_result(slots, rc < 0 ? rc : port_gpio_get(port, pin));
}

static result do_ocre_gpio_toggle_by_name(struct runner *r, uint32_t *slots)
{
	uint32_t port, pin;
	int rc = named(r, slots[0], &port, &pin);
	return pin_result(slots, rc < 0 ? rc : toggle(r, port, pin));
}

// ---------------------------------------------------------------- messages

static result do_wasmbed_message_buffer(struct runner *r, uint32_t *slots)
{
	if (slots[1] != 0 && memory_at(r, slots[0], slots[1]) == NULL) {
		return give(slots, HOSTAPI_INVALID);
	}
	inbox_lend(r, slots[0], slots[1]);
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_subscribe_message(struct runner *r, uint32_t *slots)
{
	uint32_t len;
	const char *text = text_at(r, slots[0], HOSTAPI_MAX_TOPIC + 1, &len);
	if (text == NULL || len == 0) {
		return give(slots, HOSTAPI_INVALID);
	}
	if (runner_topic(r, text, len) != NULL) {
		return give(slots, HOSTAPI_OK);
	}
	struct runner_topic *free = runner_topic(r, "", 0);
	if (free == NULL || r->inbox.size == 0) {
		return give(slots, HOSTAPI_NO_MEMORY);
	}
	free->len = (uint8_t)len;
	memcpy(free->text, text, len);
	return give(slots, HOSTAPI_OK);
}

static result do_wasmbed_unsubscribe_message(struct runner *r, uint32_t *slots)
{
	uint32_t len;
	const char *text = text_at(r, slots[0], HOSTAPI_MAX_TOPIC + 1, &len);
	if (text == NULL) {
		return give(slots, HOSTAPI_INVALID);
	}
	struct runner_topic *t = len == 0 ? NULL : runner_topic(r, text, len);
	if (t == NULL) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	t->len = 0;
	return give(slots, HOSTAPI_OK);
}

// The app goes on after the others had their turn: nobody is flooded who keeps up, and
// copying costs the app that publishes its time.
static result do_ocre_publish_message(struct runner *r, uint32_t *slots)
{
	static uint32_t published;
	struct message m = {.payload_len = slots[3]};
	m.topic = text_at(r, slots[0], HOSTAPI_MAX_TOPIC + 1, &m.topic_len);
	m.content_type = text_at(r, slots[1], HOSTAPI_MAX_CONTENT_TYPE + 1, &m.content_type_len);
	m.payload = memory_at(r, slots[2], slots[3]);
	if (m.topic == NULL || m.topic_len == 0 || m.content_type == NULL || m.content_type_len == 0 || m.payload == NULL ||
	    m.payload_len > HOSTAPI_MAX_PAYLOAD) {
		return give(slots, HOSTAPI_INVALID);
	}
	m.id = ++published & INT32_MAX;
	r->wake_us = port_now_us();
	return wait(r, runner_publish(&m));
}

// ---------------------------------------------------------------- sensors

static bool is_sensor(uint32_t handle)
{
	return handle < (uint32_t)port_sensor_count();
}

static result do_ocre_sensors_init(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_sensors_discover(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, port_sensor_count());
}

static result do_ocre_sensors_get_handle(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, is_sensor(slots[0]) ? (int32_t)slots[0] : HOSTAPI_NOT_FOUND);
}

static result do_ocre_sensors_open(struct runner *r, uint32_t *slots)
{
	if (!is_sensor(slots[0])) {
		return give(slots, HOSTAPI_NOT_FOUND);
	}
	r->sensor_open = true;
	return give(slots, HOSTAPI_OK);
}

static result do_ocre_sensors_get_channel_count(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, is_sensor(slots[0]) ? 1 : HOSTAPI_NOT_FOUND);
}

static result do_ocre_sensors_get_channel_type(struct runner *r, uint32_t *slots)
{
	(void)r;
	return give(slots, is_sensor(slots[0]) && slots[1] == 0 ? HOSTAPI_CHANNEL_TEMPERATURE : HOSTAPI_NOT_FOUND);
}

static result do_ocre_sensors_read(struct runner *r, uint32_t *slots)
{
	int32_t milli;
	uint64_t bits = 0x7FF8000000000000u; // not a number
	if (r->sensor_open && is_sensor(slots[0]) && slots[1] == HOSTAPI_CHANNEL_TEMPERATURE &&
	    port_sensor_read(slots[0], 0, &milli) == PORT_OK) {
		double value = (double)milli / 1000.0;
		memcpy(&bits, &value, sizeof bits);
	}
	slots[0] = (uint32_t)bits;
	slots[1] = (uint32_t)(bits >> 32);
	return WASM_HOST_OK;
}

// ---------------------------------------------------------------- table

#define WRAPPER(name, signature, permission, blocking) \
	static result call_##name(instance *i, uint32_t *slots, void *user) \
	{ \
		(void)i; \
		(void)user; \
		port_sandbox_leave(); \
		struct runner *r = runner_current; /* not user, which comes through the app's memory */ \
		result rc = runner_owns(r, slots, 8) ? do_##name(r, slots) : WASM_HOST_TRAP; \
		port_sandbox_enter(); \
		return rc; \
	}
HOSTAPI_TABLE(WRAPPER)

#define ROW(name, signature, permission, blocking) {HOSTAPI_MODULE, #name, signature, permission, call_##name},
const struct wasm_host_function host_functions[] = {HOSTAPI_TABLE(ROW)};
const uint32_t host_function_count = sizeof host_functions / sizeof host_functions[0];
