// SPDX-License-Identifier: Apache-2.0
//
// One table per map of the protocol drives both directions.
#include "proto.h"

#include <string.h>

#include "cbor.h"

enum kind {
	K_U32, K_U63,
	K_DIGEST,   // const uint8_t *
	K_BYTES, K_TEXT, K_NAME, // struct proto_span, least..most bytes
	K_MAP,      // a struct with a table of its own
	K_APPS, K_STATES,        // struct proto_set
	K_ENDPOINTS, K_CONFIG, K_PERMISSIONS, K_METRICS, K_APP_METRICS, K_VALUES, // struct proto_span, encoded
};

enum { NEEDED = 1 };
enum { NO_FLAG = 0xFFFF };

struct schema;

struct field {
	uint8_t key, kind, needed;
	uint16_t offset;
	uint16_t present; // offset of a bool that tells absent from empty, or NO_FLAG
	uint32_t least, most;
	const struct schema *sub;
};

struct schema {
	uint16_t size;
	uint8_t count;
	const struct field *fields;
};

#define AT(type, member) (uint16_t) offsetof(struct type, member)
#define FIELD(k, kind, need, t, m, lo, hi) {k, kind, need, AT(t, m), NO_FLAG, lo, hi, NULL}
#define FLAGGED(k, kind, t, m, flag, lo, hi) {k, kind, 0, AT(t, m), AT(t, flag), lo, hi, NULL}
#define U32(k, need, t, m) FIELD(k, K_U32, need, t, m, 0, UINT32_MAX)
#define U63(k, need, t, m) FIELD(k, K_U63, need, t, m, 0, 0)
#define SCHEMA(name, type, table) \
	static const struct schema name = {sizeof(struct type), sizeof table / sizeof table[0], table}

static const struct field memory_fields[] = {
	U32(1, NEEDED, proto_memory, ram), U32(2, 0, proto_memory, ram_free),
	U32(3, 0, proto_memory, storage), U32(4, 0, proto_memory, storage_free),
};
SCHEMA(memory_schema, proto_memory, memory_fields);

static const struct field hello_fields[] = {
	U32(1, NEEDED, proto_hello, version),
	FIELD(2, K_U32, NEEDED, proto_hello, max_frame, PROTO_MIN_FRAME, UINT16_MAX),
	FIELD(3, K_TEXT, NEEDED, proto_hello, board, 1, 32),
	FIELD(4, K_TEXT, NEEDED, proto_hello, firmware, 1, 64),
	{5, K_MAP, 0, AT(proto_hello, memory), AT(proto_hello, has_memory), 0, 0, &memory_schema},
	U32(6, 0, proto_hello, features),
	U63(7, NEEDED, proto_hello, generation),
	FIELD(8, K_DIGEST, 0, proto_hello, apps, 0, 0),
	FLAGGED(9, K_STATES, proto_hello, states, has_states, 0, 0),
	U63(10, 0, proto_hello, uptime),
	U32(11, 0, proto_hello, boots),
};
SCHEMA(hello_schema, proto_hello, hello_fields);

static const struct field limits_fields[] = {
	U32(1, 0, proto_limits, log_lines_per_minute), U32(2, 0, proto_limits, fetch_length),
};
SCHEMA(limits_schema, proto_limits, limits_fields);

static const struct field welcome_fields[] = {
	U32(1, NEEDED, proto_welcome, version),
	FIELD(2, K_U32, NEEDED, proto_welcome, max_frame, PROTO_MIN_FRAME, UINT16_MAX),
	U63(3, NEEDED, proto_welcome, time),
	U63(4, NEEDED, proto_welcome, epoch),
	U32(5, NEEDED, proto_welcome, heartbeat_interval),
	U32(6, NEEDED, proto_welcome, report_interval),
	{7, K_MAP, 0, AT(proto_welcome, limits), AT(proto_welcome, has_limits), 0, 0, &limits_schema},
	FIELD(8, K_ENDPOINTS, 0, proto_welcome, endpoints, 0, 0),
};
SCHEMA(welcome_schema, proto_welcome, welcome_fields);

