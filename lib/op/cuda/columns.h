/*
 * Rows of floats in pieces of COLUMNS columns, which a thread loads and stores at once where they lie on a multiple of as many: COLUMNS is
 * also what one of dropout's draws is for.
 */
#ifndef VQA_OP_CUDA_COLUMNS_H
#define VQA_OP_CUDA_COLUMNS_H

#include "op/cuda/kernel.h"

constexpr int COLUMNS = 4;
constexpr int AHEAD = 6; /* pieces that a thread asks for before it waits for the first */

/* Blocks of THREADS for n elements, a piece a thread. */
static inline dim3
pieces(size_t n)
{
	return elements((n + COLUMNS - 1) / COLUMNS);
}

/* How many of n elements the piece at element i has. */
static __device__ inline int
columns_left(size_t i, size_t n)
{
	return (int)(n - i < COLUMNS ? n - i : COLUMNS);
}

/* The first `left` of a piece; zeros for the others, also where left is below 0. */
static __device__ inline void
load_columns(float x[COLUMNS], const float *from, int left)
{
	if (left >= COLUMNS && (uintptr_t)from % sizeof(float4) == 0) {
		const float4 all = *(const float4 *)from;

		x[0] = all.x;
		x[1] = all.y;
		x[2] = all.z;
		x[3] = all.w;
		return;
	}
	for (int k = 0; k < COLUMNS; k++)
		x[k] = k < left ? from[k] : 0;
}

static __device__ inline void
store_columns(float *to, const float x[COLUMNS], int left)
{
	if (left >= COLUMNS && (uintptr_t)to % sizeof(float4) == 0) {
		*(float4 *)to = make_float4(x[0], x[1], x[2], x[3]);
		return;
	}
	for (int k = 0; k < COLUMNS && k < left; k++)
		to[k] = x[k];
}

/* Rounded to bf16. */
static __device__ inline void
store_narrow(bf16 *to, const float x[COLUMNS], int left)
{
	bf16 y[COLUMNS];

	for (int k = 0; k < COLUMNS; k++)
		y[k] = float_to_bfloat(x[k]);
	if (left >= COLUMNS && (uintptr_t)to % sizeof(uint2) == 0) {
		*(uint2 *)to = make_uint2(y[0] | (unsigned)y[1] << 16, y[2] | (unsigned)y[3] << 16);
		return;
	}
	for (int k = 0; k < COLUMNS && k < left; k++)
		to[k] = y[k];
}

/* A lane's column in the ith of the pieces that begin at column `first`, a warp's side by side. */
static __device__ inline int
own_column(int first, int i)
{
	return first + (i * WARP + own_lane()) * COLUMNS;
}

/* A lane's AHEAD pieces of a row (D) from column `first` on. row NULL: zeros. */
static __device__ inline void
load_ahead(float x[AHEAD][COLUMNS], const float *row, int first, int D)
{
	for (int i = 0; i < AHEAD; i++)
		load_columns(x[i], row ? row + own_column(first, i) : NULL, row ? D - own_column(first, i) : 0);
}

#endif
