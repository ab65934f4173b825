/*
 * A table of operations over a device's, for tests whose numbers lie in host memory: each call brings what it reads to the device and
 * what it writes back.
 */
#ifndef VQA_TESTS_SHUTTLE_H
#define VQA_TESTS_SHUTTLE_H

#include <stdlib.h>

#include "op/op.h"

static const struct op *device;

enum { CARGO_MOST = 64 };
static struct {
	const void *host;
	void *there;
	size_t bytes;
	int written;
} cargo[CARGO_MOST];
static int loaded;

/* The device's copy of what the operation at hand reads, or writes. */
static inline void *
bring(const void *host, size_t bytes, int written)
{
	if (!host)
		return NULL;
	for (int i = 0; i < loaded; i++)
		if (cargo[i].host == host && cargo[i].bytes == bytes) {
			cargo[i].written |= written;
			return cargo[i].there;
		}
	assert_true(loaded < CARGO_MOST);
	cargo[loaded].host = host;
	cargo[loaded].there = device->alloc(bytes);
	cargo[loaded].bytes = bytes;
	cargo[loaded].written = written;
	assert_non_null(cargo[loaded].there);
	device->put(cargo[loaded].there, host, bytes);
	return cargo[loaded++].there;
}

static inline void
bring_back(void)
{
	for (int i = 0; i < loaded; i++) {
		if (cargo[i].written)
			device->get((void *)(uintptr_t)cargo[i].host, cargo[i].there, cargo[i].bytes);
		device->free(cargo[i].there);
	}
	loaded = 0;
}

#define READS(field, n) (field) = bring(field, (size_t)(n) * sizeof *(field), 0)
#define WRITES(field, n) (field) = bring(field, (size_t)(n) * sizeof *(field), 1)

static inline int
highest(const int *list, int n)
{
	int most = 0;

	for (int i = 0; i < n; i++)
		most = list[i] > most ? list[i] : most;
	return most;
}

static inline int
longest(struct rows rows)
{
	int most = 0;

	for (int b = 0; b < rows.n; b++)
		most = rows.off[b + 1] - rows.off[b] > most ? rows.off[b + 1] - rows.off[b] : most;
	return most;
}

static inline void
shuttle_embedding(const struct embedding *given)
{
	struct embedding e = *given;
	int N = rows_total(&e.rows);

	WRITES(e.out, N * e.D);
	READS(e.word, (highest(e.ids, N) + 1) * e.D);
	READS(e.position, longest(e.rows) * e.D);
	READS(e.type, e.D);
	device->embedding(&e);
	bring_back();
}

static inline void
shuttle_embedding_backward(const struct embedding_backward *given)
{
	struct embedding_backward e = *given;
	int N = rows_total(&e.rows);

	WRITES(e.dword, (highest(e.ids, N) + 1) * e.D);
	WRITES(e.dposition, longest(e.rows) * e.D);
	READS(e.dout, N * e.D);
	device->embedding_backward(&e);
	bring_back();
}

static inline void
shuttle_linear(const struct linear *given)
{
	struct linear l = *given;

	WRITES(l.out, l.N * l.O);
	WRITES(l.pre, l.N * l.O);
	WRITES(l.out16, l.N * l.O);
	READS(l.in, l.N * l.I);
	READS(l.in16, l.N * l.I);
	READS(l.weight, l.O * l.I);
	READS(l.weight16, l.O * l.I);
	READS(l.bias, l.O);
	device->linear(&l);
	bring_back();
}

static inline void
shuttle_linear_backward(const struct linear_backward *given)
{
	struct linear_backward l = *given;

	WRITES(l.din, l.N * l.I);
	WRITES(l.dweight, l.O * l.I);
	WRITES(l.dbias, l.O);
	READS(l.dout, l.N * l.O);
	READS(l.in, l.N * l.I);
	READS(l.in16, l.N * l.I);
	READS(l.weight, l.O * l.I);
	READS(l.weight16, l.O * l.I);
	device->linear_backward(&l);
	bring_back();
}

