/*
 * Attention against plain loops in double, its backward against finite differences of them; entmax against the reference's own
 * figures.
 */
#include "op_test.h"

#include "ckpt/image.h"

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

		if (middle == low || middle == high)
			break;
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
				uint32_t place = place_of(&s->drop, b) * (uint32_t)s->H + (uint32_t)h;
				uint32_t row = place * s->drop.stride + (uint32_t)(i - s->q.off[b]);
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

/* a, of queries and keys that are one wide, with one head. */
static struct attention
one_wide(struct attention a, const struct ragged *queries, const struct ragged *keys)
{
	a.q_stride = a.k_stride = a.v_stride = a.out_stride = 1;
	a.queries = rows_of(queries);
	a.keys = rows_of(keys);
	a.H = a.W = 1;
	return a;
}

/* Every key beyond its span: nothing is attended to, and nothing comes back. */
static void
test_span_of_nothing(void **state)
{
	const struct ragged q = { 1, { 0, 1 }, 1 }, keys = { 1, { 0, 3 }, 1 };
	float one = 1, x[3] = { 1, 2, 3 }, out = 5, stats[2], probs[3], dq, dk[3], dv[3], dspan = 0, far = -9;
	struct attention a = one_wide((struct attention){ .out = &out,
	                                                  .stats = stats,
	                                                  .probs = probs,
	                                                  .q = &one,
	                                                  .k = x,
	                                                  .v = x,
	                                                  .span = { &far, 1, 0, 3, 2 } },
	                              &q, &keys);

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
	struct attention a = { .q_stride = wide,
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
	for (int i = 0; i < 5; i++)
		in[i] = widen(all[i], f.in_n[i]);
	attention_and_probabilities(want_out, want, in, s);
	/* Without stats, as where nothing goes back, and with them. */
	for (int with = 0; with < 2; with++) {
		a.stats = with ? stats : NULL;
		fill(out, qw, 7);
		fill(probs, n, 14);
		op->attention(&a);
		same("probabilities", probs, want, n, FORWARD);
		for (int r = 0; r < Nq; r++)
			memcpy(flat + r * D, out + r * wide + LEFT, (size_t)D * sizeof *flat);
		same("attention between other columns", flat, want_out, q_n, FORWARD);
	}
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
		struct attention at = one_wide((struct attention){ .out = &out,
		                                                   .stats = stats,
		                                                   .probs = probs,
		                                                   .q = &one,
		                                                   .k = x,
		                                                   .v = v,
		                                                   .kind = ATT_ENTMAX,
		                                                   .alpha = &a },
		                               &q, &keys);

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attention),       cmocka_unit_test(test_span),
		cmocka_unit_test(test_span_of_nothing), cmocka_unit_test(test_probabilities),
		cmocka_unit_test(test_entmax_golden),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
