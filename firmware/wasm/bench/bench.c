// SPDX-License-Identifier: Apache-2.0
/*
 * Counts instructions of kernels, natively and in the interpreter, with the
 * modules in flash. The list of kernels comes from the Makefile: KERNELS is
 * X(name) for each.
 */
#include "../board/board.h"
#include "../wasm.h"
#include "kernels.h"

enum { INSTRUCTIONS_PER_TICK = 40, STACK = 4096 };

struct kernel {
	const char *name;
	int (*native)(void);
	const uint8_t *module, *end;
};

#define DECLARE(name) \
	int name##_native(void); \
	extern const uint8_t name##_wasm[], name##_wasm_end[];
KERNELS(DECLARE)
#define ROW(name) {#name, name##_native, name##_wasm, name##_wasm_end},
static const struct kernel kernels[] = {KERNELS(ROW)};

extern const uint8_t all_wasm[], all_wasm_end[], runtime_wasm[], runtime_wasm_end[];

static uint64_t buffer[32768], arena[32768];

static void column(uint32_t value, uint32_t width)
{
	uint32_t digits = 1;

	for (uint32_t v = value; v >= 10; v /= 10)
		digits++;
	while (width-- > digits)
		board_print(" ");
	board_print_number(value);
}

static int measure(const struct kernel *k)
{
	const struct wasm_module *m;
	struct wasm_module_info info;
	struct wasm_config config = {.memory_limit = 128 * 1024, .stack_size = STACK};
	struct wasm_instance *i;
	struct wasm_error e;
	uint32_t native, load, init, run, size = (uint32_t)(k->end - k->module);
	int expected, got;

	native = board_ticks();
	expected = k->native();
	native = board_ticks() - native;

	load = board_ticks();
	if (wasm_load(&m, k->module, size, buffer, sizeof(buffer), &e) != WASM_OK)
		goto failed;
	load = board_ticks() - load;
	wasm_module_info(m, &info);
	init = board_ticks();
	if (wasm_instantiate(&i, m, &config, arena, sizeof(arena), &e) != WASM_OK)
		goto failed;
	init = board_ticks() - init;
	run = board_ticks();
	wasm_call(i, (uint32_t)wasm_find_function(m, "run"), NULL);
	while (wasm_run(i, 1000000) == WASM_OUT_OF_FUEL)
		;
	run = board_ticks() - run;
	if (wasm_status(i) != WASM_DONE) {
		struct wasm_trap trap;

		wasm_get_trap(i, &trap);
		board_print_number(trap.offset);
		board_print(" ");
		e.detail = wasm_trap_text(trap.code);
		goto failed;
	}
	got = (int)wasm_results(i)[0];

	board_print(k->name);
	for (uint32_t n = 0; k->name[n] || n < 10; n++)
		if (n >= 10 || !k->name[n])
			board_print(" ");
	column(native * INSTRUCTIONS_PER_TICK, 10);
	column(run * INSTRUCTIONS_PER_TICK, 11);
	column((uint32_t)((uint64_t)run * 100 / native), 8);
	column(size, 7);
	column(load * INSTRUCTIONS_PER_TICK, 9);
	column(info.code_size, 7);
	column(info.side_table, 7);
	column(info.size, 7);
	column(info.load_size, 7);
	column(wasm_instance_size(m, &config) - config.memory_limit * info.has_memory - STACK, 7);
	column(wasm_stack_used(i), 7);
	column((uint32_t)wasm_fuel_used(i), 10);
	board_print(got == expected ? "\n" : " WRONG RESULT\n");
	return got != expected;

failed:
	board_print(k->name);
	board_print(": ");
	board_print(e.detail);
	board_print("\n");
	return 1;
}

static int measure_load(const char *name, const uint8_t *module, const uint8_t *end)
{
	const struct wasm_module *m;
	struct wasm_module_info info;
	struct wasm_error e;
	uint32_t load = board_ticks();

	if (wasm_load(&m, module, (uint32_t)(end - module), buffer, sizeof(buffer), &e) != WASM_OK) {
		board_print(e.detail);
		return 1;
	}
	load = board_ticks() - load;
	wasm_module_info(m, &info);
	board_print(name);
	column((uint32_t)(end - module), 10);
	column(load * INSTRUCTIONS_PER_TICK, 10);
	column(info.code_size, 8);
	column(info.side_table, 8);
	column(info.size, 8);
	column(info.load_size, 8);
	board_print("\n");
	return 0;
}

static void print_stack(const char *what)
{
	board_print(what);
	column(board_stack_used(), 6);
	board_print(" bytes of C stack\n");
}

int main(void)
{
	int failed = 0;

	board_print("kernel        native       wasm  ratio%   size     load   code   side module  peak  fixed  stack      fuel\n");
	board_mark_stack();
	for (unsigned k = 0; k < sizeof(kernels) / sizeof(kernels[0]); k++)
		failed |= measure(&kernels[k]);
	print_stack("load, instantiate and run:");
	board_print("load only      size      load    code    side  module    peak\n");
	failed |= measure_load("kernels", all_wasm, all_wasm_end);
	failed |= measure_load("runtime", runtime_wasm, runtime_wasm_end);
	board_mark_stack();
	failed |= measure_load("runtime", runtime_wasm, runtime_wasm_end);
	print_stack("load:");
	return failed;
}