static const struct field desired_fields[] = {
	U63(1, NEEDED, proto_desired, generation), FIELD(2, K_APPS, NEEDED, proto_desired, apps, 0, 0),
};
SCHEMA(desired_schema, proto_desired, desired_fields);

static const struct field artifact_fields[] = {
	FIELD(1, K_DIGEST, NEEDED, proto_artifact, digest, 0, 0),
	FIELD(2, K_U32, NEEDED, proto_artifact, size, 0, PROTO_MAX_ARTIFACT),
	U32(3, 0, proto_artifact, format),
	FIELD(4, K_BYTES, 0, proto_artifact, signature, 0, 512),
};
SCHEMA(artifact_schema, proto_artifact, artifact_fields);

static const struct field app_limits_fields[] = {
	FLAGGED(1, K_U32, proto_app_limits, memory, has_memory, 0, UINT32_MAX),
	FLAGGED(2, K_U32, proto_app_limits, stack, has_stack, 0, UINT32_MAX),
	U63(3, 0, proto_app_limits, fuel),
};
SCHEMA(app_limits_schema, proto_app_limits, app_limits_fields);

static const struct field app_fields[] = {
	FIELD(1, K_NAME, NEEDED, proto_app, name, 1, PROTO_MAX_NAME),
	FIELD(2, K_DIGEST, NEEDED, proto_app, digest, 0, 0),
	{3, K_MAP, NEEDED, AT(proto_app, artifact), NO_FLAG, 0, 0, &artifact_schema},
	U63(4, NEEDED, proto_app, spec),
	FIELD(5, K_CONFIG, 0, proto_app, config, 0, 0),
	FIELD(6, K_PERMISSIONS, 0, proto_app, permissions, 0, 0),
	{7, K_MAP, 0, AT(proto_app, limits), AT(proto_app, has_limits), 0, 0, &app_limits_schema},
	FIELD(8, K_U32, 0, proto_app, restart, 0, PROTO_RESTART_NEVER),
};
SCHEMA(app_schema, proto_app, app_fields);

static const struct field fetch_fields[] = {
	FIELD(1, K_DIGEST, NEEDED, proto_fetch, digest, 0, 0),
	U32(2, NEEDED, proto_fetch, offset),
	FIELD(3, K_U32, NEEDED, proto_fetch, length, 1, UINT32_MAX),
};
SCHEMA(fetch_schema, proto_fetch, fetch_fields);

static const struct field chunk_fields[] = {
	FIELD(1, K_DIGEST, NEEDED, proto_chunk, digest, 0, 0),
	U32(2, NEEDED, proto_chunk, offset),
	FIELD(3, K_BYTES, NEEDED, proto_chunk, bytes, 0, PROTO_MAX_ARTIFACT),
	FIELD(4, K_U32, NEEDED, proto_chunk, size, 0, PROTO_MAX_ARTIFACT),
};
SCHEMA(chunk_schema, proto_chunk, chunk_fields);

static const struct field report_fields[] = {
	U63(1, NEEDED, proto_report, generation), FIELD(2, K_STATES, NEEDED, proto_report, states, 0, 0),
};
SCHEMA(report_schema, proto_report, report_fields);

static const struct field state_fields[] = {
	FIELD(1, K_NAME, NEEDED, proto_state, name, 1, PROTO_MAX_NAME),
	U63(2, NEEDED, proto_state, spec),
	FIELD(3, K_U32, NEEDED, proto_state, phase, 0, PROTO_REJECTED),
	FIELD(4, K_DIGEST, 0, proto_state, digest, 0, 0),
	U32(5, 0, proto_state, reason),
	FIELD(6, K_TEXT, 0, proto_state, message, 0, PROTO_MAX_TEXT),
	U32(7, 0, proto_state, restarts),
	U63(8, 0, proto_state, since),
	FLAGGED(9, K_U32, proto_state, start_time, has_start_time, 0, UINT32_MAX),
};
SCHEMA(state_schema, proto_state, state_fields);

