// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "apps.h"
#include "identity.h"
#include "log.h"
#include "port.h"
#include "proto.h"
#include "store.h"
#include "tls.h"

enum { BUFFER = 1024, FRAMES_A_POLL = 8, NAP_US = 20000, LOOK_US = 2000000 };
// The time is kept so that a board which starts without a clock does not take a new
// certificate of its gateway for one of the future.
#define KEEP_TIME_WELCOME_MS (10u * 60 * 1000)
#define KEEP_TIME_MS (6u * 60 * 60 * 1000)

enum { REPORT_DOCUMENT_MS = 5000, BUSY_MS = 1000, LONG_BACKOFF_ROUNDS = 6 };

enum state { WAITING, DIALING, HANDSHAKE, HELLO, UP };

// What is pulled from the gateway: a document with the list of apps, or a module.
struct fetch {
	bool active, in_flight;
	bool is_list;
	uint8_t digest[PROTO_DIGEST];
	uint32_t size, asked;
	uint64_t sent_us;
};

static struct {
	const struct provision *provision;
	enum state state;
	uint64_t until_us; // WAITING: until then; else the deadline of the state
	uint32_t rounds;   // rounds through the endpoints without a session
	uint32_t next_endpoint;
	char endpoint[PROTO_MAX_ENDPOINT + 1]; // the one that is used now
	char release_to[PROTO_MAX_ENDPOINT + 1];
	bool refused; // the gateway said why it does not want us
	bool held_off; // it has released us for some time

	uint8_t in[BUFFER], out[BUFFER];
	uint32_t in_len, out_len, out_done, out_cap;
	uint64_t heard_us, beat_us, report_us, busy_us;
	uint32_t heartbeat_ms, report_ms, fetch_length;
	bool report_due, crash_due;

	struct fetch fetch;
	bool list_wanted; // a desired state that travels as a document
	uint64_t list_generation;
	uint8_t list_digest[PROTO_DIGEST];
	uint32_t list_size;

	uint8_t states[APPS_STATES_MAX]; // the last encoded states; a document while states_document is set
	uint32_t states_len;
	bool states_document;
	uint8_t states_digest[PROTO_DIGEST];
	uint64_t states_until_us;
	struct {
		bool active;
		uint8_t digest[PROTO_DIGEST];
		uint32_t offset, length;
	} asked; // by the gateway

	uint64_t idle_since_us, slept_before_us;
} s;

static uint64_t now_ms(void)
{
	return port_now_us() / 1000;
}

static uint32_t random_below(uint32_t limit)
{
	uint32_t r = 0;
	tls_random(&r, sizeof r);
	return limit == 0 ? 0 : r % limit;
}

// ---------------------------------------------------------------- endpoints

static uint32_t stored_endpoints(void)
{
	uint32_t n = 0;
	while (n < PROTO_MAX_ENDPOINTS && store_root.endpoints[n][0] != 0) {
		n++;
	}
	return n;
}

// Endpoint number i: first those of the last welcome, then the provisioned ones.
static void choose_endpoint(void)
{
	uint32_t stored = stored_endpoints(), total = stored + s.provision->endpoint_count;
	if (s.release_to[0] != 0) {
		strcpy(s.endpoint, s.release_to);
		s.release_to[0] = 0;
		return;
	}
	uint32_t i = s.next_endpoint % total;
	s.next_endpoint = (i + 1) % total;
	if (s.next_endpoint == 0) {
		s.rounds++;
	}
	memset(s.endpoint, 0, sizeof s.endpoint);
	if (i < stored) {
		strncpy(s.endpoint, store_root.endpoints[i], PROTO_MAX_ENDPOINT);
	} else {
		const struct span *e = &s.provision->endpoints[i - stored];
		memcpy(s.endpoint, e->data, e->len < PROTO_MAX_ENDPOINT ? e->len : PROTO_MAX_ENDPOINT);
	}
}

static bool is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

