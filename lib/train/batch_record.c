/*
 * Reading batch records and the training header.
 */
#include "train/batch_record.h"

#include <string.h>

#include "stream/schema.h"

int
batch_record_read(struct batch_record *batch, const struct rec_in *in, struct err *err)
{
	const msgpack_object *questions = rec_get(in, "questions");

	if (rec_int(in, "step", 1, RUN_STEP_MAX, &batch->step, err))
		return -1;
	if (!questions || questions->type != MSGPACK_OBJECT_ARRAY || !questions->via.array.size ||
	    questions->via.array.size > BATCH_MAX)
		return rec_fault(in, err, "'questions' is missing or no array of 1 to 4096 ids");
	batch->questions = (int)questions->via.array.size;
	return 0;
}

int
batch_record_matrix(const struct rec_in *in, const struct batch_record *batch, const char *key, int answers, float *out,
                    struct err *err)
{
	const void *values;
	size_t n, want = (size_t)batch->questions * (size_t)answers;

	if (rec_f32(in, key, &values, &n, err))
		return -1;
	if (n != want)
		return rec_fault(in, err, "'%s' has %zu values, expected %d questions times %d answers", key, n,
		                 batch->questions, answers);
	memcpy(out, values, n * sizeof *out);
	return 0;
}

int
header_read_text(const struct rec_in *in, const char *key, char *out, size_t size, struct err *err)
{
	const char *text;
	size_t n;

	if (!rec_get(in, key))
		return rec_fault(in, err, "'%s' is missing: expected the stream of vqa-forward -t", key);
	if (rec_text(in, key, &text, &n, err))
		return -1;
	if (n >= size)
		return rec_fault(in, err, "'%s' has %zu bytes, expected fewer than %zu", key, n, size);
	memcpy(out, text, n);
	out[n] = '\0';
	return 0;
}

int
header_read_shard(const struct rec_in *in, struct shard *shard, struct err *err)
{
	*shard = (struct shard){ .shards = 1, .total = -1 };
	if (!rec_get(in, "shards"))
		return 0;
	return rec_int(in, "shards", 1, SHARDS_MAX, &shard->shards, err) ||
	                       rec_int(in, "shard", 0, shard->shards - 1, &shard->shard, err) ||
	                       rec_int(in, "total", 0, RUN_COUNT_MAX, &shard->total, err)
	               ? -1
	               : 0;
}

int
header_read_rank(const struct rec_in *in, int64_t *rank, int64_t *ranks, struct err *err)
{
	*rank = 0;
	*ranks = 1;
	if (!rec_get(in, "ranks"))
		return 0;
	return rec_int(in, "ranks", 1, SHARDS_MAX, ranks, err) || rec_int(in, "rank", 0, *ranks - 1, rank, err) ? -1
	                                                                                                        : 0;
}

static void
put_words(struct rec_out *out, const char *key, const char *words)
{
	rec_put_text(out, key, words, strlen(words));
}

void
header_put_device(struct rec_out *out, const struct op *op, enum precision precision)
{
	put_words(out, "device", backend_device());
	if (op->device_name)
		put_words(out, "device_name", op->device_name());
	put_words(out, "precision", precision_name(precision));
}

int
header_read_run(const struct rec_in *in, struct run_state *run, struct err *err)
{
	struct shard shard;
	char precision[16] = "f32"; /* who says nothing of it knows of no other */
	int64_t seed, compat;

	*run = (struct run_state){ 0 };
	if (header_read_text(in, "snapshot", run->id, sizeof run->id, err) ||
	    header_read_text(in, "source", run->source, sizeof run->source, err) ||
	    rec_int(in, "step", 0, RUN_STEP_MAX, &run->step, err) ||
	    rec_int(in, "streams", 0, RUN_COUNT_MAX, &run->streams, err) ||
	    rec_int(in, "first", 0, RUN_COUNT_MAX, &run->first, err) ||
	    rec_int(in, "taken", 0, RUN_COUNT_MAX, &run->taken, err) ||
	    rec_int(in, "batch", 1, BATCH_MAX, &run->batch, err) || rec_int(in, "seed", 0, RUN_SEED_MAX, &seed, err) ||
	    rec_int(in, "compat", 0, 1, &compat, err) || rec_real(in, "dropout", &run->dropout, err) ||
	    header_read_shard(in, &shard, err) ||
	    (rec_get(in, "precision") && header_read_text(in, "precision", precision, sizeof precision, err)))
		return -1;
	if (precision_parse(&run->precision, precision))
		return rec_fault(in, err, "'precision' is '%s', expected f32, bf16 or tf32", precision);
	if (!(run->dropout >= 0 && run->dropout < 1))
		return rec_fault(in, err, "'dropout' is %g, expected 0 to below 1", run->dropout);
	run->seed = (uint64_t)seed;
	run->shards = shard.shards;
	run->compat = (int)compat;
	return 0;
}
