// SPDX-License-Identifier: Apache-2.0
//
// Who the device is and whom it trusts: read at the start, and again when the mailbox has
// something newer.
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdbool.h>

#include "provision.h"

// Reads the provisioning and starts TLS with it; NULL when it cannot be used.
const struct provision *identity_start(void);

enum identity_change {
	IDENTITY_SAME = 0,
	IDENTITY_RENEWED,   // other credentials; what identity_start returned shows them
	IDENTITY_MOVED,     // and other endpoints
};

// Takes newer provisioning over. Only while there is no connection.
enum identity_change identity_renew(void);

#endif
