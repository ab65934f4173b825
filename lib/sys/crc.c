/*
 * CRC-32: long data are folded to 16 bytes that have the same remainder, of which, as of all else, zlib takes the CRC.
 */
#include "sys/crc.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif
#include <zlib.h>

#ifdef __x86_64__
enum { BLOCK = 64 };

/* x moved on by the distance that k stands for, and what is there. */
__attribute__((target("pclmul"))) static inline __m128i
fold(__m128i x, __m128i k, __m128i there)
{
	return _mm_xor_si128(there, _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), _mm_clmulepi64_si128(x, k, 0x11)));
}

/*
 * n bytes, a multiple of BLOCK, to 16. The constants are powers of x modulo the polynomial, bits reversed (V. Gopal and others: Fast
 * CRC computation for generic polynomials using PCLMULQDQ instruction, Intel 2009): 512 + 32 and 512 - 32 for four registers that
 * take turns, 128 + 32 and 128 - 32 from one to the next.
 */
__attribute__((target("pclmul"))) static __m128i
fold_blocks(uint32_t crc, const uint8_t *data, size_t n)
{
	const __m128i far = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4),
		      near = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
	const __m128i *at = (const __m128i *)(const void *)data;
	__m128i x[4];

	for (int k = 0; k < 4; k++)
		x[k] = _mm_loadu_si128(at + k);
	x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
	for (size_t i = BLOCK; i < n; i += BLOCK) {
		at += 4;
		x[0] = fold(x[0], far, _mm_loadu_si128(at));
		x[1] = fold(x[1], far, _mm_loadu_si128(at + 1));
		x[2] = fold(x[2], far, _mm_loadu_si128(at + 2));
		x[3] = fold(x[3], far, _mm_loadu_si128(at + 3));
	}
	return fold(fold(fold(x[0], near, x[1]), near, x[2]), near, x[3]);
}
#endif

uint32_t
crc_32(uint32_t crc, const void *data, size_t n)
{
	const uint8_t *p = data;

#ifdef __x86_64__
	size_t blocks = n / BLOCK * BLOCK;

	if (blocks && __builtin_cpu_supports("pclmul")) {
		uint8_t rest[16];

		_mm_storeu_si128((__m128i *)(void *)rest, fold_blocks(crc, p, blocks));
		crc = (uint32_t)crc32_z(UINT32_MAX, rest, sizeof rest); /* which begins with a register of 0 */
		p += blocks;
		n -= blocks;
	}
#endif
	return (uint32_t)crc32_z(crc, p, n);
}
