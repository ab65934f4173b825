/*
 * oneDNN's matmul, float32 or bf16 in, float32 out, then the activation in one pass; in bf16 our own products where the
 * processor has the instructions: AMX's (amx.c), since oneDNN 2.6 cuts rows by the count of threads there, and with them the
 * sums; else AVX-512's (dot.c), which are faster. Each sum runs over K in one order, whatever the number of threads.
 */
#include "op/cpu/matmul.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdlib.h>

#include "op/cpu/cpu.h"

struct packed {
	enum precision precision;
	dnnl_memory_desc_t layout; /* oneDNN's, (I, O of all parts); our own products have theirs */
	void *weight;
	float *bias;
};

/* Kernels kept: a model's shapes times the counts of rows that batches come with. 100 kB each. */
enum { KERNELS = 4096 };

static struct {
	dnnl_engine_t engine;
	dnnl_stream_t stream;
} here;

static void
open_engine(void)
{
	dnnl_set_primitive_cache_capacity(KERNELS);
	if (dnnl_engine_create(&here.engine, dnnl_cpu, 0) != dnnl_success ||
	    dnnl_stream_create(&here.stream, here.engine, dnnl_stream_default_flags) != dnnl_success)
		here.engine = NULL;
}

static dnnl_engine_t
engine(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, open_engine);
	return here.engine;
}

