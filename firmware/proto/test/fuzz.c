// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: whatever decodes must encode to a frame that decodes to the same
// bytes, and no input may read or write outside of its buffer.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "proto.h"

static uint8_t once[70000], twice[70000];

static void walk(struct proto_span list, bool apps)
{
	uint32_t cursor = 0, at;
	struct proto_app app;
	struct proto_state state;
	struct proto_span key, value;
	if (!apps) {
		while (proto_next_state(list, &cursor, &state)) {
		}
		return;
	}
	while (proto_next_app(list, &cursor, &app)) {
		for (at = 0; proto_next_pair(app.config, &at, &key, &value);) {
		}
		for (at = 0; proto_next_text(app.permissions, &at, &key);) {
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proto_frame f;
	if (proto_check_apps(data, size) == PROTO_OK) {
		walk((struct proto_span){data, (uint32_t)size}, true);
	}
	if (proto_check_states(data, size) == PROTO_OK) {
		walk((struct proto_span){data, (uint32_t)size}, false);
	}
	if (size > UINT16_MAX || proto_decode(&f, data, size) != PROTO_OK) {
		return 0;
	}
	if (f.type == PROTO_DESIRED && f.desired.apps.digest == NULL) {
		walk(f.desired.apps.list, true);
	}
	int n = proto_encode(&f, once, sizeof once);
	if (n < 0 || proto_decode(&f, once + PROTO_HEADER, (size_t)n - PROTO_HEADER) != PROTO_OK) {
		abort();
	}
	int m = proto_encode(&f, twice, sizeof twice);
	if (m != n || memcmp(once, twice, (size_t)n) != 0) {
		abort();
	}
	return 0;
}
