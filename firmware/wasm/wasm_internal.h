// SPDX-License-Identifier: Apache-2.0
/*
 * Structures shared by the loader, the validator and the interpreter.
 *
 * SIDE TABLE. The validator writes, for each function body, one entry for each
 * branch in the order of the code; the interpreter keeps a pointer to the next
 * one. An entry says how far to move the instruction pointer (counted from the
 * byte after the branch's opcode) and the table pointer (in words, from the
 * entry itself). There are two forms of function:
 *
 * short   all locals, globals and dropped or selected values are one slot wide, all
 *         indices in local and branch instructions take one byte, no branch
 *         drops operands, the body is below 32 KiB. Entries are one word:
 *         code delta in the low half, table delta in the high half.
 * general anything else. Entries are two words: code delta (24 bits) and slots
 *         to keep (8 bits); table delta and slots to drop (16 bits each).
 *         Every drop and select takes a word: the value's slots. Before the
 *         first entry lies a map, read backwards, of 16 bits per local: its
 *         slot times two, plus one if it has two slots.
 *
 * A branch to a function's outermost label points at its last end.
 */
#ifndef WASM_INTERNAL_H
#define WASM_INTERNAL_H

#include "wasm.h"

/* How an instance's memory is made zero; wasm32/guest.c knows what is already. */
#ifndef WASM_ZERO
#define WASM_ZERO(at, n) __builtin_memset(at, 0, n)
#else
void WASM_ZERO(void *at, uint32_t length);
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the runtime needs a little-endian machine"
#endif

enum { T_UNKNOWN = 0, T_I32 = 0x7f, T_I64 = 0x7e, T_F32 = 0x7d, T_F64 = 0x7c, T_FUNCREF = 0x70, T_EXTERNREF = 0x6f };

/* Limits of this implementation; WASM_E_LIMIT names them. */
enum {
	LIMIT_MODULE = (1 << 23) - 1, /* bytes; code deltas have 24 bits */
	LIMIT_TYPES = 1024,           /* compared pairwise */
	LIMIT_IMPORTS = 1024,
	LIMIT_EXPORTS = 1024,         /* compared pairwise */
	LIMIT_COMPARED = 1 << 22,     /* bytes compared to find equal types and export names */
	LIMIT_SLOTS = 255,            /* of a function's parameters, of its results */
	LIMIT_LOCALS = 16383,         /* slots of a function's locals */
	LIMIT_STACK = 65535,          /* slots that a function needs in all */
	LIMIT_TABLES = 255,
	LIMIT_BRANCH = 32767, /* words of side table that one branch passes over */
};

/* A function type. offset is that of its parameter vector in the module;
 * canonical is the index of the first type with the same structure. */
struct wasm_type {
	uint32_t offset;
	uint16_t canonical;
	uint8_t params, results; /* slots */
};

enum { FUNC_TYPE = 0x0fff, FUNC_DECLARED = 0x4000, FUNC_GENERAL = 0x8000 };

/* A function. Imported ones have no code, and length is their import's offset. */
struct wasm_func {
	const uint8_t *code;  /* first instruction */
	const uint32_t *side; /* first entry */
	uint32_t length;      /* of the code, with the last end */
	uint16_t type;        /* FUNC_ bits */
	uint16_t locals;      /* slots, without parameters */
	uint16_t need;        /* slots of locals, frame and operands */
	uint8_t params, results;
};

struct wasm_global_info {
	uint32_t offset; /* of the initialiser, or of the import */
	uint8_t type, mutable_, imported;
};

struct wasm_table_info {
	uint32_t offset; /* of the import */
	uint32_t min, max;
	uint8_t type, imported;
};

struct wasm_memory_info {
	uint32_t offset;   /* of the import */
	uint32_t min, max; /* pages */
	uint8_t present, imported, has_max, page_shift;
};

enum { SEGMENT_ACTIVE, SEGMENT_PASSIVE, SEGMENT_DECLARED };

struct wasm_elem {
	uint32_t offset; /* of the segment */
	uint32_t items;  /* offset of the first item */
	uint32_t count;
	uint8_t table, mode, type, expressions;
};

