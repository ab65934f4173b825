/*
 * Products in bf16 by AVX-512's dot products of pairs: faster than oneDNN 2.6's, most where b is new each time, as weights are in
 * training, and where what comes of them does not fit into the caches.
 *
 * A strip of c, 8 rows of 32 columns, is 16 vectors of sums: each pair of K multiplies 8 pairs of a, each in all lanes, by two
 * vectors of b. Each sum runs over K in one order, whatever the number of rows and threads.
 *
 * b in the order in which it is read: panels of 32 columns (zeros fill the last), in a panel pairs, which are two of K:
 *
 *     b[k][n] b[k+1][n]  b[k][n+1] b[k+1][n+1]  …  b[k][n+31] b[k+1][n+31]
 *
 * A chunk of a panel, 16 kB, stays in the first cache while the rows pass by it. Where b is not packed, the thread that reads a chunk
 * puts it in order just before: a few hundredths of the product's time. a is read where it lies if it is row-major.
 */
#include "op/cpu/matmul.h"

#ifdef __x86_64__

#include <omp.h>

#include "op/cpu/pairs.h"

enum { STRIP = 8, CHUNK = 256 };
enum { PANEL_PAIR = 2 * PANEL, STRIP_PAIR = 2 * STRIP, CHUNK_ELEMENTS = CHUNK * PANEL };
enum { PAIR_BYTES = 2 * sizeof(bf16) };

/* Rows of a part: at most so many that their sums stay in the second cache, and so many at least that a chunk is worth putting in order. */
enum { ROWS_MOST = 640, ROWS_LEAST = 64 };

static int
even_up(int K)
{
	return (K + 1) / 2 * 2;
}

/* --- b. */

/* A panel's columns of a matrix (K, N), from n on. whole: all that is read of it is there. */
struct area {
	const bf16 *at;
	int K, N, n, whole;
};

/* Row k; zeros where there is none. */
DOT_INLINE static __m512i
row_of(const struct area *from, int k, int whole)
{
	if (whole)
		return _mm512_loadu_si512(from->at + (size_t)k * (size_t)from->N + from->n);
	return row_from(from->at, from->K, from->N, k, from->n);
}

DOT_INLINE static void
pair_area(bf16 *out, const struct area *from, int k, int end, int whole)
{
	for (; k < end; k += 2, out += PANEL_PAIR) {
		__m512i both[2];

		pair(both, row_of(from, k, whole), row_of(from, k + 1, whole));
		_mm512_storeu_si512(out, both[0]);
		_mm512_storeu_si512(out + LINE, both[1]);
	}
}

/* out = rows [k, end) of an area, as pairs */
DOT static void
pack_rows(bf16 *out, const struct area *from, int k, int end)
{
	if (from->whole)
		pair_area(out, from, k, end, 1);
	else
		pair_area(out, from, k, end, 0);
}

/* Up to 16 rows of 16 pairs become columns, of which the first `pairs` are wanted. */
DOT_INLINE static void
turn_area(bf16 *out, const struct area *from, int row, int pairs, int whole)
{
	__m512i at[LANES];

#pragma GCC unroll 16
	for (int i = 0; i < LANES; i++)
		at[i] = row_of(from, row + i, whole);
	transpose(at);
#pragma GCC unroll 16
	for (int i = 0; i < LANES; i++)
		if (i < pairs)
			_mm512_storeu_si512(out + i * PANEL_PAIR, at[i]);
}

/* out = rows [n, n + 32) of an area, 32 of K wide, as columns: pairs of them */
DOT static void
pack_columns(bf16 *out, const struct area *from, int n, int pairs)
{
	for (int half = 0; half < 2; half++, n += LANES, out += LINE)
		if (from->whole)
			turn_area(out, from, n, LANES, 1);
		else
			turn_area(out, from, n, pairs, 0);
}

/* out = rows [k, end) of the panel of column n */
static void
pack_chunk(bf16 *out, const struct matrix *b, int K, int N, int k, int end, int n)
{
	const int inside = n + PANEL <= N;

	if (b->order != TRANSPOSED) {
		pack_rows(out, &(struct area){ .at = b->at, .K = K, .N = N, .n = n, .whole = inside && end <= K }, k,
		          end);
		return;
	}
	for (; k < end; k += LINE, out += LANES * PANEL_PAIR)
		pack_columns(out,
		             &(struct area){ .at = b->at, .K = N, .N = K, .n = k, .whole = inside && k + LINE <= K }, n,
		             (end - k) / 2);
}

/* Elements of b before row k of the panel of column n. */
static size_t
chunk_at(int K, int k, int n)
{
	return (size_t)n * (size_t)even_up(K) + (size_t)k * PANEL;
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
		pack_chunk(out + chunk_at(K, 0, n), b, K, N, 0, even_up(K), n);
}

/* --- a. */

/* Strips of pairs: row r's pair i of strip s is at + s strip + r row + i pair, in bytes. */
struct strips {
	const char *at;
	size_t strip, row, pair;
};