static inline void
shuttle_activation_backward(const struct activation_backward *given)
{
	struct activation_backward a = *given;

	WRITES(a.d, a.n);
	READS(a.x, a.n);
	device->activation_backward(&a);
	bring_back();
}

static inline void
shuttle_layernorm(const struct layernorm *given)
{
	struct layernorm n = *given;
	int N = rows_total(&n.rows);

	WRITES(n.out, N * n.D);
	WRITES(n.xhat, N * n.D);
	WRITES(n.rstd, N);
	WRITES(n.out16, N * n.D);
	READS(n.in, N * n.D);
	READS(n.residual, N * n.D);
	READS(n.gain, n.D);
	READS(n.bias, n.D);
	device->layernorm(&n);
	bring_back();
}

static inline void
shuttle_layernorm_backward(const struct layernorm_backward *given)
{
	struct layernorm_backward n = *given;
	int N = rows_total(&n.rows);

	WRITES(n.din, N * n.D);
	WRITES(n.dresidual, N * n.D);
	WRITES(n.dgain, n.D);
	WRITES(n.dbias, n.D);
	READS(n.dout, N * n.D);
	READS(n.xhat, N * n.D);
	READS(n.rstd, N);
	READS(n.gain, n.D);
	device->layernorm_backward(&n);
	bring_back();
}

static inline void
shuttle_average(const struct average *given)
{
	struct average a = *given;
	int n = rows_total(&a.rows) * a.D;

	WRITES(a.out, n);
	WRITES(a.out16, n);
	READS(a.a, n);
	READS(a.b, n);
	device->average(&a);
	bring_back();
}

static inline void
shuttle_average_backward(const struct average_backward *given)
{
	struct average_backward a = *given;
	int n = rows_total(&a.rows) * a.D;

	WRITES(a.d, n);
	READS(a.dout, n);
	device->average_backward(&a);
	bring_back();
}

/* Elements from the first row's to the last row's end. */
static inline int
reach(struct rows rows, int stride, const struct attention *a)
{
	int n = rows_total(&rows);

	return n ? (n - 1) * stride + a->H * a->W : 0;
}

static inline int
matrices(const struct attention *a)
{
	int n = 0;

	for (int b = 0; b < a->queries.n; b++)
		n += a->H * (a->queries.off[b + 1] - a->queries.off[b]) * (a->keys.off[b + 1] - a->keys.off[b]);
	return n;
}

static inline void
attention_reads(struct attention *a)
{
	READS(a->q, reach(a->queries, a->q_stride, a));
	READS(a->k, reach(a->keys, a->k_stride, a));
	READS(a->v, reach(a->keys, a->v_stride, a));
	READS(a->alpha, a->H);
	READS(a->span.value, a->span.rows * a->H);
}

static inline void
shuttle_attention(const struct attention *given)
{
	struct attention a = *given;

	attention_reads(&a);
	WRITES(a.out, reach(a.queries, a.out_stride, &a));
	WRITES(a.out16, reach(a.queries, a.out_stride, &a));
	WRITES(a.stats, rows_total(&a.queries) * a.H * 2);
	WRITES(a.probs, matrices(&a));
	device->attention(&a);
	bring_back();
}

static inline void
shuttle_attention_backward(const struct attention_backward *given)
{
	struct attention_backward g = *given;
	struct attention a = *g.forward;

	attention_reads(&a);
	READS(a.stats, rows_total(&a.queries) * a.H * 2);
	WRITES(g.dq, reach(a.queries, a.q_stride, &a));
	WRITES(g.dk, reach(a.keys, a.k_stride, &a));
	WRITES(g.dv, reach(a.keys, a.v_stride, &a));
	WRITES(g.dalpha, a.H);
	WRITES(g.dspan, a.span.rows * a.H);
	READS(g.dout, reach(a.queries, a.out_stride, &a));
	g.forward = &a;
	device->attention_backward(&g);
	bring_back();
}

static inline void
shuttle_gather(const struct gather *given)
{
	struct gather g = *given;

	WRITES(g.out, g.n * g.D);
	READS(g.in, (highest(g.index, g.n) + 1) * g.D);
	device->gather(&g);
	bring_back();
}