struct wasm_data {
	uint32_t offset; /* of the segment */
	uint32_t bytes;  /* offset of the contents */
	uint32_t count;
	uint8_t mode;
};

struct wasm_module {
	const uint8_t *bytes;
	uint32_t size;
	struct wasm_type *types;
	struct wasm_func *funcs;
	struct wasm_global_info *globals;
	struct wasm_table_info *tables;
	struct wasm_elem *elems;
	struct wasm_data *datas;
	struct wasm_memory_info memory;
	uint32_t ntypes, nfuncs, nimports, nglobals, ntables, nelems, ndatas;
	uint32_t nimports_all, nexports;
	uint32_t imports, exports, code, names; /* offsets of section contents, 0 if there is none */
	uint32_t code_size, names_size;
	uint32_t start; /* function, or UINT32_MAX */
	uint32_t used, load_size, side_words;
	uint8_t has_datacount;
};

/* ------------------------------------------------------------------ reading */

/* A cursor that stops at its first error. After it, every read gives 0. */
struct reader {
	const uint8_t *base, *p, *end;
	struct wasm_error *error;
};

void wasm_fail(struct reader *r, int code, const char *detail);
void wasm_fail_at(struct reader *r, const uint8_t *at, int code, const char *detail);
static inline bool failed(const struct reader *r) { return r->error->code != 0; }
uint8_t wasm_read_u8(struct reader *r);
uint32_t wasm_read_u32(struct reader *r);
int32_t wasm_read_s32(struct reader *r);
int64_t wasm_read_s64(struct reader *r, unsigned bits);
/* A length-prefixed name, checked as UTF-8. */
struct wasm_text wasm_read_name(struct reader *r);
uint8_t wasm_read_valtype(struct reader *r);

