/*
 * Every operation of the table against a plain loop in double, and its backward against finite differences of that loop,
 * over shapes that include odd ones (up to 48 rows of 33), or, in a shape of 40 rows of 520, against its formula in double;
 * entmax against the reference's own figures. The model's own widths (768, 3072) are not run here: tests/full-size.bats does.
 *
 * Tolerances, relative to the largest value of a result: forward 1e-5, since sums of up to 520 float32 products round to
 * about sqrt(520) 6e-8 = 1.4e-6, and exp and erf are good to some 1e-6; backward 3e-5, since it passes two such sums; finite
 * differences in double with a step of 1e-5 are exact to about 1e-9 and do not count.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ckpt/image.h"
#include "op/op.h"
#include "sys/philox.h"

static const struct op *op;
static const double FORWARD = 1e-5, BACKWARD = 3e-5, STEP = 1e-5;

static int
load(void **state)
{
	struct err err;

	(void)state;
	op = backend_open("cpu", &err);
	if (!op)
		fprintf(stderr, "%s\n", err.text);
	return !op;
}

/* Reproducible values of about N(0, 1). */
static void
fill(float *x, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t u[4];

		philox4x32(u, seed, 1, 2, 3, (uint32_t)i);
		x[i] = (float)(((double)u[0] + u[1] + u[2] + u[3]) / 4294967296.0 - 2) * 1.7f;
	}
}

static float *
values(size_t n, uint32_t seed)
{
	float *x = calloc(n + 1, sizeof *x);

	assert_non_null(x);
	fill(x, n, seed);
	return x;
}

static double *
widen(const float *x, size_t n)
{
	double *y = calloc(n + 1, sizeof *y);

	for (size_t i = 0; x && i < n; i++)
		y[i] = (double)x[i];
	return y;
}

static void
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

static void
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

static void
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

