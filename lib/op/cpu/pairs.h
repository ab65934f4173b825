/*
 * What our own products in bf16 share (amx.c, dot.c): rows become pairs of K, which the processor multiplies and adds at
 * once, and results go where they are wanted.
 */
#ifndef VQA_OP_CPU_PAIRS_H
#define VQA_OP_CPU_PAIRS_H

#include <immintrin.h>
#include <stddef.h>

#include "op/cpu/cpu.h"
#include "op/cpu/matmul.h"

#define DOT __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define DOT_INLINE DOT __attribute__((always_inline)) inline

/* bf16s in a vector of LANES pairs, which is a line of the cache; columns of b that lie together. */
enum { LINE = 2 * LANES, PANEL = 2 * LANES };

/* Below so many multiplications, waking other threads costs more than it gives. */
enum { PRODUCT_LEAST = 1 << 20 };

static inline int
product_is_large(const struct product *p)
{
	return (size_t)p->M * (size_t)p->N * (size_t)p->K > PRODUCT_LEAST;
}

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

/* 16 rows of 16 pairs: in each step, what is `apart` rows and columns off the diagonal changes places. */
DOT_INLINE static void
transpose(__m512i row[LANES])
{
	const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

#pragma GCC unroll 4
	for (int apart = LANES / 2; apart; apart /= 2) {
		const __mmask16 beyond = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(apart));
		const __m512i upper = _mm512_mask_add_epi32(lane, beyond, lane, _mm512_set1_epi32(LANES - apart));
		const __m512i lower = _mm512_add_epi32(upper, _mm512_set1_epi32(apart));

#pragma GCC unroll 16
		for (int i = 0; i < LANES; i++)
			if (!(i & apart)) {
				const __m512i a = row[i], b = row[i + apart];

				row[i] = _mm512_permutex2var_epi32(a, upper, b);
				row[i + apart] = _mm512_permutex2var_epi32(a, lower, b);
			}
	}
}

/* Columns [0, 32) of two rows of K become pairs: 16 to a vector. */
DOT_INLINE static void
pair(__m512i out[2], __m512i first, __m512i second)
{
	const __m512i each = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38,
	                                      6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);

	out[0] = _mm512_permutex2var_epi16(first, each, second);
	out[1] = _mm512_permutex2var_epi16(first, _mm512_add_epi16(each, _mm512_set1_epi16(LANES)), second);
}

/* 32 columns of row k of a matrix (K, N) from n on; zeros where it has none. */
DOT_INLINE static __m512i
row_from(const bf16 *at, int K, int N, int k, int n)
{
	const int there = N - n;

	if (k >= K)
		return _mm512_setzero_si512();
	return _mm512_maskz_loadu_epi16(there >= LINE ? ~0u
	                                : there <= 0  ? 0
	                                              : (1u << there) - 1,
	                                at + (size_t)k * (size_t)N + n);
}

/* far: past the caches, where it is a whole line; a fence must follow before others may read it. */
DOT_INLINE static void
store(float *to, __mmask16 mask, __m512 x, int far)
{
	if (far && mask == 0xffff && !((uintptr_t)to % sizeof x))
		_mm512_stream_ps(to, x);
	else
		_mm512_mask_storeu_ps(to, mask, x);
}

/* A panel's columns of the result. */
struct columns {
	const struct product *p;
	int n;             /* the first */
	__mmask16 mask[2]; /* those that there are, of both halves */
	__m512 bias[2];
};

DOT_INLINE static struct columns
columns_of(const struct product *p, int n)
{
	const uint32_t there = p->N - n >= PANEL ? ~0u : (1u << (p->N - n)) - 1;
	struct columns out = { .p = p, .n = n, .mask = { (__mmask16)there, (__mmask16)(there >> LANES) } };

	for (int half = 0; half < 2; half++)
		out.bias[half] = p->bias ? _mm512_maskz_loadu_ps(out.mask[half], p->bias + n + half * LANES)
		                         : _mm512_setzero_ps();
	return out;
}

static inline size_t
column_at(const struct columns *c, int m, int half)
{
	return (size_t)m * (size_t)c->p->N + (size_t)(c->n + half * LANES);
}

/* Half a row of the result goes where it is wanted. (Numbers below 2^-126 become 0 in its twin, which float_to_bfloat() keeps.) */
DOT_INLINE static void
put(const struct columns *c, int m, int half, __m512 y)
{
	const size_t to = column_at(c, m, half);

	if (c->p->c)
		store(c->p->c + to, c->mask[half], y, c->p->far);
	if (c->p->c16)
		_mm256_mask_storeu_epi16(c->p->c16 + to, c->mask[half], (__m256i)_mm512_cvtneps_pbh(y));
}

/* The same from its sums; where there is an activation what goes into it is left in x instead, which may be the sums. */
DOT_INLINE static void
finish_half(const struct columns *c, int m, int half, __m512 sums, float *x)
{
	const size_t to = column_at(c, m, half);
	__m512 y = _mm512_add_ps(sums, c->bias[half]);

	if (c->p->add)
		y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(c->mask[half], c->p->c + to));
	if (c->p->pre)
		store(c->p->pre + to, c->mask[half], y, 1);
	if (c->p->act == ACT_NONE)
		put(c, m, half, y);
	else
		_mm512_storeu_ps(x, y);
}

#endif
