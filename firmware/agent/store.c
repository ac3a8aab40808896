// SPDX-License-Identifier: Apache-2.0
#include "store.h"

#include <string.h>

#include "port.h"

#define MAGIC 0x31524257u // "WBR1"
#define SLOTS 2u
#define CHECKPOINT 16384u // bytes of a transfer between two commits of its progress

struct slot_header {
	uint32_t magic, check, sequence, length;
};

_Static_assert(sizeof(struct store_root) % 4 == 0, "the root is written in words");

struct store_root store_root;

static uint32_t sequence;
static unsigned slot_next; // where the next root goes

// The tail of a transfer that does not fill a word yet.
static uint8_t word[4];
static uint32_t word_len;
static bool writing;
static bool partial_kept; // the newest permanent root names a transfer

static uint32_t slot_size(void)
{
	uint32_t erase = port_nv()->erase_size;
	uint32_t need = sizeof(struct slot_header) + sizeof(struct store_root);
	return (need + erase - 1) / erase * erase;
}

static uint32_t first_block(void)
{
	return SLOTS * slot_size() / port_nv()->erase_size;
}

static uint32_t block_count(void)
{
	return port_nv()->size / port_nv()->erase_size;
}

static uint32_t blocks_for(uint32_t size)
{
	uint32_t erase = port_nv()->erase_size;
	return (size + erase - 1) / erase;
}

static uint32_t crc32(const void *data, size_t len, uint32_t crc)
{
	const uint8_t *p = data;
	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int b = 0; b < 8; b++) {
			crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
		}
	}
	return ~crc;
}

static uint32_t check_of(const struct slot_header *h, const void *root)
{
	return crc32(root, sizeof store_root, crc32(&h->sequence, 8, 0));
}

// ---------------------------------------------------------------- root

static bool read_slot(unsigned slot, struct slot_header *h)
{
	const uint8_t *at = port_nv()->map + slot * slot_size();
	memcpy(h, at, sizeof *h);
	return h->magic == MAGIC && h->length == sizeof store_root && h->check == check_of(h, at + sizeof *h);
}

bool store_start(void)
{
	struct slot_header h;
	bool found = false;
	memset(&store_root, 0, sizeof store_root);
	sequence = 0;
	slot_next = 0;
	writing = false;
	for (unsigned slot = 0; slot < SLOTS; slot++) {
		if (read_slot(slot, &h) && (!found || (int32_t)(h.sequence - sequence) > 0)) {
			memcpy(&store_root, port_nv()->map + slot * slot_size() + sizeof h, sizeof store_root);
			sequence = h.sequence;
			slot_next = (slot + 1) % SLOTS;
			found = true;
		}
	}
	partial_kept = store_root.partial.block != 0;
	return found;
}

int store_commit(void)
{
	struct slot_header h = {MAGIC, 0, sequence + 1, sizeof store_root};
	uint32_t at = slot_next * slot_size();
	h.check = check_of(&h, &store_root);
	if (port_nv_erase(at, slot_size()) != PORT_OK ||
	    port_nv_write(at + sizeof h, &store_root, sizeof store_root) != PORT_OK ||
	    port_nv_write(at, &h, sizeof h) != PORT_OK) {
		return STORE_EIO;
	}
	sequence++;
	slot_next = (slot_next + 1) % SLOTS;
	partial_kept = store_root.partial.block != 0;
	return STORE_OK;
}

// ---------------------------------------------------------------- blobs

const struct store_blob *store_find(const uint8_t digest[PROTO_DIGEST])
{
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		if (store_root.blobs[i].block != 0 && memcmp(store_root.blobs[i].digest, digest, PROTO_DIGEST) == 0) {
			return &store_root.blobs[i];
		}
	}
	return NULL;
}

const uint8_t *store_data(const struct store_blob *blob)
{
	return port_nv()->map + blob->block * port_nv()->erase_size;
}

static bool overlaps(uint32_t block, uint32_t count, uint32_t other, uint32_t other_size)
{
	return block < other + blocks_for(other_size) && other < block + count;
}

// The first block behind whatever lies in [block, block+count), or block when it is free.
static uint32_t behind(uint32_t block, uint32_t count)
{
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		const struct store_blob *b = &store_root.blobs[i];
		if (b->block != 0 && overlaps(block, count, b->block, b->size)) {
			return b->block + blocks_for(b->size);
		}
	}
	return block;
}

// A free range in one piece; 0 when there is none.
static uint32_t find_room(uint32_t size)
{
	uint32_t count = blocks_for(size);
	for (uint32_t block = first_block(); block + count <= block_count();) {
		uint32_t next = behind(block, count);
		if (next == block) {
			return block;
		}
		block = next;
	}
	return 0;
}

static struct store_blob *free_entry(void)
{
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		if (store_root.blobs[i].block == 0) {
			return &store_root.blobs[i];
		}
	}
	return NULL;
}

