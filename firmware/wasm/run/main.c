// SPDX-License-Identifier: Apache-2.0
/*
 * wasmbed-run: runs a module on the host under a board's limits.
 *
 *   wasmbed-run [-m MEMORY] [-s STACK] [-f FUEL] MODULE [FUNCTION [ARGUMENT...]]
 *
 * MEMORY and STACK are bytes (65536 and 4096 unless given), FUEL is in units
 * (100 million). Without a function, "_initialize" is called if it is exported,
 * then "run". Imported functions are accepted whatever they are: a call of one
 * is printed and returns zeros. Results go to standard output, everything else
 * to standard error. On a machine of 64 bits a call takes 16 bytes of STACK more
 * than on a board. The status is 0 if the function returned, 1 if the module
 * was refused or trapped or ran out of fuel, 2 if the command line is wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../wasm.h"

enum { MAX_FILE = 8 << 20, LOAD_BUFFER = 64 << 20, MAX_SLOTS = 255 };

static int usage(void)
{
	fprintf(stderr, "usage: wasmbed-run [-m MEMORY] [-s STACK] [-f FUEL] MODULE [FUNCTION [ARGUMENT...]]\n");
	return 2;
}

static void *allocate(size_t size)
{
	void *p = malloc(size > 0 ? size : 1);

	if (!p) {
		fprintf(stderr, "wasmbed-run: out of memory\n");
		exit(2);
	}
	return p;
}

static uint8_t *read_file(const char *path, uint32_t *size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes;
	size_t n;

	if (!f) {
		fprintf(stderr, "wasmbed-run: %s: %s\n", path, strerror(errno));
		return NULL;
	}
	bytes = allocate(MAX_FILE + 1);
	n = fread(bytes, 1, MAX_FILE + 1, f);
	fclose(f);
	*size = (uint32_t)n;
	return bytes;
}

/* ------------------------------------------------------------ host functions */

static void print_slots(FILE *to, const char *types, const uint32_t *slots)
{
	for (const char *separator = ""; *types && *types != ':'; types++, separator = ", ") {
		uint64_t wide = slots[0];
		float f;
		double d;

		fputs(separator, to);
		if (*types == 'I' || *types == 'F')
			wide |= (uint64_t)slots[1] << 32;
		memcpy(&f, slots, 4);
		memcpy(&d, &wide, 8);
		if (*types == 'i')
			fprintf(to, "%" PRId32, (int32_t)slots[0]);
		else if (*types == 'I')
			fprintf(to, "%" PRId64, (int64_t)wide);
		else if (*types == 'f')
			fprintf(to, "%.9g", (double)f);
		else if (*types == 'F')
			fprintf(to, "%.17g", d);
		else
			fprintf(to, "ref %" PRIu32, slots[0]);
		slots += *types == 'I' || *types == 'F' ? 2 : 1;
	}
}

static enum wasm_host_result print_call(struct wasm_instance *instance, uint32_t *slots, void *user)
{
	const struct wasm_host_function *f = wasm_calling(instance);

	(void)user;
	fprintf(stderr, "%s.%s(", f->module, f->name);
	print_slots(stderr, f->signature, slots);
	fprintf(stderr, ")\n");
	for (const char *r = strchr(f->signature, ':') + 1; *r; r++) {
		*slots++ = 0;
		if (*r == 'I' || *r == 'F')
			*slots++ = 0;
	}
	return WASM_HOST_OK;
}

static char *copy_text(struct wasm_text t)
{
	char *s = allocate(t.length + 1);

	memcpy(s, t.data, t.length);
	s[t.length] = 0;
	return s;
}

/* A row for every function that the module imports. */
static uint32_t make_host(const struct wasm_module *m, struct wasm_host_function **rows)
{
	struct wasm_module_info info;
	struct wasm_cursor cursor = {0};
	struct wasm_import import;
	uint32_t n = 0;

	wasm_module_info(m, &info);
	*rows = allocate(info.imports * sizeof(**rows));
	while (wasm_next_import(m, &cursor, &import)) {
		uint32_t length = wasm_signature(m, import.index, NULL, 0);
		char *signature = allocate(length + 1);

		if (import.kind != WASM_FUNCTION)
			continue;
		wasm_signature(m, import.index, signature, length + 1);
		(*rows)[n++] = (struct wasm_host_function){copy_text(import.module), copy_text(import.name), signature, 0, print_call};
	}
	return n;
}

/* ------------------------------------------------------------------ running */

static bool parse(const char *text, char type, uint32_t *slots)
{
	char *end;
	uint64_t bits = 0;
	float f;
	double d;

	errno = 0;
	if (type == 'f') {
		f = strtof(text, &end);
		memcpy(&bits, &f, 4);
	} else if (type == 'F') {
		d = strtod(text, &end);
		memcpy(&bits, &d, 8);
	} else if (text[0] == '-') {
		bits = (uint64_t)strtoll(text, &end, 0);
	} else {
		bits = strtoull(text, &end, 0);
	}
	slots[0] = (uint32_t)bits;
	if (type == 'I' || type == 'F')
		slots[1] = (uint32_t)(bits >> 32);
	return *end == 0 && end != text && errno == 0;
}