/* Decodes a LEB128 number in bytes that are already checked. */
static inline uint32_t leb_u32(const uint8_t **p)
{
	uint32_t value = 0, shift = 0;
	uint8_t byte;

	do {
		byte = *(*p)++;
		if (shift < 32)
			value |= (uint32_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return value;
}

static inline int64_t leb_s64(const uint8_t **p)
{
	uint64_t value = 0;
	uint32_t shift = 0;
	uint8_t byte;

	do {
		byte = *(*p)++;
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (shift < 64 && (byte & 0x40))
		value |= ~UINT64_C(0) << shift;
	return (int64_t)value;
}

static inline unsigned slots_of(uint8_t type) { return type == T_I64 || type == T_F64 ? 2 : 1; }

/* A checked function type: its parameters' and results' types in the module. */
struct signature {
	const uint8_t *params, *results;
	uint32_t nparams, nresults;
};
struct signature wasm_type_signature(const struct wasm_module *m, uint32_t type);
bool wasm_same_type(const struct wasm_module *m, uint32_t type, const struct wasm_module *n, uint32_t other);

/* ------------------------------------------------------- loading, validating */

struct loader {
	struct reader r;
	struct wasm_module *m;
	uint8_t *bottom, *top; /* free part of the buffer */
	uint8_t *buffer;
	uint32_t size, least;  /* bytes: of the buffer, least that were ever free */
	uint32_t compared;     /* bytes, against LIMIT_COMPARED */
};

/* Takes size bytes from the free part's start; NULL and an error if it is full. */
void *wasm_take(struct loader *l, uint32_t size);
/* Checks a constant expression of the given type, leaving the cursor after it. */
void wasm_check_constant(struct loader *l, uint8_t type);
/* Checks one function's body, which lies between the cursor and end. */
void wasm_check_body(struct loader *l, struct wasm_func *f, const uint8_t *end);
/* Finds the instruction in which p lies, given where the code starts: the last
 * one that begins before p. */
const uint8_t *wasm_instruction_at(const uint8_t *code, const uint8_t *p);

/* ---------------------------------------------------------------- executing */

struct wasm_memory {
	uint8_t *data;
	uint32_t size;  /* bytes */
	uint32_t limit; /* bytes */
	uint32_t pages, max_pages;
	uint8_t page_shift, has_max;
};

struct wasm_table {
	uint32_t *items;
	uint32_t size, max, declared_max;
};

/* What an imported function is bound to: a host function or another
 * instance's function. */
struct wasm_binding {
	const struct wasm_host_function *host;
	struct wasm_instance *instance;
	uint32_t function;
};

/* What lies on an instance's stack: aligned to slots, among other values. */
#define ON_STACK __attribute__((packed, aligned(4), may_alias))

/*
 * What a call saves on the stack. From lower to higher addresses lie the
 * callee's parameters (pushed by its caller), its other locals, this frame and
 * its operands. A frame without a function returns to the host, or by the
 * crossing after it to another instance.
 */
struct wasm_frame {
	const uint8_t *ip;
	uint32_t *locals;
	const uint32_t *side;
	const struct wasm_func *func;
} ON_STACK;

enum { FRAME_SLOTS = sizeof(struct wasm_frame) / 4 };

/* Pushed after the frame of a call into another instance: the caller. */
struct wasm_crossing {
	struct wasm_instance *instance;
	struct wasm_frame frame;
} ON_STACK;

enum { CROSSING_SLOTS = sizeof(struct wasm_crossing) / 4 };

/* The state of an instance's call between two runs. */
struct wasm_execution {
	struct wasm_instance *instance; /* whose code runs */
	const struct wasm_func *func;
	const uint8_t *ip;
	uint32_t *sp, *locals;
	const uint32_t *side;
	uint32_t *stack, *stack_end;
	uint32_t *wait;                     /* where wasm_wake writes results */
	uint32_t depth;                     /* crossings on the stack */
	uint32_t begin;                     /* function to enter, or UINT32_MAX */
	const struct wasm_host_function *calling;
	uint64_t used;
	int32_t debt;
	uint8_t status, trap, wait_slots;
};

struct wasm_instance {
	const struct wasm_module *m;
	uint32_t **globals;
	struct wasm_memory *memory;
	struct wasm_table **tables;
	struct wasm_binding *bindings;
	uint8_t *dropped; /* bits: element segments, then data segments */
	void *user;
	struct wasm_execution x;
	struct wasm_memory own_memory;
	/* Instances that refer to one another have numbers in references. */
	struct wasm_instance *group, *next;
	uint32_t number, members;
};

/* A function reference: the instance's number, the function's index plus one. */
enum { REF_SHIFT = 24, REF_INDEX = 0xffffff };

static inline uint32_t wasm_ref(const struct wasm_instance *i, uint32_t function)
{
	return i->number << REF_SHIFT | (function + 1);
}

/* The instance that a reference names. */
struct wasm_instance *wasm_ref_instance(struct wasm_instance *i, uint32_t ref);

/* Two slots. */
typedef uint64_t wasm_wide_on_stack __attribute__((aligned(4), may_alias));
static inline uint64_t load64(const uint32_t *p) { return *(const wasm_wide_on_stack *)(const void *)p; }
static inline void store64(uint32_t *p, uint64_t v) { *(wasm_wide_on_stack *)(void *)p = v; }

/* Bulk operations: a trap code or WASM_TRAP_NONE. */
int wasm_memory_init(struct wasm_instance *i, uint32_t segment, uint32_t to, uint32_t from, uint32_t n);
int wasm_table_init(struct wasm_instance *i, uint32_t table, uint32_t segment, uint32_t to, uint32_t from, uint32_t n);
int wasm_table_copy(struct wasm_instance *i, uint32_t table, uint32_t source, uint32_t to, uint32_t from, uint32_t n);
int wasm_table_fill(struct wasm_instance *i, uint32_t table, uint32_t to, uint32_t value, uint32_t n);
uint32_t wasm_table_grow(struct wasm_instance *i, uint32_t table, uint32_t value, uint32_t n);
uint32_t wasm_memory_grow(struct wasm_memory *memory, uint32_t pages);
void wasm_drop_segment(struct wasm_instance *i, uint32_t bit);

enum { STACK_PAINT = 0x5b5b5b5b };

#endif
