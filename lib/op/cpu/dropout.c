/*
 * Dropout, which all that drop use (op.h, struct dropout): BLOCKS counters of philox4x32 (sys/philox.h) side by side, each of which
 * gives the numbers of four columns. A round waits for the one before it: so many counters at once that the processor has others
 * to go on with meanwhile.
 */
#include "op/cpu/cpu.h"
#include "sys/philox.h"

enum { BLOCKS = 64, COLUMNS = 4, DRAWS = COLUMNS * BLOCKS };

/* The numbers of columns COLUMNS block[b] and on of row[b]. */
VECTOR static void
draw(uint32_t out[DRAWS], const struct dropout *drop, const uint32_t row[BLOCKS], const uint32_t block[BLOCKS])
{
	uint32_t c[4][BLOCKS], k0 = (uint32_t)drop->seed, k1 = (uint32_t)(drop->seed >> 32);

	for (int b = 0; b < BLOCKS; b++) {
		c[0][b] = drop->step;
		c[1][b] = drop->site;
		c[2][b] = row[b];
		c[3][b] = block[b];
	}
	for (int round = 0; round < PHILOX_ROUNDS; round++)
		for (int b = 0; b < BLOCKS; b++)
			philox_round(&c[0][b], &c[1][b], &c[2][b], &c[3][b], k0 + (uint32_t)round * PHILOX_W0,
			             k1 + (uint32_t)round * PHILOX_W1);
	for (int b = 0; b < BLOCKS; b++)
		for (int lane = 0; lane < COLUMNS; lane++)
			out[COLUMNS * b + lane] = c[lane][b];
}

VECTOR static void
keep(float *x, const uint32_t *drawn, int n, uint32_t bound, float scale)
{
	for (int i = 0; i < n; i++)
		x[i] *= drawn[i] >= bound ? scale : 0;
}

VECTOR static void
keep_blocks(float *const *x, const uint32_t *drawn, int blocks, uint32_t bound, float scale)
{
	for (int b = 0; b < blocks; b++)
		for (int lane = 0; lane < COLUMNS; lane++)
			x[b][lane] *= drawn[COLUMNS * b + lane] >= bound ? scale : 0;
}

static uint32_t
bound_of(const struct dropout *drop)
{
	return (uint32_t)ceil((double)drop->p * 4294967296.0);
}

void
cpu_drop(float *x, int n, const struct dropout *drop, uint32_t row)
{
	for (int i = 0; i < n; i += DRAWS) {
		uint32_t drawn[DRAWS], rows[BLOCKS], blocks[BLOCKS];

		for (int b = 0; b < BLOCKS; b++) {
			rows[b] = row;
			blocks[b] = (uint32_t)(i / COLUMNS + b);
		}
		draw(drawn, drop, rows, blocks);
		keep(x + i, drawn, n - i < DRAWS ? n - i : DRAWS, bound_of(drop), 1 / (1 - drop->p));
	}
}

void
cpu_drop_rows(float *x, int stride, int rows, int n, const struct dropout *drop, uint32_t first)
{
	uint32_t drawn[DRAWS], row[BLOCKS] = { 0 }, block[BLOCKS] = { 0 };
	float *at[BLOCKS];
	int blocks = 0;

	for (int r = 0; r < rows; r++)
		for (int i = 0; i < n; i += COLUMNS) {
			row[blocks] = first + (uint32_t)r;
			block[blocks] = (uint32_t)(i / COLUMNS);
			at[blocks++] = x + r * stride + i;
			if (blocks < BLOCKS && (r < rows - 1 || i + COLUMNS < n))
				continue;
			draw(drawn, drop, row, block);
			keep_blocks(at, drawn, blocks, bound_of(drop), 1 / (1 - drop->p));
			blocks = 0;
		}
}
