// SPDX-License-Identifier: Apache-2.0
//
// The store on a simulated NOR flash. A scenario of updates runs once for every write and
// erase that it does, and each time the power fails in the middle of that one; what the
// next start finds must be a state that the scenario had made permanent, whole.
#include "store.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mbedtls/sha256.h"
#include "port.h"

enum { SIZE = 256 * 1024, ERASE = 4096 };

static uint8_t flash[SIZE] __attribute__((aligned(8)));
static jmp_buf power_cut;
static long steps_left = -1; // until the power fails; negative: never
static long steps_done;

static const struct port_nv nv = {flash, SIZE, ERASE, 4};

#define CHECK(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: %s (after %ld steps)\n", __FILE__, __LINE__, #x, steps_done); \
			exit(1); \
		} \
	} while (0)

const struct port_nv *port_nv(void)
{
	return &nv;
}

enum { STEPS = 200000, EVERY = 499 };

// Steps in which the power shall fail: each erase, the first and last words of each
// write, and every 199th of the rest, which are all alike.
static bool chosen[STEPS], choosing;

// Counts one step: a word written or a block erased. True when the power fails in it.
static bool step(bool edge)
{
	CHECK(steps_done < STEPS);
	if (choosing) {
		chosen[steps_done] = edge || steps_done % EVERY == 0;
	}
	steps_done++;
	return steps_left >= 0 && steps_left-- == 0;
}

int port_nv_erase(uint32_t offset, uint32_t len)
{
	CHECK(offset % ERASE == 0 && len % ERASE == 0 && offset <= SIZE && len <= SIZE - offset);
	for (uint32_t at = offset; at < offset + len; at += ERASE) {
		if (step(true)) {
			memset(flash + at, 0xFF, ERASE / 2); // half erased, the rest as it was
			longjmp(power_cut, 1);
		}
		memset(flash + at, 0xFF, ERASE);
	}
	return PORT_OK;
}

int port_nv_write(uint32_t offset, const void *data, uint32_t len)
{
	CHECK(offset % 4 == 0 && len % 4 == 0 && offset <= SIZE && len <= SIZE - offset);
	for (uint32_t at = 0; at < len; at += 4) {
		const uint8_t *in = (const uint8_t *)data + at;
		bool cut = step(at < 8 || at + 8 >= len);
		for (int i = 0; i < (cut ? 2 : 4); i++) {
			CHECK((flash[offset + at + i] & in[i]) == in[i]); // bits only go from 1 to 0
			flash[offset + at + i] = in[i];
		}
		if (cut) {
			longjmp(power_cut, 1);
		}
	}
	return PORT_OK;
}

void digest_of(const void *data, size_t len, uint8_t out[PROTO_DIGEST])
{
	CHECK(mbedtls_sha256(data, len, out, 0) == 0);
}

// ---------------------------------------------------------------- scenario

static uint8_t content[40000];

// Blob number n: its bytes, size and digest.
static uint32_t make(unsigned n, uint8_t digest[PROTO_DIGEST])
{
	uint32_t size = 1 + n * 7919 % 27000;
	for (uint32_t i = 0; i < size; i++) {
		content[i] = (uint8_t)(i * 31 + n * 17 + i / 251);
	}
	digest_of(content, size, digest);
	return size;
}

static bool keep_two(const uint8_t digest[PROTO_DIGEST], void *arg)
{
	const uint8_t(*pair)[PROTO_DIGEST] = arg;
	return memcmp(pair[0], digest, PROTO_DIGEST) == 0 || memcmp(pair[1], digest, PROTO_DIGEST) == 0;
}

static unsigned committed; // the newest generation that was made permanent

static void add_blob(unsigned n, uint8_t digest[PROTO_DIGEST])
{
	uint32_t size = make(n, digest);
	int at = store_begin(digest, size);
	CHECK(at >= 0);
	while ((uint32_t)at < size) {
		uint32_t part = size - (uint32_t)at < 967 ? size - (uint32_t)at : 967;
		CHECK(store_append(content + at, part) == STORE_OK);
		at += (int)part;
	}
	CHECK(store_finish() == STORE_OK);
}