static const struct field heartbeat_fields[] = {
	U63(1, 0, proto_heartbeat, uptime),
	FIELD(2, K_METRICS, 0, proto_heartbeat, metrics, 0, 0),
	FIELD(3, K_APP_METRICS, 0, proto_heartbeat, apps, 0, 0),
};
SCHEMA(heartbeat_schema, proto_heartbeat, heartbeat_fields);

static const struct field app_metrics_fields[] = {
	FIELD(1, K_NAME, NEEDED, proto_app_metrics, name, 1, PROTO_MAX_NAME),
	U63(2, 0, proto_app_metrics, fuel),
	U32(3, 0, proto_app_metrics, memory),
	U32(4, 0, proto_app_metrics, stack),
	FIELD(5, K_VALUES, 0, proto_app_metrics, values, 0, 0),
};
SCHEMA(app_metrics_schema, proto_app_metrics, app_metrics_fields);

static const struct field log_fields[] = {
	FIELD(1, K_U32, NEEDED, proto_log, level, 0, 3),
	FIELD(2, K_TEXT, NEEDED, proto_log, text, 0, PROTO_MAX_TEXT),
	FIELD(3, K_NAME, 0, proto_log, app, 0, PROTO_MAX_NAME),
	U63(4, 0, proto_log, uptime),
	U32(5, 0, proto_log, dropped),
};
SCHEMA(log_schema, proto_log, log_fields);

static const struct field release_fields[] = {
	U32(1, NEEDED, proto_release, hold_off),
	FIELD(2, K_TEXT, 0, proto_release, endpoint, 3, PROTO_MAX_ENDPOINT),
	FIELD(3, K_TEXT, 0, proto_release, text, 0, PROTO_MAX_TEXT),
};
SCHEMA(release_schema, proto_release, release_fields);

static const struct field error_fields[] = {
	U32(1, NEEDED, proto_fault, code),
	FIELD(2, K_TEXT, 0, proto_fault, text, 0, PROTO_MAX_TEXT),
	FIELD(3, K_DIGEST, 0, proto_fault, fetch, 0, 0),
};
SCHEMA(error_schema, proto_fault, error_fields);

static const struct field crash_fields[] = {
	U32(1, NEEDED, proto_crash, code), U32(2, 0, proto_crash, pc), U32(3, 0, proto_crash, lr),
	FIELD(4, K_NAME, 0, proto_crash, app, 0, PROTO_MAX_NAME),
	U32(5, 0, proto_crash, address), U63(6, 0, proto_crash, uptime),
};
SCHEMA(crash_schema, proto_crash, crash_fields);

static const struct schema *const frames[] = {
	[PROTO_HELLO] = &hello_schema, [PROTO_WELCOME] = &welcome_schema, [PROTO_DESIRED] = &desired_schema,
	[PROTO_FETCH] = &fetch_schema, [PROTO_CHUNK] = &chunk_schema, [PROTO_REPORT] = &report_schema,
	[PROTO_HEARTBEAT] = &heartbeat_schema, [PROTO_LOG] = &log_schema, [PROTO_RELEASE] = &release_schema,
	[PROTO_ERROR] = &error_schema, [PROTO_CRASH] = &crash_schema,
};

enum { FRAME_DEPTH = 1, DOCUMENT_DEPTH = 3 };

// ---------------------------------------------------------------- decoding

static int read_map(struct cbor_reader *r, const struct schema *s, void *out);

static int read_number(struct cbor_reader *r, uint64_t *out)
{
	struct cbor_head h;
	if (!cbor_head(r, &h) || h.major != CBOR_UINT || h.value > INT64_MAX) {
		return PROTO_EINVAL;
	}
	*out = h.value;
	return PROTO_OK;
}

