// SPDX-License-Identifier: Apache-2.0
/*
 * Instances: linking, initialisation, bulk operations, and everything of an
 * instance's life except executing its code.
 */
#include "wasm_internal.h"

/* --------------------------------------------------------------- the arena */

/* Offsets of an instance's parts in its arena. */
struct layout {
	uint64_t globals, cells, tables, table_records, items, bindings, dropped, stack, memory, size;
};

static uint64_t place(uint64_t *at, uint64_t size)
{
	uint64_t here = *at;

	*at = (here + size + 7) & ~UINT64_C(7);
	return here;
}

static uint32_t table_capacity(const struct wasm_table_info *t, const struct wasm_config *config)
{
	uint64_t most = (uint64_t)t->min + config->table_limit;

	return (uint32_t)(most < t->max ? most : t->max);
}

/* Bytes that the memory may have in the end. */
static uint32_t memory_capacity(const struct wasm_memory_info *m, const struct wasm_config *config)
{
	uint64_t most = (uint64_t)m->max << m->page_shift;

	return (uint32_t)(most < config->memory_limit ? most : config->memory_limit);
}

static struct layout lay_out(const struct wasm_module *m, const struct wasm_config *config)
{
	struct layout l = {0};
	uint64_t at = 0, items = 0;

	for (uint32_t i = 0; i < m->ntables; i++)
		if (!m->tables[i].imported)
			items += table_capacity(&m->tables[i], config);
	place(&at, sizeof(struct wasm_instance));
	l.globals = place(&at, m->nglobals * sizeof(uint32_t *));
	l.cells = place(&at, m->nglobals * UINT64_C(8));
	l.tables = place(&at, m->ntables * sizeof(struct wasm_table *));
	l.table_records = place(&at, m->ntables * sizeof(struct wasm_table));
	l.bindings = place(&at, m->nimports * sizeof(struct wasm_binding));
	l.dropped = place(&at, (m->nelems + m->ndatas + 7) / 8);
	l.items = place(&at, items * 4);
	l.stack = place(&at, config->stack_size);
	l.memory = place(&at, m->memory.present && !m->memory.imported ? memory_capacity(&m->memory, config) : 0);
	l.size = at;
	return l;
}

uint32_t wasm_instance_size(const struct wasm_module *m, const struct wasm_config *config)
{
	struct layout l = lay_out(m, config);

	return l.size <= UINT32_MAX ? (uint32_t)l.size : 0;
}

/* ------------------------------------------------------------------ linking */

struct linker {
	struct wasm_instance *i;
	const struct wasm_config *config;
	struct wasm_error *error;
};

static int refuse(struct linker *l, const struct wasm_import *import, int code, const char *detail)
{
	l->error->code = code;
	l->error->offset = import->offset;
	l->error->detail = detail;
	return code;
}

static bool text_is(struct wasm_text t, const char *s)
{
	uint32_t k = 0;

	while (k < t.length && s[k] && s[k] == t.data[k])
		k++;
	return k == t.length && s[k] == 0;
}

static bool signature_is(const struct wasm_module *m, uint32_t function, const char *text)
{
	char own[2 * LIMIT_SLOTS + 2];
	uint32_t length = wasm_signature(m, function, own, sizeof(own));
	struct wasm_text t = {own, length};

	return text_is(t, text);
}

/* Binds a function to the host's table; false if the host has no such name. */
static bool bind_host(struct linker *l, const struct wasm_import *import, int *result)
{
	for (uint32_t k = 0; k < l->config->function_count; k++) {
		const struct wasm_host_function *h = &l->config->functions[k];

		if (!text_is(import->name, h->name) || !text_is(import->module, h->module))
			continue;
		if (import->kind != WASM_FUNCTION || !signature_is(l->i->m, import->index, h->signature))
			*result = refuse(l, import, WASM_E_SIGNATURE, "the host function has another signature");
		else if (h->permission & ~l->config->granted)
			*result = refuse(l, import, WASM_E_PERMISSION, "the host function's permission is not granted");
		else
			l->i->bindings[import->index].host = h;
		return true;
	}
	return false;
}

static bool find_export(const struct wasm_instance *from, struct wasm_text name, struct wasm_export *out)
{
	struct wasm_cursor cursor = {0};

	while (wasm_next_export(from->m, &cursor, out))
		if (out->name.length == name.length && __builtin_memcmp(out->name.data, name.data, name.length) == 0)
			return true;
	return false;
}

