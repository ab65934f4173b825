/*
 * Attention out of answer records, and figures of it.
 */
#ifndef VQA_REPORT_ATTENTION_H
#define VQA_REPORT_ATTENTION_H

#include "model/kinds.h"
#include "stream/record.h"

enum { ATTENTION_HEADS_MAX = 1024, ATTENTION_MATRICES_MAX = ATTENTION_KINDS * 256 };

/* A matrix in the reader's current record. Every weight is from 0 to 1 (1e-3). */
struct attention_map {
	char name[ATTENTION_NAME];
	const struct matrix_kind *kind;
	int H, Q, K;         /* heads, queries, keys */
	const void *weights; /* (H, Q, K) float32, at any byte */
};

/* How many matrices the current record, an answer, has; -1. */
int attention_count(const struct rec_in *in, struct err *err);
/* The i-th of them, checked whole. */
int attention_read(const struct rec_in *in, int i, struct attention_map *map, struct err *err);

static inline float
attention_weight(const struct attention_map *map, int h, int q, int k)
{
	float w;

	__builtin_memcpy(&w,
	                 (const char *)map->weights +
	                         sizeof w * (((size_t)h * (size_t)map->Q + (size_t)q) * (size_t)map->K + (size_t)k),
	                 sizeof w);
	return w;
}

/* Of one head. What does not apply is NaN: cls_entropy where regions ask, the last three where queries are not the keys. */
struct attention_figures {
	double entropy;     /* of a query's weights, in nats; mean over the queries */
	double support;     /* keys with a weight above 0; mean over the queries */
	double cls_entropy; /* of the first query, [CLS] */
	double self, next,
		previous; /* weight of a query on itself, on the one after, before it; mean over those that have one */
};

void attention_figures_of(struct attention_figures *out, const struct attention_map *map, int head);

#endif
