// SPDX-License-Identifier: Apache-2.0
/*
 * Loading: reads the sections of a module, checks everything but the function
 * bodies, and fills in the module's records. The bodies are in wasm_validate.c.
 */
#include "wasm_internal.h"

/* ------------------------------------------------------------------ reading */

void wasm_fail_at(struct reader *r, const uint8_t *at, int code, const char *detail)
{
	if (failed(r))
		return;
	r->error->code = code;
	r->error->offset = (uint32_t)(at - r->base);
	r->error->detail = detail;
	r->p = r->end;
}

void wasm_fail(struct reader *r, int code, const char *detail)
{
	wasm_fail_at(r, r->p, code, detail);
}

uint8_t wasm_read_u8(struct reader *r)
{
	if (r->p >= r->end) {
		wasm_fail(r, WASM_E_MALFORMED, "unexpected end");
		return 0;
	}
	return *r->p++;
}

/* Any LEB128 number of at most bits bits, sign-extended if is_signed. */
static uint64_t read_leb(struct reader *r, unsigned bits, bool is_signed)
{
	const uint8_t *start = r->p;
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = wasm_read_u8(r);
		if (failed(r))
			return 0;
		value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
		if (shift >= bits && (byte & 0x80)) {
			wasm_fail_at(r, start, WASM_E_MALFORMED, "integer representation too long");
			return 0;
		}
	} while (byte & 0x80);

	if (shift > bits) {
		/* The last byte carries 7 - (shift - bits) bits; the others repeat the sign. */
		unsigned kept = 7 - (shift - bits);
		uint8_t rest = (uint8_t)((byte & 0x7f) >> (is_signed ? kept - 1 : kept));
		uint8_t ones = (uint8_t)(0x7f >> (is_signed ? kept - 1 : kept));

		if (rest != 0 && !(is_signed && rest == ones)) {
			wasm_fail_at(r, start, WASM_E_MALFORMED, "integer too large");
			return 0;
		}
	}
	if (is_signed && shift < 64 && (byte & 0x40))
		value |= ~UINT64_C(0) << shift;
	return value;
}

/* The five bytes that linkers write, in 32-bit arithmetic; false if it is another form. */
static bool read_padded(struct reader *r, bool is_signed, uint32_t *value)
{
	const uint8_t *p = r->p;

	if (r->end - p < 5 || !(p[0] & p[1] & p[2] & p[3] & 0x80))
		return false;
	if (p[4] > (is_signed ? 0x07 : 0x0f) && !(is_signed && p[4] >= 0x78 && p[4] < 0x80))
		return false;
	*value = (p[0] & 0x7f) | (uint32_t)(p[1] & 0x7f) << 7 | (uint32_t)(p[2] & 0x7f) << 14 |
		 (uint32_t)(p[3] & 0x7f) << 21 | (uint32_t)p[4] << 28;
	r->p = p + 5;
	return true;
}

uint32_t wasm_read_u32(struct reader *r)
{
	uint32_t value;

	if (r->p < r->end && *r->p < 0x80)
		return *r->p++;
	return read_padded(r, false, &value) ? value : (uint32_t)read_leb(r, 32, false);
}

int32_t wasm_read_s32(struct reader *r)
{
	uint32_t value;

	if (r->p < r->end && *r->p < 0x80)
		return (int32_t)((uint32_t)*r->p++ << 25) >> 25;
	return (int32_t)(read_padded(r, true, &value) ? value : (uint32_t)read_leb(r, 32, true));
}

int64_t wasm_read_s64(struct reader *r, unsigned bits) { return (int64_t)read_leb(r, bits, true); }

