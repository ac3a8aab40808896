// SPDX-License-Identifier: Apache-2.0
/* Arithmetic that is too large to repeat in the interpreter. */
#include "wasm_numeric.h"

uint32_t wasm_popcnt32(uint32_t x)
{
	x -= x >> 1 & 0x55555555;
	x = (x & 0x33333333) + (x >> 2 & 0x33333333);
	x = (x + (x >> 4)) & 0x0f0f0f0f;
	return x * 0x01010101 >> 24;
}

#if WASM_FLOAT

enum { SIGN32 = 31, FRACTION32 = 23, BIAS32 = 127 };
enum { FRACTION64 = 52, BIAS64 = 1023 };
#define QUIET32 UINT32_C(0x00400000)
#define QUIET64 UINT64_C(0x0008000000000000)
#define ABS32 UINT32_C(0x7fffffff)
#define ABS64 UINT64_C(0x7fffffffffffffff)
#define INF32 UINT32_C(0x7f800000)
#define INF64 UINT64_C(0x7ff0000000000000)

static bool is_nan32(uint32_t x) { return (x & ABS32) > INF32; }
static bool is_nan64(uint64_t x) { return (x & ABS64) > INF64; }

static uint32_t trunc32(uint32_t x)
{
	int e = (int)(x >> FRACTION32 & 0xff) - BIAS32;

	if (e < 0)
		return x & ~ABS32;
	return e >= FRACTION32 ? x : x & ~((UINT32_C(1) << (FRACTION32 - e)) - 1);
}

static uint64_t trunc64(uint64_t x)
{
	int e = (int)(x >> FRACTION64 & 0x7ff) - BIAS64;

	if (e < 0)
		return x & ~ABS64;
	return e >= FRACTION64 ? x : x & ~((UINT64_C(1) << (FRACTION64 - e)) - 1);
}

uint32_t wasm_round32(uint32_t x, enum rounding mode)
{
	uint32_t t;
	float f = f32_of(x);

	if (is_nan32(x))
		return x | QUIET32;
	t = trunc32(x);
	if (mode == ROUND_CEIL && f32_of(t) < f)
		return bits32(f32_of(t) + 1.0f);
	if (mode == ROUND_FLOOR && f32_of(t) > f)
		return bits32(f32_of(t) - 1.0f);
	if (mode == ROUND_NEAREST && (x & ABS32) < bits32(8388608.0f)) {
		/* Adding and taking off 2^23 leaves an integer, rounded to even. */
		volatile float sum = f32_of(x & ABS32) + 8388608.0f;

		return bits32(sum - 8388608.0f) | (x & ~ABS32);
	}
	return t;
}

uint64_t wasm_round64(uint64_t x, enum rounding mode)
{
	uint64_t t;
	double f = f64_of(x);

	if (is_nan64(x))
		return x | QUIET64;
	t = trunc64(x);
	if (mode == ROUND_CEIL && f64_of(t) < f)
		return bits64(f64_of(t) + 1.0);
	if (mode == ROUND_FLOOR && f64_of(t) > f)
		return bits64(f64_of(t) - 1.0);
	if (mode == ROUND_NEAREST && (x & ABS64) < bits64(4503599627370496.0)) {
		volatile double sum = f64_of(x & ABS64) + 4503599627370496.0;

		return bits64(sum - 4503599627370496.0) | (x & ~ABS64);
	}
	return t;
}

uint32_t wasm_min32(uint32_t a, uint32_t b, bool max)
{
	if (is_nan32(a) || is_nan32(b))
		return (is_nan32(a) ? a : b) | QUIET32;
	if (f32_of(a) == f32_of(b)) /* zeros of two signs */
		return max ? a & b : a | b;
	return (f32_of(a) < f32_of(b)) != max ? a : b;
}

uint64_t wasm_min64(uint64_t a, uint64_t b, bool max)
{
	if (is_nan64(a) || is_nan64(b))
		return (is_nan64(a) ? a : b) | QUIET64;
	if (f64_of(a) == f64_of(b))
		return max ? a & b : a | b;
	return (f64_of(a) < f64_of(b)) != max ? a : b;
}

#if defined(__x86_64__) || defined(__aarch64__) || defined(__wasm__)
#define HARD_SQRT 12
#elif defined(__ARM_FP)
#define HARD_SQRT __ARM_FP /* bit 2: single, bit 3: double */
#else
#define HARD_SQRT 0
#endif

