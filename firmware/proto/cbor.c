// SPDX-License-Identifier: Apache-2.0
#include "cbor.h"

#include <string.h>

bool cbor_head(struct cbor_reader *r, struct cbor_head *out)
{
	if (r->at == r->end) {
		return false;
	}
	uint8_t first = *r->at++;
	unsigned info = first & 31;
	out->major = first >> 5;
	out->value = info;
	if (out->major > CBOR_MAP || info > 27) {
		return false;
	}
	if (info < 24) {
		return true;
	}
	unsigned n = 1u << (info - 24);
	if ((size_t)(r->end - r->at) < n) {
		return false;
	}
	out->value = 0;
	for (unsigned i = 0; i < n; i++) {
		out->value = out->value << 8 | *r->at++;
	}
	return out->value >= (n == 1 ? 24 : (uint64_t)1 << (n * 4));
}

// Length of one UTF-8 sequence at p, 0 when it is none: no overlong forms, no surrogates,
// nothing above U+10FFFF.
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xBF;
	size_t n;
	if (p[0] < 0x80) {
		return 1;
	} else if (p[0] >= 0xC2 && p[0] <= 0xDF) {
		n = 2;
	} else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
		n = 3;
		low = p[0] == 0xE0 ? 0xA0 : 0x80;
		high = p[0] == 0xED ? 0x9F : 0xBF;
	} else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
		n = 4;
		low = p[0] == 0xF0 ? 0x90 : 0x80;
		high = p[0] == 0xF4 ? 0x8F : 0xBF;
	} else {
		return 0;
	}
	if (left < n || p[1] < low || p[1] > high) {
		return 0;
	}
	for (size_t i = 2; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80) {
			return 0;
		}
	}
	return n;
}

static bool utf8(const uint8_t *p, size_t len)
{
	while (len > 0) {
		size_t n = utf8_sequence(p, len);
		if (n == 0) {
			return false;
		}
		p += n;
		len -= n;
	}
	return true;
}

static bool check_string(struct cbor_reader *r, const struct cbor_head *h)
{
	if (h->value > (uint64_t)(r->end - r->at)) {
		return false;
	}
	const uint8_t *data = r->at;
	r->at += h->value;
	return h->major != CBOR_TEXT || utf8(data, (size_t)h->value);
}

static bool check_key(struct cbor_reader *r)
{
	struct cbor_head h;
	if (!cbor_head(r, &h)) {
		return false;
	}
	switch (h.major) {
	case CBOR_UINT:
	case CBOR_NINT:
		return true;
	case CBOR_TEXT:
		return check_string(r, &h);
	default:
		return false;
	}
}

// Bytewise order of two encodings.
static int compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return c != 0 ? c : (a_len > b_len) - (a_len < b_len);
}

// Recursion is bounded by CBOR_MAX_DEPTH.
static bool check_item(struct cbor_reader *r, unsigned depth)
{
	struct cbor_head h;
	const uint8_t *last = NULL;
	size_t last_len = 0;
	if (!cbor_head(r, &h)) {
		return false;
	}
	switch (h.major) {
	case CBOR_UINT:
	case CBOR_NINT:
		return true;
	case CBOR_BYTES:
	case CBOR_TEXT:
		return check_string(r, &h);
	case CBOR_ARRAY:
		if (depth > CBOR_MAX_DEPTH || h.value > CBOR_MAX_ELEMENTS) {
			return false;
		}
		for (uint64_t i = 0; i < h.value; i++) {
			if (!check_item(r, depth + 1)) {
				return false;
			}
		}
		return true;
	default:
		if (depth > CBOR_MAX_DEPTH || h.value > CBOR_MAX_PAIRS) {
			return false;
		}
		for (uint64_t i = 0; i < h.value; i++) {
			const uint8_t *key = r->at;
			if (!check_key(r)) {
				return false;
			}
			size_t len = (size_t)(r->at - key);
			if (last != NULL && compare(last, last_len, key, len) >= 0) {
				return false;
			}
			last = key;
			last_len = len;
			if (!check_item(r, depth + 1)) {
				return false;
			}
		}
		return true;
	}
}

bool cbor_check(const uint8_t *in, size_t len, unsigned depth)
{
	struct cbor_reader r = {in, in + len};
	return check_item(&r, depth) && r.at == r.end;
}

void cbor_skip(struct cbor_reader *r)
{
	// Counts the items still to come instead of descending.
	for (uint64_t left = 1; left > 0; left--) {
		struct cbor_head h;
		if (!cbor_head(r, &h)) {
			r->at = r->end;
			return;
		}
		if (h.major == CBOR_BYTES || h.major == CBOR_TEXT) {
			r->at += h.value;
		} else if (h.major == CBOR_ARRAY) {
			left += h.value;
		} else if (h.major == CBOR_MAP) {
			left += 2 * h.value;
		}
	}
}

bool cbor_string(struct cbor_reader *r, enum cbor_major kind, const uint8_t **data, size_t *len)
{
	struct cbor_head h;
	if (!cbor_head(r, &h) || h.major != kind || h.value > (uint64_t)(r->end - r->at)) {
		return false;
	}
	*data = r->at;
	*len = (size_t)h.value;
	r->at += h.value;
	return true;
}

void cbor_put_bytes(struct cbor_writer *w, const void *data, size_t len)
{
	if (w->overflow || (size_t)(w->end - w->at) < len) {
		w->overflow = true;
		return;
	}
	if (len > 0) {
		memcpy(w->at, data, len);
		w->at += len;
	}
}

void cbor_put_head(struct cbor_writer *w, enum cbor_major major, uint64_t value)
{
	uint8_t b[9];
	unsigned n = value < 24 ? 0 : value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;
	unsigned info = n == 0 ? (unsigned)value : n == 1 ? 24 : n == 2 ? 25 : n == 4 ? 26 : 27;
	b[0] = (uint8_t)((unsigned)major << 5 | info);
	for (unsigned i = 0; i < n; i++) {
		b[1 + i] = (uint8_t)(value >> (8 * (n - 1 - i)));
	}
	cbor_put_bytes(w, b, 1 + n);
}

void cbor_put_int(struct cbor_writer *w, int64_t value)
{
	if (value >= 0) {
		cbor_put_head(w, CBOR_UINT, (uint64_t)value);
	} else {
		cbor_put_head(w, CBOR_NINT, (uint64_t)(-(value + 1)));
	}
}

void cbor_put_string(struct cbor_writer *w, enum cbor_major kind, const void *data, size_t len)
{
	cbor_put_head(w, kind, len);
	cbor_put_bytes(w, data, len);
}
