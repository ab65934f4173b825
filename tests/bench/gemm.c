/*
 * gemm: what oneDNN's matmul alone reaches with the weights of a model's layers, packed as it likes them: the limit of a machine.
 *
 *     gemm HIDDEN FFN LAYERS ROWS...     a line a precision and count of rows: precision rows GFLOP/s, the best of several passes
 *
 * A pass is all products of LAYERS layers of self attention and FFN, one after the other, so that weights come from where a
 * model's come from.
 */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KINDS = 4, LAYERS_MOST = 64 };

struct product {
	dnnl_primitive_t primitive;
	dnnl_exec_arg_t args[3];
};

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void
must(dnnl_status_t status)
{
	if (status != dnnl_success) {
		fprintf(stderr, "gemm: oneDNN refused: status %d\n", (int)status);
		exit(1);
	}
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static dnnl_memory_desc_t
describe(int rows, int columns, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	dnnl_memory_desc_t out;

	must(dnnl_memory_desc_init_by_tag(&out, 2, (dnnl_dims_t){ rows, columns }, type, tag));
	return out;
}

/* Memory of what a plan wants, all bytes 0x3c: small positive numbers in either type. */
static dnnl_memory_t
fill(const_dnnl_primitive_desc_t plan, dnnl_query_t what)
{
	const dnnl_memory_desc_t *layout = dnnl_primitive_desc_query_md(plan, what, 0);
	size_t bytes = (dnnl_memory_desc_get_size(layout) + 63) / 64 * 64;
	dnnl_memory_t out;
	void *at = aligned_alloc(64, bytes);

	if (!at) {
		fprintf(stderr, "gemm: out of memory\n");
		exit(1);
	}
	memset(at, 0x3c, bytes);
	must(dnnl_memory_create(&out, layout, engine, at));
	return out;
}

static void
release(dnnl_memory_t memory)
{
	void *at;

	must(dnnl_memory_get_data_handle(memory, &at));
	must(dnnl_memory_destroy(memory));
	free(at);
}

static struct product
product_open(int M, int K, int N, dnnl_data_type_t type)
{
	const dnnl_memory_desc_t a = describe(M, K, type, dnnl_ab), b = describe(K, N, type, dnnl_format_tag_any),
				 c = describe(M, N, type, dnnl_ab);
	dnnl_matmul_desc_t matmul;
	dnnl_primitive_desc_t plan;
	struct product out;

	must(dnnl_matmul_desc_init(&matmul, &a, &b, NULL, &c));
	must(dnnl_primitive_desc_create(&plan, &matmul, NULL, engine, NULL));
	must(dnnl_primitive_create(&out.primitive, plan));
	out.args[0] = (dnnl_exec_arg_t){ DNNL_ARG_SRC, fill(plan, dnnl_query_src_md) };
	out.args[1] = (dnnl_exec_arg_t){ DNNL_ARG_WEIGHTS, fill(plan, dnnl_query_weights_md) };
	out.args[2] = (dnnl_exec_arg_t){ DNNL_ARG_DST, fill(plan, dnnl_query_dst_md) };
	must(dnnl_primitive_desc_destroy(plan));
	return out;
}

static void
product_close(struct product *p)
{
	for (int i = 0; i < 3; i++)
		release(p->args[i].memory);
	must(dnnl_primitive_destroy(p->primitive));
}

/* GFLOP/s of the best pass in a second and a half. */
static double
measure(int D, int F, int layers, int rows, dnnl_data_type_t type)
{
	const int sizes[KINDS][2] = { { D, 3 * D }, { D, D }, { D, F }, { F, D } };
	static struct product list[LAYERS_MOST * KINDS];
	double macs = 0, best = 0, begin;

	for (int i = 0; i < layers * KINDS; i++) {
		const int *size = sizes[i % KINDS];

		list[i] = product_open(rows, size[0], size[1], type);
		macs += (double)rows * size[0] * size[1];
	}
	begin = now();
	do {
		double start = now(), took;

		for (int i = 0; i < layers * KINDS; i++)
			must(dnnl_primitive_execute(list[i].primitive, stream, 3, list[i].args));
		took = now() - start;
		if (2e-9 * macs / took > best)
			best = 2e-9 * macs / took;
	} while (now() - begin < 1.5);
	for (int i = 0; i < layers * KINDS; i++)
		product_close(&list[i]);
	return best;
}

int
main(int argc, char **argv)
{
	const dnnl_data_type_t types[] = { dnnl_f32, dnnl_bf16 };
	const int layers = argc > 3 ? atoi(argv[3]) : 0;

	if (argc < 5 || layers < 1 || layers > LAYERS_MOST) {
		fprintf(stderr, "usage: gemm HIDDEN FFN LAYERS ROWS...\n");
		return 2;
	}
	must(dnnl_engine_create(&engine, dnnl_cpu, 0));
	must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
	for (int t = 0; t < 2; t++)
		for (int i = 4; i < argc; i++)
			printf("%s\t%s\t%.1f\n", t ? "bf16" : "f32", argv[i],
			       measure(atoi(argv[1]), atoi(argv[2]), layers, atoi(argv[i]), types[t]));
	return 0;
}