static int refused(const char *what, const struct wasm_error *e)
{
	fprintf(stderr, "wasmbed-run: %s: %s: %s at byte %" PRIu32, what, wasm_error_text(e->code), e->detail, e->offset);
	if (e->need)
		fprintf(stderr, " (%" PRIu32 " bytes needed)", e->need);
	fprintf(stderr, "\n");
	return 1;
}

/* Runs the call under way; prints a trap. */
static int finish(struct wasm_instance *i, uint32_t fuel)
{
	enum { SLICE = 1 << 20 };
	enum wasm_status s;
	struct wasm_trap trap;

	do {
		uint32_t slice = fuel < SLICE ? fuel : SLICE;

		s = wasm_run(i, slice);
		fuel -= slice;
	} while (s == WASM_OUT_OF_FUEL && fuel > 0);

	if (s == WASM_OUT_OF_FUEL)
		fprintf(stderr, "wasmbed-run: out of fuel\n");
	if (s == WASM_TRAPPED) {
		wasm_get_trap(i, &trap);
		fprintf(stderr, "wasmbed-run: trap: %s in function %" PRIu32 "%s%.*s%s at byte %" PRIu32 "\n", wasm_trap_text(trap.code),
			trap.function, trap.name ? " (" : "", (int)trap.name_length, trap.name ? trap.name : "", trap.name ? ")" : "", trap.offset);
	}
	return s == WASM_DONE ? 0 : 1;
}

static int call(struct wasm_instance *i, const char *name, char **arguments, uint32_t fuel)
{
	const struct wasm_module *m = wasm_module_of(i);
	int32_t f = wasm_find_function(m, name);
	char signature[2 * MAX_SLOTS + 2];
	uint32_t slots[MAX_SLOTS + 1], n = 0;
	const char *t = signature;

	if (f < 0) {
		fprintf(stderr, "wasmbed-run: the module exports no function \"%s\"\n", name);
		return 1;
	}
	wasm_signature(m, (uint32_t)f, signature, sizeof(signature));
	for (; *t != ':'; t++, arguments++) {
		if (!*arguments || !parse(*arguments, *t, slots + n)) {
			fprintf(stderr, "wasmbed-run: \"%s\" has the signature %s\n", name, signature);
			return 2;
		}
		n += *t == 'I' || *t == 'F' ? 2 : 1;
	}
	if (*arguments) {
		fprintf(stderr, "wasmbed-run: too many arguments for %s\n", signature);
		return 2;
	}
	wasm_call(i, (uint32_t)f, slots);
	if (finish(i, fuel))
		return 1;
	print_slots(stdout, t + 1, wasm_results(i));
	if (t[1])
		printf("\n");
	return 0;
}

static int run(const uint8_t *bytes, uint32_t size, struct wasm_config *config, uint32_t fuel, char **command)
{
	const struct wasm_module *m;
	struct wasm_module_info info;
	struct wasm_host_function *rows;
	struct wasm_instance *i;
	struct wasm_error e;
	uint32_t arena;
	int status;

	if (wasm_load(&m, bytes, size, allocate(LOAD_BUFFER), LOAD_BUFFER, &e))
		return refused("refused", &e);
	wasm_module_info(m, &info);
	config->function_count = make_host(m, &rows);
	config->functions = rows;
	arena = wasm_instance_size(m, config);
	if (arena == 0) {
		fprintf(stderr, "wasmbed-run: an instance needs more than 4 GiB\n");
		return 1;
	}
	if (wasm_instantiate(&i, m, config, allocate(arena), arena, &e))
		return refused("cannot start", &e);
	status = info.has_start ? finish(i, fuel) : 0;
	if (status == 0 && *command) {
		status = call(i, command[0], command + 1, fuel);
	} else if (status == 0) {
		if (wasm_find_function(m, "_initialize") >= 0)
			status = call(i, "_initialize", command, fuel);
		if (status == 0)
			status = call(i, "run", command, fuel);
	}
	fprintf(stderr, "fuel %" PRIu64 ", stack %" PRIu32 " of %" PRIu32 ", memory %" PRIu32 " of %" PRIu32 " bytes\n",
		wasm_fuel_used(i), wasm_stack_used(i), config->stack_size, wasm_memory_size(i), config->memory_limit);
	return status;
}

int main(int argc, char **argv)
{
	struct wasm_config config = {.memory_limit = 65536, .stack_size = 4096, .table_limit = 1024, .granted = UINT32_MAX};
	uint32_t fuel = 100000000, size;
	uint8_t *bytes;
	int option;

	while ((option = getopt(argc, argv, "+m:s:f:")) != -1) {
		char *end = NULL;
		unsigned long v = optarg ? strtoul(optarg, &end, 0) : 0;

		if (option == '?' || *end != 0 || v > UINT32_MAX)
			return usage();
		*(option == 'm' ? &config.memory_limit : option == 's' ? &config.stack_size : &fuel) = (uint32_t)v;
	}
	if (optind >= argc)
		return usage();
	bytes = read_file(argv[optind], &size);
	return bytes ? run(bytes, size, &config, fuel, argv + optind + 1) : 2;
}
