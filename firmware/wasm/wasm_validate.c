// SPDX-License-Identifier: Apache-2.0
/*
 * Validation of code: the algorithm of the specification's appendix, building
 * the side table on the way (wasm_internal.h).
 *
 * The free part of the load buffer holds the side table, growing up, and one
 * stack, growing down: first the types of the locals, then for each open block
 * a struct block followed by the types of its operands, a byte each.
 *
 * A body is tried in the short form first. Where that does not fit, the body
 * is checked once more in the general form.
 */
#include "wasm_internal.h"
#include "wasm_opcodes.h"

enum { I32 = 1, I64, F32, F64, NONE = 0 };
enum { IMM_NO, IMM_MEM };

struct simple {
	uint16_t valid : 1, memory : 1, first : 3, second : 3, result : 3, align : 2;
};

#define SIMPLE(code, id, name, home, imm, a, b, r, al) [code] = {1, IMM_##imm, a, b, r, al},
static const struct simple simple_ops[0xc5] = {WASM_SIMPLE(SIMPLE)};
#define PREFIXED(code, id, name, home, imm, a, b, r, al) [code] = {1, 0, a, b, r, al},
static const struct simple prefixed_ops[] = {WASM_PREFIXED(PREFIXED)};

static const uint8_t types_of[] = {T_UNKNOWN, T_I32, T_I64, T_F32, T_F64};

/* Kinds of immediates of every opcode, for walking over instructions. */
enum { K_NO = 1, K_INDEX, K_INDEX2, K_BLOCK, K_LABELS, K_TYPES, K_MEM, K_REF, K_PREFIX, K_I32, K_I64, K_F32, K_F64 };
#define KIND_CONTROL(code, id, name, home, imm) [code] = K_##imm,
#define KIND_SIMPLE(code, id, name, home, imm, a, b, r, al) [code] = K_##imm,
static const uint8_t immediates[256] = {WASM_CONTROL(KIND_CONTROL) WASM_SIMPLE(KIND_SIMPLE)};
static const uint8_t prefixed_immediates[] = {WASM_PREFIXED(KIND_SIMPLE)};

enum { B_BLOCK = 2, B_LOOP = 3, B_IF = 4, B_ELSE = 5, B_BODY = 0 };
#define NO_LINK UINT32_MAX

/* An open block. Its operands lie below it in memory. */
struct block {
	struct block *outer;
	struct block *jump;      /* some block further out, for finding labels fast */
	uint32_t depth;
	uint8_t *old_top;
	const uint8_t *loop;     /* a loop's first instruction */
	uint32_t loop_side;      /* and its place in the side table */
	uint32_t pending;        /* last unresolved branch to its end, or NO_LINK */
	uint32_t otherwise;      /* an if's own entry, until else or end */
	uint32_t height;         /* slots below its operands */
	int32_t type;            /* type index, or -1 - value type (-1: none) */
	uint8_t kind, unreachable;
};

struct checker {
	struct loader *l;
	struct reader *r;
	struct wasm_module *m;
	const struct wasm_func *f;
	const uint8_t *code; /* first instruction */
	uint8_t *top;        /* of the stack */
	uint8_t *locals;     /* type of local i at locals[-1 - i] */
	uint32_t nlocals, local_slots, param_slots;
	struct block *block;
	uint32_t height, max_height;
	uint32_t *side;
	uint32_t nside; /* words */
	bool general, again;
};

static void invalid(struct checker *c, const char *why) { wasm_fail(c->r, WASM_E_INVALID, why); }

/* The short form does not fit: stop and check again in the general form. */
static void go_general(struct checker *c)
{
	if (!c->general) {
		c->again = true;
		wasm_fail(c->r, WASM_E_LIMIT, "");
	}
}

static void full(struct checker *c, uint32_t more)
{
	c->r->error->need = c->l->size + more;
	wasm_fail(c->r, WASM_E_MEMORY, "the load buffer is too small");
}

/* ------------------------------------------------------------ operand stack */

static bool reserve(struct checker *c, uint32_t bytes)
{
	uint32_t left = (uint32_t)(c->top - c->l->bottom);

	if (left < bytes) {
		full(c, bytes);
		return false;
	}
	if (left - bytes < c->l->least)
		c->l->least = left - bytes;
	return true;
}

static void push(struct checker *c, uint8_t type)
{
	if (!reserve(c, 1))
		return;
	*--c->top = type;
	c->height += slots_of(type);
	if (c->height > c->max_height)
		c->max_height = c->height;
}

static uint8_t pop_any(struct checker *c)
{
	uint8_t type;

	if (failed(c->r))
		return T_UNKNOWN;
	if (c->top == (uint8_t *)c->block) {
		if (!c->block->unreachable)
			invalid(c, "type mismatch: the operand stack is empty");
		return T_UNKNOWN;
	}
	type = *c->top++;
	c->height -= slots_of(type);
	return type;
}

