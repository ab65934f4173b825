/*
 * Base64 by table.
 */
#include "sys/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_encode(char *out, const void *data, size_t n)
{
	const uint8_t *in = data;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t bits = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
		                (i + 2 < n ? in[i + 2] : 0);

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = i + 1 < n ? alphabet[bits >> 6 & 63] : '=';
		*out++ = i + 2 < n ? alphabet[bits & 63] : '=';
	}
}

static int
value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long
base64_decode(void *out, const char *text, size_t length, size_t *at)
{
	static int8_t table[256];
	static int made;
	uint8_t *to = out;
	size_t pad = length / 4 * 3 - base64_bytes(text, length);

	if (!__atomic_load_n(&made, __ATOMIC_ACQUIRE)) {
		for (int i = 0; i < 256; i++)
			table[i] = (int8_t)value((char)i);
		__atomic_store_n(&made, 1, __ATOMIC_RELEASE);
	}
	*at = length;
	if (length % 4)
		return -1;
	for (size_t i = 0; i < length; i += 4) {
		int last = i + 4 == length ? (int)pad : 0;
		uint32_t bits = 0;

		for (int k = 0; k < 4; k++) {
			int v = k >= 4 - last ? 0 : table[(uint8_t)text[i + (size_t)k]];

			if (v < 0) {
				*at = i + (size_t)k;
				return -1;
			}
			bits = bits << 6 | (uint32_t)v;
		}
		*to++ = (uint8_t)(bits >> 16);
		if (last < 2)
			*to++ = (uint8_t)(bits >> 8);
		if (last < 1)
			*to++ = (uint8_t)bits;
		if (last && (bits & (last == 2 ? 0xffffu : 0xffu))) {
			*at = i + 3 - (size_t)last;
			return -1;
		}
	}
	return to - (uint8_t *)out;
}
