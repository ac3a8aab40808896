// SPDX-License-Identifier: Apache-2.0
/*
 * The interpreter.
 *
 * It runs the module's own bytes. The instruction pointer, the stack pointer
 * and the locals live in C variables; up to two operands on top of the stack
 * are kept in the variables a and b. How many are there at a point of the
 * program is its state, and each state has a table of implementations indexed
 * by opcode:
 *
 *   state 0   all operands are in memory
 *   state 1   the top operand is in a
 *   state 2   the top operand is in b, the one below it in a
 *
 * An instruction's main implementation stands in the state that
 * wasm_opcodes.h calls its home. In another state its table entry moves
 * operands between memory and a, b, and goes on with the table of the home
 * state (fill, spill); what measuring shows to be frequent has an
 * implementation of its own there. All branch targets are entered in state 0.
 * Two-slot values are never in a or b.
 *
 * Functions of the general form (wasm_internal.h) use tables of their own that
 * differ in local, global, branch, drop and select instructions.
 *
 * During an instruction ip lies behind its opcode, at most at its end, so that
 * a trap can be attributed.
 */
#include "wasm_ops.h"
#include "wasm_opcodes.h"

/* Labels as values, designated initialisers that replace earlier ones. */
#pragma GCC diagnostic ignored "-Wpedantic"
#ifdef __clang__
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * The loop's variables that every instruction uses. A compiler's own choice of
 * registers for a function with hundreds of equally frequent blocks is poor, so
 * GCC for Thumb-2 is told: global register variables, in registers that calls
 * preserve. wasm_run saves its caller's values of them.
 */
#if defined(__thumb2__) && !defined(__clang__)
#define PINNED(type, name, where) register type name __asm__(where);
#define IN_REGISTERS 1
#else
#define PINNED(type, name, where)
#define IN_REGISTERS 0
#endif

#define LOOP_VARIABLES(X) \
	X(const uint8_t *, ip, "r4")       /* next byte of code */ \
	X(uint32_t *, sp, "r5")            /* next free slot of the stack */ \
	X(uint32_t *, locals, "r6")        /* first slot of the function's parameters */ \
	X(uint32_t, a, "r7")               /* operands on top of the stack, */ \
	X(uint32_t, b, "r8")               /* see above */ \
	X(const void *const *, t0, "r9")   /* tables of the three states */ \
	X(const void *const *, t1, "r10") \
	X(const void *const *, t2, "r11")
LOOP_VARIABLES(PINNED)
#define AS_MEMBER(type, name, where) type name;
#define AS_VARIABLE(type, name, where) type name;
#define SAVE(type, name, where) saved.name = name;
#define RESTORE(type, name, where) name = saved.name;

enum { TABLE = 0xfd, HOST_CALL_FUEL = 16, FAST_SPAN = 127 + 8 };

/* Addresses below this can take any one-byte offset and any width without
 * leaving the memory. */
static uint32_t fast_limit(const struct wasm_memory *m)
{
	return m->size > FAST_SPAN ? m->size - FAST_SPAN : 0;
}

/*
 * The loop must not let anyone take the address of its variables, or they would
 * not stay in registers. So what decodes a number gives it together with the
 * number of bytes.
 */
#define INDEX(to) do { \
	to = *ip++; \
	if (unlikely(to & 0x80)) { \
		uint64_t both_ = wasm_decode_index(ip - 1); \
		to = (uint32_t)both_; \
		ip += (uint32_t)(both_ >> 32) - 1; \
	} \
} while (0)

/* -------------------------------------------------------------- the tables */

/* The entry of an instruction with the given home in each state's table. */
#define HOME0(home, id) HOME0_##home(id)
#define HOME0_0(id) &&L0_##id
#define HOME0_1(id) &&fill01
#define HOME0_2(id) &&fill02
#define HOME1(home, id) HOME1_##home(id)
#define HOME1_0(id) &&spill1
#define HOME1_1(id) &&L1_##id
#define HOME1_2(id) &&fill12
#define HOME2(home, id) HOME2_##home(id)
#define HOME2_0(id) &&spill2
#define HOME2_1(id) &&spill21
#define HOME2_2(id) &&L2_##id

#define ENTRY0(code, id, name, home, ...) [code] = HOME0(home, id),
#define ENTRY1(code, id, name, home, ...) [code] = HOME1(home, id),
#define ENTRY2(code, id, name, home, ...) [code] = HOME2(home, id),
#if WASM_FLOAT
#define ALL(X) WASM_CONTROL(X) WASM_SIMPLE(X)
#else
/* Without floating point the validator lets none of its opcodes through. */
#define KEEP_I32(x) x
#define KEEP_I64(x) x
#define KEEP_NONE(x) x
#define KEEP_F32(x)
#define KEEP_F64(x)
#define INTEGER(X, a, b, r, ...) KEEP_##a(KEEP_##b(KEEP_##r(X(__VA_ARGS__))))
#define INTEGER0(code, id, name, home, imm, a, b, r, al) INTEGER(ENTRY0, a, b, r, code, id, name, home, imm)
#define INTEGER1(code, id, name, home, imm, a, b, r, al) INTEGER(ENTRY1, a, b, r, code, id, name, home, imm)
#define INTEGER2(code, id, name, home, imm, a, b, r, al) INTEGER(ENTRY2, a, b, r, code, id, name, home, imm)
#endif

/* Implementations in other states than the home, in functions of both forms. */
#define EXTRA1 \
	[0x0b] = &&S1_end, [0x41] = &&S1_i32_const,
#define EXTRA2 \
	[0x28] = &&S2_i32_load, [0x2a] = &&S2_i32_load, [0x2c] = &&S2_i32_load8_s, [0x2d] = &&S2_i32_load8_u, \
	[0x2e] = &&S2_i32_load16_s, [0x2f] = &&S2_i32_load16_u, [0x41] = &&S2_i32_const,

