/*
 * Comparing ranks, and the mean over them.
 */
#include "train/ranks.h"

#include <stdio.h>
#include <string.h>

enum fact {
	VERSION,
	BATCH,
	SEED,
	DROPOUT,
	PRECISION,
	COMPAT,
	NCCL,
	SNAPSHOT,
	STEP,
	STREAMS,
	FIRST,
	TAKEN,
	SOURCE,
	TOTAL,
	GRADIENTS
};

static const char *const names[FACTS] = {
	[VERSION] = "version",     [BATCH] = "batch",     [SEED] = "seed",           [DROPOUT] = "dropout",
	[PRECISION] = "precision", [COMPAT] = "--compat", [NCCL] = "--nccl",         [SNAPSHOT] = "snapshot",
	[STEP] = "step",           [STREAMS] = "streams", [FIRST] = "first",         [TAKEN] = "taken",
	[SOURCE] = "source",       [TOTAL] = "total",     [GRADIENTS] = "gradients",
};

static void
put_number(struct rank_facts *out, enum fact fact, int64_t value)
{
	snprintf(out->words[fact], FACT_BYTES, "%lld", (long long)value);
}

static void
put_words(struct rank_facts *out, enum fact fact, const char *words)
{
	snprintf(out->words[fact], FACT_BYTES, "%s", words);
}

void
rank_facts(struct rank_facts *out, const struct run_state *run, const struct shard *shard,
           const struct share_plan *plan, int nccl)
{
	memset(out, 0, sizeof *out); /* what is behind the words is sent, too */
	put_words(out, VERSION, VQA_VERSION);
	put_number(out, BATCH, run->batch);
	put_number(out, SEED, (int64_t)run->seed);
	snprintf(out->words[DROPOUT], FACT_BYTES, "%.9g", run->dropout);
	put_words(out, PRECISION, precision_name(run->precision));
	put_words(out, COMPAT, run->compat ? "on" : "off");
	put_words(out, NCCL, nccl ? "on" : "off");
	put_words(out, SNAPSHOT, run->id);
	put_number(out, STEP, run->step);
	put_number(out, STREAMS, run->streams);
	put_number(out, FIRST, run->first);
	put_number(out, TAKEN, run->taken);
	put_words(out, SOURCE, run->source);
	put_number(out, TOTAL, shard->total);
	snprintf(out->words[GRADIENTS], FACT_BYTES, "%llu bytes", (unsigned long long)plan->gradients_size);
}

int
rank_facts_check(const struct rank_facts *ours, const struct rank_facts *first, int rank, struct err *err)
{
	for (int i = 0; i < FACTS; i++)
		if (memcmp(ours->words[i], first->words[i], FACT_BYTES) != 0)
			return err_set(err,
			               "rank %d has %s '%s', but rank 0 has '%.*s'; all ranks run the same pipeline",
			               rank, names[i], ours->words[i], FACT_BYTES - 1, first->words[i]);
	return 0;
}

int
rank_shard_check(const struct shard *shard, int rank, int ranks, struct err *err)
{
	if (shard->shard == rank && shard->shards == ranks)
		return 0;
	return err_set(
		err, "the stream is shard %lld/%lld of the questions, expected %d/%d (vqa-tokenize --shard RANK/RANKS)",
		(long long)shard->shard, (long long)shard->shards, rank, ranks);
}

static int
merge_fault(const struct rank_report *ours, const struct rank_report *first, int rank, struct err *err)
{
	char next[2][32] = { "the end of the stream", "the end of the stream" };

	if (ours->step)
		snprintf(next[0], sizeof next[0], "step %lld", (long long)ours->step);
	if (first->step)
		snprintf(next[1], sizeof next[1], "step %lld", (long long)first->step);
	if (ours->step != first->step)
		return err_set(err, "rank %d is at %s, but rank 0 at %s", rank, next[0], next[1]);
	if (ours->questions != first->questions)
		return err_set(err, "%s: rank %d has %lld questions, but rank 0 has %lld", next[0], rank,
		               (long long)ours->questions, (long long)first->questions);
	return err_set(err,
	               "%s: the weights of rank %d are not those of rank 0: other checkpoints, or other processors",
	               next[0], rank);
}

int
rank_reports_merge(struct rank_report *mean, const struct rank_report *all, int ranks, int *culprit, struct err *err)
{
	*mean = all[0];
	for (int i = 1; i < ranks; i++) {
		if (all[i].step != all[0].step || all[i].questions != all[0].questions ||
		    all[i].weights != all[0].weights) {
			*culprit = i;
			return merge_fault(&all[i], &all[0], i, err);
		}
		mean->bce += all[i].bce;
		mean->span += all[i].span;
		mean->total += all[i].total;
		mean->right += all[i].right;
	}
	mean->bce /= ranks;
	mean->span /= ranks;
	mean->total /= ranks;
	mean->right /= ranks;
	return 0;
}

int
gradients_to_sum(struct stretch *out, struct share *share, const uint8_t *merged)
{
	int n = 0;

	for (int i = 0; i < share->params.n; i++) {
		float *at = share->gradients[i];
		size_t count = share->params.list[i].n;

		if (merged[i] == GRADIENT_SET) {
			if (share->flags[i] != GRADIENT_SET)
				share->op->zero(at, count * sizeof *at);
			if (n && out[n - 1].at + out[n - 1].n == at)
				out[n - 1].n += count;
			else
				out[n++] = (struct stretch){ at, count };
		}
		share->flags[i] = merged[i];
	}
	return n;
}

void
mean_of_parts(float *out, const float *const *parts, int ranks, size_t n)
{
	enum { BLOCK = 512 };

	for (size_t begin = 0; begin < n; begin += BLOCK) {
		size_t count = n - begin < BLOCK ? n - begin : BLOCK;
		double sum[BLOCK];

		for (size_t j = 0; j < count; j++)
			sum[j] = (double)parts[0][begin + j];
		for (int i = 1; i < ranks; i++)
			for (size_t j = 0; j < count; j++)
				sum[j] += (double)parts[i][begin + j];
		for (size_t j = 0; j < count; j++)
			out[begin + j] = (float)(sum[j] / ranks);
	}
}