/* Length of the UTF-8 sequence at p, 0 if it is not one. */
static unsigned utf8_length(const uint8_t *p, uint32_t left)
{
	uint8_t c = p[0];
	unsigned n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (n > left)
		return 0;
	for (unsigned i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
	    (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

struct wasm_text wasm_read_name(struct reader *r)
{
	struct wasm_text name = {NULL, 0};
	uint32_t length = wasm_read_u32(r);

	if (failed(r))
		return name;
	if (length > (uint32_t)(r->end - r->p)) {
		wasm_fail(r, WASM_E_MALFORMED, "length out of bounds");
		return name;
	}
	for (uint32_t i = 0; i < length;) {
		unsigned n = utf8_length(r->p + i, length - i);

		if (n == 0) {
			wasm_fail(r, WASM_E_MALFORMED, "malformed UTF-8 encoding");
			return name;
		}
		i += n;
	}
	name.data = (const char *)r->p;
	name.length = length;
	r->p += length;
	return name;
}

uint8_t wasm_read_valtype(struct reader *r)
{
	const uint8_t *at = r->p;
	uint8_t type = wasm_read_u8(r);

	if (failed(r))
		return 0;
	if (type == 0x7b)
		wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "SIMD (v128)");
	else if (!WASM_FLOAT && (type == T_F32 || type == T_F64))
		wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "floating point (not built in)");
	else if (!(type >= T_F64 && type <= T_I32) && type != T_FUNCREF && type != T_EXTERNREF)
		wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed value type");
	return type;
}

static uint8_t read_reftype(struct reader *r)
{
	const uint8_t *at = r->p;
	uint8_t type = wasm_read_u8(r);

	if (!failed(r) && type != T_FUNCREF && type != T_EXTERNREF)
		wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed reference type");
	return type;
}

/* ------------------------------------------------------------------- memory */

void *wasm_take(struct loader *l, uint32_t size)
{
	uint8_t *p = l->bottom;

	size = (size + 7) & ~7u;
	if (size > (uint32_t)(l->top - l->bottom)) {
		l->r.error->need = (uint32_t)(l->bottom - l->buffer) + size;
		wasm_fail(&l->r, WASM_E_MEMORY, "the load buffer is too small");
		return NULL;
	}
	l->bottom += size;
	__builtin_memset(p, 0, size);
	if ((uint32_t)(l->top - l->bottom) < l->least)
		l->least = (uint32_t)(l->top - l->bottom);
	return p;
}

/* An array of a vector's elements. Every element takes at least one byte of
 * the module, so a count beyond the section's end is refused before allocating. */
static void *take_vector(struct loader *l, uint32_t count, uint32_t element)
{
	if (failed(&l->r) || count == 0)
		return NULL;
	return wasm_take(l, count * element);
}

static uint32_t read_count(struct reader *r)
{
	const uint8_t *at = r->p;
	uint32_t count = wasm_read_u32(r);

	if (!failed(r) && count > (uint32_t)(r->end - r->p)) {
		wasm_fail_at(r, at, WASM_E_MALFORMED, "length out of bounds");
		return 0;
	}
	return count;
}

/* ----------------------------------------------------------------- sections */

/* Counts work that grows with the square of the module's size. */
static void note_compared(struct loader *l, uint32_t bytes)
{
	l->compared += bytes;
	if (l->compared > LIMIT_COMPARED)
		wasm_fail(&l->r, WASM_E_LIMIT, "too many similar types or export names");
}

/* Finds the first type with the structure of type i. */
static void find_canonical(struct loader *l, uint32_t i)
{
	struct wasm_type *types = l->m->types, *t = &types[i];

	t->canonical = (uint16_t)i;
	for (uint32_t k = 0; k < i && !failed(&l->r); k++) {
		if (types[k].params != t->params || types[k].results != t->results || types[k].canonical != k)
			continue;
		note_compared(l, t->params + t->results);
		if (wasm_same_type(l->m, k, l->m, i)) {
			t->canonical = (uint16_t)k;
			return;
		}
	}
}

static void read_types(struct loader *l)
{
	struct reader *r = &l->r;
	struct wasm_module *m = l->m;
	uint32_t count = read_count(r);

	if (count > LIMIT_TYPES)
		wasm_fail(r, WASM_E_LIMIT, "more than 1024 types");
	m->types = take_vector(l, count, sizeof(*m->types));
	for (uint32_t i = 0; i < count && !failed(r); i++) {
		struct wasm_type *t = &m->types[i];
		const uint8_t *at = r->p;

		if (wasm_read_u8(r) != 0x60) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "not a function type");
			return;
		}
		t->offset = (uint32_t)(r->p - r->base);
		for (int part = 0; part < 2; part++) {
			uint32_t n = read_count(r), slots = 0;

			for (uint32_t k = 0; k < n && !failed(r); k++)
				slots += slots_of(wasm_read_valtype(r));
			if (slots > LIMIT_SLOTS) {
				wasm_fail_at(r, at, WASM_E_LIMIT, "more than 255 slots of parameters or results");
				return;
			}
			if (part == 0)
				t->params = (uint8_t)slots;
			else
				t->results = (uint8_t)slots;
		}
		if (failed(r))
			return;
		m->ntypes = i + 1;
		find_canonical(l, i);
	}
}

