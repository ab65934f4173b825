/*
 * The batch record, as vqa-loss, vqa-backward and vqa-step read it (vqa-stream(5)); and the header's words on a run.
 */
#ifndef VQA_TRAIN_BATCH_RECORD_H
#define VQA_TRAIN_BATCH_RECORD_H

#include "stream/record.h"
#include "train/snapshot.h"

/* step and questions are always read; the rest is what the caller asks for. */
struct batch_record {
	int64_t step;
	int questions;
};

int batch_record_read(struct batch_record *batch, const struct rec_in *in, struct err *err);
/* A (questions, answers) f32 field, copied to out. */
int batch_record_matrix(const struct rec_in *in, const struct batch_record *batch, const char *key, int answers,
                        float *out, struct err *err);

/* Socket and key (at least 64 and 64 bytes), checkpoint's path (4096). */
int header_read_text(const struct rec_in *in, const char *key, char *out, size_t size, struct err *err);
/* Which questions a stream has: those whose place k has k mod shards = shard. */
struct shard {
	int64_t shard, shards;
	int64_t total; /* questions of all shards together; -1: not said, and there is one */
};

/* Of a header that says nothing of shards, 0 of 1. */
int header_read_shard(const struct rec_in *in, struct shard *shard, struct err *err);
/* Of a stream that vqa-allreduce did not write, 0 of 1. */
int header_read_rank(const struct rec_in *in, int64_t *rank, int64_t *ranks, struct err *err);
/* What computes, and in which precision: of vqa-forward's header. */
void header_put_device(struct rec_out *out, const struct op *op, enum precision precision);
/* What the header of vqa-forward -t says of the run; snapshot "" and step 0 at its beginning. */
int header_read_run(const struct rec_in *in, struct run_state *run, struct err *err);

#endif
