// SPDX-License-Identifier: Apache-2.0
//
// The provisioning blob: who the device is and whom it trusts. It is written by the
// machine that starts the board, or once in a factory.
//
// Layout, integers little endian: "WBP1", length of the whole (2), hardware address (6),
// then records of tag (1), length (2), value. Unknown tags are skipped.
// A newer blob can come while the board runs, through port_mailbox: two slots of half its
// size, written in turn. A slot is a sequence number (4; 0: empty), the blob's length (4),
// the blob, and the SHA-256 of all that. The number is written last; the highest counts.
#ifndef PROVISION_H
#define PROVISION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum provision_tag {
	PROVISION_SEED = 1,        // 32 to 64 bytes of fresh entropy
	PROVISION_TIME = 2,        // 8 bytes: milliseconds since 1970 at the launch
	PROVISION_NAME = 3,        // of the device, namespace/name
	PROVISION_KEY = 4,         // private P-256 key, DER (SEC 1 or PKCS #8)
	PROVISION_CERTIFICATE = 5, // DER; one record each, the device's own first
	PROVISION_CA = 6,          // DER; one record each, at most 4
	PROVISION_ENDPOINT = 7,    // host:port; one record each, in order, at most 4
	PROVISION_SERVER_NAME = 8, // that the gateway's certificate must carry
	PROVISION_HOST = 9,        // IPv4 address that stands for loopback endpoints
};

enum { PROVISION_MAX = 4096 }; // bytes of a blob
enum { PROVISION_MAX_CERTIFICATES = 4, PROVISION_MAX_ENDPOINTS = 4, PROVISION_HOST_MAX = 128 };

struct span {
	const uint8_t *data;
	size_t len;
};

struct provision {
	struct span seed, key, name, server_name, host;
	struct span certificates[PROVISION_MAX_CERTIFICATES];
	struct span ca[PROVISION_MAX_CERTIFICATES];
	struct span endpoints[PROVISION_MAX_ENDPOINTS];
	unsigned certificate_count, ca_count, endpoint_count;
	uint64_t time_ms;
	uint32_t sequence; // of the mailbox; 0: the blob of the launch
};

enum { PROVISION_EINVAL = -1 };

// Reads the blob without copying: the result points into it. 0, or PROVISION_EINVAL when
// it is malformed or lacks a seed, a key, a certificate, a CA, an endpoint or the name.
int provision_parse(struct provision *out, const uint8_t *blob, size_t len);

// The highest sequence number in the mailbox; cheap.
uint32_t provision_newest(void);

// Reads the newest blob that is whole: of the mailbox, else of the launch. What was read
// before becomes invalid. 0 or PROVISION_EINVAL.
int provision_read(struct provision *out);

// Reads the blob of the launch.
int provision_read_launch(struct provision *out);

#endif