/* And in functions of the short form only. */
#define SHORT1 [0x20] = &&S1_local_get, [0x45] = &&C1_i32_eqz,
#define SHORT2 \
	[0x46] = &&C2_i32_eq, [0x47] = &&C2_i32_ne, [0x48] = &&C2_i32_lt_s, [0x49] = &&C2_i32_lt_u, \
	[0x4a] = &&C2_i32_gt_s, [0x4b] = &&C2_i32_gt_u, [0x4c] = &&C2_i32_le_s, [0x4d] = &&C2_i32_le_u, \
	[0x4e] = &&C2_i32_ge_s, [0x4f] = &&C2_i32_ge_u, \
	[0x1a] = &&S2_drop, [0x20] = &&S2_local_get, [0x21] = &&S2_local_set, [0x22] = &&S2_local_tee,

/* Functions of the general form replace these, in state 0 ... */
#define GENERAL0 \
	[0x02] = &&G_block, [0x03] = &&G_block, [0x05] = &&G_else, [0x0c] = &&G_br, [0x1a] = &&G_drop, \
	[0x1b] = &&G_select, [0x20] = &&G_local_get, [0x21] = &&G_local_set, [0x22] = &&G_local_tee, \
	[0x23] = &&G_global_get, [0x24] = &&G_global_set, [0x37] = &&G_store0, [0x39] = &&G_store0, \
	[0x3c] = &&G_store0, [0x3d] = &&G_store0, [0x3e] = &&G_store0,
/* ... in state 1 ... */
#define GENERAL1 \
	[0x04] = &&G_if, [0x0d] = &&G_br_if, [0x0e] = &&G_br_table, [0x1a] = &&spill1, [0x1b] = &&spill1, \
	[0x20] = &&spill1, [0x21] = &&spill1, [0x22] = &&spill1, [0x24] = &&spill1, \
	[0x28 ... 0x35] = &&G_load,
/* ... and in state 2. */
#define GENERAL2 \
	[0x1a] = &&spill2, [0x1b] = &&spill2, [0x20] = &&spill2, [0x21] = &&spill2, [0x22] = &&spill2, \
	[0x24] = &&spill2, [0x28 ... 0x35] = &&spill21, [0x36] = &&G_store2, [0x38] = &&G_store2, \
	[0x3a] = &&G_store2, [0x3b] = &&G_store2,

/* --------------------------------------------------------------- the loop */

#define NEXT0 goto *t0[*ip++]
#define NEXT1 goto *t1[*ip++]
#define NEXT2 goto *t2[*ip++]

/* The opcode of the instruction that just began. */
#define OPCODE (ip[-1])

#define TRAP(code) do { trap = code; goto trapped; } while (0)

/* A short entry is two signed halves. The empty assembly keeps GCC from
 * computing the target in another register than the variable's own. */
typedef const int16_t __attribute__((may_alias)) *short_entry;

#define BRANCH do { \
	short_entry entry_ = (short_entry)(const void *)side; \
	int32_t delta_ = entry_[0]; \
	side += entry_[1]; \
	ip += delta_; \
	__asm__("" : "+r"(ip)); \
	if (delta_ < 0 && unlikely((fuel += delta_) < 0)) \
		goto out_of_fuel; \
	NEXT0; \
} while (0)

#define UNARY(id, type, expression) L1_##id: { type x = (type)a; a = (uint32_t)(expression); NEXT1; }
/*
 * A comparison and the branch that it is for. In functions of the short form
 * the pair is one instruction: the entry in the table of state 2 (or 1) looks at
 * the next opcode.
 */
#define COMPARE(id, type, condition) \
	C2_##id: { type x = (type)a, y = (type)b; uint8_t op = *ip++; \
		if (op == 0x0d) { if (condition) goto take_branch; goto skip_branch; } \
		if (op == 0x04) { if (condition) goto skip_branch; goto take_branch; } \
		a = (condition); goto *t1[op]; } \
	BINARY(id, type, condition)
#define BINARY(id, type, expression) L2_##id: { type x = (type)a, y = (type)b; a = (uint32_t)(expression); NEXT1; }
#define UNARY64(id, type, expression) \
	L0_##id: { type x = (type)load64(sp - 2); store64(sp - 2, (uint64_t)(expression)); NEXT0; }
#define BINARY64(id, type, expression) \
	L0_##id: { type x = (type)load64(sp - 4), y = (type)load64(sp - 2); sp -= 2; \
		store64(sp - 2, (uint64_t)(expression)); NEXT0; }
/* Two-slot operands, a one-slot result. */
#define COMPARE64(id, type, expression) \
	L0_##id: { type x = (type)load64(sp - 4), y = (type)load64(sp - 2); sp -= 4; a = (expression); NEXT1; }
#define F32_UNARY(id, expression) L1_##id: { uint32_t x = a; a = (expression); NEXT1; }
#define F32_BINARY(id, expression) L2_##id: { float x = f32_of(a), y = f32_of(b); a = bits32(expression); NEXT1; }
#define F32_COMPARE(id, expression) L2_##id: { float x = f32_of(a), y = f32_of(b); a = (expression); NEXT1; }
#define F64_UNARY(id, expression) L0_##id: { uint64_t x = load64(sp - 2); store64(sp - 2, (expression)); NEXT0; }
#define F64_BINARY(id, expression) \
	L0_##id: { double x = f64_of(load64(sp - 4)), y = f64_of(load64(sp - 2)); sp -= 2; \
		store64(sp - 2, bits64(expression)); NEXT0; }
#define F64_COMPARE(id, expression) \
	L0_##id: { double x = f64_of(load64(sp - 4)), y = f64_of(load64(sp - 2)); sp -= 4; a = (expression); NEXT1; }

/* The offset byte, hidden from the compiler's idea of loading it twice. */
#define OFFSET_BYTE(address) uint32_t offset = ip[1], at = offset + (address); __asm__("" : "+r"(offset), "+r"(at))
#define FAST(address) likely(offset < 0x80) && likely((address) < limit)
#define AT(address) (memory + at)

#define LOAD(id, expression) \
	L1_##id: { OFFSET_BYTE(a); if (FAST(a)) { const uint8_t *p = AT(a); ip += 2; a = (uint32_t)(expression); NEXT1; } goto load_slow; }
#define LOAD_IN_2(id, expression) \
	S2_##id: { OFFSET_BYTE(b); if (FAST(b)) { const uint8_t *p = AT(b); ip += 2; b = (uint32_t)(expression); NEXT2; } goto spill21; }
