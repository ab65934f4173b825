/*
 * Base64: long texts in registers where the processor has them, all else, and every fault, by table.
 */
#include "sys/base64.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif
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

#define NONE UINT32_MAX /* of no character: shifted to any place of a quad it reaches beyond the 24 bits */

static uint32_t table[256];

__attribute__((constructor)) static void
make_table(void)
{
	for (int i = 0; i < 256; i++)
		table[i] = NONE;
	for (uint32_t i = 0; i < 64; i++)
		table[(uint8_t)alphabet[i]] = i;
}

/* Four characters to 24 bits; more than that if one of them is no base64. */
static uint32_t
quad(const char *text)
{
	return table[(uint8_t)text[0]] << 18 | table[(uint8_t)text[1]] << 12 | table[(uint8_t)text[2]] << 6 |
	       table[(uint8_t)text[3]];
}

#ifdef __x86_64__
/* Where c lies from low to high: what is added to it there to get its value, and the byte -1 in known. */
__attribute__((target("avx2"))) static inline __m256i
offset_within(__m256i c, char low, char high, int offset, __m256i *known)
{
	__m256i in = _mm256_and_si256(_mm256_cmpgt_epi8(c, _mm256_set1_epi8((char)(low - 1))),
	                              _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(high + 1)), c));

	*known = _mm256_or_si256(*known, in);
	return _mm256_and_si256(in, _mm256_set1_epi8((char)offset));
}

/*
 * Blocks of 32 characters to 24 bytes, while they are base64 without padding; returns the characters taken. The bits are moved by
 * two multiplications (W. Mula, D. Lemire: Faster Base64 encoding and decoding using AVX2 instructions, arXiv:1704.00605).
 */
__attribute__((target("avx2"))) static size_t
decode_blocks(uint8_t *out, const char *text, size_t length)
{
	/* Of each 32 bits the low three bytes, most significant first; then the halves' twelve bytes side by side. */
	const __m256i bytes = _mm256_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1, 2, 1, 0, 6, 5, 4,
	                                       10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
	const __m256i words = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7);
	size_t i = 0;

	/* A store writes 8 bytes more, which the characters behind the block stand for. */
	for (; i + 32 + 16 <= length; i += 32, out += 24) {
		__m256i c = _mm256_loadu_si256((const __m256i *)(const void *)(text + i)), bits;
		__m256i known = _mm256_setzero_si256(), value = c;

		value = _mm256_add_epi8(value, offset_within(c, 'A', 'Z', -'A', &known));
		value = _mm256_add_epi8(value, offset_within(c, 'a', 'z', 26 - 'a', &known));
		value = _mm256_add_epi8(value, offset_within(c, '0', '9', 52 - '0', &known));
		value = _mm256_add_epi8(value, offset_within(c, '+', '+', 62 - '+', &known));
		value = _mm256_add_epi8(value, offset_within(c, '/', '/', 63 - '/', &known));
		if (_mm256_movemask_epi8(known) != -1)
			break;
		bits = _mm256_maddubs_epi16(value, _mm256_set1_epi16(0x0140)); /* twice 6 bits to 12 */
		bits = _mm256_madd_epi16(bits, _mm256_set1_epi32(0x00011000)); /* twice 12 to 24 */
		bits = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(bits, bytes), words);
		_mm256_storeu_si256((__m256i *)(void *)out, bits);
	}
	return i;
}
#endif

/* The first of four characters that is at fault: no base64, or the one with bits behind the last byte. */
static size_t
fault_in(const char *text, int pad)
{
	size_t k = 0;

	while (k < 4 - (size_t)pad && table[(uint8_t)text[k]] != NONE)
		k++;
	return k < 4 - (size_t)pad ? k : 3 - (size_t)pad;
}

long
base64_decode(void *out, const char *text, size_t length, size_t *at)
{
	uint8_t *to = out;
	int pad = (int)(length / 4 * 3 - base64_bytes(text, length));
	size_t i = 0;

	*at = length;
	if (length % 4)
		return -1;
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2")) {
		i = decode_blocks(to, text, length);
		to += i / 4 * 3;
	}
#endif
	for (; i < length; i += 4) {
		int last = i + 4 == length ? pad : 0;
		const char filled[4] = { text[i], text[i + 1], last > 1 ? 'A' : text[i + 2], last ? 'A' : text[i + 3] };
		uint32_t bits = quad(filled);

		if (bits > 0xffffff || (last && bits & (last > 1 ? 0xffff : 0xff))) {
			*at = i + fault_in(text + i, last);
			return -1;
		}
		for (int k = 0; k < 3 - last; k++)
			*to++ = (uint8_t)(bits >> (16 - 8 * k));
	}
	return to - (uint8_t *)out;
}
