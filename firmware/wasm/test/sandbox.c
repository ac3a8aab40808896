// SPDX-License-Identifier: Apache-2.0
/*
 * The sandbox, on the host and on boards: apps that loop, recurse, grow and
 * reach beyond their memory for ever, beside one that does its work.
 */
#include "sandbox.h"

#include "../wasm.h"
#include "apps.h"
#include "runner.h"

enum { SLICE = 1000, MEMORY = 3000, STACK = 2048 };

static uint64_t module_space[512], worker_space[512], arenas[2][2048], worker_arena[1024];
static int failures;

static void print(const char *text)
{
	uint32_t n = 0;

	while (text[n])
		n++;
	runner_print(text, n);
}

static void check(bool ok, const char *what)
{
	print(ok ? "ok: " : "FAILED: ");
	print(what);
	print("\n");
	failures += !ok;
}

static bool name_is(struct wasm_trap trap, const char *name)
{
	uint32_t n = 0;

	while (name[n])
		n++;
	return trap.name_length == n && __builtin_memcmp(trap.name, name, n) == 0;
}

/* ------------------------------------------------------------ host functions */

static enum wasm_host_result host_sleep(struct wasm_instance *i, uint32_t *slots, void *user)
{
	uint32_t *slept = user;

	(void)i;
	*slept += slots[0];
	return WASM_HOST_WAIT;
}

static enum wasm_host_result host_never(struct wasm_instance *i, uint32_t *slots, void *user)
{
	(void)i;
	(void)slots;
	(void)user;
	check(false, "a forbidden function was called");
	return WASM_HOST_TRAP;
}

enum { PERMISSION_GPIO = 1, PERMISSION_TIMER = 2 };
static const struct wasm_host_function host[] = {
	{"timer", "sleep", "i:i", PERMISSION_TIMER, host_sleep},
	{"gpio", "set", "ii:", PERMISSION_GPIO, host_never},
};
static const struct wasm_config config = {
	.functions = host, .function_count = 2, .granted = PERMISSION_TIMER, .memory_limit = MEMORY, .stack_size = STACK};

static struct wasm_instance *make(const struct wasm_module *m, const struct wasm_config *c, void *arena, uint32_t size)
{
	struct wasm_instance *i;
	struct wasm_error e;

	if (wasm_instantiate(&i, m, c, arena, size, &e) != WASM_OK) {
		check(false, e.detail);
		return NULL;
	}
	return i;
}

static void call(struct wasm_instance *i, const char *name, uint32_t argument)
{
	wasm_call(i, (uint32_t)wasm_find_function(wasm_module_of(i), name), &argument);
}

/* -------------------------------------------------------------------- tests */

/* An app that never ends and one that works take turns, as in an agent's loop. */
static void test_runaway_beside_worker(const struct wasm_module *bad, const struct wasm_module *good)
{
	uint32_t slept = 0, turns = 0, woken = 100;
	struct wasm_config with_user = config;
	struct wasm_instance *a = make(bad, &config, arenas[0], sizeof(arenas[0])), *b;

	with_user.user = &slept;
	b = make(good, &with_user, worker_arena, sizeof(worker_arena));
	if (!a || !b)
		return;
	call(a, "loop", 0);
	call(b, "run", 3);
	while (turns < 100 && wasm_status(b) != WASM_DONE) {
		turns++;
		if (wasm_run(a, SLICE) != WASM_OUT_OF_FUEL)
			break;
		if (wasm_run(b, SLICE) == WASM_WAITING && turns % 3 == 0) {
			wasm_wake(b, &woken);
			woken += 100;
		}
	}
	check(wasm_status(a) == WASM_OUT_OF_FUEL, "a loop without end only runs out of fuel");
	check(wasm_fuel_used(a) >= (uint64_t)turns * SLICE && wasm_fuel_used(a) <= (uint64_t)turns * SLICE + 10,
	      "it gets its slice of fuel and no more");
	check(wasm_status(b) == WASM_DONE && wasm_results(b)[0] == 600 && slept == 6, "the app beside it did its work");
	wasm_abandon(a);
	call(a, "state", 0);
	check(wasm_run(a, SLICE) == WASM_DONE && wasm_results(a)[0] == 5, "abandoned, the runaway can be called again");
}

