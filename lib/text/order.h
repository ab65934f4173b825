/*
 * Which questions a stream has, and in which order: a function of the list and of these choices alone, the same on every
 * machine. They apply in the order of the fields.
 */
#ifndef VQA_TEXT_ORDER_H
#define VQA_TEXT_ORDER_H

#include <stdint.h>

#include "sys/err.h"
#include "text/questions.h"

enum order_kind { ORDER_FILE, ORDER_SHUFFLE, ORDER_SHUFFLE_IMAGES };

struct order_choice {
	int64_t limit_images; /* questions of the first so many images; < 0: all */
	/* ORDER_SHUFFLE_IMAGES: images in random order, an image's questions together, they too */
	enum order_kind kind;
	uint64_t seed;
	int64_t shard, shards; /* those whose place k in the order has k mod shards = shard */
	int64_t skip;          /* of what is left, the first so many */
};

struct order {
	uint32_t *questions; /* (count): places in the list, before skip */
	int64_t count;       /* this stream's share */
	int64_t total;       /* of all shards together */
};

/* What questions_open() has to be asked for, for this choice. */
int order_needs(const struct order_choice *choice);
int order_make(struct order *order, const struct questions *q, const struct order_choice *choice, struct err *err);
void order_free(struct order *order);
/* Reads "I/N", 0 <= I < N <= 65536. */
int order_shard(struct order_choice *choice, const char *text);
/* What the stream is, bar skip and the shard's own number: 16 hex digits. */
void order_source(char out[17], uint64_t hash, const struct order_choice *choice);

#endif