#define LOAD64(id, expression) \
	L1_##id: { OFFSET_BYTE(a); if (FAST(a)) { const uint8_t *p = AT(a); ip += 2; store64(sp, (uint64_t)(expression)); sp += 2; NEXT0; } \
	goto load_slow; }
#define STORE(id, statement) \
	L2_##id: { OFFSET_BYTE(a); if (FAST(a)) { uint8_t *p = AT(a); ip += 2; statement; NEXT0; } goto store_slow; }
#define STORE64(id, statement) \
	L0_##id: { a = sp[-3]; OFFSET_BYTE(a); if (FAST(a)) { uint8_t *p = AT(a); uint64_t v = load64(sp - 2); ip += 2; sp -= 3; statement; NEXT0; } \
	goto store64_slow; }

/* Seven bits from each of four bytes: first pairs of them, then the two pairs. */
#define COMPACT(word) compact_pairs(((word) & 0x007f007f) | ((word) & 0x7f007f00) >> 1)
static inline uint32_t compact_pairs(uint32_t pairs) { return (pairs & 0x3fff) | pairs >> 16 << 14; }

/* Decodes an index that linkers pad to five bytes. */
#define PADDED_INDEX(to) do { \
	to = *ip; \
	if (to < 0x80) { \
		ip++; \
	} else if (ip[1] & 0x80 && (get32(ip) & 0x80808080) == 0x80808080) { \
		uint32_t word_ = get32(ip); \
		to = COMPACT(word_) | (uint32_t)ip[4] << 28; \
		ip += 5; \
	} else { \
		INDEX(to); \
	} \
} while (0)

/*
 * Decodes a signed constant into to. Linkers pad what they relocate to five
 * bytes, so that form comes first after the short ones. After three bytes of a
 * constant at least one more byte of code follows, so four can be loaded.
 */
#define CONSTANT(to) do { \
	uint32_t byte_ = *ip++; \
	if (likely(byte_ < 0x80)) { \
		to = (uint32_t)((int32_t)(byte_ << 25) >> 25); \
	} else { \
		uint32_t next_ = *ip++; \
		if (next_ < 0x80) { \
			to = (byte_ & 0x7f) | (uint32_t)((int32_t)(next_ << 25) >> 18); \
		} else { \
			uint32_t word_ = get32(ip - 2), low_ = COMPACT(word_); \
			if (likely((word_ & 0x80808080) == 0x80808080)) { \
				to = low_ | (uint32_t)ip[2] << 28; \
				ip += 3; \
			} else if (word_ & 0x00800000) { \
				to = (uint32_t)((int32_t)(low_ << 4) >> 4); \
				ip += 2; \
			} else { \
				to = (uint32_t)((int32_t)(low_ << 11) >> 11); \
				ip += 1; \
			} \
		} \
	} \
} while (0)

enum wasm_status wasm_run(struct wasm_instance *instance, uint32_t allowance)
{
	static const void *const tables[2][3][TABLE] = {
#if WASM_FLOAT
		{{ALL(ENTRY0)}, {ALL(ENTRY1) EXTRA1 SHORT1}, {ALL(ENTRY2) EXTRA2 SHORT2}},
		{{ALL(ENTRY0) GENERAL0}, {ALL(ENTRY1) EXTRA1 GENERAL1}, {ALL(ENTRY2) EXTRA2 GENERAL2}},
#else
		{{WASM_CONTROL(ENTRY0) WASM_SIMPLE(INTEGER0)},
		 {WASM_CONTROL(ENTRY1) WASM_SIMPLE(INTEGER1) EXTRA1 SHORT1},
		 {WASM_CONTROL(ENTRY2) WASM_SIMPLE(INTEGER2) EXTRA2 SHORT2}},
		{{WASM_CONTROL(ENTRY0) WASM_SIMPLE(INTEGER0) GENERAL0},
		 {WASM_CONTROL(ENTRY1) WASM_SIMPLE(INTEGER1) EXTRA1 GENERAL1},
		 {WASM_CONTROL(ENTRY2) WASM_SIMPLE(INTEGER2) EXTRA2 GENERAL2}},
#endif
	};
	struct wasm_execution *const x = &instance->x;
	struct wasm_instance *self = x->instance;
	const struct wasm_func *func = x->func, *callee;
	const struct wasm_func *funcs;
	const uint32_t *const stack_end = x->stack_end;
	struct wasm_instance *target;
	const uint8_t *end = NULL;
	const uint32_t *side = x->side;
	uint8_t *memory;
	uint32_t limit;
	int32_t fuel, given;
	int trap;

#if IN_REGISTERS
	struct {
		LOOP_VARIABLES(AS_MEMBER)
	} saved;
#else
	LOOP_VARIABLES(AS_VARIABLE)
#endif

	if (x->status != WASM_OUT_OF_FUEL)
		return (enum wasm_status)x->status;
#if IN_REGISTERS
	LOOP_VARIABLES(SAVE)
#endif
	ip = x->ip;
	sp = x->sp;
	locals = x->locals;
	a = b = 0;
	t0 = tables[0][0], t1 = t0 + TABLE, t2 = t1 + TABLE;
	given = allowance < INT32_MAX / 2 ? (int32_t)allowance : INT32_MAX / 2;
	fuel = given - x->debt;

#define USE_TABLES(f) (t0 = tables[(f)->type >> 15][0], t1 = t0 + TABLE, t2 = t1 + TABLE)
#define USE_INSTANCE() (funcs = self->m->funcs, USE_MEMORY())
#define USE_MEMORY() (memory = self->memory->data, limit = fast_limit(self->memory))

	USE_INSTANCE();
	if (fuel < 0)
		goto out_of_fuel;
	if (x->begin != UINT32_MAX) {
		callee = &self->m->funcs[x->begin];
		goto enter;
	}
	if (func == NULL)
		goto finished;
	end = func->code + func->length;
	USE_TABLES(func);
	NEXT0;

	/* --- moving operands between memory and a, b */
spill1:
	*sp++ = a;
	goto *t0[OPCODE];
spill2:
	sp[0] = a;
	sp[1] = b;
	sp += 2;
	goto *t0[OPCODE];
spill21:
	*sp++ = a;
	a = b;
	goto *t1[OPCODE];
fill01:
	a = *--sp;
	goto *t1[OPCODE];
fill02:
	a = sp[-2];
	b = sp[-1];
	sp -= 2;
	goto *t2[OPCODE];
fill12:
	b = a;
	a = *--sp;
	goto *t2[OPCODE];