static bool link_function(struct wasm_instance *i, uint32_t index, struct wasm_instance *from, uint32_t function)
{
	const struct wasm_func *f = &from->m->funcs[function];

	if (!wasm_same_type(i->m, i->m->funcs[index].type & FUNC_TYPE, from->m, f->type & FUNC_TYPE))
		return false;
	/* A function that the other instance imports itself: bind to its origin. */
	if (f->code == NULL)
		i->bindings[index] = from->bindings[function];
	else
		i->bindings[index] = (struct wasm_binding){NULL, from, function};
	return true;
}

static bool link_table(struct wasm_instance *i, uint32_t index, struct wasm_instance *from, uint32_t other)
{
	const struct wasm_table_info *want = &i->m->tables[index], *have = &from->m->tables[other];
	struct wasm_table *t = from->tables[other];

	i->tables[index] = t;
	return want->type == have->type && t->size >= want->min && t->declared_max <= want->max;
}

static bool link_memory(struct wasm_instance *i, struct wasm_instance *from)
{
	const struct wasm_memory_info *want = &i->m->memory;
	struct wasm_memory *have = from->memory;

	i->memory = have;
	return have->page_shift == want->page_shift && have->pages >= want->min &&
	       (!want->has_max || (have->has_max && have->max_pages <= want->max));
}

static bool link_global(struct wasm_instance *i, uint32_t index, struct wasm_instance *from, uint32_t other)
{
	const struct wasm_global_info *want = &i->m->globals[index], *have = &from->m->globals[other];

	i->globals[index] = from->globals[other];
	return want->type == have->type && want->mutable_ == have->mutable_;
}

static int bind_link(struct linker *l, const struct wasm_import *import)
{
	struct wasm_export e;
	bool same = false;

	for (uint32_t k = 0; k < l->config->link_count; k++) {
		struct wasm_instance *from = l->config->links[k].instance;

		if (!text_is(import->module, l->config->links[k].module) || !find_export(from, import->name, &e))
			continue;
		if (e.kind != import->kind)
			same = false;
		else if (e.kind == WASM_FUNCTION)
			same = link_function(l->i, import->index, from, e.index);
		else if (e.kind == WASM_TABLE)
			same = link_table(l->i, import->index, from, e.index);
		else if (e.kind == WASM_MEMORY)
			same = link_memory(l->i, from);
		else
			same = link_global(l->i, import->index, from, e.index);
		return same ? WASM_OK : refuse(l, import, WASM_E_SIGNATURE, "incompatible import type");
	}
	return refuse(l, import, WASM_E_IMPORT, "unknown import");
}

static int bind_imports(struct linker *l)
{
	struct wasm_cursor cursor = {0};
	struct wasm_import import;

	while (wasm_next_import(l->i->m, &cursor, &import)) {
		int result = WASM_OK;

		if (!bind_host(l, &import, &result))
			result = bind_link(l, &import);
		if (result != WASM_OK)
			return result;
	}
	return WASM_OK;
}

/* Gives the instance its number among those that it is linked with. */
static int join(struct linker *l)
{
	struct wasm_instance *root = l->i, *last;

	if (l->config->link_count > 0)
		root = l->config->links[0].instance->group;
	for (uint32_t k = 1; k < l->config->link_count; k++)
		if (l->config->links[k].instance->group != root) {
			l->error->code = WASM_E_ARGUMENT;
			l->error->detail = "the linked instances do not belong together";
			return WASM_E_ARGUMENT;
		}
	if (root != l->i && root->members > 255) {
		l->error->code = WASM_E_LIMIT;
		l->error->detail = "more than 256 linked instances";
		return WASM_E_LIMIT;
	}
	l->i->group = root;
	if (root == l->i) {
		root->members = 1;
		return WASM_OK;
	}
	for (last = root; last->next; last = last->next)
		;
	last->next = l->i;
	l->i->number = root->members++;
	return WASM_OK;
}

struct wasm_instance *wasm_ref_instance(struct wasm_instance *i, uint32_t ref)
{
	struct wasm_instance *k = i->group;

	while (k->number != ref >> REF_SHIFT)
		k = k->next;
	return k;
}

/* ----------------------------------------------------------- initialisation */

/* The value of a checked constant expression, leaving *p after it. */
static uint64_t constant(struct wasm_instance *i, const uint8_t **p)
{
	uint64_t value = 0;
	uint32_t k;

	switch (*(*p)++) {
	case 0x41: value = (uint32_t)leb_s64(p); break;
	case 0x42: value = (uint64_t)leb_s64(p); break;
	case 0x43:
		__builtin_memcpy(&k, *p, 4);
		value = k;
		*p += 4;
		break;
	case 0x44:
		__builtin_memcpy(&value, *p, 8);
		*p += 8;
		break;
	case 0x23:
		k = leb_u32(p);
		value = slots_of(i->m->globals[k].type) == 2 ? load64(i->globals[k]) : *i->globals[k];
		break;
	case 0xd2: value = wasm_ref(i, leb_u32(p)); break;
	default: ++*p; /* ref.null */
	}
	++*p; /* end */
	return value;
}