#if !(HARD_SQRT & 4) || !(HARD_SQRT & 8)
/* The integer square root of x * 4^extra, rounded down, and whether there is a rest. */
static uint64_t root(uint64_t x, int extra, bool *rest)
{
	uint64_t value = 0, left = 0;

	for (int i = 31 + extra; i >= 0; i--) {
		uint64_t try;

		left = left << 2 | (i >= extra ? x >> 2 * (i - extra) & 3 : 0);
		value <<= 1;
		try = value << 1 | 1;
		if (left >= try) {
			left -= try;
			value |= 1;
		}
	}
	*rest = left != 0;
	return value;
}
#endif

uint32_t wasm_sqrt32(uint32_t x)
{
#if HARD_SQRT & 4
	return bits32(__builtin_sqrtf(f32_of(x)));
#else
	uint32_t fraction = x & 0x7fffff;
	int e = (int)(x >> FRACTION32);
	uint64_t r;
	bool rest;

	if (is_nan32(x))
		return x | QUIET32;
	if ((x & ABS32) == 0 || x == INF32)
		return x;
	if (x >> SIGN32)
		return 0x7fc00000;
	if (e == 0) {
		int shift = (int)clz32(fraction) - 8;

		fraction <<= shift;
		e = 1 - shift;
	}
	fraction |= 0x800000;
	e -= BIAS32;
	/* fraction * 2^26 or 2^27 has a root of 25 bits: 24 and one to round by. */
	r = root((uint64_t)fraction << (e & 1 ? 26 : 25), 0, &rest);
	e = (e - (e & 1)) / 2 + BIAS32;
	r += r & 1 && (rest || r & 2);
	return (uint32_t)((r >> 1) + ((uint64_t)(e - 1) << FRACTION32));
#endif
}

uint64_t wasm_sqrt64(uint64_t x)
{
#if HARD_SQRT & 8
	return bits64(__builtin_sqrt(f64_of(x)));
#else
	uint64_t fraction = x & ((UINT64_C(1) << FRACTION64) - 1), r;
	int e = (int)(x >> FRACTION64);
	bool rest;

	if (is_nan64(x))
		return x | QUIET64;
	if ((x & ABS64) == 0 || x == INF64)
		return x;
	if (x >> 63)
		return UINT64_C(0x7ff8000000000000);
	if (e == 0) {
		int shift = (int)clz64(fraction) - 11;

		fraction <<= shift;
		e = 1 - shift;
	}
	fraction |= UINT64_C(1) << FRACTION64;
	e -= BIAS64;
	/* fraction * 2^54 or 2^55 has a root of 54 bits: 53 and one to round by. */
	r = root(fraction << (e & 1 ? 11 : 10), 22, &rest);
	e = (e - (e & 1)) / 2 + BIAS64;
	r += r & 1 && (rest || r & 2);
	return (r >> 1) + ((uint64_t)(e - 1) << FRACTION64);
#endif
}

uint32_t wasm_demote(uint64_t x)
{
	if (is_nan64(x))
		return (uint32_t)(x >> 32 & 0x80000000) | 0x7fc00000 | (uint32_t)(x >> 29 & 0x3fffff);
	return bits32((float)f64_of(x));
}

uint64_t wasm_promote(uint32_t x)
{
	if (is_nan32(x))
		return (uint64_t)(x & 0x80000000) << 32 | UINT64_C(0x7ff8000000000000) | (uint64_t)(x & 0x3fffff) << 29;
	return bits64((double)f32_of(x));
}

int wasm_truncate(double x, enum integer kind, bool saturate, uint64_t *out)
{
	/* The open interval of values whose truncation fits, and the results outside it.
	 * The lower ends of the 64-bit kinds are exact: nothing lies between them and one less. */
	static const double above[] = {-2147483649.0, -1.0, -9223372036854777856.0, -1.0};
	static const double below[] = {2147483648.0, 4294967296.0, 9223372036854775808.0, 18446744073709551616.0};
	static const uint64_t least[] = {0x80000000, 0, UINT64_C(0x8000000000000000), 0};
	static const uint64_t most[] = {0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX};

	if (x != x) {
		*out = 0;
		return saturate ? WASM_TRAP_NONE : WASM_TRAP_CONVERSION;
	}
	if (!(x > above[kind]) || !(x < below[kind])) {
		*out = x > 0 ? most[kind] : least[kind];
		return saturate ? WASM_TRAP_NONE : WASM_TRAP_OVERFLOW;
	}
	if (kind == INT_S32)
		*out = (uint32_t)(int32_t)x;
	else if (kind == INT_U32)
		*out = (uint32_t)x;
	else if (kind == INT_S64)
		*out = (uint64_t)(int64_t)x;
	else
		*out = (uint64_t)x;
	return WASM_TRAP_NONE;
}

#endif