	/* --- control */
L0_unreachable:
	TRAP(WASM_TRAP_UNREACHABLE);
L0_nop:
	NEXT0;
L0_block:
L0_loop:
	ip++;
	NEXT0;
L1_if_:
	if (a)
		goto skip_branch;
	BRANCH;
L1_br_if:
	if (a)
		goto take_branch;
skip_branch:
	ip++;
	side++;
	NEXT0;
take_branch:
	BRANCH;
L0_else_:
L0_br:
	BRANCH;
L1_br_table: {
	const uint8_t *p = ip;
	uint32_t n = leb_u32(&p);

	side += a < n ? a : n;
	BRANCH;
}

G_block:
	while (*ip++ & 0x80)
		;
	NEXT0;
G_if:
	if (!a)
		goto branch_general;
	side += 2;
	goto G_block;
G_br_if:
	if (a)
		goto branch_general;
	side += 2;
	goto G_block;
G_br_table: {
	const uint8_t *p = ip;
	uint32_t n = leb_u32(&p);

	side += 2 * (a < n ? a : n);
	goto branch_general;
}
G_else:
G_br:
branch_general: {
	int32_t delta = (int32_t)(side[0] << 8) >> 8;
	uint32_t keep = side[0] >> 24, drop = side[1] >> 16;

	if (drop) {
		uint32_t *from = sp - keep, *to = from - drop;

		while (keep-- > 0)
			*to++ = *from++;
		sp = to;
	}
	side += (int16_t)side[1];
	ip += delta;
	if (delta < 0) {
		fuel += delta;
		if (fuel < 0)
			goto out_of_fuel;
	}
	NEXT0;
}

S1_end:
	if (unlikely(ip == end)) {
		if (func->results == 1)
			goto return_one;
		*sp++ = a;
		goto return_any;
	}
	*sp++ = a;
	NEXT0;
L0_end:
	if (likely(ip != end))
		NEXT0;
L0_return_:
	if (func->results != 1)
		goto return_any;
	a = *--sp;
	/* The result is in a. */
return_one: {
	const struct wasm_frame *frame = (const void *)(locals + func->params + func->locals);
	const struct wasm_func *caller = frame->func;

	if (unlikely(caller == NULL || (func->type ^ caller->type) & FUNC_GENERAL)) {
		*sp++ = a;
		goto return_any;
	}
	sp = locals;
	func = caller;
	end = caller->code + caller->length;
	side = frame->side;
	ip = frame->ip;
	locals = frame->locals;
	NEXT1;
}
return_any: {
	const struct wasm_frame *frame = (const void *)(locals + func->params + func->locals);
	uint32_t *from, *to = locals;
	uint32_t n = func->results;

	if (unlikely(frame->func == NULL))
		goto leave;
	if ((func->type ^ frame->func->type) & FUNC_GENERAL)
		USE_TABLES(frame->func);
	from = sp - n;
	ip = frame->ip;
	locals = frame->locals;
	side = frame->side;
	func = frame->func;
	end = func->code + func->length;
	while (n-- > 0)
		*to++ = *from++;
	sp = to;
	NEXT0;
}

	/* Return from a function that was called from another instance or the host. */
leave: {
	struct wasm_crossing c = {0};
	uint32_t *from, *to = locals, n = func->results;

	if (x->depth > 0)
		c = *(const struct wasm_crossing *)(const void *)(locals + func->params + func->locals + FRAME_SLOTS);
	from = sp - n;
	while (n-- > 0)
		*to++ = *from++;
	sp = to;
	if (x->depth == 0)
		goto finished;
	x->depth--;
	self = c.instance;
	x->instance = self;
	USE_INSTANCE();
	ip = c.frame.ip;
	locals = c.frame.locals;
	side = c.frame.side;
	func = c.frame.func;
	if (func == NULL)
		goto finished;
	end = func->code + func->length;
	USE_TABLES(func);
	NEXT0;
}

L0_call: {
	uint32_t index;

	PADDED_INDEX(index);
	callee = &funcs[index];
}
	/* The usual call: of a function of the same instance and form. */
{
	const struct wasm_func *f = callee;
	const uint8_t *code = f->code;
	struct wasm_frame *frame;
	uint32_t *first;

	if (unlikely(code == NULL || (f->type ^ func->type) & FUNC_GENERAL))
		goto enter;
	if (unlikely((size_t)((uint8_t *)stack_end - (uint8_t *)sp) < f->need * sizeof(*sp)))
		goto stack_overflow;
	first = sp - f->params;
	for (uint32_t n = f->locals; n > 0; n--, fuel--)
		*sp++ = 0;
	frame = (struct wasm_frame *)(void *)sp;
	frame->ip = ip;
	frame->locals = locals;
	frame->side = side;
	frame->func = func;
	locals = first;
	sp += FRAME_SLOTS;
	func = f;
	ip = code;
	side = f->side;
	end = code + f->length;
	if (unlikely((fuel -= (int32_t)f->length) < 0))
		goto out_of_fuel;
	NEXT0;
}
enter:
	if (unlikely(callee->code == NULL))
		goto call_import;
	if (unlikely((size_t)((uint8_t *)x->stack_end - (uint8_t *)sp) < callee->need * sizeof(*sp)))
		goto stack_overflow;
	{
		uint32_t *first = sp - callee->params;
		struct wasm_frame *frame;

		if (callee->locals) {
			uint32_t n = callee->locals;

			fuel -= (int32_t)n;
			do
				*sp++ = 0;
			while (--n > 0);
		}
		frame = (struct wasm_frame *)(void *)sp;
		frame->ip = ip;
		frame->locals = locals;
		frame->side = side;
		frame->func = func;
		locals = first;
		sp += FRAME_SLOTS;
	}
	if (func == NULL || (callee->type ^ func->type) & FUNC_GENERAL)
		USE_TABLES(callee);
	func = callee;
	ip = func->code;
	side = func->side;
	end = ip + func->length;
	fuel -= (int32_t)func->length;
	if (unlikely(fuel < 0))
		goto out_of_fuel;
	NEXT0;

call_import: {
	struct wasm_binding *binding = &self->bindings[callee - self->m->funcs];

	if (binding->host == NULL) {
		target = binding->instance;
		callee = &target->m->funcs[binding->function];
		goto cross;
	}
	x->calling = binding->host;
	switch (binding->host->call(self, sp - callee->params, self->user)) {
	case WASM_HOST_OK:
		break;
	case WASM_HOST_WAIT:
		x->wait = sp - callee->params;
		x->wait_slots = callee->results;
		sp = x->wait + callee->results;
		fuel -= HOST_CALL_FUEL;
		x->status = WASM_WAITING;
		x->begin = UINT32_MAX;
		goto stop;
	default:
		TRAP(WASM_TRAP_HOST);
	}
	sp += (int32_t)callee->results - (int32_t)callee->params;
	fuel -= HOST_CALL_FUEL;
	if (func == NULL)
		goto finished;
	if (unlikely(fuel < 0))
		goto out_of_fuel;
	NEXT0;
}

