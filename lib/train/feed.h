/*
 * vqa-forward -t: a stream of questions to batch records, one a committed step, over the shared memory that it owns.
 */
#ifndef VQA_TRAIN_FEED_H
#define VQA_TRAIN_FEED_H

#include "model/collect.h"
#include "model/layerdrop.h"
#include "train/attach.h"
#include "train/batch_record.h"
#include "train/snapshot.h"

struct feed {
	/* Set by the caller. */
	struct rec_in *in; /* its header has been read */
	struct checkpoint *ckpt;
	const struct op *op;
	int batch;
	enum precision precision;
	uint64_t seed;
	double dropout;
	int compat;
	const char *draws;  /* recorded draws of LayerDrop, a file to replay; NULL: they are drawn */
	int resumed;        /* the checkpoint is a run's folder: go on where its snapshot is */
	struct shard shard; /* what the header says of it */
	/* The rest is feed's own. */
	struct run_state run;
	struct share share;
	struct owner owner;
	struct model model;
	struct collector collector;
	struct rec_out out;
	int64_t sent;      /* batches of this stream */
	int64_t most;      /* that it has: of several shards all have as many */
	int64_t left_over; /* questions that are part of no batch */
	struct layerdrop layerdrop;
};

/*
 * Before the checkpoint is opened: if name is a folder, it is a run that goes on (*resumed): finish or discard its half-done pair. Of
 * several shards the first does that, since the folder may be one for all; the others need the half that is whole alone.
 */
int feed_recover(const char *name, const struct shard *shard, int *resumed, struct err *err);
/* Check that the run may go on, make the memory, send the header to fd. The checkpoint's file is closed. */
int feed_open(struct feed *feed, int fd, attach_lost *lost, struct err *err);
/* Wait until a member that commits is there: 1, or 0 after so many seconds. */
int feed_wait_members(struct feed *feed, int seconds);
/*
 * Send a record that says nothing. A program that only copies, as tee, notices that its reader is gone when it writes, and so
 * does whoever waits for a member that died before it attached.
 */
int feed_nudge(struct feed *feed, struct err *err);
/* One batch: 1; 0 at the end of the stream (what makes no whole batch of all shards is dropped); -1. */
int feed_next(struct feed *feed, struct err *err);
/* The last commit, the end record, everybody's goodbye. */
int feed_close(struct feed *feed, struct err *err);

#endif