// Cuts host:port or [host]:port; false when it is neither.
static bool split_endpoint(char *endpoint, const char **host, uint16_t *port)
{
	char *colon = strrchr(endpoint, ':');
	unsigned long n = colon == NULL ? 0 : strtoul(colon + 1, NULL, 10);
	if (n == 0 || n > UINT16_MAX) {
		return false;
	}
	*colon = 0;
	*port = (uint16_t)n;
	*host = endpoint;
	if (endpoint[0] == '[' && colon > endpoint + 1 && colon[-1] == ']') {
		colon[-1] = 0;
		*host = endpoint + 1;
	}
	return true;
}

// ---------------------------------------------------------------- connection

static void wait_for(uint64_t ms)
{
	s.state = WAITING;
	s.until_us = port_now_us() + ms * 1000;
}

static void back_off(void)
{
	uint32_t rounds = s.rounds < 16 ? s.rounds : 16;
	uint64_t limit = (uint64_t)SESSION_BACKOFF_MIN_MS << rounds;
	wait_for(random_below((uint32_t)(limit < SESSION_BACKOFF_MAX_MS ? limit : SESSION_BACKOFF_MAX_MS)));
}

// Looks for newer provisioning. Another endpoint is tried at once and before all others;
// other credentials as soon as the gateway does not hold us off.
static void look_for_identity(void)
{
	enum identity_change change = identity_renew();
	if (change == IDENTITY_SAME || (change == IDENTITY_RENEWED && s.held_off)) {
		return;
	}
	s.rounds = 0;
	s.refused = false;
	if (change == IDENTITY_MOVED) {
		s.next_endpoint = stored_endpoints();
		s.release_to[0] = 0;
	}
	wait_for(random_below(SESSION_BACKOFF_MIN_MS));
}

static void drop_connection(void)
{
	tls_close();
	port_stream_close();
	s.in_len = s.out_len = s.out_done = 0;
	s.fetch.active = s.fetch.in_flight = false; // what was stored of it stays
	s.asked.active = false;
}

static void lost(const char *why, int code)
{
	int detail = tls_detail();
	log_line(LOG_WARNING, "connection to %s: %s (%d, %s0x%x)", s.endpoint, why, code, detail < 0 ? "-" : "",
	         (unsigned)(detail < 0 ? -detail : detail));
	if (s.state == HANDSHAKE) {
		tls_forget();
	}
	if (s.state == UP) {
		s.next_endpoint = 0; // the order counts again
	}
	drop_connection();
	if (s.refused) {
		s.refused = false;
		s.rounds = s.rounds < LONG_BACKOFF_ROUNDS ? LONG_BACKOFF_ROUNDS : s.rounds;
	}
	back_off();
}

static void dial(void)
{
	char endpoint[PROTO_MAX_ENDPOINT + 1], mapped[16] = {0};
	const char *host;
	uint16_t port;
	s.held_off = false;
	choose_endpoint();
	strcpy(endpoint, s.endpoint);
	if (!split_endpoint(endpoint, &host, &port)) {
		lost("is no host:port", 0);
		return;
	}
	if (is_loopback(host) && s.provision->host.len != 0) {
		memcpy(mapped, s.provision->host.data, s.provision->host.len);
		host = mapped;
	}
	int rc = port_stream_open(host, port);
	s.state = DIALING;
	s.until_us = port_now_us() + SESSION_DIAL_MS * 1000u;
	if (rc != PORT_OK) {
		lost("cannot be dialled", rc);
	}
}

static void poll_dialing(void)
{
	int rc = port_stream_state();
	if (rc == PORT_OK) {
		if (tls_open() != TLS_OK) {
			lost("TLS cannot start", tls_detail());
			return;
		}
		s.state = HANDSHAKE;
		s.until_us = port_now_us() + SESSION_HANDSHAKE_MS * 1000u;
	} else if (rc != PORT_EAGAIN) {
		lost("cannot be reached", rc);
	}
}

// ---------------------------------------------------------------- sending

static bool sending(void)
{
	return s.out_len != 0;
}