static uint8_t pop(struct checker *c, uint8_t type)
{
	uint8_t got = pop_any(c);

	if (got != type && got != T_UNKNOWN && type != T_UNKNOWN)
		invalid(c, "type mismatch");
	return got;
}

static void pop_types(struct checker *c, const uint8_t *types, uint32_t n)
{
	while (n-- > 0 && !failed(c->r))
		pop(c, types[n]);
}

static void push_types(struct checker *c, const uint8_t *types, uint32_t n)
{
	for (uint32_t i = 0; i < n && !failed(c->r); i++)
		push(c, types[i]);
}

static uint32_t slots_in(const uint8_t *types, uint32_t n)
{
	uint32_t slots = 0;

	while (n-- > 0)
		slots += slots_of(types[n]);
	return slots;
}

/* ------------------------------------------------------------------- blocks */

static struct signature block_signature(const struct checker *c, const struct block *b)
{
	static const uint8_t singles[] = {T_I32, T_I64, T_F32, T_F64, T_FUNCREF, T_EXTERNREF};
	struct signature s = {NULL, NULL, 0, 0};

	if (b->type >= 0)
		return wasm_type_signature(c->m, (uint32_t)b->type);
	for (unsigned i = 0; i < sizeof(singles); i++)
		if (b->type == -1 - (int32_t)singles[i]) {
			s.results = &singles[i];
			s.nresults = 1;
		}
	return s;
}

/* A branch to the block takes these operands along. */
static void label_types(const struct checker *c, const struct block *b, const uint8_t **types, uint32_t *n)
{
	struct signature s = block_signature(c, b);

	*types = b->kind == B_LOOP ? s.params : s.results;
	*n = b->kind == B_LOOP ? s.nparams : s.nresults;
}

/*
 * A block's jump leads to its outer block or, where two jumps of equal length
 * follow, over both. So any block further out is found in a logarithmic number
 * of steps.
 */
static void set_jump(struct block *b)
{
	struct block *o = b->outer;

	b->jump = o;
	if (!o)
		return;
	b->depth = o->depth + 1;
	if (o->jump && o->jump->jump && o->depth - o->jump->depth == o->jump->depth - o->jump->jump->depth)
		b->jump = o->jump->jump;
}

static void push_block(struct checker *c, uint8_t kind, int32_t type)
{
	uint8_t *old = c->top;
	struct block *b;

	if (!reserve(c, sizeof(*b) + sizeof(void *)))
		return;
	b = (struct block *)(void *)((uintptr_t)(old - sizeof(*b)) & ~(uintptr_t)(sizeof(void *) - 1));
	*b = (struct block){.outer = c->block, .old_top = old, .kind = kind, .type = type, .height = c->height,
			    .pending = NO_LINK, .otherwise = NO_LINK, .loop = c->r->p, .loop_side = c->nside};
	set_jump(b);
	c->block = b;
	c->top = (uint8_t *)b;
}

static int32_t read_block_type(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint8_t first = at < c->r->end ? *at : 0;
	int64_t index;

	if (first == 0x40) {
		c->r->p++;
		return -1;
	}
	if (first >= 0x40 && first < 0x80)
		return -1 - (int32_t)wasm_read_valtype(c->r);
	index = wasm_read_s64(c->r, 33);
	if (c->r->p - at > 1)
		go_general(c);
	if (failed(c->r))
		return -1;
	if (index < 0 || index >= c->m->ntypes) {
		wasm_fail_at(c->r, at, index < 0 ? WASM_E_MALFORMED : WASM_E_INVALID, "unknown type");
		return -1;
	}
	return (int32_t)index;
}

static void open_block(struct checker *c, uint8_t kind)
{
	int32_t type = read_block_type(c);
	struct block shape = {.type = type};
	struct signature s;

	if (failed(c->r))
		return;
	s = block_signature(c, &shape);
	pop_types(c, s.params, s.nparams);
	push_block(c, kind, type);
	push_types(c, s.params, s.nparams);
}

static struct block *label(struct checker *c, uint32_t depth)
{
	struct block *b = c->block;
	uint32_t target;

	if (depth > b->depth) {
		invalid(c, "unknown label");
		return NULL;
	}
	target = b->depth - depth;
	while (b->depth != target)
		b = b->jump && b->jump->depth >= target ? b->jump : b->outer;
	return b;
}

static void unreachable_from_here(struct checker *c)
{
	if (failed(c->r))
		return;
	c->top = (uint8_t *)c->block;
	c->height = c->block->height;
	c->block->unreachable = 1;
}

/* --------------------------------------------------------------- side table */

static uint32_t entry_words(const struct checker *c) { return c->general ? 2 : 1; }

static uint32_t emit(struct checker *c, uint32_t words)
{
	uint32_t at = c->nside;

	if (!reserve(c, words * 4))
		return at;
	for (uint32_t i = 0; i < words; i++)
		c->side[c->nside++] = 0;
	c->l->bottom = (uint8_t *)(c->side + c->nside);
	return at;
}

