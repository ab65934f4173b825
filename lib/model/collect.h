/*
 * From records to batches: a thread reads the stream ahead, so that the next batch is there when the caller wants it.
 *
 * Everything that a question or an image can get wrong is found here: token ids outside the vocabulary, features of another
 * width, answers that the checkpoint does not know, questions without their image.
 */
#ifndef VQA_MODEL_COLLECT_H
#define VQA_MODEL_COLLECT_H

#include <pthread.h>

#include "ckpt/config.h"
#include "model/model.h"
#include "stream/record.h"

struct target {
	int row, index; /* question in the batch, answer */
	float score;
};

/* A question's words and its image's id, for answers, where they have at most WORDS_MAX bytes (else length 0): into collected.text. */
enum { WORDS_MAX = 4096 };
struct asked {
	size_t image, image_n, sent, sent_n;
};

struct collected {
	struct batch batch;
	int64_t *ids;        /* (batch.n) */
	struct asked *asked; /* (batch.n) */
	char *text;
	size_t text_n, text_room;
	struct target *targets;
	size_t targets_n, targets_room;
};

enum { SLOTS_MOST = 1 + TURNS };

struct collector {
	struct rec_in *in;
	const struct config *config;
	int labels;   /* every question needs one */
	int64_t skip; /* questions to pass over first */
	/* Records of unknown types go there as they are read; whoever else writes there holds the lock meanwhile. */
	struct rec_out *out;
	pthread_mutex_t out_lock;
	int64_t questions; /* read (and passed over) so far */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct collected slots[SLOTS_MOST]; /* that take turns */
	int slots_n;
	/* Under the lock: batches that the reader has read, that the caller was given, that he has done with; still reading, ended, failed. */
	int filled, lent, done;
	int state;
	struct err err;
	/* The last image, for the questions after it. */
	char *image;
	size_t image_n;
	float *features, *boxes;
	int regions;
	int place; /* its number in the batch that is filled, -1: no question has asked about it there */
	int known; /* a question of the batch before has */
};

/* The header's words against the checkpoint's: vocabulary hash, tokens, features, objects, source. Both sides are named. */
int collect_check_header(const struct rec_in *in, const struct config *config, const char *checkpoint, struct err *err);

/*
 * in: its header has been read, and out's was sent. config, in and out outlive the collector. slots: batches that there is room for, those
 * that the caller has at a time and one that is read.
 */
int collector_open(struct collector *c, struct rec_in *in, struct rec_out *out, const struct config *config, int batch,
                   int slots, int labels, int64_t skip, struct err *err);
/* The next batch (the last may be short): 1, 0 after the end record, -1. It is the caller's until he has done with it. */
int collector_next(struct collector *c, struct collected **out, struct err *err);
/* Whether the next batch is there: collector_next() would not wait for it. */
int collector_ready(struct collector *c);
/* The caller has done with the oldest batch that he has. */
void collector_done(struct collector *c);

#endif
