// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer target: loads arbitrary bytes; what loads is instantiated with
 * small limits and every exported function is called with little fuel.
 */
#include <stdlib.h>
#include <string.h>

#include "../wasm.h"

enum { BUFFER = 256 << 10, MEMORY = 70000, STACK = 4096, FUEL = 20000, CALLS = 16 };

static enum wasm_host_result host(struct wasm_instance *i, uint32_t *slots, void *user)
{
	(void)i;
	(void)user;
	slots[0] = slots[0] * 3 + 1;
	return slots[0] % 7 == 0 ? WASM_HOST_WAIT : WASM_HOST_OK;
}

static const struct wasm_host_function functions[] = {
	{"env", "f", "i:i", 0, host}, {"env", "g", "iI:f", 0, host}, {"timer", "sleep", "i:i", 0, host}};

static void finish(struct wasm_instance *i)
{
	static const uint32_t zeros[256];
	struct wasm_trap trap;

	for (int slices = 0; slices < 20; slices++) {
		enum wasm_status s = wasm_run(i, FUEL / 20);

		if (s == WASM_WAITING)
			wasm_wake(i, zeros);
		else if (s != WASM_OUT_OF_FUEL)
			break;
	}
	if (wasm_status(i) == WASM_TRAPPED) {
		wasm_get_trap(i, &trap);
		if (trap.offset >= (1u << 23))
			abort();
	}
	wasm_abandon(i);
}

static void run(const struct wasm_module *m)
{
	static const uint32_t arguments[256] = {1, 2, 0xffffffff, 0x80000000, 100};
	struct wasm_config config = {.functions = functions, .function_count = 3, .memory_limit = MEMORY, .stack_size = STACK, .table_limit = 16};
	uint32_t size = wasm_instance_size(m, &config);
	struct wasm_cursor cursor = {0};
	struct wasm_export e;
	struct wasm_error error;
	struct wasm_instance *i;
	char signature[64];
	void *arena;

	if (size == 0 || size > 1 << 20)
		return;
	arena = malloc(size);
	if (wasm_instantiate(&i, m, &config, arena, size, &error) == WASM_OK) {
		finish(i);
		for (int n = 0; n < CALLS && wasm_next_export(m, &cursor, &e); n++) {
			if (e.kind != WASM_FUNCTION)
				continue;
			wasm_signature(m, e.index, signature, sizeof(signature));
			if (wasm_call(i, e.index, arguments) == WASM_OK)
				finish(i);
		}
		wasm_stack_used(i);
	}
	free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wasm_module *m;
	struct wasm_error error;
	uint8_t *bytes = malloc(size ? size : 1), *buffer;
	uint32_t buffer_size = BUFFER;

	/* The module in a block of its own, so that reading beyond it is seen. */
	memcpy(bytes, data, size);
	if (size > 8 && data[size - 1] == 0xff)
		buffer_size = 256 + 8 * (data[size - 2]); /* and small buffers, too */
	buffer = malloc(buffer_size);
	if (wasm_load(&m, bytes, (uint32_t)size, buffer, buffer_size, &error) == WASM_OK)
		run(m);
	else if (error.offset > size || !error.detail)
		abort();
	free(buffer);
	free(bytes);
	return 0;
}