/* Rows of so many elements. */
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
#pragma omp parallel for schedule(static) if ((size_t)K * (size_t)M > PARALLEL_LEAST)
	for (int m = 0; m < M; m++) {
		bf16 *row = out + (size_t)m * (size_t)even_up(K);

		memcpy(row, a + (size_t)m * (size_t)K, (size_t)K * sizeof *row);
		row[K] = 0;
	}
}

/* All rows of an area of a (K, M): the pairs of four strips, `apart` elements from each other. */
DOT_INLINE static void
pair_strips(bf16 *out, size_t apart, const struct area *from, int whole)
{
	for (int k = 0; k < from->K; k += 2, out += STRIP_PAIR) {
		__m512i both[2];

		pair(both, row_of(from, k, whole), row_of(from, k + 1, whole));
		for (int i = 0; i < 2; i++) {
			__m256i *to = (__m256i *)(out + (size_t)(2 * i) * apart);

			_mm256_storeu_si256(to, _mm512_castsi512_si256(both[i]));
			to = (__m256i *)(out + (size_t)(2 * i + 1) * apart);
			_mm256_storeu_si256(to, _mm512_extracti64x4_epi64(both[i], 1));
		}
	}
}

DOT static void
turn_strips(bf16 *out, const struct area *from)
{
	const size_t apart = (size_t)even_up(from->K) * STRIP;

	if (from->whole)
		pair_strips(out, apart, from, 1);
	else
		pair_strips(out, apart, from, 0);
}

/* `at` is NULL when there is no memory. */
static struct strips
strips_of(const struct product *p)
{
	static struct kept room;
	const int height = even_up(p->K), odd = height != p->K;
	bf16 *out;

	if (p->a.order == PLAIN && !odd)
		return rows_at(p->a.at, p->K);
	out = cpu_kept(&room, (size_t)height * (size_t)(parts_of(p->M, LINE) * LINE) * sizeof *out);
	if (!out)
		return (struct strips){ 0 };
	if (p->a.order == PLAIN) {
		copy_odd_rows(out, p->a.at, p->M, p->K);
		return rows_at(out, height);
	}
#pragma omp parallel for schedule(static) if ((size_t)p->K * (size_t)p->M > PARALLEL_LEAST)
	for (int m = 0; m < p->M; m += LINE)
		turn_strips(out + (size_t)m * (size_t)height,
		            &(struct area){
				    .at = p->a.at, .K = p->K, .N = p->M, .n = m, .whole = !odd && m + LINE <= p->M });
	return (struct strips){ (const char *)out, (size_t)height * STRIP * sizeof *out, PAIR_BYTES,
		                STRIP * PAIR_BYTES };
}

/* --- The product. */

/* What is read soon after: `lines` of the cache, in runs that begin `apart` bytes from each other; of the first run some are done. */
struct ahead {
	const char *at;
	size_t apart;
	int run, lines, done;
};

/* What a chunk will be read from. */
static struct ahead
source_of(const struct product *p, int k, int n)
{
	const int end = lesser(k + CHUNK, even_up(p->K)), wide = parts_of(end - k, LINE);
	const bf16 *b = p->b.at;

	if (n >= p->N)
		return (struct ahead){ 0 };
	switch (p->b.order) {
	case PACKED:
		return (struct ahead){ .at = (const char *)(b + chunk_at(p->K, k, n)),
			               .run = end - k,
			               .lines = end - k };
	case TRANSPOSED:
		return (struct ahead){ .at = (const char *)(b + (size_t)n * (size_t)p->K + k),
			               .apart = (size_t)p->K * sizeof *b,
			               .run = wide,
			               .lines = wide * lesser(PANEL, p->N - n) };
	case PLAIN:
		break;
	}
	return (struct ahead){ .at = (const char *)(b + (size_t)k * (size_t)p->N + n),
		               .apart = (size_t)p->N * sizeof *b,
		               .run = 1,
		               .lines = lesser(end, p->K) - k };
}

static inline void
fetch(struct ahead *f, int lines)
{
	for (; lines && f->lines; lines--, f->lines--) {
		_mm_prefetch(f->at + (size_t)f->done * LINE * sizeof(bf16), _MM_HINT_T1);
		if (++f->done == f->run) {
			f->done = 0;
			f->at += f->apart;
		}
	}
}

/* A strip's share of a chunk: sums (rows, 32) of some pairs of K, the first of them at a and b; rows from m, columns from n on. */
struct task {
	const struct product *p;
	struct strips a;
	const bf16 *b;
	float *sums;
	int pairs, m, rows, n;
	int first, last; /* chunk of K: sums begin; sums become the result */
};

/* The result's lines are asked for before there is something to write. */
DOT_INLINE static void
expect(const struct task *t)
{
	const struct product *p = t->p;
	size_t to = (size_t)t->m * (size_t)p->N + (size_t)t->n;

	for (int r = 0; r < t->rows; r++, to += (size_t)p->N) {
		if (p->c && !p->far) {
			__builtin_prefetch(p->c + to, 1);
			__builtin_prefetch(p->c + to + LANES, 1);
		}
		if (p->c16)
			__builtin_prefetch(p->c16 + to, 1);
	}
}