static void init_globals(struct wasm_instance *i, uint32_t *cells)
{
	for (uint32_t k = 0; k < i->m->nglobals; k++, cells += 2) {
		const uint8_t *p = i->m->bytes + i->m->globals[k].offset;

		if (i->m->globals[k].imported)
			continue;
		store64(cells, constant(i, &p));
		i->globals[k] = cells;
	}
}

static void init_memory(struct wasm_instance *i, const struct wasm_config *config, uint8_t *data)
{
	const struct wasm_memory_info *info = &i->m->memory;
	struct wasm_memory *m = &i->own_memory;
	uint64_t size = (uint64_t)info->min << info->page_shift;

	i->memory = m;
	if (!info->present || info->imported)
		return;
	m->data = data;
	m->limit = memory_capacity(info, config);
	m->size = (uint32_t)(size < m->limit ? size : m->limit);
	m->pages = info->min;
	m->max_pages = info->max;
	m->has_max = info->has_max;
	m->page_shift = info->page_shift;
	WASM_ZERO(data, m->limit);
}

static void init_tables(struct wasm_instance *i, const struct wasm_config *config, struct wasm_table *records, uint32_t *items)
{
	for (uint32_t k = 0; k < i->m->ntables; k++) {
		const struct wasm_table_info *info = &i->m->tables[k];
		struct wasm_table *t = &records[k];

		if (info->imported)
			continue;
		*t = (struct wasm_table){items, info->min, table_capacity(info, config), info->max};
		__builtin_memset(items, 0, t->max * sizeof(*items));
		items += t->max;
		i->tables[k] = t;
	}
}

void wasm_drop_segment(struct wasm_instance *i, uint32_t bit) { i->dropped[bit / 8] |= (uint8_t)(1u << bit % 8); }

static bool is_dropped(const struct wasm_instance *i, uint32_t bit) { return i->dropped[bit / 8] >> bit % 8 & 1; }

static int segment_error(struct linker *l, uint32_t offset, const char *detail)
{
	l->error->code = WASM_E_SEGMENT;
	l->error->offset = offset;
	l->error->detail = detail;
	return WASM_E_SEGMENT;
}

/* Where an active segment goes; its offset expression follows the flags and index. */
static uint32_t segment_target(struct wasm_instance *i, uint32_t offset)
{
	const uint8_t *p = i->m->bytes + offset;
	uint32_t flags = leb_u32(&p);

	if (flags & 2)
		leb_u32(&p);
	return (uint32_t)constant(i, &p);
}

static int init_segments(struct linker *l)
{
	struct wasm_instance *i = l->i;
	const struct wasm_module *m = i->m;

	for (uint32_t k = 0; k < m->nelems; k++) {
		const struct wasm_elem *e = &m->elems[k];

		if (e->mode == SEGMENT_ACTIVE &&
		    wasm_table_init(i, e->table, k, segment_target(i, e->offset), 0, e->count))
			return segment_error(l, e->offset, "elements segment does not fit");
		if (e->mode != SEGMENT_PASSIVE)
			wasm_drop_segment(i, k);
	}
	for (uint32_t k = 0; k < m->ndatas; k++) {
		const struct wasm_data *d = &m->datas[k];

		if (d->mode != SEGMENT_ACTIVE)
			continue;
		if (wasm_memory_init(i, k, segment_target(i, d->offset), 0, d->count))
			return segment_error(l, d->offset, "data segment does not fit the memory");
		wasm_drop_segment(i, m->nelems + k);
	}
	return WASM_OK;
}

static void init_stack(struct wasm_execution *x, uint8_t *stack, uint32_t size)
{
	x->stack = (uint32_t *)(void *)stack;
	x->stack_end = x->stack + size / 4;
	x->begin = UINT32_MAX;
	for (uint32_t *p = x->stack; p < x->stack_end; p++)
		*p = STACK_PAINT;
}

