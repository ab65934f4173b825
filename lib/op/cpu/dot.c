/*
 * A strip of c, 8 rows of 32 columns, is 16 vectors of sums: each pair of K multiplies 8 pairs of a, each in all lanes, by two
 * vectors of b. Each sum runs over K in one order, whatever the number of rows and threads.
 *
 * b in the order in which it is read: panels of 32 columns (zeros fill the last), in a panel pairs, which are two of K:
 *
 *     b[k][n] b[k+1][n]  b[k][n+1] b[k+1][n+1]  …  b[k][n+31] b[k+1][n+31]
 *
 * A chunk of a panel, 16 kB, stays in the first cache while the rows pass by it. Where b is not packed the thread that reads a chunk
 * orders it just before: a few hundredths of the product's time. a is read where it lies if it is row-major.
 */
#include "op/cpu/matmul.h"

#ifdef __x86_64__

#include <omp.h>

#include "op/cpu/cpu.h"
#include "op/cpu/pairs.h"

enum { PANEL = 32, STRIP = 8, CHUNK = 256 };
enum { PANEL_PAIR = 2 * PANEL, STRIP_PAIR = 2 * STRIP, CHUNK_ELEMENTS = CHUNK * PANEL };
enum { PAIR_BYTES = 2 * sizeof(bf16) };

/* Rows of a part, at most, so that their sums stay in the second cache with what passes by; and at least, so that a panel is worth its order. */
enum { ROWS_MOST = 640, ROWS_LEAST = 64 };

static int
even(int K)
{
	return (K + 1) / 2 * 2;
}

/* --- Into pairs. */

/* 32 columns of a matrix (K, N) from n on. whole: all of what is read is there. */
struct area {
	const bf16 *at;
	int K, N, n, whole;
};

/* Row k; zeros where there is none. */
PAIRS static __m512i
row_of(const struct area *from, int k)
{
	if (from->whole)
		return _mm512_loadu_si512(from->at + (size_t)k * (size_t)from->N + from->n);
	return row_from(from->at, from->K, from->N, k, from->n);
}

PAIRS static void
pair_area(bf16 *out, const struct area *from, int k, int end)
{
	for (; k < end; k += 2, out += PANEL_PAIR) {
		__m512i both[2];

		pair(both, row_of(from, k), row_of(from, k + 1));
		_mm512_storeu_si512(out, both[0]);
		_mm512_storeu_si512(out + STEP, both[1]);
	}
}

/* out = rows [k, end) of a panel of b (K, N) */
DOT static void
pack_rows(bf16 *out, const bf16 *b, int K, int N, int k, int end, int n)
{
	if (end <= K && n + PANEL <= N)
		pair_area(out, &(struct area){ b, K, N, n, 1 }, k, end);
	else
		pair_area(out, &(struct area){ b, K, N, n, 0 }, k, end);
}

/* 16 rows of 16 pairs become 16 columns, of which the first `pairs` are wanted. */
PAIRS static void
turn_area(bf16 *out, const struct area *from, int row, int pairs)
{
	__m512i at[TILE];

#pragma GCC unroll 16
	for (int i = 0; i < TILE; i++)
		at[i] = row_of(from, row + i);
	transpose(at);
#pragma GCC unroll 16
	for (int i = 0; i < TILE; i++)
		if (i < pairs)
			_mm512_storeu_si512(out + i * PANEL_PAIR, at[i]);
}

/* The same of b (N, K). */
DOT static void
pack_columns(bf16 *out, const bf16 *b, int K, int N, int k, int end, int n)
{
	for (; k < end; k += STEP, out += TILE * PANEL_PAIR)
		for (int half = 0; half < 2; half++)
			if (k + STEP <= K && n + PANEL <= N)
				turn_area(out + half * STEP, &(struct area){ b, N, K, k, 1 }, n + half * TILE, TILE);
			else
				turn_area(out + half * STEP, &(struct area){ b, N, K, k, 0 }, n + half * TILE,
				          (end - k) / 2);
}

static void
pack_chunk(bf16 *out, const struct matrix *b, int K, int N, int k, int end, int n)
{
	(b->order == TRANSPOSED ? pack_columns : pack_rows)(out, b->at, K, N, k, end, n);
}

