/*
 * Small matrix products, of the size of one head's attention: between rows in global memory and a (QUERIES, keys) matrix in shared memory.
 *
 * All THREADS of a block call together. In `rows by keys` a query belongs to GROUP neighbouring threads, whose keys are GROUP apart: the
 * same threads that work on its row afterwards (own_query, own_part).
 */
#ifndef VQA_OP_CUDA_TILE_H
#define VQA_OP_CUDA_TILE_H

#include "op/cuda/kernel.h"

constexpr int QUERIES = 16, GROUP = THREADS / QUERIES, KEYS = 32, WIDE = 64,
	      PADDED = WIDE + 1; /* no two rows begin in one bank */

/* Rows in global memory, `stride` elements apart. */
struct strided {
	const float *at;
	int stride;
};

static __device__ inline int
own_query(void)
{
	return (int)threadIdx.x / GROUP;
}

static __device__ inline int
own_part(void)
{
	return (int)threadIdx.x % GROUP;
}

/* Columns [w0, w0 + WIDE) of `most` rows into room (most, PADDED); zeros beyond the n rows and W columns that there are. */
static __device__ inline void
tile_load(float *room, struct strided from, int n, int most, int w0, int W)
{
	const int w = (int)threadIdx.x % WIDE;

	for (int r = (int)threadIdx.x / WIDE; r < most; r += THREADS / WIDE)
		room[r * PADDED + w] = r < n && w0 + w < W ? from.at[(size_t)r * from.stride + w0 + w] : 0;
}

/*
 * x (QUERIES, n) = scale own (rows, W) by keys (n, W), zeros in the rows that are none. room: (QUERIES + KEYS, PADDED). Nothing is
 * written before the whole block is here, and if n > 0 all that it wrote before is seen afterwards.
 */
static __device__ inline void
tile_by_keys(float *x, struct strided own, int rows, struct strided keys, int n, int W, float scale, float *room)
{
	float *const other = room + QUERIES * PADDED;

	for (int j0 = 0; j0 < n; j0 += KEYS) {
		const struct strided next = { keys.at + (size_t)j0 * keys.stride, keys.stride };
		float sum[KEYS / GROUP] = { 0 };

		for (int w0 = 0; w0 < W; w0 += WIDE) {
			const int width = W - w0 < WIDE ? W - w0 : WIDE;

			__syncthreads();
			tile_load(room, own, rows, QUERIES, w0, W);
			tile_load(other, next, n - j0, KEYS, w0, W);
			__syncthreads();
			for (int w = 0; w < width; w++) {
				const float q = room[own_query() * PADDED + w];

				for (int m = 0; m < KEYS / GROUP; m++)
					sum[m] += q * other[(own_part() + m * GROUP) * PADDED + w];
			}
		}
		for (int m = 0; m < KEYS / GROUP; m++)
			if (j0 + own_part() + m * GROUP < n)
				x[own_query() * n + j0 + own_part() + m * GROUP] = sum[m] * scale;
	}
}

/* out (rows, W), `stride` apart, or its twin, = scale x (QUERIES, n) over keys (n, W). */
static __device__ inline void
tile_over_keys(float *out, bf16 *out16, int stride, const float *x, int rows, struct strided keys, int n, int W,
               float scale)
{
	constexpr int EACH = QUERIES * WIDE / THREADS;
	const int first = (int)threadIdx.x / WIDE * EACH;

	for (int w = (int)threadIdx.x % WIDE; w < W; w += WIDE) {
		float sum[EACH] = { 0 };

		for (int j = 0; j < n; j++) {
			const float value = keys.at[(size_t)j * keys.stride + w];

			for (int m = 0; m < EACH; m++)
				sum[m] += x[(first + m) * n + j] * value;
		}
		for (int m = 0; m < EACH && first + m < rows; m++) {
			const size_t at = (size_t)(first + m) * stride + w;

			if (out)
				out[at] = sum[m] * scale;
			if (out16)
				out16[at] = float_to_bfloat(sum[m] * scale);
		}
	}
}

/* out (n, W), `stride` apart, = scale x^T (n, QUERIES) over own (rows, W), or added to if add. */
static __device__ inline void
tile_over_queries(float *out, int stride, const float *x, struct strided own, int rows, int n, int W, float scale,
                  int add)
{
	for (int w = (int)threadIdx.x % WIDE; w < W; w += WIDE) {
		float value[QUERIES];

		for (int i = 0; i < QUERIES; i++)
			value[i] = i < rows ? own.at[(size_t)i * own.stride + w] : 0;
		for (int j = (int)threadIdx.x / WIDE; j < n; j += THREADS / WIDE) {
			const size_t at = (size_t)j * stride + w;
			float sum = 0;

			for (int i = 0; i < QUERIES; i++)
				sum += x[i * n + j] * value[i];
			out[at] = add ? out[at] + sum * scale : sum * scale;
		}
	}
}

#endif