// One update: a new blob, then the root that wants it, then the room of what is older
// than the former one.
static void update(unsigned generation)
{
	static uint8_t pair[2][PROTO_DIGEST];
	uint8_t digest[PROTO_DIGEST];
	make(generation, digest);
	if (store_find(digest) == NULL) {
		add_blob(generation, digest);
	}
	memcpy(pair[0], store_root.desired, PROTO_DIGEST);
	memcpy(pair[1], digest, PROTO_DIGEST);
	memcpy(store_root.desired, digest, PROTO_DIGEST);
	store_root.generation = generation;
	CHECK(store_commit() == STORE_OK);
	committed = generation;
	CHECK(store_sweep(keep_two, pair) == STORE_OK);
}

static void scenario(unsigned from)
{
	for (unsigned g = from; g <= 6; g++) {
		update(g);
	}
}

// Everything that the root names is whole.
static void check_state(void)
{
	CHECK(store_root.generation == committed || store_root.generation == committed + 1);
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		const struct store_blob *b = &store_root.blobs[i];
		if (b->block != 0) {
			uint8_t digest[PROTO_DIGEST];
			digest_of(store_data(b), b->size, digest);
			CHECK(memcmp(digest, b->digest, PROTO_DIGEST) == 0);
		}
	}
	if (store_root.generation != 0) {
		CHECK(store_find(store_root.desired) != NULL);
	}
}

static void power_cuts(void)
{
	memset(flash, 0, sizeof flash);
	committed = 0;
	store_start();
	steps_done = 0;
	choosing = true;
	scenario(1);
	choosing = false;
	long total = steps_done;
	CHECK(total > 1000);
	long cuts = 0;
	for (long cut = 0; cut < total; cut++) {
		if (!chosen[cut]) {
			continue;
		}
		cuts++;
		memset(flash, 0, sizeof flash);
		committed = 0;
		steps_done = 0;
		CHECK(!store_start());
		steps_left = cut;
		if (setjmp(power_cut) == 0) {
			scenario(1);
			CHECK(0);
		}
		steps_left = -1;
		store_start();
		check_state();
		committed = (unsigned)store_root.generation;
		scenario((unsigned)store_root.generation + 1); // and life goes on
		check_state();
		CHECK(store_start() && store_root.generation == 6);
		check_state();
	}
	printf("store: power cut at %ld of %ld steps\n", cuts, total);
}

static void resumes(void)
{
	uint8_t digest[PROTO_DIGEST];
	memset(flash, 0xFF, sizeof flash);
	store_start();
	uint32_t size = make(10, digest);
	CHECK(size > 20000);
	CHECK(store_begin(digest, size) == 0);
	CHECK(store_append(content, 20000) == STORE_OK);
	CHECK(store_begin(digest, size) == 20000); // the connection broke
	store_start();                             // the power failed
	int at = store_begin(digest, size);
	CHECK(at == 16384);
	CHECK(store_append(content + at, size - (uint32_t)at) == STORE_OK);
	CHECK(store_finish() == STORE_OK && store_find(digest) != NULL);
}

static void refuses(void)
{
	uint8_t digest[PROTO_DIGEST];
	memset(flash, 0xFF, sizeof flash);
	store_start();
	CHECK(store_append("x", 1) == STORE_EINVAL);
	CHECK(store_finish() == STORE_EINVAL);
	uint32_t size = make(3, digest);
	CHECK(store_begin(digest, 0) == STORE_EINVAL);
	CHECK(store_begin(digest, SIZE) == STORE_EFULL);
	CHECK(store_begin(digest, UINT32_MAX) == STORE_EFULL);
	CHECK(store_begin(digest, size) == 0);
	CHECK(store_finish() == STORE_EINVAL);
	CHECK(store_append(content, size) == STORE_OK);
	CHECK(store_append("x", 1) == STORE_EINVAL);
	store_abandon();
	CHECK(store_begin(digest, size) == 0);
	content[5] ^= 1;
	CHECK(store_append(content, size) == STORE_OK);
	CHECK(store_finish() == STORE_EDIGEST);
	CHECK(store_find(digest) == NULL);
	uint32_t free_before = store_free();
	CHECK(free_before == store_size());
}

int main(void)
{
	refuses();
	resumes();
	power_cuts();
	return 0;
}
