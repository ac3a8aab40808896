// SPDX-License-Identifier: Apache-2.0
//
// Misbehaves on purpose, in the way that the config key `mode` asks for, so that one can see what the fleet makes
// of it. It is not part of the deployed fleet.
//
//   trap      executes `unreachable` a second after its start (the default)
//   memory    writes far outside of its memory
//   spin      never returns and never sleeps
//   recurse   calls itself until the stack is used up
//   exit      returns 1
//   chatter   logs as fast as it can, a hundred lines each 100 ms
#include "wasmbed.h"

#define KEY(text) (text), sizeof(text) - 1

static volatile int32_t sink;

static int32_t again(int32_t depth);

static int32_t (*volatile next)(int32_t) = again; // so that the compiler cannot see where it leads

static int32_t again(int32_t depth)
{
	sink = depth;
	return next(depth + 1) + sink;
}

static void chatter(void)
{
	for (;;) {
		for (int i = 0; i < 100; i++) {
			wasmbed_log(WASMBED_LOG_DEBUG, KEY("so much to say"));
		}
		ocre_sleep(100);
	}
}

WASMBED_EXPORT(run)
int32_t run(void)
{
	char mode[8] = {0};
	wasmbed_config_get(KEY("mode"), mode, sizeof mode);
	wasmbed_log(WASMBED_LOG_WARNING, KEY("about to misbehave"));
	switch (mode[0]) {
	case 'm':
		*(volatile int32_t *)0x7ffffff0 = 1;
		break;
	case 's':
		for (;;) {
			sink++;
		}
	case 'r':
		return next(0);
	case 'e':
		return 1;
	case 'c':
		chatter();
		break;
	default:
		ocre_sleep(1000);
		__builtin_trap();
	}
	return 0;
}
