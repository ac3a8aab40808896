// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "port.h"

enum { LINES = 12, APPS_BURST = 20, OWN_BURST = 40, OWN_LINES_PER_MINUTE = 120 };

struct line {
	uint64_t uptime_ms;
	uint32_t dropped_before;
	uint8_t level, len;
	char app[PROTO_MAX_NAME + 1];
	char text[PROTO_MAX_TEXT];
};

static struct line ring[LINES];
static uint32_t head, tail; // free running
static uint32_t dropped, dropped_since;

// A bucket of lines that fills at a rate; 0: there is no limit.
struct bucket {
	uint32_t burst, per_minute;
	uint64_t paid_us; // time up to which lines are paid for
};

static struct bucket apps = {.burst = APPS_BURST}, own = {.burst = OWN_BURST, .per_minute = OWN_LINES_PER_MINUTE};

static const char names[] = "DIWE";

static void print(const struct line *l)
{
	char text[96];
	int n = snprintf(text, sizeof text, "%lu.%03u %c %s%s", (unsigned long)(l->uptime_ms / 1000),
	                 (unsigned)(l->uptime_ms % 1000), names[l->level], l->app, l->app[0] != 0 ? ": " : "");
	port_console_write(text, (size_t)n);
	port_console_write(l->text, l->len);
	port_console_write("\r\n", 2);
}

// Takes a line out of the bucket. In the first minute uptime alone would leave it less
// than full, so time begins a burst before the start.
static bool allowed(struct bucket *b)
{
	if (b->per_minute == 0) {
		return true;
	}
	uint64_t cost = 60000000u / b->per_minute, full = b->burst * cost, now = port_now_us() + full;
	if (b->paid_us < now - full) {
		b->paid_us = now - full;
	}
	if (b->paid_us + cost > now) {
		return false;
	}
	b->paid_us += cost;
	return true;
}

static void drop(void)
{
	dropped++;
	dropped_since++;
}

// Replaces bytes that the protocol does not take as text: all outside of ASCII that do not
// form UTF-8, and control characters.
static void clean(char *text, uint8_t *len)
{
	uint8_t n = *len;
	for (uint8_t i = 0; i < n;) {
		uint8_t c = (uint8_t)text[i];
		uint8_t need = c < 0x80 ? 1 : c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE1 && c <= 0xEC ? 3 : 0;
		bool good = need != 0 && i + need <= n && (need > 1 || c >= 0x20);
		for (uint8_t j = 1; good && j < need; j++) {
			good = ((uint8_t)text[i + j] & 0xC0) == 0x80;
		}
		if (!good) {
			text[i] = '?';
			need = 1;
		}
		i = (uint8_t)(i + need);
	}
}

static void put(enum log_level level, const char *app, const char *text, size_t len)
{
	struct line now;
	struct line *l = &now;
	memset(l, 0, sizeof *l);
	l->uptime_ms = port_now_us() / 1000;
	l->level = (uint8_t)level;
	l->len = (uint8_t)(len < PROTO_MAX_TEXT ? len : PROTO_MAX_TEXT);
	memcpy(l->text, text, l->len);
	strncpy(l->app, app, PROTO_MAX_NAME);
	clean(l->text, &l->len);
	if (!allowed(app[0] != 0 ? &apps : &own)) {
		drop();
		return;
	}
	print(l);
	if (head - tail == LINES) {
		drop();
		return;
	}
	l->dropped_before = dropped_since;
	dropped_since = 0;
	ring[head % LINES] = *l;
	head++;
}

void log_line(enum log_level level, const char *format, ...)
{
	char text[PROTO_MAX_TEXT];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	put(level, "", text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void log_app(enum log_level level, const char *app, const uint8_t *text, uint32_t len)
{
	put(level, app, (const char *)text, len);
}

void log_set_limit(uint32_t lines_per_minute)
{
	apps.per_minute = lines_per_minute < 60000000u ? lines_per_minute : 0;
}

bool log_next(struct proto_log *out)
{
	if (head == tail) {
		return false;
	}
	const struct line *l = &ring[tail % LINES];
	memset(out, 0, sizeof *out);
	out->level = l->level;
	out->text = (struct proto_span){(const uint8_t *)l->text, l->len};
	out->app = (struct proto_span){(const uint8_t *)l->app, (uint32_t)strlen(l->app)};
	out->uptime = l->uptime_ms;
	out->dropped = l->dropped_before;
	return true;
}

void log_sent(void)
{
	tail++;
}

uint32_t log_dropped(void)
{
	return dropped;
}