static inline void
shuttle_gather_backward(const struct gather_backward *given)
{
	struct gather_backward g = *given;

	WRITES(g.din, (highest(g.index, g.n) + 1) * g.D);
	READS(g.dout, g.n * g.D);
	device->gather_backward(&g);
	bring_back();
}

static inline void
shuttle_add(float *y, const float *x, size_t n)
{
	WRITES(y, n);
	READS(x, n);
	device->add(y, x, n);
	bring_back();
}

static inline void
shuttle_narrow(bf16 *out, const float *x, size_t n)
{
	WRITES(out, n);
	READS(x, n);
	device->narrow(out, x, n);
	bring_back();
}

static inline void
shuttle_sumsq(double *sums, const float *const *x, const size_t *n, int count)
{
	const float *there[CARGO_MOST];

	assert_true(count <= CARGO_MOST);
	for (int i = 0; i < count; i++) {
		there[i] = x[i];
		READS(there[i], n[i]);
	}
	device->sumsq(sums, there, n, count);
	bring_back();
}

static inline void
shuttle_lamb(const struct lamb *list, int count)
{
	struct lamb l[CARGO_MOST];

	assert_true(count <= CARGO_MOST);
	for (int i = 0; i < count; i++) {
		l[i] = list[i];
		WRITES(l[i].param, l[i].n);
		WRITES(l[i].m, l[i].n);
		WRITES(l[i].v, l[i].n);
		WRITES(l[i].twin, l[i].n);
		READS(l[i].grad, l[i].n);
	}
	device->lamb(l, count);
	bring_back();
}

static inline void
shuttle_adamw(const struct adamw *list, int count)
{
	struct adamw a[CARGO_MOST];

	assert_true(count <= CARGO_MOST);
	for (int i = 0; i < count; i++) {
		a[i] = list[i];
		WRITES(a[i].param, a[i].n);
		WRITES(a[i].m, a[i].n);
		WRITES(a[i].v, a[i].n);
		WRITES(a[i].twin, a[i].n);
		READS(a[i].grad, a[i].n);
	}
	device->adamw(a, count);
	bring_back();
}

static inline void
shuttle_lookahead(const struct lookahead *list, int count)
{
	struct lookahead l[CARGO_MOST];

	assert_true(count <= CARGO_MOST);
	for (int i = 0; i < count; i++) {
		l[i] = list[i];
		WRITES(l[i].param, l[i].n);
		WRITES(l[i].slow, l[i].n);
		WRITES(l[i].twin, l[i].n);
	}
	device->lookahead(l, count);
	bring_back();
}

static inline void
shuttle_clamp(const struct clamp *list, int count)
{
	struct clamp c[CARGO_MOST];

	assert_true(count <= CARGO_MOST);
	for (int i = 0; i < count; i++) {
		c[i] = list[i];
		WRITES(c[i].x, c[i].n);
	}
	device->clamp(c, count);
	bring_back();
}

static inline const struct op *
shuttle(const struct op *to)
{
	static struct op table;

	device = to;
	table = *to;
	table.embedding = shuttle_embedding;
	table.embedding_backward = shuttle_embedding_backward;
	table.linear = shuttle_linear;
	table.linear_backward = shuttle_linear_backward;
	table.activation_backward = shuttle_activation_backward;
	table.layernorm = shuttle_layernorm;
	table.layernorm_backward = shuttle_layernorm_backward;
	table.average = shuttle_average;
	table.average_backward = shuttle_average_backward;
	table.attention = shuttle_attention;
	table.attention_backward = shuttle_attention_backward;
	table.gather = shuttle_gather;
	table.gather_backward = shuttle_gather_backward;
	table.add = shuttle_add;
	table.narrow = shuttle_narrow;
	table.sumsq = shuttle_sumsq;
	table.lamb = shuttle_lamb;
	table.adamw = shuttle_adamw;
	table.lookahead = shuttle_lookahead;
	table.clamp = shuttle_clamp;
	return &table;
}

#endif