	/* Call a function of another instance: callee of target. */
cross:
	if ((size_t)(x->stack_end - sp) < (size_t)callee->need + CROSSING_SLOTS)
		goto stack_overflow;
	{
		const struct wasm_frame outer = {0};
		const struct wasm_crossing c = {self, {ip, locals, side, func}};

		locals = sp - callee->params;
		for (uint32_t n = callee->locals; n > 0; n--)
			*sp++ = 0;
		*(struct wasm_frame *)(void *)sp = outer;
		*(struct wasm_crossing *)(void *)(sp + FRAME_SLOTS) = c;
		sp += FRAME_SLOTS + CROSSING_SLOTS;
	}
	x->depth++;
	self = target;
	x->instance = self;
	USE_INSTANCE();
	USE_TABLES(callee);
	func = callee;
	ip = func->code;
	side = func->side;
	end = ip + func->length;
	fuel -= (int32_t)(func->length + func->locals);
	if (fuel < 0)
		goto out_of_fuel;
	NEXT0;

L1_call_indirect: {
	uint32_t type, index, ref;
	const struct wasm_table *table;

	PADDED_INDEX(type);
	INDEX(index);
	table = self->tables[index];
	if (a >= table->size)
		TRAP(WASM_TRAP_TABLE);
	ref = table->items[a];
	if (ref == WASM_NULL)
		TRAP(WASM_TRAP_UNINITIALIZED);
	if (unlikely(ref >> REF_SHIFT != self->number)) {
		target = wasm_ref_instance(self, ref);
		callee = &target->m->funcs[(ref & REF_INDEX) - 1];
		if (!wasm_same_type(self->m, type, target->m, callee->type & FUNC_TYPE))
			TRAP(WASM_TRAP_SIGNATURE);
		if (callee->code)
			goto cross;
		goto call_foreign_import;
	}
	callee = &self->m->funcs[(ref & REF_INDEX) - 1];
	if (self->m->types[callee->type & FUNC_TYPE].canonical != self->m->types[type].canonical)
		TRAP(WASM_TRAP_SIGNATURE);
	goto enter;
}

	/* A reference to a function that its instance imports itself. */
call_foreign_import: {
	struct wasm_binding *binding = &target->bindings[callee - target->m->funcs];

	if (binding->host == NULL) {
		target = binding->instance;
		callee = &target->m->funcs[binding->function];
		goto cross;
	}
	x->calling = binding->host;
	if (binding->host->call(target, sp - callee->params, target->user) != WASM_HOST_OK)
		TRAP(WASM_TRAP_HOST);
	sp += (int32_t)callee->results - (int32_t)callee->params;
	fuel -= HOST_CALL_FUEL;
	if (fuel < 0)
		goto out_of_fuel;
	NEXT0;
}

	/* --- parametric and variable instructions */
L1_drop:
	NEXT0;
S2_drop:
	NEXT1;
L2_select: {
	uint32_t first = *--sp;

	a = b ? first : a;
	NEXT1;
}
L0_select_t: {
	uint8_t type;
	uint32_t condition = *--sp, n;

	INDEX(n); /* of types: 1 */
	(void)n;
	type = *ip++;
	if (slots_of(type) == 2) {
		sp -= 2;
		if (!condition)
			store64(sp - 2, load64(sp));
	} else {
		sp -= 1;
		if (!condition)
			sp[-1] = sp[0];
	}
	NEXT0;
}
/* The empty assembly keeps GCC from reading the next opcode before ip moves. */
#define SET_LOCAL(from) do { \
	uint32_t index_ = *ip++; \
	__asm__("" : "+r"(ip)); \
	locals[index_] = from; \
} while (0)

L0_local_get:
	a = locals[*ip++];
	NEXT1;
S1_local_get:
	b = locals[*ip++];
	NEXT2;
S2_local_get:
	*sp++ = a;
	a = b;
	b = locals[*ip++];
	NEXT2;
L1_local_set:
	SET_LOCAL(a);
	NEXT0;
S2_local_set:
	SET_LOCAL(b);
	NEXT1;
L1_local_tee:
	SET_LOCAL(a);
	NEXT1;
S2_local_tee:
	SET_LOCAL(b);
	NEXT2;
L0_global_get: {
	uint32_t index;

	PADDED_INDEX(index);
	a = *self->globals[index];
	NEXT1;
}
L1_global_set: {
	uint32_t index;

	PADDED_INDEX(index);
	*self->globals[index] = a;
	NEXT0;
}

G_drop:
	sp -= *side++;
	NEXT0;
G_select:
	if (*side++ == 2) {
		sp -= 3;
		if (!sp[2])
			store64(sp - 2, load64(sp));
	} else {
		sp -= 2;
		if (!sp[1])
			sp[-1] = sp[0];
	}
	NEXT0;

#define LOCAL_SLOT(to) \
	uint32_t index_, to; \
	INDEX(index_); \
	to = ((const uint16_t *)(const void *)func->side)[-1 - (int32_t)index_]

