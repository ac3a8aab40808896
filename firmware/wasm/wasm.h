// SPDX-License-Identifier: Apache-2.0
/*
 * wasm.h - run WebAssembly modules on a microcontroller
 *
 * The runtime executes a module's own bytes: they are read where they lie
 * (flash or RAM) and never written. It takes memory only from buffers that the
 * caller passes, keeps no global state, and does not recurse. What a module
 * can cost is bounded before it starts: memory in bytes, stack in bytes, and
 * time in fuel.
 *
 *   load         wasm_load         bytes -> module: checked, with its side table
 *   instantiate  wasm_instance_size, wasm_instantiate
 *                                  module + limits + host functions -> instance
 *   call         wasm_call         an exported function with its arguments
 *   run          wasm_run          until done, out of fuel, waiting or trapped
 *
 * LANGUAGE
 * The core specification 1.0 and: sign extension, non-trapping conversions,
 * mutable globals, multi-value, bulk memory, reference types, custom page
 * sizes (1 byte or 64 KiB). Anything else is refused by wasm_load with its
 * name and offset.
 *
 * VALUES
 * A value is one slot of 32 bits (i32, f32, references) or two (i64, f64; the
 * low half first). Floating point values travel as their bit patterns. A null
 * reference is WASM_NULL.
 *
 * LIFETIMES
 * The module's bytes must stay where they are while the module is in use, the
 * module while an instance of it is. Several instances may use one module.
 * There is nothing to free: an instance ends when the caller reuses its arena.
 * Instances share nothing unless one imports from another (WASM_LINK).
 *
 * CONCURRENCY
 * A module is constant after wasm_load. An instance may be used by one thread
 * at a time. A host function must not call wasm_call or wasm_run on the
 * instance that is calling it.
 *
 * FUEL
 * One unit of fuel pays for one byte of code that may be executed: a call
 * costs the length of the callee's body plus one for each of its local slots
 * (a host function: 16), a branch back to a loop's start the bytes that it
 * jumps over, a bulk instruction one for every four bytes or for every table
 * element that it touches. Fuel is counted alike on every machine. A run can
 * overdraw its fuel by one such charge; the debt is taken from the next run.
 */
#ifndef WASM_H
#define WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Build option: 0 leaves floating point out; modules that use it are refused. */
#ifndef WASM_FLOAT
#define WASM_FLOAT 1
#endif

/* The null reference, as the value of a funcref or externref slot. */
#define WASM_NULL 0u

/* ------------------------------------------------------------------ errors */

enum wasm_error_code {
	WASM_OK = 0,
	WASM_E_MALFORMED = -1,   /* the binary format is broken at offset */
	WASM_E_INVALID = -2,     /* the module does not validate at offset */
	WASM_E_UNSUPPORTED = -3, /* detail names a language feature that this runtime refuses */
	WASM_E_LIMIT = -4,       /* detail names a limit of this implementation */
	WASM_E_MEMORY = -5,      /* the buffer is too small; need is the least size known to be needed */
	WASM_E_IMPORT = -6,      /* the import at offset is unknown to the host */
	WASM_E_SIGNATURE = -7,   /* the import at offset has another type than the host's */
	WASM_E_PERMISSION = -8,  /* the import at offset needs a permission that is not granted */
	WASM_E_SEGMENT = -9,     /* the active segment at offset does not fit its memory or table */
	WASM_E_ARGUMENT = -10,   /* the call itself is wrong: no such function, unaligned buffer */
	WASM_E_BUSY = -11,       /* the instance has a call under way, or is trapped */
};

/* Why a call was refused. Filled in by the functions that take one; offset
 * counts bytes from the module's start. detail is a constant string. */
struct wasm_error {
	int code; /* enum wasm_error_code */
	uint32_t offset;
	uint32_t need; /* WASM_E_MEMORY: bytes */
	const char *detail;
};

enum wasm_trap_code {
	WASM_TRAP_NONE,
	WASM_TRAP_UNREACHABLE,   /* unreachable was executed */
	WASM_TRAP_MEMORY,        /* access outside the memory */
	WASM_TRAP_TABLE,         /* access outside a table */
	WASM_TRAP_UNINITIALIZED, /* call through a null element */
	WASM_TRAP_SIGNATURE,     /* call through an element of another type */
	WASM_TRAP_DIVIDE,        /* division by zero */
	WASM_TRAP_OVERFLOW,      /* integer overflow in a division or conversion */
	WASM_TRAP_CONVERSION,    /* NaN converted to an integer */
	WASM_TRAP_STACK,         /* the instance's stack is used up */
	WASM_TRAP_HOST,          /* a host function refused its arguments or failed */
};