// Encodes a frame into the free buffer; false when it does not fit.
static bool put(const struct proto_frame *f)
{
	int n = proto_encode(f, s.out, s.out_cap);
	s.out_done = 0;
	s.out_len = n > 0 ? (uint32_t)n : 0;
	return n > 0;
}

static struct proto_span text_span(const char *text)
{
	return (struct proto_span){(const uint8_t *)text, (uint32_t)strlen(text)};
}

static void encode_states(void)
{
	s.states_len = apps_states(s.states, sizeof s.states);
	s.states_document = false;
}

// The set of states: the list itself, or the document when as_document is set.
static struct proto_set states_set(bool as_document)
{
	struct proto_set set = {.list = {s.states, s.states_len}};
	if (as_document) {
		digest_of(s.states, s.states_len, s.states_digest);
		s.states_document = true;
		s.states_until_us = port_now_us() + REPORT_DOCUMENT_MS * 1000u;
		set = (struct proto_set){.digest = s.states_digest, .size = s.states_len};
	}
	return set;
}

static void send_hello(void)
{
	struct proto_frame f = {.type = PROTO_HELLO};
	struct proto_hello *h = &f.hello;
	*h = (struct proto_hello){
		.version = PROTO_VERSION,
		.max_frame = port_info()->frame_max < BUFFER ? port_info()->frame_max : BUFFER,
		.board = text_span(port_info()->board),
		.firmware = text_span(agent_version),
		.has_memory = true,
		.memory = {
			.ram = port_arena()->blocks * port_arena()->block_size,
			.ram_free = apps_memory_free(),
			.storage = store_size(),
			.storage_free = store_free(),
		},
		.features = PROTO_KEEPS_MODULES | PROTO_ROLLS_BACK,
		.generation = store_root.generation,
		.uptime = now_ms(),
		.boots = store_root.boots,
	};
	s.out_cap = PROTO_MIN_FRAME;
	if (store_root.generation != 0) {
		h->apps = store_root.desired;
		h->has_states = true;
		encode_states();
		h->states = states_set(false);
		if (put(&f)) {
			return;
		}
		h->states = states_set(true);
	}
	put(&f);
}

static bool send_asked(void)
{
	struct proto_frame f = {.type = PROTO_CHUNK};
	if (!s.asked.active) {
		return false;
	}
	s.asked.active = false;
	if (!s.states_document || memcmp(s.asked.digest, s.states_digest, PROTO_DIGEST) != 0 || s.asked.offset > s.states_len) {
		f.type = PROTO_ERROR;
		f.error = (struct proto_fault){.code = PROTO_CODE_NOT_FOUND, .fetch = s.asked.digest};
		return put(&f);
	}
	uint32_t left = s.states_len - s.asked.offset, room = s.out_cap - PROTO_CHUNK_OVERHEAD;
	uint32_t n = s.asked.length < left ? s.asked.length : left;
	n = n < room ? n : room;
	f.chunk = (struct proto_chunk){
		.digest = s.states_digest,
		.offset = s.asked.offset,
		.bytes = {s.states + s.asked.offset, n},
		.size = s.states_len,
	};
	if (s.asked.offset + n == s.states_len) {
		s.states_until_us = 0; // the document has arrived
	}
	return put(&f);
}

static bool send_report(void)
{
	struct proto_frame f = {.type = PROTO_REPORT};
	uint64_t now = port_now_us();
	if (!s.report_due || now < s.report_us + (uint64_t)s.report_ms * 1000 || store_root.generation == 0 ||
	    (s.states_document && now < s.states_until_us)) {
		return false;
	}
	s.report_due = false;
	s.report_us = now;
	encode_states();
	f.report = (struct proto_report){.generation = store_root.generation, .states = states_set(false)};
	if (!put(&f)) {
		f.report.states = states_set(true);
		put(&f);
	}
	return true;
}

