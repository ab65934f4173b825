/*
 * The msgpack format (github.com/msgpack/msgpack, spec.md), lengths only.
 */
#include "stream/scan.h"

/* What a first byte announces: bytes of its length field, bytes that follow for sure, values that follow. */
struct head {
	int length_bytes; /* 1, 2 or 4: a big-endian count follows */
	size_t extra;     /* payload bytes beyond the count (ext's type; numbers' bytes) */
	uint64_t payload; /* known without a count: fixstr */
	int children;     /* values for each unit of count: 0 a string or bin, 1 an array, 2 a map */
	uint64_t count;   /* known without a count: fixarray, fixmap */
};

static int
classify(uint8_t b, struct head *h)
{
	static const uint8_t numbers[] = { 4, 8, 1, 2, 4, 8, 1, 2, 4, 8 }; /* 0xca … 0xd3 */
	static const uint8_t sizes[] = { 1, 2, 4 };

	*h = (struct head){ 0 };
	if (b < 0x80 || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
		return 0;
	if (b < 0x90) {
		h->count = b & 15;
		h->children = 2;
	} else if (b < 0xa0) {
		h->count = b & 15;
		h->children = 1;
	} else if (b < 0xc0) {
		h->payload = b & 31;
	} else if (b >= 0xc4 && b <= 0xc6) {
		h->length_bytes = sizes[b - 0xc4];
	} else if (b >= 0xc7 && b <= 0xc9) {
		h->length_bytes = sizes[b - 0xc7];
		h->extra = 1;
	} else if (b >= 0xca && b <= 0xd3) {
		h->extra = numbers[b - 0xca];
	} else if (b >= 0xd4 && b <= 0xd8) {
		h->extra = 1 + ((size_t)1 << (b - 0xd4));
	} else if (b >= 0xd9 && b <= 0xdb) {
		h->length_bytes = sizes[b - 0xd9];
	} else if (b == 0xdc || b == 0xdd) {
		h->length_bytes = sizes[b - 0xdc + 1];
		h->children = 1;
	} else if (b == 0xde || b == 0xdf) {
		h->length_bytes = sizes[b - 0xde + 1];
		h->children = 2;
	} else {
		return -1; /* 0xc1 is never used */
	}
	return 0;
}

void
scan_begin(struct scan *scan)
{
	*scan = (struct scan){ .depth = 1 };
	scan->left[0] = 1;
}

enum scan_result
scan_go(struct scan *scan, const uint8_t *bytes, size_t n, size_t *end)
{
	while (scan->depth) {
		struct head h;
		uint64_t count;
		size_t next = scan->at + 1;

		if (!scan->left[scan->depth - 1]) {
			scan->depth--;
			continue;
		}
		if (scan->at >= n)
			return SCAN_MORE;
		if (classify(bytes[scan->at], &h))
			return SCAN_BAD;
		if (n - next < (size_t)h.length_bytes)
			return SCAN_MORE;
		count = h.count + h.payload;
		for (int i = 0; i < h.length_bytes; i++)
			count = count << 8 | bytes[next++];
		if (!h.children) {
			if (count + h.extra > RECORD_MAX - (next < RECORD_MAX ? next : RECORD_MAX))
				return SCAN_SIZE;
			next += (size_t)count + h.extra;
			if (next > n)
				return SCAN_MORE;
		}
		if (++scan->objects > OBJECTS_MAX)
			return SCAN_OBJECTS;
		scan->at = next;
		scan->left[scan->depth - 1]--;
		if (h.children && count) {
			if (count * (unsigned)h.children > OBJECTS_MAX)
				return SCAN_OBJECTS;
			if (scan->depth == DEPTH_MAX)
				return SCAN_DEPTH;
			scan->left[scan->depth++] = count * (unsigned)h.children;
		}
	}
	*end = scan->at;
	return SCAN_WHOLE;
}