static uint32_t read_type_index(struct loader *l)
{
	const uint8_t *at = l->r.p;
	uint32_t type = wasm_read_u32(&l->r);

	if (!failed(&l->r) && type >= l->m->ntypes) {
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "unknown type");
		return 0;
	}
	return type;
}

/* Limits with their flag byte. allowed has the flag bits that the caller knows. */
static uint8_t read_limits(struct reader *r, uint8_t allowed, uint32_t *min, uint32_t *max)
{
	const uint8_t *at = r->p;
	uint8_t flags = wasm_read_u8(r);

	if (failed(r))
		return 0;
	if (flags & 2 && flags < 16)
		wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "threads (shared memory)");
	else if (flags & 4 && flags < 16)
		wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "memory64");
	else if (flags & ~allowed)
		wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed limits flags");
	*min = wasm_read_u32(r);
	*max = flags & 1 ? wasm_read_u32(r) : UINT32_MAX;
	if (!failed(r) && *max < *min)
		wasm_fail_at(r, at, WASM_E_INVALID, "size minimum must not be greater than maximum");
	return flags;
}

static void read_table_type(struct reader *r, struct wasm_table_info *t)
{
	t->type = read_reftype(r);
	read_limits(r, 1, &t->min, &t->max);
}

static void read_memory_type(struct reader *r, struct wasm_memory_info *m)
{
	const uint8_t *at = r->p;
	uint8_t flags = read_limits(r, 1 | 8, &m->min, &m->max);
	uint64_t limit;

	m->present = 1;
	m->has_max = flags & 1;
	m->page_shift = 16;
	if (flags & 8) {
		uint32_t shift = wasm_read_u32(r);

		if (failed(r))
			return;
		if (shift != 0 && shift != 16) {
			wasm_fail_at(r, at, WASM_E_INVALID, "invalid custom page size");
			return;
		}
		m->page_shift = (uint8_t)shift;
	}
	limit = UINT64_C(0x100000000) >> m->page_shift;
	if (!failed(r) && (m->min > limit || (m->has_max && m->max > limit)))
		wasm_fail_at(r, at, WASM_E_INVALID, "memory size must be at most 4 GiB");
	if (!m->has_max)
		m->max = m->page_shift ? 65536 : UINT32_MAX;
}

static void read_global_type(struct reader *r, struct wasm_global_info *g)
{
	const uint8_t *at;

	g->type = wasm_read_valtype(r);
	at = r->p;
	g->mutable_ = wasm_read_u8(r);
	if (!failed(r) && g->mutable_ > 1)
		wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed mutability");
}

/* Reads over one import's names and returns its kind, with the cursor at its type. */
static uint8_t read_import_head(struct reader *r)
{
	const uint8_t *at;
	uint8_t kind;

	wasm_read_name(r);
	wasm_read_name(r);
	at = r->p;
	kind = wasm_read_u8(r);
	if (!failed(r) && kind == 4)
		wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "exceptions (tag import)");
	else if (!failed(r) && kind > 4)
		wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed import kind");
	return kind;
}

/* Counts imports by kind, so that the records can be allocated at once. */
static void count_imports(struct reader r, uint32_t counts[4])
{
	uint32_t n = read_count(&r);

	for (uint32_t i = 0; i < n && !failed(&r); i++) {
		uint8_t kind = read_import_head(&r);
		struct wasm_table_info table;
		struct wasm_memory_info memory;
		struct wasm_global_info global;

		if (failed(&r))
			return;
		counts[kind]++;
		if (kind == WASM_FUNCTION)
			wasm_read_u32(&r);
		else if (kind == WASM_TABLE)
			read_table_type(&r, &table);
		else if (kind == WASM_MEMORY)
			read_memory_type(&r, &memory);
		else
			read_global_type(&r, &global);
	}
}

static void import_function(struct loader *l, uint32_t offset)
{
	struct wasm_module *m = l->m;
	uint32_t type = read_type_index(l);
	struct wasm_func *f = &m->funcs[m->nfuncs];

	if (failed(&l->r))
		return;
	f->type = (uint16_t)type;
	f->params = m->types[type].params;
	f->results = m->types[type].results;
	f->length = offset;
	m->nfuncs++;
	m->nimports++;
}

