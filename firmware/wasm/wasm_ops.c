// SPDX-License-Identifier: Apache-2.0
/* What the interpreter's loop leaves to functions: rare forms, large instructions. */
#include "wasm_ops.h"

uint64_t wasm_decode_index(const uint8_t *p)
{
	const uint8_t *start = p;
	uint32_t value = leb_u32(&p);

	return (uint64_t)(p - start) << 32 | value;
}

/*
 * A load or store with any offset, address and encoding. *ip is behind the
 * opcode and moved to the instruction's end. Gives the address, or NULL if the
 * access leaves the memory.
 */
uint8_t *wasm_checked_address(const struct wasm_memory *m, uint8_t op, const uint8_t **ip, uint32_t address)
{
	static const uint8_t widths[] = {4, 8, 4, 8, 1, 1, 2, 2, 1, 1, 2, 2, 4, 4, 4, 8, 4, 8, 1, 2, 1, 2, 4};
	uint64_t at;

	leb_u32(ip);
	at = (uint64_t)address + leb_u32(ip);
	if (at + widths[op - 0x28] > m->size)
		return NULL;
	return m->data + at;
}

uint64_t wasm_load_value(uint8_t op, const uint8_t *p)
{
	switch (op) {
	case 0x28: case 0x2a: case 0x35: return get32(p);
	case 0x29: case 0x2b: return get64(p);
	case 0x2c: case 0x30: return (uint64_t)(int64_t)(int8_t)*p;
	case 0x2d: case 0x31: return *p;
	case 0x2e: case 0x32: return (uint64_t)(int64_t)(int16_t)get16(p);
	case 0x2f: case 0x33: return get16(p);
	default: return (uint64_t)(int64_t)(int32_t)get32(p);
	}
}

void wasm_store_value(uint8_t op, uint8_t *p, uint64_t v)
{
	switch (op) {
	case 0x37: case 0x39: put64(p, v); break;
	case 0x3a: case 0x3c: *p = (uint8_t)v; break;
	case 0x3b: case 0x3d: put16(p, (uint32_t)v); break;
	default: put32(p, (uint32_t)v);
	}
}

bool wasm_is_wide_access(uint8_t op)
{
	return op == 0x29 || op == 0x2b || (op >= 0x30 && op <= 0x35) || op == 0x37 || op == 0x39 || op >= 0x3c;
}

static int copy_memory(struct wasm_memory *m, uint32_t to, uint32_t from, uint32_t n)
{
	if (n > m->size || from > m->size - n || to > m->size - n)
		return WASM_TRAP_MEMORY;
	if (n > 0)
		__builtin_memmove(m->data + to, m->data + from, n);
	return WASM_TRAP_NONE;
}

static int fill_memory(struct wasm_memory *m, uint32_t to, uint32_t value, uint32_t n)
{
	if (n > m->size || to > m->size - n)
		return WASM_TRAP_MEMORY;
	if (n > 0)
		__builtin_memset(m->data + to, (int)(value & 0xff), n);
	return WASM_TRAP_NONE;
}

#if WASM_FLOAT
/* The eight truncations in the order of their opcodes: operand below *sp. */
int wasm_truncate_op(uint32_t **sp, uint32_t which, bool saturate)
{
	bool wide = which & 2;
	double x = wide ? f64_of(load64(*sp - 2)) : (double)f32_of((*sp)[-1]);
	uint64_t value;
	int trap = wasm_truncate(x, (enum integer)((which >> 2) * 2 + (which & 1)), saturate, &value);

	*sp -= wide ? 2 : 1;
	if (which < 4) {
		*(*sp)++ = (uint32_t)value;
	} else {
		store64(*sp, value);
		*sp += 2;
	}
	return trap;
}
#endif

/* The instructions behind 0xfc, on operands in memory. Adds to *fuel what is spent. */
int wasm_prefixed(struct wasm_instance *i, const uint8_t **ip, uint32_t **stack, uint32_t *fuel)
{
	uint32_t op = leb_u32(ip), *sp = *stack, x, y = 0;
	int trap = WASM_TRAP_NONE;

#if WASM_FLOAT
	if (op < 8)
		return wasm_truncate_op(stack, op, true);
#endif
	x = leb_u32(ip);
	if (op == 8 || op == 10 || op == 12 || op == 14)
		y = leb_u32(ip);
	switch (op) {
	case 8:
		sp -= 3;
		*fuel = sp[2] / 4;
		trap = wasm_memory_init(i, x, sp[0], sp[1], sp[2]);
		break;
	case 9: wasm_drop_segment(i, i->m->nelems + x); break;
	case 10:
		sp -= 3;
		*fuel = sp[2] / 4;
		trap = copy_memory(i->memory, sp[0], sp[1], sp[2]);
		break;
	case 11:
		sp -= 3;
		*fuel = sp[2] / 4;
		trap = fill_memory(i->memory, sp[0], sp[1], sp[2]);
		break;
	case 12:
		sp -= 3;
		*fuel = sp[1] + sp[2];
		trap = wasm_table_init(i, y, x, sp[0], sp[1], sp[2]);
		break;
	case 13: wasm_drop_segment(i, x); break;
	case 14:
		sp -= 3;
		*fuel = sp[2];
		trap = wasm_table_copy(i, x, y, sp[0], sp[1], sp[2]);
		break;
	case 15:
		sp -= 2;
		*fuel = sp[1];
		*sp = wasm_table_grow(i, x, sp[0], sp[1]);
		if (*sp == UINT32_MAX)
			*fuel = 0;
		sp++;
		break;
	case 16: *sp++ = i->tables[x]->size; break;
	default:
		sp -= 3;
		*fuel = sp[2];
		trap = wasm_table_fill(i, x, sp[0], sp[1], sp[2]);
	}
	*stack = sp;
	return trap;
}