/* Writes where the entry at leads: to code at target and table word side. */
static void resolve(struct checker *c, uint32_t at, uint32_t source, const uint8_t *target, uint32_t side)
{
	int32_t code = (int32_t)(target - c->code) - (int32_t)source;
	int32_t table = (int32_t)side - (int32_t)at;

	if (table > LIMIT_BRANCH || table < -LIMIT_BRANCH) {
		if (!c->general)
			go_general(c);
		else
			wasm_fail(c->r, WASM_E_LIMIT, "a branch passes over more than 32767 words of side table");
		return;
	}
	if (c->general) {
		c->side[at] = ((uint32_t)code & 0xffffff) | (c->side[at] & 0xff000000);
		c->side[at + 1] = (c->side[at + 1] & 0xffff0000) | ((uint32_t)table & 0xffff);
	} else if (code != (int16_t)code) {
		go_general(c);
	} else {
		c->side[at] = ((uint32_t)code & 0xffff) | (uint32_t)table << 16;
	}
}

/*
 * An unresolved entry holds its source's offset in the code (short: low half,
 * general: low 24 bits) and, in the place of the table delta, the distance
 * back to the previous unresolved entry of the same block, 0 if there is none.
 */
static void link_entry(struct checker *c, uint32_t at, uint32_t source, uint32_t *head)
{
	uint32_t distance = *head == NO_LINK ? 0 : at - *head;

	if (!c->general && (source > 0xffff || distance > 0xffff)) {
		go_general(c);
		return;
	}
	if (distance > 0xffff) {
		wasm_fail(c->r, WASM_E_LIMIT, "a branch passes over more than 32767 words of side table");
		return;
	}
	if (c->general) {
		c->side[at] |= source;
		c->side[at + 1] |= distance;
	} else {
		c->side[at] = source | distance << 16;
	}
	*head = at;
}

static void resolve_chain(struct checker *c, uint32_t at, const uint8_t *target)
{
	while (at != NO_LINK && !failed(c->r)) {
		uint32_t source = c->side[at] & (c->general ? 0xffffff : 0xffff);
		uint32_t distance = c->general ? c->side[at + 1] & 0xffff : c->side[at] >> 16;

		resolve(c, at, source, target, c->nside);
		at = distance ? at - distance : NO_LINK;
	}
}

/* The offset of the byte after the current opcode. */
static uint32_t source_of(const struct checker *c, const uint8_t *opcode)
{
	return (uint32_t)(opcode + 1 - c->code);
}

/* Emits the entry of a branch to b, when the operands that it keeps are on the stack. */
static void emit_branch(struct checker *c, struct block *b, const uint8_t *opcode, uint32_t keep)
{
	uint32_t drop = c->height - b->height - keep, at;

	if (failed(c->r))
		return;
	if (b->outer == NULL || c->block->unreachable || c->height < b->height + keep)
		drop = 0;
	if (drop != 0)
		go_general(c);
	at = emit(c, entry_words(c));
	if (failed(c->r))
		return;
	if (c->general) {
		c->side[at] = (drop ? keep : 0) << 24;
		c->side[at + 1] = drop << 16;
	}
	if (b->kind == B_LOOP)
		resolve(c, at, source_of(c, opcode), b->loop, b->loop_side);
	else
		link_entry(c, at, source_of(c, opcode), &b->pending);
}

/* In the general form drop and select have a word with the value's slots. */
static void emit_slots(struct checker *c, uint8_t type)
{
	if (slots_of(type) == 2)
		go_general(c);
	if (c->general) {
		uint32_t at = emit(c, 1);

		if (!failed(c->r))
			c->side[at] = slots_of(type);
	}
}

/* ------------------------------------------------------------- instructions */

/* An index that must be one byte long in the short form. */
static uint32_t read_index(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint32_t index = wasm_read_u32(c->r);

	if (c->r->p - at > 1 && !failed(c->r))
		go_general(c);
	return index;
}

static uint32_t checked_index(struct checker *c, uint32_t limit, const char *unknown)
{
	const uint8_t *at = c->r->p;
	uint32_t index = read_index(c);

	if (!failed(c->r) && index >= limit) {
		wasm_fail_at(c->r, at, WASM_E_INVALID, unknown);
		return 0;
	}
	return index;
}

static void check_if(struct checker *c, const uint8_t *opcode)
{
	uint32_t at;

	pop(c, T_I32);
	at = emit(c, entry_words(c));
	open_block(c, B_IF);
	if (failed(c->r))
		return;
	link_entry(c, at, source_of(c, opcode), &c->block->otherwise);
}

/* The block's results must be on the stack, and nothing else. */
static void close_operands(struct checker *c)
{
	struct signature s = block_signature(c, c->block);

	pop_types(c, s.results, s.nresults);
	if (!failed(c->r) && c->top != (uint8_t *)c->block)
		invalid(c, "type mismatch: values remaining on the stack at the end of the block");
}

