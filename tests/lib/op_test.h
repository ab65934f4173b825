/*
 * What the tests of the table's operations share: the backend (VQA_TEST_DEVICE, or the CPU's), inputs, comparison with a definition in double, forward and by finite
 * differences, and ragged shapes.
 *
 * Tolerances, relative to the largest value of a result: forward 1e-5, since sums of up to 520 float32 products round to
 * about sqrt(520) 6e-8 = 1.4e-6, and exp and erf are good to some 1e-6; backward 3e-5, since it passes two such sums; finite
 * differences in double with a step of 1e-5 are exact to about 1e-9 and do not count.
 */
#ifndef VQA_TESTS_OP_TEST_H
#define VQA_TESTS_OP_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op/op.h"
#include "shuttle.h"
#include "sys/philox.h"

static const struct op *op;
static const double FORWARD = 1e-5, BACKWARD = 3e-5, STEP = 1e-5;

static inline int
load(void **state)
{
	const char *wanted = getenv("VQA_TEST_DEVICE");
	struct err err;

	(void)state;
	op = backend_open(wanted ? wanted : "cpu", &err);
	if (!op)
		fprintf(stderr, "%s\n", err.text);
	else if (!op_on_host(op))
		op = shuttle(op);
	return !op;
}

/* Reproducible values of about N(0, 1). */
static inline void
fill(float *x, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t u[4];

		philox4x32(u, seed, 1, 2, 3, (uint32_t)i);
		x[i] = (float)(((double)u[0] + u[1] + u[2] + u[3]) / 4294967296.0 - 2) * 1.7f;
	}
}

/* Aligned as backend memory is: some stores are others where a line begins. */
static inline float *
values(size_t n, uint32_t seed)
{
	void *x = NULL;

	assert_int_equal(posix_memalign(&x, 64, (n + 1) * sizeof(float)), 0);
	fill(x, n, seed);
	return x;
}

static inline double *
widen(const float *x, size_t n)
{
	double *y = calloc(n + 1, sizeof *y);

	for (size_t i = 0; x && i < n; i++)
		y[i] = (double)x[i];
	return y;
}

static inline void
same(const char *what, const float *ours, const double *want, size_t n, double tolerance)
{
	double largest = 1e-3, worst = 0;
	struct err err;

	assert_int_equal(op->sync(&err), 0);
	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs(want[i]));
	for (size_t i = 0; i < n; i++)
		worst = isnan(ours[i]) ? INFINITY : fmax(worst, fabs((double)ours[i] - want[i]));
	if (!(worst <= tolerance * largest))
		fail_msg("%s: off by %g of %g", what, worst, largest);
}

/*
 * A function of several inputs to one output, in double; gradients of sum(out w) by finite differences. The backward of an
 * operation with dout = w must give the same.
 */
struct function {
	void (*run)(double *out, double *const *in, const void *shape);
	const void *shape;
	size_t out_n, in_n[8];
	int inputs;
};

static inline void
differences(const char *what, const struct function *f, const float *const *in, const float *w, int input,
            const float *ours)
{
	double *x[8], *low = calloc(f->out_n, sizeof *low), *high = calloc(f->out_n, sizeof *high);
	double *want = calloc(f->in_n[input], sizeof *want);

	for (int k = 0; k < f->inputs; k++)
		x[k] = widen(in[k], f->in_n[k]);
	for (size_t i = 0; i < f->in_n[input]; i++) {
		const double at = x[input][i];

		x[input][i] = at - STEP;
		f->run(low, x, f->shape);
		x[input][i] = at + STEP;
		f->run(high, x, f->shape);
		x[input][i] = at;
		for (size_t k = 0; k < f->out_n; k++)
			want[i] += (high[k] - low[k]) / (2 * STEP) * (double)w[k];
	}
	same(what, ours, want, f->in_n[input], BACKWARD);
	for (int k = 0; k < f->inputs; k++)
		free(x[k]);
	free(low);
	free(high);
	free(want);
}

static inline void
forward(const char *what, const struct function *f, const float *const *in, const float *ours)
{
	double *x[8], *want = calloc(f->out_n, sizeof *want);

	for (int k = 0; k < f->inputs; k++)
		x[k] = widen(in[k], f->in_n[k]);
	f->run(want, x, f->shape);
	same(what, ours, want, f->out_n, FORWARD);
	for (int k = 0; k < f->inputs; k++)
		free(x[k]);
	free(want);
}

/* Ragged rows of up to 3 places. */
struct ragged {
	int n, off[4], D;
};

static inline struct rows
rows_of(const struct ragged *s)
{
	return (struct rows){ s->n, s->off };
}

static const struct dropout drops[] = {
	{ 0 }, { .p = 0.3f, .seed = 0x123456789abcdef, .step = 7, .site = 3, .stride = 40, .shard = 2, .others = 3 }
};

/* In the batch of all ranks, from its definition. */
static inline uint32_t
place_of(const struct dropout *d, int b)
{
	return d->shard + (uint32_t)b * (d->others + 1);
}

/* What dropout multiplies element `column` of a row with, from its definition. */
static inline double
kept(const struct dropout *d, uint32_t row, int column)
{
	uint32_t u[4];

	if (!(d->p > 0))
		return 1;
	philox4x32(u, d->seed, d->step, d->site, row, (uint32_t)column / 4);
	return u[column % 4] >= (double)d->p * 4294967296.0 ? 1 / (1 - (double)d->p) : 0;
}

static inline double
kept_row(const struct dropout *d, const struct ragged *s, int r, int column)
{
	int b = 0;

	while (r >= s->off[b + 1])
		b++;
	return kept(d, place_of(d, b) * d->stride + (uint32_t)(r - s->off[b]), column);
}

/* --- bf16 */

static inline float
round_to_bf16(float x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof u);
	u = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000;
	memcpy(&x, &u, sizeof x);
	return x;
}

static inline bf16
bits_of(float x)
{
	uint32_t u;

	x = round_to_bf16(x);
	memcpy(&u, &x, sizeof u);
	return (bf16)(u >> 16);
}

#endif