static int read_digest(struct cbor_reader *r, const uint8_t **out)
{
	size_t len;
	return cbor_string(r, CBOR_BYTES, out, &len) && len == PROTO_DIGEST ? PROTO_OK : PROTO_EINVAL;
}

static int read_text(struct cbor_reader *r, struct proto_span *out, uint32_t least, uint32_t most)
{
	size_t len;
	if (!cbor_string(r, CBOR_TEXT, &out->data, &len) || len < least || len > most) {
		return PROTO_EINVAL;
	}
	out->len = (uint32_t)len;
	return PROTO_OK;
}

// RFC 1123: lower case letters, digits, and "-" not at an end.
static bool is_name(struct proto_span s)
{
	for (uint32_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];
		bool inner = c == '-' && i != 0 && i != s.len - 1;
		if (!inner && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) {
			return false;
		}
	}
	return true;
}

// True when a comes before b: by bytes, a prefix first.
static bool before(struct proto_span a, struct proto_span b)
{
	int c = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
	return c != 0 ? c < 0 : a.len < b.len;
}

union element {
	struct proto_app app;
	struct proto_state state;
	struct proto_app_metrics metrics;
};

// A list of maps that begin with a name (the first member of each), ascending.
static int read_list(struct cbor_reader *r, const struct schema *s, struct proto_span *out)
{
	struct cbor_head h;
	struct proto_span last = {NULL, 0};
	const uint8_t *start = r->at;
	if (!cbor_head(r, &h) || h.major != CBOR_ARRAY || h.value > PROTO_MAX_APPS) {
		return PROTO_EINVAL;
	}
	for (uint64_t i = 0; i < h.value; i++) {
		union element e;
		if (read_map(r, s, &e) != PROTO_OK) {
			return PROTO_EINVAL;
		}
		struct proto_span name = e.app.name;
		if (last.data != NULL && !before(last, name)) {
			return PROTO_EINVAL;
		}
		last = name;
	}
	out->data = start;
	out->len = (uint32_t)(r->at - start);
	return PROTO_OK;
}

static int read_set(struct cbor_reader *r, const struct schema *s, uint32_t most, struct proto_set *out)
{
	if (r->at != r->end && *r->at >> 5 == CBOR_MAP) {
		static const struct field fields[] = {
			FIELD(1, K_DIGEST, NEEDED, proto_set, digest, 0, 0), U32(2, NEEDED, proto_set, size),
		};
		SCHEMA(document_schema, proto_set, fields);
		int rc = read_map(r, &document_schema, out);
		return rc == PROTO_OK && (out->size == 0 || out->size > most) ? PROTO_EINVAL : rc;
	}
	return read_list(r, s, &out->list);
}

// A list of texts; ascending when order is set.
static int read_texts(struct cbor_reader *r, struct proto_span *out, uint32_t count, uint32_t least, uint32_t most,
                      bool order)
{
	struct cbor_head h;
	struct proto_span last = {NULL, 0};
	const uint8_t *start = r->at;
	if (!cbor_head(r, &h) || h.major != CBOR_ARRAY || h.value > count) {
		return PROTO_EINVAL;
	}
	for (uint64_t i = 0; i < h.value; i++) {
		struct proto_span text;
		if (read_text(r, &text, least, most) != PROTO_OK ||
		    (order && last.data != NULL && !before(last, text))) {
			return PROTO_EINVAL;
		}
		last = text;
	}
	out->data = start;
	out->len = (uint32_t)(r->at - start);
	return PROTO_OK;
}

static int read_int(struct cbor_reader *r)
{
	struct cbor_head h;
	return cbor_head(r, &h) && h.major <= CBOR_NINT && h.value <= INT64_MAX ? PROTO_OK : PROTO_EINVAL;
}

