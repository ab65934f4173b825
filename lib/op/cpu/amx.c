/*
 * A block of c, 32 rows and 32 columns, is four tiles: each step of 32 along K multiplies two tiles of a by two of b. Each
 * sum runs over K in one order, whatever the number of rows and threads.
 *
 * b in the order in which it is read: chunks of 256 of K (the last has what is left), in a chunk panels of 32 columns, in a
 * panel steps of 32 of K, in a step two tiles of 16 columns, in a tile 16 rows of pairs, which are two of K:
 *
 *     b[k][n] b[k+1][n]  b[k][n+1] b[k+1][n+1]  …  b[k][n+15] b[k+1][n+15]
 *
 * Zeros fill K and N up to multiples of 32. A panel's chunk, 16 kB, stays in the first cache while the rows of a pass by it.
 */
#include "op/cpu/matmul.h"

#ifdef __x86_64__

#include <omp.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "op/cpu/pairs.h"

#define TILES __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))

enum { TILE = 16, STEP = 32, BLOCK = 32, CHUNK = 256 };
enum {
	TILE_ELEMENTS = TILE * STEP,
	STEP_ELEMENTS = STEP * PANEL,
	BLOCK_ELEMENTS = BLOCK * PANEL,
	TILE_SUMS = TILE * TILE
};

/*
 * What one thread does at a time: so many blocks of rows, of which it has its own copy, a stretch of K wide, and sums of so many panels (of
 * all of them where K is longer than a stretch). Copy, 680 kB, and sums, 480 kB, are in the second cache together.
 */
enum { BLOCKS_MOST = 10, PANELS_MOST = 12, STRETCH = 4 * CHUNK };

static int usable;

