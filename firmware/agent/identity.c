// SPDX-License-Identifier: Apache-2.0
#include "identity.h"

#include "log.h"
#include "store.h"
#include "tls.h"

static struct provision provision;
static uint32_t seen; // sequence number that was tried last

const struct provision *identity_start(void)
{
	seen = provision_newest();
	if (provision_read(&provision) != 0) {
		log_line(LOG_ERROR, "not provisioned: stays offline");
		return NULL;
	}
	int rc = tls_start(&provision, store_root.boots);
	rc = rc == TLS_OK ? tls_load(&provision) : rc;
	if (rc != TLS_OK) {
		log_line(LOG_ERROR, "identity cannot be used (%d, -0x%x): stays offline", rc, (unsigned)-tls_detail());
		return NULL;
	}
	if (store_root.wall_ms > tls_time_ms()) { // the blob is as old as the launch, and resets do not change it
		tls_set_time(store_root.wall_ms);
	}
	log_line(LOG_INFO, "device %.*s", (int)provision.name.len, (const char *)provision.name.data);
	return &provision;
}

static uint32_t hash_endpoints(void)
{
	uint32_t h = 2166136261u;
	for (unsigned i = 0; i < provision.endpoint_count; i++) {
		for (size_t j = 0; j < provision.endpoints[i].len; j++) {
			h = (h ^ provision.endpoints[i].data[j]) * 16777619u;
		}
		h = (h ^ 0xFFu) * 16777619u;
	}
	return h;
}

enum identity_change identity_renew(void)
{
	uint32_t newest = provision_newest();
	if (newest == seen) {
		return IDENTITY_SAME;
	}
	seen = newest;
	uint32_t before = hash_endpoints();
	tls_unload(); // it refers to what is overwritten now
	int rc = provision_read(&provision);
	rc = rc == 0 ? tls_load(&provision) : rc;
	if (rc != 0) {
		log_line(LOG_ERROR, "the renewed identity cannot be used (%d, -0x%x): back to the one of the start", rc,
		         (unsigned)-tls_detail());
		provision_read_launch(&provision);
		tls_load(&provision);
	} else {
		log_line(LOG_INFO, "identity renewed, number %lu", (unsigned long)provision.sequence);
	}
	return hash_endpoints() == before ? IDENTITY_RENEWED : IDENTITY_MOVED;
}