static void check_else(struct checker *c, const uint8_t *opcode)
{
	struct block *b = c->block;
	struct signature s = block_signature(c, b);
	uint32_t keep = slots_in(s.results, s.nresults);

	if (b->kind != B_IF) {
		wasm_fail_at(c->r, opcode, WASM_E_INVALID, "else without if");
		return;
	}
	close_operands(c);
	if (failed(c->r))
		return;
	c->height = b->height + keep;
	emit_branch(c, b, opcode, keep);
	if (failed(c->r))
		return;
	c->height = b->height;
	resolve_chain(c, b->otherwise, c->r->p);
	b->otherwise = NO_LINK;
	b->kind = B_ELSE;
	b->unreachable = 0;
	push_types(c, s.params, s.nparams);
}

static bool same_types(const uint8_t *a, uint32_t na, const uint8_t *b, uint32_t nb)
{
	return na == nb && (na == 0 || __builtin_memcmp(a, b, na) == 0);
}

static void check_end(struct checker *c, const uint8_t *opcode)
{
	struct block *b = c->block;
	struct signature s = block_signature(c, b);

	close_operands(c);
	if (failed(c->r))
		return;
	if (b->kind == B_IF && !same_types(s.params, s.nparams, s.results, s.nresults)) {
		wasm_fail_at(c->r, opcode, WASM_E_INVALID, "type mismatch: if without else must keep its operands");
		return;
	}
	resolve_chain(c, b->otherwise, c->r->p);
	resolve_chain(c, b->pending, b->outer ? c->r->p : opcode);
	c->block = b->outer;
	c->top = b->old_top;
	c->height = b->height;
	push_types(c, s.results, s.nresults);
}

static void check_branch(struct checker *c, const uint8_t *opcode, bool conditional)
{
	uint32_t depth = read_index(c), n;
	struct block *b;
	const uint8_t *types;

	if (conditional)
		pop(c, T_I32);
	b = failed(c->r) ? NULL : label(c, depth);
	if (!b)
		return;
	label_types(c, b, &types, &n);
	pop_types(c, types, n);
	push_types(c, types, n);
	emit_branch(c, b, opcode, slots_in(types, n));
	if (!conditional)
		unreachable_from_here(c);
}

/* Checks the operands of one target of a br_table without changing the stack. */
static void check_target(struct checker *c, const uint8_t *types, uint32_t n)
{
	uint8_t *top = c->top;

	for (uint32_t i = n; i-- > 0;) {
		if (top == (uint8_t *)c->block) {
			if (!c->block->unreachable)
				invalid(c, "type mismatch");
			return;
		}
		if (*top != types[i] && *top != T_UNKNOWN) {
			invalid(c, "type mismatch");
			return;
		}
		top++;
	}
}

static void check_br_table(struct checker *c, const uint8_t *opcode)
{
	const uint8_t *at = c->r->p;
	uint32_t count = wasm_read_u32(c->r), arity = 0;

	if (!failed(c->r) && count > (uint32_t)(c->r->end - c->r->p)) {
		wasm_fail_at(c->r, at, WASM_E_MALFORMED, "length out of bounds");
		return;
	}
	pop(c, T_I32);
	for (uint32_t i = 0; i <= count && !failed(c->r); i++) {
		uint32_t depth = wasm_read_u32(c->r), n;
		struct block *b = failed(c->r) ? NULL : label(c, depth);
		const uint8_t *types;

		if (!b)
			return;
		label_types(c, b, &types, &n);
		if (i > 0 && n != arity) {
			invalid(c, "type mismatch: br_table targets differ");
			return;
		}
		arity = n;
		check_target(c, types, n);
		emit_branch(c, b, opcode, slots_in(types, n));
	}
	unreachable_from_here(c);
}

static void apply_signature(struct checker *c, uint32_t type)
{
	struct signature s = wasm_type_signature(c->m, type);

	pop_types(c, s.params, s.nparams);
	push_types(c, s.results, s.nresults);
}

static void check_call(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint32_t f = wasm_read_u32(c->r);

	if (failed(c->r))
		return;
	if (f >= c->m->nfuncs) {
		wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown function");
		return;
	}
	apply_signature(c, c->m->funcs[f].type & FUNC_TYPE);
}

static uint32_t table_index(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint32_t table = wasm_read_u32(c->r);

	if (!failed(c->r) && table >= c->m->ntables) {
		wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown table");
		return 0;
	}
	return table;
}

static void check_call_indirect(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint32_t type = wasm_read_u32(c->r), table;

	if (!failed(c->r) && type >= c->m->ntypes)
		wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown type");
	table = table_index(c);
	pop(c, T_I32);
	if (failed(c->r))
		return;
	if (c->m->tables[table].type != T_FUNCREF) {
		wasm_fail_at(c->r, at, WASM_E_INVALID, "type mismatch: not a table of functions");
		return;
	}
	apply_signature(c, type);
}

static bool is_ref(uint8_t type) { return type == T_FUNCREF || type == T_EXTERNREF; }

