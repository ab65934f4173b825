/*
 * A run's snapshot: the pair LAST.safetensors (weights) and LAST.optimizer (moments, slow weights), which carry the same
 * "vqa.run" in their metadata.
 *
 * LAST.optimizer.next is written, LAST.safetensors renamed into place (from then on the new snapshot counts), and .next
 * renamed to LAST.optimizer. A start finishes a pair whose weights were renamed and discards one whose were not.
 */
#ifndef VQA_TRAIN_SNAPSHOT_H
#define VQA_TRAIN_SNAPSHOT_H

#include <stdint.h>

#include "ckpt/checkpoint.h"
#include "train/optimizer.h"

/* Bounds of a run's numbers; the step is a word of dropout's counter. */
#define RUN_STEP_MAX INT64_C(0xffffffff)
#define RUN_COUNT_MAX (INT64_C(1) << 40)
#define RUN_SEED_MAX (INT64_C(1) << 53)
enum { SHARDS_MAX = 1 << 16 };

/* "vqa.run", JSON: where a run is, and what has to stay the same when it goes on. */
struct run_state {
	char id[33];     /* of the snapshot: a hash of step, streams and weights */
	int64_t step;    /* updates done */
	int64_t streams; /* streams (epochs) finished */
	int64_t first;   /* the question, from 0, that began its first batch of the stream that is not finished */
	int64_t taken;   /* batches taken of that stream */
	int64_t batch;
	int64_t shards; /* that the questions of a batch are spread over, a batch of `batch` each; 1 mostly */
	uint64_t seed;
	double dropout;
	enum precision precision;
	int compat;
	char source[80]; /* of the stream that is not finished; "" unknown */
};

/* 1 and the state, 0 where the image has none, -1 where it is no valid one. */
int run_state_read(struct run_state *run, const struct image *image, struct err *err);

/* Take the folder's lock: its descriptor, or -1 where another run has it. Closing it lets go. */
int snapshot_lock(const char *folder, struct err *err);
/* Finish or discard a half-done pair, and remove half-written files, under the lock. */
int snapshot_recover(const char *folder, struct err *err);
/*
 * A folder for a run to write to: made if need be, locked, its pair settled. The lock's descriptor, or -1: also where it holds
 * another snapshot than the one at `checkpoint` that a run with this id (not "") goes on from. *has: that snapshot is there.
 */
int snapshot_claim(const char *folder, const char *checkpoint, const char *id, int *has, struct err *err);
/* Write a pair; run->id is made anew. */
int snapshot_save(const char *folder, struct run_state *run, const struct config *config, const struct params *params,
                  const float *const *weights, const struct optimizer *optimizer, struct err *err);
/*
 * Moments and slow weights of the snapshot whose LAST.safetensors is at `path` and has this id: opened, so that they stay the same
 * also when another rank writes the next snapshot; then read, and closed.
 */
int snapshot_open_optimizer(struct image *image, const char *path, const char *id, struct err *err);
int snapshot_load_optimizer(struct optimizer *optimizer, struct image *image, const char *path, struct err *err);

/* A hash of all weights, that begins from another. */
uint64_t weights_hash(uint64_t begin, const struct params *params, const float *const *weights);

#endif
