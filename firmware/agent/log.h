// SPDX-License-Identifier: Apache-2.0
//
// Log lines of the firmware and of apps: printed on the console at once, and kept in a
// ring until a session has sent them. Nothing here ever waits; what comes too fast or
// finds no room is dropped and counted.
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "proto.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

// One line of the firmware, formatted like printf.
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One line of an app; cut to PROTO_MAX_TEXT bytes, and what is no UTF-8 becomes '?'.
void log_app(enum log_level level, const char *app, const uint8_t *text, uint32_t len);

// Lines a minute from the gateway's limits; 0: no limit.
void log_set_limit(uint32_t lines_per_minute);

// The oldest line as a frame's content, pointing into the ring; false when there is none.
// log_sent removes it.
bool log_next(struct proto_log *out);
void log_sent(void);

// Lines dropped since the start.
uint32_t log_dropped(void);

#endif
