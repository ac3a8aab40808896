// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a packed test suite (../spectest) through the public interface only. Works
 * without an operating system: the caller gives the blob, one block of memory
 * and a way to print.
 *
 * Every call runs in slices of little fuel, so that the suite also tests that
 * execution stops and goes on anywhere.
 */
#include "runner.h"

#include "../wasm.h"

enum { MAX_SLOTS = 512, MAX_NAMES = 32, FUEL = 211, PAGES_TO_GROW = 12, MANY_PAGES = 832,
       STACK_SIZE = 48 * 1024, TABLE_LIMIT = 1024 };
enum { KIND32, KIND64, CANONICAL32, ARITHMETIC32, CANONICAL64, ARITHMETIC64, ANY_REF };

struct run {
	const uint8_t *p;
	uint8_t *memory, *free, *end;
	uint8_t *reusable; /* start of the last instance, if nothing can refer to it */
	struct wasm_instance *slots[MAX_SLOTS];
	struct wasm_link links[MAX_NAMES];
	uint32_t nlinks;
	const uint8_t *spectest;
	uint32_t spectest_size;
	const char *file;
	uint32_t file_length, line;
	uint32_t passed, failed;
	uint32_t load_tested;
};

static uint32_t u32(struct run *r)
{
	uint32_t v = (uint32_t)r->p[0] | (uint32_t)r->p[1] << 8 | (uint32_t)r->p[2] << 16 | (uint32_t)r->p[3] << 24;

	r->p += 4;
	return v;
}

static const uint8_t *bytes(struct run *r, uint32_t *n)
{
	const uint8_t *p;

	*n = u32(r);
	p = r->p;
	r->p += *n;
	return p;
}

static void print_number(uint32_t v, unsigned base)
{
	char digits[12];
	int i = 11;

	digits[i] = 0;
	do
		digits[--i] = "0123456789abcdef"[v % base];
	while ((v /= base) > 0);
	runner_print(digits + i, (uint32_t)(11 - i));
}

static void print(const char *s)
{
	uint32_t n = 0;

	while (s[n])
		n++;
	runner_print(s, n);
}

static void fail(struct run *r, const char *why, const char *detail)
{
	r->failed++;
	runner_print(r->file, r->file_length);
	print(":");
	print_number(r->line, 10);
	print(": ");
	print(why);
	print(" ");
	print(detail);
	print("\n");
}

static void check(struct run *r, bool ok, const char *why, const char *detail)
{
	if (ok)
		r->passed++;
	else
		fail(r, why, detail);
}

/* ---------------------------------------------------------------- instances */

static int load(struct run *r, const uint8_t *p, uint32_t n, const struct wasm_module **m, struct wasm_error *e)
{
	struct wasm_module_info info;
	int result = wasm_load(m, p, n, r->free, (uint32_t)(r->end - r->free), e);

	if (result != WASM_OK)
		return result;
	/* The size that the module says it needs is enough, and not a byte more than that. */
	wasm_module_info(*m, &info);
	if (wasm_load(m, p, n, r->free, info.load_size - 8, e) != WASM_E_MEMORY)
		fail(r, "a smaller load buffer was accepted", "");
	result = wasm_load(m, p, n, r->free, info.load_size, e);
	if (result != WASM_OK)
		fail(r, "the load buffer that the module asks for is refused", "");
	r->free += wasm_module_size(*m);
	return result;
}

/* linked: others may import from the instance, or it from others. */
static int instantiate(struct run *r, const struct wasm_module *m, bool linked, uint32_t pages,
		       struct wasm_instance **i, struct wasm_error *e)
{
	struct wasm_module_info info;
	struct wasm_config config = {.stack_size = STACK_SIZE, .table_limit = TABLE_LIMIT};
	uint64_t limit;
	uint32_t size;
	int result;

	wasm_module_info(m, &info);
	limit = (uint64_t)info.memory_min * info.page_size;
	if (limit > 1u << 20)
		limit = 1u << 20;
	config.memory_limit = (uint32_t)limit + pages * 65536;
	if (linked || info.imports > 0) {
		config.links = r->links;
		config.link_count = r->nlinks;
	}
	size = wasm_instance_size(m, &config);
	if (size == 0 || size > (uint32_t)(r->end - r->free)) {
		fail(r, "out of memory for an instance", "");
		return WASM_E_MEMORY;
	}
	result = wasm_instantiate(i, m, &config, r->free, size, e);
	if (result == WASM_OK || *i != NULL)
		r->free += size;
	return result;
}

static enum wasm_status run_slices(struct wasm_instance *i)
{
	enum wasm_status s;

