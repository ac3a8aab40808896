// SPDX-License-Identifier: Apache-2.0
//
// Holds the codec against gateway/protocol/testdata/vectors: every frame decodes and is
// written again byte by byte, what Go refuses is refused for the same reason.
//
//   vectors DIRECTORY [CORPUS]
//
// With CORPUS, every case's body is also written there as a file for the fuzzer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "proto.h"

enum { CAP = 70000, LINE = 400000 };

static int failures, cases;
static char line[LINE];

static void fail(const char *name, const char *what, int got)
{
	fprintf(stderr, "%s: %s (%d)\n", name, what, got);
	failures++;
}

// Copies the string value of a key of one line; false when the line has no such key.
static bool text_of(const char *key, char *out, size_t cap)
{
	char pattern[32];
	snprintf(pattern, sizeof pattern, "\"%s\":\"", key);
	const char *at = strstr(line, pattern);
	if (at == NULL) {
		return false;
	}
	at += strlen(pattern);
	size_t n = 0;
	while (*at != 0 && *at != '"' && n + 1 < cap) {
		out[n++] = *at++;
	}
	out[n] = 0;
	return true;
}

static long number_of(const char *key, long otherwise)
{
	char pattern[32];
	snprintf(pattern, sizeof pattern, "\"%s\":", key);
	const char *at = strstr(line, pattern);
	return at == NULL ? otherwise : strtol(at + strlen(pattern), NULL, 10);
}

