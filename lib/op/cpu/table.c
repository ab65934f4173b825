/*
 * The table of the CPU backend: the one symbol that op/backend.c looks for.
 */
#include "op/cpu/cpu.h"

extern const struct op vqa_op_table;

const struct op vqa_op_table = {
	.size = sizeof(struct op),
	.name = "cpu",
	.alloc = cpu_alloc,
	.free = cpu_free,
	.put = cpu_copy,
	.get = cpu_copy,
	.send = cpu_copy,
	.arrive = cpu_arrive,
	.fetch = cpu_fetch,
	.fetched = cpu_fetched,
	.copy = cpu_copy,
	.zero = cpu_zero,
	.pack = cpu_pack,
	.pack_free = cpu_pack_free,
	.has = cpu_has,
	.sync = cpu_sync,
	.embedding = cpu_embedding,
	.embedding_backward = cpu_embedding_backward,
	.linear = cpu_linear,
	.linear_backward = cpu_linear_backward,
	.activation_backward = cpu_activation_backward,
	.layernorm = cpu_layernorm,
	.layernorm_backward = cpu_layernorm_backward,
	.average = cpu_average,
	.average_backward = cpu_average_backward,
	.attention = cpu_attention,
	.attention_backward = cpu_attention_backward,
	.gather = cpu_gather,
	.gather_backward = cpu_gather_backward,
	.add = cpu_add,
	.narrow = cpu_narrow,
	.sumsq = cpu_sumsq,
	.lamb = cpu_lamb,
	.adamw = cpu_adamw,
	.lookahead = cpu_lookahead,
	.clamp = cpu_clamp,
};