int wasm_instantiate(struct wasm_instance **out, const struct wasm_module *m, const struct wasm_config *config,
		     void *arena, uint32_t arena_size, struct wasm_error *error)
{
	struct layout at = lay_out(m, config);
	struct linker l = {arena, config, error};
	struct wasm_instance *i = arena;
	uint8_t *base = arena;
	int result;

	*out = NULL;
	*error = (struct wasm_error){.detail = ""};
	if ((uintptr_t)arena % 8 != 0) {
		error->detail = "the arena is not aligned to 8 bytes";
		return error->code = WASM_E_ARGUMENT;
	}
	if (at.size > arena_size) {
		error->detail = "the arena is too small";
		error->need = at.size < UINT32_MAX ? (uint32_t)at.size : UINT32_MAX;
		return error->code = WASM_E_MEMORY;
	}
	__builtin_memset(base, 0, (size_t)at.items);
	i->m = m;
	i->user = config->user;
	i->globals = (uint32_t **)(void *)(base + at.globals);
	i->tables = (struct wasm_table **)(void *)(base + at.tables);
	i->bindings = (struct wasm_binding *)(void *)(base + at.bindings);
	i->dropped = base + at.dropped;
	init_memory(i, config, base + at.memory);
	result = bind_imports(&l);
	if (result == WASM_OK)
		result = join(&l);
	if (result != WASM_OK)
		return result;
	init_globals(i, (uint32_t *)(void *)(base + at.cells));
	init_tables(i, config, (struct wasm_table *)(void *)(base + at.table_records), (uint32_t *)(void *)(base + at.items));
	init_stack(&i->x, base + at.stack, config->stack_size);
	*out = i;
	result = init_segments(&l);
	if (result == WASM_OK && m->start != UINT32_MAX)
		wasm_call(i, m->start, NULL);
	return result;
}

/* ---------------------------------------------------------- bulk operations */

static bool fits(uint32_t at, uint32_t n, uint32_t size) { return n <= size && at <= size - n; }

int wasm_memory_init(struct wasm_instance *i, uint32_t segment, uint32_t to, uint32_t from, uint32_t n)
{
	const struct wasm_data *d = &i->m->datas[segment];
	uint32_t size = is_dropped(i, i->m->nelems + segment) ? 0 : d->count;

	if (!fits(from, n, size) || !fits(to, n, i->memory->size))
		return WASM_TRAP_MEMORY;
	if (n > 0)
		__builtin_memcpy(i->memory->data + to, i->m->bytes + d->bytes + from, n);
	return WASM_TRAP_NONE;
}

int wasm_table_init(struct wasm_instance *i, uint32_t table, uint32_t segment, uint32_t to, uint32_t from, uint32_t n)
{
	const struct wasm_elem *e = &i->m->elems[segment];
	struct wasm_table *t = i->tables[table];
	const uint8_t *p = i->m->bytes + e->items;
	uint32_t size = is_dropped(i, segment) ? 0 : e->count;

	if (!fits(from, n, size) || !fits(to, n, t->size))
		return WASM_TRAP_TABLE;
	for (uint32_t k = 0; k < from + n; k++) {
		uint32_t ref = e->expressions ? (uint32_t)constant(i, &p) : wasm_ref(i, leb_u32(&p));

		if (k >= from)
			t->items[to + k - from] = ref;
	}
	return WASM_TRAP_NONE;
}

int wasm_table_copy(struct wasm_instance *i, uint32_t table, uint32_t source, uint32_t to, uint32_t from, uint32_t n)
{
	struct wasm_table *t = i->tables[table], *s = i->tables[source];

	if (!fits(from, n, s->size) || !fits(to, n, t->size))
		return WASM_TRAP_TABLE;
	if (n > 0)
		__builtin_memmove(t->items + to, s->items + from, n * sizeof(*t->items));
	return WASM_TRAP_NONE;
}

int wasm_table_fill(struct wasm_instance *i, uint32_t table, uint32_t to, uint32_t value, uint32_t n)
{
	struct wasm_table *t = i->tables[table];

	if (!fits(to, n, t->size))
		return WASM_TRAP_TABLE;
	while (n-- > 0)
		t->items[to++] = value;
	return WASM_TRAP_NONE;
}

uint32_t wasm_table_grow(struct wasm_instance *i, uint32_t table, uint32_t value, uint32_t n)
{
	struct wasm_table *t = i->tables[table];
	uint32_t old = t->size;

	if (n > t->max - old)
		return UINT32_MAX;
	t->size += n;
	wasm_table_fill(i, table, old, value, n);
	return old;
}

uint32_t wasm_memory_grow(struct wasm_memory *m, uint32_t pages)
{
	uint32_t old = m->pages;
	uint64_t size = ((uint64_t)old + pages) << m->page_shift;

	if (pages == 0)
		return old;
	if (size > m->limit || (uint64_t)old + pages > m->max_pages)
		return UINT32_MAX;
	m->pages = old + pages;
	m->size = (uint32_t)size;
	return old;
}