/* Elements of b before row k of the panel of column n. */
static size_t
chunk_at(int K, int k, int n)
{
	return (size_t)n * (size_t)even(K) + (size_t)k * PANEL;
}

static size_t
packed_size(int K, int N)
{
	return chunk_at(K, 0, parts_of(N, PANEL) * PANEL) * sizeof(bf16);
}

static void
pack(bf16 *out, const struct matrix *b, int K, int N)
{
#pragma omp parallel for schedule(static) if ((size_t)K * (size_t)N > PARALLEL_LEAST)
	for (int n = 0; n < N; n += PANEL)
		pack_chunk(out + chunk_at(K, 0, n), b, K, N, 0, even(K), n);
}

/* --- a. */

/* Strips of pairs: row r's pair i of strip s is at + s strip + r row + i pair, in bytes. */
struct strips {
	const char *at;
	size_t strip, row, pair;
};

/* Rows of K elements, `width` apart. */
static struct strips
rows_at(const bf16 *at, int width)
{
	const size_t row = (size_t)width * sizeof *at;

	return (struct strips){ (const char *)at, STRIP * row, row, PAIR_BYTES };
}

/* out = a (M, K), with a zero after each row */
static void
copy_odd_rows(bf16 *out, const bf16 *a, int M, int K)
{
	for (int m = 0; m < M; m++, out += even(K), a += K) {
		memcpy(out, a, (size_t)K * sizeof *out);
		out[K] = 0;
	}
}

/* All rows of an area of a (K, M): the pairs of four strips, `apart` elements from each other. */
PAIRS static void
pair_strips(bf16 *out, size_t apart, const struct area *from)
{
	for (int k = 0; k < from->K; k += 2, out += STRIP_PAIR) {
		__m512i both[2];

		pair(both, row_of(from, k), row_of(from, k + 1));
		for (int i = 0; i < 2; i++) {
			__m256i *to = (__m256i *)(out + (size_t)(2 * i) * apart);

			_mm256_storeu_si256(to, _mm512_castsi512_si256(both[i]));
			to = (__m256i *)(out + (size_t)(2 * i + 1) * apart);
			_mm256_storeu_si256(to, _mm512_extracti64x4_epi64(both[i], 1));
		}
	}
}

DOT static void
turn_strips(bf16 *out, const bf16 *a, int M, int K, int m)
{
	const size_t apart = (size_t)even(K) * STRIP;

	if (even(K) == K && m + STEP <= M)
		pair_strips(out, apart, &(struct area){ a, K, M, m, 1 });
	else
		pair_strips(out, apart, &(struct area){ a, K, M, m, 0 });
}

/* `at` is NULL when there is no memory. */
static struct strips
strips_of(const struct product *p)
{
	static struct kept room;
	const int height = even(p->K);
	bf16 *out;

	if (p->a.order == PLAIN && height == p->K)
		return rows_at(p->a.at, p->K);
	out = cpu_kept(&room, (size_t)height * (size_t)(parts_of(p->M, STEP) * STEP) * sizeof *out);
	if (!out)
		return (struct strips){ 0 };
	if (p->a.order == PLAIN) {
		copy_odd_rows(out, p->a.at, p->M, p->K);
		return rows_at(out, height);
	}
#pragma omp parallel for schedule(static) if ((size_t)p->K * (size_t)p->M > PARALLEL_LEAST)
	for (int m = 0; m < p->M; m += STEP)
		turn_strips(out + (size_t)m * (size_t)height, p->a.at, p->M, p->K, m);
	return (struct strips){ (const char *)out, (size_t)height * STRIP * sizeof *out, PAIR_BYTES,
		                STRIP * PAIR_BYTES };
}

/* --- The product. */

/* What is read soon after: `lines` of 64 bytes, of which `run` lie together, and the next so many bytes after these began. */
struct ahead {
	const char *at;
	size_t apart;
	int run, lines, done;
};