G_local_get: {
	LOCAL_SLOT(slot);
	if (slot & 1) {
		store64(sp, load64(locals + (slot >> 1)));
		sp += 2;
		NEXT0;
	}
	a = locals[slot >> 1];
	NEXT1;
}
G_local_set: {
	LOCAL_SLOT(slot);
	if (slot & 1) {
		sp -= 2;
		store64(locals + (slot >> 1), load64(sp));
		NEXT0;
	}
	locals[slot >> 1] = *--sp;
	NEXT0;
}
G_local_tee: {
	LOCAL_SLOT(slot);
	if (slot & 1)
		store64(locals + (slot >> 1), load64(sp - 2));
	else
		locals[slot >> 1] = sp[-1];
	NEXT0;
}
G_global_get: {
	uint32_t index;

	INDEX(index);
	if (slots_of(self->m->globals[index].type) == 2) {
		store64(sp, load64(self->globals[index]));
		sp += 2;
		NEXT0;
	}
	a = *self->globals[index];
	NEXT1;
}
G_global_set: {
	uint32_t index;

	INDEX(index);
	if (slots_of(self->m->globals[index].type) == 2) {
		sp -= 2;
		store64(self->globals[index], load64(sp));
		NEXT0;
	}
	*self->globals[index] = *--sp;
	NEXT0;
}

L1_table_get: {
	const struct wasm_table *table;
	uint32_t index;

	INDEX(index);
	table = self->tables[index];
	if (a >= table->size)
		TRAP(WASM_TRAP_TABLE);
	a = table->items[a];
	NEXT1;
}
L2_table_set: {
	const struct wasm_table *table;
	uint32_t index;

	INDEX(index);
	table = self->tables[index];
	if (a >= table->size)
		TRAP(WASM_TRAP_TABLE);
	table->items[a] = b;
	NEXT0;
}

	/* --- memory */
	/* What is rare, or has a form of the same width, shares an implementation. */
#if WASM_FLOAT
L1_f32_load:
#endif
LOAD(i32_load, get32(p))
LOAD(i32_load8_s, (int8_t)*p)
LOAD(i32_load8_u, *p)
LOAD(i32_load16_s, (int16_t)get16(p))
LOAD(i32_load16_u, get16(p))
LOAD_IN_2(i32_load, get32(p))
LOAD_IN_2(i32_load8_s, (int8_t)*p)
LOAD_IN_2(i32_load8_u, *p)
LOAD_IN_2(i32_load16_s, (int16_t)get16(p))
LOAD_IN_2(i32_load16_u, get16(p))
#if WASM_FLOAT
L1_f64_load:
#endif
LOAD64(i64_load, get64(p))
#if WASM_FLOAT
L2_f32_store:
#endif
STORE(i32_store, put32(p, b))
STORE(i32_store8, *p = (uint8_t)b)
STORE(i32_store16, put16(p, b))
#if WASM_FLOAT
L0_f64_store:
#endif
STORE64(i64_store, put64(p, v))

L1_i64_load8_s:
L1_i64_load8_u:
L1_i64_load16_s:
L1_i64_load16_u:
L1_i64_load32_s:
L1_i64_load32_u:
load_slow: {
	uint8_t op = OPCODE;
	const uint8_t *after = ip, *p = wasm_checked_address(self->memory, op, &after, a);
	uint64_t value;

	ip = after;
	if (p == NULL)
		TRAP(WASM_TRAP_MEMORY);
	value = wasm_load_value(op, p);
	if (wasm_is_wide_access(op)) {
		store64(sp, value);
		sp += 2;
		NEXT0;
	}
	a = (uint32_t)value;
	NEXT1;
}
store_slow: {
	uint8_t op = OPCODE;
	const uint8_t *after = ip;
	uint8_t *p = wasm_checked_address(self->memory, op, &after, a);

	ip = after;
	if (p == NULL)
		TRAP(WASM_TRAP_MEMORY);
	wasm_store_value(op, p, b);
	NEXT0;
}
L0_i64_store8:
L0_i64_store16:
L0_i64_store32:
store64_slow: {
	uint8_t op = OPCODE;
	const uint8_t *after = ip;
	uint8_t *p = wasm_checked_address(self->memory, op, &after, sp[-3]);

	ip = after;
	if (p == NULL)
		TRAP(WASM_TRAP_MEMORY);
	wasm_store_value(op, p, load64(sp - 2));
	sp -= 3;
	NEXT0;
}
	/* In the general form an alignment may take more than one byte. */
G_load:
	if (*ip & 0x80)
		goto load_slow;
	goto *tables[0][1][OPCODE];
G_store2:
	if (*ip & 0x80)
		goto store_slow;
	goto *tables[0][2][OPCODE];
G_store0:
	if (*ip & 0x80)
		goto store64_slow;
	goto *tables[0][0][OPCODE];

L0_memory_size:
	ip++;
	a = self->memory->pages;
	NEXT1;
L1_memory_grow:
	ip++;
	a = wasm_memory_grow(self->memory, a);
	USE_MEMORY();
	NEXT1;

	/* --- constants */
L0_i32_const:
	CONSTANT(a);
	NEXT1;
S1_i32_const:
	CONSTANT(b);
	NEXT2;
S2_i32_const:
	*sp++ = a;
	a = b;
	CONSTANT(b);
	NEXT2;
L0_i64_const: {
	const uint8_t *p = ip;

	store64(sp, (uint64_t)leb_s64(&p));
	ip = p;
	sp += 2;
	NEXT0;
}
#if WASM_FLOAT
L0_f32_const:
	a = get32(ip);
	ip += 4;
	NEXT1;
L0_f64_const:
	store64(sp, get64(ip));
	ip += 8;
	sp += 2;
	NEXT0;
#else
L0_f32_const:
L0_f64_const:
	TRAP(WASM_TRAP_UNREACHABLE);
#endif

	/* --- i32 */