static uint32_t crash_code(const struct port_crash *c)
{
	enum { MEMORY_FAULTS = 0xFFFF };
	switch (c->cause) {
	case PORT_RESET_WATCHDOG:
		return PROTO_CRASH_WATCHDOG;
	case PORT_RESET_ASSERT:
		return PROTO_CRASH_ASSERTION;
	default:
		if (strcmp(c->text, "stack overflow") == 0) {
			return PROTO_CRASH_STACK_OVERFLOW;
		}
		return (c->fault_status & MEMORY_FAULTS) != 0 ? PROTO_CRASH_MEMORY_FAULT : PROTO_CRASH_HARD_FAULT;
	}
}

static bool send_crash(void)
{
	const struct port_crash *c = port_last_crash();
	struct proto_frame f = {.type = PROTO_CRASH};
	if (!s.crash_due || c == NULL) {
		return false;
	}
	s.crash_due = false;
	const char *app = c->tag != 0 ? apps_name_of_tag(c->tag) : NULL;
	f.crash = (struct proto_crash){
		.code = crash_code(c),
		.pc = c->pc,
		.lr = c->lr,
		.app = text_span(app != NULL ? app : ""),
		.address = c->fault_address,
		.uptime = c->uptime_ms,
	};
	return put(&f);
}

static void keep_time(uint64_t least_ms)
{
	uint64_t now = tls_time_ms();
	if (now > store_root.wall_ms + least_ms) {
		store_root.wall_ms = now;
		store_commit();
	}
}

static void put_metric(struct cbor_writer *w, enum proto_metric key, uint64_t value)
{
	cbor_put_head(w, CBOR_UINT, key);
	cbor_put_head(w, CBOR_UINT, value);
}

// Thousandths of the time since the last call that were spent asleep.
static uint32_t idle_permille(void)
{
	uint64_t now = port_now_us(), slept = port_slept_us();
	uint64_t window = now - s.idle_since_us, asleep = slept - s.slept_before_us;
	s.idle_since_us = now;
	s.slept_before_us = slept;
	return window == 0 ? 0 : (uint32_t)(asleep * 1000 / window);
}

static struct proto_span metrics(uint8_t *buf, uint32_t cap)
{
	struct cbor_writer w = {buf, buf + cap, false};
	size_t used, high, size;
	int32_t milli = -1;
	uint32_t leds = 0;
	bool warm = port_sensor_read(0, 0, &milli) == PORT_OK && milli >= 0;
	for (uint32_t pin = 0; pin < PORT_LEDS_TOLD; pin++) {
		leds |= port_gpio_get(PORT_LEDS, pin) == 1 ? 1u << pin : 0;
	}
	tls_heap(&used, &high, &size);
	cbor_put_head(&w, CBOR_MAP, warm ? 9 : 8);
	put_metric(&w, PROTO_HEAP_USED, used);
	put_metric(&w, PROTO_HEAP_HIGH_WATER, high);
	put_metric(&w, PROTO_STACK_HIGH_WATER, port_stack_high_water());
	put_metric(&w, PROTO_IDLE_PERMILLE, idle_permille());
	put_metric(&w, PROTO_STORAGE_FREE, store_free());
	put_metric(&w, PROTO_BOOTS, store_root.boots);
	put_metric(&w, PROTO_LOG_DROPPED, log_dropped());
	if (warm) {
		put_metric(&w, PROTO_TEMPERATURE_MILLIDEGREES, (uint64_t)milli);
	}
	put_metric(&w, PROTO_LED_MASK, leds);
	return (struct proto_span){buf, (uint32_t)(w.at - buf)};
}

static bool send_heartbeat(void)
{
	static uint8_t list[BUFFER];
	uint8_t map[96];
	struct proto_frame f = {.type = PROTO_HEARTBEAT};
	struct cbor_writer w = {list, list + sizeof list, false};
	if (port_now_us() < s.beat_us) {
		return false;
	}
	s.beat_us = port_now_us() + (uint64_t)s.heartbeat_ms * 1000;
	keep_time(KEEP_TIME_MS);
	apps_metrics(&w);
	f.heartbeat.uptime = now_ms();
	f.heartbeat.metrics = metrics(map, sizeof map);
	if (!w.overflow) {
		f.heartbeat.apps = (struct proto_span){list, (uint32_t)(w.at - list)};
		if (put(&f)) {
			return true;
		}
		f.heartbeat.apps = (struct proto_span){NULL, 0};
	}
	return put(&f);
}

