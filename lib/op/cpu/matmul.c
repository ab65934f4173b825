/*
 * oneDNN's matmul: float32 or bf16 in, float32 out. Each sum runs over K in one order, whatever the number of threads, but
 * for bf16 with AMX, where oneDNN cuts it by the count of rows and threads.
 */
#include "op/cpu/matmul.h"

#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdlib.h>

#include "op/cpu/cpu.h"

struct packed {
	dnnl_memory_desc_t layout; /* (I, O of all parts) in the precision of the product */
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
describe_matrix(int rows, int columns, enum precision precision, int transposed)
{
	return describe(rows, columns, type_of(precision), transposed ? dnnl_ba : dnnl_ab);
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

static int
multiply(const_dnnl_primitive_desc_t planned, const struct product *p, const void *b, const float *bias)
{
	const struct argument args[] = {
		{ DNNL_ARG_SRC, dnnl_query_src_md, 0, p->a.at },
		{ DNNL_ARG_WEIGHTS, dnnl_query_weights_md, 0, b },
		{ DNNL_ARG_BIAS, dnnl_query_weights_md, 1, bias },
		{ DNNL_ARG_DST, dnnl_query_dst_md, 0, p->c },
	};

	return run(planned, args, ARGUMENTS_MOST);
}

static enum precision
precision_of(const struct product *p)
{
	return p->packed ? cpu_packed_precision(p->packed) : p->precision;
}

/*
 * On Intel's processors oneDNN 2.6 reads a float32 b (K, N) where it lies at two thirds of the speed at which it reads one in a layout of its
 * own, which is more than it takes to make that (Zen 4: no difference).
 */
static int
wants_layout(const struct product *p)
{
	return !p->packed && !p->b.transposed && p->precision == PRECISION_F32 && __builtin_cpu_is("intel");
}

/* b in the layout that the plan chose; NULL when there is no memory. */
static const void *
laid_out(const struct product *p, const_dnnl_primitive_desc_t planned)
{
	static struct kept room;
	const dnnl_memory_desc_t *layout = dnnl_primitive_desc_query_md(planned, dnnl_query_weights_md, 0);
	const dnnl_memory_desc_t source = describe_matrix(p->K, p->N, p->precision, 0);
	void *at;

	if (dnnl_memory_desc_equal(layout, &source))
		return p->b.at;
	at = cpu_kept(&room, dnnl_memory_desc_get_size(layout));
	return at && !lay_out(at, layout, p->b.at, &source) ? at : NULL;
}

/* Rows [first, first + rows) of c, which are all if a is transposed. */
static int
multiply_rows(const struct product *p, int first, int rows)
{
	const struct packed *packed = p->packed;
	const enum precision precision = precision_of(p);
	const size_t size = precision == PRECISION_BF16 ? sizeof(bf16) : sizeof(float);
	const float *bias = packed ? packed->bias : p->bias;
	const void *weight = packed ? packed->weight : p->b.at;
	struct product part = *p;
	dnnl_memory_desc_t a = describe_matrix(rows, p->K, precision, p->a.transposed);
	dnnl_memory_desc_t b = packed            ? packed->layout
	                       : wants_layout(p) ? describe(p->K, p->N, type_of(precision), dnnl_format_tag_any)
	                                         : describe_matrix(p->K, p->N, precision, p->b.transposed);
	dnnl_primitive_desc_t planned = plan(&a, &b, bias != NULL, p->add);
	int bad;

	part.a.at = (const uint8_t *)p->a.at + (size_t)first * (size_t)p->K * size;
	part.c += (size_t)first * (size_t)p->N;
	if (planned && wants_layout(p))
		weight = laid_out(p, planned);
	bad = !planned || !weight || multiply(planned, &part, weight, bias);
	dnnl_primitive_desc_destroy(planned);
	return bad;
}

/*
 * With AMX, oneDNN 2.6 cuts the rows into equal blocks: five rows each of 295, at a seventh of the speed of 288. So what is over a multiple of
 * 32, two tiles, is multiplied by itself.
 */
static int
whole_blocks(const struct product *p)
{
	enum { BLOCK = 32 };

	if (precision_of(p) != PRECISION_BF16 || p->a.transposed || p->M < BLOCK ||
	    dnnl_get_effective_cpu_isa() != dnnl_cpu_isa_avx512_core_amx)
		return p->M;
	return p->M / BLOCK * BLOCK;
}

void
cpu_matmul(const struct product *p)
{
	const int whole = whole_blocks(p);

	if (!engine())
		cpu_fault("oneDNN cannot be opened");
	else if (multiply_rows(p, 0, whole) || (whole < p->M && multiply_rows(p, whole, p->M - whole)))
		cpu_fault("oneDNN refused a matrix product");
}

/* --- Packed weights. */

/* Rows that a layout is chosen for; a product of any other count reads it as well. */
enum { TYPICAL_ROWS = 512 };

enum precision
cpu_packed_precision(const struct packed *packed)
{
	return packed->layout.data_type == dnnl_bf16 ? PRECISION_BF16 : PRECISION_F32;
}

int
cpu_has(enum precision precision)
{
	dnnl_memory_desc_t a = describe_matrix(64, 64, precision, 0), b = describe_matrix(64, 64, precision, 0);
	dnnl_primitive_desc_t planned = engine() ? plan(&a, &b, 0, 0) : NULL;

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
	dnnl_memory_desc_t a = describe_matrix(TYPICAL_ROWS, from->I, from->precision, 0);
	dnnl_memory_desc_t b = describe(from->I, from->parts * from->O, type_of(from->precision), dnnl_format_tag_any);
	dnnl_primitive_desc_t planned = plan(&a, &b, 1, 0);

	if (!planned)
		return -1;
	*out = *dnnl_primitive_desc_query_md(planned, dnnl_query_weights_md, 0);
	dnnl_primitive_desc_destroy(planned);
	return 0;
}

/* weight, (O of all parts, I) floats, into the layout, in its precision. */
static int
fill(const struct packed *p, const float *weight)
{
	dnnl_memory_desc_t source = describe_matrix((int)p->layout.dims[0], (int)p->layout.dims[1], PRECISION_F32, 1);

	return lay_out(p->weight, &p->layout, weight, &source);
}

/* The parts below each other. */
static int
fill_from_parts(const struct packed *p, const struct pack *from)
{
	size_t n = (size_t)from->O * (size_t)from->I;
	float *all;
	int bad;

	if (from->parts == 1)
		return fill(p, from->weight[0]);
	all = cpu_alloc((size_t)from->parts * n * sizeof *all);
	if (!all)
		return -1;
	for (int i = 0; i < from->parts; i++)
		memcpy(all + (size_t)i * n, from->weight[i], n * sizeof *all);
	bad = fill(p, all);
	cpu_free(all);
	return bad;
}

struct packed *
cpu_pack(const struct pack *from)
{
	struct packed *p = calloc(1, sizeof *p);
	size_t O = (size_t)from->O;
	int bad = !p || !engine() || choose_layout(&p->layout, from);

	if (!bad) {
		p->weight = cpu_alloc(dnnl_memory_desc_get_size(&p->layout));
		p->bias = cpu_alloc((size_t)from->parts * O * sizeof *p->bias);
		bad = !p->weight || !p->bias || fill_from_parts(p, from);
	}
	for (int i = 0; i < from->parts && !bad; i++)
		memcpy(p->bias + (size_t)i * O, from->bias[i], O * sizeof *p->bias);
	if (!bad)
		return p;
	cpu_fault("no memory for packed weights, or no products of that precision here");
	cpu_pack_free(p);
	return NULL;
}
