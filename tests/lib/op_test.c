/*
 * Every operation of the table but attention (attention_test.c) against a plain loop in double, and its backward against finite
 * differences of that loop, over shapes that include odd ones (up to 48 rows of 33), or, in a shape of 40 rows of 520, against its
 * formula in double. The model's own widths (768, 3072) are not run here: tests/full-size.bats does.
 */
#include "op_test.h"

static const struct ragged shapes[] = {
	{ 1, { 0, 1 }, 1 },        { 1, { 0, 1 }, 7 },          { 2, { 0, 1, 6 }, 16 },
	{ 3, { 0, 3, 4, 9 }, 33 }, { 3, { 0, 5, 41, 48 }, 24 },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

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
		for (int i = 0; i < s->O; i++)
			db[i] /= 2;
		differences("linear by in, added", &f, all, w, 0, din);
		differences("linear by weight, added", &f, all, w, 1, dw);
		differences("linear by bias, added", &f, all, w, 2, db);
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
			for (int i = 0; i < D; i++) {
				dgain[i] /= 2;
				dbias[i] /= 2;
			}
			differences("layernorm by residual, added", &f, all, w, 1, dres);
			differences("layernorm by gain, added", &f, all, w, 2, dgain);
			differences("layernorm by bias, added", &f, all, w, 3, dbias);
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

/* --- linear layers in every precision, packed or not */

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

/* Some are beyond what our own products do at a time (AMX's tiles, AVX-512's dot products of pairs), some at its bounds. */
static const struct {
	int N, I, O; /* O: of each of two parts */
} packed_shapes[] = {
	{ 1, 1, 1 },      { 7, 5, 3 },     { 33, 70, 48 },  { 40, 64, 260 },  { 16, 32, 16 },
	{ 17, 1100, 40 }, { 70, 290, 70 }, { 345, 33, 33 }, { 20, 256, 420 },
};

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

/* Forward and backward in bf16 are products of rounded factors; the bias's gradient is not rounded. Written, then added. */
static void
check_bf16(int N, int I, int O)
{
	const size_t in_n = (size_t)(N * I), w_n = (size_t)(O * I), n = (size_t)(N * O);
	float *in = values(in_n, 1), *weight = values(w_n, 2), *bias = values((size_t)O, 3), *out = values(n, 4);
	float *d = values(n, 5), *din = values(in_n, 6), *dw = values(w_n, 7), *db = values((size_t)O, 8);
	double *Din = calloc(in_n, sizeof *Din), *Dw = calloc(w_n, sizeof *Dw), *Db = calloc((size_t)O, sizeof *Db);
	double *want = product_double(in, weight, bias, N, I, O, PRECISION_BF16);
	float *pre = values(n, 9);
	bf16 *out16 = calloc(n, sizeof *out16);
	struct linear forward = { .out = out,
		                  .in = in,
		                  .weight = weight,
		                  .bias = bias,
		                  .N = N,
		                  .I = I,
		                  .O = O,
		                  .precision = PRECISION_BF16 };
	struct linear_backward back = { .din = din,
		                        .dweight = dw,
		                        .dbias = db,
		                        .dout = d,
		                        .in = in,
		                        .weight = weight,
		                        .N = N,
		                        .I = I,
		                        .O = O,
		                        .precision = PRECISION_BF16 };

	op->linear(&forward);
	same("bf16", out, want, n, FORWARD);
	forward.pre = pre;
	forward.out16 = out16;
	forward.act = ACT_GELU;
	op->linear(&forward);
	same("bf16 before the activation", pre, want, n, FORWARD);
	for (size_t i = 0; i < n; i++)
		want[i] = want[i] * 0.5 * (1 + erf(want[i] / sqrt(2)));
	same("bf16, GELU", out, want, n, FORWARD);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(out16[i], bits_of(out[i]));
	for (int r = 0; r < N; r++)
		for (int o = 0; o < O; o++) {
			const double by = factor(d[r * O + o], PRECISION_BF16);

			Db[o] += (double)d[r * O + o];
			for (int i = 0; i < I; i++) {
				Din[r * I + i] += by * factor(weight[o * I + i], PRECISION_BF16);
				Dw[o * I + i] += by * factor(in[r * I + i], PRECISION_BF16);
			}
		}
	op->linear_backward(&back);
	same("bf16 by in", din, Din, in_n, BACKWARD);
	same("bf16 by weight", dw, Dw, w_n, BACKWARD);
	same("bf16 by bias", db, Db, (size_t)O, BACKWARD);
	back.add_in = back.add_weight = 1;
	op->linear_backward(&back);
	for (size_t i = 0; i < in_n; i++)
		Din[i] *= 2;
	for (size_t i = 0; i < w_n; i++)
		Dw[i] *= 2;
	for (int i = 0; i < O; i++)
		Db[i] *= 2;
	same("bf16 by in, added", din, Din, in_n, BACKWARD);
	same("bf16 by weight, added", dw, Dw, w_n, BACKWARD);
	same("bf16 by bias, added", db, Db, (size_t)O, BACKWARD);
	free(in), free(weight), free(bias), free(out), free(d), free(din), free(dw), free(db), free(want);
	free(Din), free(Dw), free(Db), free(pre), free(out16);
}

/*
 * Shapes for our own products on a processor, which go by panels of 32 columns, chunks of 256 of K and pairs of K, the last half of zeros
 * where K is odd; AVX-512's by strips of 8 rows and parts of 640 at most, AMX's by blocks of 32 rows, 10 of them, 12 panels and 1,024 of K at
 * a time. Rows, columns and K are N, O, I forward; O, I, N by weight; N, I, O by in.
 */
static void
test_bf16(void **state)
{
	static const struct {
		int N, I, O;
	} shapes16[] = {
		{ 1, 2, 1 },       /* the least: one pair; half a pair by weight and by in */
		{ 9, 70, 52 },     /* a strip and a row; columns end within a panel's second half */
		{ 10, 33, 13 },    /* last strips of 2 and 5 rows, by weight; odd I */
		{ 11, 18, 10 },    /* of 3 and 2 */
		{ 13, 15, 11 },    /* of 5 and 3 */
		{ 23, 31, 39 },    /* of 7 and 7; all odd */
		{ 21, 128, 64 },   /* whole lines, which go past the caches where they are not read soon */
		{ 70, 300, 33 },   /* two chunks forward; odd O */
		{ 345, 40, 1100 }, /* more than AMX does at a time; five chunks by in; odd N */
		{ 700, 601, 64 },  /* two parts or more; three chunks forward and by weight; odd I */
	};

	(void)state;
	if (!op->has(PRECISION_BF16))
		skip();
	for (size_t t = 0; t < sizeof shapes16 / sizeof *shapes16; t++)
		check_bf16(shapes16[t].N, shapes16[t].I, shapes16[t].O);
}

/* n times x */
static float *
repeated(float x, size_t n)
{
	float *out = values(n, 1);

	for (size_t i = 0; i < n; i++)
		out[i] = x;
	return out;
}

static void
all_are(const char *what, const float *ours, double want, size_t n, double tolerance)
{
	double *wanted = calloc(n, sizeof *wanted);

	for (size_t i = 0; i < n; i++)
		wanted[i] = want;
	same(what, ours, wanted, n, tolerance);
	free(wanted);
}

/*
 * Inputs and gradients are 1 and a bit beyond TF32's ten, weights 1: that bit counts in float32, and in TF32 in the bias and its gradient
 * alone, whether a card rounds or cuts. The same shape in both, by turns.
 */
static void
check_bits(int packed, enum precision precision)
{
	enum { N = 96, I = 128, O = 64 };
	const float more = 1 + 0x1p-12f;
	const double kept = precision == PRECISION_TF32 ? 1 : (double)more;
	float *in = repeated(more, N * I), *weight = repeated(1, O * I), *bias = repeated(more, O);
	float *out = values(N * O, 2), *d = repeated(more, N * O);
	float *din = values(N * I, 3), *dw = values(O * I, 4), *db = values(O, 5);
	const struct pack parts = {
		.weight = { weight }, .bias = { bias }, .parts = 1, .O = O, .I = I, .precision = precision
	};
	struct linear l = { .out = out, .in = in, .N = N, .I = I, .O = O };

	if (packed) {
		l.packed = op->pack(&parts);
		assert_non_null(l.packed);
	} else {
		l.weight = weight;
		l.bias = bias;
		l.precision = precision;
	}
	op->linear(&l);
	all_are("bits, forward", out, I * kept + (double)more, N * O, 1e-6);
	op->linear_backward(&(struct linear_backward){ .din = din,
	                                               .dweight = dw,
	                                               .dbias = db,
	                                               .dout = d,
	                                               .in = in,
	                                               .weight = weight,
	                                               .N = N,
	                                               .I = I,
	                                               .O = O,
	                                               .precision = precision });
	all_are("bits by in", din, O * kept, N * I, 1e-6);
	all_are("bits by weight", dw, N * kept * kept, O * I, 1e-6);
	all_are("bits by bias", db, N * (double)more, O, 1e-6);
	if (packed)
		op->pack_free((struct packed *)(uintptr_t)l.packed);
	free(in), free(weight), free(bias), free(out), free(d), free(din), free(dw), free(db);
}

static void
test_tf32(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		check_bits(i, PRECISION_F32);
		if (op->has(PRECISION_TF32))
			check_bits(i, PRECISION_TF32);
		check_bits(i, PRECISION_F32);
	}
}