static void check_select(struct checker *c)
{
	uint8_t a, b;

	pop(c, T_I32);
	a = pop_any(c);
	b = pop_any(c);
	if (failed(c->r))
		return;
	if (is_ref(a) || is_ref(b) || (a != b && a != T_UNKNOWN && b != T_UNKNOWN)) {
		invalid(c, "type mismatch");
		return;
	}
	emit_slots(c, a == T_UNKNOWN ? b : a);
	push(c, a == T_UNKNOWN ? b : a);
}

static void check_select_typed(struct checker *c)
{
	const uint8_t *at = c->r->p;
	uint32_t n = wasm_read_u32(c->r);
	uint8_t type;

	if (!failed(c->r) && n != 1) {
		wasm_fail_at(c->r, at, WASM_E_INVALID, "invalid result arity");
		return;
	}
	type = wasm_read_valtype(c->r);
	pop(c, T_I32);
	pop(c, type);
	pop(c, type);
	push(c, type);
}

static void check_local(struct checker *c, uint8_t op)
{
	uint32_t i = checked_index(c, c->nlocals, "unknown local");
	uint8_t type;

	if (failed(c->r))
		return;
	type = c->locals[-1 - (ptrdiff_t)i];
	if (op != 0x20)
		pop(c, type);
	if (op != 0x21)
		push(c, type);
}

static void check_global(struct checker *c, uint8_t op)
{
	const uint8_t *at = c->r->p;
	uint32_t i = wasm_read_u32(c->r); /* linkers pad it: allowed in the short form */
	const struct wasm_global_info *g;

	if (!failed(c->r) && i >= c->m->nglobals)
		wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown global");
	if (failed(c->r))
		return;
	g = &c->m->globals[i];
	if (slots_of(g->type) == 2)
		go_general(c);
	if (op == 0x23) {
		push(c, g->type);
		return;
	}
	if (!g->mutable_)
		invalid(c, "global is immutable");
	pop(c, g->type);
}

static void check_table_access(struct checker *c, uint8_t op)
{
	uint32_t table = table_index(c);
	uint8_t type;

	if (failed(c->r))
		return;
	type = c->m->tables[table].type;
	if (op == 0x26)
		pop(c, type);
	pop(c, T_I32);
	if (op == 0x25)
		push(c, type);
}

static void need_memory(struct checker *c)
{
	if (!failed(c->r) && !c->m->memory.present)
		invalid(c, "unknown memory");
}

/* The index byte of memory instructions; only memory 0 exists. */
static void read_memory_index(struct checker *c)
{
	const uint8_t *at = c->r->p;

	if (wasm_read_u8(c->r) != 0)
		wasm_fail_at(c->r, at, WASM_E_MALFORMED, "zero byte expected");
	need_memory(c);
}

static void check_memarg(struct checker *c, unsigned align)
{
	const uint8_t *at = c->r->p;
	uint32_t exponent = read_index(c);

	if (!failed(c->r) && exponent > align) {
		if (exponent >= 32)
			wasm_fail_at(c->r, at, WASM_E_MALFORMED, "malformed memory operation flags");
		else
			wasm_fail_at(c->r, at, WASM_E_INVALID, "alignment must not be larger than natural");
	}
	wasm_read_u32(c->r);
	need_memory(c);
}

static void check_simple(struct checker *c, const struct simple *op)
{
	if (!WASM_FLOAT && (op->first >= F32 || op->second >= F32 || op->result >= F32)) {
		wasm_fail(c->r, WASM_E_UNSUPPORTED, "floating point (not built in)");
		return;
	}
	if (op->memory)
		check_memarg(c, op->align);
	if (op->second)
		pop(c, types_of[op->second]);
	if (op->first)
		pop(c, types_of[op->first]);
	if (op->result)
		push(c, types_of[op->result]);
}

static void pop_three_i32(struct checker *c)
{
	pop(c, T_I32);
	pop(c, T_I32);
	pop(c, T_I32);
}

static void segment_index(struct checker *c, bool data)
{
	const uint8_t *at = c->r->p;
	uint32_t i = wasm_read_u32(c->r);

	if (failed(c->r))
		return;
	if (data && !c->m->has_datacount)
		wasm_fail_at(c->r, at, WASM_E_MALFORMED, "data count section required");
	else if (i >= (data ? c->m->ndatas : c->m->nelems))
		wasm_fail_at(c->r, at, WASM_E_INVALID, data ? "unknown data segment" : "unknown elem segment");
}

