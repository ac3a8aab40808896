// SPDX-License-Identifier: Apache-2.0
//
// The one object that knows the commit it was built from.
#include "agent.h"
#include "commit.h"

const char agent_version[] = FIRMWARE_VERSION;