/* ------------------------------------------------------------ calls and state */

int wasm_call(struct wasm_instance *i, uint32_t function, const uint32_t *arguments)
{
	struct wasm_execution *x = &i->x;
	const struct wasm_func *f;

	if (x->status != WASM_DONE)
		return WASM_E_BUSY;
	if (function >= i->m->nfuncs)
		return WASM_E_ARGUMENT;
	f = &i->m->funcs[function];
	x->instance = i;
	x->func = NULL;
	x->ip = NULL;
	x->depth = 0;
	x->locals = x->stack;
	x->begin = function;
	x->sp = x->stack + f->params;
	if (x->sp > x->stack_end || x->stack + f->results > x->stack_end) {
		x->status = WASM_TRAPPED;
		x->trap = WASM_TRAP_STACK;
		return WASM_OK;
	}
	if (f->params > 0)
		__builtin_memcpy(x->stack, arguments, f->params * sizeof(*arguments));
	x->status = WASM_OUT_OF_FUEL;
	return WASM_OK;
}

enum wasm_status wasm_status(const struct wasm_instance *i) { return (enum wasm_status)i->x.status; }

const uint32_t *wasm_results(const struct wasm_instance *i) { return i->x.stack; }

int wasm_wake(struct wasm_instance *i, const uint32_t *results)
{
	struct wasm_execution *x = &i->x;

	if (x->status != WASM_WAITING)
		return WASM_E_BUSY;
	if (x->wait_slots > 0)
		__builtin_memcpy(x->wait, results, x->wait_slots * sizeof(*results));
	x->status = WASM_OUT_OF_FUEL;
	return WASM_OK;
}

void wasm_abandon(struct wasm_instance *i)
{
	i->x.status = WASM_DONE;
	i->x.begin = UINT32_MAX;
	i->x.debt = 0;
}

void wasm_get_trap(const struct wasm_instance *i, struct wasm_trap *trap)
{
	const struct wasm_execution *x = &i->x;
	const struct wasm_module *m = x->instance ? x->instance->m : i->m;
	struct wasm_text name;

	*trap = (struct wasm_trap){.code = (enum wasm_trap_code)x->trap};
	if (x->status != WASM_TRAPPED)
		return;
	trap->function = x->func ? (uint32_t)(x->func - m->funcs) : x->begin;
	if (x->func)
		trap->offset = (uint32_t)(wasm_instruction_at(x->func->code, x->ip) - m->bytes);
	name = wasm_function_name(m, trap->function);
	trap->name = name.data;
	trap->name_length = name.length;
}

const struct wasm_host_function *wasm_calling(const struct wasm_instance *i) { return i->x.calling; }

uint64_t wasm_fuel_used(const struct wasm_instance *i) { return i->x.used; }

uint32_t wasm_stack_used(const struct wasm_instance *i)
{
	const uint32_t *p = i->x.stack_end;

	while (p > i->x.stack && p[-1] == STACK_PAINT)
		p--;
	return (uint32_t)(p - i->x.stack) * 4;
}

void *wasm_memory_at(struct wasm_instance *i, uint32_t address, uint32_t length)
{
	if (!fits(address, length, i->memory->size))
		return NULL;
	return i->memory->data + address;
}

uint32_t wasm_memory_size(const struct wasm_instance *i) { return i->memory->size; }

const uint32_t *wasm_global(const struct wasm_instance *i, uint32_t index)
{
	return index < i->m->nglobals ? i->globals[index] : NULL;
}

const struct wasm_module *wasm_module_of(const struct wasm_instance *i) { return i->m; }

void *wasm_user(const struct wasm_instance *i) { return i->user; }

/* -------------------------------------------------------------------- texts */

const char *wasm_error_text(int code)
{
	static const char *const texts[] = {
		"ok", "malformed module", "invalid module", "unsupported", "limit exceeded", "not enough memory",
		"unknown import", "import type mismatch", "permission not granted", "segment out of bounds",
		"bad argument", "busy",
	};

	return code <= 0 && code >= WASM_E_BUSY ? texts[-code] : "unknown error";
}

const char *wasm_trap_text(enum wasm_trap_code code)
{
	static const char *const texts[] = {
		"no trap", "unreachable", "out of bounds memory access", "out of bounds table access",
		"uninitialized element", "indirect call type mismatch", "integer divide by zero", "integer overflow",
		"invalid conversion to integer", "call stack exhausted", "host function failed",
	};

	return code <= WASM_TRAP_HOST ? texts[code] : "unknown trap";
}