static void check_table_bulk(struct checker *c, uint32_t op)
{
	const uint8_t *at = c->r->p;
	uint32_t segment, table, source;
	uint8_t type;

	if (op == 12) {
		segment = wasm_read_u32(c->r);
		if (!failed(c->r) && segment >= c->m->nelems)
			wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown elem segment");
		table = table_index(c);
		pop_three_i32(c);
		if (!failed(c->r) && c->m->tables[table].type != c->m->elems[segment].type)
			invalid(c, "type mismatch");
		return;
	}
	table = table_index(c);
	if (failed(c->r))
		return;
	type = c->m->tables[table].type;
	if (op == 14) {
		source = table_index(c);
		pop_three_i32(c);
		if (!failed(c->r) && c->m->tables[source].type != type)
			invalid(c, "type mismatch");
	} else if (op == 15) {
		pop(c, T_I32);
		pop(c, type);
		push(c, T_I32);
	} else if (op == 16) {
		push(c, T_I32);
	} else {
		pop(c, T_I32);
		pop(c, type);
		pop(c, T_I32);
	}
}

static void check_prefixed(struct checker *c, const uint8_t *opcode)
{
	uint32_t op = wasm_read_u32(c->r);

	if (failed(c->r))
		return;
	switch (op) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7:
		check_simple(c, &prefixed_ops[op]);
		break;
	case 8:
		segment_index(c, true);
		read_memory_index(c);
		pop_three_i32(c);
		break;
	case 9:
		segment_index(c, true);
		break;
	case 10:
		read_memory_index(c);
		read_memory_index(c);
		pop_three_i32(c);
		break;
	case 11:
		read_memory_index(c);
		pop_three_i32(c);
		break;
	case 13:
		segment_index(c, false);
		break;
	case 12: case 14: case 15: case 16: case 17:
		check_table_bulk(c, op);
		break;
	default:
		wasm_fail_at(c->r, opcode, WASM_E_UNSUPPORTED, "unknown instruction behind 0xfc");
	}
}

static void check_reference(struct checker *c, uint8_t op)
{
	const uint8_t *at = c->r->p;
	uint32_t f;
	uint8_t type;

	if (op == 0xd0) {
		type = wasm_read_u8(c->r);
		if (!failed(c->r) && !is_ref(type))
			wasm_fail_at(c->r, at, WASM_E_MALFORMED, "malformed reference type");
		push(c, type);
	} else if (op == 0xd1) {
		type = pop_any(c);
		if (!failed(c->r) && type != T_UNKNOWN && !is_ref(type))
			invalid(c, "type mismatch");
		push(c, T_I32);
	} else {
		f = wasm_read_u32(c->r);
		if (failed(c->r))
			return;
		if (f >= c->m->nfuncs)
			wasm_fail_at(c->r, at, WASM_E_INVALID, "unknown function");
		else if (!(c->m->funcs[f].type & FUNC_DECLARED))
			wasm_fail_at(c->r, at, WASM_E_INVALID, "undeclared function reference");
		push(c, T_FUNCREF);
	}
}

static void skip_bytes(struct checker *c, uint32_t n)
{
	if (n > (uint32_t)(c->r->end - c->r->p)) {
		wasm_fail(c->r, WASM_E_MALFORMED, "unexpected end");
		return;
	}
	c->r->p += n;
}

static void check_constant_op(struct checker *c, uint8_t op)
{
	if (!WASM_FLOAT && op >= 0x43) {
		wasm_fail(c->r, WASM_E_UNSUPPORTED, "floating point (not built in)");
		return;
	}
	if (op == 0x41)
		wasm_read_s32(c->r);
	else if (op == 0x42)
		wasm_read_s64(c->r, 64);
	else
		skip_bytes(c, op == 0x43 ? 4 : 8);
	push(c, (uint8_t)(T_I32 - (op - 0x41)));
}

/* What a compiler may have emitted that this runtime refuses. */
static void refuse(struct checker *c, const uint8_t *opcode)
{
	uint8_t op = *opcode;
	const char *what = NULL;

	if (op == 0xfd)
		what = "SIMD";
	else if (op == 0xfe)
		what = "threads (atomic instruction)";
	else if ((op >= 0x06 && op <= 0x0a) || op == 0x18 || op == 0x19 || op == 0x1f)
		what = "exceptions";
	else if (op == 0x12 || op == 0x13)
		what = "tail calls";
	else if (op == 0x14 || op == 0x15 || (op >= 0xd3 && op <= 0xd6))
		what = "typed function references";
	else if (op == 0xfb)
		what = "garbage collection";
	if (what)
		wasm_fail_at(c->r, opcode, WASM_E_UNSUPPORTED, what);
	else
		wasm_fail_at(c->r, opcode, WASM_E_MALFORMED, "illegal opcode");
}

static void check_return(struct checker *c)
{
	struct signature s = wasm_type_signature(c->m, c->f->type & FUNC_TYPE);

	pop_types(c, s.results, s.nresults);
	unreachable_from_here(c);
}