int store_begin(const uint8_t digest[PROTO_DIGEST], uint32_t size)
{
	struct store_partial *p = &store_root.partial;
	if (p->block != 0 && p->size == size && memcmp(p->digest, digest, PROTO_DIGEST) == 0 &&
	    behind(p->block, blocks_for(size)) == p->block) {
		if (!writing) { // after a reset: what was written since the last checkpoint is written again
			word_len = 0;
			writing = true;
			uint32_t erase = port_nv()->erase_size;
			uint32_t clean = (p->done + erase - 1) / erase * erase;
			uint32_t end = blocks_for(size) * erase;
			if (clean < end && port_nv_erase(p->block * erase + clean, end - clean) != PORT_OK) {
				return STORE_EIO;
			}
		}
		return (int)(p->done + word_len);
	}
	store_abandon();
	if (size == 0) {
		return STORE_EINVAL;
	}
	uint32_t block = size <= store_size() ? find_room(size) : 0;
	if (block == 0 || free_entry() == NULL) {
		return STORE_EFULL;
	}
	// No permanent root may name a transfer whose room is about to be used by another.
	if (partial_kept && store_commit() != STORE_OK) {
		return STORE_EIO;
	}
	uint32_t erase = port_nv()->erase_size;
	if (port_nv_erase(block * erase, blocks_for(size) * erase) != PORT_OK) {
		return STORE_EIO;
	}
	memcpy(p->digest, digest, PROTO_DIGEST);
	p->size = size;
	p->block = block;
	p->done = 0;
	word_len = 0;
	writing = true;
	return STORE_OK;
}

static int write_words(const uint8_t *data, uint32_t len)
{
	struct store_partial *p = &store_root.partial;
	if (port_nv_write(p->block * port_nv()->erase_size + p->done, data, len) != PORT_OK) {
		return STORE_EIO;
	}
	uint32_t before = p->done / CHECKPOINT;
	p->done += len;
	return p->done / CHECKPOINT != before ? store_commit() : STORE_OK;
}

int store_append(const void *data, uint32_t len)
{
	struct store_partial *p = &store_root.partial;
	const uint8_t *in = data;
	if (!writing || p->block == 0 || len > p->size - p->done - word_len) {
		return STORE_EINVAL;
	}
	int rc = STORE_OK;
	while (len > 0 && rc == STORE_OK) {
		if (word_len == 0 && len >= 4) {
			// Never across a checkpoint, so that each one is at its multiple.
			uint32_t room = CHECKPOINT - p->done % CHECKPOINT;
			uint32_t n = (len < room ? len : room) & ~3u;
			rc = write_words(in, n);
			in += n;
			len -= n;
			continue;
		}
		word[word_len++] = *in++;
		len--;
		if (word_len == 4) {
			word_len = 0;
			rc = write_words(word, 4);
		}
	}
	return rc;
}

int store_finish(void)
{
	struct store_partial *p = &store_root.partial;
	uint8_t digest[PROTO_DIGEST];
	if (!writing || p->block == 0 || p->done + word_len != p->size) {
		return STORE_EINVAL;
	}
	if (word_len != 0) {
		memset(word + word_len, 0xFF, 4 - word_len);
		if (port_nv_write(p->block * port_nv()->erase_size + p->done, word, 4) != PORT_OK) {
			return STORE_EIO;
		}
	}
	digest_of(port_nv()->map + p->block * port_nv()->erase_size, p->size, digest);
	struct store_blob *entry = free_entry();
	if (memcmp(digest, p->digest, PROTO_DIGEST) != 0 || entry == NULL) {
		store_abandon();
		return entry == NULL ? STORE_EFULL : STORE_EDIGEST;
	}
	memcpy(entry->digest, digest, PROTO_DIGEST);
	entry->size = p->size;
	entry->block = p->block;
	store_abandon();
	return store_commit();
}

void store_abandon(void)
{
	memset(&store_root.partial, 0, sizeof store_root.partial);
	word_len = 0;
	writing = false;
}

int store_sweep(bool (*keep)(const uint8_t digest[PROTO_DIGEST], void *arg), void *arg)
{
	unsigned dropped = 0;
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		struct store_blob *b = &store_root.blobs[i];
		if (b->block != 0 && !keep(b->digest, arg)) {
			memset(b, 0, sizeof *b);
			dropped++;
		}
	}
	return dropped == 0 || store_commit() == STORE_OK ? STORE_OK : STORE_EIO;
}

bool store_intact(const uint8_t digest[PROTO_DIGEST])
{
	uint8_t now[PROTO_DIGEST];
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		struct store_blob *b = &store_root.blobs[i];
		if (b->block == 0 || memcmp(b->digest, digest, PROTO_DIGEST) != 0) {
			continue;
		}
		digest_of(store_data(b), b->size, now);
		if (memcmp(now, digest, PROTO_DIGEST) == 0) {
			return true;
		}
		memset(b, 0, sizeof *b);
		store_commit();
	}
	return false;
}

uint32_t store_size(void)
{
	return (block_count() - first_block()) * port_nv()->erase_size;
}

uint32_t store_free(void)
{
	uint32_t used = blocks_for(store_root.partial.size);
	for (unsigned i = 0; i < STORE_BLOBS; i++) {
		used += store_root.blobs[i].block != 0 ? blocks_for(store_root.blobs[i].size) : 0;
	}
	uint32_t total = block_count() - first_block();
	return (used < total ? total - used : 0) * port_nv()->erase_size;
}
