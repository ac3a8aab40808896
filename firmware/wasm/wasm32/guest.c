// SPDX-License-Identifier: Apache-2.0
/*
 * The runtime as a WebAssembly module itself, for devices/wasmcheck: the
 * public functions of wasm.h are its exports, and every host function leads to
 * the one import. The Go side reads and writes the structures of wasm.h in
 * linear memory; the assertions here pin the layouts that it relies on.
 */
#include "../wasm.h"

/* Calls row of the instance's table of host functions; an enum wasm_host_result. */
__attribute__((import_module("wasmbed"), import_name("call"))) uint32_t
guest_host_call(struct wasm_instance *instance, const struct wasm_host_function *row, uint32_t *slots);

static enum wasm_host_result forward(struct wasm_instance *instance, uint32_t *slots, void *user)
{
	(void)user;
	return (enum wasm_host_result)guest_host_call(instance, wasm_calling(instance), slots);
}

/* Makes an instance's memory zero; the Go side knows what is already. */
__attribute__((import_module("wasmbed"), import_name("zero"))) void guest_host_zero(void *at, uint32_t length);
void guest_zero(void *at, uint32_t length) { guest_host_zero(at, length); }

/* What the Go side puts into struct wasm_host_function.call. */
__attribute__((export_name("guest_forward"))) wasm_host_fn guest_forward(void) { return forward; }

/* The end of the runtime's own data and stack. */
extern uint8_t __heap_base;
__attribute__((export_name("guest_heap"))) uint8_t *guest_heap(void) { return &__heap_base; }

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n > 0; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

#define LAYOUT(type, size) _Static_assert(sizeof(struct type) == (size), #type)
#define FIELD(type, field, at) _Static_assert(offsetof(struct type, field) == (at), #type "." #field)
LAYOUT(wasm_error, 16);
FIELD(wasm_error, detail, 12);
LAYOUT(wasm_module_info, 48);
FIELD(wasm_module_info, has_memory, 28);
FIELD(wasm_module_info, page_size, 32);
FIELD(wasm_module_info, memory_max, 40);
FIELD(wasm_module_info, has_start, 44);
LAYOUT(wasm_cursor, 24);
LAYOUT(wasm_import, 28);
LAYOUT(wasm_export, 16);
LAYOUT(wasm_host_function, 20);
LAYOUT(wasm_config, 36);
FIELD(wasm_config, memory_limit, 16);
LAYOUT(wasm_trap, 20);