// The bytes of a hexadecimal value, in a block of exactly their size so that a sanitizer
// sees every access beyond them.
static uint8_t *bytes_of(const char *key, size_t *len)
{
	static char hex[LINE];
	if (!text_of(key, hex, sizeof hex)) {
		return NULL;
	}
	*len = strlen(hex) / 2;
	uint8_t *out = malloc(*len == 0 ? 1 : *len);
	for (size_t i = 0; i < *len; i++) {
		char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return out;
}

// Writes every element of a list anew; true when the bytes are the same.
static bool same_list(struct proto_span list, bool apps)
{
	static uint8_t out[CAP];
	struct cbor_writer w = {out, out + sizeof out, false};
	uint32_t cursor = 0, count = 0;
	struct proto_app app;
	struct proto_state state;
	cbor_put_head(&w, CBOR_ARRAY, proto_count(list));
	while (apps ? proto_next_app(list, &cursor, &app) : proto_next_state(list, &cursor, &state)) {
		if (apps) {
			proto_put_app(&w, &app);
		} else {
			proto_put_state(&w, &state);
		}
		count++;
	}
	return !w.overflow && count == proto_count(list) && (size_t)(w.at - out) == list.len &&
	       memcmp(out, list.data, list.len) == 0;
}

static bool same_metrics(struct proto_span list)
{
	static uint8_t out[CAP];
	struct cbor_writer w = {out, out + sizeof out, false};
	uint32_t cursor = 0;
	struct proto_app_metrics m;
	cbor_put_head(&w, CBOR_ARRAY, proto_count(list));
	while (proto_next_app_metrics(list, &cursor, &m)) {
		uint32_t at = 0;
		struct proto_span key;
		int64_t value;
		static uint8_t values[2048];
		struct cbor_writer v = {values, values + sizeof values, false};
		cbor_put_head(&v, CBOR_MAP, proto_count(m.values));
		while (proto_next_value(m.values, &at, &key, &value)) {
			cbor_put_string(&v, CBOR_TEXT, key.data, key.len);
			cbor_put_int(&v, value);
		}
		if (m.values.len != 0) {
			m.values = (struct proto_span){values, (uint32_t)(v.at - values)};
		}
		proto_put_app_metrics(&w, &m);
	}
	return list.len == 0 || ((size_t)(w.at - out) == list.len && memcmp(out, list.data, list.len) == 0);
}

static int decode(struct proto_frame *f, const uint8_t *frame, size_t len, uint32_t max)
{
	if (len < PROTO_HEADER) {
		return 1;
	}
	int body = proto_body_length(frame, max);
	if (body < 0) {
		return body;
	}
	if ((size_t)body + PROTO_HEADER > len) {
		return 1;
	}
	uint8_t *copy = malloc(body == 0 ? 1 : (size_t)body);
	memcpy(copy, frame + PROTO_HEADER, (size_t)body);
	int rc = proto_decode(f, copy, (size_t)body);
	if (rc == PROTO_OK) {
		rc = proto_decode(f, frame + PROTO_HEADER, (size_t)body); // to pointers that outlive the copy
	}
	free(copy);
	return rc;
}

static const char *corpus;

static void to_corpus(void)
{
	char path[1024];
	size_t len;
	uint8_t *in = bytes_of("hex", &len);
	size_t header = strstr(line, "\"kind\":\"apps\"") == NULL && strstr(line, "\"kind\":\"states\"") == NULL ? PROTO_HEADER : 0;
	snprintf(path, sizeof path, "%s/vector-%d", corpus, cases);
	FILE *f = fopen(path, "wb");
	if (f != NULL && len > header) {
		fwrite(in + header, 1, len - header, f);
	}
	if (f != NULL) {
		fclose(f);
	}
	free(in);
}

static void frame_case(const char *name)
{
	static uint8_t out[CAP];
	size_t len;
	struct proto_frame f;
	uint8_t *in = bytes_of("hex", &len);
	int rc = decode(&f, in, len, PROTO_HEADER + UINT16_MAX);
	if (rc != PROTO_OK) {
		fail(name, "is refused", rc);
	} else {
		int n = proto_encode(&f, out, sizeof out);
		if (n != (int)len || memcmp(out, in, len) != 0) {
			fail(name, "is written in other bytes", n);
		}
		if (proto_encode(&f, out, len - 1) != PROTO_ETOOLARGE) {
			fail(name, "is written beyond the buffer", n);
		}
		if (f.type == PROTO_DESIRED && f.desired.apps.digest == NULL && !same_list(f.desired.apps.list, true)) {
			fail(name, "apps change", 0);
		}
		if (f.type == PROTO_REPORT && f.report.states.digest == NULL && !same_list(f.report.states.list, false)) {
			fail(name, "states change", 0);
		}
		if (f.type == PROTO_HEARTBEAT && !same_metrics(f.heartbeat.apps)) {
			fail(name, "metrics change", 0);
		}
	}
	free(in);
}

static void document_case(const char *name)
{
	char kind[16] = "";
	size_t len;
	uint8_t *in = bytes_of("hex", &len);
	text_of("kind", kind, sizeof kind);
	bool apps = strcmp(kind, "apps") == 0;
	int rc = apps ? proto_check_apps(in, len) : proto_check_states(in, len);
	if (rc != PROTO_OK) {
		fail(name, "is refused", rc);
	} else if (!same_list((struct proto_span){in, (uint32_t)len}, apps)) {
		fail(name, "changes", 0);
	}
	free(in);
}

static void tolerated_case(const char *name)
{
	size_t len, same_len;
	struct proto_frame f;
	uint8_t *in = bytes_of("hex", &len), *same = bytes_of("same", &same_len);
	int rc = decode(&f, in, len, PROTO_HEADER + UINT16_MAX);
	if (same_len == 0 && rc != PROTO_EUNKNOWN) {
		fail(name, "is not skipped", rc);
	} else if (same_len != 0) {
		static uint8_t out[CAP];
		int n = rc == PROTO_OK ? proto_encode(&f, out, sizeof out) : rc;
		if (n != (int)same_len || memcmp(out, same, same_len) != 0) {
			fail(name, "means another frame", n);
		}
	}
	free(in);
	free(same);
}

static void refused_case(const char *name)
{
	char kind[16] = "", error[16] = "";
	size_t len;
	struct proto_frame f;
	uint8_t *in = bytes_of("hex", &len);
	text_of("kind", kind, sizeof kind);
	text_of("error", error, sizeof error);
	int want = strcmp(error, "incomplete") == 0 ? 1
	         : strcmp(error, "too-large") == 0  ? PROTO_ETOOLARGE
	         : strcmp(error, "malformed") == 0  ? PROTO_EMALFORMED
	                                            : PROTO_EINVAL;
	int got;
	if (strcmp(kind, "apps") == 0) {
		got = proto_check_apps(in, len);
	} else if (strcmp(kind, "states") == 0) {
		got = proto_check_states(in, len);
	} else {
		got = decode(&f, in, len, (uint32_t)number_of("maxFrame", PROTO_HEADER + UINT16_MAX));
	}
	if (got != want) {
		fail(name, error, got);
	}
	free(in);
}

static void each_line(const char *directory, const char *file, void (*run)(const char *))
{
	char path[1024], name[256];
	int before = cases;
	snprintf(path, sizeof path, "%s/%s", directory, file);
	FILE *f = fopen(path, "r");
	if (f == NULL) {
		perror(path);
		exit(2);
	}
	while (fgets(line, sizeof line, f) != NULL) {
		if (text_of("name", name, sizeof name)) {
			run(name);
			if (corpus != NULL) {
				to_corpus();
			}
			cases++;
		}
	}
	fclose(f);
	if (cases == before) {
		fail(file, "has no cases", 0);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: vectors DIRECTORY [CORPUS]\n");
		return 2;
	}
	corpus = argc == 3 ? argv[2] : NULL;
	each_line(argv[1], "frames.json", frame_case);
	each_line(argv[1], "documents.json", document_case);
	each_line(argv[1], "tolerated.json", tolerated_case);
	each_line(argv[1], "refused.json", refused_case);
	printf("proto: %d vectors, %d failed\n", cases, failures);
	return failures == 0 ? 0 : 1;
}