static int read_config(struct cbor_reader *r, uint64_t pairs)
{
	uint32_t total = 0;
	for (uint64_t i = 0; i < pairs; i++) {
		struct proto_span key, value;
		if (read_text(r, &key, 1, 63) != PROTO_OK || read_text(r, &value, 0, PROTO_MAX_CONFIG) != PROTO_OK) {
			return PROTO_EINVAL;
		}
		total += key.len + value.len;
	}
	return total <= PROTO_MAX_CONFIG ? PROTO_OK : PROTO_EINVAL;
}

static int read_metrics(struct cbor_reader *r, uint64_t pairs)
{
	for (uint64_t i = 0; i < pairs; i++) {
		uint64_t key, value;
		if (read_number(r, &key) != PROTO_OK || key > UINT32_MAX || read_number(r, &value) != PROTO_OK) {
			return PROTO_EINVAL;
		}
	}
	return PROTO_OK;
}

static int read_values(struct cbor_reader *r, uint64_t pairs)
{
	for (uint64_t i = 0; i < pairs; i++) {
		struct proto_span key;
		if (read_text(r, &key, 1, 32) != PROTO_OK || read_int(r) != PROTO_OK) {
			return PROTO_EINVAL;
		}
	}
	return PROTO_OK;
}

static int read_free_map(struct cbor_reader *r, struct proto_span *out,
                         int (*pairs)(struct cbor_reader *, uint64_t))
{
	struct cbor_head h;
	const uint8_t *start = r->at;
	if (!cbor_head(r, &h) || h.major != CBOR_MAP || pairs(r, h.value) != PROTO_OK) {
		return PROTO_EINVAL;
	}
	out->data = start;
	out->len = (uint32_t)(r->at - start);
	return PROTO_OK;
}

static int read_u32(struct cbor_reader *r, const struct field *f, uint32_t *out)
{
	uint64_t n;
	if (read_number(r, &n) != PROTO_OK || n < f->least || n > f->most) {
		return PROTO_EINVAL;
	}
	*out = (uint32_t)n;
	return PROTO_OK;
}

static int read_bytes(struct cbor_reader *r, const struct field *f, struct proto_span *out)
{
	size_t len;
	if (!cbor_string(r, CBOR_BYTES, &out->data, &len) || len < f->least || len > f->most) {
		return PROTO_EINVAL;
	}
	out->len = (uint32_t)len;
	return PROTO_OK;
}

// A text that may be absent may also be empty, whatever its least length.
static int read_field_text(struct cbor_reader *r, const struct field *f, struct proto_span *out)
{
	int rc = read_text(r, out, 0, f->most);
	if (rc == PROTO_OK && out->len < f->least && (f->needed || out->len != 0)) {
		rc = PROTO_EINVAL;
	}
	return rc == PROTO_OK && f->kind == K_NAME && !is_name(*out) ? PROTO_EINVAL : rc;
}

static int read_field(struct cbor_reader *r, const struct field *f, void *member)
{
	switch ((enum kind)f->kind) {
	case K_U32:
		return read_u32(r, f, member);
	case K_U63:
		return read_number(r, member);
	case K_DIGEST:
		return read_digest(r, member);
	case K_BYTES:
		return read_bytes(r, f, member);
	case K_TEXT:
	case K_NAME:
		return read_field_text(r, f, member);
	case K_MAP:
		return read_map(r, f->sub, member);
	case K_APPS:
		return read_set(r, &app_schema, PROTO_MAX_APPS_DOCUMENT, member);
	case K_STATES:
		return read_set(r, &state_schema, PROTO_MAX_STATES_DOCUMENT, member);
	case K_ENDPOINTS:
		return read_texts(r, member, PROTO_MAX_ENDPOINTS, 3, PROTO_MAX_ENDPOINT, false);
	case K_PERMISSIONS:
		return read_texts(r, member, 16, 1, 32, true);
	case K_CONFIG:
		return read_free_map(r, member, read_config);
	case K_METRICS:
		return read_free_map(r, member, read_metrics);
	case K_VALUES:
		return read_free_map(r, member, read_values);
	case K_APP_METRICS:
		return read_list(r, &app_metrics_schema, member);
	}
	return PROTO_EINVAL;
}