static void read_imports(struct loader *l)
{
	struct reader *r = &l->r;
	struct wasm_module *m = l->m;

	m->imports = (uint32_t)(r->p - r->base);
	m->nimports_all = read_count(r);
	if (m->nimports_all > LIMIT_IMPORTS)
		wasm_fail(r, WASM_E_LIMIT, "more than 1024 imports");
	for (uint32_t i = 0; i < m->nimports_all && !failed(r); i++) {
		uint32_t offset = (uint32_t)(r->p - r->base);
		uint8_t kind = read_import_head(r);

		if (failed(r))
			return;
		if (kind == WASM_FUNCTION) {
			import_function(l, offset);
		} else if (kind == WASM_TABLE) {
			struct wasm_table_info *t = &m->tables[m->ntables++];

			read_table_type(r, t);
			t->offset = offset;
			t->imported = 1;
		} else if (kind == WASM_MEMORY) {
			if (m->memory.present)
				wasm_fail(r, WASM_E_INVALID, "multiple memories");
			read_memory_type(r, &m->memory);
			m->memory.offset = offset;
			m->memory.imported = 1;
		} else {
			struct wasm_global_info *g = &m->globals[m->nglobals++];

			read_global_type(r, g);
			g->offset = offset;
			g->imported = 1;
		}
	}
}

static void read_functions(struct loader *l)
{
	uint32_t count = read_count(&l->r);

	for (uint32_t i = 0; i < count && !failed(&l->r); i++) {
		uint32_t type = read_type_index(l);
		struct wasm_func *f = &l->m->funcs[l->m->nfuncs];

		if (failed(&l->r))
			return;
		f->type = (uint16_t)type;
		f->params = l->m->types[type].params;
		f->results = l->m->types[type].results;
		l->m->nfuncs++;
	}
}

static void read_tables(struct loader *l)
{
	uint32_t count = read_count(&l->r);

	for (uint32_t i = 0; i < count && !failed(&l->r); i++)
		read_table_type(&l->r, &l->m->tables[l->m->ntables++]);
}

static void read_memories(struct loader *l)
{
	const uint8_t *at = l->r.p;
	uint32_t count = read_count(&l->r);

	for (uint32_t i = 0; i < count && !failed(&l->r); i++) {
		if (l->m->memory.present)
			wasm_fail_at(&l->r, at, WASM_E_INVALID, "multiple memories");
		read_memory_type(&l->r, &l->m->memory);
	}
}

static void read_globals(struct loader *l)
{
	uint32_t count = read_count(&l->r);

	for (uint32_t i = 0; i < count && !failed(&l->r); i++) {
		struct wasm_global_info *g = &l->m->globals[l->m->nglobals];

		read_global_type(&l->r, g);
		g->offset = (uint32_t)(l->r.p - l->r.base);
		wasm_check_constant(l, g->type);
		l->m->nglobals++; /* after its initialiser, which must not refer to it */
	}
}

static bool same_text(struct wasm_text a, struct wasm_text b)
{
	return a.length == b.length && __builtin_memcmp(a.data, b.data, a.length) == 0;
}

static void check_export(struct loader *l, const uint8_t *at, uint8_t kind, uint32_t index)
{
	struct wasm_module *m = l->m;
	uint32_t limits[] = {m->nfuncs, m->ntables, m->memory.present, m->nglobals};
	static const char *const unknown[] = {"unknown function", "unknown table", "unknown memory",
					      "unknown global"};

	if (kind == 4)
		wasm_fail_at(&l->r, at, WASM_E_UNSUPPORTED, "exceptions (tag export)");
	else if (kind > 4)
		wasm_fail_at(&l->r, at, WASM_E_MALFORMED, "malformed export kind");
	else if (index >= limits[kind])
		wasm_fail_at(&l->r, at, WASM_E_INVALID, unknown[kind]);
	else if (kind == WASM_FUNCTION)
		m->funcs[index].type |= FUNC_DECLARED;
}

