// SPDX-License-Identifier: Apache-2.0
#ifndef AGENT_H
#define AGENT_H

extern const char agent_version[];

#endif