static bool send_log(void)
{
	struct proto_frame f = {.type = PROTO_LOG};
	if (!log_next(&f.log)) {
		return false;
	}
	log_sent();
	return put(&f);
}

// ---------------------------------------------------------------- fetching

static void fetch_failed(enum proto_reason reason)
{
	s.fetch.active = false;
	if (s.fetch.is_list) {
		log_line(LOG_ERROR, "the list of apps cannot be fetched (%d)", (int)reason);
		s.busy_us = port_now_us() + BUSY_MS * 1000u;
	} else {
		apps_fetch_failed(s.fetch.digest, reason);
	}
}

static void adopt_list(void)
{
	const struct store_blob *blob = store_find(s.list_digest);
	s.list_wanted = false;
	if (blob == NULL || proto_check_apps(store_data(blob), blob->size) != PROTO_OK) {
		log_line(LOG_ERROR, "the list of apps of generation %lu is not acceptable", (unsigned long)s.list_generation);
		return;
	}
	apps_apply(s.list_generation, s.list_digest);
	log_line(LOG_INFO, "desired state of generation %lu", (unsigned long)s.list_generation);
}

static void fetch_complete(void)
{
	int rc = store_finish();
	s.fetch.active = false;
	if (rc == STORE_OK && s.fetch.is_list) {
		adopt_list();
	} else if (rc == STORE_OK) {
		apps_fetched(s.fetch.digest);
	} else {
		fetch_failed(rc == STORE_EDIGEST ? PROTO_DIGEST_MISMATCH : PROTO_NO_STORAGE);
	}
}

// Decides what to fetch next; false when nothing is missing.
static bool choose_fetch(void)
{
	const uint8_t *digest = s.list_digest;
	uint32_t size = s.list_size;
	bool is_list = s.list_wanted;
	if (!is_list && !apps_missing(&digest, &size)) {
		return false;
	}
	if (s.fetch.active && memcmp(s.fetch.digest, digest, PROTO_DIGEST) == 0) {
		return true;
	}
	memcpy(s.fetch.digest, digest, PROTO_DIGEST);
	s.fetch.size = size;
	s.fetch.is_list = is_list;
	s.fetch.active = true;
	return true;
}

static bool send_fetch(void)
{
	struct proto_frame f = {.type = PROTO_FETCH};
	if (s.fetch.in_flight || port_now_us() < s.busy_us || !choose_fetch()) {
		return false;
	}
	int at = store_begin(s.fetch.digest, s.fetch.size);
	if (at < 0) {
		fetch_failed(at == STORE_EFULL ? PROTO_NO_STORAGE : PROTO_FETCH_FAILED);
		return false;
	}
	uint32_t room = (port_info()->frame_max < BUFFER ? port_info()->frame_max : BUFFER) - PROTO_CHUNK_OVERHEAD;
	uint32_t length = s.fetch_length != 0 && s.fetch_length < room ? s.fetch_length : room;
	uint32_t left = s.fetch.size - (uint32_t)at;
	s.fetch.asked = (uint32_t)at;
	f.fetch = (struct proto_fetch){.digest = s.fetch.digest, .offset = (uint32_t)at, .length = left < length ? left : length};
	s.fetch.in_flight = true;
	s.fetch.sent_us = port_now_us();
	return put(&f);
}