static void read_exports(struct loader *l)
{
	struct reader *r = &l->r;
	struct reader seen;
	uint32_t count;

	l->m->exports = (uint32_t)(r->p - r->base);
	count = read_count(r);
	if (count > LIMIT_EXPORTS)
		wasm_fail(r, WASM_E_LIMIT, "more than 1024 exports");
	seen = *r;
	for (uint32_t i = 0; i < count && !failed(r); i++) {
		const uint8_t *at = r->p;
		struct wasm_text name = wasm_read_name(r);
		uint8_t kind = wasm_read_u8(r);
		uint32_t index = wasm_read_u32(r);
		struct reader s = seen;

		if (failed(r))
			return;
		for (uint32_t k = 0; k < i; k++) {
			struct wasm_text other;

			other.length = leb_u32(&s.p);
			other.data = (const char *)s.p;
			s.p += other.length + 1;
			leb_u32(&s.p);
			if (name.length == other.length)
				note_compared(l, name.length);
			if (same_text(name, other)) {
				wasm_fail_at(r, at, WASM_E_INVALID, "duplicate export name");
				return;
			}
		}
		check_export(l, at, kind, index);
		l->m->nexports = i + 1;
	}
}

static void read_start(struct loader *l)
{
	const uint8_t *at = l->r.p;
	struct wasm_module *m = l->m;
	uint32_t f = wasm_read_u32(&l->r);

	if (failed(&l->r))
		return;
	if (f >= m->nfuncs) {
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "unknown function");
		return;
	}
	if (m->funcs[f].params || m->funcs[f].results)
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "the start function has parameters or results");
	m->start = f;
}

static void read_elem_items(struct loader *l, struct wasm_elem *e)
{
	struct reader *r = &l->r;

	e->count = read_count(r);
	e->items = (uint32_t)(r->p - r->base);
	for (uint32_t i = 0; i < e->count && !failed(r); i++) {
		const uint8_t *at = r->p;
		uint32_t f;

		if (e->expressions) {
			wasm_check_constant(l, e->type);
			continue;
		}
		f = wasm_read_u32(r);
		if (failed(r))
			return;
		if (f >= l->m->nfuncs) {
			wasm_fail_at(r, at, WASM_E_INVALID, "unknown function");
			return;
		}
		l->m->funcs[f].type |= FUNC_DECLARED;
	}
}

static void read_elems(struct loader *l)
{
	struct reader *r = &l->r;
	struct wasm_module *m = l->m;
	uint32_t count = read_count(r);

	m->elems = take_vector(l, count, sizeof(*m->elems));
	for (uint32_t i = 0; i < count && !failed(r); i++) {
		const uint8_t *at = r->p;
		struct wasm_elem *e = &m->elems[i];
		uint32_t flags = wasm_read_u32(r), table = 0;

		if (!failed(r) && flags > 7) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed elements segment kind");
			return;
		}
		e->offset = (uint32_t)(at - r->base);
		e->expressions = flags >> 2 & 1;
		e->type = T_FUNCREF;
		e->mode = !(flags & 1) ? SEGMENT_ACTIVE : flags & 2 ? SEGMENT_DECLARED : SEGMENT_PASSIVE;
		if (e->mode == SEGMENT_ACTIVE) {
			if (flags & 2)
				table = wasm_read_u32(r);
			if (!failed(r) && table >= m->ntables) {
				wasm_fail_at(r, at, WASM_E_INVALID, "unknown table");
				return;
			}
			e->table = (uint8_t)table;
			wasm_check_constant(l, T_I32);
		}
		if (flags & 3) {
			if (e->expressions)
				e->type = read_reftype(r);
			else if (wasm_read_u8(r) != 0)
				wasm_fail(r, WASM_E_MALFORMED, "malformed elements kind");
		}
		if (!failed(r) && e->mode == SEGMENT_ACTIVE && m->tables[table].type != e->type)
			wasm_fail_at(r, at, WASM_E_INVALID, "type mismatch");
		read_elem_items(l, e);
		m->nelems = i + 1;
	}
}

static void read_datas(struct loader *l, uint32_t expected)
{
	struct reader *r = &l->r;
	struct wasm_module *m = l->m;
	uint32_t count = read_count(r);

	if (!failed(r) && m->has_datacount && count != expected) {
		wasm_fail(r, WASM_E_MALFORMED, "data count and data section have inconsistent lengths");
		return;
	}
	for (uint32_t i = 0; i < count && !failed(r); i++) {
		const uint8_t *at = r->p;
		struct wasm_data *d = &m->datas[i];
		uint32_t flags = wasm_read_u32(r);

		d->offset = (uint32_t)(at - r->base);
		if (flags > 2) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed data segment kind");
			return;
		}
		d->mode = flags == 1 ? SEGMENT_PASSIVE : SEGMENT_ACTIVE;
		if (flags != 1) {
			uint32_t memory = flags == 2 ? wasm_read_u32(r) : 0;

			if (!failed(r) && (memory != 0 || !m->memory.present)) {
				wasm_fail_at(r, at, WASM_E_INVALID, "unknown memory");
				return;
			}
			wasm_check_constant(l, T_I32);
		}
		d->count = read_count(r);
		d->bytes = (uint32_t)(r->p - r->base);
		r->p += failed(r) ? 0 : d->count;
	}
}

