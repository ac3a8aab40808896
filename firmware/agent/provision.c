// SPDX-License-Identifier: Apache-2.0
#include "provision.h"

#include <string.h>

#include "port.h"
#include "store.h"

enum { HEADER = 12, SEED_MIN = 32, SLOTS = 2, SLOT_HEAD = 8, DIGEST = 32 };

static int append(struct span *list, unsigned *count, unsigned cap, struct span value)
{
	if (*count == cap) {
		return PROVISION_EINVAL;
	}
	list[(*count)++] = value;
	return 0;
}

static int record(struct provision *out, uint8_t tag, struct span value)
{
	switch (tag) {
	case PROVISION_SEED:
		out->seed = value;
		return 0;
	case PROVISION_TIME:
		if (value.len != 8) {
			return PROVISION_EINVAL;
		}
		memcpy(&out->time_ms, value.data, 8);
		return 0;
	case PROVISION_NAME:
		out->name = value;
		return 0;
	case PROVISION_KEY:
		out->key = value;
		return 0;
	case PROVISION_CERTIFICATE:
		return append(out->certificates, &out->certificate_count, PROVISION_MAX_CERTIFICATES, value);
	case PROVISION_CA:
		return append(out->ca, &out->ca_count, PROVISION_MAX_CERTIFICATES, value);
	case PROVISION_ENDPOINT:
		if (value.len < 3 || value.len > PROVISION_HOST_MAX) {
			return PROVISION_EINVAL;
		}
		return append(out->endpoints, &out->endpoint_count, PROVISION_MAX_ENDPOINTS, value);
	case PROVISION_SERVER_NAME:
		out->server_name = value;
		return value.len < PROVISION_HOST_MAX ? 0 : PROVISION_EINVAL;
	case PROVISION_HOST:
		out->host = value;
		return value.len < 16 ? 0 : PROVISION_EINVAL;
	default:
		return 0;
	}
}

int provision_parse(struct provision *out, const uint8_t *blob, size_t len)
{
	memset(out, 0, sizeof *out);
	if (blob == NULL || len < HEADER || memcmp(blob, "WBP1", 4) != 0) {
		return PROVISION_EINVAL;
	}
	for (size_t at = HEADER; at < len;) {
		if (len - at < 3) {
			return PROVISION_EINVAL;
		}
		struct span value = {blob + at + 3, blob[at + 1] | (size_t)blob[at + 2] << 8};
		if (value.len > len - at - 3 || record(out, blob[at], value) != 0) {
			return PROVISION_EINVAL;
		}
		at += 3 + value.len;
	}
	bool complete = out->seed.len >= SEED_MIN && out->key.len != 0 && out->certificate_count != 0 &&
	                out->ca_count != 0 && out->endpoint_count != 0 && out->name.len != 0 &&
	                out->server_name.len != 0;
	return complete ? 0 : PROVISION_EINVAL;
}

// ---------------------------------------------------------------- mailbox

static const volatile uint8_t *slot_at(unsigned slot, uint32_t *size)
{
	const volatile uint8_t *box = port_mailbox(size);
	*size /= SLOTS;
	return box == NULL ? NULL : box + slot * *size;
}

// Little endian, as the cores are: one read, so that a number is never half written.
static uint32_t word_at(const volatile uint8_t *p)
{
	return *(const volatile uint32_t *)p;
}

static uint32_t sequence_of(unsigned slot)
{
	uint32_t size;
	const volatile uint8_t *at = slot_at(slot, &size);
	return at == NULL ? 0 : word_at(at);
}

uint32_t provision_newest(void)
{
	uint32_t a = sequence_of(0), b = sequence_of(1);
	return a > b ? a : b;
}

// Copies a slot, because it can change under our feet; then it is whole or it is not.
static int read_slot(struct provision *out, unsigned slot)
{
	static uint8_t copy[SLOT_HEAD + PROVISION_MAX + DIGEST] __attribute__((aligned(4)));
	uint8_t digest[DIGEST];
	uint32_t size, sequence = sequence_of(slot);
	const volatile uint8_t *at = slot_at(slot, &size);
	uint32_t len = sequence == 0 ? 0 : word_at(at + 4);
	if (len == 0 || len > PROVISION_MAX || len > size - SLOT_HEAD - DIGEST) {
		return PROVISION_EINVAL;
	}
	for (uint32_t i = 0; i < SLOT_HEAD + len + DIGEST; i++) {
		copy[i] = at[i];
	}
	digest_of(copy, SLOT_HEAD + len, digest);
	if (word_at(copy) != sequence || memcmp(digest, copy + SLOT_HEAD + len, DIGEST) != 0) {
		return PROVISION_EINVAL;
	}
	int rc = provision_parse(out, copy + SLOT_HEAD, len);
	out->sequence = sequence;
	return rc;
}

int provision_read_launch(struct provision *out)
{
	size_t len = 0;
	const uint8_t *blob = port_provision(&len);
	return provision_parse(out, blob, len);
}

int provision_read(struct provision *out)
{
	unsigned first = sequence_of(1) > sequence_of(0);
	if (read_slot(out, first) == 0 || read_slot(out, !first) == 0) {
		return 0;
	}
	return provision_read_launch(out);
}