static void on_chunk(const struct proto_chunk *c)
{
	bool expected = s.fetch.in_flight && memcmp(c->digest, s.fetch.digest, PROTO_DIGEST) == 0;
	if (!expected) {
		return;
	}
	s.fetch.in_flight = false;
	if (!s.fetch.active) {
		return;
	}
	if (c->offset != s.fetch.asked || c->size != s.fetch.size || c->bytes.len == 0) {
		store_abandon();
		fetch_failed(PROTO_FETCH_FAILED);
		return;
	}
	if (store_append(c->bytes.data, c->bytes.len) != STORE_OK) {
		fetch_failed(PROTO_FETCH_FAILED);
	} else if (c->offset + c->bytes.len == c->size) {
		fetch_complete();
	}
}

// ---------------------------------------------------------------- receiving

static void on_welcome(const struct proto_welcome *w)
{
	uint32_t cursor = 0, n = 0;
	struct proto_span e;
	char endpoints[PROTO_MAX_ENDPOINTS][PROTO_MAX_ENDPOINT + 4];
	memset(endpoints, 0, sizeof endpoints);
	if (w->version != PROTO_VERSION) {
		lost("the gateway speaks another version", (int)w->version);
		return;
	}
	while (n < PROTO_MAX_ENDPOINTS && proto_next_text(w->endpoints, &cursor, &e)) {
		memcpy(endpoints[n++], e.data, e.len);
	}
	if (n != 0 && memcmp(endpoints, store_root.endpoints, sizeof endpoints) != 0) {
		memcpy(store_root.endpoints, endpoints, sizeof endpoints);
		store_commit();
	}
	tls_set_time(w->time);
	keep_time(KEEP_TIME_WELCOME_MS);
	log_set_limit(w->has_limits ? w->limits.log_lines_per_minute : 0);
	s.fetch_length = w->has_limits ? w->limits.fetch_length : 0;
	s.out_cap = w->max_frame < BUFFER ? w->max_frame : BUFFER;
	s.heartbeat_ms = w->heartbeat_interval != 0 ? w->heartbeat_interval : 30000;
	s.report_ms = w->report_interval;
	s.beat_us = port_now_us();
	s.report_us = 0;
	s.busy_us = 0;
	s.rounds = 0;
	s.next_endpoint = 0;
	s.state = UP;
	s.report_due = true;
	log_line(LOG_INFO, "session with %s%s", s.endpoint, tls_resumed() ? ", resumed" : "");
}

static void on_desired(const struct proto_desired *d)
{
	uint8_t digest[PROTO_DIGEST];
	if (d->generation < store_root.generation) {
		log_line(LOG_WARNING, "ignored a desired state of an older generation");
		return;
	}
	s.list_generation = d->generation;
	s.list_wanted = false;
	if (d->apps.digest != NULL) {
		memcpy(s.list_digest, d->apps.digest, PROTO_DIGEST);
		s.list_size = d->apps.size;
		s.list_wanted = store_find(s.list_digest) == NULL;
		if (!s.list_wanted) {
			adopt_list();
		}
		return;
	}
	digest_of(d->apps.list.data, d->apps.list.len, digest);
	memcpy(s.list_digest, digest, PROTO_DIGEST);
	if (store_find(digest) == NULL) {
		int rc = store_begin(digest, d->apps.list.len);
		if (rc < 0 || store_append(d->apps.list.data + rc, d->apps.list.len - (uint32_t)rc) != STORE_OK || store_finish() != STORE_OK) {
			log_line(LOG_ERROR, "no room for the list of apps");
			return;
		}
		s.fetch.active = false; // a module's transfer had to give way
	}
	adopt_list();
}

// `not-found` and `busy` answer a fetch, or nothing when it is over; all others end the connection.
static void on_error(const struct proto_fault *e)
{
	if (e->code == PROTO_CODE_NOT_FOUND || e->code == PROTO_CODE_BUSY) {
		if (e->fetch == NULL || !s.fetch.in_flight || memcmp(e->fetch, s.fetch.digest, PROTO_DIGEST) != 0) {
			return;
		}
		s.fetch.in_flight = false;
		if (e->code == PROTO_CODE_BUSY) {
			s.busy_us = port_now_us() + (BUSY_MS + random_below(BUSY_MS)) * 1000u;
		} else if (s.fetch.active) {
			fetch_failed(PROTO_FETCH_FAILED);
		}
		return;
	}
	s.refused = e->code == PROTO_CODE_NOT_ASSIGNED || e->code == PROTO_CODE_QUARANTINED || e->code == PROTO_CODE_VERSION;
	log_line(LOG_WARNING, "the gateway says: %.*s", (int)e->text.len, (const char *)e->text.data);
	lost("ended by the gateway", (int)e->code);
}