static void check_instruction(struct checker *c)
{
	const uint8_t *opcode = c->r->p;
	uint8_t op = wasm_read_u8(c->r);

	if (op < 0xc5 && simple_ops[op].valid) {
		check_simple(c, &simple_ops[op]);
		return;
	}
	switch (op) {
	case 0x00: unreachable_from_here(c); break;
	case 0x01: break;
	case 0x02: open_block(c, B_BLOCK); break;
	case 0x03: open_block(c, B_LOOP); break;
	case 0x04: check_if(c, opcode); break;
	case 0x05: check_else(c, opcode); break;
	case 0x0b: check_end(c, opcode); break;
	case 0x0c: check_branch(c, opcode, false); break;
	case 0x0d: check_branch(c, opcode, true); break;
	case 0x0e: check_br_table(c, opcode); break;
	case 0x0f: check_return(c); break;
	case 0x10: check_call(c); break;
	case 0x11: check_call_indirect(c); break;
	case 0x1a: emit_slots(c, pop_any(c)); break;
	case 0x1b: check_select(c); break;
	case 0x1c: check_select_typed(c); break;
	case 0x20: case 0x21: case 0x22: check_local(c, op); break;
	case 0x23: case 0x24: check_global(c, op); break;
	case 0x25: case 0x26: check_table_access(c, op); break;
	case 0x3f: read_memory_index(c); push(c, T_I32); break;
	case 0x40: read_memory_index(c); pop(c, T_I32); push(c, T_I32); break;
	case 0x41: case 0x42: case 0x43: case 0x44: check_constant_op(c, op); break;
	case 0xd0: case 0xd1: case 0xd2: check_reference(c, op); break;
	case 0xfc: check_prefixed(c, opcode); break;
	default: refuse(c, opcode);
	}
}

/* ---------------------------------------------------------------- functions */

/* Appends n locals of a type. */
static void add_locals(struct checker *c, uint32_t n, uint8_t type)
{
	if (failed(c->r))
		return;
	if (c->local_slots + (uint64_t)n * slots_of(type) > LIMIT_LOCALS) {
		wasm_fail(c->r, WASM_E_LIMIT, "more than 16383 slots of locals");
		return;
	}
	if (slots_of(type) == 2 && n > 0)
		go_general(c);
	if (failed(c->r) || !reserve(c, n))
		return;
	for (uint32_t i = 0; i < n; i++)
		*--c->top = type;
	c->nlocals += n;
	c->local_slots += n * slots_of(type);
}

/* One group of locals: how many of which type. */
static uint32_t read_group(struct checker *c, uint8_t *type)
{
	uint32_t n = wasm_read_u32(c->r);

	*type = wasm_read_valtype(c->r);
	return n;
}

static void read_locals(struct checker *c)
{
	struct signature s = wasm_type_signature(c->m, c->f->type & FUNC_TYPE);
	const uint8_t *at = c->r->p;
	uint32_t groups = wasm_read_u32(c->r);
	const uint8_t *first = c->r->p;
	uint64_t total = 0;
	uint8_t type;

	/* The format's own limit comes before this implementation's. */
	for (uint32_t i = 0; i < groups && !failed(c->r); i++)
		total += read_group(c, &type);
	if (!failed(c->r) && total > UINT32_MAX)
		wasm_fail_at(c->r, at, WASM_E_MALFORMED, "too many locals");
	if (failed(c->r))
		return;
	for (uint32_t i = 0; i < s.nparams; i++)
		add_locals(c, 1, s.params[i]);
	c->param_slots = c->local_slots;
	if (failed(c->r))
		return;
	c->r->p = first;
	for (uint32_t i = 0; i < groups && !failed(c->r); i++) {
		uint32_t n = read_group(c, &type);

		add_locals(c, n, type);
	}
}

/* The general form's map of locals, in front of the function's entries. */
static void emit_map(struct checker *c)
{
	uint32_t words = (c->nlocals + 1) / 2, slot = 0;
	uint16_t *map;

	emit(c, words);
	if (failed(c->r))
		return;
	map = (uint16_t *)(void *)(c->side + words);
	for (uint32_t i = 0; i < c->nlocals; i++) {
		unsigned slots = slots_of(c->locals[-1 - (ptrdiff_t)i]);

		map[-1 - (ptrdiff_t)i] = (uint16_t)(slot << 1 | (slots == 2));
		slot += slots;
	}
}

static void check_form(struct checker *c)
{
	uint32_t first;

	read_locals(c);
	c->code = c->r->p;
	if (c->general)
		emit_map(c);
	first = c->nside;
	push_block(c, B_BODY, (int32_t)(c->f->type & FUNC_TYPE));
	while (!failed(c->r) && c->block) {
		if (c->r->p >= c->r->end) {
			wasm_fail(c->r, WASM_E_MALFORMED, "unexpected end: unclosed block");
			break;
		}
		check_instruction(c);
	}
	if (!failed(c->r) && c->r->p != c->r->end)
		wasm_fail(c->r, WASM_E_MALFORMED, "END opcode expected: code after the function's end");
	c->side += first; /* the function's first entry lies behind the map */
}

