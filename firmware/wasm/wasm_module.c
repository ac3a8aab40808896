// SPDX-License-Identifier: Apache-2.0
/*
 * What a loaded module says about itself: types, imports, exports, names.
 * Everything is read from the module's bytes, which are already checked.
 */
#include "wasm_internal.h"

struct signature wasm_type_signature(const struct wasm_module *m, uint32_t type)
{
	const uint8_t *p = m->bytes + m->types[type].offset;
	struct signature s;

	s.nparams = leb_u32(&p);
	s.params = p;
	p += s.nparams;
	s.nresults = leb_u32(&p);
	s.results = p;
	return s;
}

bool wasm_same_type(const struct wasm_module *m, uint32_t type, const struct wasm_module *n, uint32_t other)
{
	struct signature a = wasm_type_signature(m, type), b = wasm_type_signature(n, other);

	return a.nparams == b.nparams && a.nresults == b.nresults &&
	       __builtin_memcmp(a.params, b.params, a.nparams) == 0 &&
	       __builtin_memcmp(a.results, b.results, a.nresults) == 0;
}

void wasm_module_info(const struct wasm_module *m, struct wasm_module_info *info)
{
	*info = (struct wasm_module_info){
		.size = m->used,
		.load_size = m->load_size,
		.side_table = m->side_words * 4 + (m->nfuncs - m->nimports) * (uint32_t)sizeof(struct wasm_func),
		.code_size = m->code_size,
		.functions = m->nfuncs,
		.imports = m->nimports_all,
		.exports = m->nexports,
		.has_memory = m->memory.present,
		.memory_has_max = m->memory.has_max,
		.page_size = m->memory.present ? UINT32_C(1) << m->memory.page_shift : 0,
		.memory_min = m->memory.present ? m->memory.min : 0,
		.memory_max = m->memory.present ? m->memory.max : 0,
		.has_start = m->start != UINT32_MAX,
	};
}

uint32_t wasm_module_size(const struct wasm_module *m) { return m->used; }

static struct wasm_text take_text(const uint8_t **p)
{
	struct wasm_text t;

	t.length = leb_u32(p);
	t.data = (const char *)*p;
	*p += t.length;
	return t;
}

/* Skips one import's type. */
static void skip_import_type(const uint8_t **p, uint8_t kind)
{
	uint8_t flags;

	if (kind == WASM_FUNCTION) {
		leb_u32(p);
	} else if (kind == WASM_GLOBAL) {
		*p += 2;
	} else {
		if (kind == WASM_TABLE)
			++*p;
		flags = *(*p)++;
		leb_u32(p);
		if (flags & 1)
			leb_u32(p);
		if (flags & 8)
			leb_u32(p);
	}
}

/* Moves the cursor to its section's next entry; NULL after the last. */
static const uint8_t *advance(const struct wasm_module *m, struct wasm_cursor *c, uint32_t section)
{
	const uint8_t *p = m->bytes + section;
	uint32_t n;

	if (section == 0)
		return NULL;
	n = leb_u32(&p);
	if (c->done == 0)
		c->offset = (uint32_t)(p - m->bytes);
	return c->done++ < n ? m->bytes + c->offset : NULL;
}

bool wasm_next_import(const struct wasm_module *m, struct wasm_cursor *cursor, struct wasm_import *out)
{
	const uint8_t *p = advance(m, cursor, m->imports);

	if (!p)
		return false;
	out->offset = cursor->offset;
	out->module = take_text(&p);
	out->name = take_text(&p);
	out->kind = (enum wasm_kind)*p++;
	out->index = cursor->counts[out->kind]++;
	skip_import_type(&p, (uint8_t)out->kind);
	cursor->offset = (uint32_t)(p - m->bytes);
	return true;
}

bool wasm_next_export(const struct wasm_module *m, struct wasm_cursor *cursor, struct wasm_export *out)
{
	const uint8_t *p = advance(m, cursor, m->exports);

	if (!p)
		return false;
	out->name = take_text(&p);
	out->kind = (enum wasm_kind)*p++;
	out->index = leb_u32(&p);
	cursor->offset = (uint32_t)(p - m->bytes);
	return true;
}

int32_t wasm_find_function(const struct wasm_module *m, const char *name)
{
	struct wasm_cursor cursor = {0};
	struct wasm_export e;
	size_t length = 0;

	while (name[length])
		length++;
	while (wasm_next_export(m, &cursor, &e))
		if (e.kind == WASM_FUNCTION && e.name.length == length &&
		    __builtin_memcmp(e.name.data, name, length) == 0)
			return (int32_t)e.index;
	return -1;
}

static char type_letter(uint8_t type)
{
	switch (type) {
	case T_I32: return 'i';
	case T_I64: return 'I';
	case T_F32: return 'f';
	case T_F64: return 'F';
	case T_FUNCREF: return 'r';
	default: return 'e';
	}
}

uint32_t wasm_signature(const struct wasm_module *m, uint32_t function, char *text, uint32_t size)
{
	struct signature s;
	uint32_t length = 0;

	if (function >= m->nfuncs) {
		if (size > 0)
			text[0] = 0;
		return 0;
	}
	s = wasm_type_signature(m, m->funcs[function].type & FUNC_TYPE);
	for (uint32_t i = 0; i < s.nparams + 1 + s.nresults; i++) {
		char c = i < s.nparams ? type_letter(s.params[i])
			 : i == s.nparams ? ':' : type_letter(s.results[i - s.nparams - 1]);

		if (length + 1 < size)
			text[length] = c;
		length++;
	}
	if (size > 0)
		text[length < size ? length : size - 1] = 0;
	return length;
}

struct wasm_text wasm_function_name(const struct wasm_module *m, uint32_t function)
{
	struct wasm_error error = {.detail = ""};
	const uint8_t *end = m->bytes + m->names + m->names_size;
	struct reader r = {m->bytes, m->bytes + m->names, end, &error};
	struct wasm_text none = {NULL, 0};

	/* The name section is not part of validation: read it with care. */
	while (m->names && r.p < end) {
		uint8_t id = wasm_read_u8(&r);
		uint32_t size = wasm_read_u32(&r);

		if (failed(&r) || size > (uint32_t)(end - r.p))
			return none;
		if (id != 1) {
			r.p += size;
			continue;
		}
		r.end = r.p + size;
		for (uint32_t n = wasm_read_u32(&r); n > 0 && !failed(&r); n--) {
			uint32_t index = wasm_read_u32(&r);
			struct wasm_text name = wasm_read_name(&r);

			if (!failed(&r) && index == function)
				return name;
		}
		return none;
	}
	return none;
}
