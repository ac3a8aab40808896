// SPDX-License-Identifier: Apache-2.0
/* Parts of instructions that are not worth their place in the interpreter's loop. */
#ifndef WASM_OPS_H
#define WASM_OPS_H

#include "wasm_numeric.h"

static inline uint32_t get16(const uint8_t *p) { uint16_t v; __builtin_memcpy(&v, p, 2); return v; }
static inline uint32_t get32(const uint8_t *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
static inline uint64_t get64(const uint8_t *p) { uint64_t v; __builtin_memcpy(&v, p, 8); return v; }
static inline void put16(uint8_t *p, uint32_t v) { uint16_t h = (uint16_t)v; __builtin_memcpy(p, &h, 2); }
static inline void put32(uint8_t *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
static inline void put64(uint8_t *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }

/* Decodes an index: the value in the low half, its length in bytes in the high. */
uint64_t wasm_decode_index(const uint8_t *p);

/*
 * A load or store with any offset, address and encoding. *ip is behind the
 * opcode and moved to the instruction's end. Gives the address, or NULL if the
 * access leaves the memory.
 */
uint8_t *wasm_checked_address(const struct wasm_memory *m, uint8_t op, const uint8_t **ip, uint32_t address);

/* What a load instruction gives, what a store instruction does. */
uint64_t wasm_load_value(uint8_t op, const uint8_t *p);
void wasm_store_value(uint8_t op, uint8_t *p, uint64_t v);
/* Whether a load or store has a two-slot value. */
bool wasm_is_wide_access(uint8_t op);

#if WASM_FLOAT
/* The eight truncations in the order of their opcodes: operand below *sp. */
int wasm_truncate_op(uint32_t **sp, uint32_t which, bool saturate);
#endif

/* The instructions behind 0xfc, on operands in memory; a trap code. Sets *fuel
 * to what is spent. */
int wasm_prefixed(struct wasm_instance *i, const uint8_t **ip, uint32_t **stack, uint32_t *fuel);

#endif