static const struct field *find(const struct schema *s, uint64_t key)
{
	for (unsigned i = 0; i < s->count; i++) {
		if (s->fields[i].key == key) {
			return &s->fields[i];
		}
	}
	return NULL;
}

// Depth is bounded by the tables: no map holds itself.
static int read_map(struct cbor_reader *r, const struct schema *s, void *out)
{
	struct cbor_head h;
	uint32_t seen = 0;
	memset(out, 0, s->size);
	if (!cbor_head(r, &h) || h.major != CBOR_MAP) {
		return PROTO_EINVAL;
	}
	for (uint64_t i = 0; i < h.value; i++) {
		struct cbor_reader key_at = *r;
		struct cbor_head key;
		cbor_skip(r);
		const struct field *f = cbor_head(&key_at, &key) && key.major == CBOR_UINT ? find(s, key.value) : NULL;
		if (f == NULL) {
			cbor_skip(r);
			continue;
		}
		if (read_field(r, f, (uint8_t *)out + f->offset) != PROTO_OK) {
			return PROTO_EINVAL;
		}
		if (f->present != NO_FLAG) {
			*(bool *)((uint8_t *)out + f->present) = true;
		}
		seen |= 1u << f->key;
	}
	for (unsigned i = 0; i < s->count; i++) {
		if (s->fields[i].needed && (seen & 1u << s->fields[i].key) == 0) {
			return PROTO_EINVAL;
		}
	}
	return PROTO_OK;
}

static int check_chunk(const struct proto_chunk *c)
{
	if ((uint64_t)c->offset + c->bytes.len > c->size || (c->bytes.len == 0 && c->offset < c->size)) {
		return PROTO_EINVAL;
	}
	return PROTO_OK;
}

int proto_body_length(const uint8_t header[PROTO_HEADER], uint32_t max_frame)
{
	uint32_t n = (uint32_t)header[0] << 8 | header[1];
	return n + PROTO_HEADER > max_frame ? PROTO_ETOOLARGE : (int)n;
}

int proto_decode(struct proto_frame *out, const uint8_t *body, size_t len)
{
	struct cbor_reader r = {body, body + len};
	struct cbor_head h, type;
	if (!cbor_check(body, len, FRAME_DEPTH)) {
		return PROTO_EMALFORMED;
	}
	if (!cbor_head(&r, &h) || h.major != CBOR_ARRAY || h.value != 2 || !cbor_head(&r, &type) ||
	    type.major != CBOR_UINT || type.value > UINT32_MAX || *r.at >> 5 != CBOR_MAP) {
		return PROTO_EINVAL;
	}
	out->type = (uint32_t)type.value;
	if (out->type == 0 || out->type > PROTO_CRASH) {
		return PROTO_EUNKNOWN;
	}
	int rc = read_map(&r, frames[out->type], &out->hello);
	return rc == PROTO_OK && out->type == PROTO_CHUNK ? check_chunk(&out->chunk) : rc;
}

static int check_document(const uint8_t *list, size_t len, size_t most, const struct schema *s)
{
	struct cbor_reader r = {list, list + len};
	struct proto_span span;
	if (len > most) {
		return PROTO_EINVAL;
	}
	if (!cbor_check(list, len, DOCUMENT_DEPTH)) {
		return PROTO_EMALFORMED;
	}
	return read_list(&r, s, &span);
}

int proto_check_apps(const uint8_t *list, size_t len)
{
	return check_document(list, len, PROTO_MAX_APPS_DOCUMENT, &app_schema);
}