C1_i32_eqz: {
	uint8_t op = *ip++;

	if (op == 0x0d) {
		if (a == 0)
			goto take_branch;
		goto skip_branch;
	}
	a = a == 0;
	goto *t1[op];
}
UNARY(i32_eqz, uint32_t, x == 0)
COMPARE(i32_eq, uint32_t, x == y)
COMPARE(i32_ne, uint32_t, x != y)
COMPARE(i32_lt_s, int32_t, x < y)
COMPARE(i32_lt_u, uint32_t, x < y)
COMPARE(i32_gt_s, int32_t, x > y)
COMPARE(i32_gt_u, uint32_t, x > y)
COMPARE(i32_le_s, int32_t, x <= y)
COMPARE(i32_le_u, uint32_t, x <= y)
COMPARE(i32_ge_s, int32_t, x >= y)
COMPARE(i32_ge_u, uint32_t, x >= y)
UNARY(i32_clz, uint32_t, clz32(x))
UNARY(i32_ctz, uint32_t, ctz32(x))
UNARY(i32_popcnt, uint32_t, wasm_popcnt32(x))
BINARY(i32_add, uint32_t, x + y)
BINARY(i32_sub, uint32_t, x - y)
BINARY(i32_mul, uint32_t, x * y)
L2_i32_div_s:
	if (b == 0)
		TRAP(WASM_TRAP_DIVIDE);
	if (a == 0x80000000 && b == 0xffffffff)
		TRAP(WASM_TRAP_OVERFLOW);
	a = (uint32_t)((int32_t)a / (int32_t)b);
	NEXT1;
L2_i32_div_u:
	if (b == 0)
		TRAP(WASM_TRAP_DIVIDE);
	a /= b;
	NEXT1;
L2_i32_rem_s:
	if (b == 0)
		TRAP(WASM_TRAP_DIVIDE);
	a = b == 0xffffffff ? 0 : (uint32_t)((int32_t)a % (int32_t)b);
	NEXT1;
L2_i32_rem_u:
	if (b == 0)
		TRAP(WASM_TRAP_DIVIDE);
	a %= b;
	NEXT1;
BINARY(i32_and, uint32_t, x & y)
BINARY(i32_or, uint32_t, x | y)
BINARY(i32_xor, uint32_t, x ^ y)
BINARY(i32_shl, uint32_t, x << (y & 31))
BINARY(i32_shr_s, int32_t, x >> (y & 31))
BINARY(i32_shr_u, uint32_t, x >> (y & 31))
BINARY(i32_rotl, uint32_t, rotl32(x, y))
BINARY(i32_rotr, uint32_t, rotr32(x, y))
UNARY(i32_extend8_s, int8_t, (int32_t)x)
UNARY(i32_extend16_s, int16_t, (int32_t)x)

	/* --- i64 */
L0_i64_eqz:
	sp -= 2;
	a = load64(sp) == 0;
	NEXT1;
COMPARE64(i64_eq, uint64_t, x == y)
COMPARE64(i64_ne, uint64_t, x != y)
COMPARE64(i64_lt_s, int64_t, x < y)
COMPARE64(i64_lt_u, uint64_t, x < y)
COMPARE64(i64_gt_s, int64_t, x > y)
COMPARE64(i64_gt_u, uint64_t, x > y)
COMPARE64(i64_le_s, int64_t, x <= y)
COMPARE64(i64_le_u, uint64_t, x <= y)
COMPARE64(i64_ge_s, int64_t, x >= y)
COMPARE64(i64_ge_u, uint64_t, x >= y)
UNARY64(i64_clz, uint64_t, clz64(x))
UNARY64(i64_ctz, uint64_t, ctz64(x))
UNARY64(i64_popcnt, uint64_t, wasm_popcnt32((uint32_t)x) + wasm_popcnt32((uint32_t)(x >> 32)))
BINARY64(i64_add, uint64_t, x + y)
BINARY64(i64_sub, uint64_t, x - y)
BINARY64(i64_mul, uint64_t, x * y)
L0_i64_div_s:
	if (load64(sp - 2) == 0)
		TRAP(WASM_TRAP_DIVIDE);
	if (load64(sp - 4) == UINT64_C(1) << 63 && load64(sp - 2) == UINT64_MAX)
		TRAP(WASM_TRAP_OVERFLOW);
	sp -= 2;
	store64(sp - 2, (uint64_t)((int64_t)load64(sp - 2) / (int64_t)load64(sp)));
	NEXT0;
L0_i64_div_u:
	if (load64(sp - 2) == 0)
		TRAP(WASM_TRAP_DIVIDE);
	sp -= 2;
	store64(sp - 2, load64(sp - 2) / load64(sp));
	NEXT0;
L0_i64_rem_s:
	if (load64(sp - 2) == 0)
		TRAP(WASM_TRAP_DIVIDE);
	sp -= 2;
	store64(sp - 2, load64(sp) == UINT64_MAX ? 0 : (uint64_t)((int64_t)load64(sp - 2) % (int64_t)load64(sp)));
	NEXT0;
L0_i64_rem_u:
	if (load64(sp - 2) == 0)
		TRAP(WASM_TRAP_DIVIDE);
	sp -= 2;
	store64(sp - 2, load64(sp - 2) % load64(sp));
	NEXT0;
BINARY64(i64_and, uint64_t, x & y)
BINARY64(i64_or, uint64_t, x | y)
BINARY64(i64_xor, uint64_t, x ^ y)
BINARY64(i64_shl, uint64_t, x << (y & 63))
BINARY64(i64_shr_s, int64_t, x >> (y & 63))
BINARY64(i64_shr_u, uint64_t, x >> (y & 63))
BINARY64(i64_rotl, uint64_t, rotl64(x, y))
BINARY64(i64_rotr, uint64_t, rotr64(x, y))
UNARY64(i64_extend8_s, int8_t, (int64_t)x)
UNARY64(i64_extend16_s, int16_t, (int64_t)x)
UNARY64(i64_extend32_s, int32_t, (int64_t)x)
L0_i32_wrap_i64:
	sp -= 2;
	a = sp[0];
	NEXT1;
L1_i64_extend_i32_s:
	sp[0] = a;
	sp[1] = (uint32_t)((int32_t)a >> 31);
	sp += 2;
	NEXT0;
L1_i64_extend_i32_u:
	sp[0] = a;
	sp[1] = 0;
	sp += 2;
	NEXT0;

#if WASM_FLOAT
	/* --- f32 */