	do
		s = wasm_run(i, FUEL);
	while (s == WASM_OUT_OF_FUEL);
	return s;
}

static void begin_file(struct run *r)
{
	const struct wasm_module *m;
	struct wasm_instance *i;
	struct wasm_error e;

	r->file = (const char *)bytes(r, &r->file_length);
	r->free = r->memory;
	r->reusable = NULL;
	r->nlinks = 0;
	for (int k = 0; k < MAX_SLOTS; k++)
		r->slots[k] = NULL;
	if (load(r, r->spectest, r->spectest_size, &m, &e) || instantiate(r, m, false, PAGES_TO_GROW, &i, &e)) {
		fail(r, "spectest:", e.detail);
		return;
	}
	r->links[r->nlinks++] = (struct wasm_link){"spectest", i};
}

static void do_module(struct run *r)
{
	uint32_t slot = u32(r), flags = u32(r), n;
	uint32_t pages = flags & 2 && (uint32_t)(r->end - r->memory) > MANY_PAGES << 16 ? MANY_PAGES : PAGES_TO_GROW;
	const uint8_t *p = bytes(r, &n);
	const struct wasm_module *m;
	struct wasm_module_info info;
	struct wasm_error e;
	uint8_t *start;

	if (r->reusable)
		r->free = r->reusable;
	start = r->free;
	r->reusable = NULL;
	if (load(r, p, n, &m, &e) || instantiate(r, m, flags & 1, pages, &r->slots[slot], &e)) {
		fail(r, "module refused:", e.detail);
		print_number(e.offset, 16);
		print("\n");
		return;
	}
	check(r, run_slices(r->slots[slot]) == WASM_DONE, "start function", "trapped");
	wasm_module_info(m, &info);
	if (info.imports == 0 && !(flags & 1))
		r->reusable = start;
}

static void do_register(struct run *r)
{
	static char names[MAX_NAMES][32];
	uint32_t slot = u32(r), n;
	const uint8_t *p = bytes(r, &n);

	r->reusable = NULL;
	if (r->nlinks >= MAX_NAMES || n > 31 || !r->slots[slot]) {
		fail(r, "cannot register", "");
		return;
	}
	__builtin_memcpy(names[r->nlinks], p, n);
	names[r->nlinks][n] = 0;
	r->links[r->nlinks] = (struct wasm_link){names[r->nlinks], r->slots[slot]};
	r->nlinks++;
}

/* -------------------------------------------------------------------- calls */

static bool nan32(uint32_t v, bool canonical)
{
	return canonical ? (v & 0x7fffffff) == 0x7fc00000 : (v & 0x7fc00000) == 0x7fc00000;
}

static bool nan64(uint32_t low, uint32_t high, bool canonical)
{
	return canonical ? low == 0 && (high & 0x7fffffff) == 0x7ff80000 : (high & 0x7ff80000) == 0x7ff80000;
}

static void compare(struct run *r, const uint32_t *got)
{
	uint32_t n = u32(r);
	bool same = got != NULL;

	while (n-- > 0) {
		uint32_t kind = u32(r), low = u32(r), high = u32(r);
		bool wide = kind == KIND64 || kind == CANONICAL64 || kind == ARITHMETIC64;

		if (!got)
			continue;
		if (kind == KIND32)
			same &= got[0] == low;
		else if (kind == KIND64)
			same &= got[0] == low && got[1] == high;
		else if (kind == CANONICAL32 || kind == ARITHMETIC32)
			same &= nan32(got[0], kind == CANONICAL32);
		else if (wide)
			same &= nan64(got[0], got[1], kind == CANONICAL64);
		else
			same &= got[0] != WASM_NULL;
		got += wide ? 2 : 1;
	}
	check(r, same, "wrong result", "");
}

static struct wasm_instance *find(struct run *r, enum wasm_kind kind, uint32_t *index)
{
	uint32_t slot = u32(r), n;
	const uint8_t *field = bytes(r, &n);
	struct wasm_cursor cursor = {0};
	struct wasm_export e;

	if (slot >= MAX_SLOTS || !r->slots[slot])
		return NULL;
	while (wasm_next_export(wasm_module_of(r->slots[slot]), &cursor, &e))
		if (e.kind == kind && e.name.length == n && __builtin_memcmp(e.name.data, field, n) == 0) {
			*index = e.index;
			return r->slots[slot];
		}
	return NULL;
}

static struct wasm_instance *call(struct run *r)
{
	uint32_t index = 0, n, args[260];
	struct wasm_instance *i = find(r, WASM_FUNCTION, &index);