/* The kernel lends the tiles, 8 kB of each thread's state, to a process that asks for them. */
static void
ask(void)
{
	enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

	usable = __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("avx512bf16") &&
	         !syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

static int
whole_steps(int K)
{
	return parts_of(K, STEP) * STEP;
}

/* --- Into the order of a tile. */

TILES static void
pack_step(bf16 *out, const bf16 *b, int K, int N, int k, int n)
{
	for (int i = 0; i < TILE; i++) {
		__m512i both[2];

		pair(both, row_from(b, K, N, k + 2 * i, n), row_from(b, K, N, k + 2 * i + 1, n));
		_mm512_storeu_si512(out + i * STEP, both[0]);
		_mm512_storeu_si512(out + TILE_ELEMENTS + i * STEP, both[1]);
	}
}

/* The same of b (N, K). */
TILES static void
pack_transposed_step(bf16 *out, const bf16 *b, int K, int N, int k, int n)
{
	for (int half = 0; half < 2; half++, n += TILE, out += TILE_ELEMENTS) {
		__m512i row[TILE];

#pragma GCC unroll 16
		for (int i = 0; i < TILE; i++)
			row[i] = row_from(b, N, K, n + i, k);
		transpose(row);
#pragma GCC unroll 16
		for (int i = 0; i < TILE; i++)
			_mm512_storeu_si512(out + i * STEP, row[i]);
	}
}

/* Where the step of row k and the panel of column n begins. */
static size_t
step_at(int K, int N, int k, int n)
{
	const int chunk = k / CHUNK * CHUNK, columns = parts_of(N, PANEL) * PANEL;

	return (size_t)chunk * (size_t)columns + (size_t)n * (size_t)lesser(CHUNK, whole_steps(K) - chunk) +
	       (size_t)(k - chunk) * PANEL;
}

static size_t
packed_size(int K, int N)
{
	return (size_t)whole_steps(K) * (size_t)(parts_of(N, PANEL) * PANEL) * sizeof(bf16);
}

/* Of b, [k, k_end) and [n, n_end). */
static void
pack_area(bf16 *out, const struct matrix *b, int K, int N, int k, int k_end, int n, int n_end)
{
	for (; k < k_end; k += STEP)
		for (int at = n; at < n_end; at += PANEL)
			(b->order == TRANSPOSED ? pack_transposed_step : pack_step)(out + step_at(K, N, k, at), b->at,
			                                                            K, N, k, at);
}

/* Each area such that what is read of a row is a kilobyte or a half. */
static void
pack(bf16 *out, const struct matrix *b, int K, int N)
{
	const int turned = b->order == TRANSPOSED, tall = turned ? CHUNK : STEP, wide = turned ? PANEL : 16 * PANEL;

#pragma omp parallel for collapse(2) schedule(static) if ((size_t)K * (size_t)N > PARALLEL_LEAST)
	for (int k = 0; k < K; k += tall)
		for (int n = 0; n < N; n += wide)
			pack_area(out, b, K, N, k, lesser(k + tall, K), n, lesser(n + wide, N));
}

/* Rows of a's copy are so far apart: whole steps, and one more so that neighbours do not meet in the same sets of the cache. */
static size_t
row_of_copy(int K)
{
	return (size_t)(whole_steps(K) + STEP);
}

/* out = rows [m, m + rows) and columns [k, k + width) of a (M, K), row_of_copy(width) apart. */
TILES static void
copy_rows(bf16 *out, const bf16 *a, int M, int K, int m, int rows, int k, int width)
{
	for (int r = 0; r < rows; r++, out += row_of_copy(width))
		for (int i = 0; i < width; i += STEP)
			_mm512_storeu_si512(out + i, row_from(a, M, K, m + r, k + i));
}

/* The same of a (K, M). */
TILES static void
turn_rows(bf16 *out, const bf16 *a, int M, int K, int m, int rows, int k, int width)
{
	for (int first = 0; first < rows; first += TILE)
		for (int i = 0; i < width; i += STEP) {
			const int n = lesser(TILE, rows - first);
			__m512i row[TILE];

#pragma GCC unroll 16
			for (int j = 0; j < TILE; j++) {
				__m512i both[2];

				pair(both, row_from(a, K, M, k + i + 2 * j, m + first),
				     row_from(a, K, M, k + i + 2 * j + 1, m + first));
				row[j] = both[0];
			}
			transpose(row);
			for (int j = 0; j < n; j++)
				_mm512_storeu_si512(out + (size_t)(first + j) * row_of_copy(width) + i, row[j]);
		}
}

/* --- The product. */

/* Tiles 0 to 3 are a block of sums, 4 and 5 rows of a, 6 and 7 columns of b; of a's and the sums' only so many rows. */
TILES static void
configure(int rows)
{
	struct {
		uint8_t palette, start, reserved[14];
		uint16_t bytes[16];
		uint8_t rows[16];
	} tiles = { .palette = 1 };

	for (int i = 0; i < 8; i++) {
		tiles.bytes[i] = TILE * sizeof(float);
		tiles.rows[i] = TILE;
	}
	tiles.rows[0] = tiles.rows[1] = tiles.rows[4] = (uint8_t)lesser(rows, TILE);
	if (rows > TILE)
		tiles.rows[2] = tiles.rows[3] = tiles.rows[5] = (uint8_t)(rows - TILE);
	/* GCC 12 thinks that only the first eight bytes are read. */
	__asm__ volatile("" : : "r"(&tiles) : "memory");
	_tile_loadconfig(&tiles);
}

/* What is read soon after: `lines` of it are fetched with each step. */
struct ahead {
	const char *at;
	int lines;
};

/*
 * sums (32, 32) = a b over some steps, or added to; rows of a are a_row apart. tall: more than 16 rows. What the compiler has of memory in registers
 * must be there before a tile is loaded from it, which GCC's intrinsics do not say.
 */
TILES static inline __attribute__((always_inline)) void
multiply_block(float *sums, const bf16 *a, size_t a_row, const bf16 *b, int steps, int add, int tall,
               struct ahead ahead)
{
	enum { ROW = STEP * sizeof(bf16) };

	__asm__ volatile("" : : : "memory");
	if (add) {
		_tile_loadd(0, sums, ROW);
		_tile_loadd(1, sums + TILE_SUMS, ROW);
		if (tall) {
			_tile_loadd(2, sums + 2 * TILE_SUMS, ROW);
			_tile_loadd(3, sums + 3 * TILE_SUMS, ROW);
		}
	} else {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	}
	for (int i = 0; i < steps; i++, a += STEP, b += STEP_ELEMENTS) {
		_tile_loadd(6, b, ROW);
		_tile_loadd(4, a, a_row * sizeof *a);
		_tile_loadd(7, b + TILE_ELEMENTS, ROW);
		if (tall)
			_tile_loadd(5, a + TILE * a_row, a_row * sizeof *a);
		for (int line = 0; line < ahead.lines; line++, ahead.at += 64)
			_mm_prefetch(ahead.at, _MM_HINT_T1);
		_tile_dpbf16ps(0, 4, 6);
		_tile_dpbf16ps(1, 4, 7);
		if (tall) {
			_tile_dpbf16ps(2, 5, 6);
			_tile_dpbf16ps(3, 5, 7);
		}
	}
	_tile_stored(0, sums, ROW);
	_tile_stored(1, sums + TILE_SUMS, ROW);
	if (tall) {
		_tile_stored(2, sums + 2 * TILE_SUMS, ROW);
		_tile_stored(3, sums + 3 * TILE_SUMS, ROW);
	}
}

/* Where the sums of a row's half are in a block's. */
static inline size_t
half_row(int r, int half)
{
	return (size_t)((r / TILE * 2 + half) * TILE_SUMS + r % TILE * TILE);
}

/* A block of the product from its sums: rows from m, columns from n on. */
TILES static void
finish_block(const struct product *p, float *sums, int m, int rows, int n)
{
	const struct columns columns = columns_of(p, n);

	for (int r = 0; r < rows; r++)
		for (int half = 0; half < 2; half++) {
			float *x = sums + half_row(r, half);

			finish_half(&columns, m + r, half, _mm512_loadu_ps(x), x);
		}
	if (p->act == ACT_NONE)
		return;
	cpu_activate(sums, sums, BLOCK_ELEMENTS, p->act);
	for (int r = 0; r < rows; r++)
		for (int half = 0; half < 2; half++)
			put(&columns, m + r, half, _mm512_loadu_ps(sums + half_row(r, half)));
}

/* What one thread does at a time: some rows of some columns. */
struct part {
	int m, rows, n, columns;
};

/* A chunk of K for a panel and all rows of a part. more: the panel after it comes next. */
TILES static void
multiply_panel(const struct product *p, const struct part *part, const bf16 *a, size_t a_row, float *sums, int k, int n,
               int more)
{
	const bf16 *b = (const bf16 *)p->b.at + step_at(p->K, p->N, k, n);
	const int steps = lesser(CHUNK, whole_steps(p->K) - k) / STEP, step_lines = STEP_ELEMENTS * (int)sizeof *b / 64;
	const int lines = more ? parts_of(step_lines, parts_of(part->rows, BLOCK)) : 0;
	struct ahead ahead = { (const char *)(b + steps * STEP_ELEMENTS), lines };

	for (int m = 0; m < part->rows; m += BLOCK, sums += BLOCK_ELEMENTS, ahead.at += lines * steps * 64) {
		const int rows = lesser(BLOCK, part->rows - m);
		const bf16 *from = a + (size_t)m * a_row;

		if (!m || rows < BLOCK)
			configure(rows);
		if (rows > TILE)
			multiply_block(sums, from, a_row, b, steps, k > 0, 1, ahead);
		else
			multiply_block(sums, from, a_row, b, steps, k > 0, 0, ahead);
		if (k + CHUNK >= p->K)
			finish_block(p, sums, part->m + m, rows, n);
	}
}

/* sums: panel by panel, block by block, kept from chunk to chunk. */
TILES static void
multiply_part(const struct product *p, const struct part *part)
{
	const int K = whole_steps(p->K), stretch = lesser(K, STRETCH), blocks = parts_of(part->rows, BLOCK);
	const int group = K > STRETCH ? part->columns : lesser(part->columns, PANELS_MOST * PANEL);
	const size_t column = (size_t)blocks * BLOCK_ELEMENTS, all = column * (size_t)parts_of(group, PANEL);
	float *sums = cpu_scratch(all + (size_t)part->rows * row_of_copy(stretch) * sizeof(bf16) / sizeof(float));
	bf16 *a = (bf16 *)(sums + all);

	if (!sums)
		return;
	for (int from = 0; from < K; from += STRETCH) {
		const int width = lesser(STRETCH, K - from);

		(p->a.order == TRANSPOSED ? turn_rows : copy_rows)(a, p->a.at, p->M, p->K, part->m, part->rows, from,
		                                                   width);
		for (int g = 0; g < part->columns; g += group)
			for (int k = from; k < from + width; k += CHUNK) {
				const int end = lesser(part->columns, g + group);
				float *to = sums;

				for (int n = g; n < end; n += PANEL, to += column)
					multiply_panel(p, part, a + (k - from), row_of_copy(width), to, k, part->n + n,
					               n + PANEL < end);
			}
	}
	_tile_release();
	_mm_sfence();
}

/* The size of parts of n blocks (or panels), at most `most`, such that the parts are a multiple of `wanted` if there are enough. */
static int
evenly(int n, int wanted, int most)
{
	return parts_of(n, wanted * parts_of(n, wanted * most));
}

static void
multiply(const struct product *p)
{
	static struct kept room;
	const int threads = omp_get_max_threads(), blocks = parts_of(p->M, BLOCK), panels = parts_of(p->N, PANEL);
	const int by_rows = parts_of(blocks, BLOCKS_MOST) >= threads || panels < threads;
	const int high = evenly(blocks, by_rows ? threads : 1, BLOCKS_MOST) * BLOCK;
	const int wide = parts_of(panels, parts_of(threads, parts_of(p->M, high))) * PANEL;
	struct product whole = *p;

	if (whole.b.order != PACKED) {
		bf16 *b = cpu_kept(&room, packed_size(p->K, p->N));

		if (!b)
			return;
		pack(b, &p->b, p->K, p->N);
		whole.b = (struct matrix){ b, PACKED };
	}
#pragma omp parallel for collapse(2) schedule(static) if (product_is_large(p))
	for (int m = 0; m < p->M; m += high)
		for (int n = 0; n < p->N; n += wide)
			multiply_part(&whole, &(struct part){ m, lesser(high, p->M - m), n, lesser(wide, p->N - n) });
}

const struct bf16_products *
amx_products(void)
{
	static const struct bf16_products here = { packed_size, pack, multiply };
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, ask);
	return usable ? &here : NULL;
}

#else

const struct bf16_products *
amx_products(void)
{
	return NULL;
}

#endif