/* Nowhere but on a card, and not by halves. */
static void
test_no_tf32(void **state)
{
	const float weight = 1, bias = 1;
	struct err err;

	(void)state;
	if (op->lend)
		skip();
	assert_false(op->has(PRECISION_TF32));
	assert_null(op->pack(&(struct pack){
		.weight = { &weight }, .bias = { &bias }, .parts = 1, .O = 1, .I = 1, .precision = PRECISION_TF32 }));
	assert_int_equal(op->sync(&err), -1);
	assert_string_equal(err.text,
	                    "cpu backend: no memory for packed weights, or no products of that precision here");
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

/* Lists that lie in one place, one after the other: some are the beginning of the one before, none is taken for another. */
static void
gather_from_one_place(const float *in)
{
	static const struct {
		int n, index[3];
	} lists[] = { { 3, { 4, 0, 2 } }, { 2, { 4, 0, 2 } }, { 3, { 4, 0, 2 } }, { 2, { 4, 0, 1 } },
		      { 3, { 4, 0, 1 } }, { 1, { 3, 0, 1 } }, { 3, { 3, 0, 1 } }, { 0, { 3, 0, 1 } } };
	int index[3];

	for (size_t t = 0; t < sizeof lists / sizeof *lists; t++) {
		int n = lists[t].n;
		float out[21];
		double want[21];

		memcpy(index, lists[t].index, sizeof index);
		for (int i = 0; i < 7 * n; i++)
			want[i] = (double)in[7 * index[i / 7] + i % 7];
		op->gather(&(struct gather){ out, in, index, n, 7 });
		same("gather from one place", out, want, (size_t)(7 * n), 0);
	}
}

/* A list may change, or go on, as soon as a call is back, though nobody has waited for what was asked for. */
static void
gather_without_waiting(const float *in)
{
	enum { LISTS = 4, MOST = 5 };
	static const int lists[LISTS][MOST] = { { 4, 0, 2 }, { 1, 3, 0 }, { 2, 2, 4, 1, 0 }, { 0, 1, 2, 3, 4 } };
	static const int n[LISTS] = { 3, 3, 5, 5 };
	const struct op *to = device ? device : op;
	float *there = to->alloc(35 * sizeof *there), *out[LISTS], got[7 * MOST];
	double want[7 * MOST];
	int index[MOST];

	to->put(there, in, 35 * sizeof *there);
	for (int t = 0; t < LISTS; t++) {
		out[t] = to->alloc(sizeof got);
		memcpy(index, lists[t], sizeof index);
		to->gather(&(struct gather){ out[t], there, index, n[t], 7 });
	}
	for (int t = 0; t < LISTS; t++) {
		to->get(got, out[t], (size_t)(7 * n[t]) * sizeof *got);
		for (int i = 0; i < 7 * n[t]; i++)
			want[i] = (double)in[7 * lists[t][i / 7] + i % 7];
		same("gather without waiting", got, want, (size_t)(7 * n[t]), 0);
		to->free(out[t]);
	}
	to->free(there);
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
	gather_from_one_place(in);
	gather_without_waiting(in);
	free(in), free(dout), free(din);
}

/* --- the optimizer's operations, of a list of tensors */

static const struct {
	size_t n;
	int gradient, twin;
} tensors[] = { { 1, 1, 1 },    { 0, 1, 1 },     { 31, 0, 1 },  { 5, 1, 0 },    { 16, 1, 1 },
	        { 4097, 1, 1 }, { 20000, 1, 1 }, { 300, 0, 0 }, { 8192, 1, 0 }, { 0, 0, 0 } };
enum { TENSORS = sizeof tensors / sizeof *tensors };

/* In capitals what it must be, in double. */
struct tensor {
	size_t n;
	float *p, *m, *v, *slow, *g;
	bf16 *twin;
	double *P, *M, *V, *S, *G;
};

static void
make_tensor(struct tensor *t, int i)
{
	const uint32_t seed = 5 * (uint32_t)i;

	*t = (struct tensor){ .n = tensors[i].n };
	t->p = values(t->n, seed + 1);
	t->m = values(t->n, seed + 2);
	t->v = values(t->n, seed + 3);
	t->slow = values(t->n, seed + 4);
	t->g = tensors[i].gradient ? values(t->n, seed + 5) : NULL;
	t->twin = tensors[i].twin ? calloc(t->n + 1, sizeof *t->twin) : NULL;
	for (size_t k = 0; k < t->n; k++)
		t->v[k] *= t->v[k];
	t->P = widen(t->p, t->n);
	t->M = widen(t->m, t->n);
	t->V = widen(t->v, t->n);
	t->S = widen(t->slow, t->n);
	t->G = widen(t->g, t->n);
}

static void
free_tensor(struct tensor *t)
{
	free(t->p), free(t->m), free(t->v), free(t->slow), free(t->g), free(t->twin);
	free(t->P), free(t->M), free(t->V), free(t->S), free(t->G);
}

static void
same_weights(const char *what, const struct tensor *t)
{
	same(what, t->p, t->P, t->n, FORWARD);
	for (size_t i = 0; t->twin && i < t->n; i++)
		if (t->twin[i] != bits_of(t->p[i]))
			fail_msg("%s's twin: of %a, 0x%04x", what, (double)t->p[i], t->twin[i]);
}

static void
moments_double(struct tensor *t, double scale)
{
	for (size_t i = 0; i < t->n; i++) {
		const double g = t->G[i] * scale;

		t->M[i] = 0.9 * t->M[i] + 0.1 * g;
		t->V[i] = 0.999 * t->V[i] + 0.001 * g * g;
	}
}

static void
lamb_double(struct tensor *t, double rate)
{
	double pp = 0, uu = 0, trust;

	for (size_t i = 0; i < t->n; i++) {
		const double u = t->M[i] / (sqrt(t->V[i]) + 1e-6) + 0.01 * t->P[i];

		pp += t->P[i] * t->P[i];
		uu += u * u;
	}
	trust = fmax(fmin(sqrt(pp), 10) / sqrt(uu), 0.25);
	for (size_t i = 0; i < t->n; i++)
		t->P[i] -= rate * trust * (t->M[i] / (sqrt(t->V[i]) + 1e-6) + 0.01 * t->P[i]);
}

static void
check_lamb(struct tensor *list)
{
	struct lamb l[TENSORS];

	for (int i = 0; i < TENSORS; i++) {
		struct tensor *t = &list[i];
		const double rate = 0.1 + 0.01 * i;

		l[i] = (struct lamb){ t->p, t->m, t->v, t->twin, t->g, t->n, 0.5, rate, 0.9, 0.999, 1e-6, 0.01, 0.25 };
		moments_double(t, 0.5);
		lamb_double(t, rate);
	}
	op->lamb(l, TENSORS);
	for (int i = 0; i < TENSORS; i++) {
		same_weights("lamb", &list[i]);
		same("lamb's m", list[i].m, list[i].M, list[i].n, FORWARD);
		same("lamb's v", list[i].v, list[i].V, list[i].n, FORWARD);
	}
}

static void
check_adamw(struct tensor *list)
{
	struct adamw a[TENSORS];

	for (int i = 0; i < TENSORS; i++) {
		struct tensor *t = &list[i];
		const int step = 3 + i;
		const double rate = 0.1 / (1 - pow(0.9, step)), unbias = 1 / (1 - pow(0.999, step));

		a[i] = (struct adamw){ t->p, t->m, t->v, t->twin, t->g, t->n, 1, 0.1, 0.9, 0.999, 1e-8, 0.01, step };
		moments_double(t, 1);
		for (size_t k = 0; k < t->n; k++)
			t->P[k] = t->P[k] * (1 - 0.1 * 0.01) - rate * t->M[k] / (sqrt(t->V[k] * unbias) + 1e-8);
	}
	op->adamw(a, TENSORS);
	for (int i = 0; i < TENSORS; i++) {
		same_weights("adamw", &list[i]);
		same("adamw's m", list[i].m, list[i].M, list[i].n, FORWARD);
		same("adamw's v", list[i].v, list[i].V, list[i].n, FORWARD);
	}
}

static void
check_lookahead(struct tensor *list)
{
	struct lookahead l[TENSORS];

	for (int i = 0; i < TENSORS; i++) {
		struct tensor *t = &list[i];
		const double alpha = 0.8 - 0.05 * i;

		l[i] = (struct lookahead){ t->p, t->slow, t->twin, t->n, alpha };
		for (size_t k = 0; k < t->n; k++)
			t->P[k] = t->S[k] += alpha * (t->P[k] - t->S[k]);
	}
	op->lookahead(l, TENSORS);
	for (int i = 0; i < TENSORS; i++) {
		same_weights("lookahead", &list[i]);
		same("lookahead's slow", list[i].slow, list[i].S, list[i].n, FORWARD);
	}
}

static void
check_clamp(struct tensor *list)
{
	struct clamp c[TENSORS];

	for (int i = 0; i < TENSORS; i++) {
		struct tensor *t = &list[i];

		c[i] = (struct clamp){ t->p, t->n, -0.5f, 0.25f * (float)(i + 1) };
		for (size_t k = 0; k < t->n; k++)
			t->P[k] = fmin(fmax(t->P[k], -0.5), 0.25 * (i + 1));
	}
	op->clamp(c, TENSORS);
	for (int i = 0; i < TENSORS; i++)
		same("clamp", list[i].p, list[i].P, list[i].n, FORWARD);
}

static void
check_sums(const struct tensor *list)
{
	const float *x[TENSORS];
	size_t n[TENSORS];
	double sums[TENSORS];

	for (int i = 0; i < TENSORS; i++) {
		x[i] = list[i].p;
		n[i] = list[i].n;
	}
	op->sumsq(sums, x, n, TENSORS);
	for (int i = 0; i < TENSORS; i++) {
		double want = 0;

		for (size_t k = 0; k < n[i]; k++)
			want += (double)x[i][k] * (double)x[i][k];
		if (n[i])
			assert_true(fabs(sums[i] / want - 1) <= 1e-12);
		else
			assert_true(sums[i] == 0);
	}
}

static void
check_not_finite(struct tensor *t)
{
	double sums[3];

	t->p[t->n / 2] = NAN;
	op->sumsq(sums, (const float *[]){ t->m, t->p, t->v }, (size_t[]){ t->n, t->n, t->n }, 3);
	assert_true(isfinite(sums[0]) && !isfinite(sums[1]) && isfinite(sums[2]));
}

/* Without a norm of weights or of update the trust is 1: not 0, nor its least, nor no number. */
static void
test_trust(void **state)
{
	enum { N = 300, CASES = 3 };
	static const float given[CASES][2] = { { 0, 1 }, { 1, 0 }, { 0, 0 } }; /* weight, first moment */
	float *v[CASES], *p[CASES], *m[CASES];
	struct lamb l[CASES];

	(void)state;
	for (int i = 0; i < CASES; i++) {
		p[i] = repeated(given[i][0], N);
		m[i] = repeated(given[i][1], N);
		v[i] = repeated(1, N);
		l[i] = (struct lamb){ p[i], m[i], v[i], NULL, NULL, N, 1, 0.1, 0.9, 0.999, 1e-6, 0, 0.25 };
	}
	op->lamb(l, CASES);
	for (int i = 0; i < CASES; i++) {
		const double u = 0.9 * (double)given[i][1] / (sqrt(0.999) + 1e-6);

		all_are("lamb without a norm", p[i], (double)given[i][0] - 0.1 * u, N, FORWARD);
		free(p[i]), free(m[i]), free(v[i]);
	}
}

static void
test_clamp(void **state)
{
	float x[] = { NAN, -1, 0.5f, -INFINITY, 2, INFINITY, -NAN };
	static const float want[] = { NAN, 0, 0.5f, 0, 1, 1, NAN };
	struct err err;

	(void)state;
	op->clamp(&(struct clamp){ x, sizeof x / sizeof *x, 0, 1 }, 1);
	assert_int_equal(op->sync(&err), 0);
	for (size_t i = 0; i < sizeof x / sizeof *x; i++)
		assert_true(isnan(want[i]) ? isnan(x[i]) : x[i] == want[i]);
}

static void
check_empty_lists(void)
{
	struct err err;

	op->lamb(&(struct lamb){ 0 }, 0);
	op->adamw(&(struct adamw){ 0 }, 0);
	op->lookahead(&(struct lookahead){ 0 }, 0);
	op->clamp(&(struct clamp){ 0 }, 0);
	assert_int_equal(op->sync(&err), 0);
}

static void
test_optimizer(void **state)
{
	struct tensor list[TENSORS];

	(void)state;
	for (int i = 0; i < TENSORS; i++)
		make_tensor(&list[i], i);
	check_empty_lists();
	check_sums(list);
	check_lamb(list);
	check_adamw(list);
	check_lookahead(list);
	check_clamp(list);
	for (int i = 0; i < TENSORS; i++) {
		if (list[i].n)
			check_not_finite(&list[i]);
		free_tensor(&list[i]);
	}
}

/*
 * A list may change as soon as a call is back, though nobody has waited for what was asked for. Its tensors lie one behind the other here,
 * so that most begin at no multiple of 16 bytes.
 */
static void
test_lists_without_waiting(void **state)
{
	enum { LISTS = 4, MOST = 3 };
	static const size_t n[LISTS][MOST] = { { 31, 1, 4097 }, { 4097, 2, 0 }, { 7, 9000, 3 }, { 1, 0, 30 } };
	const struct op *to = device ? device : op;
	float *slow[LISTS], *param[LISTS], got[16 << 10];

	(void)state;
	for (int t = 0; t < LISTS; t++) {
		const size_t all = n[t][0] + n[t][1] + n[t][2];
		float *x = values(all, (uint32_t)t), *y = values(all, LISTS + (uint32_t)t);

		slow[t] = to->alloc(all * sizeof *x);
		param[t] = to->alloc(all * sizeof *x);
		to->put(slow[t], x, all * sizeof *x);
		to->put(param[t], y, all * sizeof *x);
		free(x), free(y);
	}
	for (int t = 0; t < LISTS; t++) {
		struct lookahead list[MOST];
		size_t at = 0;

		for (int i = 0; i < MOST; at += n[t][i++])
			list[i] = (struct lookahead){ param[t] + at, slow[t] + at, NULL, n[t][i], 0.25 * (i + 1) };
		to->lookahead(list, MOST);
	}
	for (int t = 0; t < LISTS; t++) {
		const size_t all = n[t][0] + n[t][1] + n[t][2];
		float *x = values(all, (uint32_t)t), *y = values(all, LISTS + (uint32_t)t);
		double *want = widen(x, all);
		size_t at = 0;

		for (int i = 0; i < MOST; i++)
			for (size_t k = 0; k < n[t][i]; k++, at++)
				want[at] += 0.25 * (i + 1) * ((double)y[at] - want[at]);
		to->get(got, param[t], all * sizeof *got);
		same("lists without waiting", got, want, all, FORWARD);
		to->free(slow[t]), to->free(param[t]);
		free(x), free(y), free(want);
	}
}

/* --- copies: what is sent beside the operations, results that take turns */

enum { SENT = 3 << 19, ROUNDS = 5 }; /* 6 MB each: more than goes at a time */

/* In pieces that go on where the one before ended, and something else between them. */
static void
send_in_pieces(float *to, const float *x, float *apart, int round)
{
	const float mark = (float)round;
	const size_t first = 7, last = SENT - 5;

	op->send(to, x, first * sizeof *x);
	op->send(to + first, x + first, 0);
	op->send(to + first, x + first, (last - first) * sizeof *x);
	op->put(apart, &mark, sizeof mark);
	op->send(to + last, x + last, (SENT - last) * sizeof *x);
	op->arrive();
}

/* Each round begins before the result of the one before is waited for. */
static void
test_copies(void **state)
{
	float *x[ROUNDS], *in[2], *out = op->alloc(SENT * sizeof *out), *apart = op->alloc(sizeof *apart), mark;
	const float *got;
	struct err err;

	(void)state;
	assert_non_null(out);
	assert_non_null(apart);
	for (int i = 0; i < 2; i++) {
		in[i] = op->alloc(SENT * sizeof *in[i]);
		assert_non_null(in[i]);
	}
	for (int round = 0; round < ROUNDS; round++) {
		x[round] = values(SENT, (uint32_t)round);
		send_in_pieces(in[round % 2], x[round], apart, round);
		op->copy(out, in[round % 2], SENT * sizeof *out);
		op->fetch(round % TURNS, out, SENT * sizeof *out);
		op->zero(out, SENT * sizeof *out);
		if (!round)
			continue;
		got = op->fetched((round - 1) % TURNS, &err);
		assert_non_null(got);
		assert_memory_equal(got, x[round - 1], SENT * sizeof *got);
	}
	got = op->fetched((ROUNDS - 1) % TURNS, &err);
	assert_non_null(got);
	assert_memory_equal(got, x[ROUNDS - 1], SENT * sizeof *got);
	op->get(&mark, apart, sizeof mark);
	assert_true(mark == ROUNDS - 1);
	for (int round = 0; round < ROUNDS; round++)
		free(x[round]);
	op->free(in[0]), op->free(in[1]), op->free(out), op->free(apart);
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
		cmocka_unit_test(test_philox),
		cmocka_unit_test(test_linear),
		cmocka_unit_test(test_layernorm),
		cmocka_unit_test(test_average),
		cmocka_unit_test(test_large_linear),
		cmocka_unit_test(test_large_layernorm),
		cmocka_unit_test(test_large_average),
		cmocka_unit_test(test_embedding),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_optimizer),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_clamp),
		cmocka_unit_test(test_lists_without_waiting),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_bf16),
		cmocka_unit_test(test_tf32),
		cmocka_unit_test(test_no_tf32),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