DOT_INLINE static void
finish(const struct task *t, __m512 sum[STRIP][2], int rows)
{
	const struct columns columns = columns_of(t->p, t->n);
	float x[STRIP][2][LANES];

#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++)
			finish_half(&columns, t->m + r, half, sum[r][half], x[r][half]);
	if (t->p->act == ACT_NONE)
		return;
	cpu_activate(x[0][0], x[0][0], (size_t)(rows * PANEL), t->p->act);
	for (int r = 0; r < rows; r++)
		for (int half = 0; half < 2; half++)
			put(&columns, t->m + r, half, _mm512_loadu_ps(x[r][half]));
}

/* rows and row (a's stride) are the task's own, as constants where they can be. */
DOT_INLINE static void
multiply_strip(const struct task *t, int rows, size_t row)
{
	const char *a = t->a.at;
	const bf16 *b = t->b;
	__m512 sum[STRIP][2];

	if (t->last)
		expect(t);
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++)
			sum[r][half] =
				t->first ? _mm512_setzero_ps() : _mm512_loadu_ps(t->sums + r * PANEL + half * LANES);
	for (int i = 0; i < t->pairs; i++, a += t->a.pair, b += PANEL_PAIR) {
		const __m512bh left = (__m512bh)_mm512_loadu_si512(b);
		const __m512bh right = (__m512bh)_mm512_loadu_si512(b + LINE);

#pragma GCC unroll 8
		for (int r = 0; r < rows; r++) {
			__m512bh all;
			int32_t both;

			memcpy(&both, a + (size_t)r * row, sizeof both);
			all = (__m512bh)_mm512_set1_epi32(both);
			sum[r][0] = _mm512_dpbf16_ps(sum[r][0], all, left);
			sum[r][1] = _mm512_dpbf16_ps(sum[r][1], all, right);
		}
	}
	if (t->last) {
		finish(t, sum, rows);
		return;
	}
#pragma GCC unroll 8
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (int half = 0; half < 2; half++)
			_mm512_storeu_ps(t->sums + r * PANEL + half * LANES, sum[r][half]);
}

/* Compiled for each count of rows, so that the sums are in registers, and for both strides of whole strips. */
DOT static void
multiply_rows(const struct task *t)
{
	switch (t->rows) {
#define CASE(n)                                                                                                        \
	case n:                                                                                                        \
		multiply_strip(t, n, t->a.row);                                                                        \
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
	if (t->a.row == PAIR_BYTES)
		multiply_strip(t, STRIP, PAIR_BYTES);
	else
		multiply_strip(t, STRIP, t->a.row);
}

/* What one thread does at a time: some rows of a panel. */
struct part {
	int m, rows, n;
};

/* A chunk by all rows of a part, of which `task` is the first strip's. */
static void
multiply_chunk(struct task task, const struct part *part, struct ahead ahead)
{
	const int each = parts_of(ahead.lines, parts_of(part->rows, STRIP));

	for (int m = 0; m < part->rows;
	     m += STRIP, task.m += STRIP, task.sums += STRIP * PANEL, task.a.at += task.a.strip) {
		fetch(&ahead, each);
		task.rows = lesser(STRIP, part->rows - m);
		multiply_rows(&task);
	}
}

static void
multiply_part(const struct product *p, const struct part *part, struct strips a)
{
	const int height = even_up(p->K);
	const size_t all = (size_t)(parts_of(part->rows, STRIP) * STRIP * PANEL);
	float *sums = cpu_scratch(all + CHUNK_ELEMENTS * sizeof(bf16) / sizeof *sums);
	bf16 *room = (bf16 *)(sums + all);

	if (!sums)
		return;
	a.at += (size_t)(part->m / STRIP) * a.strip;
	for (int k = 0; k < height; k += CHUNK, a.at += CHUNK / 2 * a.pair) {
		const int end = lesser(k + CHUNK, height), last = end == height;
		struct task task = { .p = p,
			             .a = a,
			             .b = room,
			             .sums = sums,
			             .pairs = (end - k) / 2,
			             .m = part->m,
			             .n = part->n,
			             .first = !k,
			             .last = last };

		if (p->b.order == PACKED)
			task.b = (const bf16 *)p->b.at + chunk_at(p->K, k, part->n);
		else
			pack_chunk(room, &p->b, p->K, p->N, k, end, part->n);
		multiply_chunk(task, part, last ? source_of(p, 0, part->n + PANEL) : source_of(p, end, part->n));
	}
	_mm_sfence();
}

/* Rows of a part, whole strips: so many parts that threads have nearly the same, if there are rows for them. */
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
#pragma omp parallel for collapse(2) schedule(static) if (product_is_large(p))
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