F32_COMPARE(f32_eq, x == y)
F32_COMPARE(f32_ne, x != y)
F32_COMPARE(f32_lt, x < y)
F32_COMPARE(f32_gt, x > y)
F32_COMPARE(f32_le, x <= y)
F32_COMPARE(f32_ge, x >= y)
F32_UNARY(f32_abs, x & 0x7fffffff)
F32_UNARY(f32_neg, x ^ 0x80000000)
F32_UNARY(f32_ceil, wasm_round32(x, ROUND_CEIL))
F32_UNARY(f32_floor, wasm_round32(x, ROUND_FLOOR))
F32_UNARY(f32_trunc, wasm_round32(x, ROUND_TRUNC))
F32_UNARY(f32_nearest, wasm_round32(x, ROUND_NEAREST))
F32_UNARY(f32_sqrt, wasm_sqrt32(x))
F32_BINARY(f32_add, x + y)
F32_BINARY(f32_sub, x - y)
F32_BINARY(f32_mul, x * y)
F32_BINARY(f32_div, x / y)
BINARY(f32_min, uint32_t, wasm_min32(x, y, false))
BINARY(f32_max, uint32_t, wasm_min32(x, y, true))
BINARY(f32_copysign, uint32_t, (x & 0x7fffffff) | (y & 0x80000000))

	/* --- f64 */
F64_COMPARE(f64_eq, x == y)
F64_COMPARE(f64_ne, x != y)
F64_COMPARE(f64_lt, x < y)
F64_COMPARE(f64_gt, x > y)
F64_COMPARE(f64_le, x <= y)
F64_COMPARE(f64_ge, x >= y)
F64_UNARY(f64_abs, x & UINT64_C(0x7fffffffffffffff))
F64_UNARY(f64_neg, x ^ UINT64_C(0x8000000000000000))
F64_UNARY(f64_ceil, wasm_round64(x, ROUND_CEIL))
F64_UNARY(f64_floor, wasm_round64(x, ROUND_FLOOR))
F64_UNARY(f64_trunc, wasm_round64(x, ROUND_TRUNC))
F64_UNARY(f64_nearest, wasm_round64(x, ROUND_NEAREST))
F64_UNARY(f64_sqrt, wasm_sqrt64(x))
F64_BINARY(f64_add, x + y)
F64_BINARY(f64_sub, x - y)
F64_BINARY(f64_mul, x * y)
F64_BINARY(f64_div, x / y)
BINARY64(f64_min, uint64_t, wasm_min64(x, y, false))
BINARY64(f64_max, uint64_t, wasm_min64(x, y, true))
BINARY64(f64_copysign, uint64_t, (x & UINT64_C(0x7fffffffffffffff)) | (y & UINT64_C(0x8000000000000000)))

	/* --- conversions */
L1_i32_trunc_f32_s:
L1_i32_trunc_f32_u:
L1_i64_trunc_f32_s:
L1_i64_trunc_f32_u:
	*sp++ = a;
L0_i32_trunc_f64_s:
L0_i32_trunc_f64_u:
L0_i64_trunc_f64_s:
L0_i64_trunc_f64_u:
	/* 0xa8 to 0xab give i32, 0xae to 0xb1 i64; truncate counts them on. */
{
	uint32_t *top = sp, op = OPCODE;

	trap = wasm_truncate_op(&top, op < 0xae ? op - 0xa8u : op - 0xaeu + 4, false);
	sp = top;
	if (trap)
		goto trapped;
	NEXT0;
}
L1_f32_convert_i32_s:
	a = bits32((float)(int32_t)a);
	NEXT1;
L1_f32_convert_i32_u:
	a = bits32((float)a);
	NEXT1;
L0_f32_convert_i64_s:
	sp -= 2;
	a = bits32((float)(int64_t)load64(sp));
	NEXT1;
L0_f32_convert_i64_u:
	sp -= 2;
	a = bits32((float)load64(sp));
	NEXT1;
L0_f32_demote_f64:
	sp -= 2;
	a = wasm_demote(load64(sp));
	NEXT1;
L1_f64_convert_i32_s:
	store64(sp, bits64((double)(int32_t)a));
	sp += 2;
	NEXT0;
L1_f64_convert_i32_u:
	store64(sp, bits64((double)a));
	sp += 2;
	NEXT0;
F64_UNARY(f64_convert_i64_s, bits64((double)(int64_t)x))
F64_UNARY(f64_convert_i64_u, bits64((double)x))
L1_f64_promote_f32:
	store64(sp, wasm_promote(a));
	sp += 2;
	NEXT0;
L1_i32_reinterpret_f32:
L1_f32_reinterpret_i32:
	NEXT1;
L0_i64_reinterpret_f64:
L0_f64_reinterpret_i64:
	NEXT0;
#endif

	/* --- references */
L0_ref_null:
	ip++;
	a = WASM_NULL;
	NEXT1;
L1_ref_is_null:
	a = a == WASM_NULL;
	NEXT1;
L0_ref_func:
	INDEX(a);
	a = wasm_ref(self, a);
	NEXT1;

L0_prefix: {
	const uint8_t *p = ip;
	uint32_t *top = sp, spent = 0;

	trap = wasm_prefixed(self, &p, &top, &spent);
	ip = p;
	sp = top;
	if (trap)
		goto trapped;
	fuel -= (int32_t)spent;
	NEXT0;
}

	/* --- the ends of a run */
stack_overflow:
	TRAP(WASM_TRAP_STACK);
trapped:
	x->status = WASM_TRAPPED;
	x->trap = (uint8_t)trap;
	goto stop;
finished:
	x->status = WASM_DONE;
	x->begin = UINT32_MAX;
	func = NULL;
	goto stop;
out_of_fuel:
	x->status = WASM_OUT_OF_FUEL;
stop:
	if (x->status != WASM_TRAPPED && func != NULL)
		x->begin = UINT32_MAX;
	x->ip = ip;
	x->sp = sp;
	x->locals = locals;
	x->side = side;
	x->func = func;
	/* fuel started at given less the old debt; below zero is the new one. */
	x->used += (uint64_t)((int64_t)given - x->debt - fuel);
	x->debt = fuel < 0 ? -fuel : 0;
#if IN_REGISTERS
	LOOP_VARIABLES(RESTORE)
#endif
	return (enum wasm_status)x->status;
}
