/*
 * What the ranks of a run over several machines tell each other, and what they make of it; how it travels is vqa-allreduce's. Every
 * rank makes the same of it, bit for bit: sums go by the ranks' order, whoever computes them. With --nccl NCCL sums, and that all weights
 * stay the same is what their hashes are compared for.
 */
#ifndef VQA_TRAIN_RANKS_H
#define VQA_TRAIN_RANKS_H

#include "train/batch_record.h"
#include "train/share.h"

/* What all headers of a run have to agree in, as words. */
enum { FACTS = 15, FACT_BYTES = 88 };
struct rank_facts {
	char words[FACTS][FACT_BYTES];
};

void rank_facts(struct rank_facts *out, const struct run_state *run, const struct shard *shard,
                const struct share_plan *plan, int nccl);
/* Against the first rank's. */
int rank_facts_check(const struct rank_facts *ours, const struct rank_facts *first, int rank, struct err *err);
/* Whether this rank's questions are its part of all. */
int rank_shard_check(const struct shard *shard, int rank, int ranks, struct err *err);

/* What a rank has next: a batch, or the end of its stream. */
struct rank_report {
	int64_t step; /* of the batch; 0: the end */
	int64_t questions;
	uint64_t weights; /* their hash, where it is time to compare; else 0 */
	double bce, span, total, right;
};

/*
 * all (ranks) into mean: the means of the four. -1 if a rank has something else next than the first has, or other weights: *culprit is
 * that rank.
 */
int rank_reports_merge(struct rank_report *mean, const struct rank_report *all, int ranks, int *culprit,
                       struct err *err);

/* Stretches of memory, each of which holds the gradients of parameters that follow each other there. */
struct stretch {
	float *at;
	size_t n;
};

/*
 * The share's flags (params.n) as they are on this rank, and merged, the greatest over all ranks: what some rank has and this one has not
 * becomes zero here, the merged flags count from now on, and the gradients to be summed, in backend memory, are in `out` (room for
 * params.n). Returns how many.
 */
int gradients_to_sum(struct stretch *out, struct share *share, const uint8_t *merged);

/* Where rank's part of n values begins; that of `ranks` is n. */
static inline size_t
part_begin(size_t n, int rank, int ranks)
{
	return n / (size_t)ranks * (size_t)rank + n % (size_t)ranks * (size_t)rank / (size_t)ranks;
}

/* out (n) = (parts[0] + parts[1] + …)/ranks, in this order, in double. out may be one of the parts. */
void mean_of_parts(float *out, const float *const *parts, int ranks, size_t n);

#endif