int proto_check_states(const uint8_t *list, size_t len)
{
	return check_document(list, len, PROTO_MAX_STATES_DOCUMENT, &state_schema);
}

// ---------------------------------------------------------------- iterators

// Opens a list at its cursor: a reader at the next element, or false at the end.
static bool resume(struct proto_span list, uint32_t cursor, struct cbor_reader *r)
{
	struct cbor_head h;
	if (list.len == 0) {
		return false;
	}
	r->at = list.data;
	r->end = list.data + list.len;
	if (cursor != 0) {
		r->at = list.data + cursor;
	} else if (!cbor_head(r, &h)) {
		return false;
	}
	return r->at < r->end;
}

static bool next_map(struct proto_span list, uint32_t *cursor, const struct schema *s, void *out)
{
	struct cbor_reader r;
	if (!resume(list, *cursor, &r) || read_map(&r, s, out) != PROTO_OK) {
		return false;
	}
	*cursor = (uint32_t)(r.at - list.data);
	return true;
}

bool proto_next_app(struct proto_span list, uint32_t *cursor, struct proto_app *out)
{
	return next_map(list, cursor, &app_schema, out);
}

bool proto_next_state(struct proto_span list, uint32_t *cursor, struct proto_state *out)
{
	return next_map(list, cursor, &state_schema, out);
}

bool proto_next_app_metrics(struct proto_span list, uint32_t *cursor, struct proto_app_metrics *out)
{
	return next_map(list, cursor, &app_metrics_schema, out);
}

bool proto_next_text(struct proto_span list, uint32_t *cursor, struct proto_span *out)
{
	struct cbor_reader r;
	if (!resume(list, *cursor, &r) || read_text(&r, out, 0, UINT32_MAX) != PROTO_OK) {
		return false;
	}
	*cursor = (uint32_t)(r.at - list.data);
	return true;
}

bool proto_next_pair(struct proto_span map, uint32_t *cursor, struct proto_span *key, struct proto_span *value)
{
	return proto_next_text(map, cursor, key) && proto_next_text(map, cursor, value);
}

bool proto_next_metric(struct proto_span map, uint32_t *cursor, uint32_t *key, uint64_t *value)
{
	struct cbor_reader r;
	uint64_t number;
	if (!resume(map, *cursor, &r) || read_number(&r, &number) != PROTO_OK || read_number(&r, value) != PROTO_OK) {
		return false;
	}
	*key = (uint32_t)number;
	*cursor = (uint32_t)(r.at - map.data);
	return true;
}

bool proto_next_value(struct proto_span map, uint32_t *cursor, struct proto_span *key, int64_t *value)
{
	struct cbor_reader r;
	struct cbor_head h;
	if (!resume(map, *cursor, &r) || read_text(&r, key, 0, UINT32_MAX) != PROTO_OK || !cbor_head(&r, &h)) {
		return false;
	}
	*value = h.major == CBOR_NINT ? -(int64_t)h.value - 1 : (int64_t)h.value;
	*cursor = (uint32_t)(r.at - map.data);
	return true;
}

uint32_t proto_count(struct proto_span list)
{
	struct cbor_reader r;
	struct cbor_head h;
	if (list.len == 0) {
		return 0;
	}
	r.at = list.data;
	r.end = list.data + list.len;
	return cbor_head(&r, &h) ? (uint32_t)h.value : 0;
}

// ---------------------------------------------------------------- encoding

static void write_map(struct cbor_writer *w, const struct schema *s, const void *in);

static uint64_t number_at(const struct field *f, const void *member)
{
	uint64_t n = 0;
	memcpy(&n, member, f->kind == K_U32 ? sizeof(uint32_t) : sizeof(uint64_t));
	return n;
}