/* Where and why an instance stopped for good. */
struct wasm_trap {
	enum wasm_trap_code code;
	uint32_t function; /* index in the module's function space */
	uint32_t offset;   /* of the instruction, from the module's start */
	const char *name;  /* the function's name from the name section, not terminated; NULL if none */
	uint32_t name_length;
};

/* A short constant text for an error code or a trap code. */
const char *wasm_error_text(int code);
const char *wasm_trap_text(enum wasm_trap_code code);

/* ----------------------------------------------------------------- modules */

struct wasm_module;

/*
 * Checks a whole module and builds its side table in buffer, which must be
 * aligned to 8 bytes. Returns WASM_OK and sets *out, or an error code, with
 * the reason in *error.
 *
 * Loading needs more of the buffer than the module keeps: when it is done,
 * wasm_module_size tells how much of the buffer's start is in use, and the
 * rest is free again. WASM_E_MEMORY says how much was needed at the point
 * where the buffer was full, so a caller lends all memory that it has.
 */
int wasm_load(const struct wasm_module **out, const void *bytes, uint32_t size, void *buffer,
	      uint32_t buffer_size, struct wasm_error *error);

/* Figures about a loaded module; all sizes in bytes. */
struct wasm_module_info {
	uint32_t size;       /* of the buffer in use: records and side table */
	uint32_t load_size;  /* of the smallest buffer that wasm_load accepts */
	uint32_t side_table; /* of size: branch table and function records */
	uint32_t code_size;  /* of the code section's contents */
	uint32_t functions, imports, exports; /* counts; functions includes imported ones */
	bool has_memory, memory_has_max;
	uint32_t page_size;              /* 1 or 65536 */
	uint32_t memory_min, memory_max; /* in pages */
	bool has_start;
};

void wasm_module_info(const struct wasm_module *module, struct wasm_module_info *info);

/* Bytes of the load buffer that the module keeps. */
uint32_t wasm_module_size(const struct wasm_module *module);

enum wasm_kind { WASM_FUNCTION, WASM_TABLE, WASM_MEMORY, WASM_GLOBAL };

/* A name or a type inside the module's bytes: not terminated by a zero. */
struct wasm_text {
	const char *data;
	uint32_t length;
};

struct wasm_import {
	struct wasm_text module, name;
	enum wasm_kind kind;
	uint32_t index;  /* in the function, table, memory or global space */
	uint32_t offset; /* in the module */
};

struct wasm_export {
	struct wasm_text name;
	enum wasm_kind kind;
	uint32_t index;
};

/* A walk's place; zero it to begin. The fields are private. */
struct wasm_cursor {
	uint32_t offset, done, counts[4];
};

/* The next import or export. False at the end. */
bool wasm_next_import(const struct wasm_module *module, struct wasm_cursor *cursor, struct wasm_import *out);
bool wasm_next_export(const struct wasm_module *module, struct wasm_cursor *cursor, struct wasm_export *out);

/* Finds an exported function by name; its index, or -1. */
int32_t wasm_find_function(const struct wasm_module *module, const char *name);

/*
 * Writes a function's signature as text, for example "iI:f": i is i32, I i64,
 * f f32, F f64, r funcref, e externref; parameters, colon, results. Always
 * terminated when size > 0; returns the length that the whole text has.
 */
uint32_t wasm_signature(const struct wasm_module *module, uint32_t function, char *text, uint32_t size);

/* A function's name from the name section; data is NULL if it has none. */
struct wasm_text wasm_function_name(const struct wasm_module *module, uint32_t function);

/* -------------------------------------------------------------- host functions */

struct wasm_instance;

/* What a host function returns. */
enum wasm_host_result {
	WASM_HOST_OK,
	WASM_HOST_WAIT, /* suspend the instance until wasm_wake gives the results */
	WASM_HOST_TRAP, /* end the instance with WASM_TRAP_HOST */
};

/*
 * A host function. slots holds the arguments in order and receives the results
 * from slots[0] on. Everything in it comes from the app: check it. user is the
 * pointer of struct wasm_config.
 */
typedef enum wasm_host_result (*wasm_host_fn)(struct wasm_instance *instance, uint32_t *slots,
					      void *user);