void wasm_check_body(struct loader *l, struct wasm_func *f, const uint8_t *end)
{
	const uint8_t *start = l->r.p;
	uint8_t *side = (uint8_t *)(((uintptr_t)l->bottom + 3) & ~(uintptr_t)3);
	struct checker c = {.general = false};
	uint32_t need;

	for (;;) {
		bool general = c.again;

		l->bottom = side;
		l->r.p = start;
		l->r.end = end;
		c = (struct checker){.l = l, .r = &l->r, .m = l->m, .f = f, .top = l->top, .locals = l->top,
				     .side = (uint32_t *)(void *)side, .general = general};
		check_form(&c);
		if (!c.again)
			break;
		*l->r.error = (struct wasm_error){.detail = ""};
	}
	if (failed(&l->r))
		return;
	need = c.local_slots - c.param_slots + FRAME_SLOTS + c.max_height;
	if (need > LIMIT_STACK) {
		wasm_fail_at(&l->r, start, WASM_E_LIMIT, "a function needs more than 65535 slots of stack");
		return;
	}
	f->code = c.code;
	f->side = c.side;
	f->length = (uint32_t)(end - c.code);
	f->locals = (uint16_t)(c.local_slots - c.param_slots);
	f->need = (uint16_t)need;
	if (c.general)
		f->type |= FUNC_GENERAL;
	l->m->side_words += (uint32_t)(l->bottom - side) / 4;
}

/* ---------------------------------------------------- constant expressions */

void wasm_check_constant(struct loader *l, uint8_t type)
{
	struct checker c = {.l = l, .r = &l->r, .m = l->m};
	const uint8_t *at = l->r.p;
	uint8_t op = wasm_read_u8(&l->r), got = 0;
	uint32_t i;

	if (failed(&l->r))
		return;
	switch (op) {
	case 0x41: wasm_read_s32(&l->r); got = T_I32; break;
	case 0x42: wasm_read_s64(&l->r, 64); got = T_I64; break;
	case 0x43: skip_bytes(&c, 4); got = T_F32; break;
	case 0x44: skip_bytes(&c, 8); got = T_F64; break;
	case 0x23:
		i = wasm_read_u32(&l->r);
		if (failed(&l->r))
			return;
		if (i >= l->m->nglobals || !l->m->globals[i].imported)
			wasm_fail_at(&l->r, at, WASM_E_INVALID, "unknown global");
		else if (l->m->globals[i].mutable_)
			wasm_fail_at(&l->r, at, WASM_E_INVALID, "constant expression required");
		else
			got = l->m->globals[i].type;
		break;
	case 0xd0:
		got = wasm_read_u8(&l->r);
		if (!failed(&l->r) && !is_ref(got))
			wasm_fail_at(&l->r, at, WASM_E_MALFORMED, "malformed reference type");
		break;
	case 0xd2:
		i = wasm_read_u32(&l->r);
		if (!failed(&l->r) && i >= l->m->nfuncs)
			wasm_fail_at(&l->r, at, WASM_E_INVALID, "unknown function");
		else if (!failed(&l->r))
			l->m->funcs[i].type |= FUNC_DECLARED;
		got = T_FUNCREF;
		break;
	case 0x0b:
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "type mismatch: empty constant expression");
		return;
	default:
		if (op < 0xc5 && immediates[op])
			wasm_fail_at(&l->r, at, WASM_E_INVALID, "constant expression required");
		else
			refuse(&c, at);
		return;
	}
	if (!failed(&l->r) && got != type)
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "type mismatch");
	at = l->r.p;
	op = wasm_read_u8(&l->r);
	if (failed(&l->r) || op == 0x0b)
		return;
	if (op >= 0x6a && op <= 0x7e && (op <= 0x6c || op >= 0x7c))
		wasm_fail_at(&l->r, at, WASM_E_UNSUPPORTED, "extended constant expressions");
	else
		wasm_fail_at(&l->r, at, WASM_E_INVALID, "constant expression required");
}

/* ------------------------------------------------------ finding instructions */

static const uint8_t *skip_lebs(const uint8_t *p, uint32_t n)
{
	while (n-- > 0)
		while (*p++ & 0x80)
			;
	return p;
}

/* The byte after a checked instruction. */
static const uint8_t *next_instruction(const uint8_t *p)
{
	uint8_t op = *p++, kind = immediates[op];
	uint32_t n;

	if (kind == K_PREFIX)
		kind = prefixed_immediates[leb_u32(&p)];
	switch (kind) {
	case K_NO: return p;
	case K_INDEX2: case K_MEM: return skip_lebs(p, 2);
	case K_LABELS:
		n = leb_u32(&p);
		return skip_lebs(p, n + 1);
	case K_TYPES: /* value types take a byte each */
		n = leb_u32(&p);
		return p + n;
	case K_F32: return p + 4;
	case K_F64: return p + 8;
	default: return skip_lebs(p, 1);
	}
}

const uint8_t *wasm_instruction_at(const uint8_t *code, const uint8_t *p)
{
	const uint8_t *next = code;

	do {
		code = next;
		next = next_instruction(code);
	} while (next < p);
	return code;
}
