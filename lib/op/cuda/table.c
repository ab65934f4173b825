/*
 * The table of the CUDA backend, and the function that opens a device: the two symbols that op/backend.c looks for.
 */
#include "op/cuda/cuda.h"

extern const struct op vqa_op_table;
int vqa_op_open(int *device, int round, struct err *err);

int
vqa_op_open(int *device, int round, struct err *err)
{
	return cuda_open(device, round, err);
}

const struct op vqa_op_table = {
	.size = sizeof(struct op),
	.name = "cuda",
	.device_name = cuda_device_name,
	.alloc = cuda_alloc,
	.free = cuda_free,
	.put = cuda_put,
	.get = cuda_get,
	.send = cuda_send,
	.arrive = cuda_arrive,
	.fetch = cuda_fetch,
	.fetched = cuda_fetched,
	.copy = cuda_copy,
	.zero = cuda_zero,
	.lend = cuda_lend,
	.borrow = cuda_borrow,
	.give_back = cuda_give_back,
	.ranks_meet = cuda_ranks_meet,
	.ranks_join = cuda_ranks_join,
	.ranks_mean = cuda_ranks_mean,
	.pack = cuda_pack,
	.pack_free = cuda_pack_free,
	.has = cuda_has,
	.sync = cuda_sync,
	.embedding = cuda_embedding,
	.embedding_backward = cuda_embedding_backward,
	.linear = cuda_linear,
	.linear_backward = cuda_linear_backward,
	.activation_backward = cuda_activation_backward,
	.layernorm = cuda_layernorm,
	.layernorm_backward = cuda_layernorm_backward,
	.average = cuda_average,
	.average_backward = cuda_average_backward,
	.attention = cuda_attention,
	.attention_backward = cuda_attention_backward,
	.gather = cuda_gather,
	.gather_backward = cuda_gather_backward,
	.add = cuda_add,
	.narrow = cuda_narrow,
	.sumsq = cuda_sumsq,
	.lamb = cuda_lamb,
	.adamw = cuda_adamw,
	.lookahead = cuda_lookahead,
	.clamp = cuda_clamp,
};
