// SPDX-License-Identifier: Apache-2.0
/*
 * Arithmetic with the specification's meaning where C has none or another one.
 * Floating point values travel as bits; results that are NaN are quiet.
 */
#ifndef WASM_NUMERIC_H
#define WASM_NUMERIC_H

#include "wasm_internal.h"

static inline uint32_t clz32(uint32_t x) { return x ? (uint32_t)__builtin_clz(x) : 32; }
static inline uint32_t ctz32(uint32_t x) { return x ? (uint32_t)__builtin_ctz(x) : 32; }
static inline uint64_t clz64(uint64_t x) { return x ? (uint64_t)__builtin_clzll(x) : 64; }
static inline uint64_t ctz64(uint64_t x) { return x ? (uint64_t)__builtin_ctzll(x) : 64; }
static inline uint32_t rotl32(uint32_t x, uint32_t n) { return x << (n & 31) | x >> (-n & 31); }
static inline uint32_t rotr32(uint32_t x, uint32_t n) { return x >> (n & 31) | x << (-n & 31); }
static inline uint64_t rotl64(uint64_t x, uint64_t n) { return x << (n & 63) | x >> (-n & 63); }
static inline uint64_t rotr64(uint64_t x, uint64_t n) { return x >> (n & 63) | x << (-n & 63); }
uint32_t wasm_popcnt32(uint32_t x);

#if WASM_FLOAT
static inline float f32_of(uint32_t bits) { float f; __builtin_memcpy(&f, &bits, 4); return f; }
static inline double f64_of(uint64_t bits) { double f; __builtin_memcpy(&f, &bits, 8); return f; }
static inline uint32_t bits32(float f) { uint32_t b; __builtin_memcpy(&b, &f, 4); return b; }
static inline uint64_t bits64(double f) { uint64_t b; __builtin_memcpy(&b, &f, 8); return b; }

enum rounding { ROUND_CEIL, ROUND_FLOOR, ROUND_TRUNC, ROUND_NEAREST };
uint32_t wasm_round32(uint32_t x, enum rounding mode);
uint64_t wasm_round64(uint64_t x, enum rounding mode);
uint32_t wasm_min32(uint32_t a, uint32_t b, bool max);
uint64_t wasm_min64(uint64_t a, uint64_t b, bool max);
uint32_t wasm_sqrt32(uint32_t x);
uint64_t wasm_sqrt64(uint64_t x);
uint32_t wasm_demote(uint64_t x);
uint64_t wasm_promote(uint32_t x);

/* To an integer of the given kind, as bits. A trap code, or with saturate the
 * nearest value. */
enum integer { INT_S32, INT_U32, INT_S64, INT_U64 };
int wasm_truncate(double x, enum integer kind, bool saturate, uint64_t *out);
#endif

#endif