static void read_code(struct loader *l)
{
	struct reader *r = &l->r;
	struct wasm_module *m = l->m;
	const uint8_t *section_end = r->end;
	uint32_t count = read_count(r);

	if (!failed(r) && count != m->nfuncs - m->nimports)
		wasm_fail(r, WASM_E_MALFORMED, "function and code section have inconsistent lengths");
	for (uint32_t i = 0; i < count && !failed(r); i++) {
		const uint8_t *at = r->p;
		uint32_t size = wasm_read_u32(r);

		if (failed(r))
			return;
		if (size > (uint32_t)(section_end - r->p)) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "function body out of bounds");
			return;
		}
		r->end = r->p + size;
		wasm_check_body(l, &m->funcs[m->nimports + i], r->end);
		if (failed(r))
			return;
		r->end = section_end;
	}
}

/* --------------------------------------------------------------- the module */

enum { S_CUSTOM, S_TYPE, S_IMPORT, S_FUNCTION, S_TABLE, S_MEMORY, S_GLOBAL, S_EXPORT, S_START, S_ELEM, S_CODE, S_DATA, S_DATACOUNT, S_COUNT };

struct span {
	const uint8_t *start, *end;
};

/* The section's place in the order that modules must keep; 0 if unknown. */
static unsigned section_order(uint8_t id)
{
	static const uint8_t order[S_COUNT] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 10};

	return id < S_COUNT ? order[id] : 0;
}

static void custom_section(struct loader *l, struct wasm_module *m, const uint8_t *end)
{
	struct reader r = l->r;
	struct wasm_text name;

	r.end = end;
	name = wasm_read_name(&r);
	if (!failed(&r) && name.length == 4 && __builtin_memcmp(name.data, "name", 4) == 0) {
		m->names = (uint32_t)(r.p - r.base);
		m->names_size = (uint32_t)(end - r.p);
	}
}

/* Finds all sections, checking their order, and the name section. */
static void find_sections(struct loader *l, struct wasm_module *m, struct span sections[S_COUNT])
{
	struct reader *r = &l->r;
	unsigned last = 0;

	if (r->end - r->p < 4 || __builtin_memcmp(r->p, "\0asm", 4) != 0)
		wasm_fail(r, WASM_E_MALFORMED, "magic header not detected");
	else if (r->end - r->p < 8 || __builtin_memcmp(r->p + 4, "\1\0\0\0", 4) != 0)
		wasm_fail(r, WASM_E_MALFORMED, "unknown binary version");
	else
		r->p += 8;
	while (!failed(r) && r->p < r->end) {
		const uint8_t *at = r->p;
		uint8_t id = wasm_read_u8(r);
		uint32_t size = wasm_read_u32(r);

		if (failed(r))
			return;
		if (size > (uint32_t)(r->end - r->p)) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "section out of bounds");
			return;
		}
		if (id == S_CUSTOM) {
			custom_section(l, m, r->p + size);
		} else if (id == 13 && last < section_order(S_GLOBAL)) {
			wasm_fail_at(r, at, WASM_E_UNSUPPORTED, "exceptions (tag section)");
		} else if (section_order(id) == 0) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "malformed section id");
		} else if (section_order(id) <= last) {
			wasm_fail_at(r, at, WASM_E_MALFORMED, "unexpected section");
		} else {
			last = section_order(id);
			sections[id].start = r->p;
			sections[id].end = r->p + size;
		}
		r->p += failed(r) ? 0 : size;
	}
}

/* Points the cursor at a section; false if the module has none. */
static bool enter(struct loader *l, const struct span *section)
{
	if (failed(&l->r) || section->start == NULL)
		return false;
	l->r.p = section->start;
	l->r.end = section->end;
	return true;
}

static void leave(struct loader *l)
{
	if (!failed(&l->r) && l->r.p != l->r.end)
		wasm_fail(&l->r, WASM_E_MALFORMED, "section size mismatch");
}

static uint32_t peek_count(struct loader *l, const struct span *section)
{
	return enter(l, section) ? read_count(&l->r) : 0;
}