static void test_recursion(const struct wasm_module *bad)
{
	struct wasm_instance *a = make(bad, &config, arenas[0], sizeof(arenas[0]));
	struct wasm_trap trap;

	call(a, "recurse", 0);
	while (wasm_run(a, SLICE) == WASM_OUT_OF_FUEL)
		;
	wasm_get_trap(a, &trap);
	check(wasm_status(a) == WASM_TRAPPED && trap.code == WASM_TRAP_STACK, "a recursion without end uses up its own stack");
	check(trap.function == 1 && name_is(trap, "recurse"), "the trap names the function");
	check(wasm_stack_used(a) > STACK - 64 && wasm_stack_used(a) <= STACK, "the stack in use is measured");
}

static void test_memory(const struct wasm_module *bad)
{
	struct wasm_config wide = config;
	struct wasm_instance *a = make(bad, &config, arenas[0], sizeof(arenas[0]));
	uint32_t *guard = (uint32_t *)(void *)((uint8_t *)arenas[0] + wasm_instance_size(bad, &config));
	struct wasm_trap trap;
	static const struct { uint32_t address; bool ok; } pokes[] = {
		{0, true}, {MEMORY - 4, true}, {MEMORY - 3, false}, {MEMORY, false}, {65532, false}, {0xfffffffc, false}, {0xffffffff, false}};

	*guard = 0x12345678;
	for (unsigned k = 0; k < sizeof(pokes) / sizeof(pokes[0]); k++) {
		wasm_abandon(a);
		call(a, "poke", pokes[k].address);
		wasm_run(a, SLICE);
		wasm_get_trap(a, &trap);
		check(pokes[k].ok ? wasm_status(a) == WASM_DONE : wasm_status(a) == WASM_TRAPPED && trap.code == WASM_TRAP_MEMORY,
		      pokes[k].ok ? "a store inside the limit" : "a store beyond the limit traps");
	}
	check(*guard == 0x12345678, "nothing behind the arena was touched");
	check(wasm_memory_size(a) == MEMORY, "the memory has the limit's size in bytes");
	wasm_abandon(a);
	call(a, "grow", 0);
	while (wasm_run(a, SLICE) == WASM_OUT_OF_FUEL)
		;
	check(wasm_status(a) == WASM_DONE && wasm_results(a)[0] == 0, "growing beyond the limit is refused");
	wide.memory_limit = UINT32_MAX;
	check(wasm_instance_size(bad, &wide) == 0, "the size of an arena that cannot be is 0");
}

/* Two instances of one module share nothing, and a new one starts fresh. */
static void test_instances(const struct wasm_module *bad)
{
	struct wasm_instance *a = make(bad, &config, arenas[0], sizeof(arenas[0])), *b = make(bad, &config, arenas[1], sizeof(arenas[1]));

	call(a, "fill", 0);
	wasm_run(a, SLICE);
	check(wasm_status(a) == WASM_DONE && wasm_results(a)[0] == 0xaaaaaaaa, "one instance writes its memory");
	call(b, "state", 0);
	wasm_run(b, SLICE);
	check(wasm_results(b)[0] == 5, "the other one's is as it was");
	a = make(bad, &config, arenas[0], sizeof(arenas[0]));
	call(a, "state", 0);
	wasm_run(a, SLICE);
	check(wasm_results(a)[0] == 5 && wasm_fuel_used(a) < 100, "made anew, nothing is left behind");
}

static void test_forbidden(void)
{
	const struct wasm_module *m;
	struct wasm_instance *i;
	struct wasm_error e;

	if (wasm_load(&m, forbidden_wasm, (uint32_t)(forbidden_wasm_end - forbidden_wasm), worker_space, sizeof(worker_space), &e)) {
		check(false, e.detail);
		return;
	}
	check(wasm_instantiate(&i, m, &config, worker_arena, sizeof(worker_arena), &e) == WASM_E_PERMISSION && i == NULL,
	      "an import without permission is refused before anything runs");
}

int sandbox_run(void)
{
	const struct wasm_module *bad, *good;
	struct wasm_error e;

	if (wasm_load(&bad, misbehave_wasm, (uint32_t)(misbehave_wasm_end - misbehave_wasm), module_space, sizeof(module_space), &e) ||
	    wasm_load(&good, worker_wasm, (uint32_t)(worker_wasm_end - worker_wasm), worker_space, sizeof(worker_space), &e)) {
		check(false, e.detail);
		return 1;
	}
	test_runaway_beside_worker(bad, good);
	test_recursion(bad);
	test_memory(bad);
	test_instances(bad);
	test_forbidden();
	return failures != 0;
}