static void on_release(const struct proto_release *r)
{
	log_line(LOG_INFO, "released by %s for %lu ms", s.endpoint, (unsigned long)r->hold_off);
	drop_connection();
	memset(s.release_to, 0, sizeof s.release_to);
	memcpy(s.release_to, r->endpoint.data, r->endpoint.len);
	s.next_endpoint = 0;
	s.held_off = s.release_to[0] == 0;
	wait_for(s.release_to[0] != 0 ? random_below(100) : (uint64_t)r->hold_off + random_below(r->hold_off / 4 + 100));
}

static void protocol_error(const char *what, int code)
{
	struct proto_frame f = {.type = PROTO_ERROR, .error = {.code = PROTO_CODE_PROTOCOL, .text = text_span(what)}};
	if (!sending() && put(&f)) {
		tls_write(s.out, s.out_len);
	}
	lost(what, code);
}

static void on_frame(const struct proto_frame *f)
{
	s.heard_us = port_now_us();
	if (s.state == HELLO && f->type != PROTO_WELCOME && f->type != PROTO_ERROR && f->type != PROTO_RELEASE) {
		protocol_error("a frame before welcome", (int)f->type);
		return;
	}
	switch (f->type) {
	case PROTO_WELCOME:
		if (s.state == HELLO) {
			on_welcome(&f->welcome);
		}
		break;
	case PROTO_DESIRED:
		on_desired(&f->desired);
		break;
	case PROTO_CHUNK:
		on_chunk(&f->chunk);
		break;
	case PROTO_FETCH:
		memcpy(s.asked.digest, f->fetch.digest, PROTO_DIGEST);
		s.asked.offset = f->fetch.offset;
		s.asked.length = f->fetch.length;
		s.asked.active = true;
		break;
	case PROTO_RELEASE:
		on_release(&f->release);
		break;
	case PROTO_ERROR:
		on_error(&f->error);
		break;
	default: // the gateway's heartbeat, and what is not for devices
		break;
	}
}

// Reads what is there into the buffer until one frame is whole: 1, else 0, or an error.
static int read_frame(uint32_t *body)
{
	uint32_t max = s.state == UP ? BUFFER : PROTO_MIN_FRAME;
	for (;;) {
		uint32_t want = PROTO_HEADER;
		if (s.in_len >= PROTO_HEADER) {
			int n = proto_body_length(s.in, max);
			if (n < 0) {
				return n;
			}
			*body = (uint32_t)n;
			want += *body;
			if (s.in_len == want) {
				return 1;
			}
		}
		int got = tls_read(s.in + s.in_len, want - s.in_len);
		if (got == TLS_EAGAIN) {
			return 0;
		}
		if (got < 0) {
			return got;
		}
		s.in_len += (uint32_t)got;
	}
}

// Handles up to some frames; true when more may be waiting.
static bool receive(void)
{
	for (int i = 0; i < FRAMES_A_POLL; i++) {
		struct proto_frame f;
		uint32_t body = 0;
		int rc = read_frame(&body);
		if (rc == 0) {
			return false;
		}
		if (rc == PROTO_ETOOLARGE && s.in_len >= PROTO_HEADER) {
			protocol_error("a frame that is too large", rc);
			return false;
		}
		if (rc < 0) {
			lost(rc == TLS_ECLOSED ? "closed" : "broken", rc);
			return false;
		}
		rc = proto_decode(&f, s.in + PROTO_HEADER, body);
		s.in_len = 0;
		if (rc == PROTO_OK) {
			on_frame(&f);
		} else if (rc != PROTO_EUNKNOWN) {
			protocol_error("a frame that cannot be read", rc);
		}
		if (s.state != UP && s.state != HELLO) {
			return false;
		}
	}
	return true;
}