/* Allocates the records that imports share with sections. */
static void allocate_records(struct loader *l, const struct span *sections)
{
	struct wasm_module *m = l->m;
	uint32_t counts[4] = {0};

	if (enter(l, &sections[S_IMPORT]))
		count_imports(l->r, counts);
	counts[WASM_FUNCTION] += peek_count(l, &sections[S_FUNCTION]);
	counts[WASM_TABLE] += peek_count(l, &sections[S_TABLE]);
	counts[WASM_GLOBAL] += peek_count(l, &sections[S_GLOBAL]);
	if (!failed(&l->r) && counts[WASM_TABLE] > LIMIT_TABLES)
		wasm_fail(&l->r, WASM_E_LIMIT, "more than 255 tables");
	m->funcs = take_vector(l, counts[WASM_FUNCTION], sizeof(*m->funcs));
	m->tables = take_vector(l, counts[WASM_TABLE], sizeof(*m->tables));
	m->globals = take_vector(l, counts[WASM_GLOBAL], sizeof(*m->globals));
}

static void load_code(struct loader *l, const struct span *sections)
{
	struct wasm_module *m = l->m;
	uint32_t datas = 0;

	if (enter(l, &sections[S_DATACOUNT])) {
		datas = wasm_read_u32(&l->r);
		leave(l);
		m->has_datacount = 1;
	}
	m->ndatas = peek_count(l, &sections[S_DATA]);
	if (m->has_datacount && m->ndatas != datas)
		wasm_fail(&l->r, WASM_E_MALFORMED, "data count and data section have inconsistent lengths");
	m->datas = take_vector(l, m->ndatas, sizeof(*m->datas));
	if (enter(l, &sections[S_CODE])) {
		m->code = (uint32_t)(l->r.p - l->r.base);
		m->code_size = (uint32_t)(l->r.end - l->r.p);
		read_code(l);
		leave(l);
	} else if (!failed(&l->r) && m->nfuncs != m->nimports) {
		wasm_fail(&l->r, WASM_E_MALFORMED, "function and code section have inconsistent lengths");
	}
	if (enter(l, &sections[S_DATA])) {
		read_datas(l, datas);
		leave(l);
	}
}

static void load_sections(struct loader *l, const struct span *sections)
{
	static void (*const readers[S_ELEM + 1])(struct loader *) = {
		NULL, read_types, read_imports, read_functions, read_tables, read_memories,
		read_globals, read_exports, read_start, read_elems,
	};

	for (unsigned id = S_TYPE; id <= S_ELEM; id++) {
		if (id == S_IMPORT)
			allocate_records(l, sections);
		if (enter(l, &sections[id])) {
			readers[id](l);
			leave(l);
		}
	}
	load_code(l, sections);
}

int wasm_load(const struct wasm_module **out, const void *bytes, uint32_t size, void *buffer,
	      uint32_t buffer_size, struct wasm_error *error)
{
	struct span sections[S_COUNT] = {{NULL, NULL}};
	struct loader l = {.r = {bytes, bytes, (const uint8_t *)bytes + size, error}};

	*out = NULL;
	*error = (struct wasm_error){.detail = ""};
	if ((uintptr_t)buffer % 8 != 0) {
		wasm_fail(&l.r, WASM_E_ARGUMENT, "the load buffer is not aligned to 8 bytes");
		return error->code;
	}
	if (size > LIMIT_MODULE) {
		wasm_fail(&l.r, WASM_E_LIMIT, "module larger than 8 MiB");
		return error->code;
	}
	if (buffer_size < sizeof(struct wasm_module)) {
		wasm_fail(&l.r, WASM_E_MEMORY, "the load buffer is too small");
		error->need = sizeof(struct wasm_module);
		return error->code;
	}
	buffer_size &= ~7u;
	l.buffer = buffer;
	l.bottom = l.buffer;
	l.top = l.buffer + buffer_size;
	l.size = l.least = buffer_size;
	l.m = wasm_take(&l, sizeof(*l.m));
	l.m->bytes = bytes;
	l.m->size = size;
	l.m->start = UINT32_MAX;
	find_sections(&l, l.m, sections);
	load_sections(&l, sections);
	if (error->code)
		return error->code;
	l.m->used = ((uint32_t)(l.bottom - l.buffer) + 7) & ~7u;
	l.m->load_size = (l.size - l.least + 7) & ~7u;
	*out = l.m;
	return WASM_OK;
}