static bool is_present(const struct field *f, const void *in)
{
	const void *member = (const uint8_t *)in + f->offset;
	if (f->needed) {
		return true;
	}
	if (f->present != NO_FLAG) {
		return *(const bool *)((const uint8_t *)in + f->present);
	}
	switch ((enum kind)f->kind) {
	case K_U32:
	case K_U63:
		return number_at(f, member) != 0;
	case K_DIGEST:
		return *(const uint8_t *const *)member != NULL;
	case K_BYTES:
	case K_TEXT:
	case K_NAME:
		return ((const struct proto_span *)member)->len != 0;
	default:
		return proto_count(*(const struct proto_span *)member) != 0;
	}
}

static void write_set(struct cbor_writer *w, const struct proto_set *set)
{
	if (set->digest == NULL) {
		cbor_put_bytes(w, set->list.data, set->list.len);
		return;
	}
	cbor_put_head(w, CBOR_MAP, 2);
	cbor_put_head(w, CBOR_UINT, 1);
	cbor_put_string(w, CBOR_BYTES, set->digest, PROTO_DIGEST);
	cbor_put_head(w, CBOR_UINT, 2);
	cbor_put_head(w, CBOR_UINT, set->size);
}

static void write_field(struct cbor_writer *w, const struct field *f, const void *member)
{
	const struct proto_span *span = member;
	switch ((enum kind)f->kind) {
	case K_U32:
	case K_U63:
		cbor_put_head(w, CBOR_UINT, number_at(f, member));
		break;
	case K_DIGEST:
		cbor_put_string(w, CBOR_BYTES, *(const uint8_t *const *)member, PROTO_DIGEST);
		break;
	case K_BYTES:
		cbor_put_string(w, CBOR_BYTES, span->data, span->len);
		break;
	case K_TEXT:
	case K_NAME:
		cbor_put_string(w, CBOR_TEXT, span->data, span->len);
		break;
	case K_MAP:
		write_map(w, f->sub, member);
		break;
	case K_APPS:
	case K_STATES:
		write_set(w, member);
		break;
	default:
		cbor_put_bytes(w, span->data, span->len);
		break;
	}
}

static void write_map(struct cbor_writer *w, const struct schema *s, const void *in)
{
	unsigned count = 0;
	for (unsigned i = 0; i < s->count; i++) {
		count += is_present(&s->fields[i], in);
	}
	cbor_put_head(w, CBOR_MAP, count);
	for (unsigned i = 0; i < s->count; i++) {
		const struct field *f = &s->fields[i];
		if (is_present(f, in)) {
			cbor_put_head(w, CBOR_UINT, f->key);
			write_field(w, f, (const uint8_t *)in + f->offset);
		}
	}
}

int proto_encode(const struct proto_frame *frame, uint8_t *buf, size_t cap)
{
	if (cap < PROTO_HEADER) {
		return PROTO_ETOOLARGE;
	}
	if (cap > PROTO_HEADER + UINT16_MAX) {
		cap = PROTO_HEADER + UINT16_MAX;
	}
	struct cbor_writer w = {buf + PROTO_HEADER, buf + cap, false};
	cbor_put_head(&w, CBOR_ARRAY, 2);
	cbor_put_head(&w, CBOR_UINT, frame->type);
	write_map(&w, frames[frame->type], &frame->hello);
	if (w.overflow) {
		return PROTO_ETOOLARGE;
	}
	size_t body = (size_t)(w.at - buf) - PROTO_HEADER;
	buf[0] = (uint8_t)(body >> 8);
	buf[1] = (uint8_t)body;
	return (int)(body + PROTO_HEADER);
}

void proto_put_app(struct cbor_writer *w, const struct proto_app *app)
{
	write_map(w, &app_schema, app);
}

void proto_put_state(struct cbor_writer *w, const struct proto_state *state)
{
	write_map(w, &state_schema, state);
}

void proto_put_app_metrics(struct cbor_writer *w, const struct proto_app_metrics *metrics)
{
	write_map(w, &app_metrics_schema, metrics);
}
