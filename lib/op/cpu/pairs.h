/*
 * What our own products in bf16 share (amx.c, dot.c): rows become pairs of K, which the processor multiplies and adds at
 * once, and results go where they are wanted.
 */
#ifndef VQA_OP_CPU_PAIRS_H
#define VQA_OP_CPU_PAIRS_H

#include <immintrin.h>
#include <stddef.h>

#include "op/cpu/matmul.h"

#define DOT __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define PAIRS DOT __attribute__((always_inline)) inline

/* Sums in a vector, or pairs; and elements. */
enum { TILE = 16, STEP = 32 };

static inline int
parts_of(int n, int size)
{
	return (n + size - 1) / size;
}

static inline int
lesser(int a, int b)
{
	return a < b ? a : b;
}

/* Up to 32 elements, zeros after the first n. */
PAIRS static __m512i
load(const bf16 *at, int n)
{
	return _mm512_maskz_loadu_epi16(n >= STEP ? ~0u : n <= 0 ? 0 : (1u << n) - 1, at);
}

/* 16 rows of 16 pairs: in each step, what is `apart` rows and columns off the diagonal changes places. */
PAIRS static void
transpose(__m512i row[TILE])
{
	const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

#pragma GCC unroll 4
	for (int apart = TILE / 2; apart; apart /= 2) {
		const __mmask16 beyond = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(apart));
		const __m512i upper = _mm512_mask_add_epi32(lane, beyond, lane, _mm512_set1_epi32(TILE - apart));
		const __m512i lower = _mm512_add_epi32(upper, _mm512_set1_epi32(apart));

#pragma GCC unroll 16
		for (int i = 0; i < TILE; i++)
			if (!(i & apart)) {
				const __m512i a = row[i], b = row[i + apart];

				row[i] = _mm512_permutex2var_epi32(a, upper, b);
				row[i + apart] = _mm512_permutex2var_epi32(a, lower, b);
			}
	}
}

/* Columns [0, 32) of two rows of K become pairs: 16 to a vector. */
PAIRS static void
pair(__m512i out[2], __m512i even, __m512i odd)
{
	const __m512i each = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38,
	                                      6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);

	out[0] = _mm512_permutex2var_epi16(even, each, odd);
	out[1] = _mm512_permutex2var_epi16(even, _mm512_add_epi16(each, _mm512_set1_epi16(TILE)), odd);
}

/* Row k of a matrix (K, N) from column n on; nothing where there is no such row. */
PAIRS static __m512i
row_from(const bf16 *at, int K, int N, int k, int n)
{
	return k < K ? load(at + (size_t)k * (size_t)N + n, N - n) : _mm512_setzero_si512();
}

/* far: past the caches, where it is a whole line; a fence must follow before others may read it. */
PAIRS static void
store(float *to, __mmask16 mask, __m512 x, int far)
{
	if (far && mask == 0xffff && !((uintptr_t)to % sizeof x))
		_mm512_stream_ps(to, x);
	else
		_mm512_mask_storeu_ps(to, mask, x);
}

/* Elements of the result where they are wanted. */
PAIRS static void
put(const struct product *p, size_t to, __mmask16 mask, __m512 x)
{
	if (p->c)
		store(p->c + to, mask, x, p->far);
	if (p->c16)
		_mm256_mask_storeu_epi16(p->c16 + to, mask, (__m256i)_mm512_cvtneps_pbh(x));
}

#endif
