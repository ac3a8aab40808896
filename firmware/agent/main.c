// SPDX-License-Identifier: Apache-2.0
//
// The agent: one cooperative loop over the board, the apps and the session.
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "apps.h"
#include "identity.h"
#include "log.h"
#include "port.h"
#include "selftest.h"
#include "session.h"
#include "store.h"

static void tell_start(bool found)
{
	const struct port_crash *c = port_last_crash();
	log_line(LOG_INFO, "%s (%s), firmware %s, start %lu%s", port_info()->board, port_info()->core, agent_version,
	         (unsigned long)store_root.boots, found ? "" : ", empty store");
	if (c != NULL) {
		log_line(LOG_ERROR, "last run ended by %s at 0x%lx after %lu ms", c->text, (unsigned long)c->pc,
		         (unsigned long)c->uptime_ms);
	}
}

// Without usable provisioning the apps run and nothing connects.
static void start_session(void)
{
	const struct provision *provision = identity_start();
	if (provision != NULL) {
		session_start(provision);
	}
}

static void say(const char *text)
{
	port_console_write(text, strlen(text));
}

static void tell_status(void)
{
	char text[96];
	snprintf(text, sizeof text, "session %s, generation %lu, app memory free %lu, storage free %lu\r\n",
	         session_up() ? "up" : "down", (unsigned long)store_root.generation, (unsigned long)apps_memory_free(),
	         (unsigned long)store_free());
	say(text);
}

// Commands for whoever holds the board in his hands.
static void command(const char *line)
{
	if (strcmp(line, "status") == 0) {
		tell_status();
	} else if (strcmp(line, "reboot") == 0) {
		port_reset();
	} else if (strcmp(line, "hang") == 0) {
		for (;;) {
		}
	} else if (strcmp(line, "panic") == 0) {
		port_panic("asked for at the console");
	} else if (strcmp(line, "walls") == 0) {
		selftest_walls(say);
	} else if (line[0] != 0) {
		say("commands: status, walls (test of the sandbox), reboot, hang (the watchdog resets), panic\r\n");
	}
}

static void poll_console(void)
{
	static char line[32];
	static size_t len;
	char c;
	while (port_console_read(&c, 1) == 1) {
		if (c == '\r' || c == '\n') {
			line[len] = 0;
			len = 0;
			command(line);
		} else if (len < sizeof line - 1) {
			line[len++] = c;
		}
	}
}

int main(void)
{
	port_start();
	bool found = store_start();
	store_root.boots++;
	if (store_commit() != STORE_OK) { // before anything is drawn from the random generator
		port_panic("the store cannot be written");
	}
	tell_start(found);
	apps_start();
	start_session();
	for (;;) {
		port_watchdog_feed();
		uint64_t wake = port_poll();
		poll_console();
		uint64_t apps = apps_poll();
		uint64_t session = session_poll();
		wake = apps < wake ? apps : wake;
		wake = session < wake ? session : wake;
		port_sleep_until(wake);
	}
}