static const struct ragged shapes[] = {
	{ 1, { 0, 1 }, 1 },        { 1, { 0, 1 }, 7 },          { 2, { 0, 1, 6 }, 16 },
	{ 3, { 0, 3, 4, 9 }, 33 }, { 3, { 0, 5, 41, 48 }, 24 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static struct rows
rows_of(const struct ragged *s)
{
	return (struct rows){ s->n, s->off };
}

static const struct dropout drops[] = { { 0 },
	                                { .p = 0.3f, .seed = 0x123456789abcdef, .step = 7, .site = 3, .stride = 40 } };

/* What dropout multiplies element `column` of a row with, from its definition. */
static double
kept(const struct dropout *d, uint32_t row, int column)
{
	uint32_t u[4];

	if (!(d->p > 0))
		return 1;
	philox4x32(u, d->seed, d->step, d->site, row, (uint32_t)column / 4);
	return u[column % 4] >= (double)d->p * 4294967296.0 ? 1 / (1 - (double)d->p) : 0;
}

static double
kept_row(const struct dropout *d, const struct ragged *s, int r, int column)
{
	int b = 0;

	while (r >= s->off[b + 1])
		b++;
	return kept(d, (uint32_t)b * d->stride + (uint32_t)(r - s->off[b]), column);
}

/* --- linear */

struct linear_shape {
	int N, I, O;
	enum activation act;
};

static void
linear_double(double *out, double *const *in, const void *shape)
{
	const struct linear_shape *s = shape;

	for (int r = 0; r < s->N; r++)
		for (int o = 0; o < s->O; o++) {
			double x = in[2][o];

			for (int i = 0; i < s->I; i++)
				x += in[0][r * s->I + i] * in[1][o * s->I + i];
			out[r * s->O + o] = s->act == ACT_GELU   ? x * 0.5 * (1 + erf(x / sqrt(2)))
			                    : s->act == ACT_TANH ? tanh(x)
			                                         : x;
		}
}

static void
test_linear(void **state)
{
	static const struct linear_shape table[] = { { 1, 1, 1, ACT_NONE },
		                                     { 3, 5, 7, ACT_GELU },
		                                     { 17, 33, 9, ACT_TANH },
		                                     { 36, 16, 48, ACT_GELU },
		                                     { 5, 64, 3, ACT_NONE } };

	(void)state;
	for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
		const struct linear_shape *s = &table[t];
		size_t in_n = (size_t)(s->N * s->I), w_n = (size_t)(s->O * s->I), out_n = (size_t)(s->N * s->O);
		float *in = values(in_n, 1), *weight = values(w_n, 2), *bias = values((size_t)s->O, 3),
		      *out = values(out_n, 4);
		float *pre = values(out_n, 5), *d = values(out_n, 6), *w = values(out_n, 6);
		float *din = values(in_n, 7), *dw = values(w_n, 8), *db = values((size_t)s->O, 9);
		const float *all[] = { in, weight, bias };
		struct function f = { linear_double, s, out_n, { in_n, w_n, (size_t)s->O }, 3 };
		struct linear_backward back = { .din = din,
			                        .dweight = dw,
			                        .dbias = db,
			                        .dout = d,
			                        .in = in,
			                        .weight = weight,
			                        .N = s->N,
			                        .I = s->I,
			                        .O = s->O };

		op->linear(&(struct linear){ .out = out,
		                             .pre = pre,
		                             .in = in,
		                             .weight = weight,
		                             .bias = bias,
		                             .N = s->N,
		                             .I = s->I,
		                             .O = s->O,
		                             .act = s->act });
		forward("linear", &f, all, out);
		op->activation_backward(
			&(struct activation_backward){ d, s->act == ACT_TANH ? out : pre, out_n, s->act });
		op->linear_backward(&back);
		differences("linear by in", &f, all, w, 0, din);
		differences("linear by weight", &f, all, w, 1, dw);
		differences("linear by bias", &f, all, w, 2, db);
		/* Added to what is there: twice as much. */
		back.add_in = back.add_weight = 1;
		op->linear_backward(&back);
		for (size_t i = 0; i < in_n; i++)
			din[i] /= 2;
		for (size_t i = 0; i < w_n; i++)
			dw[i] /= 2;
		differences("linear by in, added", &f, all, w, 0, din);
		differences("linear by weight, added", &f, all, w, 1, dw);
		free(in), free(weight), free(bias), free(out), free(pre), free(d), free(w), free(din), free(dw),
			free(db);
	}
}

/* --- layer norm, with dropout and residual */

struct norm_shape {
	struct ragged rows;
	struct dropout drop;
};

static void
norm_double(double *out, double *const *in, const void *shape)
{
	const struct norm_shape *s = shape;
	int D = s->rows.D;

	for (int r = 0; r < s->rows.off[s->rows.n]; r++) {
		double x[64], mean = 0, variance = 0;

		for (int i = 0; i < D; i++) {
			x[i] = in[0][r * D + i] * kept_row(&s->drop, &s->rows, r, i) + in[1][r * D + i];
			mean += x[i] / D;
		}
		for (int i = 0; i < D; i++)
			variance += (x[i] - mean) * (x[i] - mean) / D;
		for (int i = 0; i < D; i++)
			out[r * D + i] = (x[i] - mean) / sqrt(variance + 1e-12) * in[2][i] + in[3][i];
	}
}

static void
test_layernorm(void **state)
{
	(void)state;
	for (int t = 1; t < SHAPES; t++)
		for (int k = 0; k < 2; k++) {
			struct norm_shape s = { shapes[t], drops[k] };
			int D = s.rows.D;
			size_t N = (size_t)s.rows.off[s.rows.n], n = N * (size_t)D;
			float *in = values(n, 1), *residual = values(n, 2), *gain = values((size_t)D, 3),
			      *bias = values((size_t)D, 4);
			float *out = values(n, 5), *xhat = values(n, 6), *rstd = values(N, 7), *w = values(n, 8);
			float *din = values(n, 9), *dres = values(n, 9), *dgain = values((size_t)D, 9),
			      *dbias = values((size_t)D, 9);
			const float *all[] = { in, residual, gain, bias };
			struct function f = { norm_double, &s, n, { n, n, (size_t)D, (size_t)D }, 4 };
			struct layernorm_backward back = {
				din, dres, dgain, dbias, w, xhat, rstd, gain, rows_of(&s.rows), D, s.drop, 0, 0
			};

			op->layernorm(&(struct layernorm){ out, xhat, rstd, NULL, in, residual, gain, bias,
			                                   rows_of(&s.rows), D, s.drop });
			forward("layernorm", &f, all, out);
			op->layernorm_backward(&back);
			differences("layernorm by in", &f, all, w, 0, din);
			differences("layernorm by residual", &f, all, w, 1, dres);
			differences("layernorm by gain", &f, all, w, 2, dgain);
			differences("layernorm by bias", &f, all, w, 3, dbias);
			back.add_residual = back.add_weight = 1;
			op->layernorm_backward(&back);
			for (size_t i = 0; i < n; i++)
				dres[i] /= 2;
			for (int i = 0; i < D; i++)
				dgain[i] /= 2;
			differences("layernorm by residual, added", &f, all, w, 1, dres);
			differences("layernorm by gain, added", &f, all, w, 2, dgain);
			free(in), free(residual), free(gain), free(bias), free(out), free(xhat), free(rstd), free(w),
				free(din);
			free(dres), free(dgain), free(dbias);
		}
}

/* --- average */

static void
average_double(double *out, double *const *in, const void *shape)
{
	const struct norm_shape *s = shape;
	int D = s->rows.D;

	for (int r = 0; r < s->rows.off[s->rows.n]; r++)
		for (int i = 0; i < D; i++)
			out[r * D + i] = (in[0][r * D + i] + in[1][r * D + i]) / 2 * kept_row(&s->drop, &s->rows, r, i);
}

static void
test_average(void **state)
{
	(void)state;
	for (int t = 0; t < SHAPES; t++)
		for (int k = 0; k < 2; k++) {
			struct norm_shape s = { shapes[t], drops[k] };
			size_t n = (size_t)(s.rows.off[s.rows.n] * s.rows.D);
			float *a = values(n, 1), *b = values(n, 2), *out = values(n, 3), *w = values(n, 4),
			      *d = values(n, 5);
			const float *all[] = { a, b };
			struct function f = { average_double, &s, n, { n, n }, 2 };

			op->average(&(struct average){ out, NULL, a, b, rows_of(&s.rows), s.rows.D, s.drop });
			forward("average", &f, all, out);
			op->average_backward(&(struct average_backward){ d, w, rows_of(&s.rows), s.rows.D, 2, s.drop });
			differences("average by a", &f, all, w, 0, d);
			/* One alone is the average of it and itself. */
			all[1] = a;
			op->average(&(struct average){ out, NULL, a, NULL, rows_of(&s.rows), s.rows.D, s.drop });
			forward("dropout alone", &f, all, out);
			op->average_backward(&(struct average_backward){ d, w, rows_of(&s.rows), s.rows.D, 1, s.drop });
			for (size_t i = 0; i < n; i++)
				d[i] /= 2;
			differences("dropout alone", &f, all, w, 0, d);
			free(a), free(b), free(out), free(w), free(d);
		}
}

/* --- row operations in a large shape: several blocks of draws and of columns, and more elements than one thread is given */

static const struct ragged large = { 3, { 0, 13, 14, 40 }, 520 };

/* What layer norm's and its backward's formulas give, in double; finite differences would take 20,800 runs. */
static void
test_large_layernorm(void **state)
{
	int D = large.D, N = large.off[large.n];
	size_t n = (size_t)(N * D);

	(void)state;
	for (int t = 0; t < 2; t++) {
		float *in = values(n, 1), *residual = values(n, 2), *gain = values((size_t)D, 3),
		      *bias = values((size_t)D, 4);
		float *out = values(n, 5), *xhat = values(n, 6), *rstd = values((size_t)N, 7), *w = values(n, 8);
		float *din = values(n, 9), *dres = values(n, 9), *dgain = values((size_t)D, 9),
		      *dbias = values((size_t)D, 9);
		double *Out = calloc(n, sizeof *Out), *Din = calloc(n, sizeof *Din), *Dres = calloc(n, sizeof *Dres);
		double *Dgain = calloc((size_t)D, sizeof *Dgain), *Dbias = calloc((size_t)D, sizeof *Dbias);

		for (int r = 0; r < N; r++) {
			double x[520], mean = 0, variance = 0, g = 0, gx = 0, scale;

			for (int i = 0; i < D; i++) {
				x[i] = (double)in[r * D + i] * kept_row(&drops[t], &large, r, i) +
				       (double)residual[r * D + i];
				mean += x[i] / D;
			}
			for (int i = 0; i < D; i++)
				variance += (x[i] - mean) * (x[i] - mean) / D;
			scale = 1 / sqrt(variance + 1e-12);
			for (int i = 0; i < D; i++) {
				double d = (double)w[r * D + i];

				x[i] = (x[i] - mean) * scale;
				Out[r * D + i] = x[i] * (double)gain[i] + (double)bias[i];
				g += d * (double)gain[i] / D;
				gx += d * (double)gain[i] * x[i] / D;
				Dgain[i] += d * x[i];
				Dbias[i] += d;
			}
			for (int i = 0; i < D; i++) {
				Dres[r * D + i] = scale * ((double)w[r * D + i] * (double)gain[i] - g - x[i] * gx);
				Din[r * D + i] = Dres[r * D + i] * kept_row(&drops[t], &large, r, i);
			}
		}
		op->layernorm(&(struct layernorm){ out, xhat, rstd, NULL, in, residual, gain, bias, rows_of(&large), D,
		                                   drops[t] });
		same("large layernorm", out, Out, n, FORWARD);
		op->layernorm_backward(&(struct layernorm_backward){ din, dres, dgain, dbias, w, xhat, rstd, gain,
		                                                     rows_of(&large), D, drops[t], 0, 0 });
		same("large layernorm by in", din, Din, n, BACKWARD);
		same("large layernorm by residual", dres, Dres, n, BACKWARD);
		same("large layernorm by gain", dgain, Dgain, (size_t)D, BACKWARD);
		same("large layernorm by bias", dbias, Dbias, (size_t)D, BACKWARD);
		free(in), free(residual), free(gain), free(bias), free(out), free(xhat), free(rstd), free(w);
		free(din), free(dres), free(dgain), free(dbias), free(Out), free(Din), free(Dres), free(Dgain),
			free(Dbias);
	}
}

static void
test_large_average(void **state)
{
	int D = large.D;
	size_t n = (size_t)(large.off[large.n] * D);

	(void)state;
	for (int t = 0; t < 2; t++) {
		float *a = values(n, 1), *b = values(n, 2), *out = values(n, 3), *w = values(n, 4), *d = values(n, 5);
		double *want = calloc(n, sizeof *want), *by = calloc(n, sizeof *by);

		for (size_t i = 0; i < n; i++) {
			double factor = kept_row(&drops[t], &large, (int)i / D, (int)i % D) / 2;

			want[i] = ((double)a[i] + (double)b[i]) * factor;
			by[i] = (double)w[i] * factor;
		}
		op->average(&(struct average){ out, NULL, a, b, rows_of(&large), D, drops[t] });
		same("large average", out, want, n, FORWARD);
		op->average_backward(&(struct average_backward){ d, w, rows_of(&large), D, 2, drops[t] });
		same("large average by a", d, by, n, BACKWARD);
		free(a), free(b), free(out), free(w), free(d), free(want), free(by);
	}
}

/* linear, 40 rows of 70 to 520 with GELU. */
static void
test_large_linear(void **state)
{
	enum { N = 40, I = 70, O = 520 };
	size_t n = N * O;
	float *in = values(N * I, 1), *weight = values(O * I, 2), *bias = values(O, 3), *out = values(n, 4);
	float *pre = values(n, 5), *d = values(n, 6), *w = values(n, 6);
	float *din = values(N * I, 7), *dw = values(O * I, 8), *db = values(O, 9);
	double *Out = calloc(n, sizeof *Out), *Din = calloc(N * I, sizeof *Din), *Dw = calloc(O * I, sizeof *Dw);
	double Db[O] = { 0 };

	(void)state;
	for (int r = 0; r < N; r++)
		for (int o = 0; o < O; o++) {
			double x = (double)bias[o], slope;

			for (int i = 0; i < I; i++)
				x += (double)in[r * I + i] * (double)weight[o * I + i];
			Out[r * O + o] = x * 0.5 * (1 + erf(x / sqrt(2)));
			slope = 0.5 * (1 + erf(x / sqrt(2))) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
			slope *= (double)w[r * O + o];
			Db[o] += slope;
			for (int i = 0; i < I; i++) {
				Din[r * I + i] += slope * (double)weight[o * I + i];
				Dw[o * I + i] += slope * (double)in[r * I + i];
			}
		}
	op->linear(&(struct linear){ .out = out,
	                             .pre = pre,
	                             .in = in,
	                             .weight = weight,
	                             .bias = bias,
	                             .N = N,
	                             .I = I,
	                             .O = O,
	                             .act = ACT_GELU });
	same("large linear", out, Out, n, FORWARD);
	op->activation_backward(&(struct activation_backward){ d, pre, n, ACT_GELU });
	op->linear_backward(&(struct linear_backward){ .din = din,
	                                               .dweight = dw,
	                                               .dbias = db,
	                                               .dout = d,
	                                               .in = in,
	                                               .weight = weight,
	                                               .N = N,
	                                               .I = I,
	                                               .O = O });
	same("large linear by in", din, Din, N * I, BACKWARD);
	same("large linear by weight", dw, Dw, O * I, BACKWARD);
	same("large linear by bias", db, Db, O, BACKWARD);
	free(in), free(weight), free(bias), free(out), free(pre), free(d), free(w), free(din), free(dw), free(db);
	free(Out), free(Din), free(Dw);
}

/* --- linear layers in either precision, packed or not */

static float
round_to_bf16(float x)
{
	uint32_t u;

	memcpy(&u, &x, sizeof u);
	u = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000;
	memcpy(&x, &u, sizeof x);
	return x;
}

static bf16
bits_of(float x)
{
	uint32_t u;

	x = round_to_bf16(x);
	memcpy(&u, &x, sizeof u);
	return (bf16)(u >> 16);
}

/* What a product multiplies. */
static double
factor(float x, enum precision precision)
{
	return (double)(precision == PRECISION_BF16 ? round_to_bf16(x) : x);
}

/* out (N, O) = in weight^T + bias, in double */
static double *
product_double(const float *in, const float *weight, const float *bias, int N, int I, int O, enum precision precision)
{
	double *out = calloc((size_t)(N * O), sizeof *out);

	for (int r = 0; r < N; r++)
		for (int o = 0; o < O; o++) {
			out[r * O + o] = (double)bias[o];
			for (int i = 0; i < I; i++)
				out[r * O + o] +=
					factor(in[r * I + i], precision) * factor(weight[o * I + i], precision);
		}
	return out;
}

static const struct {
	int N, I, O; /* O: of each of two parts */
} packed_shapes[] = { { 1, 1, 1 }, { 7, 5, 3 }, { 33, 70, 48 }, { 40, 64, 260 } };

/* Two layers packed below each other against both alone; from float32 and from its twin; with and without out's own twin. */
static void
check_packed(enum precision precision)
{
	for (size_t t = 0; t < sizeof packed_shapes / sizeof *packed_shapes; t++) {
		int N = packed_shapes[t].N, I = packed_shapes[t].I, O = packed_shapes[t].O;
		size_t in_n = (size_t)(N * I), w_n = (size_t)(O * I), n = (size_t)(N * O);
		float *in = values(in_n, 1), *weight = values(2 * w_n, 2), *bias = values((size_t)(2 * O), 3);
		float *out = values(2 * n, 4);
		bf16 *in16 = calloc(in_n, sizeof *in16), *out16 = calloc(2 * n, sizeof *out16);
		double *want = product_double(in, weight, bias, N, I, 2 * O, precision);
		struct packed *packed = op->pack(&(struct pack){ .weight = { weight, weight + w_n },
		                                                 .bias = { bias, bias + O },
		                                                 .parts = 2,
		                                                 .O = O,
		                                                 .I = I,
		                                                 .precision = precision });
		struct linear l = { .out = out, .in = in, .packed = packed, .N = N, .I = I, .O = 2 * O };

		assert_non_null(packed);
		op->linear(&l);
		same("packed", out, want, 2 * n, FORWARD);
		for (size_t i = 0; i < in_n; i++)
			in16[i] = bits_of(in[i]);
		memset(out, 0, 2 * n * sizeof *out);
		l.in16 = in16;
		l.in = precision == PRECISION_BF16 ? NULL : in;
		l.out16 = out16;
		op->linear(&l);
		same("packed, from the twin", out, want, 2 * n, FORWARD);
		for (size_t i = 0; i < 2 * n; i++)
			assert_int_equal(out16[i], bits_of(out[i]));
		memset(out16, 0, 2 * n * sizeof *out16);
		l.out = NULL;
		op->linear(&l);
		for (size_t i = 0; i < 2 * n; i++)
			assert_int_equal(out16[i], bits_of(out[i]));
		op->pack_free(packed);
		free(in), free(weight), free(bias), free(out), free(in16), free(out16), free(want);
	}
}

static void
test_packed(void **state)
{
	(void)state;
	assert_true(op->has(PRECISION_F32));
	check_packed(PRECISION_F32);
	if (op->has(PRECISION_BF16))
		check_packed(PRECISION_BF16);
}

/* Forward and backward in bf16 are products of rounded factors; the bias's gradient is not rounded. */
static void
test_bf16(void **state)
{
	enum { N = 9, I = 70, O = 52 };
	float *in = values(N * I, 1), *weight = values(O * I, 2), *bias = values(O, 3), *out = values(N * O, 4);
	float *d = values(N * O, 5), *din = values(N * I, 6), *dw = values(O * I, 7), *db = values(O, 8);
	double Din[N * I] = { 0 }, Dw[O * I] = { 0 }, Db[O] = { 0 };
	double *want = product_double(in, weight, bias, N, I, O, PRECISION_BF16);

	(void)state;
	if (!op->has(PRECISION_BF16))
		skip();
	op->linear(&(struct linear){ .out = out,
	                             .in = in,
	                             .weight = weight,
	                             .bias = bias,
	                             .N = N,
	                             .I = I,
	                             .O = O,
	                             .precision = PRECISION_BF16 });
	same("bf16", out, want, N * O, FORWARD);
	for (int r = 0; r < N; r++)
		for (int o = 0; o < O; o++) {
			const double by = factor(d[r * O + o], PRECISION_BF16);

			Db[o] += (double)d[r * O + o];
			for (int i = 0; i < I; i++) {
				Din[r * I + i] += by * factor(weight[o * I + i], PRECISION_BF16);
				Dw[o * I + i] += by * factor(in[r * I + i], PRECISION_BF16);
			}
		}
	op->linear_backward(&(struct linear_backward){ .din = din,
	                                               .dweight = dw,
	                                               .dbias = db,
	                                               .dout = d,
	                                               .in = in,
	                                               .weight = weight,
	                                               .N = N,
	                                               .I = I,
	                                               .O = O,
	                                               .precision = PRECISION_BF16 });
	same("bf16 by in", din, Din, N * I, BACKWARD);
	same("bf16 by weight", dw, Dw, O * I, BACKWARD);
	same("bf16 by bias", db, Db, O, BACKWARD);
	free(in), free(weight), free(bias), free(out), free(d), free(din), free(dw), free(db), free(want);
}

/* --- attention */

struct attention_shape {
	struct ragged q, k;
	int H, W;
	enum attention_kind kind;
	struct dropout drop;
	struct span span; /* its values are the fifth input */
};

/*
 * Spans below 0, between and beyond 1, none of which puts a mask on a bound. A ramp about as long as the keys: where a mask leaves
 * only keys that entmax gave next to nothing, rounded scores decide what they get.
 */
static const float spans[9] = { 0.31f, -0.23f, 0.77f, 0.113f, 1.21f, 0.52f, -2.3f, 0.94f, 0.071f };
static const float alphas[4] = { 1.5f, 1.13f, 1.98f, 1.31f };

/* entmax by bisection over tau, to double's end. */
static void
entmax_double(double *x, int n, double alpha)
{
	double max = x[0], low, high, sum = 0;

	for (int i = 1; i < n; i++)
		max = fmax(max, x[i]);
	low = -1;
	high = 0;
	for (int t = 0; t < 200; t++) {
		double middle = (low + high) / 2;

		sum = 0;
		for (int i = 0; i < n; i++)
			sum += pow(fmax((alpha - 1) * (x[i] - max) - middle, 0), 1 / (alpha - 1));
		if (sum >= 1)
			low = middle;
		else
			high = middle;
	}
	sum = 0;
	for (int i = 0; i < n; i++) {
		x[i] = pow(fmax((alpha - 1) * (x[i] - max) - low, 0), 1 / (alpha - 1));
		sum += x[i];
	}
	for (int i = 0; i < n; i++)
		x[i] /= sum;
}

static void
softmax_double(double *x, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += x[i] = exp(x[i]);
	for (int i = 0; i < n; i++)
		x[i] /= sum;
}

/* p (n) narrowed by the head's span, as op.h defines it. */
static void
span_double(double *p, int n, const double *values, int place, int h, const struct attention_shape *s)
{
	const struct span *span = &s->span;
	double v = 0, sum = 1e-8;

	for (int row = 0; row < span->rows; row++)
		v += values[row * s->H + h] / span->rows;
	if (span->by_place)
		v = values[place * s->H + h];
	for (int j = 0; j < n; j++) {
		if (span->value)
			p[j] *= fmin(1, fmax(0, (j - (span->length - 1) + v * span->length) / span->ramp + 1));
		sum += p[j];
	}
	for (int j = 0; j < n; j++)
		p[j] /= sum;
}

/* probs, if not NULL, gets what -a hands out: places in turn (H, Tq, Tk), after the span, before dropout. */
static void
attention_and_probabilities(double *out, double *probs, double *const *in, const struct attention_shape *s)
{
	int D = s->H * s->W;

	for (int b = 0; b < s->q.n; b++)
		for (int h = 0; h < s->H; h++)
			for (int i = s->q.off[b]; i < s->q.off[b + 1]; i++) {
				int k0 = s->k.off[b], Tk = s->k.off[b + 1] - k0;
				uint32_t row = (uint32_t)(b * s->H + h) * s->drop.stride + (uint32_t)(i - s->q.off[b]);
				double p[64] = { 0 };

				for (int j = 0; j < Tk; j++) {
					p[j] = 0;
					for (int w = 0; w < s->W; w++)
						p[j] += in[0][i * D + h * s->W + w] *
						        in[1][(k0 + j) * D + h * s->W + w] / sqrt(s->W);
				}
				if (s->kind == ATT_SOFTMAX)
					softmax_double(p, Tk);
				else
					entmax_double(p, Tk, in[3][h]);
				if (s->span.length)
					span_double(p, Tk, in[4], b, h, s);
				for (int j = 0; probs && j < Tk; j++)
					*probs++ = p[j];
				for (int w = 0; w < s->W; w++) {
					out[i * D + h * s->W + w] = 0;
					for (int j = 0; j < Tk; j++)
						out[i * D + h * s->W + w] += p[j] * kept(&s->drop, row, j) *
						                             in[2][(k0 + j) * D + h * s->W + w];
				}
			}
}

static void
attention_double(double *out, double *const *in, const void *shape)
{
	attention_and_probabilities(out, NULL, in, shape);
}

static void
check_attention(const struct attention_shape *s)
{
	int D = s->H * s->W;
	size_t q_n = (size_t)(s->q.off[s->q.n] * D), k_n = (size_t)(s->k.off[s->k.n] * D);
	float *q = values(q_n, 1), *k = values(k_n, 2), *v = values(k_n, 3), dspan[9] = { 0 };
	float *out = values(q_n, 5), *stats = values((size_t)(s->q.off[s->q.n] * s->H * 2), 6), *w = values(q_n, 7);
	float *dq = values(q_n, 8), *dk = values(k_n, 8), *dv = values(k_n, 8), dalpha[4] = { 0 };
	const float *all[] = { q, k, v, alphas, spans };
	struct function f = {
		attention_double, s, q_n, { q_n, k_n, k_n, (size_t)s->H, (size_t)(s->span.rows * s->H) }, 5
	};
	struct attention a = { .out = out,
		               .stats = stats,
		               .q = q,
		               .k = k,
		               .v = v,
		               .q_stride = D,
		               .k_stride = D,
		               .v_stride = D,
		               .out_stride = D,
		               .queries = rows_of(&s->q),
		               .keys = rows_of(&s->k),
		               .H = s->H,
		               .W = s->W,
		               .kind = s->kind,
		               .alpha = alphas,
		               .span = s->span,
		               .drop = s->drop };

	op->attention(&a);
	forward("attention", &f, all, out);
	op->attention_backward(&(struct attention_backward){ dq, dk, dv, s->kind == ATT_ENTMAX ? dalpha : NULL,
	                                                     s->span.value ? dspan : NULL, w, &a });
	differences("attention by q", &f, all, w, 0, dq);
	differences("attention by k", &f, all, w, 1, dk);
	differences("attention by v", &f, all, w, 2, dv);
	if (s->kind == ATT_ENTMAX)
		differences("attention by alpha", &f, all, w, 3, dalpha);
	if (s->span.value)
		differences("attention by span", &f, all, w, 4, dspan);
	free(q), free(k), free(v), free(out), free(stats), free(w), free(dq), free(dk), free(dv);
}

static void
test_attention(void **state)
{
	static const struct {
		struct ragged q, k;
		int H, W;
	} table[] = {
		{ { 1, { 0, 1 }, 0 }, { 1, { 0, 1 }, 0 }, 1, 1 },
		{ { 1, { 0, 3 }, 0 }, { 1, { 0, 1 }, 0 }, 2, 5 },
		{ { 2, { 0, 4, 5 }, 0 }, { 2, { 0, 7, 24 }, 0 }, 3, 8 },
		{ { 2, { 0, 1, 2 }, 0 }, { 2, { 0, 5, 13 }, 0 }, 2, 16 },
		{ { 2, { 0, 2, 5 }, 0 }, { 2, { 0, 36, 53 }, 0 }, 2, 7 },
	};

	(void)state;
	for (size_t t = 0; t < sizeof table / sizeof *table; t++)
		for (int kind = 0; kind < 2; kind++)
			for (int d = 0; d < 2; d++) {
				struct attention_shape s = {
					table[t].q, table[t].k, table[t].H, table[t].W, kind ? ATT_ENTMAX : ATT_SOFTMAX,
					drops[d],   { 0 }
				};

				check_attention(&s);
			}
}

/* A value a head, a row a place, rows that are averaged; and the mask skipped, where only the division is left. */
static void
test_span(void **state)
{
	static const struct span table[] = {
		{ spans, 1, 0, 9, 8 }, { spans, 3, 1, 9, 8 },   { spans, 3, 0, 9, 8 },
		{ spans, 2, 0, 9, 8 }, { spans, 3, 1, 40, 32 }, { NULL, 3, 0, 9, 8 },
	};

	(void)state;
	for (size_t t = 0; t < sizeof table / sizeof *table; t++)
		for (int kind = 0; kind < 2; kind++)
			for (int d = 0; d < 2; d++) {
				struct attention_shape s = { { 3, { 0, 2, 3, 7 }, 0 },
					                     { 3, { 0, 5, 8, 17 }, 0 },
					                     3,
					                     4,
					                     kind ? ATT_ENTMAX : ATT_SOFTMAX,
					                     drops[d],
					                     table[t] };

				check_attention(&s);
			}
}

/* Every key beyond its span: nothing is attended to, and nothing comes back. */
static void
test_span_of_nothing(void **state)
{
	const struct ragged q = { 1, { 0, 1 }, 1 }, keys = { 1, { 0, 3 }, 1 };
	float one = 1, x[3] = { 1, 2, 3 }, out = 5, stats[2], probs[3], dq, dk[3], dv[3], dspan = 0, far = -9;
	struct attention a = { .out = &out,
		               .stats = stats,
		               .probs = probs,
		               .q = &one,
		               .k = x,
		               .v = x,
		               .q_stride = 1,
		               .k_stride = 1,
		               .v_stride = 1,
		               .out_stride = 1,
		               .queries = rows_of(&q),
		               .keys = rows_of(&keys),
		               .H = 1,
		               .W = 1,
		               .kind = ATT_SOFTMAX,
		               .span = { &far, 1, 0, 3, 2 } };

	(void)state;
	op->attention(&a);
	op->attention_backward(&(struct attention_backward){ &dq, dk, dv, NULL, &dspan, &one, &a });
	assert_true(out == 0 && dq == 0 && dspan == 0);
	for (int j = 0; j < 3; j++)
		assert_true(probs[j] == 0 && dk[j] == 0 && dv[j] == 0);
}

/* The first `left` and last `right` columns of x (rows, wide) are still values(…, seed)'s. */
static void
untouched(const float *x, uint32_t seed, int rows, int wide, int left, int right)
{
	float *was = values((size_t)(rows * wide), seed);

	for (int r = 0; r < rows; r++) {
		assert_memory_equal(x + r * wide, was + r * wide, (size_t)left * sizeof *x);
		assert_memory_equal(x + (r + 1) * wide - right, was + (r + 1) * wide - right,
		                    (size_t)right * sizeof *x);
	}
	free(was);
}

/*
 * The probabilities that -a hands out, each against its definition: heads, queries and places are where they belong. Queries,
 * keys, values and results are columns of wider matrices, as those of one product for all three are; the gradients by them too.
 */
static void
check_probabilities(const struct attention_shape *s)
{
	enum { LEFT = 3, RIGHT = 2 };
	int D = s->H * s->W, wide = LEFT + D + RIGHT, Nq = s->q.off[s->q.n], Nk = s->k.off[s->k.n];
	size_t q_n = (size_t)(Nq * D), k_n = (size_t)(Nk * D), qw = (size_t)(Nq * wide), kw = (size_t)(Nk * wide),
	       n = 0;
	float *q = values(q_n, 1), *k = values(k_n, 2), *v = values(k_n, 3), dspan[9] = { 0 };
	float *Q = values(qw, 4), *K = values(kw, 5), *V = values(kw, 6), *out = values(qw, 7), *flat = values(q_n, 8);
	float *stats = values((size_t)(Nq * s->H * 2), 9), *w = values(q_n, 10), *W = values(qw, 11);
	float *dQ = values(qw, 12), *dK = values(kw, 12), *dV = values(kw, 12), dalpha[4] = { 0 };
	float *dq = values(q_n, 13), *dk = values(k_n, 13), *dv = values(k_n, 13), *probs;
	const float *all[] = { q, k, v, alphas, spans };
	struct function f = {
		attention_double, s, q_n, { q_n, k_n, k_n, (size_t)s->H, (size_t)(s->span.rows * s->H) }, 5
	};
	double *in[5], *want_out = calloc(q_n, sizeof *want_out), *want;
	struct attention a = { .stats = stats,
		               .q_stride = wide,
		               .k_stride = wide,
		               .v_stride = wide,
		               .out_stride = wide,
		               .queries = rows_of(&s->q),
		               .keys = rows_of(&s->k),
		               .H = s->H,
		               .W = s->W,
		               .kind = s->kind,
		               .alpha = alphas,
		               .span = s->span,
		               .drop = s->drop };

	for (int b = 0; b < s->q.n; b++)
		n += (size_t)(s->H * (s->q.off[b + 1] - s->q.off[b]) * (s->k.off[b + 1] - s->k.off[b]));
	probs = values(n, 14);
	want = calloc(n, sizeof *want);
	a.out = out + LEFT;
	a.probs = probs;
	a.q = Q + LEFT;
	a.k = K + LEFT;
	a.v = V + LEFT;
	for (int r = 0; r < Nq; r++) {
		memcpy(Q + r * wide + LEFT, q + r * D, (size_t)D * sizeof *q);
		memcpy(W + r * wide + LEFT, w + r * D, (size_t)D * sizeof *w);
	}
	for (int r = 0; r < Nk; r++) {
		memcpy(K + r * wide + LEFT, k + r * D, (size_t)D * sizeof *k);
		memcpy(V + r * wide + LEFT, v + r * D, (size_t)D * sizeof *v);
	}
	op->attention(&a);
	for (int i = 0; i < 5; i++)
		in[i] = widen(all[i], f.in_n[i]);
	attention_and_probabilities(want_out, want, in, s);
	same("probabilities", probs, want, n, FORWARD);
	for (int r = 0; r < Nq; r++)
		memcpy(flat + r * D, out + r * wide + LEFT, (size_t)D * sizeof *flat);
	same("attention between other columns", flat, want_out, q_n, FORWARD);
	op->attention_backward(&(struct attention_backward){ dQ + LEFT, dK + LEFT, dV + LEFT,
	                                                     s->kind == ATT_ENTMAX ? dalpha : NULL,
	                                                     s->span.value ? dspan : NULL, W + LEFT, &a });
	for (int r = 0; r < Nq; r++)
		memcpy(dq + r * D, dQ + r * wide + LEFT, (size_t)D * sizeof *dq);
	for (int r = 0; r < Nk; r++) {
		memcpy(dk + r * D, dK + r * wide + LEFT, (size_t)D * sizeof *dk);
		memcpy(dv + r * D, dV + r * wide + LEFT, (size_t)D * sizeof *dv);
	}
	differences("attention between other columns by q", &f, all, w, 0, dq);
	differences("attention between other columns by k", &f, all, w, 1, dk);
	differences("attention between other columns by v", &f, all, w, 2, dv);
	/* What lies beside is as it was. */
	untouched(out, 7, Nq, wide, LEFT, RIGHT);
	untouched(dQ, 12, Nq, wide, LEFT, RIGHT);
	untouched(dK, 12, Nk, wide, LEFT, RIGHT);
	untouched(dV, 12, Nk, wide, LEFT, RIGHT);
	for (int i = 0; i < 5; i++)
		free(in[i]);
	free(want_out), free(want), free(q), free(k), free(v), free(Q), free(K), free(V), free(out), free(flat);
	free(stats), free(w), free(W), free(dQ), free(dK), free(dV), free(dq), free(dk), free(dv), free(probs);
}

static void
test_probabilities(void **state)
{
	(void)state;
	for (int kind = 0; kind < 2; kind++)
		for (int d = 0; d < 2; d++) {
			struct attention_shape s = { { 3, { 0, 2, 3, 7 }, 0 },
				                     { 3, { 0, 5, 8, 17 }, 0 },
				                     3,
				                     4,
				                     kind ? ATT_ENTMAX : ATT_SOFTMAX,
				                     drops[d],
				                     { 0 } };

			check_probabilities(&s);
			s.span = (struct span){ spans, 3, 1, 9, 8 };
			check_probabilities(&s);
		}
}

/* --- entmax: the reference's figures, through attention with one value column a key */

static const double *
golden(const struct image *image, int k, const char *part, int *d)
{
	const struct tensor *t;
	char name[32];

	snprintf(name, sizeof name, "%d.%s", k, part);
	t = image_find(image, name);
	if (t && d)
		*d = (int)t->shape[1];
	return t ? image_data(image, t) : NULL;
}

/*
 * Case k: rows of X as scores of one query each (q = 1, k = X, W = 1), a head a row's alpha. Values' gradients come from
 * out = p v with v random: its dY is v. Masked keys hold -10000. Tolerance: X is rounded to float32, which moves p by up
 * to |X| 6e-8 / p' and the gradients by alpha, which divide by (alpha - 1)^2, more: 2e-6 of the row's largest and 2e-5.
 */
static void
check_entmax(const struct image *image, int k)
{
	int d = 1;
	const double *X = golden(image, k, "X", &d), *alpha = golden(image, k, "alpha", NULL),
		     *Y = golden(image, k, "Y", NULL);
	const double *dY = golden(image, k, "dY", NULL), *dX = golden(image, k, "dX", NULL);
	const double *dalpha = golden(image, k, "dalpha", NULL);

	for (int row = 0; row < 8; row++) {
		const struct ragged q = { 1, { 0, 1 }, 1 }, keys = { 1, { 0, d }, 1 };
		float one = 1, a = (float)alpha[row], out, stats[2], dq, da = 0, w = 1;
		float *x = calloc((size_t)d, sizeof *x), *v = calloc((size_t)d, sizeof *v),
		      *probs = calloc((size_t)d, sizeof *v);
		float *dk = calloc((size_t)d, sizeof *dk), *dv = calloc((size_t)d, sizeof *dv);
		struct attention at = { .out = &out,
			                .stats = stats,
			                .probs = probs,
			                .q = &one,
			                .k = x,
			                .v = v,
			                .q_stride = 1,
			                .k_stride = 1,
			                .v_stride = 1,
			                .out_stride = 1,
			                .queries = rows_of(&q),
			                .keys = rows_of(&keys),
			                .H = 1,
			                .W = 1,
			                .kind = ATT_ENTMAX,
			                .alpha = &a };

		for (int j = 0; j < d; j++) {
			x[j] = (float)X[row * d + j];
			v[j] = (float)dY[row * d + j];
		}
		op->attention(&at);
		op->attention_backward(&(struct attention_backward){ &dq, dk, dv, &da, NULL, &w, &at });
		same("entmax", probs, Y + row * d, (size_t)d, 2e-6);
		same("entmax by X", dk, dX + row * d, (size_t)d, 2e-5);
		same("entmax by alpha", &da, dalpha + row, 1, 2e-5);
		free(x), free(v), free(probs), free(dk), free(dv);
	}
}

static void
test_entmax_golden(void **state)
{
	struct image image;
	struct err err;
	int cases = 0;

	(void)state;
	assert_int_equal(image_open(&image, "tests/golden/entmax.safetensors", &err), 0);
	for (; golden(&image, cases, "X", NULL); cases++)
		check_entmax(&image, cases);
	assert_int_equal((size_t)cases * 6, image.n);
	image_close(&image);
}

/* --- embedding, gather, add */

static void
test_embedding(void **state)
{
	static const struct ragged s = { 2, { 0, 3, 5 }, 5 };
	static const int32_t ids[] = { 2, 0, 3, 3, 1 };
	float *word = values(20, 1), *position = values(15, 2), *type = values(10, 3), *w = values(25, 4);
	float out[25], dword[20], dposition[15];
	double want[25], want_word[20] = { 0 }, want_position[15] = { 0 };

	(void)state;
	fill(dword, 20, 5);
	fill(dposition, 15, 6);
	for (int i = 0; i < 20; i++)
		want_word[i] = (double)dword[i];
	for (int i = 0; i < 15; i++)
		want_position[i] = (double)dposition[i];
	for (int r = 0; r < 5; r++)
		for (int i = 0; i < 5; i++) {
			int index = r < 3 ? r : r - 3;

			want[5 * r + i] =
				(double)word[5 * ids[r] + i] + (double)position[5 * index + i] + (double)type[i];
			if (ids[r])
				want_word[5 * ids[r] + i] += (double)w[5 * r + i];
			if (index)
				want_position[5 * index + i] += (double)w[5 * r + i];
		}
	op->embedding(&(struct embedding){ out, rows_of(&s), ids, word, position, type, 5 });
	same("embedding", out, want, 25, FORWARD);
	op->embedding_backward(&(struct embedding_backward){ dword, dposition, rows_of(&s), ids, w, 5 });
	same("embedding by word", dword, want_word, 20, BACKWARD);
	same("embedding by position", dposition, want_position, 15, BACKWARD);
	free(word), free(position), free(type), free(w);
}

static void
test_gather(void **state)
{
	static const int index[] = { 4, 0, 2 };
	float *in = values(35, 1), *dout = values(21, 2), *din = values(35, 3), out[21];
	double want[21], want_din[35];

	(void)state;
	for (int i = 0; i < 35; i++)
		want_din[i] = (double)din[i];
	for (int i = 0; i < 21; i++) {
		want[i] = (double)in[7 * index[i / 7] + i % 7];
		want_din[7 * index[i / 7] + i % 7] += (double)dout[i];
	}
	op->gather(&(struct gather){ out, in, index, 3, 7 });
	same("gather", out, want, 21, 0);
	op->gather_backward(&(struct gather_backward){ din, dout, index, 3, 7 });
	same("gather by in", din, want_din, 35, BACKWARD);
	op->add(out, dout, 21);
	for (int i = 0; i < 21; i++)
		want[i] += (double)dout[i];
	same("add", out, want, 21, FORWARD);
	free(in), free(dout), free(din);
}

/* --- the optimizer's operations */

static void
test_optimizer(void **state)
{
	static const size_t sizes[] = { 1, 5, 16, 4097, 20000 };

	(void)state;
	for (size_t t = 0; t < sizeof sizes / sizeof *sizes; t++) {
		size_t n = sizes[t];
		float *p = values(n, 1), *g = values(n, 2), *m = values(n, 3), *v = values(n, 4), *slow = values(n, 5);
		double *P = widen(p, n), *M, *V, *S = widen(slow, n), pp = 0, uu = 0, gg = 0, trust, rate;

		for (size_t i = 0; i < n; i++) {
			v[i] *= v[i];
			gg += (double)g[i] * (double)g[i];
		}
		M = widen(m, n);
		V = widen(v, n);
		assert_float_equal(op->sumsq(g, n) / gg, 1, 1e-12);
		for (size_t i = 0; i < n; i++) {
			double u;

			M[i] = 0.9 * M[i] + 0.1 * 0.5 * (double)g[i];
			V[i] = 0.999 * V[i] + 0.001 * 0.25 * (double)g[i] * (double)g[i];
			u = M[i] / (sqrt(V[i]) + 1e-6) + 0.01 * P[i];
			pp += P[i] * P[i];
			uu += u * u;
		}
		trust = fmax(fmin(sqrt(pp), 10) / sqrt(uu), 0.25);
		for (size_t i = 0; i < n; i++)
			P[i] -= 0.1 * trust * (M[i] / (sqrt(V[i]) + 1e-6) + 0.01 * P[i]);
		op->lamb(&(struct lamb){ p, m, v, g, n, 0.5, 0.1, 0.9, 0.999, 1e-6, 0.01, 0.25 });
		same("lamb", p, P, n, FORWARD);
		same("lamb's m", m, M, n, FORWARD);
		same("lamb's v", v, V, n, FORWARD);
		rate = 0.1 / (1 - pow(0.9, 3));
		for (size_t i = 0; i < n; i++) {
			M[i] = 0.9 * M[i] + 0.1 * (double)g[i];
			V[i] = 0.999 * V[i] + 0.001 * (double)g[i] * (double)g[i];
			P[i] = P[i] * (1 - 0.1 * 0.01) - rate * M[i] / (sqrt(V[i] / (1 - pow(0.999, 3))) + 1e-8);
		}
		op->adamw(&(struct adamw){ p, m, v, g, n, 1, 0.1, 0.9, 0.999, 1e-8, 0.01, 3 });
		same("adamw", p, P, n, FORWARD);
		for (size_t i = 0; i < n; i++)
			P[i] = S[i] + 0.8 * (P[i] - S[i]);
		op->lookahead(&(struct lookahead){ p, slow, n, 0.8 });
		same("lookahead", p, P, n, FORWARD);
		same("lookahead's slow", slow, P, n, FORWARD);
		for (size_t i = 0; i < n; i++)
			P[i] = fmin(fmax(P[i], -0.5), 0.25);
		op->clamp(p, n, -0.5f, 0.25f);
		same("clamp", p, P, n, FORWARD);
		g[n / 2] = NAN;
		assert_false(isfinite(op->sumsq(g, n)));
		free(p), free(g), free(m), free(v), free(slow), free(P), free(M), free(V), free(S);
	}
}

/* Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds). */
static void
test_philox(void **state)
{
	static const uint32_t want[3][4] = { { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
		                             { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
		                             { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } };
	uint32_t got[3][4];

	(void)state;
	philox4x32(got[0], 0, 0, 0, 0, 0);
	philox4x32(got[1], UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	philox4x32(got[2], 0x299f31d0a4093822, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344);
	assert_memory_equal(got, want, sizeof want);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_philox),        cmocka_unit_test(test_linear),
		cmocka_unit_test(test_layernorm),     cmocka_unit_test(test_average),
		cmocka_unit_test(test_large_linear),  cmocka_unit_test(test_large_layernorm),
		cmocka_unit_test(test_large_average), cmocka_unit_test(test_attention),
		cmocka_unit_test(test_span),          cmocka_unit_test(test_span_of_nothing),
		cmocka_unit_test(test_probabilities), cmocka_unit_test(test_entmax_golden),
		cmocka_unit_test(test_embedding),     cmocka_unit_test(test_gather),
		cmocka_unit_test(test_optimizer),     cmocka_unit_test(test_packed),
		cmocka_unit_test(test_bf16),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