/* What a chunk will be read from. */
static struct ahead
source_of(const struct product *p, int k, int n)
{
	const int end = lesser(k + CHUNK, even(p->K));
	const bf16 *b = p->b.at;

	if (n >= p->N)
		return (struct ahead){ 0 };
	if (p->b.order == PACKED) {
		const int lines = (end - k) * PANEL / STEP;

		return (struct ahead){ (const char *)(b + chunk_at(p->K, k, n)), 0, lines, lines, 0 };
	}
	if (p->b.order == TRANSPOSED) {
		const int run = parts_of(end - k, STEP);

		return (struct ahead){ (const char *)(b + (size_t)n * (size_t)p->K + k), (size_t)p->K * sizeof *b, run,
			               run * lesser(PANEL, p->N - n), 0 };
	}
	return (struct ahead){ (const char *)(b + (size_t)k * (size_t)p->N + n), (size_t)p->N * sizeof *b, 1,
		               lesser(end, p->K) - k, 0 };
}

static inline void
fetch(struct ahead *f, int lines)
{
	for (; lines && f->lines; lines--, f->lines--) {
		_mm_prefetch(f->at + f->done * 64, _MM_HINT_T1);
		if (++f->done == f->run) {
			f->done = 0;
			f->at += f->apart;
		}
	}
}

/* Rows from m, columns from n on: where a strip's result goes. */
struct place {
	int m, n;
};

/* The result's lines are asked for before there is something to write. */
PAIRS static void
expect(const struct product *p, int rows, struct place at)
{
	size_t to = (size_t)at.m * (size_t)p->N + (size_t)at.n;

	for (int r = 0; r < rows; r++, to += (size_t)p->N) {
		if (p->c && !p->far) {
			__builtin_prefetch(p->c + to, 1);
			__builtin_prefetch(p->c + to + TILE, 1);
		}
		if (p->c16)
			__builtin_prefetch(p->c16 + to, 1);
	}
}

PAIRS static void
finish(const struct product *p, __m512 sum[STRIP][2], int rows, struct place at)
{
	const uint32_t wanted = p->N - at.n >= PANEL ? ~0u : (1u << (p->N - at.n)) - 1;
	const __mmask16 mask[2] = { (__mmask16)wanted, (__mmask16)(wanted >> TILE) };
	const size_t first = (size_t)at.m * (size_t)p->N + (size_t)at.n;
	__m512 bias[2] = { _mm512_setzero_ps(), _mm512_setzero_ps() };
	float x[STRIP][2][TILE];

	for (int half = 0; half < 2 && p->bias; half++)
		bias[half] = _mm512_maskz_loadu_ps(mask[half], p->bias + at.n + half * TILE);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++) {
			const size_t to = first + (size_t)r * (size_t)p->N + (size_t)(half * TILE);
			__m512 y = _mm512_add_ps(sum[r][half], bias[half]);

			if (p->add)
				y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask[half], p->c + to));
			if (p->pre)
				store(p->pre + to, mask[half], y, 1);
			if (p->act == ACT_NONE)
				put(p, to, mask[half], y);
			else
				_mm512_storeu_ps(x[r][half], y);
		}
	if (p->act == ACT_NONE)
		return;
	cpu_activate(x[0][0], x[0][0], (size_t)(rows * PANEL), p->act);
	for (int r = 0; r < rows; r++)
		for (int half = 0; half < 2; half++)
			put(p, first + (size_t)r * (size_t)p->N + (size_t)(half * TILE), mask[half],
			    _mm512_loadu_ps(x[r][half]));
}

/* Which chunk of K it is: sums begin, or become the result. */
enum { FIRST = 1, LAST = 2 };

/* sums (rows, 32) of some pairs of K, the first of them at a and b */
PAIRS static void
multiply_strip(const struct product *p, struct strips a, const bf16 *b, int pairs, float *sums, int rows, int which,
               struct place at)
{
	__m512 sum[STRIP][2];

	if (which & LAST)
		expect(p, rows, at);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++)
			sum[r][half] =
				which & FIRST ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + r * PANEL + half * TILE);
	for (int i = 0; i < pairs; i++, a.at += a.pair, b += PANEL_PAIR) {
		const __m512bh left = (__m512bh)_mm512_loadu_si512(b);
		const __m512bh right = (__m512bh)_mm512_loadu_si512(b + STEP);

#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			__m512bh all;
			int32_t both;

			memcpy(&both, a.at + (size_t)r * a.row, sizeof both);
			all = (__m512bh)_mm512_set1_epi32(both);
			sum[r][0] = _mm512_dpbf16_ps(sum[r][0], all, left);
			sum[r][1] = _mm512_dpbf16_ps(sum[r][1], all, right);
		}
	}
	if (which & LAST) {
		finish(p, sum, rows, at);
		return;
	}
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++)
			_mm512_storeu_ps(sums + r * PANEL + half * TILE, sum[r][half]);
}

