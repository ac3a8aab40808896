// SPDX-License-Identifier: Apache-2.0
#ifndef AGENT_H
#define AGENT_H

// Version and commit of this firmware, as Hello tells them.
extern const char agent_version[];

#endif
