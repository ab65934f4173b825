/*
 * Dropout in kernels: the same draws as the CPU's (op.h, struct dropout; sys/philox.h).
 */
#ifndef VQA_OP_CUDA_DROPOUT_H
#define VQA_OP_CUDA_DROPOUT_H

#include "op/cuda/columns.h"
#include "sys/philox.h"

struct drop {
	struct dropout of;
	uint32_t bound;
	float scale;
	int any;
};

static inline struct drop
drop_of(const struct dropout *d)
{
	return (struct drop){
		.of = *d, .bound = (uint32_t)ceil((double)d->p * 4294967296.0), .scale = 1 / (1 - d->p), .any = d->p > 0
	};
}

/* The factors of columns [column, column + COLUMNS) of a row; column is a multiple of COLUMNS. */
static __device__ inline void
drop_factors(float factor[COLUMNS], const struct drop *d, uint32_t row, int column)
{
	uint32_t drawn[COLUMNS];

	philox4x32(drawn, d->of.seed, d->of.step, d->of.site, row, (uint32_t)column / COLUMNS);
	for (int k = 0; k < COLUMNS; k++)
		factor[k] = drawn[k] >= d->bound ? d->scale : 0;
}

/* dropout_row() of row r of ragged rows; 0 where nothing is drawn. */
static __device__ inline uint32_t
ragged_dropout_row(const struct drop *d, const int *off, int places, int r)
{
	int place;

	if (!d->any)
		return 0;
	place = place_of(off, places, r);
	return dropout_row(&d->of, place, r - off[place]);
}

#endif
