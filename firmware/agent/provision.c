// SPDX-License-Identifier: Apache-2.0
#include "provision.h"

#include <string.h>

enum { HEADER = 12, SEED_MIN = 32 };

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