	n = u32(r);
	for (uint32_t k = 0; k < n; k++)
		args[k] = u32(r);
	if (!i)
		return NULL;
	if (wasm_call(i, index, args) != WASM_OK)
		return NULL;
	run_slices(i);
	return i;
}

static void do_return(struct run *r)
{
	struct wasm_instance *i = call(r);
	struct wasm_trap trap = {0};

	if (i && wasm_status(i) == WASM_DONE) {
		compare(r, wasm_results(i));
		return;
	}
	compare(r, NULL);
	if (i) {
		wasm_get_trap(i, &trap);
		wasm_abandon(i);
	}
	fail(r, "trapped or not callable:", wasm_trap_text(trap.code));
}

static void check_trap(struct run *r, struct wasm_instance *i, uint32_t want)
{
	struct wasm_trap trap;

	if (wasm_status(i) != WASM_TRAPPED) {
		fail(r, "did not trap", "");
		return;
	}
	wasm_get_trap(i, &trap);
	check(r, trap.code == want, "trapped otherwise:", wasm_trap_text(trap.code));
	wasm_abandon(i);
}

static void do_trap(struct run *r)
{
	struct wasm_instance *i = call(r);
	uint32_t want = u32(r);

	if (i)
		check_trap(r, i, want);
	else
		fail(r, "not callable", "");
}

static void do_global(struct run *r)
{
	uint32_t index = 0;
	struct wasm_instance *i = find(r, WASM_GLOBAL, &index);

	compare(r, i ? wasm_global(i, index) : NULL);
}

/* ----------------------------------------------------------------- refusals */

static void do_refused(struct run *r, bool malformed)
{
	uint32_t n;
	const uint8_t *p = bytes(r, &n);
	const struct wasm_module *m;
	struct wasm_error e;
	int got = wasm_load(&m, p, n, r->free, (uint32_t)(r->end - r->free), &e);

	/* Some malformed modules would be well-formed with a later proposal. */
	check(r, got == WASM_E_MALFORMED || got == WASM_E_INVALID || (malformed && got == WASM_E_UNSUPPORTED),
	      malformed ? "malformed module:" : "invalid module:", got ? e.detail : "accepted");
}

static void do_unlinkable(struct run *r)
{
	uint32_t n;
	const uint8_t *p = bytes(r, &n);
	const struct wasm_module *m;
	struct wasm_instance *i;
	struct wasm_error e;
	int got = load(r, p, n, &m, &e);

	if (got == WASM_OK)
		got = instantiate(r, m, false, PAGES_TO_GROW, &i, &e);
	check(r, got == WASM_E_IMPORT || got == WASM_E_SIGNATURE || got == WASM_E_SEGMENT, "unlinkable module:",
	      got ? e.detail : "linked");
}

static void do_uninstantiable(struct run *r)
{
	uint32_t n, want;
	const uint8_t *p = bytes(r, &n);
	const struct wasm_module *m;
	struct wasm_instance *i;
	struct wasm_error e;
	int got = load(r, p, n, &m, &e);

	want = u32(r);
	r->reusable = NULL;
	if (got == WASM_OK)
		got = instantiate(r, m, false, PAGES_TO_GROW, &i, &e);
	if (got == WASM_E_SEGMENT) {
		check(r, want == WASM_TRAP_MEMORY || want == WASM_TRAP_TABLE, "uninstantiable module:", e.detail);
	} else if (got == WASM_OK) {
		run_slices(i);
		check_trap(r, i, want);
	} else {
		fail(r, "uninstantiable module refused:", e.detail);
	}
}

int runner_run(const uint8_t *blob, void *memory, uint32_t size)
{
	static struct run run;
	struct run *r = &run;

	*r = (struct run){.p = blob, .memory = memory, .end = (uint8_t *)memory + size};
	for (;;) {
		uint8_t kind = *r->p++;

		r->line = u32(r);
		if (kind == 'E')
			break;
		switch (kind) {
		case 'S': r->spectest = bytes(r, &r->spectest_size); break;
		case 'F': begin_file(r); break;
		case 'M': do_module(r); break;
		case 'R': do_register(r); break;
		case 'A': do_return(r); break;
		case 'T': do_trap(r); break;
		case 'G': do_global(r); break;
		case 'I': do_refused(r, false); break;
		case 'O': do_refused(r, true); break;
		case 'L': do_unlinkable(r); break;
		case 'U': do_uninstantiable(r); break;
		default: fail(r, "broken blob", ""); return 1;
		}
	}
	print("spec: passed ");
	print_number(r->passed, 10);
	print(", failed ");
	print_number(r->failed, 10);
	print("\n");
	return r->failed != 0 || r->passed == 0;
}