/* Inside a host function: the row of the table that is being called. */
const struct wasm_host_function *wasm_calling(const struct wasm_instance *instance);

/* One row of the table of host functions; constant, so it can stay in flash. */
struct wasm_host_function {
	const char *module, *name;
	const char *signature; /* as wasm_signature writes it */
	uint32_t permission;   /* bits of which all must be granted; 0: free for all */
	wasm_host_fn call;
};

/* Makes the exports of another instance importable under a module name. */
struct wasm_link {
	const char *module;
	struct wasm_instance *instance;
};

struct wasm_config {
	const struct wasm_host_function *functions;
	uint32_t function_count;
	uint32_t granted; /* permission bits */
	void *user;

	/*
	 * Bytes of linear memory. An instance starts with what its module
	 * declares, at most this much, even when a page is larger, and grows to
	 * no more than this. Access beyond it traps.
	 */
	uint32_t memory_limit;
	uint32_t stack_size;    /* bytes for values and calls of the app */
	uint32_t table_limit;   /* elements that each table may grow by beyond its declared minimum */

	/*
	 * Other instances to import from, searched after the host functions.
	 * References may then lead from one to another, so all instances that
	 * are linked must have been made with links to one another, and none
	 * may end before the others.
	 */
	const struct wasm_link *links;
	uint32_t link_count;
};

/* --------------------------------------------------------------- instances */

/* Bytes of arena that wasm_instantiate takes with this configuration; 0 if
 * they exceed 32 bits. */
uint32_t wasm_instance_size(const struct wasm_module *module, const struct wasm_config *config);

/*
 * Makes an instance in arena, which must be aligned to 8 bytes: binds imports,
 * initialises globals, tables and memory. If the module has a start function,
 * the instance returns with a call of it under way: finish it with wasm_run.
 * When a segment does not fit, *out is set all the same: if the instance has
 * written to the table of another one, its arena must stay.
 */
int wasm_instantiate(struct wasm_instance **out, const struct wasm_module *module,
		     const struct wasm_config *config, void *arena, uint32_t arena_size,
		     struct wasm_error *error);

enum wasm_status {
	WASM_DONE,        /* no call is under way; wasm_results has the last one's results */
	WASM_OUT_OF_FUEL, /* call wasm_run again to go on */
	WASM_WAITING,     /* a host function waits for wasm_wake */
	WASM_TRAPPED,     /* ended for good; wasm_get_trap says why */
};

/* Begins a call of a function by index with its arguments' slots. */
int wasm_call(struct wasm_instance *instance, uint32_t function, const uint32_t *arguments);

/* Runs the call under way for at most this much fuel (see FUEL). */
enum wasm_status wasm_run(struct wasm_instance *instance, uint32_t fuel);

/* The state without running. */
enum wasm_status wasm_status(const struct wasm_instance *instance);

/* Result slots of the finished call, valid until the next wasm_call. */
const uint32_t *wasm_results(const struct wasm_instance *instance);

/* Ends the wait of WASM_HOST_WAIT: results are the host function's result
 * slots. WASM_E_BUSY if the instance does not wait. */
int wasm_wake(struct wasm_instance *instance, const uint32_t *results);

/* Drops the call under way, so that another can begin; memory stays. Also
 * makes a trapped instance callable again. */
void wasm_abandon(struct wasm_instance *instance);

/* Describes the trap of a trapped instance. */
void wasm_get_trap(const struct wasm_instance *instance, struct wasm_trap *trap);

/* Fuel spent since the instance was made. */
uint64_t wasm_fuel_used(const struct wasm_instance *instance);

/* Most bytes of stack_size that were ever in use: the stack is painted when the
 * instance is made. */
uint32_t wasm_stack_used(const struct wasm_instance *instance);

/* The bytes [address, address + length) of linear memory; NULL if they are not
 * all inside. Valid until the instance runs again. */
void *wasm_memory_at(struct wasm_instance *instance, uint32_t address, uint32_t length);

/* Bytes of linear memory now. */
uint32_t wasm_memory_size(const struct wasm_instance *instance);

/* Two slots of an exported or internal global by index; NULL if there is none. */
const uint32_t *wasm_global(const struct wasm_instance *instance, uint32_t index);

/* The module that the instance runs, and the configuration's user pointer. */
const struct wasm_module *wasm_module_of(const struct wasm_instance *instance);
void *wasm_user(const struct wasm_instance *instance);

#endif