// ---------------------------------------------------------------- loop

// Writes the frame that is being sent; false when the stream is full or lost.
static bool flush(void)
{
	while (s.out_done < s.out_len) {
		int n = tls_write(s.out + s.out_done, s.out_len - s.out_done);
		if (n == TLS_EAGAIN) {
			return false;
		}
		if (n < 0) {
			lost("cannot be written", n);
			return false;
		}
		s.out_done += (uint32_t)n;
	}
	s.out_len = s.out_done = 0;
	return true;
}

static void transmit(void)
{
	for (int i = 0; i < FRAMES_A_POLL && flush() && s.state == UP; i++) {
		bool more = send_asked() || send_report() || send_crash() || send_fetch() || send_heartbeat() || send_log();
		if (!more && !sending()) {
			return;
		}
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t poll_up(void)
{
	bool more = receive();
	if (s.state != UP) {
		return 0;
	}
	s.report_due |= apps_changed();
	transmit();
	if (s.state != UP) {
		return 0;
	}
	uint64_t now = port_now_us();
	if (now - s.heard_us > (uint64_t)s.heartbeat_ms * 1000 * PROTO_MISSED_HEARTBEATS) {
		lost("nothing was heard", 0);
		return 0;
	}
	if (s.fetch.in_flight && now - s.fetch.sent_us > SESSION_CHUNK_MS * 1000u) {
		lost("a fetch was not answered", 0);
		return 0;
	}
	struct proto_log line;
	if (more || (log_next(&line) && !sending())) {
		return 0;
	}
	uint64_t wake = earlier(s.beat_us, s.heard_us + (uint64_t)s.heartbeat_ms * 1000 * PROTO_MISSED_HEARTBEATS + 1000);
	wake = sending() ? earlier(wake, now + NAP_US) : wake;
	wake = s.report_due ? earlier(wake, now + NAP_US) : wake;
	wake = s.busy_us > now ? earlier(wake, s.busy_us) : wake;
	return s.fetch.in_flight ? earlier(wake, s.fetch.sent_us + SESSION_CHUNK_MS * 1000u + 1000) : wake;
}

static void poll_handshake(void)
{
	int rc = tls_handshake();
	if (rc == TLS_OK) {
		send_hello();
		s.state = HELLO;
		s.heard_us = port_now_us();
		s.until_us = s.heard_us + SESSION_WELCOME_MS * 1000u;
	} else if (rc != TLS_EAGAIN) {
		lost(rc == TLS_EPEER ? "its certificate is not trusted" : "TLS failed", rc);
	}
}

uint64_t session_poll(void)
{
	if (s.provision == NULL) {
		return UINT64_MAX;
	}
	uint64_t now = port_now_us();
	if (s.state != UP && s.state != WAITING && now > s.until_us) {
		lost("took too long", (int)s.state);
	}
	switch (s.state) {
	case WAITING:
		look_for_identity();
		if (!port_net_up()) {
			return now + NAP_US; // the link says nothing when it comes up
		}
		if (now < s.until_us) {
			return earlier(s.until_us, now + LOOK_US);
		}
		dial();
		return s.until_us;
	case DIALING:
		poll_dialing();
		return s.state == DIALING ? s.until_us : 0;
	case HANDSHAKE:
		poll_handshake();
		return s.state == HANDSHAKE ? s.until_us : 0;
	case HELLO:
		if (flush()) {
			receive();
		}
		return s.state != HELLO ? 0 : sending() ? now + NAP_US : s.until_us;
	case UP:
		return poll_up();
	}
	return 0;
}

bool session_up(void)
{
	return s.state == UP;
}

void session_start(const struct provision *p)
{
	s.provision = p;
	s.crash_due = port_last_crash() != NULL;
	wait_for(0);
}