static dnnl_data_type_t
type_of(enum precision precision)
{
	return precision == PRECISION_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_memory_desc_t
describe(int rows, int columns, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	dnnl_memory_desc_t out;

	dnnl_memory_desc_init_by_tag(&out, 2, (dnnl_dims_t){ rows, columns }, type, tag);
	return out;
}

static dnnl_memory_desc_t
describe_matrix(int rows, int columns, enum precision precision, enum order order)
{
	return describe(rows, columns, type_of(precision), order == TRANSPOSED ? dnnl_ba : dnnl_ab);
}

/* How a product is done; NULL if it cannot be. */
static dnnl_primitive_desc_t
plan(const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b, int has_bias, int add)
{
	const int M = (int)a->dims[0], N = (int)b->dims[1];
	const dnnl_memory_desc_t c = describe(M, N, dnnl_f32, dnnl_ab), bias = describe(1, N, dnnl_f32, dnnl_ab);
	dnnl_primitive_desc_t out = NULL;
	dnnl_primitive_attr_t attr = NULL;
	dnnl_post_ops_t after = NULL;
	dnnl_matmul_desc_t product;

	dnnl_primitive_attr_create(&attr);
	if (add) {
		dnnl_post_ops_create(&after);
		dnnl_post_ops_append_sum(after, 1);
		dnnl_primitive_attr_set_post_ops(attr, after);
		dnnl_post_ops_destroy(after);
	}
	if (dnnl_matmul_desc_init(&product, a, b, has_bias ? &bias : NULL, &c) != dnnl_success ||
	    dnnl_primitive_desc_create(&out, &product, attr, engine(), NULL) != dnnl_success)
		out = NULL;
	dnnl_primitive_attr_destroy(attr);
	return out;
}

/* Where an argument of a primitive lies; its plan describes it. Nowhere: it has none. */
struct argument {
	int name;
	dnnl_query_t what;
	int index;
	const void *at;
};

enum { ARGUMENTS_MOST = 4 };

static int
run(const_dnnl_primitive_desc_t planned, const struct argument *given, int n)
{
	dnnl_exec_arg_t args[ARGUMENTS_MOST];
	dnnl_primitive_t primitive = NULL;
	int count = 0, bad = dnnl_primitive_create(&primitive, planned) != dnnl_success;

	for (int i = 0; i < n && !bad; i++) {
		const struct argument *a = &given[i];

		if (!a->at)
			continue;
		args[count].arg = a->name;
		bad = dnnl_memory_create(&args[count].memory, dnnl_primitive_desc_query_md(planned, a->what, a->index),
		                         engine(), (void *)(uintptr_t)a->at) != dnnl_success;
		count += !bad;
	}
	bad = bad || dnnl_primitive_execute(primitive, here.stream, count, args) != dnnl_success;
	while (count)
		dnnl_memory_destroy(args[--count].memory);
	dnnl_primitive_destroy(primitive);
	return bad ? -1 : 0;
}

/* A matrix into another layout. */
static int
lay_out(void *to, const dnnl_memory_desc_t *layout, const void *from, const dnnl_memory_desc_t *source)
{
	const struct argument args[] = {
		{ DNNL_ARG_FROM, dnnl_query_src_md, 0, from },
		{ DNNL_ARG_TO, dnnl_query_dst_md, 0, to },
	};
	dnnl_primitive_desc_t planned = NULL;
	int bad = dnnl_reorder_primitive_desc_create(&planned, source, engine(), layout, engine(), NULL) !=
	                  dnnl_success ||
	          run(planned, args, 2);

	dnnl_primitive_desc_destroy(planned);
	return bad ? -1 : 0;
}

/* The product alone, to c. */
static int
run_product(const_dnnl_primitive_desc_t planned, const struct product *p, const void *b, float *c)
{
	const struct argument args[] = {
		{ DNNL_ARG_SRC, dnnl_query_src_md, 0, p->a.at },
		{ DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0, b },
		{ DNNL_ARG_BIAS, dnnl_query_weights_md, 1, p->bias },
		{ DNNL_ARG_DST, dnnl_query_dst_md, 0, c },
	};

	return run(planned, args, ARGUMENTS_MOST);
}

/*
 * On Intel's processors oneDNN 2.6 reads a float32 b (K, N) where it lies at two thirds of the speed at which it reads one in a layout of its
 * own, which is more than it takes to make that (Zen 4: no difference).
 */
static int
wants_layout(const struct product *p)
{
	return !p->packed && p->b.order == PLAIN && p->precision == PRECISION_F32 && __builtin_cpu_is("intel");
}

/* b in the layout that the plan chose; NULL when there is no memory. */
static const void *
laid_out(const struct product *p, const_dnnl_primitive_desc_t planned)
{
	static struct kept room;
	const dnnl_memory_desc_t *layout = dnnl_primitive_desc_query_md(planned, dnnl_query_weights_md, 0);
	const dnnl_memory_desc_t source = describe_matrix(p->K, p->N, p->precision, PLAIN);
	void *at;

	if (dnnl_memory_desc_equal(layout, &source))
		return p->b.at;
	at = cpu_kept(&room, dnnl_memory_desc_get_size(layout));
	return at && !lay_out(at, layout, p->b.at, &source) ? at : NULL;
}

static int
multiply(const struct product *p, float *c)
{
	const void *weight = p->b.at;
	dnnl_memory_desc_t a = describe_matrix(p->M, p->K, p->precision, p->a.order);
	dnnl_memory_desc_t b = p->packed         ? p->packed->layout
	                       : wants_layout(p) ? describe(p->K, p->N, type_of(p->precision), dnnl_format_tag_any)
	                                         : describe_matrix(p->K, p->N, p->precision, p->b.order);
	dnnl_primitive_desc_t planned = plan(&a, &b, p->bias != NULL, p->add);
	int bad;

	if (planned && wants_layout(p))
		weight = laid_out(p, planned);
	bad = !planned || !weight || run_product(planned, p, weight, c);
	dnnl_primitive_desc_destroy(planned);
	return bad ? -1 : 0;
}

enum { BLOCK = 1 << 13 };

/* The result from the product alone, a row at a time. */
static void
finish(const struct product *p, const float *product)
{
	size_t N = (size_t)p->N;

#pragma omp parallel for schedule(static) if ((size_t)p->M * N > PARALLEL_LEAST)
	for (int r = 0; r < p->M; r++) {
		size_t at = (size_t)r * N;
		float part[BLOCK];

		for (size_t from = 0; from < N; from += BLOCK) {
			size_t n = N - from < BLOCK ? N - from : BLOCK;
			float *out = p->c ? p->c + at + from : part;

			cpu_activate(out, product + at + from, n, p->act);
			if (p->c16)
				cpu_narrow_row(p->c16 + at + from, out, n);
		}
	}
}

static void
multiply_and_finish(const struct product *p)
{
	static struct kept room;
	float *c = p->pre ? p->pre : p->c;

	if (!c)
		c = cpu_kept(&room, (size_t)p->M * (size_t)p->N * sizeof *c);
	if (!c)
		return;
	if (!engine())
		cpu_fault("oneDNN cannot be opened");
	else if (multiply(p, c))
		cpu_fault("oneDNN refused a matrix product");
	else if (p->act != ACT_NONE || c != p->c || p->c16)
		finish(p, c);
}

/* NULL: oneDNN's. */
static const struct bf16_products *
own_products(enum precision precision)
{
	const struct bf16_products *tiles;

	if (precision != PRECISION_BF16)
		return NULL;
	tiles = amx_products();
	return tiles ? tiles : dot_products();
}

void
cpu_matmul(const struct product *p)
{
	const struct bf16_products *own;
	struct product whole = *p;

	if (p->packed) {
		whole.precision = p->packed->precision;
		whole.b = (struct matrix){ p->packed->weight, PACKED };
		whole.bias = p->packed->bias;
	}
	own = own_products(whole.precision);
	if (own)
		own->multiply(&whole);
	else
		multiply_and_finish(&whole);
}

/* --- Packed weights. */

/* Rows that a layout is chosen for; a product of any other count reads it as well. */
enum { TYPICAL_ROWS = 512 };

enum precision
cpu_packed_precision(const struct packed *packed)
{
	return packed->precision;
}

/* TF32 is the cards' alone. */
static int
may_plan(enum precision precision)
{
	return precision != PRECISION_TF32 && engine();
}

int
cpu_has(enum precision precision)
{
	const dnnl_memory_desc_t square = describe_matrix(64, 64, precision, PLAIN);
	dnnl_primitive_desc_t planned = may_plan(precision) ? plan(&square, &square, 0, 0) : NULL;

	dnnl_primitive_desc_destroy(planned);
	return planned != NULL;
}

void
cpu_pack_free(struct packed *p)
{
	if (!p)
		return;
	cpu_free(p->weight);
	cpu_free(p->bias);
	free(p);
}

static int
choose_layout(dnnl_memory_desc_t *out, const struct pack *from)
{
	dnnl_memory_desc_t a = describe_matrix(TYPICAL_ROWS, from->I, from->precision, PLAIN);
	dnnl_memory_desc_t b = describe(from->I, from->parts * from->O, type_of(from->precision), dnnl_format_tag_any);
	dnnl_primitive_desc_t planned = may_plan(from->precision) ? plan(&a, &b, 1, 0) : NULL;

	if (!planned)
		return -1;
	*out = *dnnl_primitive_desc_query_md(planned, dnnl_query_weights_md, 0);
	dnnl_primitive_desc_destroy(planned);
	return 0;
}

/* weight, (O of all parts, I) floats, into the order of the products, in their precision. */
static int
fill(struct packed *p, const float *weight, int O, int I)
{
	const dnnl_memory_desc_t source = describe_matrix(I, O, PRECISION_F32, TRANSPOSED);
	const struct bf16_products *own = own_products(p->precision);
	bf16 *narrow;

	if (!own)
		return lay_out(p->weight, &p->layout, weight, &source);
	narrow = cpu_alloc((size_t)O * (size_t)I * sizeof *narrow);
	if (!narrow)
		return -1;
	cpu_narrow(narrow, weight, (size_t)O * (size_t)I);
	own->pack(p->weight, &(struct matrix){ narrow, TRANSPOSED }, I, O);
	cpu_free(narrow);
	return 0;
}

/* The parts below each other. */
static int
fill_from_parts(struct packed *p, const struct pack *from)
{
	size_t n = (size_t)from->O * (size_t)from->I;
	float *all;
	int bad;

	if (from->parts == 1)
		return fill(p, from->weight[0], from->O, from->I);
	all = cpu_alloc((size_t)from->parts * n * sizeof *all);
	if (!all)
		return -1;
	for (int i = 0; i < from->parts; i++)
		memcpy(all + (size_t)i * n, from->weight[i], n * sizeof *all);
	bad = fill(p, all, from->parts * from->O, from->I);
	cpu_free(all);
	return bad;
}

struct packed *
cpu_pack(const struct pack *from)
{
	struct packed *p = calloc(1, sizeof *p);
	const struct bf16_products *own = own_products(from->precision);
	const int O = from->parts * from->O;
	int bad = !p || (!own && choose_layout(&p->layout, from));

	if (!bad) {
		p->precision = from->precision;
		p->weight = cpu_alloc(own ? own->packed_size(from->I, O) : dnnl_memory_desc_get_size(&p->layout));
		p->bias = cpu_alloc((size_t)O * sizeof *p->bias);
		bad = !p->weight || !p->bias || fill_from_parts(p, from);
	}
	for (int i = 0; i < from->parts && !bad; i++)
		memcpy(p->bias + (size_t)i * (size_t)from->O, from->bias[i], (size_t)from->O * sizeof *p->bias);
	if (!bad)
		return p;
	cpu_fault("no memory for packed weights, or no products of that precision here");
	cpu_pack_free(p);
	return NULL;
}
