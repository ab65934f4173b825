/*
 * Dropout in kernels: the same draws as the CPU's (op.h, struct dropout; sys/philox.h).
 */
#ifndef VQA_OP_CUDA_DROPOUT_H
#define VQA_OP_CUDA_DROPOUT_H

#include "op/cuda/columns.h"
#include "sys/philox.h"

struct drop {
	uint64_t seed;
	uint32_t step, site, stride, bound;
	uint32_t shard, ranks; /* places are counted over all ranks: op.h, dropout_place() */
	float scale;
	int any;
};

static inline struct drop
drop_of(const struct dropout *d)
{
	return (struct drop){ .seed = d->seed,
		              .step = d->step,
		              .site = d->site,
		              .stride = d->stride,
		              .bound = (uint32_t)ceil((double)d->p * 4294967296.0),
		              .shard = d->shard,
		              .ranks = 1 + d->others,
		              .scale = 1 / (1 - d->p),
		              .any = d->p > 0 };
}

/* The factors of columns [column, column + COLUMNS) of a row; column is a multiple of COLUMNS. */
static __device__ inline void
drop_factors(float factor[COLUMNS], const struct drop *d, uint32_t row, int column)
{
	uint32_t drawn[COLUMNS];

	philox4x32(drawn, d->seed, d->step, d->site, row, (uint32_t)column / COLUMNS);
	for (int k = 0; k < COLUMNS; k++)
		factor[k] = drawn[k] >= d->bound ? d->scale : 0;
}

static __device__ inline uint32_t
drop_place(const struct drop *d, int place)
{
	return (uint32_t)place * d->ranks + d->shard;
}

/* Row r of ragged rows, in dropout's count. */
static __device__ inline uint32_t
drop_row(const struct drop *d, const int *off, int places, int r)
{
	const int place = place_of(off, places, r);

	return drop_place(d, place) * d->stride + (uint32_t)(r - off[place]);
}

#endif