/* Compiled for each count of rows, so that the sums are in registers, and for both strides of whole strips. */
DOT static void
multiply_rows(const struct product *p, struct strips a, const bf16 *b, int pairs, float *sums, int rows, int which,
              struct place at)
{
	switch (rows) {
#define CASE(n)                                                                                                        \
	case n:                                                                                                        \
		multiply_strip(p, a, b, pairs, sums, n, which, at);                                                    \
		return
		CASE(1);
		CASE(2);
		CASE(3);
		CASE(4);
		CASE(5);
		CASE(6);
		CASE(7);
#undef CASE
	}
	if (a.row == PAIR_BYTES) {
		a.row = PAIR_BYTES;
		multiply_strip(p, a, b, pairs, sums, STRIP, which, at);
	} else
		multiply_strip(p, a, b, pairs, sums, STRIP, which, at);
}

/* What one thread does at a time: some rows of a panel. */
struct part {
	int m, rows, n;
};

/* Rows [k, end) of b's panel, which lie at b, by all rows of a part. */
static void
multiply_chunk(const struct product *p, const struct part *part, struct strips a, const bf16 *b, int k, int end,
               float *sums, struct ahead ahead)
{
	const int which = (k ? 0 : FIRST) | (end < p->K ? 0 : LAST),
		  each = parts_of(ahead.lines, parts_of(part->rows, STRIP));

	a.at += (size_t)(part->m / STRIP) * a.strip + (size_t)(k / 2) * a.pair;
	for (int m = 0; m < part->rows; m += STRIP, sums += STRIP * PANEL, a.at += a.strip) {
		fetch(&ahead, each);
		multiply_rows(p, a, b, (end - k) / 2, sums, lesser(STRIP, part->rows - m), which,
		              (struct place){ part->m + m, part->n });
	}
}

static void
multiply_part(const struct product *p, const struct part *part, struct strips a)
{
	const int height = even(p->K);
	const size_t all = (size_t)(parts_of(part->rows, STRIP) * STRIP * PANEL);
	float *sums = cpu_scratch(all + CHUNK_ELEMENTS * sizeof(bf16) / sizeof *sums);
	bf16 *room = (bf16 *)(sums + all);

	if (!sums)
		return;
	for (int k = 0; k < height; k += CHUNK) {
		const int end = lesser(k + CHUNK, height), more = end < height;
		const bf16 *b = room;

		if (p->b.order == PACKED)
			b = (const bf16 *)p->b.at + chunk_at(p->K, k, part->n);
		else
			pack_chunk(room, &p->b, p->K, p->N, k, end, part->n);
		multiply_chunk(p, part, a, b, k, end, sums,
		               source_of(p, more ? end : 0, more ? part->n : part->n + PANEL));
	}
	_mm_sfence();
}

/* Rows of a part, whole strips: enough parts for all threads, if there are rows for them. */
static int
rows_of_part(const struct product *p)
{
	enum { EACH = 4 };
	const int wanted = parts_of(EACH * omp_get_max_threads(), parts_of(p->N, PANEL));
	const int parts = lesser(wanted, parts_of(p->M, ROWS_LEAST)), least = parts_of(p->M, ROWS_MOST);

	return parts_of(parts_of(p->M, parts > least ? parts : least), STRIP) * STRIP;
}

static void
multiply(const struct product *p)
{
	const struct strips a = strips_of(p);
	const int rows = rows_of_part(p);

	if (!a.at)
		return;
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)p->M * (size_t)p->N > PARALLEL_LEAST)
	for (int m = 0; m < p->M; m += rows)
		for (int n = 0; n < p->N; n += PANEL)
			multiply_part(p, &(struct part){ m, lesser(rows, p->M - m), n }, a);
}

const struct bf16_products *
dot_products(void)
{
	static const struct bf16_products here = { packed_size, pack, multiply };

	return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
	                       __builtin_cpu_supports("avx512vl")
	               ? &here
	               : NULL;
}

#else

const struct bf16_products *
dot_products(void)
{
	return NULL;
}

#endif
