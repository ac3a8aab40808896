// SPDX-License-Identifier: Apache-2.0
#include "selftest.h"

#include <stdint.h>
#include <stddef.h>

#include "port.h"
#include "runner.h"
#include "store.h"

static volatile uint32_t agent_data = 0x600D600Du;

static volatile uint32_t *own; // a block of its own, and the one behind it
static volatile uint32_t *next;

static void write_own(void *arg)
{
	volatile uint32_t *const *blocks = arg;
	blocks[0][0] = 1;
}

static void write_next(void *arg)
{
	volatile uint32_t *const *blocks = arg;
	blocks[1][0] = 1;
}

static void read_agent(void *arg)
{
	volatile uint32_t *const *blocks = arg;
	blocks[0][0] = agent_data;
}

static void write_agent(void *arg)
{
	(void)arg;
	agent_data = 0;
}

static void write_store(void *arg)
{
	(void)arg;
	*(volatile uint8_t *)(uintptr_t)port_nv()->map = 0;
}

static void read_mailbox(void *arg)
{
	volatile uint32_t *const *blocks = arg;
	uint32_t size;
	const volatile uint8_t *box = port_mailbox(&size);
	blocks[0][0] = box == NULL ? *(volatile uint32_t *)0xE000ED0Cu : *box;
}

static void write_device(void *arg)
{
	(void)arg;
	*(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u; // the reset request of every Cortex-M
}

static void run_data(void *arg)
{
	volatile uint32_t *const *blocks = arg;
	blocks[0][0] = 0x47704770u; // bx lr
	((void (*)(void))((uintptr_t)blocks[0] | 1u))();
}

static void use_up_stack(void *arg)
{
	volatile uint8_t room[256];
	room[0] = 1;
	if (arg != NULL) {
		use_up_stack(arg);
	}
	room[1] = room[0];
}

void selftest_walls(void (*say)(const char *))
{
	static const struct { const char *what; void (*run)(void *); bool allowed; } walls[] = {
		{"its own memory", write_own, true},
		{"another app's memory", write_next, false},
		{"reading the agent's data", read_agent, false},
		{"writing the agent's data", write_agent, false},
		{"writing the store", write_store, false},
		{"reading the mailbox, where keys are", read_mailbox, false},
		{"a register of the core", write_device, false},
		{"running data", run_data, false},
		{"the end of the stack", use_up_stack, false},
	};
	uint32_t first, size = port_arena()->block_size;
	if (runner_free_range(&first) < 2) {
		say("walls: no two free blocks of app memory\r\n");
		return;
	}
	own = (volatile uint32_t *)(uintptr_t)(port_arena()->base + first * size);
	next = own + size / sizeof *own;
	bool good = true;
	for (size_t i = 0; i < sizeof walls / sizeof walls[0]; i++) {
		volatile uint32_t *blocks[2] = {own, next};
		int rc = port_sandbox_run(walls[i].run, (void *)blocks, (const void *)(uintptr_t)own, size);
		bool as_wanted = rc == (walls[i].allowed ? PORT_OK : PORT_EFAULT) && agent_data == 0x600D600Du;
		good = good && as_wanted;
		say("walls: ");
		say(walls[i].what);
		say(rc == PORT_OK ? ": passed" : ": stopped");
		say(as_wanted ? "\r\n" : ", WRONG\r\n");
	}
	say(good ? "walls: all stand\r\n" : "walls: BROKEN\r\n");
}
